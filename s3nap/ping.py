"""Ping: a check as healthchecks.io has them is told that a run begins, and how it ended."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from s3nap import __version__
from s3nap.bounded import asked
from s3nap.hookvalues import SecretUrl

_SECONDS = 10  # for each step of a request
_WHOLE = 15  # for a request as a whole
_TRIES = 2


def ping(url: SecretUrl, word: str = "", body: str = "") -> str:
    """Ask the URL, or with ``word`` the one below it (``start``, ``fail``), with a text; return what went wrong."""
    wrong = ""
    for _ in range(_TRIES):
        wrong = asked(_WHOLE, lambda: _ask(_below(url.text, word), body.encode()))
        if not wrong:
            break
    return wrong


def _below(url: str, word: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{word}" if word else parts.path))


def _ask(url: str, body: bytes) -> str:
    from http.client import HTTPException  # noqa: PLC0415 - start-up time: few confs have a Ping
    from urllib.error import HTTPError, URLError  # noqa: PLC0415 - as above
    from urllib.request import Request, urlopen  # noqa: PLC0415 - as above

    headers = {"User-Agent": f"s3nap/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked to be HTTP
    try:
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
            answer.read(1)
    except HTTPError as error:
        return f"the answer is {error.code} {error.reason}"
    except URLError as error:
        return str(error.reason)
    except (HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
