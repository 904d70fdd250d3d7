"""The README's guide to a first backup: its commands as written against a real S3 server, and what they print."""

from __future__ import annotations

import ast
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
DAY = "2026-11-21"
# the aws command stands in for what it does of this: it makes a bucket
AWS = """\
#!{python}
import sys, boto3
assert sys.argv[1:3] == ["s3", "mb"], sys.argv
name = sys.argv[3].removeprefix("s3://")
boto3.client("s3").create_bucket(Bucket=name)
print("make_bucket:", name)
"""
# s3nap itself, on the day of the guide, with confs below a folder of the test's own
S3NAP = """\
#!{python}
import sys
from pathlib import Path
from s3nap import cli, namedconfs
namedconfs.FOLDERS = (Path("{confs}"),)
sys.argv[1:1] = ["--date", "{day}"]
cli.main()
"""
BLOCK = re.compile(r"<!-- guide: (\S+) -->\n```\w*\n(.*?)```", re.DOTALL)
# what no two machines print alike; what gpg says of folders that it makes for itself
UNLIKE = (
    (r"\b\d{8}T\d{6}Z-[0-9a-f]{6}\b", "<run>"),
    (r"\b[0-9A-F]{16,40}\b", "<key>"),
    (r"\b\d{4}-\d{2}-\d{2} \d{2}:\d{2} \w+", "<time>"),
    (r"\b[\d.]+ ([KMGT]i)?B\b", "<size>"),
    (r"\b[\d.]+ s\b", "<seconds>"),
    (r"(?m)^gpg: .*(created|stored as).*\n", ""),
    (r"─+", "─"),
    (r" +", " "),
)


def masked(text: str) -> str:
    for pattern, word in UNLIKE:
        text = re.sub(pattern, word, text)
    return text.strip()


def blocks() -> list[tuple[str, str]]:
    """Where, and what, of each block of the guide that is to be tried, in their order."""
    chapter = README.read_text("utf-8").partition("\n## Five minutes")[2].partition("\n## ")[0]
    found = BLOCK.findall(chapter)
    assert len(found) == chapter.count("<!-- guide: ") >= 7
    return found


def steps(block: str) -> list[tuple[str, str]]:
    """Each command of a block, and what it is to print."""
    return [(words, shown) for words, _, shown in (step.partition("\n") for step in block.split("$ ")[1:])]


class Machines:
    """Two machines of the guide: each with a home for gpg and credentials; one folder in which files are carried."""

    def __init__(self, folder: Path, homes: dict[str, Path], endpoint: dict[str, str]) -> None:
        self.folder = folder
        self._homes = homes
        self._endpoint = endpoint
        self.root = folder / "root"
        self.places = {name: f"{self.root}{name}" for name in ("/etc/s3nap", "/var/lib/s3nap", "/srv/www", "/etc")}
        self.places["my-backups"] = f"guide-{secrets.token_hex(4)}"
        programs = folder / "bin"
        programs.mkdir()
        made = {"python": sys.executable, "confs": self.root / "etc/s3nap", "day": DAY}
        for name, script in (("aws", AWS), ("s3nap", S3NAP)):
            (programs / name).write_text(script.format(**made))
            (programs / name).chmod(0o755)
        self._path = f"{programs}:{os.environ['PATH']}"

    def here(self, text: str) -> str:
        """A text of the README with the test's own places in it."""
        return re.sub("|".join(map(re.escape, self.places)), lambda match: self.places[match[0]], text)

    def there(self, text: str) -> str:
        """A text of the test's as the README would have it."""
        for name, place in self.places.items():
            text = text.replace(place, name)
        return text

    def write(self, name: str, text: str) -> None:
        """Write a file that the guide shows; its example of a secret is replaced by one that works."""
        if text.startswith("key="):
            text = f"key={self._endpoint['key']}\nsecret={self._endpoint['secret']}\n"
        file = Path(self.here(name))
        file.write_text(self.here(text))
        file.chmod(0o600)

    def run(self, where: str, command: str) -> str:
        """Type a command; return what the terminal would show."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {"PATH": self._path, "GNUPGHOME": str(self._homes[where]), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        environment |= {"AWS_ENDPOINT_URL": self._endpoint["url"], "AWS_DEFAULT_REGION": "us-east-1"}
        if where == "trusted":
            environment |= {
                "AWS_ACCESS_KEY_ID": self._endpoint["key"],
                "AWS_SECRET_ACCESS_KEY": self._endpoint["secret"],
            }
        done = subprocess.run(
            ["sh", "-c", self.here(command)],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
        )
        assert done.returncode == 0, (command, done.stdout)
        return self.there(done.stdout)


@pytest.fixture
def homes() -> Iterator[dict[str, Path]]:
    """Homes for gpg; the trusted one asks nobody for a passphrase."""
    folder = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))  # short, or gpg's agent fails
    made = {name: folder / name[0] for name in ("trusted", "host")}
    for home in made.values():
        home.mkdir(mode=0o700)
    (folder / "empty").touch()
    (made["trusted"] / "gpg.conf").write_text(f"batch\npinentry-mode loopback\npassphrase-file {folder / 'empty'}\n")
    yield made
    for home in made.values():
        subprocess.run(["gpgconf", "--kill", "all"], check=False, env={**os.environ, "GNUPGHOME": str(home)})
    shutil.rmtree(folder, ignore_errors=True)


def test_the_guide_works_and_prints_what_it_shows(
    tmp_path: Path, homes: dict[str, Path], rclone_endpoint: dict[str, str]
) -> None:
    """Whoever types the guide has a backup and a restored file in at most ten commands, and sees what it shows."""
    machines = Machines(tmp_path, homes, rclone_endpoint)
    www = machines.root / "srv/www"
    www.mkdir(parents=True)
    (machines.root / "etc").mkdir()
    (www / "index.html").write_text("hello\n")
    count = 1  # the install
    for where, block in blocks():
        if where.startswith("/"):
            machines.write(where, block)
            continue
        for command, shown in steps(block):
            count += 1
            assert (command, masked(machines.run(where, command))) == (command, masked(shown))
    assert count <= 10
    assert Path(f"{tmp_path}/restored{www}/index.html").read_text() == "hello\n"


def test_the_pictures_are_those_that_are_drawn() -> None:
    """Every picture that the README shows is one that the script draws, is there, and is small."""
    script = (README.parent / "scripts" / "pictures.py").read_text("utf-8")
    drawn = set(ast.literal_eval(re.search(r"^NAMES = (.*)$", script, re.MULTILINE)[1]))  # type: ignore[index]
    assert all(f'"{name}"' in script.partition("def main")[2] or f"{name}.svg" in script for name in drawn)
    shown = set(re.findall(r"\(docs/pictures/(\w+)\.svg\)", README.read_text("utf-8")))
    files = {file.stem: file for file in (README.parent / "docs" / "pictures").glob("*.svg")}
    assert shown == drawn == set(files)
    for file in files.values():
        assert file.stat().st_size < 60_000
        assert file.read_text("utf-8").startswith("<svg ")
