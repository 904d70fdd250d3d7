"""Completion in shells: what is offered in bash, and what the others are told; off line, never an error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_world import World

from s3nap.cli import cli
from s3nap.completing import SHELLS

Complete = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Archives of two days; the bucket is gone: nobody may ask it."""
    made = World(tmp_path_factory.mktemp("completion"))
    made.days(0, 1)
    made.folder.rename(made.base / "elsewhere")
    with made.conf.open("a") as conf:
        conf.write("PostgreSQL bob@shop\nSubversionDir /nowhere\n")
    return made


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``s3nap`` for PATH, and what it prints for bash."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "s3nap").write_text(f'#!/bin/sh\nexec {sys.executable} -m s3nap "$@"\n')
    (folder / "s3nap").chmod(0o755)
    for shell in SHELLS:
        printed = subprocess.run([folder / "s3nap", "completion", shell], check=True, capture_output=True)
        (folder / f"completion.{shell}").write_bytes(printed.stdout)
    return folder


@pytest.fixture
def bash(programs: Path, world: World) -> Complete:
    """Complete a line in bash; CONF in it is the world's. What is offered, as bash would put it in."""
    script = (
        'source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; $(complete -p s3nap | sed "s/.*-F //; s/ .*//") s3nap\n'
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )

    def complete(line: str) -> list[str]:
        line = line.replace("CONF", str(world.conf))
        done = subprocess.run(
            ["bash", "--norc", "-c", script, "bash", programs / "completion.bash", line],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


def test_bash_offers_commands_and_options(bash: Complete) -> None:
    """The first thing that anybody tries."""
    assert bash("s3nap rest") == ["restore"]
    assert set(bash("s3nap config ")) >= {"validate", "show", "generate"}
    assert "--target" in bash("s3nap restore --t")
    assert bash("s3nap nosuchcommand") == []


def test_bash_offers_jobs(bash: Complete, world: World) -> None:
    """Names of the conf on the line, wherever -c stands; what bash splits at @ is not doubled; by source, too."""
    names = {world.job, "PostgreSQL/bob@shop", "SubversionDir/nowhere"}
    assert set(bash("s3nap list -c CONF ")) == names
    assert set(bash("s3nap -c CONF backup ")) == names
    assert bash("s3nap backup -c CONF Post") == ["PostgreSQL/bob@shop"]
    assert bash("s3nap backup -c CONF PostgreSQL/bob@s") == ["shop"]
    assert bash(f"s3nap ls -c CONF {world.tree}") == [str(world.tree)]
    assert set(bash(f"s3nap backup -c CONF {world.job} ")) == names - {world.job}


def test_jobs_of_another_machine_are_offered(bash: Complete, tmp_path: Path) -> None:
    """A conf is good enough for names where its folders and keys are not."""
    (tmp_path / "far.conf").write_text("DiffDir /nowhere\nBucket s3://far\nS3KeyFile /nowhere/key\nDirectory /far\n")
    assert bash(f"s3nap list -c {tmp_path}/far.conf ") == ["Directory/far"]


def test_bash_offers_days(bash: Complete, world: World) -> None:
    """WHEN completes to the days of archives, newest first, from DiffDir alone."""
    days = [str(world.day(1)), str(world.day(0))]
    assert bash(f"s3nap restore -c CONF {world.job} --at ") == ["latest", *days]
    assert bash(f"s3nap restore -c CONF {world.job} --at={days[0]}") == [days[0]]
    assert bash(f"s3nap diff -c CONF {world.job} {days[1]} 2") == days
    assert bash("s3nap restore -c CONF PostgreSQL/bob@shop --at ") == ["latest"]


@pytest.mark.parametrize(
    "conf", ["", "Nonsense", "\0", "DiffDir /nowhere\nBucket s3://b\nDirectory 'a\n"], ids=["", "wrong", "nul", "open"]
)
def test_what_cannot_be_read_completes_to_nothing(bash: Complete, tmp_path: Path, conf: str) -> None:
    """A broken conf, or none, prints nothing into the line that is being typed."""
    (tmp_path / "broken.conf").write_text(conf)
    assert bash(f"s3nap list -c {tmp_path}/broken.conf ") == []
    assert bash(f"s3nap list -c {tmp_path}/none.conf ") == []
    assert bash("s3nap list 'open ") == []


@pytest.mark.parametrize(("shell", "words"), [("zsh", "{line} Dir"), ("fish", "{line} Dir")])
def test_the_others_are_answered(programs: Path, world: World, shell: str, words: str) -> None:
    """What the scripts of zsh and fish ask for is answered with the same jobs."""
    assert "complete" in (programs / f"completion.{shell}").read_text()
    line = f"s3nap list -c {world.conf}"
    environment = {"_S3NAP_COMPLETE": f"{shell}_complete", "COMP_WORDS": words.format(line=line)}
    environment["COMP_CWORD"] = "4" if shell == "zsh" else "Dir"
    done = subprocess.run(
        [programs / "s3nap"], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert world.job in done.stdout
    assert done.stderr == ""


def test_nobody_sees_what_goes_wrong() -> None:
    """Whatever is said or raised below: nothing of it gets into the line that is being typed."""
    program = (
        "import sys\nfrom s3nap import cli, completing\n"
        "def teach(group):\n    print('noise', file=sys.stderr)\n    raise SystemError\n"
        "completing.teach = teach\ncli.main()"
    )
    environment = {"_S3NAP_COMPLETE": "zsh_complete", "COMP_WORDS": "s3nap ", "COMP_CWORD": "1"}
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.stdout + done.stderr == ""


def test_every_job_argument_knows_jobs() -> None:
    """No command was forgotten: what is called JOB in a usage line completes."""
    from s3nap.completing import _Jobs, teach  # noqa: PLC0415

    teach(cli)
    commands = [command for command in cli.commands.values() if command.name != "run"]
    arguments = [(command.name, each) for command in commands for each in command.params if "JOB" in usage(each)]
    assert len(arguments) > 10
    assert [name for name, each in arguments if not isinstance(each.type, _Jobs)] == []


def usage(parameter: object) -> str:
    metavar = getattr(parameter, "metavar", None)
    return str(metavar or getattr(parameter, "name", "")).upper() if type(parameter).__name__ == "Argument" else ""
