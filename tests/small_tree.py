"""A tree of a dozen files, and everything that can happen to it: small steps, for histories that are made up."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

_OLD = 946_684_800_123_456_789  # 1 January 2000, with nanoseconds
_ODD = ("new\nline", "-dash", " blank ", "back\\slash", "*", "a[1]", "dürch", "..x")


class SmallTree:
    """``pick`` chooses one of a list by a number; which number, whoever makes up the history says."""

    def __init__(self, root: Path) -> None:
        """Make the first tree."""
        self.root = root
        self._made = 0
        for name in ("a/1", "a/n/2", "a/n/deep/3", "b/4", "c/5", "6"):
            self.write(root / name)
        os.link(root / "a/1", root / "b/same")
        (root / "link").symlink_to("a")

    def write(self, path: Path) -> None:
        """Make or change a file; no two contents are the same."""
        self._made += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            file.write(f"{self._made} ")

    def fresh(self, folder: Path) -> Path:
        """Return a path that does not exist."""
        self._made += 1
        return folder / f"new{self._made}"

    @property
    def folders(self) -> list[Path]:
        """All below the root."""
        return sorted(path for path in self.root.rglob("*") if stat.S_ISDIR(path.lstat().st_mode))

    @property
    def files(self) -> list[Path]:
        """All regular files."""
        return sorted(path for path in self.root.rglob("*") if stat.S_ISREG(path.lstat().st_mode))

    def file(self, number: int) -> Path:
        """Return a file; there always is one."""
        if not self.files:
            self.write(self.fresh(self.root))
        return self.files[number % len(self.files)]

    def folder(self, number: int) -> Path:
        """Return a folder, or the root."""
        folders = [self.root, *self.folders]
        return folders[number % len(folders)]

    def apart(self, number: int, count: int) -> list[Path]:
        """Return folders of which none lies in another; there always are as many."""
        found: list[Path] = []
        folders = self.folders
        for folder in folders[number % max(len(folders), 1) :] + folders[: number % max(len(folders), 1)]:
            if not any(folder.is_relative_to(one) or one.is_relative_to(folder) for one in found):
                found.append(folder)
        while len(found) < count:
            found.append(self.fresh(self.root))
            self.write(found[-1] / "inside")
        return found[:count]


Edit = Callable[[SmallTree, int, int], None]


def create(tree: SmallTree, m: int, n: int) -> None:
    tree.write(tree.fresh(tree.folder(m)))
    odd = tree.folder(m) / _ODD[n % len(_ODD)]
    if not os.path.lexists(odd):
        tree.write(odd)


def change(tree: SmallTree, m: int, _: int) -> None:
    tree.write(tree.file(m))


def change_secretly(tree: SmallTree, m: int, _: int) -> None:
    """Same size, and the old time put back."""
    path = tree.file(m)
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(data[::-1].swapcase() if len(set(data)) > 1 else b"~" * len(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def delete(tree: SmallTree, m: int, _: int) -> None:
    if len(tree.files) > 1:
        tree.file(m).unlink()


def rename_file(tree: SmallTree, m: int, n: int) -> None:
    tree.file(m).rename(tree.fresh(tree.folder(n)))


def rename_over(tree: SmallTree, m: int, n: int) -> None:
    tree.file(m).replace(tree.file(n))


def delete_folder(tree: SmallTree, m: int, _: int) -> None:
    (folder,) = tree.apart(m, 1)
    if any(not file.is_relative_to(folder) for file in tree.files):
        shutil.rmtree(folder)


def move_folder(tree: SmallTree, m: int, n: int) -> None:
    """With the names of hard-linked files in it; the other names stay where they are."""
    (folder,) = tree.apart(m, 1)
    into = tree.folder(n)
    if not into.is_relative_to(folder):
        folder.rename(tree.fresh(into))


def swap(tree: SmallTree, m: int, _: int) -> None:
    _rotate(tree, tree.apart(m, 2))


def rotate_three(tree: SmallTree, m: int, _: int) -> None:
    _rotate(tree, tree.apart(m, 3))


def _rotate(tree: SmallTree, folders: list[Path]) -> None:
    aside = tree.fresh(tree.root)
    folders[-1].rename(aside)
    for source, target in zip(folders[-2::-1], folders[:0:-1], strict=True):
        source.rename(target)
    aside.rename(folders[0])


def invert(tree: SmallTree, m: int, _: int) -> None:
    """``mv a/b b; mv a b/a``: the child becomes the parent."""
    nested = [folder for folder in tree.folders if folder.parent != tree.root]
    if not nested:
        tree.write(tree.fresh(tree.folder(m)) / "n2" / "inside")
        return
    child = nested[m % len(nested)]
    parent, name = child.parent, child.name
    aside = tree.fresh(parent.parent)
    child.rename(aside)
    parent.rename(aside / parent.name if not os.path.lexists(aside / parent.name) else tree.fresh(aside))
    if not os.path.lexists(aside.with_name(name)):
        aside.rename(aside.with_name(name))


def shift(tree: SmallTree, m: int, _: int) -> None:
    """``rm -rf c; mv b c; mv a b; mkdir a``, as logs and snapshots are rotated."""
    a, b, c = tree.apart(m, 3)
    shutil.rmtree(c)
    b.rename(c)
    a.rename(b)
    a.mkdir()
    tree.write(a / "today")


def folder_again(tree: SmallTree, m: int, _: int) -> None:
    """Another directory under an old name, often with the old inode."""
    (folder,) = tree.apart(m, 1)
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    shutil.rmtree(folder)
    folder.mkdir()
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    tree.write(tree.fresh(folder))


def file_for_folder(tree: SmallTree, m: int, _: int) -> None:
    (folder,) = tree.apart(m, 1)
    shutil.rmtree(folder)
    tree.write(folder)


def folder_for_file(tree: SmallTree, m: int, _: int) -> None:
    path = tree.file(m)
    path.unlink()
    tree.write(path / "inside")


def link_for_folder(tree: SmallTree, m: int, n: int) -> None:
    """The directory is moved away, and a link to it put in its place."""
    (folder,) = tree.apart(m, 1)
    into = tree.folder(n)
    if not into.is_relative_to(folder):
        target = tree.fresh(into)
        folder.rename(target)
        folder.symlink_to(os.path.relpath(target, folder.parent))


def hard_link(tree: SmallTree, m: int, n: int) -> None:
    os.link(tree.file(m), tree.fresh(tree.folder(n)))


def change_linked(tree: SmallTree, m: int, n: int) -> None:
    linked = [path for path in tree.files if path.stat().st_nlink > 1]
    if not linked:
        hard_link(tree, m, n)
    else:
        tree.write(linked[m % len(linked)])


def unlink_linked(tree: SmallTree, m: int, n: int) -> None:
    linked = [path for path in tree.files if path.stat().st_nlink > 1]
    if not linked:
        hard_link(tree, m, n)
    else:
        linked[m % len(linked)].unlink()


def old_file_in(tree: SmallTree, m: int, _: int) -> None:
    """A file and a directory of files, older than any backup, are moved in from elsewhere."""
    stage = tree.root.with_name("stage")
    tree.write(stage / "old")
    tree.write(stage / "below" / "old")
    for path in (stage / "old", stage / "below" / "old", stage / "below"):
        os.utime(path, ns=(_OLD, _OLD))
    (stage / "old").rename(tree.fresh(tree.folder(m)))
    (stage / "below").rename(tree.fresh(tree.folder(m)))
    stage.rmdir()


def permissions(tree: SmallTree, m: int, n: int) -> None:
    tree.file(m).chmod((0o600, 0o4755, 0o444)[n % 3])
    for folder in tree.apart(m, 1):
        folder.chmod((0o700, 0o1777, 0o755)[n % 3])


def times(tree: SmallTree, m: int, n: int) -> None:
    for path in (tree.file(m), *tree.apart(n, 1)):
        os.utime(path, ns=(_OLD, _OLD + m + n))


def sparse(tree: SmallTree, m: int, _: int) -> None:
    path = tree.fresh(tree.folder(m))
    tree.write(path)
    os.truncate(path, 1 << 20)


def excluded(tree: SmallTree, m: int, _: int) -> None:
    """Names that the conf leaves out, a directory's among them."""
    tree.write(tree.fresh(tree.folder(m)).with_suffix(".tmp"))
    folder = tree.folder(m) / "cache dir"
    if not os.path.lexists(folder):
        tree.write(folder / "inside")


RENAMES: tuple[Edit, ...] = (
    *(swap, rotate_three, invert, shift, move_folder, folder_again, link_for_folder, file_for_folder, folder_for_file),
    *(rename_file, rename_over, old_file_in, hard_link, change_linked, unlink_linked),
)
EDITS: tuple[Edit, ...] = (
    *RENAMES,
    *(create, change, change_secretly, delete, delete_folder, permissions, times, sparse, excluded),
)
