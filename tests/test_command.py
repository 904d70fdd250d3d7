"""Command: whatever the user's own programs write is stored whole or not at all, and never read by a shell unasked."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from daily import Daily, program

from s3nap import config
from s3nap.cli import _status
from s3nap.errors import ConfError, Exit, ProgramError, UsageError
from s3nap.manifest import Type
from s3nap.restore import restore_stream
from s3nap.sources import LoadOptions
from s3nap.sources.table import make_loader

JOB = "Command/notes"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What the commands of these tests read."""
    path = tmp_path / "data"
    path.write_text("one\ntwo\n")
    return path


def block(*lines: str) -> str:
    return "\n".join(["<Command notes>", *lines, "</Command>"])


def restore(machine: Daily, day: int, *words: str) -> int:
    at = machine.chains(JOB)[day][-1].run
    return _status(["restore", JOB, "-c", str(machine.conf), "--at", at, "-q", *words])


def increments(tmp_path: Path, data: Path) -> str:
    """A block of a log that only grows: the state is how many lines of it are stored."""
    dump = program(tmp_path / "bin", "dump", f'cat "$1" && wc -l < "{data}" > "$S3NAP_NEW_STATE"')
    diff = program(
        tmp_path / "bin",
        "diff",
        'read -r old < "$S3NAP_OLD_STATE"; : > "$S3NAP_OLD_STATE"\n'
        'tail -n +$((old + 1)) "$1" && wc -l < "$1" > "$S3NAP_NEW_STATE"',
    )
    load = program(
        tmp_path / "bin", "load", f'echo "$S3NAP_LEVEL $S3NAP_TYPE" >> {tmp_path}/levels\ncat >> {tmp_path}/loaded'
    )
    return block(f"Dump {dump} {data}", f"DumpDiff {diff} {data}", f"Load {load}", "Diffs 3", "Fulls 2")


def test_diffs_restore_level_by_level(tmp_path: Path, data: Path) -> None:
    """Load gets the FULL, then each DIFF, and is told which: what comes out is what was there on that day."""
    machine = Daily(tmp_path / "s3nap", increments(tmp_path, data))
    truth = {}
    for day in range(7):
        if day != 5:  # an empty DIFF is a quiet day, nothing suspicious
            data.write_text(f"{data.read_text()}day {day}\n")
        machine.done(day, JOB)
        truth[day] = data.read_text()
    chains = machine.chains(JOB)
    assert {links[-1].manifest.type for links in chains.values()} == {Type.FULL, Type.DIFF}
    for day, links in chains.items():
        for name in ("levels", "loaded"):
            (tmp_path / name).unlink(missing_ok=True)
        assert restore(machine, day) == Exit.DONE
        assert (tmp_path / "loaded").read_text() == truth[day]
        expected = [f"{number} {link.manifest.type}" for number, link in enumerate(links)]
        assert (tmp_path / "levels").read_text().splitlines() == expected


