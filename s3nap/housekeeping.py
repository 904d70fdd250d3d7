"""The commands that change what is stored, or look after the storage: marks, signatures, deletions, rights."""

from __future__ import annotations

from typing import Any

import click

from s3nap import options
from s3nap.options import with_confs

_yes = click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
_dry = click.option("-n", "--dry-run", "dry", is_flag=True, help="Show what would go; change nothing.")


@click.command()
@click.argument("job")
@options.at
@options.reading
def hold(**chosen: Any) -> int:  # noqa: ANN401
    """Keep an archive, and all it needs, whatever the cycle says."""
    from s3nap import commands  # noqa: PLC0415

    return commands.mark("hold", **with_confs(chosen))


@click.command()
@click.argument("job")
@options.at
@options.reading
def release(**chosen: Any) -> int:  # noqa: ANN401
    """Accept an archive whose source looked empty; or end a hold."""
    from s3nap import commands  # noqa: PLC0415

    return commands.mark("released", **with_confs(chosen))


@click.command()
@click.argument("job")
@click.option("--at", metavar="WHEN", help="Only this one (default: all that wait for it).")
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Name them, sign nothing.")
@options.reading
def sign(**chosen: Any) -> int:  # noqa: ANN401
    """Vouch for archives that are there unsigned, as those of before SignKey."""
    from s3nap.vouching import sign as act  # noqa: PLC0415

    return act(**with_confs(chosen))


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--retired", is_flag=True, help="Of these jobs, delete what the conf no longer has, too.")
@click.option("--all-hosts", is_flag=True, help="Every host in the bucket; of hosts without a conf, leftovers only.")
@_yes
@_dry
@options.as_json
@options.reading
def prune(**chosen: Any) -> int:  # noqa: ANN401 - click's options
    """Sweep what failed runs left and what is no longer live (of all jobs without a JOB).

    The daily run does this by itself, where its credentials may delete. Runs of other machines are taken for dead when
    their newest object is seven days older than the newest one of that host in the storage.
    """
    from s3nap import deleting  # noqa: PLC0415

    return deleting.prune(**with_confs(chosen))


@click.command()
@click.argument("job")
@click.option("--at", required=True, metavar="WHEN", help="Which one: its day, a time, slot:3 or a run id.")
@click.option("--with-children", is_flag=True, help="Delete the DIFFs that need it, too.")
@_yes
@_dry
@options.reading
def rm(**chosen: Any) -> int:  # noqa: ANN401
    """Delete one archive on purpose, after showing what remains."""
    from s3nap import deleting  # noqa: PLC0415

    return deleting.rm(**with_confs(chosen))


@click.group()
def storage() -> None:
    """Look at the storage itself."""


@storage.command(name="test")
@options.as_json
@options.reading
def storage_test(**chosen: Any) -> int:  # noqa: ANN401
    """Try what s3nap relies on, and say what works there and what will be missing.

    Stores a few small objects under s3nap-storage-test-..., and removes them. Ends with 0 when all that is essential
    works; what is denied is not broken: a host may do with put alone.
    """
    from s3nap import probing  # noqa: PLC0415

    return probing.storage_test(**with_confs(chosen))


@click.command()
@click.argument("role", required=False, type=click.Choice(["host", "host-catalog", "restorer", "janitor"]))
@click.option("--host", help="For the archives of this host (default: the conf's).")
@options.common
def iam(**chosen: Any) -> int:  # noqa: ANN401
    """Print the least AWS policy of a role (all without one), from the conf.

    host may only put; host-catalog may read its own catalog, too; restorer reads; verifier also puts what it found;
    janitor lists and deletes.
    """
    from s3nap import probing  # noqa: PLC0415

    return probing.iam(**with_confs(chosen))


COMMANDS = (hold, release, sign, prune, rm, storage, iam)
