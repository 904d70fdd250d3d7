"""How much a run will have to read, for who watches it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s3nap.manifest import Archive, Type
from s3nap.progress import Expected, NamesIn


def estimate(archives: Sequence[Archive], kind: Type, stream: str, work: Path) -> Expected:
    """Tell by the last archive of this type; ``work`` is where the run's tar lists what it has read."""
    last = next((item.manifest for item in reversed(archives) if item.manifest.type is kind), None)
    tree = stream == "tar"
    return Expected(
        size=last.raw_size if last is not None else None,
        about=True,
        files=last.files if last is not None and tree and kind is Type.FULL else None,
        count=NamesIn(work / "source" / "index") if tree else None,
    )
