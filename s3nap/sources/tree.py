"""Writing a tree back: the levels of a chain through the gate into tar, and the comparison afterwards."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from s3nap.errors import VerificationError
from s3nap.progress import Tally
from s3nap.sources import census, dirstate, within
from s3nap.sources.programs import feed
from s3nap.sources.snapshot import Snapshot
from s3nap.sources.tarindex import Line
from s3nap.sources.tarstream import Gate, Member
from s3nap.storage import Data


class Tree:
    """A folder that a chain is restored into.

    ``keep`` (``--overwrite``): what the folder holds already stays, unless the archive has it too.
    """

    def __init__(  # noqa: PLR0913 - what a restore is
        self,
        target: Path,
        work: Path,
        state: Path | None,
        *,
        keep: bool,
        numeric_owner: bool,
        tally: Tally | None = None,
    ) -> None:
        """``state`` is that of the last level; ``work`` a private folder; ``tally`` counts files given to tar."""
        self._target = target
        self._work = work
        self._state = state
        self._keep = keep
        self._numeric_owner = numeric_owner
        self._tally = tally or Tally()
        self._listings: IO[bytes] = tempfile.TemporaryFile(dir=work)  # noqa: SIM115 - lives as long as the tree
        self._final = self._wanted() if keep else None
        self._way = within.Way(target)
        self._gate = Gate(self._note, self._pass)

    def _note(self, folder: bytes, listing: bytes) -> None:
        self._listings.write(b"%d %d\n%s%s" % (len(folder), len(listing), folder, listing))
        # an earlier level, or who filled the target, may have put a link where tar is about to make a directory
        if (self._final is None or self._final.has_folder(folder)) and within.straight(self._target, folder):
            strip(within.place(self._target, folder))

    def _pass(self, member: Member) -> bool:
        if self._final is not None and not self._final(member):
            return False
        if self._keep:
            self._way.check(member.bare, folder=member.type == b"5")
        self._tally.number += member.type != b"5"
        return True

    def level(self, pieces: Iterator[Data]) -> None:
        """Extract one level; VerificationError if the gate refuses it, ProgramError if tar fails."""
        self._listings.seek(0)
        self._listings.truncate()
        options = [] if self._keep else ["--listed-incremental=/dev/null"]
        extract(self._gate.level(pieces), self._target, *options, numeric_owner=self._numeric_owner)

    def _wanted(self) -> _Final:
        if self._state is None:
            raise VerificationError("has no state object: it cannot be restored into a folder with contents")
        return _Final(self._state, self._work)

    def check(self) -> tuple[list[str], list[str]]:
        """Compare the tree with the last level's own listing.

        Returns what is wrong (missing, or there though it should not be), and what could not be read when the
        archive was made. Excluded names and sockets are in the listing but were never archived.
        """
        gone, absent, surplus = self._differences()
        if self._state is None:
            return [f"{path} is missing" for path in map(os.fsdecode, [*gone, *absent])], []
        unread = set(dirstate.paths(self._state, dirstate.MISSING))
        missing = [b"/" + path for path in gone] + self._missing_files(
            {census.path_hash(b"/" + path) for path in absent}
        )
        wrong = [f"{os.fsdecode(path)} is missing" for path in missing if path not in unread]
        wrong += [f"/{os.fsdecode(path)} should not be there" for path in surplus]
        return wrong, sorted(os.fsdecode(path) for path in unread)

    def _missing_files(self, absent: set[int]) -> list[bytes]:
        """Return the files of the census that are absent, or that no listing names: a Directory that is a file."""
        if self._state is None:
            return []
        listed = {census.path_hash(b"/" if folder == b"." else b"/" + folder) for folder, _ in self._listed()}
        target = os.fsencode(self._target)
        return [
            entry.path
            for entry in census.read(dirstate.unpack(self._state, dirstate.CENSUS, self._work / "census"))
            if census.path_hash(entry.path) in absent
            or not (census.below(entry.path, listed) or os.path.lexists(target + entry.path))
        ]

    def _differences(self) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Return listed folders that are not there, listed names that are not in theirs, and names not listed."""
        gone: list[bytes] = []
        absent: list[bytes] = []
        surplus: list[bytes] = []
        for folder, listing in self._listed():
            names = {entry[1:] for entry in listing.split(b"\0") if entry}
            try:
                there = set(os.listdir(os.path.join(os.fsencode(self._target), folder)))  # noqa: PTH118, PTH208 - bytes
            except (FileNotFoundError, NotADirectoryError):
                gone.append(folder)
                continue
            except OSError:  # there, but closed to who restores it
                continue
            prefix = b"" if folder == b"." else folder + b"/"
            absent += [prefix + name for name in names - there]
            if not self._keep:
                surplus += [prefix + name for name in there - names]
        return gone, absent, surplus

    def _listed(self) -> Iterator[tuple[bytes, bytes]]:
        self._listings.seek(0)
        while head := self._listings.readline():
            folder, listing = map(int, head.split())
            yield self._listings.read(folder), self._listings.read(listing)

    def close(self) -> None:
        """Let go of what was noted."""
        self._listings.close()


