"""Directories, single files and symbolic links, by GNU tar's listed incrementals."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TypeVar

from loguru import logger

from s3nap import pipeline
from s3nap.bounded import LateError, within
from s3nap.errors import RetryFullError, SourceError
from s3nap.job import Job
from s3nap.sources import Outcome, census, dirstate, messages
from s3nap.sources.excludes import Matcher, literal, tar_options
from s3nap.sources.snapshot import Directory, Snapshot

_BLOCKS = 512  # in a record: saves a write for every 10 KiB, tar's default
_RECORD = _BLOCKS * 512  # bytes
_END = 1024  # tar ends with two blocks of zeros
_ATTRIBUTES = ("--acls", "--selinux", "--xattrs")
# docs/tar.md: why these options
_TAR = (
    *("tar", "--create", "--format=posix", "--pax-option=delete=atime,delete=ctime", f"--blocking-factor={_BLOCKS}"),
    *("--sparse", *_ATTRIBUTES, "--no-check-device"),
    *("--block-number", "-vv", "--full-time", "--utc", "--quoting-style=escape"),
    # after -vv, which would switch it on again; renames must be told
    *("--warning=no-new-directory", "--warning=rename-directory"),
)
_T = TypeVar("_T")
_SHRUNK = 2  # a source with less than one half of its files is suspicious
_FEW = 20  # unless it was that small before


class DirectorySource:
    """One ``Directory``: a tree, a file, or a symbolic link and what it resolves to; or the files of one ``Conf``."""

    stream = "tar"

    def __init__(self, job: Job, own_paths: Sequence[Path]) -> None:
        """``own_paths`` that lie inside are excluded."""
        self.path = Path(job.source)
        self._is_root = self.path == Path("/")
        self._one_file_system: bool = job["OneFileSystem"]
        self._seconds: int | None = job["Timeout"]
        self.roots = self._in_time(lambda: _roots(job.files or (self.path,)))
        inside = sorted({root / below for root in self.roots for own in own_paths if (below := _below(own, root))})
        for own in inside:
            logger.info("{}: leaves out {}, which belongs to s3nap", job.name, own)
        self.excludes = (*job["Exclude"], *(literal(str(own)) for own in inside))

    @property
    def options(self) -> str:
        """Digest of what shapes the archive; where the tree lies and what is left out, above all."""
        facts = [[str(root) for root in self.roots], sorted(self.excludes), self._one_file_system, _TAR]
        return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogateescape")).hexdigest()

    def start(self, work: Path, base: Path | None, previous_files: int | None) -> DirectoryDump:
        """Take the census, mend the snapshot by it, start tar."""
        matcher = Matcher(self.excludes, root=self._is_root)
        is_tree, walk = self._in_time(lambda: self._walk(work, matcher, attributes=base is None))
        brake = None
        if any(is_tree) and not walk.anything:
            brake = f"{self.path} is empty: is it mounted?"
        elif previous_files is not None and previous_files >= _FEW and walk.files * _SHRUNK < previous_files:
            brake = f"{self.path} holds {walk.files} files, it held {previous_files}: is everything mounted?"
        if base is not None:
            _mend(base, work, trees=any(is_tree))
        return DirectoryDump(self, work, walk, matcher, brake if previous_files else None)

    def _in_time(self, look: Callable[[], _T]) -> _T:
        """Return what ``look`` finds out; SourceError if it takes longer than Timeout."""
        try:
            return within(self._seconds, look)
        except LateError as error:
            said = f"{self.path} could not be looked through within Timeout ({self._seconds} seconds)"
            raise SourceError(f"{said}: is it on a network mount that does not answer?") from error

    def _walk(self, work: Path, matcher: Matcher, *, attributes: bool) -> tuple[list[bool], census.Walk]:
        """Return which roots are directories, and what the census found.

        It looks for attributes before a FULL only: a DIFF asks for those of the few files that it holds.
        """
        try:
            is_tree = [stat.S_ISDIR(os.lstat(root).st_mode) for root in self.roots]
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be backed up: {error.strerror}") from error
        self._check_excludes()
        roots = [os.fsencode(root) for root in self.roots]
        one_file_system = self._one_file_system
        return is_tree, census.take(
            roots, work / "census", matcher, one_file_system=one_file_system, attributes=attributes
        )

    def _check_excludes(self) -> None:
        """Raise SourceError if a pattern leaves out the Directory itself: tar matches the whole path."""
        for pattern in self.excludes:
            matcher = Matcher([pattern], root=self._is_root)
            for path in (above for root in self.roots for above in (root, *root.parents)[:-1] or (root,)):
                if matcher.excludes(os.fsencode(path)):
                    raise SourceError(
                        f"Exclude {pattern} leaves out {path}, and so all of {self.path}: write it as a path"
                    )

    def command(self, work: Path, walk: census.Walk) -> list[str]:
        """Return tar's argv."""
        patterns = [*self.excludes, *(literal(os.fsdecode(path)) for path in walk.doubles)]
        return [
            *(word for word in _TAR if walk.attributes or word not in _ATTRIBUTES),
            *(["--one-file-system"] if self._one_file_system else []),
            f"--listed-incremental={work / 'snapshot'}",
            f"--index-file={work / 'index'}",
            *tar_options(patterns, root=self._is_root),
            *("--directory=/", "--file=-", "--"),
            *(_member(item) for item in self.roots),
        ]


def _roots(named: Sequence[Path]) -> tuple[Path, ...]:
    """Return what is archived of these paths: a link as the link and as what it resolves to."""
    both = ((path, path.resolve() if path.is_symlink() else path) for path in named)
    return tuple(dict.fromkeys(root for pair in both for root in pair))


