"""What plain chains of tar get wrong, one case a test: after each day every restore point is exact."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trees import difference, fingerprint
from world import World

from s3nap import config
from s3nap.errors import Exit
from s3nap.manifest import Type
from s3nap.plan import Task
from s3nap.sources import census, directory
from s3nap.sources.directory import DirectorySource
from s3nap.sources.excludes import Matcher
from s3nap.sources.table import make_source

pytestmark = pytest.mark.usefixtures("quiet")

DIFF, FULL = Type.DIFF, Type.FULL
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A tree of three directories with a file each, backed up in plain text: what is tested here is tar."""
    (tmp_path / "bucket").mkdir()
    world = World(tmp_path, tmp_path, f"Bucket file://{tmp_path}/bucket\n")
    for name in "abc":
        make(world.tree / name / f"in-{name}")
    return world


def make(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or path.name)
    return path


def sh(world: World, script: str) -> None:
    subprocess.run(["sh", "-ec", script], cwd=world.tree, check=True)


def another_day(world: World) -> Task:
    """Run today, restore all that is restorable; return the day's task."""
    (task,) = world.good_run()
    world.check_restores()
    world.next_day()
    return task


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("mv a x; mv b a; mv c b; mv x c", id="cycle of three"),
        pytest.param("mv a x; mv b a; mv x b", id="swap"),
        pytest.param("rm -rf c; mv b c; mv a b; mkdir a", id="rotation"),
        pytest.param("mv a b/a; mv b c/b", id="nesting"),
        pytest.param("mv a z; ln -s z a", id="link in the place of a directory"),
        pytest.param("rm -rf a; echo x > a", id="file for directory"),
        pytest.param("rm a/in-a; mkdir a/in-a; touch a/in-a/x", id="directory for file"),
        pytest.param("rm -rf a b c; mkdir c b a; touch a/1 b/2 c/3", id="inodes used again"),
    ],
)
def test_moved_directories(world: World, script: str) -> None:
    """Directories that moved restore where they are, with their contents, by a DIFF; twice in a row, too."""
    assert another_day(world).type is FULL
    sh(world, script)
    assert another_day(world).type is DIFF
    sh(world, "mkdir -p again; mv [!a]* again/ || true; mv again b")
    assert another_day(world).type is DIFF


def test_parent_and_child_inverted(world: World) -> None:
    """``mv a/n n; mv a n/a``: tar's own records for this do not restore."""
    make(world.tree / "a" / "n" / "deep" / "file")
    another_day(world)
    sh(world, "mv a/n n; mv a n/a")
    assert another_day(world).type is DIFF


def test_link_to_where_a_directory_went(world: World) -> None:
    """What lies below a link in a directory's place looks unmoved, to who follows the link; no FULL is needed."""
    make(world.tree / "a" / "sub" / "subsub" / "file")
    another_day(world)
    sh(world, "mv a z; ln -s z a")
    assert another_day(world).type is DIFF


def test_moved_hard_link(world: World) -> None:
    """One name of a file moves with its directory, the other stays: they are one file still."""
    os.link(world.tree / "a" / "in-a", world.tree / "b" / "same")
    os.link(world.tree / "a" / "in-a", world.tree / "c" / "same")
    another_day(world)
    sh(world, "mv a moved")
    another_day(world)
    sh(world, "rm b/same; mv c/same c/other")
    another_day(world)


def test_same_size_edit_with_the_old_time(world: World) -> None:
    """An edit that keeps size and mtime is seen by its ctime."""
    file = world.tree / "a" / "in-a"
    another_day(world)
    before = file.stat()
    file.write_text("edit")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    another_day(world)


FakeTar = Callable[[str], None]


