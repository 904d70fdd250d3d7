"""The tree of files that an archive stands for, folder by folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from s3nap.contents import Contents, Indexes, Node
from s3nap.lately import Lately
from s3nap.manifest import Archive, Manifest
from s3nap.sources.tarindex import Line

_DAYS = 8  # trees that are held, ...
_PATHS = 300_000  # ... unless they have more paths than this together


class DayTree:
    """What a chain holds as its last archive has it. Paths have no slash before or after them; the top is empty."""

    def __init__(self, links: Sequence[Archive], indexes: Indexes) -> None:
        """Read the indexes of a chain, FULL first; raises what ``Indexes`` raises. Memory grows with the paths."""
        contents = Contents(indexes)
        found = contents.of(links)
        targets = _targets(contents, links, found)
        self._manifest = links[-1].manifest
        self._nodes: dict[bytes, Node] = {}
        self._names: dict[bytes, dict[bytes, None]] = {b"": {}}
        for path, node in found.items():
            self._add(b"" if path == b"." else path, targets.get(_target(node), node))

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self._nodes)

    def _add(self, path: bytes, node: Node) -> None:
        self._nodes[path] = node
        if node.kind == b"d":
            self._names.setdefault(path, {})
        while path:
            folder, _, name = path.rpartition(b"/")
            known = folder in self._names
            self._names.setdefault(folder, {})[name] = None
            if known:
                break
            path = folder

    def node(self, path: bytes) -> Node | None:
        """Return what is at a path; for a hard link what it leads to. None if there is nothing.

        The directories above the job's own are not in the archive: they look like any.
        """
        if path in self._nodes or path not in self._names:
            return self._nodes.get(path)
        return _made_up(path, self._manifest)

    def names(self, path: bytes) -> list[bytes]:
        """Return what is in a directory, sorted; nothing if it is none."""
        return sorted(self._names.get(path, ()))


class DayTrees:
    """The trees of a few days, read when they are first asked for. Safe to use from several threads."""

    def __init__(self, read: Callable[[Sequence[Archive]], DayTree]) -> None:
        """``read`` reads the tree of a chain."""
        self._read = read
        self._lock = Lock()
        self._held: Lately[str, DayTree] = Lately(_DAYS, lambda trees: sum(map(len, trees)) > _PATHS)

    def of(self, links: Sequence[Archive]) -> DayTree:
        """Return the tree of a chain, FULL first; raises what reading it raises."""
        with self._lock:
            return self._held.get(links[-1].run, lambda: self._read(links))


def _made_up(path: bytes, manifest: Manifest) -> Node:
    time = b"%d" % manifest.started.timestamp()
    line = Line(block=0, kind=b"d", mode=b"rwxr-xr-x", owner=b"root/root", size=0, time=time, path=path, link=b"")
    return Node(line, manifest.run, 0, 0, line)


def _target(node: Node) -> tuple[str, bytes]:
    """Return which member a hard link stands for; it is of the same archive."""
    return node.run, node.line.link.removeprefix(b"./") if node.line.kind == b"h" else b""


def _targets(
    contents: Contents, links: Sequence[Archive], found: Mapping[bytes, Node]
) -> dict[tuple[str, bytes], Node]:
    wanted: dict[str, set[bytes]] = defaultdict(set)
    for node in found.values():
        if node.line.kind == b"h":
            wanted[node.run].add(_target(node)[1])
    return {
        (node.run, node.line.path): node
        for archive in links
        if archive.run in wanted
        for node in contents.held(archive)
        if node.line.path in wanted[archive.run] and node.line.kind != b"h"
    }