class DirectoryDump:
    """A tar at work."""

    def __init__(
        self, source: DirectorySource, work: Path, walk: census.Walk, matcher: Matcher, brake: str | None
    ) -> None:
        """Start tar."""
        self._source = source
        self._work = work
        self._walk = walk
        self._matcher = matcher
        self._brake = brake
        self._tar = pipeline.start(
            source.command(work, walk), stdout=pipeline.PIPE, stderr=(work / "messages").open("w+b")
        )
        if self._tar.stdout is None:
            raise SourceError("tar has no output")
        self.stdout: IO[bytes] = self._tar.stdout

    def abort(self) -> None:
        """Kill tar."""
        self._tar.stop()

    def finish(self, raw_size: int, tail: bytes) -> Outcome:
        """Judge tar by its status and by every line it said."""
        ended = self._tar.wait()
        self._tar.stderr.close()
        with (self._work / "messages").open(encoding="latin-1", newline="\n") as lines:
            said = messages.sort(lines)
        self._judge(ended, said, raw_size, tail)
        self._check_snapshot()
        absent = {b"/" + _bare(name) for name in (*said.unreadable, *said.vanished)}
        retry = sorted(b"/" + _bare(name) for name in said.unreadable)
        state, listing, snapshot = (self._work / name for name in ("state", "listing", "snapshot"))
        dirstate.pack(state, snapshot=snapshot, census=self._work / "census", retry=retry, missing=sorted(absent))
        dirstate.pack(listing, snapshot=snapshot, census=None, retry=(), missing=sorted(absent))
        doubles = [
            f"{os.fsdecode(path)} shows a directory of this tree again: stored once" for path in self._walk.doubles
        ]
        return Outcome(
            state=state,
            index=self._work / "index",
            listing=listing,
            files=self._walk.files,
            warnings=doubles,
            incomplete=len(said.unreadable),
            brake=self._brake,
            log="".join(f"{line}\n" for line in (*doubles, *said.warnings, *said.unknown)),
            programs={"tar": pipeline.version("tar")},
            unmatched=[pattern for pattern in self._matcher.patterns if pattern not in self._matcher.matched],
        )

    def _judge(self, ended: pipeline.Ended, said: messages.Messages, raw_size: int, tail: bytes) -> None:
        if said.renamed:
            raise RetryFullError("a directory was renamed while tar was reading: only a FULL can hold that")
        if raw_size == 0 or raw_size % _RECORD or tail[-_END:].strip(b"\0"):
            raise SourceError(f"tar wrote no whole archive; {ended.describe()}")
        if ended.status == 0:
            return
        readable = ended.status == 1 or (ended.status == 2 and said.unreadable)
        if not readable or said.unknown:
            raise SourceError(ended.describe())

    def _check_snapshot(self) -> None:
        """Raise SourceError unless tar really recorded every directory: else later DIFFs would miss changes."""
        wanted = {os.fsencode(_member(root)) for root in self._source.roots if root.is_dir() and not root.is_symlink()}
        for record in Snapshot(self._work / "snapshot"):
            wanted.discard(record.name)
            if not wanted:
                return
        if wanted:
            raise SourceError(f"tar left {os.fsdecode(min(wanted))} out of its snapshot: is it still there?")


def _mend(base: Path, work: Path, *, trees: bool) -> None:
    """Write the snapshot that tar starts from: the last one, without what would make it miss or misname files.

    Records of directories that are gone or that are others now are dropped: tar then dumps a moved directory anew
    instead of writing rename records, which it replays wrongly. Entries of files that the census calls changed are
    removed: tar then dumps exactly these.
    """
    former = Snapshot(dirstate.unpack(base, dirstate.SNAPSHOT, work / "snapshot.base"))
    old = dirstate.unpack(base, dirstate.CENSUS, work / "census.base")
    retry = {census.path_hash(path) for path in dirstate.paths(base, dirstate.RETRY)}
    dropped = {census.path_hash(_absolute(record.name)) for record in former if not _same(record)}
    stale = census.stale(old, work / "census", former.time, dropped, retry)

    def keep(record: Directory) -> Directory | None:
        folder = _absolute(record.name)
        # below a directory that made way for a link to where it went, all seems to be in its place
        if census.path_hash(folder) in dropped or census.below(folder, dropped):
            return None
        if not stale:
            return record
        prefix = folder.rstrip(b"/") + b"/"
        entries = [
            entry for entry in record.entries if entry[:1] == b"D" or census.path_hash(prefix + entry[1:]) not in stale
        ]
        return Directory(record.facts, record.inode, record.name, tuple(entries))

    # a file that is named itself is judged by time alone: time 0 dumps it whenever it is there
    former.rewrite(work / "snapshot", keep, time=None if trees else 0)
    old.unlink()
    (work / "snapshot.base").unlink()


def _below(path: Path, root: Path) -> Path | None:
    """Return where below ``root`` a path lies, links resolved; None if it does not."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root) if path.is_relative_to(root) and path != root else None


def _same(record: Directory) -> bool:
    try:
        status = os.lstat(_absolute(record.name))
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_ino == record.inode


def _bare(name: bytes) -> bytes:
    return name.removeprefix(b"./").lstrip(b"/")


def _absolute(name: bytes) -> bytes:
    """Return the path of a member; tar works in ``/``."""
    return b"/" if name == b"." else b"/" + _bare(name)


def _member(path: Path) -> str:
    """Return the name under which tar stores a path."""
    return str(path).lstrip("/") or "."