def extract(stream: Iterator[Data], target: Path, *options: str, numeric_owner: bool) -> None:
    """Have tar write a stream that the gate has let pass into ``target``; ProgramError if it fails."""
    attributes = "*" if os.geteuid() == 0 else "user.*"
    argv = [
        # in small records tar reads, and writes, a hundred times as often
        *(
            "tar",
            "--extract",
            "--blocking-factor=512",
            "--delay-directory-restore",
            "--preserve-permissions",
            "--acls",
            "--selinux",
            "--xattrs",
        ),
        *(f"--xattrs-include={attributes}", "--file=-", *options),
        *(["--numeric-owner"] if numeric_owner else []),
    ]
    # the target must be tar's working directory: with -C it loses renamed directories (docs/tar.md 1)
    with _without_setgid(target):
        feed(argv, stream, cwd=target)


def make_way(target: Path, folders: Iterable[bytes]) -> None:
    """Remove what stands where directories belong, and is none: tar would follow a link before it replaced it.

    UsageError if the way to one of them leads out of the target.
    """
    way = within.Way(target)
    for folder in sorted(folders):
        way.check(folder, folder=True)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            here = within.place(target, folder)
            if not stat.S_ISDIR(os.lstat(here).st_mode):
                os.unlink(here)  # noqa: PTH108 - bytes


def set_times(target: Path, folders: Iterable[Line]) -> None:
    """Set the times of directories again: tar forgets one that got a file after it was done with it."""
    for line in folders:
        if line.mtime and within.straight(target, line.path):
            here = within.place(target, line.path)
            if os.lstat(here).st_mtime_ns != line.mtime:
                os.utime(here, ns=(line.mtime, line.mtime), follow_symlinks=False)


class _Final:
    """Says which members belong to the tree as it was at the last level (by hashes of their paths)."""

    def __init__(self, state: Path, work: Path) -> None:
        files = dirstate.unpack(state, dirstate.CENSUS, work / "census")
        self._files = {census.path_hash(entry.path[1:]) for entry in census.read(files)}
        snapshot = Snapshot(dirstate.unpack(state, dirstate.SNAPSHOT, work / "snapshot"))
        self._folders = {census.path_hash(record.name.removeprefix(b"./")) for record in snapshot}

    def __call__(self, member: Member) -> bool:
        """Is this member to be extracted?"""
        if member.type == b"5":
            return self.has_folder(member.bare)
        name = census.path_hash(member.bare)
        # a hard link whose target is gone is stored again, as a file, in a later level
        return name in self._files and (
            member.type != b"1" or census.path_hash(member.link.removeprefix(b"./")) in self._files
        )

    def has_folder(self, bare: bytes) -> bool:
        """Is this a directory of the tree?"""
        return census.path_hash(bare) in self._folders


def strip(folder: bytes) -> None:
    """Take off a directory that an earlier level made what tar would not take off it, or off what it makes in it.

    tar sets the attributes that a directory has, but removes none; and it overlooks that a new directory inherits
    the setgid bit. The bit is set again with the directory's mode, at the end of the level.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = os.lstat(folder).st_mode
        if stat.S_ISDIR(mode) and mode & stat.S_ISGID:
            os.chmod(folder, stat.S_IMODE(mode) & ~stat.S_ISGID)  # noqa: PTH101 - bytes
    with contextlib.suppress(OSError):  # not there, or a file system without attributes
        for name in os.listxattr(folder, follow_symlinks=False):
            if name.startswith(("user.", "trusted.")):
                os.removexattr(folder, name, follow_symlinks=False)


@contextlib.contextmanager
def _without_setgid(folder: Path) -> Iterator[None]:
    """Keep what is restored from inheriting the target's group."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & stat.S_ISGID:
        yield
        return
    folder.chmod(mode & ~stat.S_ISGID)
    try:
        yield
    finally:
        folder.chmod(mode)
