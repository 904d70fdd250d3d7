"""Subversion: every restorable day loads to the revision of that day, and no dump that is not whole is kept."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from daily import FIRST, Daily, program

from s3nap import access
from s3nap.cli import _status
from s3nap.errors import Exit, UsageError, VerificationError
from s3nap.manifest import Archive, Type
from s3nap.restore import restore_stream
from s3nap.sources import LoadOptions
from s3nap.sources.table import make_loader

ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}
SVNADMIN = shutil.which("svnadmin") or "svnadmin"


def svn(*words: object, stdin: bytes = b"") -> bytes:
    """Run a program of Subversion's."""
    argv = [str(word) for word in words]
    return subprocess.run(argv, input=stdin, env=ENVIRONMENT, check=True, capture_output=True).stdout


def make(path: Path) -> Path:
    svn("svnadmin", "create", path)
    return path


def commit(repository: Path, *actions: object, message: str = "a change") -> None:
    """Commit what svnmucc is told."""
    svn("svnmucc", "--non-interactive", "-m", message, "-U", repository.as_uri(), *actions)


def youngest(repository: Path) -> int:
    return int(svn("svnlook", "youngest", repository))


def whole(repository: Path) -> bytes:
    """Everything: contents, properties, revision properties, UUID."""
    return svn("svnadmin", "dump", "-q", repository)


