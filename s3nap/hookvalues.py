"""How the values of hooks, Notify and Ping are read, as ``values`` says; what they hold is never shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from s3nap.values import ValueType, Words

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#].*", re.IGNORECASE)
_SHORT = 8  # characters: below that a part of a URL is a word as others are


class Hook(NamedTuple):
    """A command that Before, After or OnError names; ``by_shell``: is it for /bin/sh?"""

    words: Words
    by_shell: bool = False

    def __str__(self) -> str:
        return " ".join(self.words) if self.by_shell else shlex.join(self.words)


@dataclass(frozen=True, slots=True)
class SecretUrl:
    """A URL of which any part may be a key: shown as ``https://host/***``, or the scheme alone."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        url = urlsplit(self.text)
        return f"{url.scheme}://{url.hostname}/***" if url.scheme in {"http", "https"} else f"{url.scheme}://***"

    def secrets(self) -> Iterator[str]:
        """Yield what must reach no log: the whole, its password, and all parts that are long enough to be keys.

        A host with a dot in its name is none; services' tokens, which also stand at the host's place, have no dot.
        """
        scheme, _, rest = self.text.partition("://")
        yield from (self.text, rest)
        place, _, path = rest.partition("/")
        user, _, host = place.rpartition("@")
        yield from filter(None, (user, user.partition(":")[2], unquote(user.partition(":")[2])))
        beside = [] if "." in host or host.startswith("localhost") or scheme in {"http", "https"} else [host]
        parts = re.split(r"[/?&=:@,]", "/".join([user, path, *beside]))
        yield from (each for part in parts for each in {part, unquote(part)} if len(each) >= _SHORT)


def _hook(words: Words) -> tuple[Hook]:
    """One line is one command; the lines of a directive add up."""
    return (Hook(words),)


def _url(word: str) -> SecretUrl:
    if not _URL.fullmatch(word):
        raise ValueError("that is no URL; write scheme://…, in quotes, with \\# for a #")
    try:
        _ = urlsplit(word).hostname, urlsplit(word).port if word.lower().startswith("http") else None
    except ValueError:
        raise ValueError("that URL has no possible host or port; correct it") from None
    return SecretUrl(word)


def _urls(words: Words) -> tuple[SecretUrl, ...]:
    return tuple(_url(word) for word in words)


def web_url(words: Words) -> SecretUrl:
    """Return an address that can be asked by HTTP; ValueError does not repeat it."""
    if len(words) != 1 or not words[0].lower().startswith(("http://", "https://")):
        raise ValueError("takes one URL of HTTP; write https://host/key")
    return _url(words[0])


def lines(text: str) -> tuple[SecretUrl, ...]:
    """Return the URLs of a file, one a line; lines that begin with ``#`` are comments. ValueError as for the others."""
    stripped = (line.strip() for line in text.splitlines())
    return _urls(tuple(line for line in stripped if line and not line.startswith("#")))


HOOK = ValueType("command", _hook, several=True)
NOTIFY = ValueType("URL, …", _urls, several=True)
PING = ValueType("URL", web_url)
