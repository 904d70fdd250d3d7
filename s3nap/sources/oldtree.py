"""Writing back a tree that s3napback stored: tar's own chain, without a census, in tar's old format."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from s3nap.sources.census import path_hash
from s3nap.sources.oldtar import modernized
from s3nap.sources.renames import Pairs, links, replay
from s3nap.sources.tarstream import Gate, Member
from s3nap.sources.tree import Tree
from s3nap.storage import Data


class OldTree(Tree):
    """A new folder that such a chain is restored into. Takes some 200 bytes of memory per file.

    ``gapped``: a DIFF of the chain is missing, so that any name of the last listing may be.
    """

    def __init__(self, target: Path, work: Path, *, numeric_owner: bool, gapped: bool) -> None:
        """``work`` is a private folder."""
        super().__init__(target, work, None, keep=False, numeric_owner=numeric_owner)
        self._gapped = gapped
        self._levels: list[Pairs] = []  # the renames of each
        self._arrived: list[bytes] = []  # directories that this level says were renamed
        self._seen: set[int] = set()
        self._owed: set[int] = set()  # listed as about to be stored, and not stored since
        self._excluded: set[int] = set()
        self._gate = Gate(self._listing, self._member)

    def level(self, pieces: Iterator[Data]) -> None:
        """Extract one level; VerificationError if it holds what must not be extracted, ProgramError if tar fails."""
        self._levels.append([])
        self._arrived = []
        super().level(modernized(pieces, self._rename))

    def _rename(self, pairs: Pairs, listings: Mapping[bytes, bytes]) -> None:
        self._arrived = [new for _, new in pairs]
        self._levels[-1] = replay(self._target, pairs, listings)
        self._gate.relinked(links(self._target))

    def _listing(self, folder: bytes, listing: bytes) -> None:
        self._note(folder, listing)
        # a new name that was not about to be stored is an excluded one, unless its directory came from elsewhere
        settled = not any(_under(folder, new) for new in self._arrived)
        for entry in filter(None, listing.split(b"\0")):
            path = entry[1:] if folder == b"." else folder + b"/" + entry[1:]
            name = path_hash(path)
            if entry[:1] != b"N":
                self._owed.add(name)
            elif settled and not self._seen & self._known_as(path):
                self._excluded.add(name)
            self._seen.add(name)

    def _member(self, member: Member) -> bool:
        self._owed.discard(path_hash(member.bare))
        return True

    def check(self) -> tuple[list[str], list[str]]:
        """Compare the tree with the last level's own listing.

        Returns what is wrong, and what was listed but never stored: sockets, and what could not be read when the
        archive was made. Nothing is said of excluded names.
        """
        gone, absent, surplus = self._differences()
        wrong = [f"/{os.fsdecode(path)} should not be there" for path in surplus]
        unread = []
        for path in (*gone, *absent):
            names = self._known_as(path)
            if names & self._owed or (self._gapped and not names & self._excluded):
                unread.append(os.fsdecode(path))
            elif not names & self._excluded:
                wrong.append(f"/{os.fsdecode(path)} is missing")
        return wrong, sorted(unread)

    def unsure(self) -> list[str]:
        """Return the directories that the last level lists as if they were files that need not be stored again.

        tar did so the day after directories had been swapped. What is there is what earlier archives have; whether
        anything below had changed on that day, nobody can tell.
        """
        target = os.fsencode(self._target)
        found = []
        for folder, listing in self._listed():
            prefix = b"" if folder == b"." else folder + b"/"
            for entry in filter(None, listing.split(b"\0")):
                with contextlib.suppress(OSError):
                    if entry[:1] != b"D" and stat.S_ISDIR(os.lstat(target + b"/" + prefix + entry[1:]).st_mode):
                        found.append(os.fsdecode(prefix + entry[1:]))
        return found

    def _known_as(self, path: bytes) -> set[int]:
        """Return all names that a path had, back to the first level, as hashes."""
        names = {path_hash(path)}
        for pairs in reversed(self._levels):
            above = [pair for pair in pairs if _under(path, pair[1])]
            if above:
                old, new = max(above, key=lambda pair: len(pair[1]))
                path = old + path[len(new) :]
                names.add(path_hash(path))
        return names


def _under(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")
