"""Draws the pictures of the README: runs the real commands on made-up data, and writes what they print as SVG.

Needs the extras browse and test. What differs from one day to the next is put in the place of what does: the folder,
the times of day, run ids. Usage: scripts/pictures.py [FOLDER], by default docs/pictures.
"""

from __future__ import annotations

import asyncio
import io
import random
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text
from textual.widgets import DataTable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from terminal import shown  # noqa: E402 - the path to it was not known before

NAMES = ("run", "progress", "list", "plan", "check", "browse")
DAY = date(2026, 11, 21)
COLUMNS = 112
WIDE = 132
CONF = """\
DiffDir {base}/diffs
Bucket file://{base}/bucket
GpgPassphraseFile {base}/passphrase
LogConfig {base}/logconfig.ini
StoreConf Off
Host web1
<Cycle daily>
    Diffs 2
    Fulls 2
    Directory {base}/etc {base}/srv/www
</Cycle>
<Directory {base}/opt>
    Frequency 7
    Phase {phase}
    Diffs 0
    Fulls 3
</Directory>
"""
LARGE = """\
DiffDir {base}/diffs
Bucket file://{base}/bucket
LogConfig {base}/logconfig.ini
Host web1
ChunkSize 1M
{limit}
Directory {base}/home
"""
QUIET = "[screen]\nenabled = yes\nlevel = INFO\n[file]\nenabled = no\n"
MISSED, EMPTIED = 3, 2  # days ago
DAYS = 14


class World:
    """Three directories and two weeks of their backups; on one day nothing ran, on another a disk was missing."""

    def __init__(self, base: Path, day: date, days: int = DAYS, *, weekly: int = 1) -> None:
        """Make files and conf, and let all days pass but ``day`` itself; the weekly job was due ``weekly`` days ago."""
        self.base, self.day = base, day
        self._dice = random.Random(1)  # noqa: S311 - no secret
        for name in ("diffs", "bucket", "etc", "srv/www", "opt", "home"):
            (base / name).mkdir(parents=True)
        for name, files in (("etc", 40), ("srv/www", 60), ("opt", 25), ("home", 90)):
            for number in range(files):
                (base / name / f"file-{number:02}").write_bytes(self._dice.randbytes(200_000))
        (base / "passphrase").write_text("secret\n")
        (base / "passphrase").chmod(0o600)
        (base / "logconfig.ini").write_text(QUIET)
        self.conf = base / "main.conf"
        phase = -(day - timedelta(days=weekly) - date(1970, 1, 1)).days % 7
        self.conf.write_text(CONF.format(base=base, phase=phase))
        for age in range(days, 0, -1):
            if age != MISSED:
                self._pass_day(age)

    def _pass_day(self, age: int) -> None:
        www, away = self.base / "srv/www", self.base / "away"
        if age == EMPTIED:
            www.rename(away)
            www.mkdir()
        (self.base / "etc" / f"file-{age:02}").write_bytes(self._dice.randbytes(40_000))
        self.shows("-q", "-c", self.conf, "--date", self.day - timedelta(days=age))
        if age == EMPTIED:
            www.rmdir()
            away.rename(www)

    def shows(self, *words: object, columns: int = COLUMNS) -> str:
        """Run a command; return what is left on the terminal, in its colours, as if it were done in ``/``."""
        shift = len(str(self.base))
        said = shown([str(word) for word in words], columns=columns + shift, env={"TZ": "UTC"}, status=None)
        return self._told(left_on_screen(said))

    def progress(self) -> str:
        """Return the bar of a run as it stood half-way, on a slow line."""
        conf = self.base / "large.conf"
        conf.write_text(LARGE.format(base=self.base, limit=""))
        self.shows("-q", "-c", conf, "--date", self.day - timedelta(days=1))
        conf.write_text(LARGE.format(base=self.base, limit="UploadLimit 6M"))
        words = ["backup", "--full", "-c", str(conf), "--date", str(self.day)]
        frames = re.split(r"\x1b\[2K|\r", shown(words, columns=COLUMNS + len(str(self.base))))
        half = next(frame for frame in frames if re.search(r"1\d\.\d MiB of .*/s .*\d:\d\d", frame))
        return self._told(half.split("\n")[0])

    def _told(self, text: str) -> str:
        """Take the folder out, and put the times of day and ids of the picture in the place of today's."""
        base, shift = str(self.base), len(str(self.base))
        lines, below_jobs = [], False
        for line in text.split("\n"):
            if base in line:
                line = line.replace(base, "")  # noqa: PLW2901 - a table's row is as much shorter as the others here
            elif re.match(rf" (Job|Days ago) {{{shift}}}", line) or (below_jobs and line.startswith(" " * (shift + 2))):
                line = re.sub(f" {{{shift}}}", "", line, count=1)  # noqa: PLW2901 - as above
            elif below_jobs and line.startswith(" ─"):
                line = line[:-shift]  # noqa: PLW2901 - as above
            below_jobs = bool(line) and (below_jobs or line.startswith((" Job", " Days ago")))
            lines.append(line)
        text = "\n".join(lines).strip("\n")
        text = re.sub(r"(\d{4}-\d\d-\d\d)(\s+)\d{4}-\d\d-\d\d \d\d:\d\d UTC", r"\1\2\1 03:15 UTC", text)
        text = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}", f"{DAY:%Y%m%d}T031500Z-4f09ac", text)
        text = re.sub(r"\b\d\.\d s\b", "0.2 s", text)
        text = re.sub(r"[\d.]+ [GT]iB free", "72.0 GiB free", text)
        return re.sub(r"\d{4}-\d\d-\d\d", self._shifted, text)

    def _shifted(self, match: re.Match[str]) -> str:
        return str(date.fromisoformat(match[0]) + (DAY - self.day))


