"""The commands for when a server, or the private key, is elsewhere: options, and which act each is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from s3nap import options
from s3nap.options import with_confs


@click.command()
@click.argument("job")
@options.at
@click.option("--target", type=click.Path(path_type=Path), help="Folder for the files (default: this one).")
@options.reading
def keys(**chosen: Any) -> int:  # noqa: ANN401 - click's options
    """Fetch the keys of an archive, still encrypted, to be opened on the machine that has the private key.

    Prints the gpg commands to run there. `restore --keys` then works where the private key never goes.
    """
    from s3nap.handover import keys as act  # noqa: PLC0415 - as in cli

    return act(**with_confs(chosen))


@click.command()
@click.argument("job", required=False)
@click.option("--target", type=click.Path(path_type=Path), help="Put it below this folder (default: where it was).")
@options.at
@click.option("--overwrite", is_flag=True, help="Replace files that are there and differ.")
@options.opening
@options.reading
def bootstrap(**chosen: Any) -> int:  # noqa: ANN401
    """On a bare machine: put the conf of a lost host back, and print what to install and to restore, in order.

    Needs --bucket, --host and the private key. JOB (Conf/main.conf) only where the host had several confs.
    """
    from s3nap.bootstrap import bootstrap as act  # noqa: PLC0415 - as in cli

    return act(**with_confs(chosen))


@click.command()
@options.common
def runbook(**chosen: Any) -> int:  # noqa: ANN401
    """Print, as Markdown to be kept on paper, what to do when this host is lost."""
    from s3nap.runbook import runbook as act  # noqa: PLC0415 - as in cli

    return act(**with_confs(chosen))


COMMANDS = (keys, bootstrap, runbook)
