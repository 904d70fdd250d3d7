"""What each command does: from options to acts to what is printed. Returns the exit status."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from s3nap import access, config, logs
from s3nap.access import Place
from s3nap.amounts import counted
from s3nap.errors import ConfError, DeniedError, Exit, NothingMatchesError, UsageError, VerificationError
from s3nap.names import readable
from s3nap.sources.table import expanded

if TYPE_CHECKING:
    from s3nap.job import Conf, Job

MARKED = {"hold": "held", "released": "released"}


@contextmanager
def logging(conf: Conf | None, options: dict[str, Any], *, quiet: bool = False) -> Iterator[logs.LogSetup]:
    """Log as the conf says while the block runs."""
    setup = logs.setup(
        conf["LogConfig"] if conf is not None else None,
        quiet=quiet or bool(options["quiet"]),
        verbose=bool(options["verbose"]),
        debug=bool(options["debug"]),
    )
    try:
        yield setup
    finally:
        setup.close()


def load(confs: Sequence[Path], *, on_this_host: bool = True) -> list[Conf]:
    """Load all confs; one ConfError has the faults of all of them."""
    loaded: list[Conf] = []
    errors: list[ConfError] = []
    for path in confs:
        try:
            loaded.append(config.load(path, on_this_host=on_this_host))
        except ConfError as error:
            errors.append(error)
    if errors:
        raise ConfError.of(errors)
    return loaded


def chosen(confs: Sequence[Conf], wanted: str) -> list[Job]:
    """Return the jobs that a word means: by name, source, or kind if it is the only one; one of a SubversionDir, too.

    Raises NothingMatchesError, saying what there is, if none is meant.
    """
    known = [job for conf in confs for job in conf.jobs]
    each = {(job.name, job.origin): job for job in (*known, *(job for conf in confs for job in expanded(conf.jobs)))}
    matching = [job for job in each.values() if wanted in {job.name, readable(job.name), job.source}]
    alone = [job for job in each.values() if job.kind == wanted]
    matching = matching or (alone if len({job.name for job in alone}) == 1 else [])
    if not matching:
        raise NothingMatchesError(f"no job {wanted}; the conf has: {', '.join(readable(job.name) for job in known)}")
    return matching


def places(confs: Sequence[Path], options: dict[str, Any]) -> Iterator[Place]:
    """Yield each storage that the command line means."""
    return access.places(confs, **{name: options[name] for name in access.WHERE})


def only_place(confs: Sequence[Path], options: dict[str, Any]) -> Place:
    """Return the one storage that is meant; UsageError if several are."""
    found = list(places(confs, options))
    if len(found) != 1:
        raise UsageError("give one conf or one --bucket, not several")
    return found[0]


def recipe(*, confs: Sequence[Path], job: str, at: str, **options: Any) -> int:  # noqa: ANN401
    """Print the recipe as it is stored with the archive."""
    place = only_place(confs, options)
    place.storage.check()
    manifest = access.find_chain(access.find_job(place, job), at)[-1].manifest
    stored = manifest.object("recipe")
    if stored is None:
        raise VerificationError(f"archive {manifest.run} has no recipe")
    script = place.storage.get(manifest.at.data + stored.name)
    if hashlib.sha256(script).hexdigest() != stored.sha256:
        raise VerificationError(f"{manifest.at.data}{stored.name} is not what was stored: do not run it")
    click.echo(script, nl=False)
    return Exit.DONE


def mark(name: str, *, confs: Sequence[Path], job: str, at: str, **options: Any) -> int:  # noqa: ANN401
    """Put a mark beside a manifest; ``released`` also ends a hold, and means all that wait for it unless told which."""
    place = only_place(confs, options)
    place.storage.check()
    known = access.find_job(place, job)
    waiting = [archive for archive in known.archives if archive.braking] if name == "released" else []
    chosen = waiting if waiting and at == "latest" else [access.find_chain(known, at)[-1]]
    for archive in chosen:
        manifest = archive.manifest
        if name == "released" and archive.held and place.storage.delete([manifest.at.mark("hold")]):
            raise DeniedError(f"the storage does not let go of {manifest.at.mark('hold')}: it may not be deleted")
        if name not in archive.marks and (name == "hold" or archive.braking):
            place.storage.put(manifest.at.mark(name), b"")
        if not options["quiet"]:
            click.echo(f"{readable(manifest.job)}: archive {manifest.run} of {manifest.day} is now {MARKED[name]}")
    return Exit.DONE


def validate(*, confs: Sequence[Path], quiet: bool, **_: Any) -> int:  # noqa: ANN401
    """Check confs, and whether those who are to be told can be."""
    from s3nap.notices import faults as notice_faults  # noqa: PLC0415 - needed by this command only

    loaded = load(confs)
    if wrong := [fault for conf in loaded for fault in notice_faults(conf)]:
        raise ConfError(wrong)
    for conf in loaded:
        if not quiet:
            click.echo(f"{conf.file}: is right; {counted(len(conf.jobs), 'job')}")
    return Exit.DONE
