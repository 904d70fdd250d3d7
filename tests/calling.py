"""The command line within this process: faster than a program, and it may be looked at half-way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from s3nap import cli


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call it with the words of a command line; there must be no traceback."""

    def run(*args: object) -> Said:
        capsys.readouterr()
        status = cli._status([str(arg) for arg in args])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(int(status), said.out, said.err)

    return run
