"""The ``browse`` command: the terminal browser over what ``Outlook`` finds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s3nap.daytree import DayTrees
from s3nap.errors import Exit, NothingMatchesError, UsageError
from s3nap.outlook import Outlook
from s3nap.tour import Tour


def browse(*, confs: Sequence[Path], job: str | None, **options: Any) -> int:  # noqa: ANN401
    """Walk through the archives of a host, or of one job."""
    try:
        from s3nap.browser import Browser  # noqa: PLC0415 - an extra, and this command's alone
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise UsageError("browse needs textual: pip install 's3nap[browse]'") from error
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("browse needs a terminal; in a pipe use s3nap ls and s3nap find")
    with Outlook(confs, options) as outlook:
        jobs = {known.job: known for known in [outlook.found(job)]} if job is not None else outlook.jobs
        if not jobs:
            raise NothingMatchesError("there is no archive to show: see s3nap list --all-hosts")
        Browser(Tour(jobs, DayTrees(outlook.tree), outlook.pick, lambda: outlook.reader)).run()
    return Exit.DONE
