"""Before, After and OnError: when they run, what they are told, and what their trouble does to a run."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from daily import Daily, program
from small_world import fake_program, s3nap

from s3nap import cli
from s3nap.errors import Exit

_PATIENCE = 30  # seconds for a process to get somewhere


@dataclass
class Machine:
    """A conf with hooks; ``said`` is what they wrote down."""

    daily: Daily
    notes: Path
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def note(self, text: str) -> str:
        """A hook that writes down a text, in which the environment is put."""
        script = program(self.daily.path / "bin", f"hook-{len(list(self.daily.path.glob('bin/*')))}", "")
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "{text}" >> {shlex.quote(str(self.notes))}\n')
        return str(script)

    def hook(self, text: str) -> str:
        """A hook that is this script."""
        script = program(self.daily.path / "bin", f"hook-{len(list(self.daily.path.glob('bin/*')))}", text)
        return str(script)

    def write(self, *lines: str) -> None:
        log = self.daily.path / "logconfig.ini"
        log.write_text(
            "[screen]\nenabled = yes\nformat = {level} {message}\n"
            f"[file]\nenabled = yes\npath = {self.daily.path}/log\nformat = {{level}} {{message}}\n"
        )
        self.daily.write("\n".join([f"LogConfig {log}", *lines]))

    def run(self, *args: object) -> int:
        """The command line, on a day on which everything is due."""
        self.capsys.readouterr()
        chosen = () if "--date" in args else ("--date", "2026-03-01")
        status = cli._status(["-c", str(self.daily.conf), *chosen, *map(str, args)])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return status

    @property
    def said(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    @property
    def log(self) -> str:
        return (self.daily.path / "log").read_text()

    def tree(self, name: str) -> Path:
        path = self.daily.path / name
        path.mkdir()
        (path / "file").write_text(name)
        return path

    def stored(self, job: str) -> int:
        return len(self.daily.catalog(job).archives)


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(Daily(tmp_path / "s3nap", ""), tmp_path / "notes", capsys)


def test_each_scope_has_its_own(machine: Machine) -> None:
    """At the top level around the run, in a Cycle around each of its jobs, in a block instead of the Cycle's."""
    a, b, c = (machine.tree(name) for name in "abc")
    word = "$S3NAP_HOOK $S3NAP_SOURCE"
    machine.write(
        f"Before {machine.note('run ' + word)}",
        f"Before {machine.note('run again ' + word)}",
        f"After {machine.note('run ' + word)}",
        f"Directory {c}",
        "<Cycle x>",
        f"Before {machine.note('cycle ' + word)}",
        f"After {machine.note('cycle ' + word)}",
        f"Directory {a}",
        f"<Directory {b}>",
        f"Before {machine.note('block ' + word)}",
        "</Directory>",
        "</Cycle>",
    )
    assert machine.run() == Exit.DONE, machine.err
    assert machine.said == [
        "run Before ",
        "run again Before ",
        f"cycle Before {a}",
        f"cycle After {a}",
        f"block Before {b}",
        f"cycle After {b}",
        "run After ",
    ]


def test_what_hooks_are_told(machine: Machine) -> None:
    """The environment has job, slot, type, day, conf, host and log file; afterwards result, sizes and run, too."""
    source = machine.tree("it's a `touch x` $(touch y)")
    dump = machine.hook(f"env -0 | sort -z | grep -z '^S3NAP_' > {machine.notes}.$S3NAP_HOOK")
    run = machine.hook(f"env -0 | grep -z '^S3NAP_' > {machine.notes}.run")
    machine.write(f"After {run}", f'<Directory "{source}">', f"Before {dump}", f"After {dump}", "</Directory>")
    assert machine.run("-f", "--date", "2026-03-02") == Exit.DONE, machine.err
    found = {name: _environment(Path(f"{machine.notes}.{name}")) for name in ("Before", "After", "run")}
    known = machine.daily.catalog(found["After"]["JOB"]).archives[-1].manifest
    before = {
        "HOOK": "Before",
        "JOB": known.job,
        "KIND": "Directory",
        "SOURCE": str(source),
        "SLOT": str(known.slot),
        "TYPE": known.type.value,
        "DAY": "2026-03-02",
        "CONF": str(machine.daily.conf),
        "HOST": "here",
        "LOG": f"{machine.daily.path}/log",
    }
    assert found["Before"] == before
    assert found["After"].pop("SECONDS").isdigit()
    assert found["After"] == before | {
        "HOOK": "After",
        "RESULT": "done",
        "STATUS": "0",
        "MESSAGE": found["After"]["MESSAGE"],
        "RUN": known.run,
        "RAW_SIZE": str(known.raw_size),
        "STORED_SIZE": str(known.stored_size),
        "FILES": str(known.files),
    }
    assert {name: found["run"][name] for name in ("RESULT", "STATUS", "DONE", "FAILED", "RAW_SIZE")} == {
        "RESULT": "done",
        "STATUS": "0",
        "DONE": "1",
        "FAILED": "0",
        "RAW_SIZE": str(known.raw_size),
    }
    assert not list(Path.cwd().glob("[xy]"))


