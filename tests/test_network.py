"""Promises 1, 2 and 6 over a network that fails: resets, cuts, lies, is slow, or is gone for a while.

``S3NAP_OUTAGE_SECONDS=600`` makes the outage so long, with the patience that s3nap has by default.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from buckets import Bucket, Endpoint
from proxy import Fault, Proxy
from small_world import World, tree_of

from s3nap.errors import Exit, StorageError, VerificationError
from s3nap.reader import KeySource, Reader
from s3nap.storage import Storage
from s3nap.storage.patience import DELAYS
from s3nap.storage.s3 import S3Storage

pytestmark = pytest.mark.usefixtures("quiet")

_SHORT = (0.01,) * 4
_OUTAGE = float(os.environ.get("S3NAP_OUTAGE_SECONDS", "1"))
_PASSING = {
    "reset": Fault(kind="reset", at=100),
    "reset while it is put": Fault(kind="reset put", at=100),
    "answer lost": Fault(kind="lost", status=500),
    "slow down": Fault(kind="answer", status=503),
    "internal error": Fault(kind="answer", status=500),
    "bad gateway": Fault(kind="answer", status=502, html=True),
    "captive portal": Fault(kind="answer", status=200, html=True),
    "silence": Fault(kind="hang"),
}


@dataclass
class Remote(World):
    """A small world whose bucket is on the other side of a proxy."""

    far: Storage = field(kw_only=True)

    @property
    def storage(self) -> Storage:  # type: ignore[override]
        return self.far


@pytest.fixture
def proxy(rclone_endpoint: dict[str, str]) -> Iterator[Proxy]:
    with Proxy(rclone_endpoint["url"]).running() as running:
        yield running


def _world(
    tmp_path: Path, bucket: Bucket, proxy: Proxy, delays: Sequence[float] = _SHORT, timeout: float = 0.5
) -> Remote:
    timeouts = (timeout, timeout)
    storage = S3Storage(
        bucket=bucket.name, endpoint=proxy.url, key_file=bucket.key_file, delays=delays, timeouts=timeouts
    )
    return Remote(tmp_path, far=storage)


@pytest.fixture
def bucket(rclone_endpoint: dict[str, str], fresh_bucket: Callable[[Endpoint], Bucket]) -> Bucket:
    return fresh_bucket(rclone_endpoint)


@pytest.fixture
def world(tmp_path: Path, bucket: Bucket, proxy: Proxy) -> Remote:
    made = _world(tmp_path, bucket, proxy)
    made.fill()
    assert made.run(0).status is Exit.DONE
    return made


@pytest.mark.parametrize("fault", _PASSING.values(), ids=list(_PASSING))
def test_a_request_that_fails_in_passing_is_done_again(
    world: Remote, proxy: Proxy, fault: Fault, tried: Callable[[int], None]
) -> None:
    """Whichever request of a run meets the fault: the archive is made, without a warning, and is whole."""
    step = 4 if fault.kind == "hang" else 1
    for number in range(1, 200, step):
        proxy.clear()
        proxy.faults[number] = fault
        result = world.run(0, force=True)
        assert (result.outcome, result.status) == ("done", Exit.DONE), (number, result.message, result.warnings)
        if not proxy.met:
            break
    assert number > 12
    tried(number // step)
    proxy.clear()
    world.assert_restores({world.runs[-1]: tree_of(world.tree)})
    world.assert_tidy()


def test_a_refusal_at_any_request_loses_nothing(world: Remote, proxy: Proxy) -> None:
    """403 is not tried again: the run may fail, what there was restores, and the next run leaves nothing behind."""
    refused = 0
    for number in range(1, 200):
        proxy.clear()
        proxy.faults[number] = Fault(kind="answer", status=403)
        try:
            result = world.run(0, force=True)
            refused += result.outcome == "failed"
        except StorageError:
            refused += 1
        if not proxy.met:
            break
        proxy.clear()
        assert world.archives
        with Reader(world.storage, KeySource()) as reader:
            for archive in world.archives:
                reader.open(archive)
    assert refused > 8
    proxy.clear()
    trees = {world.runs[-1]: tree_of(world.tree)}
    world.assert_restores(trees | world.days(1))
    world.assert_tidy()


_READING = {
    **_PASSING,
    "reset in a body": Fault(kind="reset", at=40_000),
    "slow": Fault(kind="throttle", at=60_000),
    "cut short": Fault(kind="truncate", at=70),
    "flipped": Fault(kind="flip", at=50),
    "flipped in the middle": Fault(kind="flip", at=30_000),
    "refused": Fault(kind="answer", status=403),
}
_REFUSED = {"cut short", "flipped", "flipped in the middle", "refused"}  # who lies once is not asked again


@pytest.mark.parametrize("kind", _READING)
def test_a_restore_is_exact_or_refused(world: Remote, proxy: Proxy, kind: str) -> None:
    """Whichever answer is cut, changed or missing: the tree comes back as it was, or is refused, never changed."""
    wanted, run = tree_of(world.tree), world.runs[0]
    links = world.chain(run)
    met = refused = 0
    for number in range(1, 200, 4 if kind in {"silence", "slow"} else 1):
        proxy.clear()
        proxy.faults[number] = _READING[kind]
        try:
            with Reader(world.storage, KeySource()) as reader:
                assert _restored(world, reader, links) == wanted
        except (VerificationError, StorageError):
            refused += 1
        if not proxy.met:
            break
        met += 1
    assert met > (1 if kind in {"silence", "slow"} else 5)
    assert (refused > 0) == (kind in _REFUSED)


def _restored(world: Remote, reader: Reader, links: object) -> object:
    from s3nap.restore import restore_tree  # noqa: PLC0415

    target = world.base / f"target-{secrets.token_hex(4)}"
    restore_tree(reader, links, target)  # type: ignore[arg-type]
    return tree_of(target / str(world.tree).lstrip("/"))


@pytest.mark.parametrize("how", ["refuses", "hangs"])
@pytest.mark.parametrize("at", [4, 9])
def test_an_outage_in_mid_upload_is_ridden_out(
    tmp_path: Path, bucket: Bucket, proxy: Proxy, how: Literal["refuses", "hangs"], at: int
) -> None:
    """The network is gone for a while: the run waits, and goes on where it was, with the very same archive."""
    long = _OUTAGE > 60
    world = _world(tmp_path, bucket, proxy, DELAYS if long else (0.1,) * 60, 60 if long else 0.2)
    world.fill()
    (world.tree / "large").write_bytes(os.urandom(1 << 20))
    proxy.outage = (at, how, _OUTAGE)
    result = world.run(0)
    assert (result.outcome, result.status) == ("done", Exit.DONE), result.message
    assert proxy.seen[""] > at
    world.assert_restores({world.runs[0]: tree_of(world.tree)})
    world.assert_tidy()


def test_an_outage_without_end_fails_once_and_soon(world: Remote, proxy: Proxy) -> None:
    """Who has waited in vain does not wait as long for each thing that is left: one job fails, then the next."""
    patient = world.far
    assert isinstance(patient, S3Storage)
    patient._patience._delays = (0.001,) * 40
    proxy.clear()
    proxy.down = "refuses"
    with pytest.raises(StorageError):
        patient.put("data/x", b"x")
    assert len(patient._patience._delays) == 4
