"""What became of the jobs of a run, and of the run of a conf as a whole; which exit status that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from loguru import logger

from s3nap import interruption
from s3nap.errors import Exit, S3napError
from s3nap.job import Conf, Job
from s3nap.logs import mask
from s3nap.manifest import Manifest
from s3nap.plan import Task

Word = Literal["done", "warnings", "locked", "skipped", "failed", "interrupted"]


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of one job: sizes in bytes, time in seconds; ``status`` as the process would end for it alone.

    ``level``: how many ancestors the archive needs, 0 for a FULL.
    """

    job: Job
    task: Task | None = None
    outcome: Literal["done", "skipped", "failed", "locked", "would run"]
    status: Exit = Exit.DONE
    message: str = ""
    manifest: Manifest | None = None
    level: int | None = None
    seconds: float = 0.0
    unmatched: Sequence[str] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class ConfResult:
    """What became of the run of one conf. ``error``: why it ended before its jobs, or between them."""

    conf: Conf
    results: Sequence[Result] = ()
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    skipped: str = ""
    extra: Exit = Exit.DONE
    started: datetime = field(default_factory=lambda: datetime.now(UTC).astimezone())
    finished: datetime | None = None

    @property
    def status(self) -> Exit:
        """As the process would end for this conf alone."""
        if self.extra is Exit.INTERRUPTED:
            return self.extra
        return worst([*(result.status for result in self.results), self.extra])

    @property
    def word(self) -> Word:
        """The status in a word."""
        return "skipped" if self.skipped and self.status is Exit.DONE else word_of(self.status)


def word_of(status: Exit) -> Word:
    """Return the word for a status of a job or a run."""
    words: dict[Exit, Word] = {
        Exit.DONE: "done",
        Exit.WARNINGS: "warnings",
        Exit.LOCKED: "locked",
        Exit.INTERRUPTED: "interrupted",
    }
    return words.get(status, "failed")


def worst(statuses: Sequence[Exit]) -> Exit:
    """Return one exit status for many: failures before locks before warnings; different failures are 1."""
    failures = {status for status in statuses if status not in {Exit.DONE, Exit.WARNINGS, Exit.LOCKED}}
    if failures:
        return failures.pop() if len(failures) == 1 else Exit.FAILED
    if Exit.LOCKED in statuses:
        return Exit.LOCKED
    return Exit.WARNINGS if Exit.WARNINGS in statuses else Exit.DONE


def judged(job: Job, act: Callable[[], Result]) -> Result:
    """Return the result of a job, with the time it took; its errors become one that has failed, or is locked."""
    begun = time.monotonic()
    try:
        result = act()
    except S3napError as error:
        interruption.check()  # then that is why
        outcome: Literal["locked", "failed"] = "locked" if error.status is Exit.LOCKED else "failed"
        result = Result(job=job, outcome=outcome, status=error.status, message=mask(str(error)))
        logger.error("{}: {}", job.name, error)
    except OSError as error:
        interruption.check()
        message = f"{error.filename or 'DiffDir or TempDir'}: {error.strerror}"
        result = Result(job=job, outcome="failed", status=Exit.FAILED, message=message)
        logger.error("{}: {}", job.name, message)
    result.seconds = time.monotonic() - begun
    return result


def warned(result: Result, warnings: Sequence[str], *, matter: bool = True) -> Result:
    """Add what is to be said; ``matter``: does it change the status?"""
    result.warnings.extend(dict.fromkeys(warnings))
    if result.warnings and matter:
        result.status = Exit.WARNINGS
    return result


def faults(manifest: Manifest) -> list[str]:
    """Return what is wrong with an archive that was committed all the same."""
    brake = f"{manifest.brake} Older archives are kept until `s3nap release {manifest.job}`" if manifest.brake else None
    return [*manifest.warnings, *([brake] if brake else [])]