def _environment(file: Path) -> dict[str, str]:
    pairs = (item.partition("=") for item in file.read_text().split("\0") if item)
    return {name.removeprefix("S3NAP_"): value for name, _, value in pairs}


def test_a_before_that_fails_fails_its_job_alone(machine: Machine) -> None:
    """Nothing is dumped, OnError is told why, After is not run, the next job is done, and the status is 1."""
    a, b = machine.tree("a"), machine.tree("b")
    machine.write(
        "<Cycle x>",
        f"OnError {machine.note('$S3NAP_HOOK $S3NAP_SOURCE $S3NAP_TYPE $S3NAP_RESULT $S3NAP_STATUS $S3NAP_MESSAGE')}",
        f"After {machine.note('$S3NAP_HOOK $S3NAP_SOURCE')}",
        f"Directory {a}",
        f"<Directory {b}>",
        f"Before {machine.hook('echo no such disk >&2; exit 4')}",
        f"Before {machine.note('never')}",
        "</Directory>",
        "</Cycle>",
    )
    assert machine.run() == Exit.FAILED
    first, second = machine.said
    assert first == f"After {a}"
    assert second.startswith(
        f"OnError {b} FULL failed 1 Before failed, so nothing was done: hook-2 ended with status 4"
    )
    assert second.endswith("(no such disk)")
    assert "FAILED: Before failed" in machine.out.replace("\n", " ")
    assert (machine.stored(f"x/Directory{a}"), machine.stored(f"x/Directory{b}")) == (1, 0)


def test_a_job_that_fails_runs_its_onerror(machine: Machine) -> None:
    """Whatever a job fails of, be it before any dump: OnError runs, at the top level too, and After does not."""
    told = machine.note("$S3NAP_HOOK $S3NAP_KIND $S3NAP_STATUS")
    machine.write(
        f"OnError {told}",
        f"After {told}",
        "<Cycle x>",
        f"OnError {told}",
        f"After {told}",
        "Directory /nonexistent/a",
        "SubversionDir /nonexistent/b",
        "</Cycle>",
    )
    assert machine.run() == Exit.FAILED
    assert machine.said == ["OnError Directory 1", "OnError SubversionDir 1", "OnError  1"]


def test_a_before_can_say_not_now(machine: Machine) -> None:
    """Status 75 skips the job with the hook's own words and status 0; no After, no OnError; the next run makes it."""
    source = machine.tree("a")
    flag = machine.daily.path / "on-battery"
    flag.touch()
    told = machine.note("$S3NAP_HOOK")
    machine.write(
        f"<Directory {source}>",
        f"Before {machine.hook(f'test -e {flag} || exit 0; echo on battery; exit 75')}",
        f"Before {told}",
        f"After {told}",
        f"OnError {told}",
        "</Directory>",
    )
    assert machine.run() == Exit.DONE
    assert f"Skipping Directory{source}: Before says not now: hook-1 ended with status 75 (on battery)" in machine.err
    assert "skipped: Before says not now" in machine.out.replace("\n", " ")
    assert (machine.said, machine.stored(f"Directory{source}")) == ([], 0)
    flag.unlink()
    assert machine.run() == Exit.DONE
    assert (machine.said, machine.stored(f"Directory{source}")) == (["Before", "After"], 1)


def test_what_is_not_due_has_no_hooks(machine: Machine) -> None:
    """A job that is done already stops no service; the hooks of the run run each time."""
    told = machine.note("$S3NAP_HOOK $S3NAP_KIND $S3NAP_SKIPPED")
    machine.write(
        f"Before {told}", f"After {told}", f"<Directory {machine.tree('a')}>", f"Before {told}", "</Directory>"
    )
    assert (machine.run(), machine.run()) == (Exit.DONE, Exit.DONE)
    assert machine.said == ["Before  ", "Before Directory ", "After  0", "Before  ", "After  1"]


@pytest.mark.parametrize(
    ("script", "status", "told"),
    [("exit 75", Exit.DONE, []), ("exit 1", Exit.FAILED, ["OnError failed"]), (":", Exit.DONE, ["After done"])],
)
def test_a_before_of_the_run(machine: Machine, script: str, status: Exit, told: list[str]) -> None:
    """At the top level Before decides on the whole run: put off, failed before its first job, or done."""
    source = machine.tree("a")
    note = machine.note("$S3NAP_HOOK $S3NAP_RESULT")
    machine.write(f"Before {machine.hook(script)}", f"After {note}", f"OnError {note}", f"Directory {source}")
    assert machine.run() == status
    assert machine.said == told
    assert machine.stored(f"Directory{source}") == (script == ":")