def left_on_screen(said: str) -> str:
    """Return the lines that are left once all bars were wiped off."""
    lines = [""]
    for part in re.split(r"(\n|\x1b\[2K|\x1b\[1A|\x1b\[\?25[hl]|\r)", said):
        if part == "\n":
            lines.append("")
        elif part == "\x1b[2K":
            lines[-1] = ""
        elif part == "\x1b[1A":
            lines.pop()
        elif not part.startswith(("\x1b[?25", "\r")):
            lines[-1] += part
    return "\n".join(lines)


def draw(folder: Path, name: str, command: str, text: str) -> None:
    """Write what a terminal shows as a picture."""
    width = min(max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in text.split("\n")), WIDE)
    console = Console(record=True, width=max(width, 80), file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ {command}\n{text}"), soft_wrap=False)
    svg = console.export_svg(title="s3nap", unique_id=name)
    (folder / f"{name}.svg").write_text(svg + "\n")


async def browse(world: World, folder: Path) -> None:
    """Walk into the newest archive of a job, and write what is on the screen."""
    from s3nap.browser import Browser  # noqa: PLC0415 - an extra
    from s3nap.daytree import DayTrees  # noqa: PLC0415 - as above
    from s3nap.outlook import Outlook  # noqa: PLC0415 - as above
    from s3nap.tour import Tour  # noqa: PLC0415 - as above

    options = dict.fromkeys(("bucket", "host", "passphrase_file", "endpoint", "region", "key_file"))
    options |= dict.fromkeys(("quiet", "verbose", "debug", "unsigned"), False) | {"keys": (), "trusted_signer": ()}
    with Outlook([world.conf], options | {"quiet": True}) as outlook:
        browser = Browser(Tour(outlook.jobs, DayTrees(outlook.tree), outlook.pick, lambda: outlook.reader))
        async with browser.run_test(size=(COLUMNS, 22)) as pilot:
            for _ in range(2 + len(world.base.parts)):  # job, day, and down to the folder itself
                await pilot.pause()
                await pilot.press("home", "enter")
            await pilot.pause()
            await pilot.press("down", "space", "down", "down", "space")
            await pilot.pause(0.5)
            assert browser.screen.query_one(DataTable).row_count > 2  # inside a folder
            svg = browser.export_screenshot(title="s3nap browse")
    (folder / "browse.svg").write_text(svg.replace(str(world.base), "") + "\n")


def main() -> None:
    """Draw them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def world(day: date, days: int, weekly: int) -> World:
            base = Path(tempfile.mkdtemp(prefix="p", dir="/tmp"))
            stack.callback(shutil.rmtree, base, ignore_errors=True)
            return World(base, day, days, weekly=weekly)

        conf = "-c main.conf"
        short = world(DAY, EMPTIED, 0)
        draw(folder, "run", "s3nap main", short.shows("-c", short.conf, "--date", DAY))
        long = world(DAY, DAYS, 1)
        long.shows("-q", "-c", long.conf, "--date", DAY)
        listed = long.shows("list", "-c", long.conf, "--date", DAY, columns=WIDE)
        draw(folder, "list", f"s3nap list {conf}", listed)
        draw(folder, "plan", f"s3nap plan {conf}", long.shows("plan", "-c", long.conf, "--date", DAY))
        draw(folder, "progress", f"s3nap backup --full {conf}", long.progress())
        asyncio.run(browse(long, folder))
        today = world(datetime.now().astimezone().date(), EMPTIED, 0)  # check has no day but today
        today.shows("-q", "-c", today.conf)
        draw(folder, "check", f"s3nap check {conf}", today.shows("check", "-c", today.conf))


if __name__ == "__main__":
    main()
