"""The daily run on the command line: one conf after the other, its hooks around it, who is told, the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import access, commands, report
from s3nap.errors import ConfError, Exit, S3napError
from s3nap.logs import LogSetup, mask
from s3nap.logtail import tail
from s3nap.priority import yield_to_others
from s3nap.progress import on_terminal
from s3nap.results import ConfResult, worst
from s3nap.runreport import Report
from s3nap.telling import Telling
from s3nap.when import day_or_today


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the command line asks for."""

    day: date
    only: Sequence[str]
    dry: bool
    force: bool
    full: bool
    quiet: bool


def run(  # noqa: PLR0913 - what the command line says
    *,
    confs: Sequence[Path],
    jobs: Sequence[str],
    dry: bool,
    day: str | None,
    report_file: str | None = None,
    full: bool = False,
    **options: Any,  # noqa: ANN401 - click's options
) -> int:
    """Do the daily run, or with ``dry`` say what it would do; confs one after the other."""
    written = Report(report_file, confs) if report_file else None
    runs: list[ConfResult] = []
    status, errors = Exit.FAILED, list[str]()
    try:
        loaded = commands.load(confs)
        wanted = _Wanted(
            day=day_or_today(day),
            only=[job.name for each in jobs for job in commands.chosen(loaded, each)],
            dry=dry,
            force=options["force"],
            full=full,
            quiet=bool(options["quiet"]),
        )
        for conf in loaded:
            runs.append(ConfResult(conf=conf))
            with commands.logging(conf, options, quiet=dry) as setup:
                _whole(runs[-1], setup, wanted)
                if report_file != "-" and (dry or not wanted.quiet):
                    _summary(runs[-1], dry=dry)
        status = worst([each.status for each in runs])
    except S3napError as error:
        status, errors = error.status, list(error.faults) if isinstance(error, ConfError) else [str(error)]
        raise
    except KeyboardInterrupt:
        status = Exit.INTERRUPTED
        raise
    finally:
        if written is not None:
            status = written.write(status, runs, errors)
    return status


def _whole(run: ConfResult, setup: LogSetup, wanted: _Wanted) -> None:
    """Run a conf, and tell of it; an interruption is told, too, and goes on."""
    with tail() as messages:
        known = Telling(run.conf, whole=not wanted.only)
        telling = known if not wanted.dry else None
        try:
            _hooked(run, setup, wanted, telling)
        except KeyboardInterrupt:
            run.extra = Exit.INTERRUPTED
            logger.warning("{}: interrupted", run.conf.file)
            raise
        except BaseException as error:
            run.extra, run.error = Exit.FAILED, f"a fault of s3nap's own: {type(error).__name__}"
            raise
        finally:
            run.finished = datetime.now(UTC).astimezone()
            if telling is not None:
                telling.end(run, messages)


def _hooked(run: ConfResult, setup: LogSetup, wanted: _Wanted, telling: Telling | None) -> None:
    """Run a conf between its own hooks; what ends it as a whole is in the result."""
    from s3nap.hooks import Hooks, RunHooks  # noqa: PLC0415 - not needed when the conf is wrong

    hooks = RunHooks(Hooks(run.conf, day=wanted.day, log_file=setup.log_file))
    try:
        if telling is not None:
            run.skipped = hooks.before() or ""
            if run.skipped:
                logger.info("Skipping the run of {}: {}", run.conf.file, run.skipped)
                return
            telling.start()
        _jobs(run, setup, wanted)
    except S3napError as error:
        logger.error("{}: {}", run.conf.file, error)
        run.error, run.extra = mask(str(error)), error.status
    except OSError as error:
        run.error, run.extra = f"{error.filename or 'the system'}: {error.strerror}", Exit.FAILED
        logger.error("{}: {}", run.conf.file, run.error)
    if telling is not None:
        before = len(run.warnings)
        hooks.conclude(run)
        for warning in run.warnings[before:]:
            logger.warning("{}: {}", run.conf.file, warning)


def _jobs(run: ConfResult, setup: LogSetup, wanted: _Wanted) -> None:
    from s3nap.backup import Options, Run  # noqa: PLC0415 - not needed when the conf is wrong

    conf, dry = run.conf, wanted.dry
    options = Options(
        day=wanted.day,
        force=wanted.force,
        full=wanted.full,
        only=wanted.only,
        log_file=setup.log_file,
        show=on_terminal(quiet=wanted.quiet or dry),
    )
    if not dry:
        for refused in yield_to_others(conf["Nice"], conf["IoClass"]):
            logger.warning("{}: {}", conf.file, refused)
    execution = Run(conf, access.storage_of(conf), options, dry=dry)
    run.results = execution.ended  # so that an interruption leaves what is done
    try:
        run.results = execution.execute()
        for warning in execution.warnings:
            logger.warning("{}: {}", conf.file, warning)
            run.warnings.append(mask(warning))
    finally:
        execution.close()


def _summary(run: ConfResult, *, dry: bool) -> None:
    if run.error or run.skipped:
        return
    if not dry:
        click.echo(report.results_text(run.results), nl=False)
        return
    from s3nap.hooks import outline  # noqa: PLC0415 - as above

    click.echo(report.tasks_text(run.results, run.conf["Host"]), nl=False)
    hooks = outline(run.conf, run.results)
    if hooks:
        click.echo("\n".join(["Hooks, none of which was run:", *(f"  {line}" for line in hooks)]))