def test_a_before_of_the_run_can_mount_the_storage(machine: Machine) -> None:
    """It runs before the storage is asked for anything; without it the run fails, and OnError says with what."""
    bucket = machine.daily.path / "bucket"
    bucket.rmdir()
    note = machine.note("$S3NAP_HOOK $S3NAP_RESULT $S3NAP_STATUS")
    source = machine.tree("a")
    machine.write(f"OnError {note}", f"After {note}", f"Directory {source}")
    assert machine.run() == Exit.BUCKET
    machine.write(f"Before {machine.hook(f'mkdir {bucket}')}", f"After {note}", f"Directory {source}")
    assert machine.run() == Exit.DONE
    assert machine.said == ["OnError failed 10", "After done 0"]


def test_a_before_can_make_what_is_backed_up(machine: Machine) -> None:
    """What is backed up is what there is after Before: a snapshot that it takes, a link that it turns."""
    old, new, link = machine.tree("old"), machine.tree("new"), machine.daily.path / "link"
    link.symlink_to(old)
    machine.write(f"<Directory {link}>", f"Before {machine.hook(f'ln -sfn {new} {link}')}", "</Directory>")
    assert machine.run() == Exit.DONE, machine.err
    index = s3nap("-c", machine.daily.conf, "find", "file").stdout
    assert f"{new}/file" in index
    assert f"{old}/file" not in index


@pytest.mark.parametrize(
    ("name", "script", "status"), [("After", "true", Exit.WARNINGS), ("OnError", "exit 7", Exit.FAILED)]
)
def test_an_after_that_fails_is_no_success(machine: Machine, name: str, script: str, status: Exit) -> None:
    """The archive stays, the other After runs, but a service that did not start again must not go unnoticed."""
    bad = machine.hook("echo will not start; exit 9")
    machine.write(
        "<Command x>", "Shell On", f'Dump "echo x; {script}"', f'{name} "{bad}"', f'{name} "echo 1 >> {machine.notes}"',
        "</Command>",
    )  # fmt: skip
    assert machine.run() == status
    assert f"WARNING Command/x: {name} failed: {bad} ended with status 9 (will not start)" in machine.err
    assert machine.said == ["1"]
    assert machine.stored("Command/x") == (name == "After")


@pytest.mark.parametrize("where", ["run", "job"])
def test_a_hook_that_hangs_is_killed(machine: Machine, where: str) -> None:
    """Timeout ends a hook with all that it has started, and counts as its failure."""
    pid = machine.daily.path / "pid"
    before = f"Before {machine.hook(f'sleep 300 & echo $! > {pid}; wait')}"
    block = [f"<Directory {machine.tree('a')}>", *([before] if where == "job" else []), "</Directory>"]
    machine.write("Timeout 1s", *([before] if where == "run" else []), *block)
    assert machine.run() == Exit.FAILED
    assert "Before failed: hook-0 did not end within Timeout (1 seconds) and was killed" in machine.err
    deadline = time.monotonic() + _PATIENCE
    while Path("/proc", pid.read_text().strip()).exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # until its new parent has taken notice
    assert not _alive(pid)


