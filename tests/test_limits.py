"""UploadLimit, DownloadLimit, Nice, IoClass: bytes flow no faster than allowed, and a run stands back for others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from daily import Daily
from small_world import s3nap

from s3nap import access, config, interruption
from s3nap.errors import ConfError, Exit
from s3nap.limitvalues import RATES
from s3nap.pace import Limits, Pace, Rate, rate_at
from s3nap.storage import Storage
from s3nap.storage.local import LocalStorage
from s3nap.storage.open import open_storage

MIB = 1 << 20
MONDAY = datetime(2026, 3, 2)  # noqa: DTZ001 - the local time of day, as people mean it


class Clock:
    """A clock that goes on by being waited for only."""

    def __init__(self) -> None:
        self.time = 100.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.time += seconds


class Taken(Pace):
    """A pace that lets pass at once, and counts."""

    def __init__(self) -> None:
        super().__init__(())
        self.pieces: list[int] = []

    def take(self, size: int) -> None:
        self.pieces.append(size)


def rates(*lines: str) -> tuple[Rate, ...]:
    found = [RATES.read(tuple(line.split())) for line in lines]
    return tuple(each for line in found if isinstance(line, tuple) for each in line)


# when


@pytest.mark.parametrize(
    ("hour", "minute", "day", "rate"),
    [
        (7, 59, 0, 8 * MIB),
        (8, 0, 0, 2 * MIB),
        (18, 59, 4, 2 * MIB),
        (19, 0, 4, 8 * MIB),
        (12, 0, 5, None),
        (12, 0, 6, 8 * MIB),
        (22, 0, 6, 1 << 30),
        (5, 59, 7, 1 << 30),
        (5, 59, 8, 8 * MIB),
    ],
)
def test_the_first_line_whose_time_it_is_counts(hour: int, minute: int, day: int, rate: int | None) -> None:
    """Times end before their last minute; a night belongs to the day on which it begins."""
    lines = rates("2M 08:00-19:00 Mon-Fri", "none Sat", "1G 22:00-06:00 Sun", "8M")
    assert rate_at(lines, MONDAY.replace(day=MONDAY.day + day, hour=hour, minute=minute)) == rate


def test_no_line_fits_no_limit() -> None:
    """What is not limited flows, and days may go around the week's end."""
    lines = rates("1M 8:00-9:00 Sat-Mon,Wed")
    limited = [rate_at(lines, MONDAY.replace(day=MONDAY.day + day, hour=8)) is not None for day in range(7)]
    assert limited == [True, False, True, False, False, True, True]
    assert rate_at(lines, MONDAY.replace(hour=9)) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("UploadLimit fast", "'fast' is no size"),
        ("UploadLimit 2", "2 bytes a second are too few; write at least 16K"),
        ("UploadLimit 2M 8-19", "'8-19' is neither a day nor days"),
        ("UploadLimit 2M 08:00-24:01", "holds no time of day"),
        ("UploadLimit 2M 24:00-08:00", "holds no time of day"),
        ("UploadLimit 2M 08:60-09:00", "holds no time of day"),
        ("DownloadLimit 2M 08:00-08:00", "no length of time"),
        ("DownloadLimit 2M Mon-Noday", "'Mon-Noday' is neither a day nor days"),
        ("DownloadLimit 2M Mon 08:00-09:00", "'08:00-09:00' is too much"),
        ("Nice -5", "-5 is out of range"),
        ("IoClass slow", "'slow' is unknown; write idle, best-effort or realtime"),
        ("IoClass idle 3", "idle has no level; take it out"),
        ("IoClass best-effort 8", "8 is out of range"),
        ("<Cycle a>\nUploadLimit 2M\n</Cycle>", "UploadLimit stands in <Cycle a>; it belongs at the top level"),
    ],
)
def test_faults_are_named(tmp_path: Path, line: str, said: str) -> None:
    """A limit that is written wrong must not be found out by a line that is full."""
    conf = tmp_path / "a.conf"
    conf.write_text(f"DiffDir /d\nBucket file:///b\nDirectory /etc\n{line}\n")
    with pytest.raises(ConfError) as raised:
        config.load(conf, on_this_host=False)
    assert len(raised.value.faults) == 1
    assert said in raised.value.faults[0]


def test_lines_add_up_and_are_shown(tmp_path: Path) -> None:
    """`config show` has every line as it was written."""
    conf = tmp_path / "a.conf"
    conf.write_text(
        "DiffDir /d\nBucket file:///b\nDirectory /etc\nUploadLimit 2M 08:00-19:00 Mon-Fri\nUploadLimit 20M\n"
        "IoClass best-effort 7\n"
    )
    (job,) = config.describe(config.load(conf, on_this_host=False))
    settings = job["settings"]
    assert isinstance(settings, dict)
    assert settings["UploadLimit"]["value"] == ["2M 08:00-19:00 Mon-Fri", "20M"]
    assert settings["IoClass"]["value"] == "best-effort 7"


# how fast


