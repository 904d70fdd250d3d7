"""Fresh buckets on the S3 servers of the tests, and the confs that name them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

Endpoint = Mapping[str, str]
"""``url``, ``key`` and ``secret`` of a server."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket of a server; ``key_file`` holds the credentials."""

    name: str
    endpoint: str
    key_file: Path

    def conf(self, prefix: str = "") -> str:
        """Return the lines of a conf that say where to."""
        return f"Bucket s3://{self.name}{prefix}\nEndpoint {self.endpoint}\nS3KeyFile {self.key_file}\n"


@cache
def _client(url: str, key: str, secret: str) -> Any:
    return boto3.Session(key, secret, region_name="us-east-1").client("s3", endpoint_url=url)


def client_of(endpoint: Endpoint) -> Any:
    """Return boto3's client of a server; one for all, for it takes long to make."""
    return _client(endpoint["url"], endpoint["key"], endpoint["secret"])


def write_key_file(path: Path, endpoint: Endpoint) -> Path:
    """Write credentials as S3KeyFile wants them."""
    path.write_text(f"key = {endpoint['key']}\nsecret = {endpoint['secret']}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def fresh_bucket(tmp_path: Path) -> Callable[[Endpoint], Bucket]:
    """Call it with an endpoint to get a fresh bucket there."""

    def make(endpoint: Endpoint) -> Bucket:
        name = f"test-{secrets.token_hex(6)}"
        client_of(endpoint).create_bucket(Bucket=name)
        return Bucket(name=name, endpoint=endpoint["url"], key_file=write_key_file(tmp_path / "s3.key", endpoint))

    return make
