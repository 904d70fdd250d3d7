"""Fixtures that several test modules share; a storage each, and the servers behind them."""

from __future__ import annotations

import logging
import re
import secrets
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from buckets import Bucket, Endpoint, fresh_bucket  # noqa: F401
from keys_fixture import gpg_home  # noqa: F401
from moto.server import ThreadedMotoServer
from storages import MemoryStorage

from s3nap import logs
from s3nap.storage import Storage
from s3nap.storage.local import LocalStorage
from s3nap.storage.open import open_storage

pytest_plugins = ["calling", "machine", "promises", "scheduling", "servers", "silence", "small_world", "web"]

_PATIENCE = 20  # seconds for a server to start

# a shell starts what is in the background deaf to Ctrl-C, and what tests start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_secrets() -> Iterator[None]:
    """What one test calls a secret is none in the next: a short one would be masked in the middle of words there."""
    before = logs._secrets.copy()
    yield
    logs._secrets.clear()
    logs._secrets.update(before)


@pytest.fixture
def memory_storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def local_storage(tmp_path: Path) -> LocalStorage:
    root = tmp_path / "storage"
    root.mkdir()
    return LocalStorage(root)


@pytest.fixture(scope="session")
def rclone_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """``url``, ``key`` and ``secret`` of a real S3 server. Make and empty its buckets through the API only."""
    folder = tmp_path_factory.mktemp("rclone")
    key, secret = "s3nap-test", secrets.token_hex(16)
    rclone = str(Path(sysconfig.get_path("scripts"), "rclone"))
    command = [rclone, "serve", "s3", str(folder), "--addr", "127.0.0.1:0", "--auth-key", f"{key},{secret}"]
    # the default limit of 4096 bytes for headers would refuse long keys beyond ASCII
    command += ["--vfs-cache-mode", "off", "--config", "/dev/null", "--max-header-bytes", "65536"]
    log = folder.with_suffix(".log")
    with log.open("wb") as stderr, subprocess.Popen(command, stdout=stderr, stderr=stderr) as server:
        try:
            yield {"url": _address(log, server), "key": key, "secret": secret}
        finally:
            server.terminate()


def _address(log: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"http://[\d.]+:\d+", log.read_text()):
            return found[0]
        time.sleep(0.02)
    pytest.fail(f"rclone does not start: {log.read_text()}")


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[dict[str, str]]:
    """As ``rclone_endpoint``, for what AWS alone has: versions, Object Lock. Takes any key."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {"url": f"http://{host}:{port}", "key": "test", "secret": "test"}
    server.stop()


@pytest.fixture
def make_s3_storage(fresh_bucket: Callable[[Endpoint], Bucket]) -> Callable[[Endpoint], Storage]:  # noqa: F811
    """Call it with an endpoint to get a storage under a prefix of a fresh bucket there."""

    def make(endpoint: Endpoint) -> Storage:
        made = fresh_bucket(endpoint)
        return open_storage(f"s3://{made.name}/pre/fix", endpoint=made.endpoint, key_file=made.key_file)

    return make


@pytest.fixture
def s3_storage(rclone_endpoint: dict[str, str], make_s3_storage: Callable[[dict[str, str]], Storage]) -> Storage:
    return make_s3_storage(rclone_endpoint)


@pytest.fixture
def ini(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "logconfig.ini"
        file.write_text(text)
        return file

    return write
