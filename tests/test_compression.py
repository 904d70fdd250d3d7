"""What chunks become before they are encrypted."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from s3nap.compression import COMPRESSIONS

_SIZE = 16 << 20  # a chunk


def _chunk(paths: Iterable[Path]) -> memoryview:
    taken = bytearray()
    for path in sorted(paths):
        if path.is_file():
            taken += path.read_bytes()
        if len(taken) >= _SIZE:
            break
    return memoryview(taken)[:_SIZE]


def _text() -> memoryview:
    return _chunk(Path(sysconfig.get_path("stdlib")).rglob("*.py"))


def _programs() -> memoryview:
    return _chunk(Path("/usr/bin").iterdir())


def _packed(data: memoryview, level: int | None) -> bytes:
    parts: list[bytes] = []
    COMPRESSIONS["zstd"].encode(data, parts.append, level)
    return b"".join(parts)


@pytest.mark.parametrize("read", [_programs, _text])
def test_zstd_without_a_level_is_about_as_small_as_level_3(read: Callable[[], memoryview]) -> None:
    """Nobody's bucket grows because the default takes less time: a sixth larger, it would be level 1."""
    chunk = read()
    assert len(_packed(chunk, None)) <= 1.06 * len(_packed(chunk, 3))


def test_the_zstd_program_opens_it_without_options() -> None:
    """The recipe calls zstd -d: it must not need more memory than zstd takes by itself."""
    chunk = _programs()
    done = subprocess.run(["zstd", "-d", "-c"], input=_packed(chunk, None), capture_output=True, check=True)
    assert done.stdout == chunk
