"""Whatever a command of the user's writes to standard output, and loading it with another.

``Dump``, ``DumpDiff`` and ``Load`` are started as they are split in the conf, by no shell, unless ``Shell On`` asks for
one. All must end with status 0. With ``DumpDiff`` the command keeps a state from run to run: it writes what it must
remember to the file ``S3NAP_NEW_STATE``, and ``DumpDiff`` finds in ``S3NAP_OLD_STATE`` what the last run wrote.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from loguru import logger

from s3nap import pipeline
from s3nap.errors import SourceError, UsageError, VerificationError
from s3nap.job import Job
from s3nap.manifest import Manifest
from s3nap.names import readable
from s3nap.sources import LoadOptions, Outcome
from s3nap.sources.programs import ProgramDump, feed
from s3nap.sources.rawfile import FileLoader

LOAD = "load"
"""Role of the object that holds what Load needs: JSON, ``{"load": [words], "shell": bool}``."""


class CommandSource:
    """One ``Command`` block."""

    stream = "raw"

    def __init__(self, job: Job, own_paths: Sequence[Path]) -> None:  # noqa: ARG002 - the factory's signature
        """Nothing is started before the dump."""
        self.name = job.source
        self._dump: Sequence[str] = job["Dump"]
        self._diff: Sequence[str] = job["DumpDiff"]
        self._load: Sequence[str] = job["Load"]
        self._shell: bool = job["Shell"]

    @property
    def options(self) -> str:
        """Digest of what shapes the archive: the commands."""
        facts = [list(self._dump), list(self._diff), self._shell]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def start(self, work: Path, base: Path | None, previous_files: int | None) -> ProgramDump:
        """Start Dump, or DumpDiff with a copy of the last state."""
        environment = {"S3NAP_NEW_STATE": str(work / "state")} if self._diff else {}
        if base is not None:
            shutil.copyfile(base, work / "old")
            environment["S3NAP_OLD_STATE"] = str(work / "old")

        def judge(raw_size: int, _tail: bytes, said: str) -> Outcome:
            return self._judge(work, raw_size, said, previous_files, full=base is None)

        return ProgramDump(
            pipeline.command(self._dump if base is None else self._diff, by_shell=self._shell), judge, env=environment
        )

    def _judge(self, work: Path, raw_size: int, said: str, previous_files: int | None, *, full: bool) -> Outcome:
        """Take an empty FULL for suspicious, after one that was not; an empty DIFF says that nothing has changed."""
        state = work / "state" if self._diff else None
        if state is not None and (state.is_symlink() or not state.is_file()):
            word = "Dump" if full else "DumpDiff"
            raise SourceError(f"{word} of Command {self.name} wrote no new state to the file $S3NAP_NEW_STATE")
        files = 1 if raw_size or not full else 0
        wrote_nothing = f"Command {self.name} wrote nothing"
        return Outcome(
            state=state,
            files=files,
            warnings=() if files else (wrote_nothing,),
            brake=f"{wrote_nothing}, it did before: is what it reads there?" if not files and previous_files else None,
            log=said,
            extras=self._extras(work),
        )

    def _extras(self, work: Path) -> dict[str, Path]:
        if not self._load:
            return {}
        kept = work / LOAD
        kept.write_text(json.dumps({"load": list(self._load), "shell": self._shell}) + "\n")
        return {LOAD: kept}


class CommandLoader:
    """Feeds each archive of a chain to the Load command that was kept with its newest one."""

    def __init__(self, manifest: Manifest, options: LoadOptions) -> None:
        """Nothing is fetched before ``check``."""
        self._job = readable(manifest.job)
        self._side = options.side
        self._scratch = options.scratch
        self._argv: list[str] = []
        self._level = 0

    def check(self) -> None:
        """UsageError if no Load was kept; ProgramError if it is not installed here."""
        kept = self._side(LOAD)
        if kept is None:
            raise UsageError(f"{self._job} was stored without a Load command: give --target FILE, or --target -")
        try:
            plain = json.loads(kept)
            self._argv = pipeline.command([str(word) for word in plain["load"]], by_shell=bool(plain["shell"]))
        except (ValueError, KeyError, TypeError) as error:
            raise VerificationError(f"{self._job}: the Load command kept with the archive cannot be read") from error
        pipeline.find(self._argv[0])

    def level(self, manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:
        """Run it, having said what is run."""
        logger.warning("{}: runs the command kept with the archive: {}", self._job, shlex.join(self._argv))
        env = {"S3NAP_LEVEL": str(self._level), "S3NAP_TYPE": manifest.type.value}
        if self._scratch is not None:
            env["S3NAP_DRILL"] = str(self._scratch)
        feed(self._argv, pieces, env=env, cwd=self._scratch)
        self._level += 1

    def finish(self, manifest: Manifest) -> str:  # noqa: ARG002 - what the command makes of it is its own
        """Name what was run."""
        return f"the command {shlex.join(self._argv)}"


class LevelFiles:
    """Writes each archive of a chain to a file of its own: TARGET, TARGET.1, TARGET.2, ...

    Joined, the streams of an unknown command could not be told apart again.
    """

    def __init__(self, target: str, *, overwrite: bool) -> None:
        """As FileLoader."""
        self._target = target
        self._overwrite = overwrite
        self._written: list[str] = []

    def _file(self, level: int) -> FileLoader:
        return FileLoader(f"{self._target}.{level}" if level else self._target, overwrite=self._overwrite)

    def check(self) -> None:
        """UsageError if the first file, or the second, is there already."""
        for level in (0, 1):
            self._file(level).check()

    def level(self, manifest: Manifest, pieces: Iterator[bytes | bytearray]) -> None:
        """Write one stream; the file gets its name when it is whole."""
        file = self._file(len(self._written))
        file.check()
        file.level(manifest, pieces)
        self._written.append(file.finish(manifest))

    def finish(self, manifest: Manifest) -> str:  # noqa: ARG002 - the Protocol's signature
        """Name the files."""
        return ", ".join(self._written)
