"""What stands in each block of a conf while it is being read: values, sources, and where each came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from s3nap.conffile import Section
from s3nap.conflines import Origin
from s3nap.hookvalues import Hook


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A directive's value and where it stands."""

    value: object
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source as it is named; ``scope`` is the innermost block that governs it."""

    kind: str
    text: str
    origin: Origin
    scope: Block


class Block:
    """Top level, a Cycle, or the block of a source: the values and sources that stand in it."""

    def __init__(self, section: Section, kind: str | None, outer: Block | None) -> None:
        self.section = section
        self.kind = kind
        self.outer = outer
        self.values: dict[str, Value] = {}
        self.seen: dict[str, Origin] = {}
        self.sources: dict[str, Source] = {}

    @property
    def title(self) -> str:
        """How messages call it."""
        name = f" {self.section.name}" if self.section.name else ""
        return f"in <{self.kind}{name}>" if self.kind else "at the top level"

    def chain(self) -> list[Block]:
        """From this scope to the top level."""
        return [self, *(self.outer.chain() if self.outer else [])]


def hooks_of(holder: Block, name: str) -> tuple[Hook, ...]:
    """Return the hooks that stand in a block, each for a shell if ``Shell`` is on where it stands."""
    shell = next((bool(each.values["Shell"].value) for each in holder.chain() if "Shell" in each.values), False)
    return tuple(hook._replace(by_shell=shell) for hook in cast("tuple[Hook, ...]", holder.values[name].value))
