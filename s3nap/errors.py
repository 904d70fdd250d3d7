"""Every error that s3nap reports, one tree, an exit status per class (README: Exit statuses).

A message says what failed, on what, why, and what to do. Errors of libraries are translated once, where the
library is called. Only those who can act catch one: the run loop (on with the next job) and ``cli.main``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Exit(IntEnum):
    """Exit statuses of the command line."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    WARNINGS = 3
    BUCKET = 10
    LOCKED = 11
    KEY = 12
    VERIFICATION = 13
    NOTHING = 14
    INTERRUPTED = 130


class S3napError(Exception):
    """Root of the tree; what has no status of its own ends the process with 1."""

    status: ClassVar[Exit] = Exit.FAILED


class UsageError(S3napError):
    """The command line asks for something that cannot be."""

    status = Exit.USAGE


class Excerpt(NamedTuple):
    """A line of a conf as it stands in the file; what is wrong in it begins at ``start`` and ends before ``end``."""

    line: str
    start: int
    end: int


class ConfError(S3napError):
    """The configuration is wrong; holds every fault found, each ``file:line: what is wrong; what to do``.

    ``excerpts`` are the lines of those faults that stand in a line, by the fault's text.
    """

    status = Exit.USAGE

    def __init__(self, faults: Sequence[str], excerpts: Mapping[str, Excerpt] | None = None) -> None:
        """Take the faults in the order in which they stand in the file."""
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)
        self.excerpts = dict(excerpts or {})

    @classmethod
    def of(cls, errors: Sequence[ConfError]) -> ConfError:
        """Make one error of those of several confs."""
        excerpts = {fault: excerpt for error in errors for fault, excerpt in error.excerpts.items()}
        return cls([fault for error in errors for fault in error.faults], excerpts)


class SourceError(S3napError):
    """What was to be backed up could not be read, or the program that reads it failed."""


class RetryFullError(SourceError):
    """The source changed in a way that a DIFF cannot hold; a FULL made at once can."""


class ProgramError(S3napError):
    """A program is missing, could not be started, or ended badly."""


class StorageError(S3napError):
    """The storage failed, after retries. Never confused with a failure to read the source."""


class NoSuchObjectError(StorageError):
    """The storage answered that there is no object of this key."""


class DeniedError(StorageError):
    """The storage refused one operation; others may be allowed (put-only credentials, Object Lock)."""


class BucketError(StorageError):
    """The bucket is missing, denied or out of reach: nothing can be done with this storage."""

    status = Exit.BUCKET


class InDoubtError(StorageError):
    """A manifest was sent and its arrival could not be confirmed: the run may or may not be committed."""


class LockedError(S3napError):
    """Another s3nap works on the same job."""

    status = Exit.LOCKED


class NoKeyError(S3napError):
    """There is no key, or the wrong one, to open an archive."""

    status = Exit.KEY


class RecipientError(S3napError):
    """A GpgRecipient is unknown, expired, revoked or ambiguous; or SignKey cannot sign."""

    status = Exit.KEY


class VerificationError(S3napError):
    """Stored or restored data is not what the manifest promises."""

    status = Exit.VERIFICATION


class NewerFormatError(VerificationError):
    """An archive was written by a newer s3nap: it may be whole, but this version cannot tell."""


class UntrustedError(VerificationError):
    """A manifest that no trusted signer has signed as it is: it counts for nothing."""


class NothingMatchesError(S3napError):
    """No job, archive or file matches what was asked for."""

    status = Exit.NOTHING
