"""A throw-away GPG home with one key, for tests that encrypt and decrypt for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class GpgHome:
    """``recipient`` is the address of the only key in ``folder``; it has no passphrase and does not expire."""

    folder: Path
    recipient: str


@pytest.fixture(scope="session")
def gpg_home() -> Iterator[GpgHome]:
    """GNUPGHOME, for this process and what it starts; its path is short, or gpg's agent fails."""
    folder = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    recipient = "backup@s3nap.test"
    before = os.environ.get("GNUPGHOME")
    os.environ["GNUPGHOME"] = str(folder)
    try:
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        command += ["--quick-generate-key", f"s3nap <{recipient}>", "future-default", "default", "never"]
        subprocess.run(command, check=True)
        yield GpgHome(folder=folder, recipient=recipient)
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False, env={**os.environ, "GNUPGHOME": str(folder)})
        if before is None:
            del os.environ["GNUPGHOME"]
        else:
            os.environ["GNUPGHOME"] = before
        shutil.rmtree(folder, ignore_errors=True)
