"""What of a damaged chain is whole: which paths can be restored as they were, which cannot, and why.

Nothing is guessed: where a damaged archive may have held a newer version of a file, the file counts as lost, and it
is said which archive has an older one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from s3nap.contents import Node
from s3nap.manifest import Archive
from s3nap.picking import Picked, Selection, named
from s3nap.reader import Reader
from s3nap.remains import Remains, link_target
from s3nap.sources import dirstate
from s3nap.sources.census import path_hash


class Lost(NamedTuple):
    """A path that cannot be restored as it was, and why."""

    path: bytes
    why: str


@dataclass(slots=True, kw_only=True)
class Found:
    """What a survey came to: what can be written, what is lost, and what else must be said.

    ``links`` are those archives of the chain that open; the tree is that of the last one.
    """

    links: Sequence[Archive]
    picked: Picked
    lost: list[Lost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def survey(
    reader: Reader,
    lineage: Sequence[Archive],
    selection: Selection,
    work: Path,
    progress: Callable[[int], None] = lambda _size: None,
) -> Found:
    """Look at every chunk that is needed of ``lineage``, the oldest archive first, whole chain or not.

    ``progress`` is told of their raw bytes. Raises VerificationError if nothing can be opened at all, NoKeyError,
    BucketError.
    """
    return _Survey(Remains(reader, lineage, work, progress), selection).found()


class _Survey:
    def __init__(self, remains: Remains, selection: Selection) -> None:
        self._remains = remains
        self._selection = selection
        oldest = remains.links[0].manifest
        self._without = f"archive {oldest.parent}, which is missing" if oldest.parent is not None else ""

    def found(self) -> Found:
        """Survey the chain."""
        remains = self._remains
        if remains.last.holey:
            remains.notes.append("directories may have the mode, owner and time of an older day")
        everything = remains.contents()
        nodes = {path: node for path, node in everything.items() if self._selection(node.line)}
        lost = dict(self._stale(nodes)) | dict(self._unlinked(nodes, everything))
        remains.probe(node for path, node in nodes.items() if path not in lost)
        nodes |= {path: each.held[-1] for each in remains.levels.values() if (path := each.last_of(nodes))}
        lost |= {path: why for path, node in nodes.items() if path not in lost and (why := remains.damage(node))}
        lost |= {
            path: f"it is a hard link to what is lost: {lost[link_target(node.line)]}"
            for path, node in nodes.items()
            if path not in lost and node.line.kind == b"h" and link_target(node.line) in lost
        }
        lost |= dict.fromkeys(self._never_found(nodes), self._nowhere())
        good = {path: node for path, node in nodes.items() if path not in lost}
        targets = {target for node in good.values() if (target := remains.target(node)) is not None}
        brought = [target for target in targets if good.get(target.line.path) != target]
        parents = [node.line for path, node in nodes.items() if path in lost and node.line.is_folder]
        picked = Picked(nodes=good, brought=brought, parents=parents)
        return Found(links=remains.links, picked=picked, lost=self._explained(lost), notes=remains.notes)

    def _stale(self, nodes: Mapping[bytes, Node]) -> Iterator[tuple[bytes, str]]:
        """Yield what a later, damaged archive may have held anew: all that has changed in between, by the census."""
        holes = [level.archive for level in self._remains.levels.values() if level.holey]
        doubtful: dict[str, list[Node]] = defaultdict(list)
        for node in nodes.values():
            if holes and node.run < holes[-1].run and not node.line.is_folder:
                doubtful[node.run].append(node)
        now = self._remains.facts(self._remains.last) if doubtful else {}
        for run, held in doubtful.items():
            then = self._remains.facts(self._remains.levels[run])
            for node in held:
                key = path_hash(node.line.path)
                if key not in now or then.get(key) != now[key]:
                    hole = next(each for each in holes if each.run > run)
                    yield node.line.path, f"it may have been changed in archive {hole.run}, which is damaged"

    def _unlinked(self, nodes: Mapping[bytes, Node], everything: Mapping[bytes, Node]) -> Iterator[tuple[bytes, str]]:
        """Yield hard links to what is not part of the tree any more: the archive that says so otherwise is damaged."""
        for path, node in nodes.items():
            if node.line.kind == b"h":
                target = everything.get(link_target(node.line))
                if target is None or target.run != node.run:
                    yield path, "it is a hard link to a file that is lost"

    def _never_found(self, nodes: Mapping[bytes, Node]) -> list[bytes]:
        """Return the paths that were there but that no archive is known to hold."""
        whole = not self._without and not any(level.holey for level in self._remains.levels.values())
        if whole or self._remains.last.state is None:
            return []
        unread = set(dirstate.paths(self._remains.last.state, dirstate.MISSING))
        paths = (entry.path for entry in self._remains.census(self._remains.last.state) if entry.path not in unread)
        return [path[1:] for path in paths if path[1:] not in nodes and self._selection(named(path[1:]))]

    def _nowhere(self) -> str:
        holes = [
            f"archive {level.archive.run}, which is damaged" for level in self._remains.levels.values() if level.holey
        ]
        return "it was in " + " or in ".join([self._without, *holes] if self._without else holes)

    def _explained(self, lost: Mapping[bytes, str]) -> list[Lost]:
        """Add which archive has an older version that is whole."""
        older: dict[bytes, list[Node]] = defaultdict(list)
        for level in reversed(self._remains.levels.values()):
            for node in level.held:
                if node.line.path in lost and not node.line.is_folder:
                    older[node.line.path].append(node)
        self._remains.probe(node for held in older.values() for node in held)
        said = []
        for path, why in sorted(lost.items()):
            whole = next((node for node in older[path] if not self._remains.damage(node)), None)
            day = self._remains.levels[whole.run].archive.manifest.day if whole is not None else None
            hint = f"; an older one is in archive {whole.run} of {day} (--at)" if whole is not None else ""
            said.append(Lost(path, why + hint))
        return said
