"""The commands that read archives: what there is, what is in it, and back with it. Options, and which act each is."""

from __future__ import annotations

from typing import Any

import click

from s3nap import options
from s3nap.options import with_confs


@click.command(name="list")
@click.argument("job", required=False)
@click.option("--all-hosts", is_flag=True, help="Of every host in the bucket.")
@options.legacy
@options.day
@options.as_json
@options.reading
def list_(*, legacy: bool, **chosen: Any) -> int:  # noqa: ANN401
    """List the archives that are stored, and whether each restores."""
    if legacy:
        from s3nap import legacyshow  # noqa: PLC0415

        return legacyshow.list_archives(**with_confs(chosen))
    from s3nap import listing  # noqa: PLC0415

    return listing.list_archives(**with_confs(chosen))


@click.command()
@click.argument("job")
@click.argument("path", required=False)
@options.at
@click.option("-l", "long", is_flag=True, help="Mode, owner, size and time, too.")
@click.option("-R", "recursive", is_flag=True, help="Everything below.")
@options.as_json
@options.opening
@options.reading
def ls(**chosen: Any) -> int:  # noqa: ANN401
    """List what an archive holds in a directory (default: the job's own).

    On the backed-up host at once, from DiffDir; elsewhere with the key.
    """
    from s3nap import looking  # noqa: PLC0415

    return looking.ls(**with_confs(chosen))


@click.command()
@click.argument("pattern")
@click.option("--job", "jobs", multiple=True, help="Only in this job; may be given several times.")
@options.as_json
@options.opening
@options.reading
def find(**chosen: Any) -> int:  # noqa: ANN401
    """Tell which days hold which versions of the files that match PATTERN.

    PATTERN is as in Exclude: *.conf at any depth, /etc/*.conf there alone.
    """
    from s3nap import looking  # noqa: PLC0415

    return looking.find(**with_confs(chosen))


@click.command()
@click.argument("job")
@click.argument("before", metavar="WHEN")
@click.argument("after", metavar="WHEN")
@options.as_json
@options.opening
@options.reading
def diff(**chosen: Any) -> int:  # noqa: ANN401
    """Tell what was added (+), removed (-) and changed (M) from one archive to another."""
    from s3nap import looking  # noqa: PLC0415

    return looking.diff(**with_confs(chosen))


@click.command()
@click.argument("job")
@click.argument("path", required=False)
@options.at
@options.opening
@options.reading
def dump(**chosen: Any) -> int:  # noqa: ANN401
    """Write one file of an archive to standard output; without PATH the archive's whole raw stream."""
    from s3nap.restoring import dump as act  # noqa: PLC0415

    return act(**with_confs(chosen))


@click.command()
@click.argument("job")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@options.choosing
@click.option(
    "--target", metavar="PATH", help="Directories: an empty or new folder. Databases: write the dump to a file, or -."
)
@options.at
@click.option(
    "--overwrite", is_flag=True, help="Replace existing data; in a folder, what the archive does not hold stays."
)
@options.connecting
@options.opening
@click.option("--numeric-owner", is_flag=True, help="Owners by number, not by name (in a rescue system).")
@options.surviving
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Check everything, write nothing.")
@options.legacy
@options.reading
def restore(*, legacy: bool, **chosen: Any) -> int:  # noqa: ANN401
    """Restore a job as it was, exactly: a directory into a folder, a database into its server.

    With PATHs only these, and what is below them; only the chunks that hold them are fetched.
    Needs the bucket and the private key; neither the old host's conf nor its DiffDir.
    """
    if legacy:
        from s3nap import legacyshow  # noqa: PLC0415

        return legacyshow.restore(**with_confs(chosen))
    from s3nap.restoring import restore as act  # noqa: PLC0415

    return act(**with_confs(chosen))


@click.command()
@click.argument("job")
@options.at
@options.reading
def recipe(**chosen: Any) -> int:  # noqa: ANN401
    """Print the script that restores an archive with sh, gpg and tar, without s3nap."""
    from s3nap import commands  # noqa: PLC0415

    return commands.recipe(**with_confs(chosen))


COMMANDS = (list_, ls, find, diff, dump, restore, recipe)
