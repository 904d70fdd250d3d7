"""``config show``: which jobs a word means, and that every value says where it came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from s3nap import cli
from s3nap.errors import Exit

CONF = """\
DiffDir /d
Bucket b-b
Exclude "a b" c
UploadLimit 2M 08:00-19:00
<Cycle x>
Fulls 9
MySQL shop
<Directory /srv/a b>
Exclude d
ChunkSize 8M
OneFileSystem On
</Directory>
</Cycle>
<SubversionDir {folder}/svn>
Fulls 3
</SubversionDir>
"""

Show = Callable[..., str]


@pytest.fixture
def show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Show:
    for name in ("one", "two"):
        (tmp_path / f"svn/{name}/db").mkdir(parents=True)
        (tmp_path / f"svn/{name}/format").touch()
    (tmp_path / "a.conf").write_text(CONF.format(folder=tmp_path))

    def show(*words: str, status: Exit = Exit.DONE) -> str:
        assert cli._status(["config", "show", "-c", str(tmp_path / "a.conf"), *words]) == status
        said = capsys.readouterr()
        return (said.out + said.err).replace(str(tmp_path), "")

    return show


def titles(text: str) -> list[str]:
    return [line.partition(": ")[0] for line in text.splitlines() if line and not line.startswith(" ")]


@pytest.mark.parametrize(
    ("word", "jobs"),
    [
        ("x/Directory/srv/a%20b", ["x/Directory/srv/a b"]),
        ("x/Directory/srv/a b", ["x/Directory/srv/a b"]),
        ("/srv/a b", ["x/Directory/srv/a b"]),
        ("Directory", ["x/Directory/srv/a b"]),
        ("shop", ["x/MySQL/shop"]),
        ("{folder}/svn", ["SubversionDir/svn"]),
        ("{folder}/svn/one", ["SubversionDir/svn/one"]),
    ],
)
def test_a_job_is_named_as_everywhere(show: Show, tmp_path: Path, word: str, jobs: list[str]) -> None:
    """What ``backup JOB`` takes, ``config show --job`` takes: name as shown or as stored, source, lone kind."""
    word = word.replace("{folder}", str(tmp_path))
    assert titles(show("--job", word)) == jobs
    assert [record["source"] for record in json.loads(show("--json", "--job", word))]


def test_an_unknown_job(show: Show) -> None:
    """A word that means nothing ends with 14 and the names there are."""
    said = show("--job", "/srv", status=Exit.NOTHING)
    assert said == "s3nap: no job /srv; the conf has: SubversionDir/svn, x/Directory/srv/a b, x/MySQL/shop\n"


def test_values_and_where_they_came_from(show: Show) -> None:
    """Values read as a conf writes them, with file and line; what is written stands before the defaults."""
    text = show("--job", "/srv/a b")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "x/Directory/srv/a b: Directory /srv/a b in Cycle x, /a.conf:8"
    for line in (
        "Fulls 9 /a.conf:6",
        'Exclude "a b" c d /a.conf:3, /a.conf:9',
        "ChunkSize 8M /a.conf:10",
        "OneFileSystem On /a.conf:11",
        "UploadLimit 2M 08:00-19:00 /a.conf:4",
        "Compression zstd default",
        "GpgRecipient (no encryption) default",
    ):
        assert line in lines
    origins = [line.endswith("default") for line in lines[4:] if line]
    assert origins == sorted(origins)


def test_no_value_is_shown_as_python_has_it(show: Show) -> None:
    """Whoever copies a value into a conf copies what a conf may say."""
    values = {line.split("   ")[1].strip() for line in show().splitlines() if line.count("   ") > 1}
    assert not values & {"None", "True", "False", "[]", "()", "null", "true", "false", "16777216"}


def test_several_confs(show: Show, tmp_path: Path) -> None:
    """The same job in two confs is shown of both, each with its own values."""
    (tmp_path / "b.conf").write_text("DiffDir /d\nBucket c-c\n<Cycle x>\nMySQL shop\n</Cycle>\n")
    found = json.loads(show("-c", str(tmp_path / "b.conf"), "--json", "--job", "shop"))
    assert [record["settings"]["Bucket"]["value"] for record in found] == ["s3://b-b", "s3://c-c"]


def test_hooks_of_the_run_are_told_from_those_of_the_job(show: Show, tmp_path: Path) -> None:
    """A hook at the top level surrounds the run: nobody shall take a job for one without, or with, what it has not."""
    conf = tmp_path / "b.conf"
    conf.write_text(
        "DiffDir /d\nBucket c-c\nBefore mountpoint /mnt\n<Directory /x>\nBefore sync\n</Directory>\nMySQL y\n"
    )
    words = ("-c", str(conf), "--job")
    inside, outside = (
        [line for line in map(str.split, show(*words, job).splitlines()) if line[:1] == ["Before"]]
        for job in ("/x", "y")
    )
    run = f"Before (of the run) mountpoint /mnt {conf.name}:3".replace("b.conf", "/b.conf").split()
    assert inside == [run, ["Before", "sync", "/b.conf:5"]]
    assert outside == [run, ["Before", "(none)", "default"]]
    (record,) = json.loads(show(*words, "y", "--json"))
    assert list(record["run"]) == ["Before"]
