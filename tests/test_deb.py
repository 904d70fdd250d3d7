"""The Debian package: built from this checkout, installed into a tree of its own, run from there, and removed again."""

from __future__ import annotations

import gzip
import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from s3nap import __version__

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Package:
    """The file, and a tree as dpkg sees a machine."""

    file: Path
    root: Path

    def dpkg(self, *args: str) -> None:
        """Let dpkg act on the tree; as any user, and as if all that is needed were there."""
        forced = "--force-script-chrootless,depends,not-root,bad-path"
        argv = ["dpkg", f"--root={self.root}", forced, "--log=/dev/null", *args]
        subprocess.run(argv, check=True, capture_output=True)

    def field(self, name: str) -> str:
        return subprocess.run(
            ["dpkg-deb", "-f", self.file, name], check=True, capture_output=True, text=True
        ).stdout.strip()

    def run(self, *args: object, **environment: str) -> str:
        """Run the installed s3nap, with nothing of this checkout in reach."""
        argv = [str(self.root / "usr/bin/s3nap"), *map(str, args)]
        # a PYTHONPATH of root's must not lead the packaged program astray
        env = {**os.environ, "PYTHONPATH": str(self.root / "nowhere"), "COLUMNS": "200", **environment}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", env=env)
        assert done.returncode == 0, done
        return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("deb")
    # the pip of the tests' environment; what compresses best takes longest, and is not what is tested
    env = {**os.environ, "PYTHON": sys.executable, "DEB_LEVEL": "0"}
    built = subprocess.run([ROOT / "scripts/deb.sh", folder], check=True, capture_output=True, text=True, env=env)
    root = folder / "root"
    for name in ("updates", "info"):
        (root / "var/lib/dpkg" / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    made = Package(Path(built.stdout.strip()), root)
    made.dpkg("-i", str(made.file))
    return made


def test_it_runs_a_backup_and_a_restore(package: Package, tmp_path: Path) -> None:
    """What is installed works, by itself: a run into a folder, and back."""
    assert package.run("--version").strip() == f"s3nap, version {__version__}"
    for name in ("source", "diff", "bucket"):
        (tmp_path / name).mkdir()
    (tmp_path / "source/file").write_text("content")
    conf = tmp_path / "main.conf"
    conf.write_text(f"DiffDir {tmp_path}/diff\nBucket file://{tmp_path}/bucket\nDirectory {tmp_path}/source\n")
    assert "done" in package.run("-c", conf)
    package.run("restore", "Directory", "--target", tmp_path / "out", "-c", conf)
    assert (tmp_path / "out" / str(tmp_path).lstrip("/") / "source/file").read_text() == "content"


def test_it_reaches_s3(package: Package, tmp_path: Path, rclone_endpoint: dict[str, str]) -> None:
    """What was left out of boto3 is not needed."""
    session = boto3.Session(rclone_endpoint["key"], rclone_endpoint["secret"], region_name="us-east-1")
    session.client("s3", endpoint_url=rclone_endpoint["url"]).create_bucket(Bucket="test-deb")
    (tmp_path / "diff").mkdir()
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(f"key={rclone_endpoint['key']}\nsecret={rclone_endpoint['secret']}\n")
    conf = tmp_path / "main.conf"
    lines = [f"DiffDir {tmp_path}/diff", "Bucket s3://test-deb", f"Endpoint {rclone_endpoint['url']}"]
    conf.write_text("\n".join([*lines, f"S3KeyFile {key}", f"Directory {tmp_path}/diff", ""]))
    assert "done" in package.run("-c", conf)
    assert "restorable" in package.run("list", "-c", conf)


def test_all_of_s3nap_is_in_it(package: Package) -> None:
    """No module, template or data file is forgotten, by the wheel or by the package."""

    def files(folder: Path) -> set[Path]:
        found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        return {path for path in found if "__pycache__" not in path.parts}

    installed = package.root / "usr/lib/s3nap/s3nap"
    assert files(installed) == files(ROOT / "s3nap") | {Path("logconfig.ini")}
    listed = subprocess.run(["dpkg-deb", "-c", package.file], check=True, capture_output=True, text=True).stdout
    assert ".pyc" not in listed  # made when it is installed
    assert list(installed.glob("__pycache__/*.pyc"))


def test_what_goes_with_it(package: Package) -> None:
    """Man pages, completion for three shells, an example, a private folder for confs, and the Python it is for."""
    usr = package.root / "usr"
    for page in ("man1/s3nap.1.gz", "man5/s3nap.conf.5.gz"):
        assert b".TH S3NAP" in gzip.decompress((usr / "share/man" / page).read_bytes())
    for script in ("bash-completion/completions/s3nap", "zsh/vendor-completions/_s3nap"):
        assert "s3nap" in (usr / "share" / script).read_text()
    assert "complete" in (usr / "share/fish/vendor_completions.d/s3nap.fish").read_text()
    assert "DiffDir" in (usr / "share/doc/s3nap/examples/main.conf").read_text()
    for folder in ("etc/s3nap", "var/lib/s3nap"):
        assert stat.S_IMODE((package.root / folder).stat().st_mode) == 0o700
    interpreter = (usr / "bin/s3nap").read_text().splitlines()[0].split()[0].removeprefix("#!")
    python = ["-c", "import sys; print(sys.version_info[1])"]
    minor = int(subprocess.run([interpreter, *python], check=True, capture_output=True, text=True).stdout)
    bound = f"python3 (>= 3.{minor}~), python3 (<< 3.{minor + 1})"
    assert package.field("Depends").startswith(bound) == (interpreter == "/usr/bin/python3")
    assert re.fullmatch(r"0\.\d+\.\d+-1", package.field("Version"))


def test_nothing_stays_but_what_is_the_users(package: Package) -> None:
    """Removing takes all but the conf folder's contents; that goes with purge, unless there are confs in it."""
    conf = package.root / "etc/s3nap/main.conf"
    conf.write_text("")
    package.dpkg("-r", "s3nap")
    kept = {path for path in package.root.rglob("*") if path.is_file() and "dpkg" not in path.parts}
    assert kept == {conf, package.root / "etc/s3nap/logconfig.ini"}
    package.dpkg("-P", "s3nap")
    assert conf.exists()
    assert not (package.root / "usr").exists()
    package.dpkg("-i", str(package.file))  # as the other tests expect it