def test_streams_of_a_chain_stay_apart_in_files(
    tmp_path: Path, data: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """In files each archive of a chain keeps its own, by s3nap and by the recipe; `-` gets them one after the other."""
    machine = Daily(tmp_path / "s3nap", increments(tmp_path, data))
    for day in range(8):
        data.write_text(f"{data.read_text()}day {day}\n")
        machine.done(day, JOB)
    day, links = max((day, links) for day, links in machine.chains(JOB).items() if len(links) == 3)
    assert restore(machine, day, "--target", str(tmp_path / "out")) == Exit.DONE
    script = machine.path / "bucket" / f"{links[-1].manifest.at.data}restore.sh"
    subprocess.run(["dash", script, tmp_path / "sh"], check=True, capture_output=True)
    for name in ("out", "sh"):
        parts = [(tmp_path / f"{name}{suffix}").read_text() for suffix in ("", ".1", ".2")]
        assert parts[1:] == [f"day {day - 1}\n", f"day {day}\n"]
        assert "".join(parts) == "".join(f"{line}\n" for line in data.read_text().splitlines()[: day + 3])
    assert restore(machine, day, "--target", str(tmp_path / "out")) == Exit.USAGE
    capfdbinary.readouterr()
    assert restore(machine, day, "--target", "-") == Exit.DONE
    assert capfdbinary.readouterr().out.decode().endswith(f"day {day - 1}\nday {day}\n")


def test_words_are_never_read_by_a_shell(tmp_path: Path) -> None:
    """Without Shell every word reaches the program as it stands in the conf, in Dump and in Load."""
    hostile = ["$(touch x)", "; touch x", "`touch x`", "a  b", "*", "> x", "| touch x"]
    words = " ".join(f"'{word}'" for word in hostile)
    load = program(tmp_path / "bin", "load", f'cat > /dev/null; printf "%s\\n" "$@" > {tmp_path}/loaded')
    machine = Daily(tmp_path / "s3nap", block(f"Dump printf '%s\\n' {words}", f"Load {load} {words}"))
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        machine.done(0, JOB)
        assert restore(machine, 0, "--target", str(tmp_path / "out")) == Exit.DONE
        assert restore(machine, 0) == Exit.DONE
    finally:
        os.chdir(before)
    assert (tmp_path / "out").read_text().splitlines() == hostile
    assert (tmp_path / "loaded").read_text().splitlines() == hostile
    assert not (tmp_path / "x").exists()


def test_a_shell_runs_what_asks_for_one(tmp_path: Path, data: Path) -> None:
    """With Shell On a pipe is a pipe, quoted as one word or written as several; Load remembers it."""
    machine = Daily(
        tmp_path / "s3nap",
        block("Shell On", f'Dump "sort -r {data} | tr a-z A-Z"', f"Load cat > '{tmp_path}/loaded'"),
    )
    machine.done(0, JOB)
    assert restore(machine, 0) == Exit.DONE
    assert (tmp_path / "loaded").read_text() == "TWO\nONE\n"


def test_load_comes_from_the_archive_alone(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a bare machine, without conf and DiffDir, Load is there: encrypted like all else, and said before it runs."""
    secret = tmp_path / "passphrase"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    text = block(f"Dump cat {data}", f"Load dd of={tmp_path}/loaded status=none")
    machine = Daily(tmp_path / "s3nap", f"GpgPassphraseFile {secret}\n{text}")
    machine.done(0, JOB)
    assert [key for key in machine.objects() if "/load.zst.gpg" in key]
    stored = b"".join((machine.path / "bucket" / key).read_bytes() for key in machine.objects())
    assert b"dd of=" not in stored
    args = ["restore", JOB, "--bucket", f"file://{machine.path}/bucket", "--host", "here"]
    assert _status([*args, "--passphrase-file", str(secret)]) == Exit.DONE
    assert (tmp_path / "loaded").read_text() == data.read_text()
    assert f"runs the command kept with the archive: dd of={tmp_path}/loaded" in capsys.readouterr().err


def test_without_load_a_target_is_needed(tmp_path: Path, data: Path) -> None:
    """A Command without Load restores to a file, and says so."""
    machine = Daily(tmp_path / "s3nap", block(f"Dump cat {data}"))
    machine.done(0, JOB)
    links = machine.chains(JOB)[0]
    with machine.reader() as reader, pytest.raises(UsageError, match="give --target FILE"):
        restore_stream(reader, links, make_loader(links[-1].manifest, LoadOptions()))
    assert restore(machine, 0, "--target", str(tmp_path / "out")) == Exit.DONE
    assert (tmp_path / "out").read_text() == data.read_text()


@pytest.mark.parametrize(
    ("load", "said"),
    [(["sh", "-c", "cat >/dev/null; echo no room >&2; exit 3"], "no room"), (["not-there"], "not installed")],
)
def test_a_load_that_fails_is_a_failure(tmp_path: Path, data: Path, load: list[str], said: str) -> None:
    """The exit status of Load decides, in its own words."""
    machine = Daily(tmp_path / "s3nap", block(f"Dump cat {data}"))
    machine.done(0, JOB)
    links = machine.chains(JOB)[0]
    kept = json.dumps({"load": load, "shell": False}).encode()
    loader = make_loader(links[-1].manifest, LoadOptions(side=lambda _role: kept))
    with machine.reader() as reader, pytest.raises(ProgramError, match=said):
        restore_stream(reader, links, loader)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo half; kill -9 $$", "was killed by signal 9"),
        ("echo half; echo disk is on fire >&2; exit 7", "ended with status 7: disk is on fire"),
        ("echo half; sleep 60", "did not end within Timeout (1 seconds)"),
        ("echo half; exec >&-; sleep 60", "did not end within Timeout (1 seconds)"),
        (None, "not installed"),
    ],
    ids=["killed", "fails", "hangs", "hangs silently", "missing"],
)
def test_a_dump_that_fails_leaves_what_was_there(tmp_path: Path, data: Path, text: str | None, said: str) -> None:
    """A command that does not end with 0 leaves no archive; the old one stays, the other jobs are done."""
    dump = program(tmp_path / "bin", "dump", f"cat {data}")
    conf = f"Timeout 1s\nFulls 1\nDirectory {data}\n" + block(f"Dump {dump}")
    machine = Daily(tmp_path / "s3nap", conf)
    machine.done(0, JOB)
    before = {key for key in machine.objects() if "Command" in key}
    if text is None:
        machine.write(conf.replace(str(dump), str(dump) + "-er"))
    else:
        program(tmp_path / "bin", "dump", text)
    results = machine.run(1)
    assert (results[JOB].outcome, results[JOB].status) == ("failed", Exit.FAILED)
    assert said in results[JOB].message
    assert results[f"Directory{data}"].outcome == "done"
    assert {key for key in machine.objects() if "Command" in key} == before
    assert restore(machine, 0, "--target", str(tmp_path / "out")) == Exit.DONE
    assert (tmp_path / "out").read_text() == data.read_text()


def test_an_empty_dump_does_not_push_out_a_full_one(tmp_path: Path, data: Path) -> None:
    """Where a command suddenly writes nothing, that is stored, but the older archives are kept and the run says so."""
    machine = Daily(tmp_path / "s3nap", "Fulls 1\n" + block(f"Dump cat {data}"))
    machine.done(0, JOB)
    data.write_text("")
    for day in (1, 2, 3):
        result = machine.run(day)[JOB]
        assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
        assert any("wrote nothing, it did before" in warning for warning in result.warnings)
    assert 0 in machine.chains(JOB)


def test_an_empty_first_dump_is_mentioned(tmp_path: Path, data: Path) -> None:
    """A command that writes nothing from the start is taken at its word, with a warning."""
    data.write_text("")
    machine = Daily(tmp_path / "s3nap", block(f"Dump cat {data}"))
    result = machine.run(0)[JOB]
    assert (result.outcome, result.status) == ("done", Exit.DONE)
    assert result.warnings == ["Command notes wrote nothing"]


@pytest.mark.parametrize("text", ["", 'ln -s /etc/hostname "$S3NAP_NEW_STATE"', 'mkdir "$S3NAP_NEW_STATE"'])
def test_a_dump_without_its_state_is_not_kept(tmp_path: Path, text: str) -> None:
    """With DumpDiff a run that leaves no state fails: the next DIFF would have nothing to build on."""
    dump = program(tmp_path / "bin", "dump", f"echo data\n{text}")
    machine = Daily(tmp_path / "s3nap", block(f"Dump {dump}", f"DumpDiff {dump}", "Diffs 2"))
    result = machine.run(0)[JOB]
    assert result.status is Exit.FAILED
    assert "Dump of Command notes wrote no new state" in result.message
    assert machine.objects() == set()


def test_a_failed_diff_keeps_the_state_of_the_last_archive(tmp_path: Path, data: Path) -> None:
    """The state goes with the commit: what a failed DIFF wrote is forgotten, the next one misses nothing."""
    machine = Daily(tmp_path / "s3nap", increments(tmp_path, data))
    machine.done(0, JOB)
    diff = tmp_path / "bin" / "diff"
    good = diff.read_text()
    data.write_text("one\ntwo\nthree\n")
    diff.write_text(f"{good}\nexit 1\n")
    assert machine.run(1)[JOB].status is Exit.FAILED
    diff.write_text(good)
    machine.done(2, JOB)
    assert restore(machine, 2) == Exit.DONE
    assert (tmp_path / "loaded").read_text() == "one\ntwo\nthree\n"


def test_another_command_makes_a_full(tmp_path: Path, data: Path) -> None:
    """A DIFF of one command never goes on the FULL of another."""
    text = increments(tmp_path, data)
    machine = Daily(tmp_path / "s3nap", text)
    machine.done(0, JOB)
    machine.write(text.replace(f"diff {data}", f"diff {data} --verbose"))
    manifest = machine.done(1, JOB).manifest
    assert manifest is not None
    assert manifest.type is Type.FULL


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (block("Load cat"), ":4: Command notes has no Dump; write <Command notes> with a line Dump and a command"),
        ("Command notes", ":4: Command notes has no Dump"),
        (block("Dump cat x", "Diffs 3"), ":6: Command notes has no DumpDiff, which Diffs above 0 need"),
        ("Diffs 3\n" + block("Dump cat x"), ":4: Command notes has no DumpDiff"),
        ("Dump cat x\nDirectory /etc\n<MySQL all>\nDump cat\n</MySQL>", "Dump is for Command only"),
        ("Command a/b", "is not possible"),
    ],
)
def test_what_a_command_must_have_is_checked_in_the_conf(tmp_path: Path, text: str, fault: str) -> None:
    """A block that could not run is an error of the conf, with file and line, before anything is backed up."""
    machine = Daily(tmp_path / "s3nap", text)
    with pytest.raises(ConfError) as caught:
        config.load(machine.conf)
    assert fault in str(caught.value)


@pytest.mark.parametrize("text", ["Dump cat x", "Dump cat x\nDiffs 0", "Dump cat x\nCycleType HanoiCycle\nDiffs 3"])
def test_a_command_without_diffs_needs_no_dumpdiff(tmp_path: Path, text: str) -> None:
    """Dump alone is enough, wherever no DIFF can come of it; every archive is a FULL."""
    (job,) = config.load(Daily(tmp_path / "s3nap", block(text)).conf).jobs
    assert {job.cycle.type(turn) for turn in range(20)} == {Type.FULL}
