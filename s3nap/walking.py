"""The commands that let a person walk about in the archives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from s3nap import options


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[JOB|HOST] DIR")
@click.option(
    "--cache",
    type=options.Size(),
    default="256M",
    show_default=True,
    metavar="SIZE",
    help="Memory for chunks lately used; K, M, G.",
)
@options.opening
@options.reading
def mount(words: Sequence[str], **chosen: Any) -> int:  # noqa: ANN401
    """Show the archives of a job, or of all jobs, as a read-only file system in DIR, one folder a day.

    Only the chunks that are read are fetched. It stays until it is unmounted: fusermount3 -u DIR, or Ctrl-C.
    Needs the extra s3nap[mount], and fuse3.
    """
    from s3nap import mounting  # noqa: PLC0415 - start-up time

    return mounting.mount(words=words, **options.with_confs(chosen))


@click.command()
@click.argument("job", required=False)
@options.opening
@options.reading
def browse(**chosen: Any) -> int:  # noqa: ANN401
    """Walk through jobs, days and directories in the terminal: look, preview, mark files, restore them.

    The keys stand in the last line. Needs the extra s3nap[browse].
    """
    from s3nap import browsing  # noqa: PLC0415 - start-up time

    return browsing.browse(**options.with_confs(chosen))


COMMANDS = (mount, browse)
