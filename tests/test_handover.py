"""The private key stays elsewhere: the envelopes are carried to it, and only what they open comes back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from keys_fixture import GpgHome
from small_world import World, s3nap, tree_of

from s3nap.errors import Exit


@pytest.fixture
def keyless() -> Iterator[dict[str, str]]:
    """The environment of a machine that has no private key."""
    folder = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))  # short, or gpg's agent fails
    environment = {**os.environ, "GNUPGHOME": str(folder)}
    yield environment
    subprocess.run(["gpgconf", "--kill", "all"], check=False, env=environment)
    shutil.rmtree(folder, ignore_errors=True)


def commands(text: str) -> dict[str, list[str]]:
    """What is to be typed, by the step (``1`` to ``4``) it stands in."""
    found: dict[str, list[str]] = {}
    step = ""
    for line in text.splitlines():
        if line[:3].strip("# ").isdigit() or line[2:3].isdigit():
            step = line[2]
        elif not line.startswith("#"):
            found.setdefault(step, []).append(line)
    return found


def test_the_round_trip(tmp_path: Path, gpg_home: GpgHome, keyless: dict[str, str]) -> None:
    """What ``keys`` prints, typed on two machines as it stands, restores a chain where the private key never was."""
    world = World(tmp_path / "a world", extra=[f"GpgRecipient {gpg_home.recipient}"])
    trees = world.days(0, 1)
    place = ("--bucket", world.storage.url, "--host", world.host)
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    refused = s3nap("restore", world.job, *place, "--target", tmp_path / "t", env=keyless)
    assert refused.returncode == Exit.KEY
    said = s3nap("keys", world.job, *place, "--target", here, env=keyless)
    assert said.returncode == Exit.DONE, said.stderr
    carried = sorted(path.name for path in here.iterdir())
    assert carried == [f"{run}.keys.gpg" for run in world.runs]
    typed = commands(said.stdout)
    assert sorted(typed) == ["2", "4"]
    for name in carried:
        shutil.move(here / name, there / name)
    subprocess.run(["sh", "-eu", "-c", "\n".join(typed["2"])], check=True, cwd=there, stdin=subprocess.DEVNULL)
    opened = sorted(there.glob("*.keys"))
    assert [path.stat().st_mode & 0o777 for path in opened] == [0o600, 0o600]
    for path in opened:
        shutil.move(path, here)
    words = [str(tmp_path / "t") if word == "FOLDER" else word for word in shlex.split(typed["4"][0])]
    world.fill(2)
    assert world.run(2).outcome == "done"  # meanwhile there is a newer archive: it is not what the keys are for
    previous = Path.cwd()
    os.chdir(here)
    try:
        restored = s3nap(*words[1:], env=keyless)
    finally:
        os.chdir(previous)
    assert restored.returncode == Exit.DONE, restored.stderr
    assert tree_of(tmp_path / "t" / str(world.tree).lstrip("/")) == list(trees.values())[1]
    assert not any((Path(keyless["GNUPGHOME"]) / "private-keys-v1.d").glob("*.key"))


def test_later_envelopes_count(tmp_path: Path, gpg_home: GpgHome, keyless: dict[str, str]) -> None:
    """An archive that was given to another key goes along in both envelopes; whichever key is there opens it."""
    world = World(tmp_path, extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.days(0)
    make = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    make += ["--quick-generate-key", "other@s3nap.test", "future-default", "default", "never"]
    subprocess.run(make, check=True, env=keyless)
    at = world.archives[0].manifest.at
    text = subprocess.run(
        ["gpg", "--batch", "--decrypt", world.folder / at.data / "keys.gpg"], check=True, capture_output=True
    ).stdout
    seal = ["gpg", "--batch", "--trust-model", "always", "--encrypt", "--recipient", "other@s3nap.test"]
    sealed = subprocess.run(seal, input=text, check=True, capture_output=True, env=keyless).stdout
    world.storage.put(at.mark("keys-2.gpg"), sealed)
    for number, environment in enumerate((keyless, dict(os.environ))):
        folder = tmp_path / f"keys-{number}"
        said = s3nap("keys", world.job, "-c", world.conf, "--target", folder)
        assert {path.name for path in folder.iterdir()} == {f"{at.run}.keys-2.gpg", f"{at.run}.keys.gpg"}
        script = "\n".join(commands(said.stdout)["2"])
        subprocess.run(["sh", "-eu", "-c", script], check=True, cwd=folder, env=environment, capture_output=True)
        assert (folder / f"{at.run}.keys").read_bytes() == text


def test_what_is_in_the_way_stays(tmp_path: Path, gpg_home: GpgHome) -> None:
    """Another file of an envelope's name is not overwritten, and then none is written; the same one does no harm."""
    world = World(tmp_path, extra=[f"GpgRecipient {gpg_home.recipient}"])
    world.days(0, 1)
    arguments = ("keys", world.job, "-c", world.conf, "--target", tmp_path / "keys")
    assert s3nap(*arguments).returncode == Exit.DONE
    assert s3nap(*arguments).returncode == Exit.DONE
    first, second = sorted((tmp_path / "keys").iterdir())
    first.unlink()
    second.write_text("mine")
    said = s3nap(*arguments)
    assert (said.returncode, second.name in said.stderr) == (Exit.USAGE, True)
    assert not first.exists()
    assert second.read_text() == "mine"


def test_nothing_to_open(tmp_path: Path) -> None:
    """Whoever asks for the keys of an archive without encryption is told that it needs none."""
    world = World(tmp_path)
    world.days(0)
    said = s3nap("keys", world.job, "-c", world.conf, "--target", tmp_path / "keys")
    assert (said.returncode, "not encrypted" in said.stderr) == (Exit.KEY, True)
    assert json.loads(s3nap("list", "--json", "-c", world.conf).stdout)[0]["restorable"]
    assert not (tmp_path / "keys").exists()
