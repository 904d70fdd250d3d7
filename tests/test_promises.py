"""The promises of the design, one after the other, each as a test; the bound over thirty days has its own module."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keys_fixture import GpgHome
from small_world import Tree, World, everything, fake_program, s3nap, tree_of
from storages import FaultyStorage, MemoryStorage

from s3nap import config
from s3nap.backup import Options, Result, Run
from s3nap.errors import BucketError, DeniedError, Exit, StorageError
from s3nap.manifest import Type

_EXAMPLE = Path(__file__).parent.parent / "examples" / "s3napback.conf"
_MIB = 1 << 20


def _eve(tmp_path: Path, **fields: object) -> tuple[World, dict[str, Tree]]:
    """Return a world with a FULL and a DIFF, changed since."""
    world = World(tmp_path, **fields)  # type: ignore[arg-type]
    trees = world.days(0, 1)
    world.fill(2)
    return world, trees


def _assert_failed(world: World, trees: dict[str, Tree], result: Result, culprit: str) -> None:
    """The job failed and says who did it; nothing new is offered, and what was there restores."""
    assert (result.outcome, result.status) == ("failed", Exit.FAILED)
    assert culprit in result.message
    assert world.runs == sorted(trees)
    world.assert_restores(trees)


def _assert_recovers(world: World, trees: dict[str, Tree]) -> None:
    """The next run is a DIFF as if nothing had been, and leaves no trace of the failed one."""
    result = world.run(2)
    assert (result.outcome, result.status) == ("done", Exit.DONE), result.message
    assert result.manifest is not None
    assert result.manifest.type is Type.DIFF
    world.assert_restores({result.manifest.run: tree_of(world.tree), **trees})
    world.assert_tidy()


def _on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


# 1. Nothing good is ever lost


@pytest.mark.parametrize("error", [StorageError, BucketError, DeniedError], ids=lambda error: error.__name__)
def test_1_a_put_that_fails_loses_nothing(tmp_path: Path, error: type[StorageError]) -> None:
    """Whichever put fails, and in whatever way: the run fails, older archives restore, the next run mends it."""
    world, trees = _eve(tmp_path)
    met = 0
    for number in itertools.count(1):
        storage = FaultyStorage(world.storage, at=number, operation="put", error=error("broken on purpose"))
        result = world.run(2, storage=storage)
        if result.outcome == "done":
            break
        met += 1
        assert (result.outcome, result.status) == ("failed", error.status if "json" not in result.message else 1)
        assert "broken on purpose" in result.message
        assert world.runs == sorted(trees)
    assert met > 8
    world.assert_restores(trees)
    world.assert_tidy()


def test_1_the_network_going_down_loses_nothing(tmp_path: Path) -> None:
    """When nothing answers any more from the k-th call on, for every k, nothing is lost and nothing left for ever."""
    world, trees = _eve(tmp_path)
    for number in itertools.count(1):
        storage = FaultyStorage(world.storage, at=number, for_good=True)
        try:
            result = world.run(2, storage=storage)
        except StorageError:
            continue  # not even the bucket answered
        if result.outcome == "done":
            break
        assert result.status is Exit.FAILED
        assert set(world.runs) - set(trees) == set() or world.restore(world.runs[-1]) == tree_of(world.tree)
        if len(world.runs) > len(trees):
            break  # the manifest arrived: from here on the archive is there
    world.assert_restores(trees)
    assert world.run(2).outcome in {"done", "skipped"}
    world.fill(3)
    assert world.run(3).outcome == "done"
    world.assert_tidy()


# 2. No failure passes as success


_TARS = {
    "exits 2 half-way": ('"$REAL" "$@" | head -c 20000; exit 2', "tar ended with status 2"),
    "exits 2 with a word": ('"$REAL" "$@"; echo "tar: boom" >&2; exit 2', "boom"),
    "is killed half-way": ('"$REAL" "$@" | head -c 20000; kill -9 $$', "tar was killed by signal 9"),
    "is terminated at once": ("kill -TERM $$", "tar was killed by signal 15"),
    "exits 1 without output": ("exit 1", "tar ended with status 1"),
    "exits 1 with an unknown word": ('"$REAL" "$@"; echo "tar: strange" >&2; exit 1', "strange"),
    "exits 0 without output": ("exit 0", "tar"),
    "exits 0 half-way": ('"$REAL" "$@" | head -c 20000', "tar"),
    "is another program": ("echo hello", "tar"),
}


@pytest.mark.parametrize("kind", _TARS)
def test_2_a_tar_that_fails_fails_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """However tar ends badly: no new archive, the culprit named, the older archives restorable, the chain unbroken."""
    world, trees = _eve(tmp_path)
    script, culprit = _TARS[kind]
    with monkeypatch.context() as patch:
        # what asks for the version is not the dump
        fake_program(tmp_path / "bin", "tar", f'case "$1" in --version) exec "$REAL" --version ;; esac\n{script}')
        _on_path(patch, tmp_path / "bin")
        result = world.run(2)
    _assert_failed(world, trees, result, culprit)
    _assert_recovers(world, trees)


@pytest.mark.parametrize("program", ["tar", "gpg"])
def test_2_a_missing_program_fails_and_is_named(tmp_path: Path, gpg_home: GpgHome, program: str) -> None:
    """Without tar or gpg there is one clear message, nothing is lost, and nothing is left."""
    world, trees = _eve(tmp_path, extra=[f"GpgRecipient {gpg_home.recipient}"])
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in {"tar", "gpg", "zstd", "gpg-agent", "gpgconf"} - {program}:
        real = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (tools / name).symlink_to(real.stdout.strip())
    done = s3nap("-c", world.conf, "--date", world.day(2), env=os.environ | {"PATH": str(tools)})
    assert done.returncode == Exit.FAILED
    assert f"{program} is not installed or not on PATH" in done.stderr
    assert done.stderr.count(f"{program} is not installed") == 1
    assert world.runs == sorted(trees)
    _assert_recovers(world, trees)


@pytest.mark.parametrize("how", ["exit 2", "kill -9 $$", "exit 0"])
def test_2_a_gpg_that_fails_at_any_call_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpg_home: GpgHome, how: str
) -> None:
    """Whichever of the many calls of gpg fails, even silently, the archive is not made: it could not be opened."""
    world, trees = _eve(tmp_path, extra=[f"GpgRecipient {gpg_home.recipient}", "ChunkSize 128K"])
    count = tmp_path / "count"
    script = 'case " $* " in *" --symmetric "*|*" --encrypt "*) ;; *) exec "$REAL" "$@" ;; esac\n'
    script += f"n=1; while ! mkdir {count}/$n 2> /dev/null; do n=$((n + 1)); done\n"  # several at once take turns
    script += f'if [ $n -eq "$FAIL_AT" ]; then cat > /dev/null; {how}; fi; exec "$REAL" "$@"'
    fake_program(tmp_path / "bin", "gpg", script)
    for number in itertools.count(1):
        shutil.rmtree(count, ignore_errors=True)
        count.mkdir()
        with monkeypatch.context() as patch:
            patch.setenv("FAIL_AT", str(number))
            _on_path(patch, tmp_path / "bin")
            result = world.run(2)
        if result.outcome == "done":
            break
        assert (result.status, "gpg" in result.message) == (Exit.FAILED, True)
        assert world.runs == sorted(trees)
        assert len(list(world.storage.list("data/"))) == sum(
            archive.manifest.chunks + len(archive.manifest.objects) for archive in world.archives
        )
    assert number >= 6  # two chunks, index, state, log, envelope
    world.assert_restores(trees)
    world.assert_tidy()


def test_2_a_file_that_cannot_be_read_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read makes the archive incomplete: status 3 and the file's name, not a plain success."""
    world, _ = _eve(tmp_path)
    name = str(world.tree / "file-2").lstrip("/")
    complaint = f'echo "tar: {name}: Cannot open: Permission denied" >&2'
    script = f'case "$1" in --version) exec "$REAL" --version ;; esac\n"$REAL" "$@" --exclude="{name}"; {complaint}\n'
    script += 'echo "tar: Exiting with failure status due to previous errors" >&2; exit 2'
    with monkeypatch.context() as patch:
        fake_program(tmp_path / "bin", "tar", script)
        _on_path(patch, tmp_path / "bin")
        result = world.run(2)
    assert (result.outcome, result.status) == ("done", Exit.WARNINGS)
    assert result.manifest is not None
    assert not result.manifest.complete
    assert "could not be read" in " ".join(result.warnings)
    tree = tree_of(world.tree)
    again = world.run(3)
    assert again.status is Exit.DONE
    world.assert_restores({world.runs[-1]: tree})