class Changes:
    """Commits of every kind, at random but always the same."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        self.random = random.Random(11)  # noqa: S311 - no secret
        self.repository, self.scratch = repository, scratch
        commit(repository, "mkdir", "trunk", "mkdir", "branches")
        self.files: list[str] = []
        self.count = 0

    def one(self) -> None:
        kinds: list[Callable[[], None]] = [self.add, self.add, self.edit, self.delete, self.move, self.copy, self.tag]
        (self.random.choice(kinds) if len(self.files) > 1 else self.add)()
        if self.random.random() < 0.3:
            note = f"reviewed by Zoë, {self.count}".encode()
            self.scratch.write_bytes(note)
            svn("svnadmin", "setrevprop", self.repository, "-r", youngest(self.repository), "review", self.scratch)

    def add(self) -> None:
        self.count += 1
        name = f"trunk/fil\u00e9 {self.count}"
        self._put(name)
        self.files.append(name)

    def edit(self) -> None:
        self._put(self.random.choice(self.files))

    def _put(self, name: str) -> None:
        self.scratch.write_bytes(self.random.randbytes(self.random.randrange(30_000)))
        commit(self.repository, "put", self.scratch, name, message="contents\nin two lines")

    def delete(self) -> None:
        commit(self.repository, "rm", self.files.pop(self.random.randrange(len(self.files))))

    def move(self) -> None:
        old = self.files.pop(self.random.randrange(len(self.files)))
        commit(self.repository, "mv", old, f"{old}.moved")
        self.files.append(f"{old}.moved")

    def copy(self) -> None:
        self.count += 1
        commit(self.repository, "cp", "HEAD", "trunk", f"branches/{self.count}")

    def tag(self) -> None:
        commit(self.repository, "propset", "svn:executable", "*", self.random.choice(self.files))


def restored(machine: Daily, links: list[Archive], target: Path, *, overwrite: bool = False) -> Path:
    """Load a chain into a new repository."""
    loader = make_loader(links[-1].manifest, LoadOptions(database=str(target), overwrite=overwrite))
    with machine.reader() as reader:
        assert restore_stream(reader, links, loader)[1] == str(target)
    return target


def follow(machine: Daily, repository: Path, tmp_path: Path) -> dict[int, bytes]:
    """Change and back up for 20 days, some of them quiet; what the repository was on each."""
    changes, truth = Changes(repository, tmp_path / "scratch"), {}
    for day in range(20):
        for _ in range(0 if day in {3, 6, 7, 12, 16, 19} else changes.random.randrange(1, 4)):
            changes.one()
        result = machine.done(day, f"Subversion{repository}")
        assert result.manifest is not None
        assert result.manifest.files == youngest(repository) + 1
        assert result.manifest.proof["last_revision"] == youngest(repository)
        truth[day] = whole(repository)
        links = machine.chains(f"Subversion{repository}")[day]
        assert whole(restored(machine, links, tmp_path / f"restored-{day}")) == truth[day]
    return truth


def test_twenty_days_restore_to_the_revision_of_each_day(tmp_path: Path) -> None:
    """Every restore point equals the repository of its day, quiet days included, by s3nap and by the recipe."""
    repository = make(tmp_path / "pr\u00f6j@ct")
    machine = Daily(tmp_path / "s3nap", f'Diffs 3\nFulls 2\nSubversion "{repository}"')
    machine_job = f"Subversion{repository}"
    truth = follow(machine, repository, tmp_path)
    chains = machine.chains(machine_job)
    assert 8 <= len(chains) <= 12
    assert {links[-1].manifest.type for links in chains.values()} == {Type.FULL, Type.DIFF}
    quiet = chains[16][-1].manifest
    assert (quiet.raw_size, quiet.proof["revisions"], quiet.type) == (0, 0, Type.DIFF)
    for day, links in chains.items():
        assert whole(restored(machine, links, tmp_path / f"again-{day}")) == truth[day]
    target = tmp_path / "by r\u00e9cipe"
    run_recipe(machine, chains[18], target)
    assert whole(target) == truth[18]


def run_recipe(machine: Daily, links: list[Archive], target: Path, **environment: str) -> None:
    manifest = links[-1].manifest
    script = machine.path / "bucket" / f"{manifest.at.data}restore.sh"
    said = subprocess.run(
        ["dash", script, target], check=False, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert said.returncode == 0, said.stderr
    assert said.stderr.endswith("done\n")


def test_an_encrypted_repository_restores(tmp_path: Path) -> None:
    """Encryption changes nothing: s3nap and the recipe open the archives of both levels and of an empty stream."""
    repository = make(tmp_path / "repo")
    secret = tmp_path / "passphrase"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    machine = Daily(tmp_path / "s3nap", f"GpgPassphraseFile {secret}\nDiffs 3\nSubversion {repository}")
    for day in range(3):
        if day < 2:
            commit(repository, "mkdir", f"day{day}")
        machine.done(day, f"Subversion{repository}")
    links = machine.chains(f"Subversion{repository}")[2]
    run_recipe(machine, links, tmp_path / "sh", PASSPHRASE_FILE=str(secret))
    args = ["restore", f"Subversion{repository}", "-c", str(machine.conf), "--database", str(tmp_path / "new"), "-q"]
    assert _status(args) == Exit.DONE
    assert whole(tmp_path / "sh") == whole(tmp_path / "new") == whole(repository)


def test_what_old_versions_let_in_comes_back(tmp_path: Path) -> None:
    """A log message with line ends that svnadmin refuses today is restored as it was."""
    source = make(tmp_path / "source")
    commit(source, "mkdir", "x", message="one\ntwo")
    old = make(tmp_path / "old")
    dump = whole(source).replace(b"one\ntwo", b"one\rtwo")
    svn("svnadmin", "load", "-q", "--bypass-prop-validation", old, stdin=dump)
    machine = Daily(tmp_path / "s3nap", f"Subversion {old}")
    machine.done(0, f"Subversion{old}")
    links = machine.chains(f"Subversion{old}")[0]
    assert whole(restored(machine, links, tmp_path / "new")) == whole(old)
    run_recipe(machine, links, tmp_path / "sh")
    assert whole(tmp_path / "sh") == whole(old)


@pytest.fixture
def backed_up(tmp_path: Path) -> tuple[Daily, Path, str]:
    """A repository of three revisions with a FULL and a DIFF."""
    repository = make(tmp_path / "repo")
    machine = Daily(tmp_path / "s3nap", f"Diffs 6\nSubversion {repository}")
    commit(repository, "mkdir", "a")
    commit(repository, "mkdir", "b")
    machine.done(0, f"Subversion{repository}")
    commit(repository, "mkdir", "c")
    machine.done(1, f"Subversion{repository}")
    return machine, repository, f"Subversion{repository}"


def reloaded(repository: Path) -> None:
    """Another history of the same length and UUID."""
    dump = whole(repository).replace(b"Node-path: c", b"Node-path: z")
    shutil.rmtree(repository)
    svn("svnadmin", "load", "-q", make(repository), stdin=dump)


def edited(repository: Path) -> None:
    message = repository.parent / "message"
    message.write_text("corrected")
    svn("svnadmin", "setlog", "--bypass-hooks", repository, "-r", youngest(repository), message)


def another(repository: Path) -> None:
    shutil.rmtree(repository)
    make(repository)
    for name in "pqrs":
        commit(repository, "mkdir", name)


def further(repository: Path) -> None:
    reloaded(repository)
    commit(repository, "mkdir", "d")


@pytest.mark.parametrize(
    ("change", "reason"),
    [(reloaded, "reloaded"), (further, "reloaded"), (edited, "properties were edited"), (another, "its UUID was")],
)
def test_a_repository_that_was_replaced_is_not_continued(
    backed_up: tuple[Daily, Path, str], tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    """A DIFF never goes on another history than that of its parent, be its UUID and length the same: a FULL is made."""
    machine, repository, job = backed_up
    change(repository)
    result = machine.done(2, job)
    assert result.manifest is not None
    assert result.manifest.type is Type.FULL
    assert reason in result.message
    assert whole(restored(machine, machine.chains(job)[2], tmp_path / "new")) == whole(repository)
    assert machine.chains(job).keys() == {0, 1, 2}


def test_a_repository_that_lost_revisions_brakes(backed_up: tuple[Daily, Path, str]) -> None:
    """Fewer revisions than before are stored, but push nothing older out until a person has looked."""
    machine, repository, job = backed_up
    shutil.rmtree(repository)
    make(repository)
    result = machine.run(2, force=True)[job]
    assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
    assert result.manifest is not None
    assert "has 1 revisions, it had 4" in str(result.manifest.brake)


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put a svnadmin in the way whose dumps of everything do something else."""
    real = f'case "$*" in "dump -q -r "*) ;; *) exec {SVNADMIN} "$@" ;; esac'
    program(tmp_path / "bin", "svnadmin", f"{real}\n{text}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


HALF = f'{SVNADMIN} "$@" | head -c 700'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HALF}; kill -9 $$", "svnadmin was killed by signal 9"),
        (f"{HALF}; echo disk is on fire >&2; exit 1", "ended with status 1: disk is on fire"),
        (f"{HALF}; sleep 60", "did not end within Timeout (1 seconds)"),
        ("exit 0", "svnadmin wrote nothing"),
        ("echo no such thing >&2; exit 1", "no such thing"),
    ],
    ids=["killed", "fails", "hangs", "nothing", "refuses"],
)
def test_a_dump_that_fails_leaves_what_was_there(
    backed_up: tuple[Daily, Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    said: str,
) -> None:
    """A dump that is not whole is never committed, the old archives stay, and the other jobs are done."""
    machine, repository, job = backed_up
    before = machine.objects()
    other = make(tmp_path / "other")
    machine.write(f"<Subversion {repository}>\nTimeout 1s\n</Subversion>\n<Directory {other}>\n</Directory>")
    fake(tmp_path, monkeypatch, text)
    results = machine.run(2, full=True)
    assert (results[job].outcome, results[job].status) == ("failed", Exit.FAILED)
    assert said in results[job].message
    assert results[f"Directory{other}"].outcome == "done"
    assert {key for key in machine.objects() if "Subversion" in key} == before
    assert machine.chains(job).keys() == {0, 1}


@pytest.mark.parametrize(("text", "said"), [("sleep 60", "Timeout (1 seconds)"), ("echo torn >&2; exit 1", "torn")])
def test_a_digest_that_fails_fails_the_job(
    backed_up: tuple[Daily, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """Without the last revision's digest the next DIFF could not be trusted: nothing is committed, nothing hangs."""
    machine, repository, job = backed_up
    machine.write(f"Timeout 1s\nSubversion {repository}")
    program(tmp_path / "bin", "svnadmin", f'case "$*" in *--incremental*) {text} ;; *) exec {SVNADMIN} "$@" ;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    result = machine.run(2)[job]
    assert result.status is Exit.FAILED
    assert said in result.message
    assert machine.chains(job).keys() == {0, 1}


def test_a_missing_program_and_a_missing_repository_fail_the_job(
    backed_up: tuple[Daily, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there is a failure in plain words, never an empty archive."""
    machine, repository, job = backed_up
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert "not installed" in machine.run(2)[job].message
    (repository / "format").unlink()
    result = machine.run(2)[job]
    assert result.status is Exit.FAILED
    assert f"Can't open file '{repository}/format'" in result.message
    assert machine.chains(job).keys() == {0, 1}


def test_a_restore_never_loads_over_revisions(backed_up: tuple[Daily, Path, str], tmp_path: Path) -> None:
    """Existing repositories are refused; with --overwrite one without revisions is filled, any other still refused."""
    machine, repository, job = backed_up
    links = machine.chains(job)[1]
    before = whole(repository)
    with pytest.raises(UsageError, match="exists already"):
        restored(machine, links, repository)
    with pytest.raises(UsageError, match="holds 3 revisions"):
        restored(machine, links, repository, overwrite=True)
    with pytest.raises(UsageError, match="no repository"):
        restored(machine, links, tmp_path, overwrite=True)
    args = ["restore", job, "-c", str(machine.conf), "--database", (tmp_path / "url").as_uri()]
    assert _status(args) == Exit.USAGE
    empty = make(tmp_path / "empty")
    hook = program(empty / "hooks", "start-commit", "exit 1")
    assert whole(restored(machine, links, empty, overwrite=True)) == before
    assert hook.exists()


def test_a_load_that_fails_leaves_nothing(backed_up: tuple[Daily, Path, str], tmp_path: Path) -> None:
    """A chunk that is not what was stored never becomes a repository that looks whole."""
    machine, _, job = backed_up
    links = machine.chains(job)[1]
    chunk = next((machine.path / "bucket" / links[-1].manifest.at.data).glob("00000000*"))
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    folder = tmp_path / "srv"
    with pytest.raises(VerificationError):
        restored(machine, links, folder / "svn" / "repo")
    assert list((folder / "svn").iterdir()) == []


def test_the_dump_alone_goes_to_a_file(backed_up: tuple[Daily, Path, str], tmp_path: Path) -> None:
    """--target writes what svnadmin wrote: loading it by hand gives the repository."""
    machine, repository, job = backed_up
    target = tmp_path / "dump"
    assert _status(["restore", job, "-c", str(machine.conf), "--target", str(target), "-q"]) == Exit.DONE
    svn("svnadmin", "load", "-q", make(tmp_path / "new"), stdin=target.read_bytes())
    assert whole(tmp_path / "new") == whole(repository)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five repositories, one of them broken, and what is no repository."""
    folder = tmp_path / "svn"
    folder.mkdir()
    for name in ("one", "two", "three and more", "four", "broken"):
        commit(make(folder / name), "mkdir", "trunk")
    (folder / "broken/db/current").write_text("nonsense\n")
    make(folder / ".hidden")
    (folder / "notes").mkdir()
    (folder / "README").write_text("")
    return folder


def test_a_link_that_leads_nowhere_is_not_passed_over(folder: Path, tmp_path: Path) -> None:
    """A repository on a disk that is not mounted fails, and the others are done; a link to one that is there works."""
    (folder / "away").symlink_to(tmp_path / "unmounted" / "repo")
    (folder / "loop").symlink_to("loop")
    (folder / "here").symlink_to(folder / "one")
    results = Daily(tmp_path / "s3nap", f"SubversionDir {folder}").run(0)
    failed = {job.rpartition("/")[2] for job, result in results.items() if result.outcome == "failed"}
    assert failed == {"away", "loop", "broken"}
    assert results[f"SubversionDir{folder}/here"].outcome == "done"


def test_a_broken_repository_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each repository of a folder is a job: the broken one fails with its name, the rest is done, the status is 1."""
    machine = Daily(tmp_path / "s3nap", f"<SubversionDir {folder}>\nFulls 10\n</SubversionDir>")
    assert _status(["-c", str(machine.conf), "--date", str(FIRST)]) == Exit.FAILED
    said = capsys.readouterr()
    assert f"SubversionDir{folder}/broken: {folder}/broken cannot be read" in said.err
    results = machine.run(1)
    assert {job.rpartition("/")[2]: result.outcome for job, result in results.items()} == {
        "broken": "failed",
        "four": "done",
        "one": "done",
        "three%20and%20more": "done",
        "two": "done",
    }
    links = machine.chains(f"SubversionDir{folder}/two")[1]
    assert links[-1].manifest.kind == "SubversionDir"
    assert links[-1].manifest.source == f"{folder}/two"
    assert whole(restored(machine, links, tmp_path / "two")) == whole(folder / "two")


def test_list_and_plan_know_the_repositories_of_a_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a SubversionDir found is current; a repository that is gone is retired; an unmounted folder retires none."""
    machine = Daily(tmp_path / "s3nap", f"<Cycle c>\nFulls 10\nSubversionDir {folder}\n</Cycle>")
    shutil.rmtree(folder / "broken")
    machine.run(0)

    def retired() -> set[str]:
        place = next(access.places([machine.conf], bucket=None, endpoint=None, region=None, key_file=None, host=None))
        jobs = [f"c/SubversionDir{folder}/{name}" for name in ("one", "two", "four")]
        verdicts = [place.verdict(machine.catalog(job), FIRST) for job in jobs]
        assert all(verdict.restorable for verdict in verdicts)
        return {job for job in jobs if place.retired(machine.catalog(job).archives[0])}

    assert retired() == set()
    assert _status(["plan", "-c", str(machine.conf), "--from", "2026-03-02", "--days", "1"]) == Exit.DONE
    assert f"SubversionDir{folder}/one" in capsys.readouterr().out
    shutil.rmtree(folder / "two")
    assert retired() == {f"c/SubversionDir{folder}/two"}
    folder.rename(tmp_path / "unmounted")
    assert retired() == set()


def test_one_repository_of_a_folder_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    """`backup JOB` runs just the repository that is named."""
    machine = Daily(tmp_path / "s3nap", f"SubversionDir {folder}")
    job = f"SubversionDir{folder}/three and more"
    assert _status(["backup", job, "-c", str(machine.conf), "-q"]) == Exit.DONE
    assert {key.split("/")[0] for key in machine.objects() if "three%20and%20more" not in key} == set()
    assert _status(["backup", f"SubversionDir{folder}/none", "-c", str(machine.conf), "-q"]) == Exit.NOTHING


@pytest.mark.parametrize("missing", [True, False])
def test_an_unmounted_folder_does_not_pass_for_an_empty_one(tmp_path: Path, missing: bool) -> None:
    """A folder without repositories fails: it is more likely to be unmounted than to be meant."""
    machine = Daily(tmp_path / "s3nap", f"SubversionDir {tmp_path}/svn")
    if not missing:
        (tmp_path / "svn").mkdir()
    result = machine.run(0)[f"SubversionDir{tmp_path}/svn"]
    assert (result.outcome, result.status) == ("failed", Exit.FAILED)
    assert ("No such file" if missing else "is it mounted?") in result.message


def test_a_rehearsal_touches_nothing(backed_up: tuple[Daily, Path, str]) -> None:
    """-t writes neither to the bucket nor to DiffDir, for repositories as for anything else."""
    machine, _, _ = backed_up
    before = {path: path.stat().st_mtime_ns for path in machine.path.rglob("*")}
    assert _status(["-c", str(machine.conf), "-t"]) == Exit.DONE
    assert {path: path.stat().st_mtime_ns for path in machine.path.rglob("*")} == before
