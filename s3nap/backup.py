"""The daily run: for each job plan, repair what an earlier run left, archive, install the state, sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from loguru import logger

from s3nap import interruption, pipeline
from s3nap.abreast import abreast
from s3nap.archiving import RunSetting, begin, state_id
from s3nap.catalog import Catalog, JobCatalog
from s3nap.confjob import encrypted
from s3nap.crew import Crew, workers
from s3nap.cycle import day_number
from s3nap.envelope import Envelope, read_passphrase
from s3nap.errors import RetryFullError, S3napError, SourceError, StorageError
from s3nap.estimate import estimate
from s3nap.hooks import Hooks, JobHooks
from s3nap.job import Conf, Job
from s3nap.liveness import lineage
from s3nap.manifest import Archive, Manifest, Type
from s3nap.names import ArchiveName
from s3nap.plan import Task, decide
from s3nap.progress import Show, silent
from s3nap.results import Result, faults, judged, warned
from s3nap.signing import open_signer, trust_of
from s3nap.sources import Outcome, Source
from s3nap.sources.table import expand, make_source
from s3nap.state import DiffDir, JobState
from s3nap.storage import Retaining, Storage
from s3nap.succession import breaks, lost
from s3nap.upkeep import abandon, repair, sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for; ``day`` is the day the run behaves as if it were."""

    day: date
    force: bool = False
    full: bool = False
    only: Sequence[str] = ()
    log_file: Path | None = None
    show: Show = silent


class Run:
    """One execution for one conf. ``dry`` promises to change nothing anywhere (promise 11).

    ``ended`` has the result of every job so far, also when the run is interrupted.
    """

    def __init__(self, conf: Conf, storage: Storage, options: Options, *, dry: bool = False) -> None:
        """Resolve the recipients and see that the bucket answers; raises what of that fails."""
        self._conf = conf
        self._options = options
        self._dry = dry
        self._diffdir = DiffDir.of(conf, storage.url, writable=not dry)
        self._own_paths = _own_paths(conf, storage, options.log_file)
        self._hooks = Hooks(conf, day=options.day, log_file=options.log_file)
        self._tasks: dict[str, Task] = {}  # what was to be done, also by what failed
        self.ended: list[Result] = []
        self._envelope = open_envelope(conf)
        self.warnings = [*self._envelope.warnings, *_missing_programs(conf)]
        try:
            storage.check()
            if isinstance(storage, Retaining):
                storage.check_lock()
            signer = open_signer(conf)
        except BaseException:
            self._envelope.close()
            raise
        if signer is not None and signer.warning:
            self.warnings.append(signer.warning)
        self._setting = RunSetting(
            conf=conf.file.name,
            host=conf["Host"],
            machine=self._diffdir.machine,
            storage=storage,
            endpoint=conf["Endpoint"],
            temp_dir=conf["TempDir"] or conf["DiffDir"],
            catalog=Catalog(storage, conf["Host"], trust_of(conf)),
            envelope=self._envelope,
            crew=Crew(workers()),
            signer=signer,
        )

    def close(self) -> None:
        """Remove what gpg needed."""
        self._setting.crew.close()
        self._envelope.close()

    def execute(self) -> list[Result]:
        """Run every job that is due, ``Parallel`` at a time; a failure of one never stops the others.

        The results come in the order of the conf.
        """
        if self._conf["StoreConf"] and not encrypted(self._conf.settings):
            logger.debug("{}: is not stored, for nothing is encrypted", self._conf.file)
        calls = (call for job in self._conf.jobs for call in self._expanded(job))
        results = abreast(calls, 1 if self._dry else self._conf["Parallel"])
        self.warnings += _idle_excludes(results)
        return results

    def _expanded(self, job: Job) -> Sequence[Callable[[], Result]]:
        """Return what runs a job, or each one that it stands for, as far as they are asked for."""
        only = self._options.only
        whole = not only or job.name in only
        try:
            jobs = expand(job)
        except S3napError as error:
            if not whole:
                return []
            return [partial(self._one, job, error)]
        return [partial(self._one, each) for each in jobs if whole or each.name in only]

    def _one(self, job: Job, trouble: S3napError | None = None) -> Result:
        """Run one job, or report that there was ``trouble`` before."""

        def act() -> Result:
            if trouble is not None:
                raise trouble
            return self._planned(job) if self._dry else self._locked(job, hooks)

        hooks = JobHooks(self._hooks, job)
        with logger.contextualize(job=job.name):
            result = judged(job, act)
            if not self._dry:
                hooks.conclude(result)
            for warning in result.warnings:
                logger.warning("{}: {}", job.name, warning)
        self.ended.append(result)
        return result

    def _planned(self, job: Job) -> Result:
        state = self._diffdir.job(job.name)
        known = self._setting.catalog.job(job.name, state.manifests)
        try:
            source: Source | None = make_source(job, self._own_paths)
        except SourceError as error:
            known.unreadable.append(str(error))
            source = None
        task = self._decide(job, known, state, source)
        result = Result(
            job=job, task=task, outcome="would run" if task.action == "backup" else "skipped", message=task.reason
        )
        return warned(result, self._doubts(task, known))

    def _doubts(self, task: Task, known: JobCatalog) -> list[str]:
        """All that is wrong with what is stored of a job."""
        today, machine = day_number(self._options.day), self._setting.machine
        return [
            *task.warnings,
            *known.doubts,
            *lost(known.archives, known.missing, task.job.cycle, today, machine),
            *breaks(known.archives, task.job.cycle, all_read=not known.doubts),
        ]

    def _decide(self, job: Job, known: JobCatalog, state: JobState, source: Source | None) -> Task:
        installed = state.installed()
        return decide(
            job,
            known.archives,
            day=self._options.day,
            machine=self._setting.machine,
            state_id=state_id(*installed) if installed is not None else None,
            options=source.options if source is not None else "",
            encryption=self._envelope.encryption,
            force=self._options.force,
            full=self._options.full,
        )

    def _locked(self, job: Job, hooks: JobHooks) -> Result:
        state = self._diffdir.job(job.name)
        with state.lock():
            result = judged(job, lambda: self._decided(job, state, hooks))
            result.task = result.task or self._tasks.get(job.name)
            hooks.conclude(result)
            return result

    def _decided(self, job: Job, state: JobState, hooks: JobHooks) -> Result:
        repair(self._setting.catalog, state)
        known = self._setting.catalog.job(job.name, state.manifests, keep_copies=True)
        source = make_source(job, self._own_paths)
        task = self._tasks[job.name] = self._decide(job, known, state, source)
        for note in task.notes:
            logger.info("{}: {}", job.name, note)
        doubts = self._doubts(task, known)
        skip = task.reason if task.action == "skip" else hooks.before(task)
        if skip is not None:
            logger.info("Skipping {}: {}", job.name, skip)
            return warned(Result(job=job, task=task, outcome="skipped", message=skip), doubts)
        if job["Before"]:  # what is there may only now be what is to be backed up
            source = make_source(job, self._own_paths)
            task = self._tasks[job.name] = self._decide(job, known, state, source)
        return self._made(task, source, state, known, doubts)

    def _made(self, task: Task, source: Source, state: JobState, known: JobCatalog, doubts: Sequence[str]) -> Result:
        task, manifest, outcome = self._archive(task, source, state, known)
        archive = Archive(manifest)
        known.archives.append(archive)
        today = day_number(self._options.day)
        sweep(self._setting.catalog, task.job, known, state, today=today, machine=self._setting.machine)
        result = Result(
            job=task.job,
            task=task,
            outcome="done",
            message=task.reason,
            manifest=manifest,
            level=sum(1 for _ in lineage(archive, known.by_run)) - 1,
            unmatched=outcome.unmatched,
        )
        wrong = faults(manifest)
        return warned(result, [*doubts, *wrong, *outcome.warnings], matter=bool(doubts or wrong))

    def _archive(
        self, task: Task, source: Source, state: JobState, known: JobCatalog
    ) -> tuple[Task, Manifest, Outcome]:
        try:
            return task, *self._attempt(task, source, state, known)
        except RetryFullError as error:
            logger.warning("{}: {}; making one now", task.job.name, error)
            again = replace(task, type=Type.FULL, parent=None, reason=f"{task.reason}; {error}")
            return again, *self._attempt(again, source, state, known)

    def _attempt(self, task: Task, source: Source, state: JobState, known: JobCatalog) -> tuple[Manifest, Outcome]:
        """Make one archive; after an error nothing of it is left but what an in-doubt commit may need."""
        archiving = begin(self._setting, task, source, state, known)
        logger.info("{}: {} into slot {} as {}: {}", task.job.name, task.type, task.slot, archiving.run, task.reason)
        state.note("runs", archiving.at, phase="started")
        try:
            with (
                state.workspace() as work,
                self._options.show(task.job.name, estimate(known.archives, task.type, source.stream, work)) as advance,
            ):

                def progress(size: int) -> None:
                    interruption.check()
                    advance(size)

                manifest, outcome = archiving.make(work, progress)
        except BaseException:
            if not archiving.sent:
                self._abandon(archiving.at, state)
            raise
        state.install(manifest.run if outcome.state is not None else None)
        state.forget("runs", manifest.run)
        return manifest, outcome

    def _abandon(self, at: ArchiveName, state: JobState) -> None:
        """Remove what a failed run has stored; what cannot be removed now, the next start removes."""
        try:
            abandon(self._setting.catalog, at, state)
        except (StorageError, OSError) as error:
            logger.warning("what {} has stored so far stays until the next run: {}", at.run, error)