# 4. The backed-up host cannot read its own old backups


@pytest.fixture
def public_ring(gpg_home: GpgHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keyring with the public key, on a host whose gpg has no key at all."""
    export = ["gpg", "--batch", "--export", gpg_home.recipient]
    exported = subprocess.run(export, capture_output=True, check=True).stdout
    ring = tmp_path / "public.gpg"
    with tempfile.TemporaryDirectory(prefix="g-", dir="/tmp") as empty:
        monkeypatch.setenv("GNUPGHOME", empty)
        command = ["gpg", "--batch", "--quiet", "--no-default-keyring", "--keyring", str(ring), "--import"]
        subprocess.run(command, input=exported, check=True)
        yield ring


def test_4_a_host_with_the_public_key_alone_backs_up_and_cannot_read(
    tmp_path: Path, gpg_home: GpgHome, public_ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FULL and DIFFs need the public key only; a restore there fails with 12, and the stored objects show nothing."""
    world = World(tmp_path / "CANARY-PATH", extra=[f"GpgRecipient {gpg_home.recipient}", f"GpgKeyring {public_ring}"])
    trees = world.days(0, 1, 2)
    assert [item.manifest.type for item in world.archives] == [Type.FULL, Type.DIFF, Type.DIFF]
    target = tmp_path / "target"
    refused = s3nap("restore", world.tree, "-c", world.conf, "--target", target)
    assert refused.returncode == Exit.KEY
    assert not target.exists()
    for entry in world.storage.list("data/"):
        content = world.storage.get(entry.key)
        assert b"CANARY-CONTENT" not in content, entry.key
        assert b"CANARY-NAME" not in content, entry.key
    for archive in world.archives:
        assert b"CANARY-NAME" not in world.storage.get(archive.manifest.at.manifest)
    keys = [path for path in everything(world.diffdir) if "keys" in path]
    assert keys == []
    monkeypatch.setenv("GNUPGHOME", str(gpg_home.folder))
    world.assert_restores(trees)


# 5. Bounded by design


def test_5_nothing_unreferenced_stays(tmp_path: Path) -> None:
    """After three rounds the bucket holds what is live, object by object, and DiffDir nothing of what was swept."""
    world = World(tmp_path)
    trees = world.days(*range(18))
    assert len(world.runs) == 6
    world.assert_tidy()
    world.assert_restores({run: trees[run] for run in world.runs})
    wanted = {archive.manifest.at.manifest for archive in world.archives}
    assert {entry.key for entry in world.storage.list("catalog/")} == wanted
    assert {path.stem for path in world.state.manifests.iterdir()} == set(world.runs)


# 7. A chain is whole or is not offered


def test_7_a_chain_that_lost_its_base_is_not_offered(tmp_path: Path) -> None:
    """Without the FULL its DIFFs are not restorable, and the next run makes a FULL and says why."""
    world, _ = _eve(tmp_path)
    full, diff = world.archives
    world.storage.delete([full.manifest.at.manifest])
    listed = s3nap("list", "-c", world.conf)
    assert "NOT RESTORABLE" in listed.stdout
    refused = s3nap("restore", world.tree, "-c", world.conf, "--target", tmp_path / "target", "--at", diff.run)
    assert refused.returncode == Exit.NOTHING
    result = world.run(2)
    assert result.manifest is not None
    assert (result.outcome, result.manifest.type) == ("done", Type.FULL)
    assert full.run in result.message
    assert "missing" in result.message
    world.assert_restores({result.manifest.run: tree_of(world.tree)})


@pytest.mark.parametrize("role", ["chunk", "sums", "chunks", "state"])
def test_7_a_missing_object_is_found_before_anything_is_written(tmp_path: Path, role: str) -> None:
    """A restore looks at all objects of the chain first: 13, the object named, and the target as it was."""
    world, _ = _eve(tmp_path)
    manifest = world.archives[0].manifest
    item = manifest.object(role) or world.archives[1].manifest.object(role)
    name = item.name if item is not None else "00000001.zst"
    world.storage.delete([manifest.at.data + name])
    target = tmp_path / "target"
    refused = s3nap("restore", world.tree, "-c", world.conf, "--target", target)
    assert refused.returncode == Exit.VERIFICATION
    assert f"{name} is missing" in refused.stderr
    assert not target.exists()


# 9. s3napback's configuration runs unchanged


def test_9_the_original_readme_s_conf_parses_and_plans() -> None:
    """The README example of s3napback is taken as it stands: its jobs, its cycles, its calendar."""
    conf = config.load(_EXAMPLE, on_this_host=False)
    kinds = {job.kind for job in conf.jobs}
    assert kinds == {"Directory", "MySQL", "Subversion", "SubversionDir", "Conf"}
    assert len({job.name for job in conf.jobs}) == len(conf.jobs) == 26
    assert conf["ChunkSize"] == 25_000_000


def test_9_the_original_readme_s_conf_is_planned_by_the_command_line(tmp_path: Path) -> None:
    """Also through the command line, with a bucket that answers; only the bucket's place is another."""
    text = _EXAMPLE.read_text().replace("Bucket dev.davidsoergel.com.backup1", f"Bucket file://{tmp_path}")
    conf = tmp_path / "s3napback.conf"
    conf.write_text(text)
    planned = s3nap("plan", "-c", conf, "--days", "7")
    assert planned.returncode == 0, planned.stderr
    assert "MySQL/mydatabase" in planned.stdout


# 10. Memory does not grow with data


_PEAK = """
import os, sys
pid = os.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-m", "s3nap", *sys.argv[1:]])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A folder that is fast, where there is one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


def test_10_memory_does_not_grow_with_data(memory_disk: Path) -> None:
    """400 MB in small chunks, none of which gets smaller, take no more memory than 4 MB do, apart from noise."""
    peaks = []
    for size in (4, 400):
        world = World(memory_disk / str(size), extra=["ChunkSize 1M", "Compression none"])
        block = bytes(range(256)) * 4096
        with (world.tree / "large").open("wb") as file:
            for _ in range(size):
                file.write(block)
        command = [sys.executable, "-c", _PEAK, "-q", "-c", str(world.conf)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, status = map(int, done.stdout.split())
        assert status == 0, done.stderr
        assert world.archives[0].manifest.stored_size >= size * _MIB
        peaks.append(peak * 1024)
    assert peaks[1] - peaks[0] < 25 * _MIB
    assert peaks[1] < 160 * _MIB


# 11. -t changes nothing


def _nothing(_: World) -> None:
    return


def _leave_a_note(world: World) -> None:
    broken = FaultyStorage(world.storage, at=3, operation="put", for_good=True)
    assert world.run(1, storage=broken).outcome == "failed"
    assert list(world.state.notes("runs"))


@pytest.mark.parametrize(
    ("days", "on", "prepare"),
    [
        pytest.param([], 0, _nothing, id="first run"),
        pytest.param([0], 1, _nothing, id="DIFF"),
        pytest.param([0], 0, _nothing, id="already done"),
        pytest.param([0, 1, 2], 3, _nothing, id="FULL"),
        pytest.param(list(range(8)), 8, _nothing, id="a day that sweeps"),
        pytest.param([0], 1, _leave_a_note, id="after a run that died"),
    ],
)
def test_11_dry_changes_nothing(tmp_path: Path, days: list[int], on: int, prepare: Callable[[World], None]) -> None:
    """With -t not a byte of bucket, DiffDir, TempDir or source differs afterwards, whatever day it is."""
    temp = tmp_path / "temp"
    temp.mkdir()
    world = World(tmp_path / "w", extra=[f"TempDir {temp}"])
    world.days(*days)
    world.fill(on)
    prepare(world)
    places = (world.folder, world.diffdir, temp, world.tree)
    before = everything(*places)
    for options in ((), ("-f",)):
        shown = s3nap("-t", *options, "-c", world.conf, "--date", world.day(on))
        assert shown.returncode == 0, shown.stderr
        assert world.tree.name in shown.stdout
        assert everything(*places) == before


def test_11_dry_asks_the_storage_for_nothing_but_listings(tmp_path: Path) -> None:
    """On any storage, -t neither puts nor deletes."""
    world = World(tmp_path)
    storage = FaultyStorage(MemoryStorage())
    for number in (0, 1):
        execution = Run(config.load(world.conf), storage, Options(day=world.day(number)), dry=True)
        assert [result.outcome for result in execution.execute()] == ["would run"]
        execution.close()
    assert storage.calls["put"] == storage.calls["delete"] == 0
    assert storage.calls["list"] > 0
