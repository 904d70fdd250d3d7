"""Promise 3: what is stored restores with plain sh, and the recipe never takes damage for success."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest
from keys_fixture import GpgHome
from small_world import Tree, World, s3nap, tree_of

from s3nap.manifest import Manifest
from s3nap.names import ArchiveName, job_name
from s3nap.recipe import Level, render

# what the recipe says it needs, and what POSIX has anyway
_TOOLS = "sh cat mkdir ls grep wc rm mktemp id cp sha256sum tar gpg find chmod"
_COMPRESSORS = ("zstd", "gzip", "xz", "bzip2", "none")


@pytest.fixture(scope="session")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH with a plain shell and few programs: no s3nap, no Python, no bash."""
    folder = tmp_path_factory.mktemp("toolbox")
    for tool in (*_TOOLS.split(), *_COMPRESSORS):
        real = shutil.which("dash" if tool == "sh" else tool)
        if real is not None:
            (folder / tool).symlink_to(real)
        else:
            assert tool == "none"
    return folder


@dataclass
class Kitchen:
    """Where recipes are run."""

    toolbox: Path
    target: Path
    gnupg: Path | None = None

    def cook(self, script: str | Path, **variables: object) -> subprocess.CompletedProcess[str]:
        """Run a recipe in an environment that holds next to nothing."""
        path = script
        if isinstance(script, str):
            path = self.target.with_name("restore.sh")
            Path(path).write_text(script)
        env = {"PATH": str(self.toolbox), "HOME": "/nonexistent", "TMPDIR": "/tmp"}
        env |= {"GNUPGHOME": str(self.gnupg)} if self.gnupg else {}
        env |= {name: str(value) for name, value in variables.items()}
        return subprocess.run(
            [str(self.toolbox / "sh"), str(path), str(self.target)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def refuses(self, script: str, **variables: object) -> str:
        """Fail unless the recipe ends badly and never says that it is done; return what it says."""
        done = self.cook(script, **variables)
        assert done.returncode != 0
        assert "done" not in done.stderr
        assert done.stderr.strip()
        return done.stderr

    def restored(self, tree: Path) -> Tree:
        return tree_of(self.target / str(tree).lstrip("/"))


@pytest.fixture
def kitchen(toolbox: Path, tmp_path: Path, gpg_home: GpgHome) -> Kitchen:
    return Kitchen(toolbox, tmp_path / "target", gpg_home.folder)


def _script(world: World, number: int = -1) -> str:
    manifest = world.archives[number].manifest
    return (world.folder / manifest.at.data / "restore.sh").read_text()


@pytest.mark.parametrize("compression", _COMPRESSORS)
@pytest.mark.parametrize("encryption", ["recipients", "passphrase", "none"])
def test_a_chain_restores_exactly_without_s3nap(
    tmp_path: Path, kitchen: Kitchen, gpg_home: GpgHome, compression: str, encryption: str
) -> None:
    """FULL and DIFFs of every format restore exactly by dash and the few programs that the recipe names."""
    secret = tmp_path / "passphrase"
    secret.write_bytes("geheim, aber läßlich\r\nand not this\n".encode())  # cut as gpg cuts it
    secret.chmod(0o600)
    extra = {
        "recipients": [f"GpgRecipient {gpg_home.recipient}"],
        "passphrase": [f"GpgPassphraseFile {secret}"],
        "none": [],
    }[encryption]
    world = World(tmp_path, extra=[*extra, f"Compression {compression}"])
    trees = world.days(*range(3 if compression == "zstd" else 2))
    script = _script(world)
    variables = {"PASSPHRASE_FILE": secret} if encryption == "passphrase" else {}
    if encryption != "recipients":
        kitchen.gnupg = None
        variables["GNUPGHOME"] = tmp_path / "gnupg"
        (tmp_path / "gnupg").mkdir(mode=0o700)
    done = kitchen.cook(script, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("restore.sh: done\n")
    assert kitchen.restored(world.tree) == trees[world.runs[-1]]
    options = ["--passphrase-file", secret] if encryption == "passphrase" else []
    again = s3nap("restore", world.job, "-c", world.conf, "--target", tmp_path / "again", *options)
    assert again.returncode == 0, again.stderr
    assert tree_of(tmp_path / "again" / str(world.tree).lstrip("/")) == trees[world.runs[-1]]


@dataclass
class Stored:
    """An encrypted FULL with a DIFF, whose objects a test may damage."""

    world: World
    trees: dict[str, Tree]
    folder: Path

    @property
    def full(self) -> Manifest:
        return self.world.archives[0].manifest

    @property
    def diff(self) -> Manifest:
        return self.world.archives[1].manifest

    def file(self, manifest: Manifest, name: str) -> Path:
        return self.folder / manifest.at.data / name

    def chunk(self, number: int, *, diff: bool = False) -> Path:
        return self.file(self.diff if diff else self.full, f"{number:08}.zst.gpg")

    def reseal(self, script: str, chunk: Path) -> str:
        """Make sums and recipe fit a damaged chunk, so that only gpg stands between it and the target."""
        sums = chunk.with_name("sums")
        before = sha256(sums.read_bytes()).hexdigest()
        lines = [
            f"{sha256(chunk.read_bytes()).hexdigest()}  {chunk.name}" if line.endswith(chunk.name) else line
            for line in sums.read_text().splitlines()
        ]
        sums.write_text("\n".join(lines) + "\n")
        assert before in script
        return script.replace(before, sha256(sums.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, gpg_home: GpgHome) -> tuple[World, dict[str, Tree]]:
    world = World(tmp_path_factory.mktemp("original"), extra=[f"GpgRecipient {gpg_home.recipient}"])
    return world, world.days(0, 1)


@pytest.fixture
def stored(original: tuple[World, dict[str, Tree]], tmp_path: Path) -> Stored:
    folder = tmp_path / "moved"
    shutil.copytree(original[0].folder, folder)
    return Stored(*original, folder)


def _flip(path: Path, at: int = -40) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _store(path: Path) -> None:
    packed = subprocess.run(["zstd", "-qc"], input=bytes(65536), capture_output=True, check=True).stdout
    message = subprocess.run(["gpg", "--batch", "--store"], input=packed, capture_output=True, check=True).stdout
    path.write_bytes(message)


def _cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def _without_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


_DAMAGES: dict[str, Callable[[Stored], object]] = {
    "a chunk is missing": lambda it: it.chunk(1).unlink(),
    "the last chunk is missing": lambda it: it.chunk(2).unlink(),
    "a chunk of the DIFF is missing": lambda it: it.chunk(0, diff=True).unlink(),
    "a chunk is cut": lambda it: _cut(it.chunk(1), it.chunk(1).stat().st_size - 1),
    "a chunk is cut at 50 bytes": lambda it: _cut(it.chunk(1), 50),
    "a chunk is empty": lambda it: _cut(it.chunk(1), 0),
    "two chunks are swapped": lambda it: _swap(it.chunk(0), it.chunk(1)),
    "a chunk is swapped with another archive's": lambda it: _swap(it.chunk(1), it.chunk(1, diff=True)),
    "a bit of a chunk is altered": lambda it: _flip(it.chunk(1)),
    "a chunk is one that was never encrypted": lambda it: _store(it.chunk(1)),
    "sums lack a line": lambda it: _without_last_line(it.file(it.full, "sums")),
    "sums are another archive's": lambda it: _swap(it.file(it.full, "sums"), it.file(it.diff, "sums")),
    "the envelope is another archive's": lambda it: _swap(it.file(it.full, "keys.gpg"), it.file(it.diff, "keys.gpg")),
    "the envelope is cut": lambda it: _cut(it.file(it.full, "keys.gpg"), 100),
    "the envelope is missing": lambda it: it.file(it.diff, "keys.gpg").unlink(),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damage_is_refused(stored: Stored, kitchen: Kitchen, damage: str) -> None:
    """Whatever is missing, cut, swapped or altered ends the recipe with an error, never with "done"."""
    _DAMAGES[damage](stored)
    kitchen.refuses(_script(stored.world), STORAGE=f"file://{stored.folder}")


def test_moved_objects_restore_with_storage_set(stored: Stored, kitchen: Kitchen) -> None:
    """Objects that were moved elsewhere restore; and the undamaged copy shows that the damage is what is refused."""
    done = kitchen.cook(_script(stored.world), STORAGE=f"file://{stored.folder}")
    assert done.returncode == 0, done.stderr
    assert kitchen.restored(stored.world.tree) == stored.trees[stored.diff.run]


@pytest.mark.parametrize("damage", ["never encrypted", "cut at 50 bytes", "cut", "altered", "of another chunk"])
def test_gpg_has_the_last_word(stored: Stored, kitchen: Kitchen, damage: str) -> None:
    """Even where sums and recipe were made to fit, gpg must vouch for each chunk: its exit status alone does not."""
    chunk = stored.chunk(1)
    {
        "never encrypted": lambda: _store(chunk),
        "cut at 50 bytes": lambda: _cut(chunk, 50),
        "cut": lambda: _cut(chunk, chunk.stat().st_size - 30),
        "altered": lambda: _flip(chunk),
        "of another chunk": lambda: shutil.copy(stored.chunk(0), chunk),
    }[damage]()
    script = stored.reseal(_script(stored.world), chunk)
    said = kitchen.refuses(script, STORAGE=f"file://{stored.folder}")
    assert "00000001" in said


def _open_envelopes(stored: Stored, folder: Path) -> None:
    folder.mkdir()
    for manifest in (stored.full, stored.diff):
        opened = subprocess.run(
            ["gpg", "--batch", "--decrypt", str(stored.file(manifest, "keys.gpg"))], capture_output=True, check=True
        )
        (folder / f"{manifest.run}.keys").write_bytes(opened.stdout)


def test_opened_envelopes_are_enough(stored: Stored, kitchen: Kitchen, tmp_path: Path) -> None:
    """Who is given opened envelopes restores without the private key, by the recipe and by s3nap."""
    keys = tmp_path / "keys"
    _open_envelopes(stored, keys)
    kitchen.gnupg = None
    script = _script(stored.world)
    done = kitchen.cook(script, KEYS=keys, GNUPGHOME="/nonexistent")
    assert done.returncode == 0, done.stderr
    assert kitchen.restored(stored.world.tree) == stored.trees[stored.diff.run]
    options = [word for file in keys.iterdir() for word in ("--keys", file)]
    target = tmp_path / "by-s3nap"
    env = os.environ | {"GNUPGHOME": str(tmp_path)}
    again = s3nap("restore", stored.world.job, "-c", stored.world.conf, "--target", target, *options, env=env)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("damage", ["swapped", "cut by lines", "missing"])
def test_wrong_opened_envelopes_are_refused(stored: Stored, kitchen: Kitchen, tmp_path: Path, damage: str) -> None:
    """Keys of another archive, or too few of them, do not restore half an archive as if it were whole."""
    keys = tmp_path / "keys"
    _open_envelopes(stored, keys)
    full, diff = (keys / f"{manifest.run}.keys" for manifest in (stored.full, stored.diff))
    if damage == "swapped":
        _swap(full, diff)
    elif damage == "missing":
        diff.unlink()
    else:
        full.write_text("".join(full.read_text().splitlines(keepends=True)[:2]))
    kitchen.refuses(_script(stored.world), KEYS=keys)


def test_fetch_may_be_any_program(stored: Stored, kitchen: Kitchen, tmp_path: Path) -> None:
    """Objects may come from anywhere: FETCH is given the key, and its failure is noticed."""
    fetch = tmp_path / "fetch"
    fetch.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/asked\nexec cat {stored.folder}/"$1"\n')
    fetch.chmod(0o755)
    script = _script(stored.world)
    done = kitchen.cook(script, FETCH=fetch, STORAGE="s3://nowhere")
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert stored.full.at.data + "00000000.zst.gpg" in asked
    shutil.rmtree(kitchen.target)
    fetch.write_text("#!/bin/sh\nexit 1\n")
    assert "cannot be fetched" in kitchen.refuses(script, FETCH=fetch)


def test_a_target_with_contents_is_refused(stored: Stored, kitchen: Kitchen) -> None:
    """A recipe never writes among files that are there already."""
    kitchen.target.mkdir()
    (kitchen.target / "precious").write_text("mine")
    assert "not empty" in kitchen.refuses(_script(stored.world))
    assert (kitchen.target / "precious").read_text() == "mine"


def test_the_recipe_printed_is_the_recipe_stored(stored: Stored, tmp_path: Path) -> None:
    """``s3nap recipe`` prints just what is stored, and refuses one that was altered."""
    world = stored.world
    for number, at in ((0, f"slot:{stored.full.slot}"), (1, "latest")):
        printed = s3nap("recipe", world.job, "-c", world.conf, "--at", at)
        assert (printed.returncode, printed.stdout) == (0, _script(world, number))
    path = stored.file(stored.diff, "restore.sh")
    path.write_text(path.read_text() + "echo pwned\n")
    arguments = ("recipe", world.job, "--host", world.host, "--bucket", f"file://{stored.folder}")
    altered = s3nap(*arguments, "--at", "latest")
    assert (altered.returncode, altered.stdout) == (13, "")
    assert tmp_path.exists()


_HOSTILE = [
    "it's",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned &",
    "a b  c",
    "%41%",
    "*",
    "-rf",
    "ünï→",
    "&& touch pwned ||",
    "}} {title} ${HOME}",
]


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_names_neither_break_nor_run(tmp_path: Path, toolbox: Path, name: str) -> None:
    """Names of directories, and of the folder that is the bucket, are data: nothing in them is ever executed."""
    base = tmp_path / name
    world = World(base)
    trees = world.days(0, 1)
    kitchen = Kitchen(toolbox, tmp_path / "target")
    path = tmp_path / "restore.sh"
    path.write_text(_script(world))
    done = subprocess.run(
        [str(toolbox / "sh"), str(path), str(kitchen.target)],
        env={"PATH": str(toolbox)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert kitchen.restored(world.tree) == trees[world.runs[-1]]
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("evil", ['"; touch pwned; "', "\ntouch pwned\n", "'\ntouch pwned\n'", "$(touch pwned)\r\n"])
def test_no_text_of_a_recipe_leaves_its_place(tmp_path: Path, toolbox: Path, evil: str) -> None:
    """Not even a line end in a host, a job, a storage or an endpoint becomes a command of the script."""
    at = ArchiveName(f"host{evil}", job_name("Directory", f"/x{evil}"), 0, "FULL", "20240101T000000Z-abcdef")
    level = Level(at=at, chunks=1, sums_sha256="0" * 64, keys_sha256=None)
    script = render(
        [level], storage=f"file:///x{evil}", endpoint=evil, stream="tar", compression="zstd", day=date(2024, 1, 1)
    )
    path = tmp_path / "restore.sh"
    path.write_text(script)
    done = subprocess.run(
        [str(toolbox / "sh"), str(path), str(tmp_path / "target")],
        env={"PATH": str(toolbox) + ":" + str(Path(shutil.which("touch") or "").parent)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr
    assert not list(tmp_path.rglob("pwned"))
