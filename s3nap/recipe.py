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
  # a directory that an earlier level gave the setgid bit would hand it on to new ones
  find "$target" -type d -perm -2000 -exec chmod g-s {} + || return 1
  (cd "$target" && tar --extract --listed-incremental=/dev/null --preserve-permissions --acls --selinux --xattrs \\
    --xattrs-include="$attributes" --file=-) &&
    cat > /dev/null # tar does not read what follows its end mark
}"""

_REPOSITORY = """\
[ ! -e "$1" ] || fail "$1 exists already"
case $1 in /*) target=$1 ;; *) target=./$1 ;; esac
unicode() { env LC_ALL=C.UTF-8 "$@"; } # in the locale C it takes no path beyond ASCII
load() { # a day without commits has an empty stream, which svnadmin would not take
  dd bs=1 count=1 > "$work/first" 2> /dev/null || return 1
  [ -e "$target" ] || unicode svnadmin create "$target" || return 1
  [ ! -s "$work/first" ] ||
    cat "$work/first" - | unicode svnadmin load -q --force-uuid --bypass-prop-validation "$target"
}"""

_FILES = """\
[ ! -e "$1" ] && [ ! -e "$1.1" ] || fail "$1 or $1.1 exists already"
wanted=$1
load() { # each archive to a file of its own: NEW-FILE, NEW-FILE.1, ...; joined, they could not be told apart
  number=0 target=$wanted
  while [ -e "$target" ]; do number=$((number + 1)) target=$wanted.$number; done
  cat > "$target"
}"""

_FILE = """\
[ ! -e "$1" ] || fail "$1 exists already"
target=$1
load() { cat >> "$target"; }"""

_INTO = {  # by stream: what the target is, the program that loads, how; anything else goes to a file
    "tar": ("EMPTY-FOLDER", ["tar"], _TREE),
    "svndump": ("NEW-REPOSITORY", ["svnadmin"], _REPOSITORY),
}


_THEN = {  # what a person does with the file; an archive of all databases makes them itself
    "MySQL": "mariadb DATABASE < NEW-FILE      (or mysql; make the database first, or, for all, name none)",
    "PostgreSQL": "psql -X -v ON_ERROR_STOP=1 -d DATABASE -f NEW-FILE      (make it first; all: -d postgres, no -v)",
}


def _then(job: str, stream: str) -> list[str]:
    """Return the lines that tell how a restored dump is loaded."""
    if stream == "pgcustom":
        return ["pg_restore --exit-on-error -d DATABASE NEW-FILE      (make the database first)"]
    kinds = job.split("/")[:2]
    return [line for kind, line in _THEN.items() if stream == "sql" and kind in kinds]


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
    target_word, loading, prepare = _INTO.get(stream, ("NEW-FILE", [], _FILE))
    if stream == "raw" and len(levels) > 1:
        prepare = _FILES
    needed = ["gpg"] if levels[-1].keys_sha256 is not None else []
    needed += [program] if program else []
    needed += ["sha256sum", *loading]
    title = f"Restores {readable(last.job)} of {last.host} as of {day} (archive {last.run}), without s3nap."
    if storage.startswith("file://"):
        storage = "file://" + unquote(storage.removeprefix("file://"))  # cat knows nothing of URLs
    template = resources.files("s3nap").joinpath("recipe.sh").read_text()
    return template.format(
        title=_in_comment(title),
        storage_shown=_in_comment(storage),
        target_word=target_word,
        then="".join(f"\n#   {line}" for line in _then(last.job, stream)),
        programs=", ".join(needed),
        storage=shlex.quote(storage),
        endpoint=shlex.quote(endpoint or ""),
        decompress=f"{program} -dc" if program else "cat",
        prepare=prepare,
        levels="\n".join(level.call for level in levels),
    )


def _in_comment(text: str) -> str:
    """Keep a text on its line: what comes after would be run."""
    return "".join(char if char.isprintable() else "?" for char in text)
