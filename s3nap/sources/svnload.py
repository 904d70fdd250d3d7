"""Loading Subversion dumps into a new repository."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from s3nap import pipeline
from s3nap.errors import S3napError, SourceError, UsageError, VerificationError
from s3nap.manifest import Manifest
from s3nap.sources import LoadOptions
from s3nap.sources.programs import feed
from s3nap.sources.subversion import ENVIRONMENT, ask


class SubversionLoader:
    """Makes a repository, revision by revision; it gets its name only when it is whole.

    Revisions are never loaded over others. With ``overwrite`` an existing repository without revisions is filled, so
    that it may bring its hooks and configuration.
    """

    def __init__(self, manifest: Manifest, options: LoadOptions) -> None:
        """The repository is ``database``, by default where the original was."""
        self._wanted = options.database or manifest.source
        self._path = Path(self._wanted).absolute()
        self._overwrite = options.overwrite
        self._into: Path | None = None

    def check(self) -> None:
        """UsageError if there is something already that must not be loaded into."""
        for program in ("svnadmin", "svnlook"):
            pipeline.find(program)
        if "://" in self._wanted:
            raise UsageError(f"{self._wanted} is a URL; give the path of a new repository on this machine")
        if not os.path.lexists(self._path):
            return
        if not self._overwrite:
            raise UsageError(
                f"{self._path} exists already: give the path of a new repository (--database PATH), --overwrite to "
                "fill one that has no revisions, or --target FILE for the dump alone"
            )
        try:
            youngest = int(ask("youngest", str(self._path)))
        except SourceError as error:
            raise UsageError(f"{self._path} exists already and is no repository that can be filled: {error}") from error
        if youngest:
            raise UsageError(
                f"{self._path} holds {youngest} revisions: nothing is loaded over them, --overwrite or not; "
                "move it away, or give another path (--database PATH)"
            )

    def level(self, manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:
        """Load one dump; an empty one, of a day without commits, is nothing that svnadmin would take."""
        into = self._into = self._into or self._begun()
        if manifest.raw_size == 0:
            deque(pieces, maxlen=0)
            return
        # what old versions let in must come back as it was: without validation
        command = ["svnadmin", "load", "-q", "--force-uuid", "--bypass-prop-validation", str(into)]
        try:
            feed(command, pieces, env=ENVIRONMENT)
        except BaseException:
            self._discard()
            raise

    def _begun(self) -> Path:
        """Return the repository to load into: the one to fill, or a new one beside its later name."""
        if os.path.lexists(self._path):
            return self._path
        into = self._path.with_name(f".s3nap-{secrets.token_hex(8)}")
        try:
            into.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be made: {error.strerror}") from error
        pipeline.run(["svnadmin", "create", str(into)], env=ENVIRONMENT).check()
        return into

    def _discard(self) -> None:
        if self._into is not None and self._into != self._path:
            shutil.rmtree(self._into, ignore_errors=True)

    def finish(self, manifest: Manifest) -> str:
        """Compare youngest revision and UUID; only then give the repository its name."""
        into = self._into = self._into or self._begun()
        try:
            self._compare(into, manifest)
            into.rename(self._path)
        except OSError as error:
            self._discard()
            raise S3napError(f"{self._path} cannot be put in place: {error.strerror}") from error
        except BaseException:
            self._discard()
            raise
        return str(self._path)

    def _compare(self, into: Path, manifest: Manifest) -> None:
        for what, field in (("youngest", "last_revision"), ("uuid", "uuid")):
            expected, found = manifest.proof.get(field), ask(what, str(into))
            if expected is not None and str(expected) != found:
                raise VerificationError(
                    f"{self._path}: loaded, but its {field.replace('_', ' ')} is {found}, not {expected}"
                )
