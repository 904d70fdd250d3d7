"""Is a path in a Directory block of some conf, and if it is not, why: no block, an Exclude, another file system?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from s3nap.glance import Glance, listing, look
from s3nap.job import Job
from s3nap.mounts import Mount, within
from s3nap.names import readable
from s3nap.sources.excludes import Matcher

_DEPTH = 4  # how deep folders that are excluded are searched
_SEARCHED = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The job that holds a path; without one, ``why`` none does."""

    job: Job | None = None
    why: str = "in no block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Folders that a pattern of Exclude leaves out of a job."""

    job: Job
    pattern: str
    paths: Sequence[str]


class Coverage:
    """The Directory blocks of all confs, on the machine whose ``/`` is at ``root``."""

    def __init__(self, jobs: Sequence[Job], mounts: Sequence[Mount], root: Path = Path("/")) -> None:
        self._mounts = mounts
        self._root = root
        self._never = {str(root / mount.path.lstrip("/")) for mount in mounts if mount.slow}
        self._jobs = [(self._real(job.source), job) for job in jobs if job.kind == "Directory"]

    def verdict(self, path: str) -> Verdict:
        """Judge one path."""
        path = self._real(path)
        found = Verdict()
        for base, job in self._jobs:
            if not within(path, base):
                continue
            why = self._why_not(base, job, path)
            if not why:
                return Verdict(job=job, why="")
            found = Verdict(why=why)
        return found

    def uncovered(self, path: str) -> Iterator[tuple[str, Verdict]]:
        """Yield what of a folder is in no block: itself, or where some of it is, those of its folders that are not."""
        verdict = self.verdict(path)
        if verdict.job is not None:
            return
        if not any(within(base, self._real(path)) for base, _ in self._jobs):
            yield path, verdict
            return
        entries = listing(self._at(path), Glance())
        if any(entry.is_file(follow_symlinks=False) for entry in entries):
            yield path, Verdict(why="some of its folders are in blocks, the files beside them are in none")
        for entry in entries:
            if entry.path not in self._never and entry.is_dir(follow_symlinks=False):
                for inner, why in self.uncovered(f"{path.rstrip('/')}/{entry.name}"):
                    if inner == path or look(Path(self._at(inner)), self._never).anything:
                        yield inner, why

    def left_out(self) -> Iterator[Left]:
        """Yield which folders are left out by Exclude, not deeper than a few levels below each Directory."""
        for base, job in self._jobs:
            found: dict[str, list[str]] = {}
            for path, pattern in self._excluded_below(base, job):
                found.setdefault(pattern, []).append(path)
            for pattern, paths in found.items():
                yield Left(job=job, pattern=pattern, paths=paths)

    def _why_not(self, base: str, job: Job, path: str) -> str:
        matcher = Matcher(job["Exclude"], root=base == "/")
        for above in _downward(base, path):
            if matcher.excludes(os.fsencode(above)):
                origin = job.settings["Exclude"].origin
                return f"Exclude {', '.join(matcher.matched)} ({origin}) leaves it out of {readable(job.name)}"
        if job["OneFileSystem"]:
            home = self._holding(base)
            between = (each for each in self._mounts if within(path, each.path) and within(each.path, base))
            if any(mount.path != base and (home is None or mount.device != home.device) for mount in between):
                origin = job.settings["OneFileSystem"].origin
                return f"{readable(job.name)} stays on its own file system (OneFileSystem, {origin})"
        return ""

    def _holding(self, path: str) -> Mount | None:
        above = [mount for mount in self._mounts if within(path, mount.path)]
        return max(above, key=lambda mount: len(mount.path), default=None)

    def _excluded_below(self, base: str, job: Job) -> Iterator[tuple[str, str]]:
        waiting = [(base, _DEPTH)] if job["Exclude"] and self._at(base) not in self._never else []
        for _ in range(_SEARCHED):
            if not waiting:
                return
            folder, depth = waiting.pop(0)
            for entry in listing(self._at(folder), Glance()):
                path = f"{folder.rstrip('/')}/{entry.name}"
                if entry.path in self._never or not entry.is_dir(follow_symlinks=False):
                    continue
                matcher = Matcher(job["Exclude"], root=base == "/")
                if matcher.excludes(os.fsencode(path)):
                    yield path, next(iter(matcher.matched))
                elif depth > 1:
                    waiting.append((path, depth - 1))

    def _at(self, path: str) -> str:
        return str(self._root / path.lstrip("/"))

    def _real(self, path: str) -> str:
        """Return what a path means; as it is where a look may hang, or leads elsewhere."""
        if any(within(self._at(path), slow) for slow in self._never):
            return path
        full = os.path.realpath(self._at(path))
        return "/" + os.path.relpath(full, self._root).removeprefix(".") if within(full, str(self._root)) else path


def _downward(base: str, path: str) -> Iterator[str]:
    """Yield the paths from below a folder down to one in it."""
    parts = PurePosixPath(path).relative_to(base).parts
    for count in range(1, len(parts) + 1):
        yield str(PurePosixPath(base, *parts[:count]))