@pytest.fixture
def fake_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTar:
    """Call it with what ``sh`` shall do instead of a tar that creates; ``"$TAR"`` is the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which("tar")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def fake(script: str) -> None:
        fake = folder / "tar"
        fake.write_text(f'#!/bin/sh\nTAR={real}\n[ "$1" = --create ] || exec "$TAR" "$@"\n{script}\n')
        fake.chmod(0o755)

    fake('exec "$TAR" "$@"')
    return fake


_AHEAD = r"""
for word; do case $word in --listed-incremental=*) snapshot=${word#*=};; esac; done
"$TAR" "$@" || exit
exec PYTHON - "$snapshot" << 'end'
import pathlib, sys
path = pathlib.Path(sys.argv[1])
head, _, rest = path.read_bytes().partition(b"\n")
seconds, _, rest = rest.partition(b"\0")
path.write_bytes(head + b"\n%d\0" % (int(seconds) + 3600) + rest)
end
"""


@pytest.fixture
def clock_ahead(fake_tar: FakeTar) -> None:
    """Tar thinks that it is an hour later, and so it says in its snapshots."""
    fake_tar(_AHEAD.replace("PYTHON", sys.executable))


@pytest.mark.usefixtures("clock_ahead")
def test_clock_was_ahead(world: World) -> None:
    """A snapshot from the future makes tar think every edit old: the census tells, and the edits are archived."""
    os.link(world.tree / "a" / "in-a", world.tree / "b" / "same")
    another_day(world)
    for name in "ab":
        (world.tree / name / f"in-{name}").write_text("edit")
        assert another_day(world).type is DIFF


@pytest.mark.usefixtures("clock_ahead")
def test_clock_was_ahead_of_a_single_file(world: World) -> None:
    """A single file has no entry that could be removed: it is archived each day, whatever its times."""
    file = world.tree / "a" / "in-a"
    world.source = str(file)
    for text in ("one", "two", "six"):
        file.write_text(text)
        world.good_run()
        world.next_day()
        assert (world.restored(world.chains()[max(world.moments)]) / "a" / "in-a").read_text() == text


def test_unreadable_for_a_day(world: World, fake_tar: FakeTar) -> None:
    """A file that cannot be read makes the day incomplete, and is archived as soon as it can be, unchanged or not."""
    file = world.tree / "a" / "in-a"
    file.chmod(0)
    another_day(world) if os.geteuid() == 0 else world.run()
    file.chmod(0o644)
    another_day(world)
    file.write_text("new")
    file.chmod(0)
    if os.geteuid() == 0:
        without = "-dac_override,-dac_read_search"
        fake_tar(f'exec setpriv --inh-caps={without} --bounding-set={without} "$TAR" "$@"')
    (result,) = world.run()
    assert (result.status, result.outcome) == (Exit.WARNINGS, "done")
    assert result.manifest is not None
    assert (result.manifest.complete, result.manifest.type) == (False, DIFF)
    assert "1 files could not be read" in result.warnings[0]
    world.next_day()
    fake_tar('exec "$TAR" "$@"')
    assert os.geteuid() == 0 or file.chmod(0o644) is None
    world.good_run()
    world.check_restores({max(world.moments)})


@pytest.mark.parametrize("end", ["kill -9 $$", "exit 2", "echo 'tar: new kind of trouble' >&2; exit 1"])
def test_tar_dies(world: World, fake_tar: FakeTar, end: str) -> None:
    """A tar that ends early, or with an unknown complaint, leaves nothing behind, and the next day is a DIFF again."""
    another_day(world)
    make(world.tree / "a" / "late")
    fake_tar(f'"$TAR" "$@" | head -c 2000; {end}')
    (result,) = world.run()
    assert (result.outcome, result.status) == ("failed", Exit.FAILED)
    assert "tar" in result.message
    assert len(world.check_stored()) == 1
    fake_tar('exec "$TAR" "$@"')
    assert another_day(world).type is DIFF
    assert len(world.check_stored()) == 2


def test_attributes_taken_off(world: World) -> None:
    """Attributes and ACLs that a directory has lost do not come back with an older level's."""
    folder = world.tree / "a"
    os.setxattr(folder, "user.gone", b"1")
    subprocess.run(["setfacl", "-m", "u:1234:rwx,d:u:1234:rwx", str(folder)], check=True)
    another_day(world)
    os.removexattr(folder, "user.gone")
    subprocess.run(["setfacl", "-b", str(folder)], check=True)
    another_day(world)
    shutil.rmtree(folder)
    folder.mkdir()
    another_day(world)


@pytest.mark.parametrize("where", [".", "a", "c/in-c"])
@pytest.mark.parametrize("attribute", ["setfattr -n user.some -v 1", "setfacl -m u:1234:rwx"])
def test_attributes_of_one_file_alone(world: World, where: str, attribute: str) -> None:
    """A FULL has the only attribute or ACL of a tree, wherever it is: tar is not told to look if there are none."""
    sh(world, f"{attribute} {where}")
    another_day(world)


def test_attributes_of_a_mount_point_alone(tmp_path: Path) -> None:
    """With OneFileSystem tar stores the directory that something is mounted on, with what attributes it has there."""
    point = tmp_path / "tree" / "mount"
    point.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", str(point)], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr}")
    try:
        subprocess.run(["setfacl", "-m", "u:1234:rwx", str(point)], check=True)
        tree, target, matcher = [bytes(tmp_path / "tree")], tmp_path / "census", Matcher([], root=False)
        walk = census.take(tree, target, matcher, one_file_system=True, attributes=True)
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)
    assert walk.attributes


def test_a_tree_without_attributes(world: World, tmp_path: Path) -> None:
    """Where there are none, tar writes the same whether it looks for attributes or not."""
    source = make_source(config.load(world.conf).jobs[0], ())
    assert isinstance(source, DirectorySource)
    written = []
    for look in (True, False):
        work = tmp_path / f"work {look}"
        work.mkdir()
        _, walk = source._walk(work, Matcher([], root=False), attributes=look)
        command = source.command(work, walk)
        assert ("--acls" in command) is not look
        written.append(subprocess.run(command, capture_output=True, check=True).stdout)
    assert written[0] == written[1]


