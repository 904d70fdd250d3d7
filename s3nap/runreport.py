"""``--report``: what became of a run as one JSON document, for programs (README: Run report)."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from loguru import logger

from s3nap import __version__
from s3nap.errors import Exit, UsageError
from s3nap.logs import mask
from s3nap.report import document
from s3nap.results import ConfResult, Result
from s3nap.state import fsync_folder, private

SCHEMA = 1
"""Version of the document. It grows when a field changes its meaning or goes; new fields do not count."""


class Report:
    """One report in the making. ``target``: a file, or - for standard output."""

    def __init__(self, target: str, confs: Sequence[Path]) -> None:
        """Raise UsageError if the file's folder is not there or not ours to write to."""
        self._target = target
        self._confs = confs
        self._started = _now()
        folder = Path(target).absolute().parent
        if target != "-" and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise UsageError(f"--report {target}: {folder} is no folder that can be written to; make it")
        if target != "-" and Path(target).is_dir():
            raise UsageError(f"--report {target}: that is a folder; name a file")

    def write(self, status: Exit, runs: Sequence[ConfResult], errors: Sequence[str] = ()) -> Exit:
        """Write it; return the status, worse by a warning if that cannot be done."""
        data = {
            "schema": SCHEMA,
            "s3nap": __version__,
            "host": socket.gethostname(),
            "started": self._started,
            "finished": _now(),
            "status": int(status),
            "errors": [mask(error) for error in errors],
            "confs": [_conf(run) for run in runs] or [{"file": str(path)} for path in self._confs],
            "jobs": [job_record(run, result) for run in runs for result in run.results],
        }
        text = document(data) + "\n"
        if self._target == "-":
            click.echo(text, nl=False)
            return status
        try:
            _write(Path(self._target), text.encode())
        except OSError as error:
            logger.error("the report {} was not written: {}", self._target, error.strerror)
            return Exit.WARNINGS if status is Exit.DONE else status
        return status


def job_record(run: ConfResult, result: Result) -> dict[str, Any]:
    """Return what became of a job; sizes in bytes, null where nothing was made."""
    task, manifest = result.task, result.manifest
    return {
        "conf": str(run.conf.file),
        "host": run.conf["Host"],
        "job": result.job.name,
        "kind": result.job.kind,
        "source": result.job.source,
        "day": task.day.isoformat() if task else None,
        "slot": task.slot if task else None,
        "type": task.type.value if task else None,
        "level": result.level,
        "action": task.action if task else None,
        "result": result.outcome,
        "status": int(result.status),
        "reason": task.reason if task else None,
        "message": mask(result.message),
        "warnings": [mask(warning) for warning in result.warnings],
        "error": mask(result.message) if result.outcome in {"failed", "locked"} else None,
        "run": manifest.run if manifest else None,
        "parent": manifest.parent if manifest else None,
        "root": manifest.root if manifest else None,
        "raw_size": manifest.raw_size if manifest else None,
        "stored_size": manifest.stored_size if manifest else None,
        "chunks": manifest.chunks if manifest else None,
        "files": manifest.files if manifest else None,
        "complete": manifest.complete if manifest else None,
        "brake": manifest.brake if manifest else None,
        "seconds": round(result.seconds, 3),
    }


def _conf(run: ConfResult) -> dict[str, Any]:
    return {
        "file": str(run.conf.file),
        "host": run.conf["Host"],
        "storage": run.conf["Bucket"],
        "started": run.started.isoformat(),
        "finished": run.finished.isoformat() if run.finished else None,
        "status": int(run.status),
        "result": run.word,
        "skipped": mask(run.skipped) or None,
        "error": mask(run.error) or None,
        "warnings": [mask(warning) for warning in run.warnings],
    }


def _write(path: Path, data: bytes) -> None:
    """Write a private file, so that whoever reads it at any time reads a whole one."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):  # a pipe, /dev/stderr
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    try:
        with open(temporary, "xb", opener=private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat()
