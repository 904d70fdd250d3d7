"""What s3napback and js3tream left in a bucket: archives without manifests, known by their keys and dates alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import islice

from s3nap.compression import gunzipped
from s3nap.errors import VerificationError
from s3nap.logs import one_line
from s3nap.storage import Listed, Storage

_KEY = re.compile(r"(?P<name>.*)-(?P<slot>[0-9]+)(?:-(?P<type>FULL|DIFF))?:(?P<index>[0-9]+)", re.DOTALL)
_SHOWN = 5
_NOTHING = 64  # bytes; gzip makes 20 of nothing and 45 of a tar archive of nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class OldArchive:
    """One archive: chunks by number, as far as they are there. ``type`` is FULL, DIFF or, as for dumps, nothing.

    ``fault`` says which chunks are missing or damaged; ``empty`` is how failed dumps were stored. Times are those at
    which the first and the last chunk were stored, by the storage's clock.
    """

    name: str
    slot: int
    type: str
    chunks: Sequence[Listed]
    fault: str | None = None
    empty: bool = False

    @property
    def shown(self) -> str:
        """The name that js3tream knew it by (what stands before the colon), fit to be printed."""
        return one_line(f"{self.name}-{self.slot}" + (f"-{self.type}" if self.type else ""))

    @property
    def started(self) -> datetime:
        """When its first chunk was stored."""
        return min(chunk.modified for chunk in self.chunks)

    @property
    def finished(self) -> datetime:
        """When its last chunk was stored."""
        return max(chunk.modified for chunk in self.chunks)

    @property
    def day(self) -> date:
        """The local day of its start."""
        return self.started.astimezone().date()

    @property
    def run(self) -> str:
        """There were no ids of runs."""
        return ""

    @property
    def size(self) -> int:
        """Bytes stored."""
        return sum(chunk.size for chunk in self.chunks)

    @property
    def next_chunk(self) -> str | None:
        """The chunk that should follow the last one, where that is as long as the others; None if it is shorter.

        js3tream ended with a shorter chunk, be it an empty one. Of a single chunk nobody can tell.
        """
        last = self.chunks[-1]
        if len(self.chunks) == 1 or last.size < self.chunks[0].size:
            return None
        return f"{self.shown}:{len(self.chunks):020}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldChain:
    """What restoring an archive takes, FULL first, itself last.

    ``broken`` says why it cannot be restored; ``based`` is whether there is a FULL to begin with. ``gaps`` are slots in
    between without a DIFF: nothing ran then, or a run failed, and then its changes are lost.
    """

    links: Sequence[OldArchive]
    based: bool
    broken: str | None
    gaps: Sequence[int]


def read(storage: Storage) -> list[OldArchive]:
    """Return all archives of the original, oldest first within a name; other objects are passed over."""
    found: defaultdict[tuple[str, int, str], list[tuple[int, Listed]]] = defaultdict(list)
    for item in storage.list(""):
        match = _KEY.fullmatch(item.key)
        if match is not None:
            found[match["name"], int(match["slot"]), match["type"] or ""].append((int(match["index"]), item))
    archives = [_archive(storage, *known, chunks) for known, chunks in found.items()]
    return sorted(archives, key=lambda each: (each.name, *_order(each)))


def _order(archive: OldArchive) -> tuple[datetime, int]:
    return archive.finished, archive.slot


def _archive(storage: Storage, name: str, slot: int, kind: str, found: list[tuple[int, Listed]]) -> OldArchive:
    found.sort(key=lambda pair: pair[0])
    made = OldArchive(name=name, slot=slot, type=kind, chunks=[item for _, item in found])
    fault = _fault(made, [index for index, _ in found])
    return replace(made, fault=fault, empty=fault is None and _holds_nothing(storage, made))


def _fault(archive: OldArchive, indexes: Sequence[int]) -> str | None:
    """Say which chunks are missing, or are not as long as they must be."""
    there = set(indexes)
    if len(there) != len(indexes):
        return f"{archive.shown} has one chunk under two keys"
    absent = list(islice((number for number in range(indexes[-1]) if number not in there), _SHOWN))
    if absent:
        keys = ", ".join(f"{archive.shown}:{number:020}" for number in absent)
        more = indexes[-1] + 1 - len(there) - len(absent)
        return f"{keys} is missing" + (f", and {more} more" if more else "")
    size = archive.chunks[0].size
    odd = [chunk.key for chunk in archive.chunks[:-1] if chunk.size != size]
    odd += [archive.chunks[-1].key] if archive.chunks[-1].size > size else []
    return f"{one_line(odd[0])} is not as long as the other chunks: it is damaged" if odd else None


def _holds_nothing(storage: Storage, archive: OldArchive) -> bool:
    """Tell what failed dumps were stored as, so far as that can be seen without a key."""
    if archive.size > _NOTHING:
        return False
    try:
        data = b"".join(storage.get(chunk.key) for chunk in archive.chunks)
        return not data or not b"".join(gunzipped(iter([data]))).strip(b"\0")
    except VerificationError:  # encrypted, or damaged: reading it will tell
        return False


def chain(chosen: OldArchive, archives: Iterable[OldArchive]) -> OldChain:
    """Return what restoring an archive takes: the newest FULL before a DIFF, and all DIFFs since, by their dates."""
    if chosen.type != "DIFF":
        return OldChain(links=[chosen], based=True, broken=_why(chosen), gaps=())
    same = sorted(
        (each for each in archives if each.name == chosen.name and _order(each) <= _order(chosen)), key=_order
    )
    start = max((number for number, each in enumerate(same) if each.type != "DIFF"), default=None)
    if start is None:
        return OldChain(
            links=[chosen], based=False, broken=f"{chosen.shown} is a DIFF, and its FULL is not there any more", gaps=()
        )
    needed = [same[start], *(each for each in same[start + 1 :] if not each.empty or each is chosen)]
    slots = {each.slot for each in needed}
    return OldChain(
        links=needed,
        based=True,
        broken=next(filter(None, map(_why, needed)), None),
        gaps=[slot for slot in range(needed[0].slot + 1, chosen.slot) if slot not in slots],
    )


def _why(archive: OldArchive) -> str | None:
    return f"{archive.shown} is empty: the dump failed when it was made" if archive.empty else archive.fault
