"""The figures of one workload, and how they read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from measuring import Measured, median, ratio

_MINE = "s3nap"
_MIB = 1 << 20


@dataclass(frozen=True)
class Goal:
    """What shall be reached: a ratio of s3nap to a peer, of time or of CPU seconds."""

    act: str
    peer: str
    most: float
    cpu: bool = False


GOALS = {  # by workload
    "mixed": (
        Goal("FULL", "restic", 0.42),
        Goal("FULL", "tar|zstd|gpg|aws", 0.70),
        Goal("FULL", "tar|zstd -T0|gpg >/dev/null", 1.35),
        Goal("FULL", "restic", 0.45, cpu=True),
        Goal("unchanged", "restic", 0.6),
        Goal("restore", "restic", 0.6),
        Goal("one file", "restic", 1.0),
    ),
    "small": (Goal("FULL", "restic", 0.5),),
}
_MEMORY = 200_000_000


class Figures:
    """What was measured of each act and contender."""

    def __init__(self, name: str, title: str, acts: Sequence[str]) -> None:
        self.title = title
        self._goals = GOALS.get(name, ())
        self.acts = acts
        self.stored: dict[str, int] = {}
        self._runs: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
        self._counts: dict[str, dict[str, tuple[int, int, int]]] = defaultdict(dict)

    def add(self, act: str, name: str, measured: Measured) -> None:
        """Add a timed run."""
        self._runs[act][name].append(measured)

    def count(self, act: str, name: str, counted: tuple[int, int, int]) -> None:
        """Set bytes sent, bytes received, requests."""
        self._counts[act][name] = counted

    def peers(self, act: str) -> list[str]:
        """Who was measured, s3nap first."""
        return sorted(self._runs[act], key=lambda name: name != _MINE)

    def ratio(self, act: str, peer: str, *, cpu: bool = False) -> float | None:
        """Return the ratio of s3nap to a peer, pair by pair; None where one of them is missing."""
        if peer not in self._runs[act] or _MINE not in self._runs[act]:
            return None
        mine, others = self._runs[act][_MINE], self._runs[act][peer]
        return ratio([_value(run, cpu=cpu) for run in mine], [_value(run, cpu=cpu) for run in others])

    def markdown(self) -> str:
        """Return tables: all acts, then the goals."""
        lines = [f"### {self.title[:1].upper()}{self.title[1:]}", ""]
        heads = ["act", "program", "seconds", "s3nap / it", "CPU seconds", "s3nap / it", "peak memory"]
        lines += [f"| {' | '.join([*heads, 'sent', 'received', 'requests'])} |"]
        lines += ["| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |"]
        lines += [self._row(act, name) for act in self.acts for name in self.peers(act)]
        sizes = ", ".join(f"{name} {size / _MIB:,.1f} MiB" for name, size in self.stored.items() if size)
        lines += ["", f"Stored after all backups of a round: {sizes}."]
        reached = [row for goal in self._goals if (row := self._goal(goal))]
        if self._goals:
            head = ["", "| goal | s3nap / it | wanted | |", "| --- | --: | --: | --- |"]
            lines += [*head, *reached, self._memory()]
        return "\n".join(lines)

    def _row(self, act: str, name: str) -> str:
        runs = self._runs[act][name]
        memory = max(run.memory for run in runs) / _MIB
        sent, received, requests = self._counts[act].get(name, (0, 0, 0))
        cells = [act, name.replace("|", "\\|")]
        for cpu in (False, True):
            quotient = self.ratio(act, name, cpu=cpu)
            shown = "" if name == _MINE or quotient is None else f"{quotient:.2f}"
            cells += [f"{median([_value(run, cpu=cpu) for run in runs]):.2f}", shown]
        wire = [f"{sent / _MIB:,.1f} MiB", f"{received / _MIB:,.1f} MiB", str(requests)] if requests else ["", "", ""]
        return f"| {' | '.join([*cells, f'{memory:.0f} MiB', *wire])} |"

    def _goal(self, goal: Goal) -> str | None:
        found = self.ratio(goal.act, goal.peer, cpu=goal.cpu)
        if found is None:
            return None
        what = f"{goal.act}{', CPU' if goal.cpu else ''} against {goal.peer}".replace("|", "\\|")
        return f"| {what} | {found:.2f} | {goal.most:.2f} | {_reached(found, goal.most)} |"

    def _memory(self) -> str:
        found = max((run.memory for act in self._runs.values() for run in act[_MINE]), default=0)
        return f"| peak memory, all acts | {found / 1e6:.0f} MB | {_MEMORY / 1e6:.0f} MB | {_reached(found, _MEMORY)} |"


def _value(run: Measured, *, cpu: bool) -> float:
    return run.cpu if cpu else run.wall


def _reached(found: float, most: float) -> str:
    return "reached" if found <= most else f"missed by {found / most - 1:.0%}"
