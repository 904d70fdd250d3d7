"""Who is told of a run: Ping at its start and end, Notify at its end. What fails here is a warning, and no more."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from loguru import logger

from s3nap import hookvalues
from s3nap.errors import Exit
from s3nap.logs import register_secret
from s3nap.logtail import Tail

if TYPE_CHECKING:
    from s3nap.hookvalues import SecretUrl
    from s3nap.job import Conf
    from s3nap.results import ConfResult


class Telling:
    """Those who are told of the runs of one conf. ``whole``: do all its jobs run? A part of them is not pinged."""

    def __init__(self, conf: Conf, *, whole: bool) -> None:
        """Read where they are told, and see to it that no log shows that."""
        self._conf = conf
        self._ping = _ping_url(conf) if whole else None
        self._notify: tuple[SecretUrl, ...] = ()
        if conf["Notify"] or conf["NotifyFile"] is not None:
            from s3nap.notices import urls  # noqa: PLC0415 - start-up time: few confs have any

            try:
                self._notify = urls(conf)
            except (OSError, ValueError) as error:
                logger.warning("{}: NotifyFile cannot be read: {}", conf.file, error)
        for url in (*self._notify, *([self._ping] if self._ping is not None else [])):
            for secret in url.secrets():
                register_secret(secret)
        if conf["Ping"] is not None and self._ping is None:
            logger.debug("{}: not all jobs run, so {} is not asked", conf.file, conf["Ping"])

    def start(self) -> None:
        """Say that a run begins."""
        self._pinged("start")

    def end(self, run: ConfResult, tail: Tail) -> None:
        """Say how a run ended; with the end of its log, for the check."""
        if not run.skipped:  # a run that is put off again and again shall be missed
            self._pinged("" if run.status is Exit.DONE else "fail", tail.text())
        if not self._notify:
            return
        from s3nap import notices  # noqa: PLC0415 - start-up time

        if not notices.wanted(self._conf, run.word):
            return
        for url in self._notify:
            if wrong := notices.notify(url, run):
                logger.warning("{}: the notice to {} did not go out: {}", self._conf.file, url, wrong)

    def _pinged(self, word: str, text: str = "") -> None:
        if self._ping is None:
            return
        from s3nap.ping import ping  # noqa: PLC0415 - start-up time

        if wrong := ping(self._ping, word, text):
            logger.warning("{}: Ping {} {}: {}", self._conf.file, self._ping, word or "success", wrong)


def _ping_url(conf: Conf) -> SecretUrl | None:
    file, url = conf["PingFile"], conf["Ping"]
    if file is not None:
        with suppress(OSError, ValueError):  # it was checked when the conf was read
            url = hookvalues.web_url(tuple(file.read_text("utf-8").split()))
    return url if url is None or isinstance(url, hookvalues.SecretUrl) else None
