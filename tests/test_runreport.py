"""--report: one document per run, whole, private, and there however the run ended."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from small_world import World

from s3nap import __version__, cli, runreport
from s3nap.errors import Exit

Report = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def report(world: World) -> Report:
    """Run on a day of the cycle; return status and report."""

    def run(day: int, *args: str) -> tuple[int, dict[str, Any]]:
        file = world.base / "report.json"
        file.unlink(missing_ok=True)
        status = cli._status(
            ["-c", str(world.conf), "--date", world.day(day).isoformat(), "--report", str(file), *args]
        )
        return status, json.loads(file.read_text())

    return run


def test_a_report_has_what_became_of_each_job(world: World, report: Report) -> None:
    """Levels count up the chain, sizes and run ids are those of the archives, times are in order."""
    for day, (kind, level) in enumerate([("FULL", 0), ("DIFF", 1), ("DIFF", 2)]):
        world.fill(day)
        status, data = report(day)
        (job,) = data["jobs"]
        made = world.archives[-1].manifest
        assert (status, data["schema"], data["s3nap"], data["status"], data["errors"]) == (0, 1, __version__, 0, [])
        assert {name: job[name] for name in ("job", "slot", "type", "level", "action", "result")} == {
            "job": world.job,
            "slot": day,
            "type": kind,
            "level": level,
            "action": "backup",
            "result": "done",
        }
        facts = ("run", "parent", "root", "raw_size", "stored_size", "files", "chunks", "complete")
        assert [job[name] for name in facts] == [getattr(made, name) for name in facts]
        assert (job["day"], job["warnings"], job["error"]) == (world.day(day).isoformat(), [], None)
        assert job["seconds"] > 0
        assert job["reason"]
        times = [data["started"], data["confs"][0]["started"], data["confs"][0]["finished"], data["finished"]]
        assert times == sorted(times, key=datetime.fromisoformat)
    _, data = report(2)
    (job,) = data["jobs"]
    assert (job["action"], job["result"], job["run"], job["level"]) == ("skip", "skipped", None, None)


def test_a_report_tells_of_trouble(world: World, report: Report) -> None:
    """Errors and warnings stand with their job, in the words of the log; the status is that of the process."""
    world.write_conf(
        '<Command a>\nDump sh -c "echo no such host >&2; exit 3"\n</Command>',
        "<Command b>\nDump echo x\nAfter false\n</Command>",
    )
    status, data = report(0)
    jobs = {job["job"]: job for job in data["jobs"]}
    assert (status, data["status"], data["confs"][0]["result"]) == (1, 1, "failed")
    assert jobs["Command/a"]["error"] == "sh ended with status 3: no such host"
    assert (jobs["Command/a"]["status"], jobs["Command/a"]["run"]) == (1, None)
    assert (jobs["Command/a"]["slot"], jobs["Command/a"]["type"]) == (jobs["Command/b"]["slot"], "FULL")
    assert jobs["Command/b"]["warnings"] == ["After failed: false ended with status 1"]
    assert (jobs["Command/b"]["status"], jobs["Command/b"]["result"]) == (3, "done")


def test_a_run_that_cannot_begin_is_reported(world: World, report: Report) -> None:
    """A bucket out of reach, a conf that is wrong, a job that is not there: a report without jobs says why."""
    bucket, world.bucket = world.bucket, f"file://{world.base}/nowhere"
    world.write_conf()
    status, data = report(0)
    assert (status, data["status"], data["jobs"]) == (10, 10, [])
    assert "nowhere" in data["confs"][0]["error"]
    world.bucket = bucket
    world.write_conf()
    status, data = report(0, "backup", "nosuch")
    assert (status, data["status"], data["jobs"]) == (14, 14, [])
    assert "nosuch" in data["errors"][0]
    world.write_conf("Frequency often", "Nonsense x")
    status, data = report(0)
    assert (status, data["status"], len(data["errors"])) == (2, 2, 2)
    assert data["confs"] == [{"file": str(world.conf)}]


def test_a_report_of_several_confs(world: World, report: Report, tmp_path: Path) -> None:
    """One document has all confs of a run, and which job is of which."""
    other = World(tmp_path / "other", host="beta")
    other.fill()
    _, data = report(0, "-c", str(other.conf))
    assert [conf["host"] for conf in data["confs"]] == ["alpha", "beta"]
    assert [(job["conf"], job["host"]) for job in data["jobs"]] == [
        (str(world.conf), "alpha"),
        (str(other.conf), "beta"),
    ]


def test_a_report_to_standard_output_is_alone_there(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`--report -` can be piped: no summary stands before the document."""
    assert cli._status(["-c", str(world.conf), "--report", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == 0


def test_what_would_run_is_reported(world: World, report: Report) -> None:
    """-t reports what it would do, and has done nothing."""
    _, data = report(0, "-t")
    (job,) = data["jobs"]
    assert (job["action"], job["result"], job["run"], job["raw_size"]) == ("backup", "would run", None, None)
    assert world.archives == []


def test_a_report_is_private_and_replaced_whole(world: World, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else reads it; where it cannot be written, the old one stays as it was and the run says so, with 3."""
    report(0)
    file = world.base / "report.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    made = runreport.Report(str(file), [])
    monkeypatch.setattr(runreport.os, "fsync", full)
    assert made.write(Exit.DONE, []) == Exit.WARNINGS
    assert made.write(Exit.FAILED, []) == Exit.FAILED
    assert file.read_bytes() == before
    assert not list(world.base.glob(".report*"))


@pytest.mark.parametrize("name", ["nowhere/report.json", "."])
def test_a_report_that_cannot_be_written_stops_the_run_before_it_begins(world: World, name: str) -> None:
    """A mistake on the command line is told at once, not after a night's work."""
    assert cli._status(["-c", str(world.conf), "--report", str(world.base / name)]) == Exit.USAGE
    assert world.archives == []
