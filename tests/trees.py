"""Real trees that change from day to day in every way a tree can, and fingerprints to compare them by."""
# Paths are bytes here, which pathlib cannot hold.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH105, PTH108, PTH112, PTH113, PTH114, PTH115, PTH116, PTH118
# ruff: noqa: PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import xxhash

EXCLUDED = ("*.tmp", "cache dir")  # names that the mutator also makes; they must not come back
_DONORS = ("email", "encodings", "json", "xml", "asyncio", "unittest", "distutils", "idlelib", "lib2to3")
_LARGEST = 100_000
_FEW = 15  # files that may go at once, or nothing would be left
_ROOT = os.geteuid() == 0
_OLD = 946_684_800_123_456_789  # 1 January 2000, with nanoseconds
_SLACK = 1 << 18  # bytes that a restored sparse file may occupy beyond the original

ODD_NAMES = (
    b"new\nline", b"\xff\xfe bytes", b"-dash", b" blank", b"blank ", b"back\\slash",
    b"oct\\101al", b"'quote\"", b"x" * 255,
    b"y: Cannot open: x", b"tar: z: file changed as we read it",
    "dürchsichtig".encode(), b"*", b"a[1]", b"~", b"#", b"\x01\x7f",
    b"%2F", b"..x", b"\\", b"\t",
)  # fmt: skip


# fingerprints


@dataclass(frozen=True, slots=True)
class Node:
    """All of one path that must come back."""

    kind: str
    mode: int
    owner: tuple[int, int]
    modified: int
    content: int | bytes | None  # hash of a file, target of a link, number of a device
    group: frozenset[bytes]  # all names of the file, where it has several
    attributes: tuple[tuple[bytes, bytes], ...]  # ACLs are attributes, too: system.posix_acl_*
    size: int = 0
    occupied: int = 0


Fingerprint = Mapping[bytes, Node]


def fingerprint(root: Path, excluded: Callable[[bytes], bool] = lambda _name: False) -> Fingerprint:
    """Describe all below ``root`` that an archive must hold: no sockets, and no name that is ``excluded``."""
    found: dict[bytes, os.stat_result] = {}
    names: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    base = os.fsencode(root)
    for path, status in _walk(base, excluded):
        found[path] = status
        if not stat.S_ISDIR(status.st_mode):
            names[status.st_dev, status.st_ino].add(path)
    return {path: _node(base + b"/" + path, status, names) for path, status in found.items()}


def difference(wanted: Fingerprint, restored: Fingerprint, limit: int = 12) -> list[str]:
    """Say what differs; an empty list means that all came back."""
    said = [f"{os.fsdecode(path)!r} is missing" for path in sorted(wanted.keys() - restored.keys())]
    said += [f"{os.fsdecode(path)!r} should not be there" for path in sorted(restored.keys() - wanted.keys())]
    for path in sorted(wanted.keys() & restored.keys()):
        before, after = wanted[path], restored[path]
        said += [
            f"{os.fsdecode(path)!r}: {field} was {getattr(before, field)!r}, is {getattr(after, field)!r}"
            for field in ("kind", "mode", "owner", "modified", "content", "group", "attributes", "size")
            if getattr(before, field) != getattr(after, field)
        ]
        if after.occupied > before.occupied + _SLACK:
            said.append(
                f"{os.fsdecode(path)!r}: its holes are filled, {after.occupied} bytes instead of {before.occupied}"
            )
    return said if len(said) <= limit else [*said[:limit], f"and {len(said) - limit} more"]


def _walk(base: bytes, excluded: Callable[[bytes], bool]) -> Iterator[tuple[bytes, os.stat_result]]:
    yield b".", os.lstat(base)
    stack = [b""]
    while stack:
        folder = stack.pop()
        for name in os.listdir(base + b"/" + folder):
            path = folder + name
            status = os.lstat(base + b"/" + path)
            if excluded(name) or stat.S_ISSOCK(status.st_mode):
                continue
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                stack.append(path + b"/")


