"""Confs that are known by a name: in which folders they lie."""

from __future__ import annotations

from pathlib import Path

FOLDERS = (Path("/etc/s3nap"), Path("/etc/s3napback"))
_ROOT = Path("/")


def named(name: str, root: Path = _ROOT) -> Path | None:
    """Return the conf of a name, without ``root``, below which it is looked for; None if there is none."""
    places = [folder / file for folder in FOLDERS for file in (f"{name}.conf", name)]
    return next((place for place in places if below(root, place).is_file()), None)


def every(root: Path = _ROOT) -> dict[str, Path]:
    """Return the confs that end with ``.conf``, by name; where two have one name, the one that it means."""
    found = [file for folder in reversed(FOLDERS) for file in sorted(below(root, folder).glob("*.conf"))]
    return {file.stem: file for file in found}


def below(root: Path, path: Path) -> Path:
    """Return where an absolute path lies in a tree that is ``/`` elsewhere."""
    return root / path.relative_to("/")