def test_setgid_is_not_inherited(world: World, tmp_path: Path) -> None:
    """A private directory in one with setgid stays as it was, and so do those in a target with setgid."""
    (world.tree / "a").chmod(0o2775)
    (world.tree / "b").chmod(0o700)
    another_day(world)
    make(world.tree / "a" / "private" / "file").parent.chmod(0o700)
    make(world.tree / "a" / "private" / "open" / "file").parent.chmod(0o700)
    another_day(world)
    target = tmp_path / "target"
    shutil.rmtree(target)
    target.mkdir()
    target.chmod(0o2775)
    for links in world.chains().values():
        tree = world.restored(links, target)
        assert difference(world.moments[links[-1].run], fingerprint(tree)) == []
        assert target.stat().st_mode & 0o7777 == 0o2775
        shutil.rmtree(target / "tmp")


def test_default_acls_are_not_inherited(world: World) -> None:
    """What a directory would hand down to new members does not change those that the archive holds."""
    another_day(world)
    subprocess.run(["setfacl", "-m", "d:u:1234:rwx,d:g:1234:r", str(world.tree / "a")], check=True)
    another_day(world)
    (world.tree / "a" / "plain").mkdir()
    make(world.tree / "a" / "file")
    subprocess.run(["setfacl", "-b", str(world.tree / "a" / "plain"), str(world.tree / "a" / "file")], check=True)
    another_day(world)


@root_only
def test_bind_mount_inside_the_tree(world: World, tmp_path: Path) -> None:
    """A mount that comes and goes, of elsewhere and of the tree itself, harms no restore point."""
    outside = make(tmp_path / "outside" / "sub" / "file").parent.parent
    point = world.tree / "m"
    point.mkdir()
    another_day(world)
    mounted = subprocess.run(["mount", "--bind", str(outside), str(point)], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr}")
    try:
        another_day(world)
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)
    another_day(world)
    subprocess.run(["mount", "--bind", str(world.tree / "a"), str(point)], check=True)
    try:
        (result,) = world.run()
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)
    assert result.warnings == [f"{point} shows a directory of this tree again: stored once"]
    world.moments[max(world.moments)] = fingerprint(world.tree)  # as it is below the mount
    world.check_restores()
    world.next_day()
    another_day(world)


def test_single_file(world: World) -> None:
    """A Directory that is one file: each day's contents come back, changed or not, and after it was gone."""
    file = world.tree / "a" / "in-a"
    world.source = str(file)
    texts = {}
    for text in ("one", "one", "two", None, "six"):
        if text is None:
            file.unlink()
            (result,) = world.run()
            assert result.outcome == "failed"
        else:
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
            world.good_run()
            texts[max(world.moments)] = text
        world.next_day()
        for run, links in world.chains().items():
            assert (world.restored(links) / "a" / "in-a").read_text() == texts[run]
    assert len(texts) == 4


def test_linked_directory(world: World) -> None:
    """A Directory that is a link: the link and what it leads to come back, day by day, and when it leads elsewhere."""
    link = world.tree / "link"
    link.symlink_to("a")
    world.source = str(link)
    for edit in (
        ": >> a/in-a",
        "echo new > a/new; mkdir a/sub; mv a/in-a a/sub/",
        "ln -sfn b link",
        "rm -r b/*; touch b/x",
    ):
        sh(world, edit)
        to = os.fsencode(link.readlink())
        (result,) = world.run()
        assert (result.outcome, result.message) == ("done", result.message)
        run = max(world.moments)
        kept = (b"link", to)
        wanted = {path: node for path, node in world.moments[run].items() if path.split(b"/")[0] in kept}
        world.moments[run] = wanted
        world.next_day()
        for each, links in world.chains().items():
            restored = dict(fingerprint(world.restored(links)))
            del restored[b"."]  # what leads to the Directory is not archived
            assert difference(world.moments[each], restored) == [], edit


def test_the_root_directory(world: World) -> None:
    """``Directory /`` is archived as ``.``, with its Excludes to match; its snapshot is read with these names."""
    world.source = "/"
    world.excludes = ["/proc", "*.tmp"]
    conf = config.load(world.conf)
    source = make_source(conf.jobs[0], ())
    assert isinstance(source, DirectorySource)
    command = source.command(Path("/work"), census.Walk(doubles=[b"/double"]))
    assert command[-3:] == ["--file=-", "--", "."]
    assert command[command.index("--anchored") + 1 :][:4] == [
        "--exclude=./proc",
        "--exclude=./double",
        "--no-anchored",
        "--exclude=*.tmp",
    ]
    assert [directory._absolute(name) for name in (b".", b"./a", b"./a/b")] == [b"/", b"/a", b"/a/b"]
    assert [directory._absolute(name) for name in (b"etc", b"etc/b")] == [b"/etc", b"/etc/b"]


@pytest.mark.parametrize("pattern", ["tree", "tr*", "/tmp"])
def test_directory_that_is_excluded_itself(world: World, pattern: str) -> None:
    """Where a pattern matches the Directory, or what leads to it, tar silently stores nothing: the job says so."""
    world.excludes = [pattern]
    (result,) = world.run()
    assert result.outcome == "failed"
    assert f"Exclude {pattern} leaves out" in result.message
    assert world.check_stored() == {}