def _alive(pid: Path) -> bool:
    stat = Path("/proc", pid.read_text().strip(), "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_timeout_ends_a_tar_that_hangs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeout is for directories, too: tar on a dead network mount holds up no other job for ever."""
    fakes = fake_program(
        machine.daily.path / "fakes", "tar", 'case "$*" in *--create*) exec sleep 300;; esac; exec $REAL "$@"'
    )
    monkeypatch.setenv("PATH", f"{fakes.parent}:{os.environ['PATH']}")
    machine.write("Timeout 1s", f"Directory {machine.tree('a')}", "<Command x>", "Dump echo x", "</Command>")
    assert machine.run() == Exit.FAILED
    assert "the dump did not end within Timeout (1 seconds) and was killed" in machine.err
    assert machine.stored("Command/x") == 1


def test_timeout_ends_the_wait_for_a_dead_mount(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that never answers fails its job before tar is started; OnError says so, and the next job is done."""
    dead, scandir, over = machine.tree("dead"), os.scandir, threading.Event()

    def hang(path: str | bytes | int) -> object:
        if not isinstance(path, int) and os.fsencode(path) == os.fsencode(dead):
            over.wait()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", hang)
    onerror = f"OnError {machine.note('$S3NAP_MESSAGE')}"
    machine.write(
        "Timeout 1s", f"<Directory {dead}>", onerror, "</Directory>", "<Command x>", "Dump echo x", "</Command>"
    )
    assert machine.run() == Exit.FAILED
    over.set()
    assert machine.said[0].startswith(f"{dead} could not be looked through within Timeout (1 seconds): is it on a")
    assert machine.stored("Command/x") == 1


def test_there_is_no_shell_unless_asked_for(machine: Machine) -> None:
    """Words go to the program as they are; ``Shell On`` holds for the hooks in its own scope and those below it."""
    note = machine.hook(f'printf "[%s]" "$@" >> {machine.notes}')
    machine.write(
        f'Before {note} $HOME ";" "a b" `id`',
        f"<Directory {machine.tree('a')}>",
        "Shell On",
        f"""Before "{note} 'one  word' && {note} two" """,
        "</Directory>",
    )
    assert machine.run() == Exit.DONE, machine.err
    assert machine.said == ["[$HOME][;][a b][`id`][one  word][two]"]


def test_what_hooks_say_is_in_the_log(machine: Machine) -> None:
    """Output of both kinds, line by line and harmless; secrets are masked, in messages and on screen alike."""
    secret = machine.daily.path / "ping"
    secret.write_text("http://127.0.0.1:9/0123-4567-89ab-cdef\n")
    secret.chmod(0o600)
    talk = machine.hook("echo one; printf 'two\\033[2J\\n' >&2; echo 0123-4567-89ab-cdef; exit 3")
    machine.write(f"PingFile {secret}", f"<Directory {machine.tree('a')}>", f"Before {talk}", "</Directory>")
    assert machine.run("backup") == Exit.FAILED
    for said in (machine.err, machine.log):
        assert "INFO Directory" in said
        assert ": Before: one\n" in said
        assert ": Before: two\\x1b[2J\n" in said
    for said in (machine.err, machine.log, machine.out):
        assert "cdef" not in said
    assert "ended with status 3 (***)" in machine.out.replace("\n", " ")


def test_the_dry_run_starts_no_hook(machine: Machine) -> None:
    """-t says which hooks would run, of due jobs only, and starts none."""
    note = machine.note("never")
    machine.write(
        f"Before {note} top",
        f"<Directory {machine.tree('a')}>",
        f'After {note} "with a blank"',
        "</Directory>",
        f"<Directory {machine.tree('b')}>",
        "Frequency 3000",
        "CatchUp Off",
        f"After {note} not due",
        "</Directory>",
        f"<SubversionDir /nonexistent/a>\nOnError {note}\n</SubversionDir>",
    )
    assert machine.run("-t") == Exit.FAILED
    assert f"Before of the run: {note} top\n" in machine.out
    assert f"After of Directory{machine.daily.path}/a: {note} 'with a blank'\n" in machine.out
    assert "not due" not in machine.out.partition("Hooks")[2]
    assert machine.said == []


def test_hooks_of_parallel_jobs_run_at_once(machine: Machine) -> None:
    """Each of two hooks waits for the other: with Parallel 2 both end."""
    blocks = []
    for name, other in ("ab", "ba"):
        here, there = machine.daily.path / f"{name}.on", machine.daily.path / f"{other}.on"
        blocks += [
            f"<Directory {machine.tree(name)}>",
            f"Before {machine.hook(f'touch {here}; while [ ! -e {there} ]; do sleep 0.02; done')}",
            "</Directory>",
        ]
    machine.write("Parallel 2", "Timeout 30s", *blocks)
    assert machine.run() == Exit.DONE, machine.err


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("where", ["run", "job", "after"])
def test_an_interruption_kills_a_hook(machine: Machine, where: str, parallel: int) -> None:
    """Ctrl-C ends a hook at work with all that it started, and starts no other; what was done before stays."""
    pid = machine.daily.path / "pid"
    source = machine.tree("a")
    note = machine.note("$S3NAP_HOOK")
    name = "After" if where == "after" else "Before"
    lines = [f"{name} {machine.hook(f'sleep 300 & echo $! > {pid}.new; mv {pid}.new {pid}; wait')}"]
    lines += [f"{name} {note}" for name in ("After", "OnError")]
    outer, inner = (lines, []) if where == "run" else ([], lines)
    machine.write(f"Parallel {parallel}", *outer, f"<Directory {source}>", *inner, "</Directory>")
    process = subprocess.Popen(
        [sys.executable, "-m", "s3nap", "-c", str(machine.daily.conf)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - as under nohup
    )
    deadline = time.monotonic() + _PATIENCE
    while not pid.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=_PATIENCE)
    assert process.returncode == Exit.INTERRUPTED, said
    assert "Traceback" not in said
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(pid)
    assert machine.said == []
    assert machine.stored(f"Directory{source}") == (where == "after")
