"""Reading a dump: with a limit of time, and through a temporary file where the conf wants that."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from s3nap.chunks import TAIL
from s3nap.errors import SourceError
from s3nap.sources import Dump, Outcome

_BLOCK = 1 << 20


@contextmanager
def deadline(dump: Dump, seconds: int | None) -> Iterator[None]:
    """Kill the dump if the block has not ended within ``seconds`` (None: no limit); SourceError says so."""
    if seconds is None:
        yield
        return
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        dump.abort()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if expired.is_set():
            raise SourceError(f"the dump did not end within Timeout ({seconds} seconds) and was killed") from error
        raise
    finally:
        timer.cancel()


def spool(dump: Dump, folder: Path) -> tuple[IO[bytes], Outcome]:
    """Write the whole dump to a private file in ``folder`` (UseTempFile); return the file, and what the dump came to.

    A server is so not kept waiting by a slow upload. The file has no name: it is gone however this process ends.
    """
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
    try:
        size, tail = 0, b""
        while piece := dump.stdout.read(_BLOCK):
            file.write(piece)
            size += len(piece)
            tail = (tail + piece)[-TAIL:]
        file.flush()
        outcome = dump.finish(size, tail)
        file.seek(0)
    except OSError as error:
        file.close()
        raise SourceError(f"the temporary file in TempDir {folder} cannot be written: {error.strerror}") from error
    except BaseException:
        file.close()
        raise
    return file, outcome
