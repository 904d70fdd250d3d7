"""Writing back a tree that s3napback stored: tar's own chain, without a census, in tar's old format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from s3nap.sources.census import path_hash
from s3nap.sources.oldtar import Renames, modernized
from s3nap.sources.renames import links, replay
from s3nap.sources.tarstream import Gate, Member
from s3nap.sources.tree import Tree
from s3nap.storage import Data


class OldTree(Tree):
    """A new folder that such a chain is restored into. Takes some 100 bytes of memory per file.

    ``gapped``: a DIFF of the chain is missing, so that any name of the last listing may be.
    """

    def __init__(self, target: Path, work: Path, *, numeric_owner: bool, gapped: bool) -> None:
        """``work`` is a private folder."""
        super().__init__(target, work, None, keep=False, numeric_owner=numeric_owner)
        self._gapped = gapped
        self._renamed: list[Renames] = []
        self._owed: set[int] = set()  # listed as about to be stored, and not stored since
        self._stored: set[int] = set()
        self._gate = Gate(self._listing, self._member)

    def level(self, pieces: Iterator[Data]) -> None:
        """Extract one level; VerificationError if it holds what must not be extracted, ProgramError if tar fails."""
        super().level(modernized(pieces, self._rename))

    def _rename(self, pairs: Renames) -> None:
        replay(self._target, pairs)
        self._renamed.append(pairs)
        self._gate.relinked(links(self._target))

    def _listing(self, folder: bytes, listing: bytes) -> None:
        self._note(folder, listing)
        prefix = b"" if folder == b"." else folder + b"/"
        entries = (entry for entry in listing.split(b"\0") if entry[:1] in {b"Y", b"D"})
        self._owed |= {path_hash(prefix + entry[1:]) for entry in entries}

    def _member(self, member: Member) -> bool:
        name = path_hash(member.bare)
        self._owed.discard(name)
        self._stored.add(name)
        return True

    def check(self) -> tuple[list[str], list[str]]:
        """Compare the tree with the last level's own listing.

        Returns what is wrong, and what was listed but never stored: sockets, and what could not be read when the
        archive was made. Excluded names were neither stored nor about to be: nothing is said of them.
        """
        absent, surplus = self._differences()
        wrong = [f"/{os.fsdecode(path)} should not be there" for path in surplus]
        unread = []
        for path in absent:
            names = {path_hash(name) for name in self._history(path)}
            if names & self._owed or (self._gapped and not names & self._stored):
                unread.append(os.fsdecode(path))
            elif names & self._stored:
                wrong.append(f"{os.fsdecode(path)} is missing")
        return wrong, sorted(unread)

    def _history(self, path: bytes) -> Iterator[bytes]:
        """Yield all names that a path had, back to the first level."""
        yield path
        for pairs in reversed(self._renamed):
            above = [pair for pair in pairs if path == pair[1] or path.startswith(pair[1] + b"/")]
            if above:
                old, new = max(above, key=lambda pair: len(pair[1]))
                path = old + path[len(new) :]
                yield path
