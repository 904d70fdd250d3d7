"""What is backed up: trees and dumps, made the same each time, or a copy of a tree of the user's own."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_WORDS = [f"word{number:03}" for number in range(300)]


@dataclass(frozen=True)
class Workload:
    """A tree below ``path``; with ``stream`` it is one dump, which programs shall read from a command's output."""

    name: str
    title: str
    path: Path
    stream: bool = False

    @property
    def files(self) -> list[Path]:
        """All files, in order."""
        return sorted(path for path in self.path.rglob("*") if path.is_file() and not path.is_symlink())

    @property
    def one(self) -> Path:
        """A small file in the middle."""
        files = self.files
        return next((path for path in files[len(files) // 2 :] if 0 < path.stat().st_size < 65536), files[0])

    def change(self) -> None:
        """Change one file of a hundred, at least one."""
        for path in self.files[::100]:
            with path.open("ab") as file:
                file.write(b"changed\n")


def mixed(base: Path, size: int, tree: Path | None = None) -> Workload:
    """Real files: of /usr until there are ``size`` bytes, or a copy of ``tree``."""
    target = base / "mixed"
    if tree is not None:
        subprocess.run(["cp", "-a", str(tree), str(target)], check=True)
        return Workload("mixed", f"a copy of {tree.name}: {_told(target)}", target)
    total = 0
    for source in _regular(Path("/usr")):
        copy = target / source.relative_to("/usr")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy)
        total += copy.stat().st_size
        if total >= size:
            break
    return Workload("mixed", f"mixed tree of real files: {_told(target)}", target)


def _regular(top: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(top):
        below.sort()  # the same tree each time
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def small(base: Path, count: int) -> Workload:
    """Many small files: 1 to 4 KB of words, 500 in a folder."""
    target, dice = base / "small", random.Random(4)  # noqa: S311 - the same tree each time
    for number in range(count):
        folder = target / f"{number // 500:04}"
        folder.mkdir(parents=True, exist_ok=True)
        text = " ".join(dice.choices(_WORDS, k=dice.randrange(125, 500)))
        (folder / f"{number:07}").write_text(text)
    return Workload("small", f"small files of 1 to 4 KB: {_told(target)}", target)


def blob(base: Path, size: int) -> Workload:
    """One large file that does not compress."""
    target = base / "blob"
    target.mkdir()
    with (target / "blob").open("wb") as file:
        for _ in range(max(1, size >> 20)):
            file.write(os.urandom(1 << 20))
    return Workload("blob", f"one incompressible file: {_told(target)}", target)


def sql(base: Path, size: int) -> Workload:
    """A dump as mysqldump writes it."""
    target, dice, number = base / "sql", random.Random(5), 0  # noqa: S311 - the same dump each time
    target.mkdir()
    with (target / "dump.sql").open("w") as file:
        while file.tell() < size:
            rows = []
            for number in range(number, number + 500):  # noqa: B020 - goes on where it stood
                name = " ".join(dice.choices(_WORDS, k=6))
                rows.append(f"({number},'{name}',{dice.random():.6f},'2026-{dice.randrange(1, 13):02}-01')")
            file.write(f"INSERT INTO `orders` VALUES {','.join(rows)};\n")  # noqa: S608 - nobody runs it
    return Workload("sql", f"an SQL dump: {_told(target)}", target, stream=True)


def copies(base: Path, tree: Path, size: int) -> Workload:
    """Copy a smaller tree until there are ``size`` bytes (reflinks where the file system has them)."""
    each = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    target = base / "copies"
    target.mkdir()
    for number in range(-(-size // each)):
        subprocess.run(["cp", "-a", "--reflink=auto", str(tree), str(target / str(number))], check=True)
    return Workload("stream", f"copies of it: {_told(target)}", target)


def _told(tree: Path) -> str:
    sizes = [path.stat().st_size for path in tree.rglob("*") if path.is_file()]
    return f"{sum(sizes) / (1 << 20):,.0f} MiB in {len(sizes):,} files"
