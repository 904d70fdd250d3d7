"""The recipe: how an archive is restored with plain sh and no s3nap (promise 3)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from urllib.parse import unquote

from s3nap.compression import COMPRESSIONS
from s3nap.names import ArchiveName, readable

_TREE = """\
mkdir -p "$1"
[ -z "$(ls -A "$1")" ] || fail "$1 is not empty"
target=$(cd "$1" && pwd)
attributes='*'
[ "$(id -u)" = 0 ] || attributes='user.*'
# the target must be the working directory: with -C tar loses renamed directories
load() {
  (cd "$target" && tar --extract --listed-incremental=/dev/null --preserve-permissions --acls --selinux --xattrs \\
    --xattrs-include="$attributes" --file=-) &&
    cat > /dev/null # tar does not read what follows its end mark
}"""

_FILE = """\
[ ! -e "$1" ] || fail "$1 exists already"
target=$1
load() { cat >> "$target"; }"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What the recipe must know of one archive of the chain; hashes are sha256 of stored objects."""

    at: ArchiveName
    chunks: int
    sums_sha256: str
    keys_sha256: str | None

    @property
    def call(self) -> str:
        """The line that restores it."""
        encrypted = "no" if self.keys_sha256 is None else "yes"
        words = [self.at.data, self.at.run, self.sums_sha256, str(self.chunks), encrypted, self.keys_sha256 or "-"]
        return "level " + " ".join(shlex.quote(word) for word in words)


def render(  # noqa: PLR0913 - all that the script is made of
    levels: Sequence[Level], *, storage: str, endpoint: str | None, stream: str, compression: str, day: date
) -> str:
    """Return the script for a chain, FULL first."""
    last = levels[-1].at
    program = COMPRESSIONS[compression].program
    tree = stream == "tar"
    needed = ["gpg"] if levels[-1].keys_sha256 is not None else []
    needed += [program] if program else []
    needed += ["sha256sum", *(["tar"] if tree else [])]
    title = f"Restores {readable(last.job)} of {last.host} as of {day} (archive {last.run}), without s3nap."
    if storage.startswith("file://"):
        storage = "file://" + unquote(storage.removeprefix("file://"))  # cat knows nothing of URLs
    template = resources.files("s3nap").joinpath("recipe.sh").read_text()
    return template.format(
        title=_in_comment(title),
        storage_shown=_in_comment(storage),
        target_word="EMPTY-FOLDER" if tree else "NEW-FILE",
        programs=", ".join(needed),
        storage=shlex.quote(storage),
        endpoint=shlex.quote(endpoint or ""),
        decompress=f"{program} -dc" if program else "cat",
        prepare=_TREE if tree else _FILE,
        levels="\n".join(level.call for level in levels),
    )


def _in_comment(text: str) -> str:
    """Keep a text on its line: what comes after would be run."""
    return "".join(char if char.isprintable() else "?" for char in text)