def _node(path: bytes, status: os.stat_result, names: Mapping[tuple[int, int], set[bytes]]) -> Node:
    group = names.get((status.st_dev, status.st_ino), set())
    kind = chr(stat.filemode(status.st_mode).encode()[0])
    return Node(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        modified=status.st_mtime_ns,
        content=_content(path, kind, status),
        group=frozenset(group) if len(group) > 1 else frozenset(),
        attributes=tuple(
            (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
            for name in sorted(os.listxattr(path, follow_symlinks=False))
        ),
        size=status.st_size if kind == "-" else 0,
        occupied=status.st_blocks * 512 if kind == "-" else 0,
    )


def _content(path: bytes, kind: str, status: os.stat_result) -> int | bytes | None:
    if kind == "l":
        return os.readlink(path)
    if kind in "bc":
        return status.st_rdev
    return xxhash.xxh3_64_intdigest(Path(os.fsdecode(path)).read_bytes()) if kind == "-" else None


# changing trees


class Mutator:
    """Builds a tree under ``root`` and edits it, as its seed says. Paths are bytes relative to ``root``."""

    def __init__(self, root: Path, seed: int, files: int) -> None:
        """Copy about so many files and add some of everything else."""
        self.root = os.fsencode(root)
        self.random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._made = 0
        self.done: list[str] = []  # the edits of the day, for messages
        os.makedirs(self.root)
        self._grow(b"", files)
        for edit in EDITS * 2:
            edit(self)

    def day(self, edits: int = 25) -> None:
        """Do as many random edits. A tree that lost a lot gets new files: a sharp loss would be a case of its own."""
        self.done = []
        before = self._visible()
        for edit in self.random.choices(EDITS, k=edits):
            self.done.append(edit.__name__)
            edit(self)
        if self._visible() < before * 3 // 4:
            self._grow(b"grown%d/" % self.random.randrange(10**9), before // 2)

    def _grow(self, below: bytes, files: int) -> None:
        for source, path in islice(_donors(), files):
            target = self.at(below + path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target)

    def _visible(self) -> int:
        return sum(b"cache dir" not in path and not path.endswith(b".tmp") for path in self.files())

    def at(self, path: bytes) -> bytes:
        """Return the absolute path."""
        return self.root + b"/" + path

    def folders(self) -> list[bytes]:
        """All directories below the root."""
        return self._paths(folders=True)

    def files(self) -> list[bytes]:
        """All regular files."""
        return self._paths(folders=False)

    def _paths(self, *, folders: bool) -> list[bytes]:
        found = []
        stack = [b""]
        while stack:
            folder = stack.pop()
            with os.scandir(self.root + b"/" + folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_folder:
                        stack.append(folder + entry.name + b"/")
                    if is_folder if folders else entry.is_file(follow_symlinks=False):
                        found.append(folder + entry.name)
        return sorted(found)

    def file(self) -> bytes:
        """Return any file."""
        return self.at(self.random.choice(self.files()))

    def fresh(self, name: bytes = b"") -> bytes:
        """Return an absolute path that does not exist, in any directory."""
        self._made += 1
        folders = [b"", *(folder + b"/" for folder in self._open_folders() if len(folder) < 1000)]
        path = self.at(self.random.choice(folders) + (name or b"n%d" % self._made))
        return self.fresh() if os.path.lexists(path) else path

    def _open_folders(self) -> list[bytes]:
        """Directories that are not excluded: if all went below one that is, the tree would be empty."""
        return [folder for folder in self.folders() if b"cache dir" not in folder]

    def apart(self, count: int) -> list[bytes]:
        """Return absolute paths of directories of which none lies in another; fewer, if there are not as many."""
        found: list[bytes] = []
        folders = self._open_folders()
        for folder in self.random.sample(folders, len(folders)):
            if not any(
                (one + b"/").startswith(folder + b"/") or (folder + b"/").startswith(one + b"/") for one in found
            ):
                found.append(folder)
        return [self.at(folder) for folder in found[:count]]

    def small(self) -> list[bytes]:
        """Return at most one absolute path, of a directory that may go without leaving the tree empty."""
        return [folder for folder in self.apart(8) if _count(folder) < _FEW][:1]

    def text(self, size: int | None = None) -> bytes:
        """Return new contents."""
        return self.random.randbytes(self.random.choice((0, 1, 511, 512, 513, 9000)) if size is None else size)

    def write(self, path: bytes, data: bytes, mode: str = "wb") -> None:
        """Write a file."""
        with open(path, mode) as file:
            file.write(data)


def _count(folder: bytes) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _never(_name: bytes) -> bool:
    return False


def _donors() -> Iterator[tuple[str, bytes]]:
    """Real files, with where they go; the same on every call."""
    library = Path(sysconfig.get_path("stdlib"))
    for base in [*(library / name for name in _DONORS), Path("/usr/share/doc")]:
        for path in sorted(base.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < _LARGEST and path.suffix != ".pyc":
                yield str(path), os.fsencode(path.relative_to(base.parent))


def _create(tree: Mutator) -> None:
    for name in (b"", b"", tree.random.choice(ODD_NAMES)):
        tree.write(tree.fresh(name), tree.text())


def _create_excluded(tree: Mutator) -> None:
    tree.write(tree.fresh(b"e%d.tmp" % tree._made), tree.text())
    folder = tree.fresh(b"cache dir")
    os.mkdir(folder)
    tree.write(folder + b"/inside", b"x")


def _change(tree: Mutator) -> None:
    tree.write(tree.file(), tree.text())


def _change_secretly(tree: Mutator) -> None:
    """Same size, and the old mtime put back."""
    path = tree.file()
    status = os.stat(path)
    tree.write(path, tree.text(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _append(tree: Mutator) -> None:
    tree.write(tree.file(), b"more\n", "ab")


def _truncate(tree: Mutator) -> None:
    path = tree.file()
    os.truncate(path, os.stat(path).st_size // 2)


def _delete(tree: Mutator) -> None:
    os.unlink(tree.file())


def _rename_file(tree: Mutator) -> None:
    os.rename(tree.file(), tree.fresh())


def _rename_over(tree: Mutator) -> None:
    os.replace(tree.file(), tree.file())


def _delete_folder(tree: Mutator) -> None:
    for folder in tree.small():
        shutil.rmtree(folder)


def _rename_folder(tree: Mutator) -> None:
    for folder in tree.apart(1):
        target = tree.fresh()
        if not target.startswith(folder + b"/"):
            os.rename(folder, target)


def _rename_top_of_a_tree(tree: Mutator) -> None:
    tops = [folder for folder in tree.folders() if b"/" not in folder]
    os.rename(tree.at(tree.random.choice(tops)), tree.at(b"top%d" % tree.random.randrange(10**9)))


def _swap(tree: Mutator) -> None:
    _rotate(tree, tree.apart(2))


def _rotate_three(tree: Mutator) -> None:
    _rotate(tree, tree.apart(3))


def _rotate(tree: Mutator, folders: list[bytes]) -> None:
    """Each takes the place of the next, the last that of the first."""
    if len(folders) > 1:
        aside = tree.at(b"aside")
        os.rename(folders[-1], aside)
        for source, target in zip(folders[-2::-1], folders[:0:-1], strict=True):
            os.rename(source, target)
        os.rename(aside, folders[0])


def _invert(tree: Mutator) -> None:
    """``mv a/b b; mv a b/a``: the child becomes the parent."""
    nested = [folder for folder in tree.folders() if b"/" in folder]
    if nested:
        child = tree.at(tree.random.choice(nested))
        parent, name = os.path.split(child)
        lifted = os.path.join(os.path.dirname(parent), name + b".up")
        if len(name) < 240 and not os.path.lexists(lifted):
            os.rename(child, lifted)
            os.rename(parent, os.path.join(lifted, b"down%d" % tree.random.randrange(10**9)))


def _shift(tree: Mutator) -> None:
    """``rm -rf c; mv b c; mv a b; mkdir a``, as logs and snapshots are rotated."""
    base = tree.at(b"rotated")
    a, b, c = (base + b"/daily.%d" % number for number in range(3))
    for folder in (base, a, b, c):
        if not os.path.isdir(folder) or os.path.islink(folder):  # other edits come by here, too
            if os.path.lexists(folder):
                os.unlink(folder)
            os.mkdir(folder)
    tree.write(a + b"/of %d" % tree.random.randrange(10**9), tree.text())
    if _count(c) < _FEW:
        shutil.rmtree(c)
    else:
        os.rename(c, tree.at(b"out%d" % tree.random.randrange(10**9)))
    os.rename(b, c)
    os.rename(a, b)
    os.mkdir(a)


def _folder_again(tree: Mutator) -> None:
    """Another directory under an old name, often with the old inode."""
    for folder in tree.small():
        kept = [name for name in os.listdir(folder) if os.path.isfile(folder + b"/" + name)][:3]
        for name in kept:
            os.rename(folder + b"/" + name, tree.at(b"kept-" + name[:200]))
        shutil.rmtree(folder)
        os.mkdir(folder)
        for name in kept:
            os.rename(tree.at(b"kept-" + name[:200]), folder + b"/" + name)


def _file_for_folder(tree: Mutator) -> None:
    for folder in tree.small():
        shutil.rmtree(folder)
        tree.write(folder, b"was a directory")


def _folder_for_file(tree: Mutator) -> None:
    path = tree.file()
    os.unlink(path)
    os.mkdir(path)
    tree.write(path + b"/inside", b"was a file")


def _link_for_folder(tree: Mutator) -> None:
    """The directory is moved away, and a link to it put in its place."""
    for folder in tree.apart(1):
        target = tree.fresh()
        if not target.startswith(folder + b"/"):
            os.rename(folder, target)
            os.symlink(os.path.relpath(target, os.path.dirname(folder)), folder)


def _folder_for_link(tree: Mutator) -> None:
    links = [path for path, status in _walk(tree.root, _never) if stat.S_ISLNK(status.st_mode)]
    for path in sorted(links)[:1]:
        os.unlink(tree.at(path))
        os.mkdir(tree.at(path))


def _symlink(tree: Mutator) -> None:
    os.symlink(tree.random.choice((b"nowhere", b"/etc/passwd", b"../..", b".", b"t" * 300, b"new\nline")), tree.fresh())


def _hard_link(tree: Mutator) -> None:
    source = tree.file()
    for _ in range(tree.random.choice((1, 1, 3))):
        os.link(source, tree.fresh())


def _hard_link_of_link(tree: Mutator) -> None:
    path = tree.fresh()
    os.symlink(b"somewhere", path)
    os.link(path, tree.fresh(), follow_symlinks=False)


def _linked(tree: Mutator) -> list[bytes]:
    return [path for path in tree.files() if os.stat(tree.at(path)).st_nlink > 1]


def _move_linked(tree: Mutator) -> None:
    """One name of a hard-linked file moves with its directory; the others stay."""
    for path in tree.random.sample(linked := _linked(tree), min(1, len(linked))):
        folder = os.path.dirname(tree.at(path))
        target = tree.fresh()
        if folder != tree.root and not target.startswith(folder + b"/"):
            os.rename(folder, target)


def _delete_linked(tree: Mutator) -> None:
    for path in tree.random.sample(linked := _linked(tree), min(1, len(linked))):
        os.unlink(tree.at(path))


def _change_linked(tree: Mutator) -> None:
    for path in tree.random.sample(linked := _linked(tree), min(1, len(linked))):
        tree.write(tree.at(path), tree.text())


def _sparse(tree: Mutator) -> None:
    path = tree.fresh()
    tree.write(path, b"head")
    os.truncate(path, 8 << 20)
    with open(path, "r+b") as file:
        file.seek(3 << 20)
        file.write(b"island")
        if tree.random.random() < 0.5:
            file.seek(0, os.SEEK_END)
            file.write(b"tail")


def _special(tree: Mutator) -> None:
    os.mkfifo(tree.fresh(), 0o640)
    folder = os.open(tree.root, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/socket{tree._made}")  # a socket's path must be short
    os.close(folder)
    if _ROOT:
        os.mknod(tree.fresh(), 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(tree.fresh(), 0o660 | stat.S_IFBLK, os.makedev(7, tree.random.randrange(300)))


def _attributes(tree: Mutator) -> None:
    names = ["user.one", "user.two", *(["trusted.three"] if _ROOT else [])]
    for path in (tree.file(), *tree.apart(1)):
        os.setxattr(path, tree.random.choice(names), tree.random.randbytes(9))


def _attributes_away(tree: Mutator) -> None:
    for path in [*tree.files(), *tree.folders()]:
        there = [name for name in os.listxattr(tree.at(path)) if not name.startswith("system.")]
        if there and tree.random.random() < 0.5:
            os.removexattr(tree.at(path), there[0])
            return


def _acl(tree: Mutator) -> None:
    for path in tree.apart(1):
        subprocess.run(["setfacl", "-m", f"u:{tree.random.randrange(1000, 1009)}:rx,d:u:1001:rwx", path], check=True)
    subprocess.run(["setfacl", "-m", f"g:{tree.random.randrange(1000, 1009)}:r", tree.file()], check=True)


def _acl_away(tree: Mutator) -> None:
    for path in [*tree.folders(), *tree.files()]:
        if any(name.startswith("system.posix_acl") for name in os.listxattr(tree.at(path))):
            subprocess.run(["setfacl", "-b", tree.at(path)], check=True)
            return


def _mode(tree: Mutator) -> None:
    os.chmod(tree.file(), tree.random.choice((0o4755, 0o2711, 0o600, 0o444, 0o1644)))
    for folder in tree.apart(1):
        os.chmod(folder, tree.random.choice((0o1777, 0o2775, 0o700, 0o755)))


def _owner(tree: Mutator) -> None:
    if _ROOT:
        for path in (tree.file(), *tree.apart(1)):
            os.lchown(path, tree.random.choice((1, 1234, 65534)), tree.random.choice((2, 4321)))


def _old(tree: Mutator) -> None:
    """A file, and a directory of files, older than any backup come in from elsewhere."""
    stage = tree.root + b".stage"
    os.mkdir(stage)
    for name in (b"old-1", b"old-2"):
        tree.write(stage + b"/" + name, tree.text())
        os.utime(stage + b"/" + name, ns=(_OLD, _OLD))
    os.utime(stage, ns=(_OLD, _OLD))
    os.rename(stage + b"/old-2", tree.fresh())
    os.rename(stage, tree.fresh())


def _time(tree: Mutator) -> None:
    for path in (tree.file(), *tree.apart(1)):
        os.utime(path, ns=(_OLD, _OLD + tree.random.randrange(10**12)))


def _deep(tree: Mutator) -> None:
    parts = tree.random.randrange(3, 25)
    path = tree.fresh() + b"/d" * parts + b"/" + b"long" * 30
    if len(path) < 1500:
        os.makedirs(path)
        tree.write(path + b"/leaf", tree.text())


def _empty(tree: Mutator) -> None:
    os.mkdir(tree.fresh())


EDITS: tuple[Callable[[Mutator], None], ...] = (
    *(_create, _create_excluded, _change, _change_secretly, _append, _truncate, _delete, _rename_file, _rename_over),
    *(_delete_folder, _rename_folder, _rename_top_of_a_tree, _swap, _rotate_three, _invert, _shift, _folder_again),
    *(_file_for_folder, _folder_for_file, _link_for_folder, _folder_for_link, _symlink, _hard_link, _hard_link_of_link),
    *(_move_linked, _delete_linked, _change_linked, _sparse, _special, _attributes, _attributes_away, _acl, _acl_away),
    *(_mode, _owner, _old, _time, _deep, _empty),
    *(_hard_link, _hard_link, _hard_link_of_link, _move_linked, _change_linked, _attributes, _acl),  # rarer in the tree
)