def _own_paths(conf: Conf, storage: Storage, log_file: Path | None) -> tuple[Path, ...]:
    """Return s3nap's own files, which no archive shall hold."""
    local = [Path(unquote(storage.url.removeprefix("file://")))] if storage.url.startswith("file://") else []
    return tuple(path for path in (conf["DiffDir"], conf["TempDir"], log_file, *local) if path is not None)


def open_envelope(conf: Conf) -> Envelope:
    """Return the envelope that a conf asks for; RecipientError if a recipient cannot be used."""
    return Envelope(
        recipients=conf["GpgRecipient"] or (),
        keyring=conf["GpgKeyring"],
        passphrase=read_passphrase(conf["GpgPassphraseFile"]),
        now=datetime.now(UTC),
    )


def _idle_excludes(results: Sequence[Result]) -> list[str]:
    """Name Exclude patterns that matched nothing in any job they apply to, if all of those ran today."""
    ran: dict[str, list[bool]] = {}
    for result in results:
        for pattern in result.job["Exclude"] or () if result.job.kind == "Directory" else ():
            idle = result.unmatched is not None and pattern in result.unmatched
            ran.setdefault(pattern, []).append(idle)
    return [f"Exclude {pattern} matched nothing: is it spelt right?" for pattern, idle in ran.items() if all(idle)]


def _missing_programs(conf: Conf) -> list[str]:
    """Name programs that restoring with plain sh will need and that are not here."""
    wanted = {compression for job in conf.jobs if (compression := job["Compression"].name) != "none"}
    missing = []
    for name in sorted(wanted):
        try:
            pipeline.find(name)
        except S3napError:
            missing.append(
                f"{name} is not installed: archives are made, but their recipe does not run here; install it"
            )
    return missing
