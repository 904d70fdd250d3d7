"""Before, After and OnError: the user's commands around a run and around each job, bounded by Timeout.

What a hook prints goes to the log. It is told by its environment what it runs for (README: Hooks). After an
interruption none is started; one at work is killed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import IO

from loguru import logger

from s3nap import interruption, pipeline
from s3nap.errors import Exit, ProgramError
from s3nap.hookvalues import Hook
from s3nap.job import Conf, Job
from s3nap.logs import mask, one_line
from s3nap.names import readable
from s3nap.pipeline import Ended
from s3nap.plan import Task
from s3nap.results import ConfResult, Result, word_of

NAMES = ("Before", "After", "OnError")
NOT_NOW = os.EX_TEMPFAIL
"""Status by which a Before says that this is not the time."""

_SHOWN = 64 << 10  # bytes of a hook's output, its end


class Hooks:
    """What all hooks of one run of one conf are told."""

    def __init__(self, conf: Conf, *, day: date, log_file: Path | None) -> None:
        """``log_file``: where messages go, if to a file."""
        self.conf = conf
        self._environment = {
            "S3NAP_CONF": str(conf.file.absolute()),
            "S3NAP_HOST": conf["Host"],
            "S3NAP_DAY": day.isoformat(),
            "S3NAP_LOG": str(log_file or ""),
        }

    def before(self, hooks: Sequence[Hook], facts: Mapping[str, str], title: str, seconds: int | None) -> str | None:
        """Run hooks in turn; return why to skip what they stand before, None if it is to go on; ProgramError."""
        for hook in hooks:
            ended = self._run("Before", hook, facts, title, seconds)
            if ended.status == NOT_NOW:
                return mask(f"Before says not now: {_called(ended, hook)} ended with status {NOT_NOW}{_reason(ended)}")
            if ended.status != 0:
                raise ProgramError(f"Before failed, so nothing was done: {_how(ended, hook)}")
        return None

    def after(
        self, name: str, hooks: Sequence[Hook], facts: Mapping[str, str], title: str, seconds: int | None
    ) -> list[str]:
        """Run hooks in turn, all of them; return what went wrong with them."""
        wrong = []
        for hook in hooks:
            try:
                ended = self._run(name, hook, facts, title, seconds)
                if ended.status != 0:
                    wrong.append(f"{name} failed: {_how(ended, hook)}")
            except ProgramError as error:
                wrong.append(str(error))
        return [mask(each) for each in wrong]

    def _run(self, name: str, hook: Hook, facts: Mapping[str, str], title: str, seconds: int | None) -> Ended:
        interruption.check()
        logger.debug("{}: {}: {}", title, name, hook)
        told = {**self._environment, **facts, "S3NAP_HOOK": name}
        env = {key: value.replace("\0", "") for key, value in told.items()}
        try:
            with tempfile.TemporaryFile(prefix="s3nap-") as said:
                argv = pipeline.command(hook.words, by_shell=hook.by_shell)
                program = pipeline.start(argv, stdout=said, stderr=said, env=env)
                with program.ending():
                    try:
                        return program.wait(seconds)
                    finally:
                        for line in _lines(said):
                            logger.info("{}: {}: {}", title, name, line)
        except ProgramError as error:
            raise ProgramError(f"{name} failed: {error}") from error


class RunHooks:
    """The hooks that stand at the top level, around the whole run of a conf."""

    def __init__(self, hooks: Hooks) -> None:
        """Nothing is run yet."""
        self._hooks = hooks
        self._conf = hooks.conf
        self._title = f"run of {self._conf.file.name}"

    def before(self) -> str | None:
        """Return why the run is to be skipped, None if it is to go on; ProgramError if a Before fails."""
        return self._hooks.before(self._conf["Before"], {}, self._title, self._conf["Timeout"])

    def conclude(self, run: ConfResult) -> None:
        """Run After, or OnError if the run or a job failed; what goes wrong with them is added to the run."""
        name = "OnError" if run.word == "failed" else "After"
        count = {word: sum(result.outcome == word for result in run.results) for word in ("done", "skipped", "failed")}
        facts = {
            "S3NAP_RESULT": run.word,
            "S3NAP_STATUS": str(int(run.status)),
            "S3NAP_MESSAGE": one_line(mask(run.error or _first_trouble(run.results))),
            "S3NAP_RAW_SIZE": str(sum(result.manifest.raw_size for result in run.results if result.manifest)),
            "S3NAP_STORED_SIZE": str(sum(result.manifest.stored_size for result in run.results if result.manifest)),
            **{f"S3NAP_{word.upper()}": str(number) for word, number in count.items()},
        }
        wrong = self._hooks.after(name, self._conf[name], facts, self._title, self._conf["Timeout"])
        run.warnings += wrong
        if wrong and run.status is Exit.DONE:
            run.extra = Exit.WARNINGS


class JobHooks:
    """The hooks of one job: those of its block, else of its Cycle."""

    def __init__(self, hooks: Hooks, job: Job) -> None:
        """Nothing is run yet."""
        self._hooks = hooks
        self._job = job
        self._facts = {"S3NAP_JOB": job.name, "S3NAP_KIND": job.kind, "S3NAP_SOURCE": job.source}
        self._concluded = False

    def before(self, task: Task) -> str | None:
        """Return why the job is to be skipped, None if it is to go on; ProgramError if a Before fails."""
        facts = {**self._facts, **_of_task(task)}
        return self._hooks.before(self._job["Before"], facts, readable(self._job.name), self._job["Timeout"])

    def conclude(self, result: Result) -> None:
        """Run After if the job was done, OnError if it failed, once; what goes wrong with them is added to the result.

        An After that fails makes of done: done with warnings, for what it was to put right is not.
        """
        name = {"done": "After", "failed": "OnError"}.get(result.outcome)
        if name is None or self._concluded:
            return
        self._concluded = True
        facts = {**self._facts, **(_of_task(result.task) if result.task else {}), **_of_result(result)}
        title = readable(self._job.name)
        wrong = self._hooks.after(name, self._job[name], facts, title, self._job["Timeout"])
        result.warnings += wrong
        if wrong and result.status is Exit.DONE:
            result.status = Exit.WARNINGS


def outline(conf: Conf, results: Iterable[Result]) -> list[str]:
    """Say which hooks a run would start, a line each."""
    lines = [f"{name} of the run: {hook}" for name in NAMES for hook in conf[name]]
    for result in results:
        if result.outcome == "would run":
            title = readable(result.job.name)
            lines += [f"{name} of {title}: {hook}" for name in NAMES for hook in result.job[name]]
    return [one_line(mask(line)) for line in lines]


def _of_task(task: Task) -> dict[str, str]:
    return {"S3NAP_SLOT": str(task.slot), "S3NAP_TYPE": task.type.value}


def _of_result(result: Result) -> dict[str, str]:
    facts = {
        "S3NAP_RESULT": word_of(result.status),
        "S3NAP_STATUS": str(int(result.status)),
        "S3NAP_MESSAGE": one_line(mask(result.message)),
        "S3NAP_SECONDS": f"{result.seconds:.0f}",
    }
    if result.manifest is not None:
        facts |= {
            "S3NAP_RUN": result.manifest.run,
            "S3NAP_RAW_SIZE": str(result.manifest.raw_size),
            "S3NAP_STORED_SIZE": str(result.manifest.stored_size),
            "S3NAP_FILES": str(result.manifest.files),
        }
    return facts


def _first_trouble(results: Iterable[Result]) -> str:
    return next((result.message for result in results if result.outcome in {"failed", "locked"}), "")


def _lines(said: IO[bytes]) -> list[str]:
    """Return the end of what a hook has said, line by line."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _SHOWN))
    text = said.read().decode(errors="backslashreplace")
    left_out = [f"… {size - _SHOWN} bytes before this are left out"] if size > _SHOWN else []
    return [*left_out, *(line.rstrip() for line in text.splitlines() if line.strip())]


def _called(ended: Ended, hook: Hook) -> str:
    """Name the program, or what was given to the shell."""
    return str(hook) if hook.by_shell else ended.name


def _reason(ended: Ended) -> str:
    said = [line.strip() for line in ended.said.splitlines() if line.strip()]
    return f" ({said[-1]})" if said else ""


def _how(ended: Ended, hook: Hook) -> str:
    """Say how it ended, by its last words only: all of them are in the log."""
    last = Ended(argv=(_called(ended, hook),), status=ended.status, said="")
    return f"{_called(ended, hook)}{last.describe().removeprefix(last.name)}{_reason(ended)}"
