"""``restore --salvage``: restores every file that no damage has touched, and lists the others."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import report
from s3nap.amounts import counted
from s3nap.comparing import compare
from s3nap.errors import Exit, UsageError
from s3nap.logs import one_line
from s3nap.manifest import Archive
from s3nap.names import readable
from s3nap.picking import Selection, cost, write
from s3nap.progress import on_terminal
from s3nap.reader import Reader
from s3nap.restore import check_target
from s3nap.survey import Found, survey


def salvage(reader: Reader, lineage: Sequence[Archive], target: Path, options: dict[str, Any], *, dry: bool) -> int:
    """Restore what is whole of a chain, the oldest archive that there is of it first; exit status 13 if not all is."""
    manifest = lineage[-1].manifest
    if manifest.stream != "tar":
        raise UsageError(f"{readable(manifest.job)} is no tree of files: it comes back whole or not at all")
    check_target(target, overwrite=options["overwrite"])
    show = on_terminal(quiet=bool(options["quiet"]))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="s3nap-") as work:
        selection = Selection(options["paths"], options["include"], options["exclude"])
        with show("looking for damage", None) as advance:
            found = survey(reader, lineage, selection, Path(work), advance)
        _say(found)
        needed = cost(reader, found.links, found.picked)
        what = (
            f"{counted(len(found.picked.nodes), 'path')} of {readable(manifest.job)} of {found.links[-1].manifest.day}"
        )
        if not dry:
            target.mkdir(parents=True, exist_ok=True)
            with show(readable(manifest.job), needed.raw) as advance:
                numeric = options["numeric_owner"]
                write(reader, found.links, found.picked, target, numeric_owner=numeric, progress=advance)
            if options["verify"]:
                compare(target, found.picked.nodes, numeric_owner=numeric)
    if dry:
        click.echo(f"would salvage {what}: {counted(needed.chunks, 'chunk')}, {report.size(needed.stored)} to fetch")
    elif not options["quiet"]:
        click.echo(f"salvaged {what} to {target}, in {time.monotonic() - begun:.1f} s")
    if found.lost or not options["quiet"]:
        click.echo(f"lost: {counted(len(found.lost), 'path')}")
    return Exit.VERIFICATION if found.lost or found.notes else Exit.DONE


def _say(found: Found) -> None:
    for note in found.notes:
        logger.warning("{}", note)
    for path, why in found.lost:
        click.echo(f"lost: /{one_line(os.fsdecode(path))}: {one_line(why)}")
