"""What the documents say is so: tables match the code, links lead somewhere, the restore chapter runs as written."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from keys_fixture import GpgHome
from promises import PROOFS

from s3nap import config
from s3nap.cli import cli
from s3nap.conftext import reference
from s3nap.cycle import SimpleCycle
from s3nap.errors import Exit
from s3nap.manifest import Encryption, Manifest, StoredObject
from s3nap.sources.table import SOURCES

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))),
)
PACKAGE = ROOT / "s3nap"

# an aws that knows folders only: what the chapter calls, and no more
AWS = """\
#!/bin/sh
set -eu
[ "$1" = s3 ]
case $2 in
ls)
    [ "$3" = --recursive ]
    path=${4#file://}
    find "${path%/*}" -type f | while read -r file; do
        case $file in "$path"*) echo "2026-11-21 03:15:00 $(wc -c < "$file") ${file#/}" ;; esac
    done ;;
cp)
    if [ "$4" = - ]; then cat "${3#file://}"; else cp "${3#file://}" "$4"; fi ;;
*) exit 2 ;;
esac
"""


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def commands(group: click.Group, before: str = "") -> list[str]:
    """Full names of all commands that are not hidden."""
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, f"{before}{name} ")
        elif not command.hidden:
            found.append(before + name)
    return found


def modules() -> list[str]:
    """Every module as ARCHITECTURE.md names it."""
    files = [file.relative_to(PACKAGE).with_suffix("") for file in PACKAGE.rglob("*.py")]
    names = [".".join(file.parts[:-1] if file.name == "__init__" else file.parts) for file in files]
    return sorted(name for name in names if name)


def test_readme_has_the_reference_that_the_table_makes() -> None:
    """The README's table of directives is generated, so it cannot be out of date."""
    match = re.search(r"<!-- reference: begin -->\n(.*)<!-- reference: end -->", text("README.md"), re.DOTALL)
    assert match is not None
    assert match[1] == reference(), "put what s3nap.conftext.reference() returns between the markers"


def test_readme_conf_is_right(tmp_path: Path) -> None:
    """The conf that everybody starts from loads, and means what its comments say."""
    chapter = text("README.md").partition("\n## Configuration")[2].partition("\n## ")[0]
    match = re.search(r"```apache\n(.*?)```", chapter, re.DOTALL)
    assert match is not None
    conf = tmp_path / "main.conf"
    conf.write_text(match[1])
    jobs = {job.source: job for job in config.load(conf, on_this_host=False).jobs}
    assert set(jobs) == {"/etc", "/home", "/srv/www", "/opt", str(conf)}
    assert jobs["/etc"].cycle == SimpleCycle(diffs=6, fulls=2)
    assert jobs["/opt"].cycle == SimpleCycle(frequency=28, diffs=0, fulls=3)


def test_the_conf_of_other_sources_is_right(tmp_path: Path) -> None:
    """The page about databases shows a conf that loads, with every kind of source but Directory."""
    match = re.search(r"```\n(.*?)```", text("docs/sources.md"), re.DOTALL)
    assert match is not None
    conf = tmp_path / "main.conf"
    conf.write_text(f"DiffDir /var/lib/s3nap\nBucket s3://my-backups\n{match[1]}")
    assert {job.kind for job in config.load(conf, on_this_host=False).jobs} == set(SOURCES) - {"Directory", "Conf"}


def test_readme_names_every_command() -> None:
    """A command that the README does not know is a command that nobody finds."""
    known = commands(cli)
    assert "config validate" in known
    assert [name for name in known if f"`s3nap {name}" not in text("README.md")] == []


def test_readme_names_every_exit_status() -> None:
    """Whoever reads a status in cron's mail finds it in the table."""
    chapter = text("README.md").partition("## Exit statuses")[2].partition("\n## ")[0]
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", chapter, re.MULTILINE)} == set(Exit)


def test_architecture_names_every_module() -> None:
    """Each module has its row, and no row is of a module that is gone."""
    layers = text("ARCHITECTURE.md").partition("## Layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|[^|]*\| `([\w.]+)` \|", layers, re.MULTILINE)
    assert sorted(rows) == modules()


def test_architecture_names_tests_that_exist() -> None:
    """The table of rules leads to real tests."""
    named = re.findall(r"`(?:tests/)?(test_\w+\.py)`", text("ARCHITECTURE.md"))
    assert named
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []


def test_format_has_every_field_of_the_manifest() -> None:
    """The format document describes all that a manifest holds, and nothing that it does not."""
    chapter = text("docs/format.md").partition("## The manifest")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE)
    assert sorted(rows) == sorted(field.name for field in dataclasses.fields(Manifest))
    parts = [field.name for kind in (Encryption, StoredObject) for field in dataclasses.fields(kind)]
    assert [part for part in parts if f"`{part}`" not in chapter] == []


def test_readme_is_honest_about_sources() -> None:
    """What cannot be backed up yet is said; once everything can, the statement must go."""
    assert ("directories only" in text("README.md")) == (set(SOURCES) == {"Directory", "Conf"})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    """Relative links name files that exist, and headings that exist."""
    for target in re.findall(r"\]\(([^)]+)\)", text(name)):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        assert not file or ((ROOT / name).parent / file).is_file(), target
        if heading:
            pointed = ((ROOT / name).parent / file if file else ROOT / name).read_text("utf-8")
            lines = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in pointed.splitlines()}
            assert heading in lines, target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_are_short(name: str) -> None:
    """Documents are read in terminals: 120 columns, but for tables."""
    lines = text(name).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.lstrip().startswith("|")] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_do_not_speak_of_what_readers_do_not_have(name: str) -> None:
    """No document refers to papers that are not in the repository."""
    assert re.findall(r"\bDESIGN\b|\bSEEDS\b|\bRELIABILITY\b|/work/", text(name)) == []


