"""A machine to look at: a folder that stands for its ``/``, with mounts as the kernel would tell them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


class Machine:
    """``root`` is short: sockets have to fit into 107 bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mounts: list[str] = []
        (root / "proc/self").mkdir(parents=True)
        self.mount("/", device="8:1", source="/dev/sda1")

    def file(self, *paths: str, text: bytes = b"x") -> None:
        for path in paths:
            place = self.root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text)

    def folder(self, path: str) -> Path:
        place = self.root / path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        return place

    def mount(
        self, path: str, kind: str = "ext4", *, source: str = "/dev/sdb1", device: str = "8:17", part: str = "/"
    ) -> None:
        """Say that something is mounted; what is there is made by ``file``."""
        if not (self.root / path.lstrip("/")).exists():
            self.folder(path)
        shown = path.replace("\\", "\\134").replace(" ", "\\040")
        self._mounts.append(f"36 35 {device} {part} {shown} rw,relatime shared:1 - {kind} {source} rw\n")
        (self.root / "proc/self/mountinfo").write_text("".join(self._mounts))

    def link(self, path: str, target: Path) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def repository(self, path: str) -> None:
        self.file(*(f"{path}/{name}" for name in ("format", "db/current", "hooks/x")))


@pytest.fixture
def own_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database clients find no settings but the test's: their home is ``tmp_path``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))  # not Debian's slow wrappers
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def machine(own_clients: None) -> Iterator[Machine]:  # noqa: ARG001 - whoever looks at a machine asks its servers
    with tempfile.TemporaryDirectory(prefix="m") as name:
        yield Machine(Path(name))
