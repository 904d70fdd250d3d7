"""What acts cost at several sizes, and how fast that grows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from measuring import Measured

_NOISE = 0.2  # seconds: below it nothing is said about growth
_LINEAR = 1.1


@dataclass(frozen=True)
class Cost:
    """What one act cost, with its number of requests."""

    measured: Measured
    requests: int


Costs = dict[str, Cost]
MEMORY = "peak memory (MiB)"
WHAT: dict[str, Callable[[Cost], float]] = {
    "seconds": lambda cost: cost.measured.wall,
    MEMORY: lambda cost: cost.measured.memory / (1 << 20),
    "requests": lambda cost: cost.requests,
}


@dataclass(frozen=True)
class Growth:
    """What all acts cost, by sizes of what ``title`` says."""

    title: str
    costs: dict[int, Costs] = field(default_factory=dict)

    @property
    def acts(self) -> list[str]:
        """All acts, in order."""
        return list(next(iter(self.costs.values()), {}))

    def table(self) -> str:
        """Return a table whose last column is the growth from the size before as a power: 1 is linear."""
        head = [self.title, "act", "seconds", "peak memory", "requests", "growth"]
        lines = [f"| {' | '.join(head)} |", "| --: | --- | --: | --: | --: | --- |"]
        for size, below in zip(self.costs, [None, *self.costs], strict=False):
            for act, cost in self.costs[size].items():
                grown = "" if below is None else _power(size / below, cost, self.costs[below][act])
                cells = [f"{size:,}", act, f"{cost.measured.wall:.2f}", f"{cost.measured.memory >> 20} MiB"]
                lines.append(f"| {' | '.join([*cells, f'{cost.requests:,}', grown])} |")
        return "\n".join(lines)


def _power(times: float, now: Cost, before: Cost) -> str:
    if now.measured.wall - before.measured.wall < _NOISE:
        return "none"
    power = math.log(now.measured.wall / before.measured.wall) / math.log(times)
    return f"{power:.2f}{' **faster than linear**' if power > _LINEAR else ''}"
