"""Notify: people are told of a run by the services that apprise knows; the only user of ``apprise``."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from s3nap import hookvalues
from s3nap.bounded import asked
from s3nap.hookvalues import SecretUrl
from s3nap.logs import one_line
from s3nap.names import readable
from s3nap.results import ConfResult, Result, Word

if TYPE_CHECKING:
    from s3nap.job import Conf

MISSING = "Notify needs apprise, which is not installed: pip install 's3nap[notify]'"

_SECONDS = 30  # for a service, as a whole
_JOBS = 40  # in a notice: what is longer is cut by many services
_TELLS: dict[str, frozenset[Word]] = {
    "failure": frozenset({"failed", "interrupted"}),
    "warning": frozenset({"failed", "interrupted", "warnings", "locked"}),
}


def urls(conf: Conf) -> tuple[SecretUrl, ...]:
    """Return whom a conf tells; OSError or ValueError if NotifyFile cannot be read."""
    file = conf["NotifyFile"]
    return (*conf["Notify"], *(hookvalues.lines(file.read_text("utf-8")) if file is not None else ()))


def wanted(conf: Conf, word: Word) -> bool:
    """Is this to be told?"""
    told = _TELLS.get(conf["NotifyOn"])
    return told is None or word in told


def faults(conf: Conf) -> Iterator[str]:
    """Yield what is wrong with the notices of a conf, as far as apprise itself can tell."""
    if not conf["Notify"] and conf["NotifyFile"] is None:
        return
    if importlib.util.find_spec("apprise") is None:
        yield f"{conf.settings['Notify'].origin.replace('default', str(conf.file))}: {MISSING}"
        return
    import apprise  # noqa: PLC0415 - only for those who have it, and only when needed: 100 ms

    with _listening():
        for url in urls(conf):
            if not apprise.Apprise().add(url.text):
                yield f"{conf.file}: Notify: apprise does not know what {url} is; see its list of services"


def notify(url: SecretUrl, run: ConfResult) -> str:
    """Tell one service; return what went wrong."""
    if importlib.util.find_spec("apprise") is None:
        return MISSING
    title, text = f"s3nap on {run.conf['Host']}: {run.conf.file.name}: {run.word}", body(run)
    return asked(_SECONDS, lambda: _tell(url, title, text, run.word))


def body(run: ConfResult) -> str:
    """Return what is said of a run: what is wrong first, then what became of each job."""
    lines = [line for line in (run.error, run.skipped, *run.warnings) if line]
    results = sorted(run.results, key=lambda result: result.status == 0)
    lines += [_line(result) for result in results[:_JOBS]]
    if len(results) > _JOBS:
        lines.append(f"… and {len(results) - _JOBS} jobs more")
    return "\n".join(one_line(line) for line in lines) or "there was nothing to do"


def _line(result: Result) -> str:
    said: Sequence[str] = [result.message] if result.outcome != "done" else []
    return f"{readable(result.job.name)}: {result.outcome}" + "".join(f"; {text}" for text in (*said, *result.warnings))


def _tell(url: SecretUrl, title: str, text: str, word: Word) -> str:
    import apprise  # noqa: PLC0415 - as in faults

    kinds = {"done": "success", "skipped": "info", "warnings": "warning", "locked": "warning"}
    with _listening() as said:
        service = apprise.Apprise()
        if not service.add(url.text):
            return "apprise does not know what that is"
        kind = apprise.NotifyType(kinds.get(word, "failure"))
        told = service.notify(body=text, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
    return "" if told else "; ".join(said.lines) or "the service refused it"


class _listening(logging.Handler):  # noqa: N801 - reads as a statement
    """Keep what apprise says while it works, which is why a notice did not go out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._logger = logging.getLogger("apprise")

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
