"""Parallel: several jobs at once share the workers and the memory of one, and are as safe as one after the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from mmap import mmap
from pathlib import Path

import pytest
from daily import Daily
from small_world import s3nap
from storages import MemoryStorage

from s3nap import interruption, progress
from s3nap.abreast import abreast
from s3nap.chunks import send
from s3nap.compression import COMPRESSIONS
from s3nap.crew import Crew
from s3nap.envelope import Encoded, Envelope
from s3nap.errors import Exit

_PATIENCE = 20  # seconds


@pytest.fixture(autouse=True)
def _nobody_is_asked_to_end() -> Iterator[None]:
    yield
    interruption.check()  # a test that leaves the wish to end behind would end the next one


def command(name: str, script: str, *more: str) -> str:
    lines = [f"<Command {name}>", "Shell On", f'Dump "{script}"', "Timeout 20s", *more, "</Command>"]
    return "\n".join(lines)


# jobs


def test_a_slow_job_holds_up_nobody_and_the_order_stays(tmp_path: Path) -> None:
    """The first job ends only when all others have; the results come as the conf has them all the same."""
    slow = command("slow", f"until [ -e {tmp_path}/last ]; do sleep 0.02; done; echo a")
    others = [command(f"c{number}", f"echo {number}") for number in range(4)]
    last = command("last", f"touch {tmp_path}/last; echo b")
    machine = Daily(tmp_path / "s3nap", "\n".join(["Parallel 2", slow, *others, last]))
    results = machine.run(0)
    assert list(results) == [f"Command/{name}" for name in ("slow", "c0", "c1", "c2", "c3", "last")]
    assert {result.outcome for result in results.values()} == {"done"}, results
    again = machine.run(0)
    assert list(again) == list(results)
    assert {result.outcome for result in again.values()} == {"skipped"}


def test_failures_stay_with_their_jobs(tmp_path: Path) -> None:
    """One that fails, one that hangs until its Timeout, one that is good: each as if it were alone."""
    blocks = [
        command("bad", "echo half; exit 3"),
        command("hangs", "echo half; exec sleep 60").replace("Timeout 20s", "Timeout 1s"),
        command("good", "echo whole"),
    ]
    machine = Daily(tmp_path / "s3nap", "\n".join(["Parallel 3", *blocks]))
    results = machine.run(0)
    assert [result.outcome for result in results.values()] == ["failed", "failed", "done"]
    assert "ended with status 3" in results["Command/bad"].message
    assert "within Timeout" in results["Command/hangs"].message
    assert {key.split("/")[3].split("-")[0] for key in machine.objects()} == {"good"}


def test_messages_name_their_jobs(tmp_path: Path) -> None:
    """Lines of several jobs are mixed: each must say whose it is."""
    blocks = [command(f"c{number}", f"echo {number}") for number in range(5)]
    machine = Daily(tmp_path / "s3nap", "\n".join(["Parallel 4", *blocks]))
    ended = s3nap("-c", machine.conf)
    assert ended.returncode == Exit.DONE
    said = [line for line in ended.stderr.splitlines() if "no log file" not in line]
    assert len(said) >= 5
    assert all("Command/c" in line for line in said), said
    assert re.findall(r"Command/c\d", ended.stdout) == [f"Command/c{number}" for number in range(5)]


def test_the_dry_run_is_the_same(tmp_path: Path) -> None:
    """`-t` runs nothing, so that there is nothing to do at once."""
    blocks = [command(f"c{number}", f"echo {number}") for number in range(5)]
    machine = Daily(tmp_path / "s3nap", "\n".join(blocks))
    alone = s3nap("-c", machine.conf, "-t")
    machine.write("\n".join(["Parallel 5", *blocks]))
    abreast = s3nap("-c", machine.conf, "-t")
    assert (abreast.returncode, abreast.stdout) == (alone.returncode, alone.stdout)
    assert not machine.objects()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_ends_all_jobs_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Of four jobs one is done, two hang, one would never end: with 130 all programs are dead, and one archive is."""
    pids = tmp_path / "pids"
    blocks = [
        command("done", "echo whole"),
        command("hangs", f"echo $$ >> {pids}; head -c 300000 /dev/zero; exec sleep 60", "ChunkSize 64K"),
        command("flows", f"echo $$ >> {pids}; exec cat /dev/zero", "ChunkSize 64K"),
        command("spools", f"echo $$ >> {pids}; exec sleep 60", "UseTempFile On"),
        command("waits", f"touch {tmp_path}/begun; echo late"),
    ]
    machine = Daily(tmp_path / "s3nap", "\n".join(["Parallel 3", f"TempDir {tmp_path}", "UploadLimit 1M", *blocks]))
    process = subprocess.Popen(
        [sys.executable, "-m", "s3nap", "-c", str(machine.conf)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509 - tests may run under nohup
    )
    deadline = time.monotonic() + _PATIENCE
    # by then the one that hangs is being waited for
    while (
        not (_stored(machine, "hangs", 3) and _begun(pids) == 3)
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=_PATIENCE)
    assert process.returncode == Exit.INTERRUPTED, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert _begun(pids) == 3
    assert not any(Path("/proc", pid).exists() for pid in pids.read_text().split())
    assert not (tmp_path / "begun").exists()
    assert {key.split("/")[3].split("-")[0] for key in machine.objects()} == {"done"}
    assert not list((machine.path / "diff").glob("*/*/*/runs/*"))
    assert not list((machine.path / "diff").glob("*/*/*/work"))


def _begun(pids: Path) -> int:
    return len(pids.read_text().split()) if pids.exists() else 0


def _stored(machine: Daily, job: str, chunk: int) -> bool:
    return any(f"/{job}-" in key and f"/{chunk:08}" in key for key in machine.objects())


def test_a_mistake_in_one_call_ends_the_others_and_is_raised() -> None:
    """What nobody foresaw must not be found an hour later, at the end of the last job."""
    ended = threading.Event()

    def wrong() -> None:
        raise ZeroDivisionError

    def patient() -> None:
        try:
            interruption.sleep(_PATIENCE)
        finally:
            ended.set()

    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        abreast([patient, wrong, *[patient] * 5], 2)
    assert ended.is_set()
    assert time.monotonic() - begun < _PATIENCE


# memory


class Counted(Crew):
    """Counts the buffers that there are."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.out = self.most = 0
        self._count = threading.Lock()

    def take(self, size: int) -> mmap:
        buffer = super().take(size)
        with self._count:
            self.out += 1
            self.most = max(self.most, self.out + len(self._free))
        return buffer

    def give_back(self, buffer: mmap) -> None:
        with self._count:
            self.out -= 1
            super().give_back(buffer)


@pytest.mark.parametrize("sizes", [(1000,) * 6, (1000, 1500, 1000, 3000, 1500, 1000)])
def test_many_streams_have_little_more_buffers_than_one(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """Three workers and six streams come to eight buffers, not to 24; and all is stored as it was."""
    data = os.urandom(60_000)
    (tmp_path / "data").write_bytes(data)
    storage, envelope, encoding, most = MemoryStorage(), Envelope(now=datetime.now(UTC)), 0, 0
    lock = threading.Lock()

    def encode(raw: memoryview, done: Callable[[], None]) -> Encoded:
        nonlocal encoding, most
        with lock:
            encoding += 1
            most = max(most, encoding)
        time.sleep(0.001)
        with lock:
            encoding -= 1
        return envelope.encode(raw, COMPRESSIONS["none"], done=done)

    def stream(number: int, crew: Crew) -> Callable[[], None]:
        def call() -> None:
            with (tmp_path / "data").open("rb", buffering=0) as file:
                send(
                    file,
                    storage,
                    prefix=f"{number}/",
                    suffix="",
                    chunk_size=sizes[number],
                    encode=encode,
                    sent=lambda _: None,
                    crew=crew,
                )

        return call

    with closing(Counted(3)) as crew:
        abreast([stream(number, crew) for number in range(6)], 6)
        assert crew.most <= 2 + 6
        assert most <= 3
        assert not crew._free
    for number in range(6):
        assert b"".join(storage.get(item.key) for item in storage.list(f"{number}/")) == data


def test_a_stream_that_waits_takes_no_worker() -> None:
    """A database that thinks for an hour leaves all workers to the others: one worker is enough for both."""
    reader, writer = os.pipe()
    storage, envelope = MemoryStorage(), Envelope(now=datetime.now(UTC))

    def flow(source: int, prefix: str, crew: Crew) -> None:
        with os.fdopen(source, "rb", buffering=0) as stream:
            send(
                stream,
                storage,
                prefix=prefix,
                suffix="",
                chunk_size=10,
                encode=lambda raw, done: envelope.encode(raw, COMPRESSIONS["none"], done=done),
                sent=lambda _: None,
                crew=crew,
            )

    with closing(Crew(1)) as crew:
        slow = threading.Thread(target=flow, args=(reader, "slow/", crew))
        slow.start()
        os.write(writer, bytes(15))
        flow(os.open("/etc/passwd", os.O_RDONLY), "fast/", crew)
        assert b"".join(storage.get(item.key) for item in storage.list("fast/")) == Path("/etc/passwd").read_bytes()
        os.close(writer)
        slow.join()
    assert [item.size for item in storage.list("slow/")] == [10, 5]


# what is seen


def test_bars_of_several_jobs_share_one_display() -> None:
    """Two displays would write over each other; the last one to end takes it away."""
    bars = progress._Bars()
    with bars.bar("one") as first:
        shown = bars._shown
        with bars.bar("[two]", 10) as second:
            first(3)
            second(5)
            assert shown is bars._shown is not None
            shown.refresh()
            assert [(task.description, task.completed) for task in shown.tasks] == [("one", 3), ("[two]", 5)]
        assert [task.description for task in shown.tasks] == ["one"]
    assert bars._shown is None
    with bars.bar("three"):
        assert bars._shown is not shown
