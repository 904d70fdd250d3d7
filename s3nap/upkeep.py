"""Finishing what runs left: states to install, leftovers to remove, archives that are no longer live to sweep."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from loguru import logger

from s3nap.catalog import Catalog, JobCatalog
from s3nap.errors import DeniedError, StorageError
from s3nap.job import Job
from s3nap.liveness import judge, sweepable
from s3nap.manifest import Archive
from s3nap.names import ArchiveName
from s3nap.state import JobState


class Fate(StrEnum):
    """What became of something that was to be deleted."""

    SWEPT = "swept"
    RETAINED = "retained by the storage, later"
    FAILED = "failed"
    KEPT = "kept: no longer to be swept"
    LOCKED = "locked"


def repair(catalog: Catalog, state: JobState) -> None:
    """Finish what earlier runs of this machine left, before anything new begins.

    Whether a run was committed is asked of the storage, never assumed; raises StorageError if it does not answer.
    """
    for at, _ in list(state.notes("runs")):
        try:
            if catalog.committed(at):
                installed = state.installed()
                if installed is None or installed[0] < at.run:
                    state.install(at.run)
                state.forget("runs", at.run)
                logger.info("{}: run {} was committed but cut short: finished now", at.job, at.run)
            elif abandon(catalog, at, state):
                logger.info("{}: removed what run {} left unfinished", at.job, at.run)
        except DeniedError:
            continue  # may not look: whoever may, prunes
    for at, _ in list(state.notes("sweeps")):
        try:
            begun = not catalog.committed(at)
        except DeniedError:
            continue
        if begun:
            clear(catalog, at, state)
        else:
            state.forget("sweeps", at.run)  # it is judged anew after the next commit


def abandon(catalog: Catalog, at: ArchiveName, state: JobState) -> bool:
    """Remove what a run without a manifest has stored, and its note; False if the storage retains something."""
    if not catalog.sweep(at):
        return False
    state.drop(at.run)
    state.forget("runs", at.run)
    return True


def sweep(  # noqa: PLR0913 - what liveness rests on
    catalog: Catalog, job: Job, known: JobCatalog, state: JobState, *, today: int, machine: str
) -> None:
    """Delete what is no longer live, children before parents, each noted before it begins."""
    if known.unreadable:
        logger.warning("{}: nothing is swept while a manifest cannot be understood", job.name)
        return
    verdict = judge(known.archives, job.cycle, today, machine)
    remove(catalog, sweepable(known.archives, verdict), state)


def remove(catalog: Catalog, archives: Sequence[Archive], state: JobState | None) -> dict[str, Fate]:
    """Delete archives of one job, given children before parents, each noted before it begins; what became of each.

    The ancestors of what stays stay too. ``state`` None: another machine's job, or one without DiffDir.
    """
    fates: dict[str, Fate] = {}
    needed: set[str | None] = set()
    for archive in archives:
        at, fate = archive.manifest.at, Fate.RETAINED
        if archive.run not in needed:
            if state is not None:
                state.note("sweeps", at)
            logger.info("{}: sweeps {} (slot {}, {} of {})", at.job, at.run, at.slot, at.type, archive.manifest.day)
            fate = clear(catalog, at, state)
        if fate is not Fate.SWEPT:
            needed.add(archive.manifest.parent)
        fates[archive.run] = fate
    return fates


def clear(catalog: Catalog, at: ArchiveName, state: JobState | None) -> Fate:
    """Delete an archive, or what is left of one, with what is remembered of it."""
    try:
        swept = catalog.sweep(at)
    except DeniedError:
        swept = False
    except StorageError as error:
        logger.warning("{}: {} could not be swept, tried again by the next run: {}", at.job, at.run, error)
        return Fate.FAILED
    if not swept:
        logger.info("{}: {} is retained by the storage; tried again later", at.job, at.run)
        return Fate.RETAINED
    if state is not None:
        state.drop(at.run)
        (state.manifests / f"{at.run}.json").unlink(missing_ok=True)
        state.forget("sweeps", at.run)
    return Fate.SWEPT
