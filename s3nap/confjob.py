"""The job that stores the conf itself, so that a bare machine can be told what there was (``bootstrap``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from s3nap import logconfig, names
from s3nap.cycle import SimpleCycle
from s3nap.directives import CONF, job_specs
from s3nap.job import Job, Setting

_AS_EVERYWHERE = frozenset({"ChunkSize", "Compression", "Timeout", "UseTempFile"})
SECRETS = ("S3KeyFile", "GpgPassphraseFile", "MySQLDefaultsFile", "NotifyFile", "PingFile")
"""Directives that name files which are never stored with the conf."""


def encrypted(settings: Mapping[str, Setting]) -> bool:
    """Does a conf with these top-level settings encrypt what it stores?"""
    return bool(settings["GpgRecipient"].value or settings["GpgPassphraseFile"].value)


def conf_job(path: Path, read: Sequence[Path], settings: Mapping[str, Setting], others: Iterable[Job]) -> Job | None:
    """Return the job that stores a conf, all files that were ``read`` for it, and its logconfig: a FULL a day.

    Its cycle is its own: what the top level says is about what is backed up. None where ``StoreConf`` is off, where
    nothing is encrypted (a conf never leaves the machine unencrypted), or where the conf is no file, but a pipe.
    """
    file = _absolute(path)
    if not settings["StoreConf"].value or not encrypted(settings) or not file.is_file():
        return None
    log = settings["LogConfig"].value or logconfig.PLACES[0]
    keep_out = {secret.resolve() for secret in _secrets(settings, others)}
    wanted = dict.fromkeys((file, *map(_absolute, read), *([_absolute(log)] if log.is_file() else [])))
    own = {
        spec.name: settings[spec.name]
        if spec.name in _AS_EVERYWHERE
        else Setting(value=spec.default_for(CONF), origin="default")
        for spec in job_specs("Directory")
    }
    return Job(
        name=names.job_name(CONF, file.name),
        kind=CONF,
        source=str(file),
        scope=None,
        cycle=SimpleCycle(diffs=own["Diffs"].value, fulls=own["Fulls"].value),
        settings=own,
        origin=str(path),
        files=tuple(each for each in wanted if each.resolve() not in keep_out),
    )


def _absolute(path: Path) -> Path:
    """Return a path as tar may store it: whole, and without ``..``."""
    path = path.absolute()
    return path.parent.resolve() / path.name if ".." in path.parts else path


def _secrets(settings: Mapping[str, Setting], jobs: Iterable[Job]) -> Iterable[Path]:
    for holder in (settings, *(job.settings for job in jobs)):
        for name in SECRETS:
            if name in holder and holder[name].value is not None:
                yield holder[name].value
