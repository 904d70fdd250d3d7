"""Database servers: asked through their own clients, and what their numbers say about a dump."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

from s3nap import pipeline
from s3nap.errors import ProgramError, VerificationError
from s3nap.manifest import Manifest

_SHRUNK = 2  # a source with less than one half of its tables is suspicious
_FEW = 4  # unless it was that small before


def ask(argv: Sequence[str], seconds: int | None = None, *, env: Mapping[str, str] | None = None) -> str:
    """Return what a client prints; ProgramError, in its words, unless it ends with 0 and within ``seconds``."""
    expired = threading.Event()
    with tempfile.TemporaryFile(prefix="s3nap-") as printed:
        program = pipeline.start(argv, stdout=printed, env=env)

        def expire() -> None:
            expired.set()
            program.stop()

        timer = threading.Timer(seconds if seconds is not None else threading.TIMEOUT_MAX, expire)
        timer.daemon = True
        if seconds is not None:
            timer.start()
        try:
            ended = program.wait()
        except BaseException:
            program.kill()
            raise
        finally:
            timer.cancel()
            program.stderr.close()
        if expired.is_set():
            raise ProgramError(f"{ended.name} got no answer within Timeout ({seconds} seconds) and was killed")
        ended.check()
        printed.seek(0)
        return printed.read().decode(errors="surrogateescape")


def either(programs: Sequence[str]) -> str:
    """Return the first of these programs that is installed; ProgramError if none is."""
    for program in programs:
        try:
            pipeline.find(program)
        except ProgramError:
            continue
        return program
    raise ProgramError(f"neither {' nor '.join(programs)} is installed or on PATH: install one of them")


def taken(options: Sequence[str], names: Collection[str], *, alone: tuple[str, ...] = ()) -> list[str]:
    """Return those of a dump's options that its client needs, too, each with its value.

    ``names`` are options with a value, as ``--host`` and ``-h``; ``alone`` begins options whose value is joined.
    """
    found: list[str] = []
    words = iter(options)
    for word in words:
        if word.partition("=")[0] in names:
            found.append(word)
            if word in names:
                found += [next(words, "")]
        elif (not word.startswith("--") and word[:2] in names) or word.startswith(alone):
            found.append(word)
    return found


def digest(*facts: object) -> str:
    """Return the digest of what shapes an archive."""
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogateescape")).hexdigest()


def brake(what: str, tables: int, before: int | None) -> str | None:
    """Say why an archive must not push out older ones: the tables are gone, or most of them."""
    if not before:
        return None
    if tables == 0:
        return f"{what} holds no tables, it held {before}: is it the right server, and may we see them?"
    if before >= _FEW and tables * _SHRUNK < before:
        return f"{what} holds {tables} tables, it held {before}: were they dropped, or may we no longer see them?"
    return None


def steady(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int | str]:
    """Return the numbers that did not change while a dump ran: the dump must have just these."""
    return {what: number for what, number in before.items() if after.get(what, 0) == number}


def compare(manifest: Manifest, loaded: Mapping[str, int], where: str, *, more: bool = False) -> None:
    """Raise VerificationError unless a server holds as much as the archive's proof says, or ``more``."""
    wrong = list(_differences(manifest, loaded, more=more))
    if wrong:
        raise VerificationError(f"loaded into {where}, but not as it was: {', '.join(wrong)}")


def _differences(manifest: Manifest, loaded: Mapping[str, int], *, more: bool) -> Iterator[str]:
    for what, wanted in manifest.proof.items():
        if isinstance(wanted, int):
            there = loaded.get(what, 0)
            if there < wanted or (there > wanted and not more):
                yield f"{there} {what} instead of {wanted}"