@pytest.mark.parametrize(
    ("rate", "piece"),
    [
        *((rate, piece) for rate in (16 << 10, 300_000, 2 * MIB) for piece in (1000, 16 << 10, MIB)),
        *((100 * MIB, 16 << 10), (1 << 30, MIB)),
    ],
)
def test_the_limit_holds_within_a_tenth(rate: int, piece: int) -> None:
    """By a clock that only waiting moves: neither faster nor slower than the conf says."""
    clock = Clock()
    pace = Pace(rates(str(rate)), clock=clock, sleep=clock.sleep)
    pieces = max(10 * rate // piece, 100)
    for _ in range(pieces):
        pace.take(piece)
    assert pieces * piece / (clock.time - 100) == pytest.approx(rate, rel=0.1)


def test_threads_share_one_limit() -> None:
    """Eight threads are no faster than one: who comes last waits for all."""
    waits: list[float] = []
    pace = Pace(rates("1M"), clock=lambda: 0.0, sleep=waits.append)
    threads = [threading.Thread(target=lambda: [pace.take(1 << 14) for _ in range(80)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(waits) == pytest.approx(10, rel=0.1)


def test_a_pause_is_not_made_up_for() -> None:
    """After an hour of compressing nobody may send for an hour at full speed."""
    clock = Clock()
    pace = Pace(rates("1M"), clock=clock, sleep=clock.sleep)
    pace.take(MIB)
    clock.time += 3600
    begun = clock.time
    for _ in range(10):
        pace.take(MIB)
    assert clock.time - begun == pytest.approx(10, rel=0.1)


def test_the_limit_changes_with_the_time_of_day() -> None:
    """At seven in the evening the line is free, in the midst of an object too."""
    clock = Clock()
    hours = iter([18, 18, 19, 19])
    pace = Pace(rates("1M 08:00-19:00"), clock=clock, sleep=clock.sleep, now=lambda: MONDAY.replace(hour=next(hours)))
    for _ in range(4):
        pace.take(MIB)
    assert clock.time - 100 == pytest.approx(2, rel=0.1)


# where


def limited(kind: str, request: pytest.FixtureRequest, tmp_path: Path, limits: Limits) -> Storage:
    """An S3 storage, or one in a folder, with limits."""
    if kind == "local":
        return LocalStorage(request.getfixturevalue("local_storage")._root, limits)
    endpoint = request.getfixturevalue(f"{kind}_endpoint")
    url = request.getfixturevalue("make_s3_storage")(endpoint).url
    return open_storage(url, endpoint=endpoint["url"], key_file=tmp_path / "s3.key", limits=limits)


@pytest.mark.parametrize("kind", ["local", "rclone", "moto"])
@pytest.mark.parametrize("data", [bytes, bytearray, memoryview])
def test_what_is_put_and_got_is_counted_once(
    kind: str, data: Callable[[bytes], bytes], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Bytes wait on their way, piece by piece: those that are read for a hash before, and those of answers, do not."""
    limits = Limits(up=(up := Taken()), down=(down := Taken()))
    storage = limited(kind, request, tmp_path, limits)
    content = bytes(range(256)) * 4000
    storage.put("a", data(content))
    assert sum(up.pieces) == len(content)
    assert max(up.pieces) <= 16 << 10
    assert storage.get("a") == content
    assert sum(down.pieces) == len(content)
    assert max(down.pieces) <= 16 << 10
    assert storage.get("a", start=5, length=100_000) == content[5:100_005]
    storage.put("empty", data(b""))
    assert storage.get("empty") == storage.get("a", start=len(content), length=3) == b""


@pytest.mark.parametrize("kind", ["local", "rclone"])
def test_an_interrupted_put_does_not_wait_for_the_limit(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Ctrl-C ends an upload of hours at once, and nothing of it can be seen."""
    storage = limited(kind, request, tmp_path, Limits(up=Pace(rates("16K"))))
    interruption.ask()
    try:
        with pytest.raises(KeyboardInterrupt):
            storage.put("a/b", bytes(MIB))
    finally:
        interruption.withdraw()
    assert list(storage.list("")) == []


def test_a_storage_of_a_conf_is_limited(tmp_path: Path) -> None:
    """The directives reach what they are for, each its own direction."""
    machine = Daily(tmp_path / "s3nap", f"SQLite {tmp_path}/none\nUploadLimit 16K\nDownloadLimit 17K\n")
    storage = access.storage_of(config.load(machine.conf))
    assert isinstance(storage, LocalStorage)
    up, down = storage._limits.up, storage._limits.down
    assert up is not None
    assert down is not None
    assert [rate_at(each._rates, MONDAY) for each in (up, down)] == [16 << 10, 17 << 10]


# standing back


def test_programs_inherit_nice_and_io_class(tmp_path: Path) -> None:
    """Dumps are what burdens a machine: they stand back, and so do compression and encryption."""
    seen = tmp_path / "seen"
    block = f'<Command it>\nShell On\nDump "nice; ionice -p $$; (nice; ionice -p $$) > {seen}"\nDiffs 0\n</Command>\n'
    machine = Daily(tmp_path / "s3nap", f"Nice 7\nIoClass best-effort 6\n{block}")
    ended = s3nap("-c", machine.conf, "-q")
    assert ended.returncode == Exit.DONE, ended.stderr
    assert seen.read_text() == "7\nbest-effort: prio 6\n"


def test_nice_never_raises_what_the_run_was_started_with(tmp_path: Path) -> None:
    """`nice -n 15 s3nap` stays at 15 where the conf says less."""
    seen = tmp_path / "seen"
    machine = Daily(tmp_path / "s3nap", f'Nice 7\n<Command it>\nShell On\nDump "echo a; nice > {seen}"\n</Command>\n')
    ended = s3nap("-c", machine.conf, "-q", under=("nice", "-n", "15"))
    assert ended.returncode == Exit.DONE, ended.stderr
    assert seen.read_text() == f"{max(7, min(19, os.nice(0) + 15))}\n"