def chapter_script() -> str:
    """The blocks of "Restore, in anger" that are marked to be run, in their order."""
    chapter = text("README.md").partition("\n## Restore, in anger")[2].partition("\n## ")[0]
    blocks = re.findall(r"<!-- run -->\n *```sh\n(.*?)\n *```", chapter, re.DOTALL)
    assert len(blocks) == chapter.count("<!-- run -->") >= 10
    return "\n".join(blocks) + "\n"


def back_up(folder: Path, www: Path, project: Path, database: Path) -> Path:
    """Make a FULL and a DIFF of all as host web1, lose conf and DiffDir; return the folder that is the bucket."""
    bucket, diffs = folder / "bucket", folder / "diffs"
    bucket.mkdir(mode=0o700)
    diffs.mkdir(mode=0o700)
    conf = folder / "main.conf"
    lines = [f"DiffDir {diffs}", f"Bucket file://{bucket}", "GpgRecipient backup@s3nap.test", "Host web1"]
    lines += ["<Cycle daily>", "Diffs 6", "Fulls 2", f"Directory {www}", f"Subversion {project}", f"SQLite {database}"]
    lines += ["</Cycle>"]
    conf.write_text("\n".join(lines) + "\n")
    for day, content in (("2026-11-21", "old"), ("2026-11-22", "new")):
        (www / "index.html").write_text(content)
        subprocess.run([sys.executable, "-m", "s3nap", "-q", "-c", conf, "--date", day], check=True)
    conf.unlink()
    shutil.rmtree(diffs)
    return bucket


@pytest.fixture
def fresh_gpg_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))  # short, or gpg's agent fails
    yield folder
    environment = {**os.environ, "GNUPGHOME": str(folder)}
    subprocess.run(["gpgconf", "--kill", "all"], check=False, env=environment)
    shutil.rmtree(folder, ignore_errors=True)


def test_the_restore_chapter_runs_as_written(tmp_path: Path, gpg_home: GpgHome, fresh_gpg_home: Path) -> None:
    """On a bad day nobody debugs a README: its commands, pasted in order, restore both ways and with opened keys."""
    www = tmp_path / "srv" / "www"
    (www / "sub").mkdir(parents=True)
    project, database = tmp_path / "project", tmp_path / "app.db"
    subprocess.run(["svnadmin", "create", project], check=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE t (a)")
    bucket = back_up(tmp_path, www, project, database)
    strange = tmp_path / "strange"  # the strange machine
    strange.mkdir()
    export = ["gpg", "--batch", "--armor", "--export-secret-keys", gpg_home.recipient]
    (strange / "backup.secret").write_bytes(subprocess.run(export, check=True, capture_output=True).stdout)
    programs = strange / "bin"
    programs.mkdir()
    for name, script in (("aws", AWS), ("s3nap", f'#!/bin/sh\nexec {sys.executable} -m s3nap "$@"\n')):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    target, conf = strange / "restored", tmp_path / "main.conf"
    places = {"s3://my-backups/s3nap": f"file://{bucket}", "/mnt/restored": str(target), "/srv/www": str(www)}
    places |= {"/srv/svn/project": str(project), "/var/lib/app/app.db": str(database), "/mnt/": f"{strange}/"}
    places |= {"/etc/s3nap/main.conf": str(conf)}
    script = re.sub("|".join(map(re.escape, places)), lambda match: places[match[0]], chapter_script())
    path = f"{programs}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "GNUPGHOME": str(fresh_gpg_home)}
    subprocess.run(["sh", "-eu", "-c", script], check=True, cwd=strange, env=environment, stdin=subprocess.DEVNULL)
    assert "GpgRecipient backup@s3nap.test" in conf.read_text()
    assert "s3nap bootstrap" in (strange / "runbook.md").read_text()
    for restored in (target, Path(f"{target}-by-sh"), Path(f"{target}-by-keys"), Path(f"{target}-by-s3nap-keys")):
        there = restored / www.relative_to("/")
        assert (there / "index.html").read_text() == "new"
        assert (there / "sub").is_dir()
    assert (strange / "app.db").read_bytes() == database.read_bytes()
    uuids = [
        subprocess.run(["svnlook", "uuid", path], check=True, capture_output=True).stdout
        for path in (project, strange / "project")
    ]
    assert uuids[0] == uuids[1]
    assert (strange / "project.svndump").read_bytes().startswith(b"SVN-fs-dump-format-version")


def test_every_promise_has_its_proofs() -> None:
    """The page of promises, the table of proofs and the tests know each other: a test that is gone proves nothing."""
    promised = {int(number) for number in re.findall(r"^\| P(\d+) \| \*\*", text("docs/promises.md"), re.MULTILINE)}
    assert promised == set(range(1, 21)) == {number for number, _, _ in PROOFS}
    tests = {
        f"{file.stem}::{name}"
        for file in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert [proof for proof in PROOFS if not any(name.startswith(proof[2]) for name in tests)] == []
