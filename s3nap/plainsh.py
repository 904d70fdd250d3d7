"""How a lost host is restored with sh alone: every job's newest recipe, fetched and run. For the runbook."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from urllib.parse import unquote

from s3nap import names
from s3nap.rebuilding import Order, target

_FOLDER = """\
list() { find "$BUCKET/catalog/$OLD" -type f; }
fetch() { cat "$BUCKET/$1"; }"""
_S3 = """\
list() { aws AT s3 ls --recursive "$BUCKET/catalog/$OLD/"; }
fetch() { aws AT s3 cp "$BUCKET/$1" -; }"""
_RECIPE = """\
recipe() { # JOB: fetch the script of its newest archive
    archive=$(list | sed -n "s|.*catalog/\\($OLD/$1-[0-9]*-[A-Z]*/[^/]*\\)\\.json\\$|\\1|p" |
        awk -F/ '{ print $NF, $0 }' | sort | tail -n 1 | cut -d ' ' -f 2-)
    fetch "data/$archive/restore.sh" > restore.sh
}"""


def without_s3nap(storage: str, endpoint: str | None, host: str, conf: str | None, steps: Order) -> Iterator[str]:
    """Say it for the newest archives there will be then; ``conf`` is the job that stores the conf, if one does."""
    local = storage.startswith("file://")
    place = unquote(storage.removeprefix("file://")) if local else storage
    at = f"--endpoint-url {shlex.quote(endpoint)} " if endpoint else ""
    yield "## Without s3nap\n"
    yield "Each archive carries a script that needs `sh`, `gpg`, a decompressor, `sha256sum`, `tar`, `aws` or `cat`."
    yield "Read it before it runs. Each must end with `restore.sh: done`; what the script makes is said in its head.\n"
    yield "```sh"
    yield f"BUCKET={shlex.quote(place)}\nOLD={shlex.quote(names.component(host))}\nTARGET=/mnt/restored-by-sh"
    yield _FOLDER if local else _S3.replace("AT ", at)
    yield f'{_RECIPE}\nmkdir -p "$TARGET"'
    if conf is not None:
        yield f'recipe {shlex.quote(names.job_key(conf))} && sh restore.sh "$TARGET"/00-conf'
    for number, step in enumerate(steps.steps, 1):
        job = shlex.quote(names.job_key(step.manifest.job))
        yield f"recipe {job} && sh restore.sh {target(number, step.manifest)}"
    yield "```\n"
