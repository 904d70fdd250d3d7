"""Comparing two censuses: nothing that tar would miss may be left out, however much is skipped on the way."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from s3nap.sources.census import Entry, path_hash, read, stale

_SINCE = 5
_NAMES = st.sampled_from([b"/a", b"/a/b", b"/a b", b"/a/c", b"/a0", b"/d/e", b"/d/f/g", b"/h"])
# inode, size, mtime, ctime, links
_FACTS = st.tuples(*(st.integers(1, 2),) * 2, *(st.sampled_from([3, 7]),) * 2, st.integers(1, 2))
_CENSUS = st.dictionaries(_NAMES, _FACTS)
_SOME = st.frozensets(_NAMES)


def _written(path: Path, census: dict[bytes, tuple[int, ...]]) -> Path:
    names = sorted(census, key=lambda name: name.replace(b"/", b"\0"))
    path.write_bytes(b"".join(b"%d %d %d %d %d %s\0" % (*census[name], name) for name in names))
    return path


def _wanted(
    old: dict[bytes, Entry], new: dict[bytes, Entry], dropped: frozenset[bytes], retry: frozenset[bytes]
) -> set[bytes]:
    """The rules, one file after the other."""
    changed = {name for name, entry in new.items() if name in retry or name not in old or old[name] != entry}
    late = {name for name in changed if name in retry or new[name].changed < _SINCE}
    whole = {name for name in new if any(name.startswith(folder + b"/") for folder in dropped)}
    moved = {new[name].inode for name in changed | whole if new[name].links > 1}
    return late | {name for name, entry in new.items() if entry.links > 1 and entry.inode in moved}


@given(_CENSUS, _CENSUS, _SOME, _SOME)
def test_what_tar_must_dump_again(
    old: dict[bytes, tuple[int, ...]],
    new: dict[bytes, tuple[int, ...]],
    dropped: frozenset[bytes],
    retry: frozenset[bytes],
) -> None:
    """A file that is skipped as unchanged and is not would be missing from every restore until the next FULL."""
    with tempfile.TemporaryDirectory() as folder:
        before, now = _written(Path(folder, "old"), old), _written(Path(folder, "new"), new)
        found = stale(before, now, _SINCE, set(map(path_hash, dropped)), set(map(path_hash, retry)))
        entries = ({entry.path: entry for entry in read(path)} for path in (before, now))
        wanted = _wanted(*entries, dropped, retry)
    assert found == set(map(path_hash, wanted))
