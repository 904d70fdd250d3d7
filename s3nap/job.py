"""What a conf says, checked and typed: the only form in which the rest of s3nap knows a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s3nap.cycle import Cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """An effective value and where it came from: ``file:line`` or ``default``."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A source and the cycle that governs it.

    ``name`` is the encoded name of stored keys (``daily-example/Directory/etc``), ``source`` the text of the conf
    (``/etc``, ``bob@shop``), ``origin`` the ``file:line`` it stands at. ``settings`` holds the effective value of every
    directive that a job of this kind may have, by the directive's canonical name (``Exclude`` is a tuple of str).
    ``files`` are what it stores, where that is not its source alone.
    """

    name: str
    kind: str
    source: str
    scope: str | None
    cycle: Cycle
    settings: Mapping[str, Setting]
    origin: str
    files: tuple[Path, ...] = ()

    def __getitem__(self, directive: str) -> Any:  # noqa: ANN401 - the directive table knows the type
        """Return the effective value of a directive."""
        return self.settings[directive].value


@dataclass(frozen=True, slots=True, kw_only=True)
class Conf:
    """One configuration file: top-level settings by canonical name, and its jobs in the order in which they run."""

    file: Path
    settings: Mapping[str, Setting]
    jobs: tuple[Job, ...]

    def __getitem__(self, directive: str) -> Any:  # noqa: ANN401 - the directive table knows the type
        """Return the effective value of a top-level directive, None where it has neither value nor default."""
        return self.settings[directive].value
