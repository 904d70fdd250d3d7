"""Buckets that earlier versions wrote are restored by this one (``frozen_bucket`` made them)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from frozen_bucket import facts

from s3nap.cli import cli

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED: Mapping[Path, Mapping[str, Any]] = {
    folder: json.loads((folder / "expected.json").read_text()) for folder in sorted(FIXTURES.glob("format-*"))
}
CASES = [(folder, host, day) for folder, hosts in EXPECTED.items() for host, days in hosts.items() for day in days]


@pytest.fixture(scope="module")
def home() -> Iterator[Mapping[str, str]]:
    """An environment with the fixtures' throw-away keys."""
    with tempfile.TemporaryDirectory(prefix="g-", dir="/tmp") as name:
        environment = {**os.environ, "GNUPGHOME": name}
        for key in FIXTURES.glob("format-*/secret.asc"):
            subprocess.run(["gpg", "--batch", "--quiet", "--import", key], check=True, env=environment)
        yield environment
        subprocess.run(["gpgconf", "--kill", "all"], check=False, env=environment)


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0].name}-{case[1]}-{case[2]}" for case in CASES])
def test_an_old_bucket_restores(
    case: tuple[Path, str, str], home: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each day of a frozen bucket comes back as it was noted when it was made: names, modes, times, contents."""
    folder, host, day = case
    monkeypatch.setenv("GNUPGHOME", home["GNUPGHOME"])
    was = EXPECTED[folder][host][day]
    where = ["--bucket", f"file://{folder}/bucket", "--host", host, "--at", day]
    where += ["--passphrase-file", str(folder / "passphrase")]

    def run(*words: str) -> bytes:
        result = CliRunner().invoke(cli, [*words, "-q", *where], standalone_mode=False)
        assert result.exception is None, result.exception
        return result.stdout_bytes

    run("restore", was["source"], "--target", str(tmp_path / "out"))
    tree = tmp_path / "out" / was["source"][1:]
    assert {str(path.relative_to(tree)): facts(path) for path in tree.rglob("*")} == was["files"]
    assert len({(tree / name).stat().st_ino for name in was["files"] if name.endswith(("text", "hard"))}) == 1
    assert json.loads(run("ls", "-R", "--json", was["source"]))
    if day != "2026-03-01":  # the Command's first day has given way
        assert run("dump", "Command/it") == was["dump"].encode()


def test_there_is_a_bucket_of_the_present_format() -> None:
    """Who changes the format freezes a bucket of it first."""
    from s3nap.manifest import FORMAT  # noqa: PLC0415 - said where it matters

    assert (FIXTURES / f"format-{FORMAT}") in EXPECTED
