"""s3nap and its peers: how each makes a FULL, repeats it, restores all or one file of it.

All but the floor encrypt and compress, and wait until everything is acknowledged. borg and duplicity write to a folder.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from measuring import Command, measure
from stage import BUCKET, RECIPIENT, Stage, rclone
from workloads import Workload

BACKUPS = ("FULL", "unchanged", "1 % changed")
ACTS = ("FULL", "unchanged", "restore", "one file", "1 % changed")
_DAY = date(1970, 1, 1) + timedelta(28 * 734)  # its turn is a FULL in slot 0
_GPG = f"gpg --batch --no-tty --trust-model always -z 0 -e -r {RECIPIENT}"
S3NAP = Path(sys.executable).with_name("s3nap")


@dataclass(frozen=True)
class Lap:
    """One round: its number, what is backed up, and the S3 server to use."""

    stage: Stage
    workload: Workload
    number: int
    endpoint: str

    @property
    def name(self) -> str:
        """What all that this round makes is named after."""
        return f"{self.workload.name}-{self.number}"

    @property
    def dump(self) -> Path:
        """The file of a workload that is one dump."""
        return self.workload.files[0]

    @property
    def relative(self) -> str:
        """The workload's path as tar stores it."""
        return str(self.workload.path).lstrip("/")


class Contender:
    """What is compared; ``name`` is how tables show it."""

    name = ""
    program = ""
    local = False  # does it store on this machine instead of in S3?

    def missing(self) -> str | None:
        """Return the program that is not installed, None if all is there."""
        return None if shutil.which(self.program) else self.program

    def prepare(self, lap: Lap) -> None:
        """Do what is done once before the first backup, and is not measured."""

    def command(self, act: str, lap: Lap, target: Path) -> Command | None:
        """Return what is to be measured; None where it cannot do that. Restores go to ``target``, an empty folder."""
        raise NotImplementedError

    def stored(self, lap: Lap) -> int:
        """Return the bytes that the round has stored."""
        return lap.stage.objects(self.place(lap))

    def clear(self, lap: Lap) -> None:
        """Remove what the round has stored."""
        lap.stage.empty(self.place(lap))

    def place(self, lap: Lap) -> str:
        """Where a round is stored: a prefix of the bucket."""
        return f"{type(self).__name__.lower()}-{lap.name}"


class S3nap(Contender):
    """What is compared with the others."""

    name = "s3nap"

    def missing(self) -> str | None:
        """Return None: it is what is measured."""
        return None if S3NAP.exists() else str(S3NAP)

    def prepare(self, lap: Lap) -> None:
        """Write the conf of a round."""
        conf = self._conf(lap)
        diffs = conf.with_suffix(".diffs")
        diffs.mkdir()
        job = (
            f"<Command dump>\n  Dump cat {lap.dump}\n</Command>"
            if lap.workload.stream
            else f"Directory {lap.workload.path}"
        )
        lines = [f"DiffDir {diffs}", f"Bucket s3://{BUCKET}/{self.place(lap)}", f"Endpoint {lap.endpoint}"]
        # the others do not store how they are configured; it would be a second archive, of a tenth of a second
        lines += [f"GpgRecipient {RECIPIENT}", "StoreConf Off"]
        conf.write_text("\n".join([*lines, job, ""]))

    def command(self, act: str, lap: Lap, target: Path) -> Command | None:
        """Each act is a command of one line."""
        conf: list[str | Path] = ["-q", "-c", self._conf(lap)]
        stream = lap.workload.stream
        if act in BACKUPS:
            day = _DAY + timedelta(BACKUPS.index(act))
            return Command([S3NAP, *conf, "--date", f"{day}"])
        if stream:
            return Command([S3NAP, "restore", "Command/dump", "--target", target / "dump", *conf])
        one = [lap.workload.one] if act == "one file" else []
        return Command([S3NAP, "restore", lap.workload.path, *one, "--target", target, *conf])

    def _conf(self, lap: Lap) -> Path:
        return lap.stage.base / f"s3nap-{lap.name}.conf"


class Restic(Contender):
    """restic, into the same S3 server."""

    name = program = "restic"

    def prepare(self, lap: Lap) -> None:
        """Make the repository."""
        measure(Command(["restic", "init", "-q"], self._env(lap)))

    def command(self, act: str, lap: Lap, target: Path) -> Command | None:
        """Each act is a command of one line."""
        env = self._env(lap)
        if lap.workload.stream:
            name = lap.dump.name
            pipe = f'cat "$1" | restic backup -q --stdin --stdin-filename {name}'
            whole = Command(["bash", "-c", f"set -o pipefail; {pipe}", "pipe", lap.dump], env)
            return whole if act in BACKUPS else Command(["restic", "dump", "latest", name], env, output=target / name)
        if act in BACKUPS:
            return Command(["restic", "backup", "-q", lap.workload.path], env)
        one = ["--include", lap.workload.one] if act == "one file" else []
        return Command(["restic", "restore", "latest", "-q", "--target", target, *one], env)

    def _env(self, lap: Lap) -> Mapping[str, str]:
        cache = str(lap.stage.base / f"cache-{lap.name}")
        repository = f"s3:{lap.endpoint}/{BUCKET}/{self.place(lap)}"
        return {"RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": cache}


class Aws(Contender):
    """The hand-made pipe into ``aws s3 cp``."""

    name = "tar|zstd|gpg|aws"
    program = "aws"

    def command(self, act: str, lap: Lap, target: Path) -> Command | None:
        """A pipe can do FULLs only; one file of it is read from all of it."""
        read = 'cat "$1"' if lap.workload.stream else 'tar -C / -cf - "$1"'
        source = str(lap.dump) if lap.workload.stream else lap.relative
        if act == "FULL":
            script = f"{read} | zstd -q -3 | {_GPG} | {self._up(lap)}"
            return self._pipe(script, source)
        if act not in {"restore", "one file"}:
            return None
        one = str(lap.workload.one).lstrip("/") if act == "one file" else ""
        write = 'cat > "$2/dump"' if lap.workload.stream else f'tar -C "$2" -xpf - {one}'
        return self._pipe(f"{self._down(lap)} | gpg --batch -q -d | zstd -q -d | {write}", source, target)

    def _up(self, lap: Lap) -> str:
        return f"aws --endpoint-url {lap.endpoint} s3 cp - s3://{BUCKET}/{self.place(lap)}"

    def _down(self, lap: Lap) -> str:
        return f"aws --endpoint-url {lap.endpoint} s3 cp s3://{BUCKET}/{self.place(lap)} -"

    @staticmethod
    def _pipe(script: str, *words: str | Path) -> Command:
        return Command(["bash", "-c", f"set -o pipefail; {script}", "pipe", *words])


class Rcat(Aws):
    """The same pipe into ``rclone rcat``."""

    name = "tar|zstd|gpg|rclone"

    def missing(self) -> str | None:
        """Return rclone if it is missing."""
        return None if rclone() else "rclone"

    def _up(self, lap: Lap) -> str:
        return f"{self._rclone(lap)} rcat bench:{BUCKET}/{self.place(lap)}"

    def _down(self, lap: Lap) -> str:
        return f"{self._rclone(lap)} cat bench:{BUCKET}/{self.place(lap)}"

    @staticmethod
    def _rclone(lap: Lap) -> str:
        words = {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "ENDPOINT": lap.endpoint}
        return " ".join(["env", *(f"RCLONE_CONFIG_BENCH_{key}={value}" for key, value in words.items()), str(rclone())])


class Floor(Aws):
    """What reading, compressing and encrypting cost without storing anything."""

    name = "tar|zstd -T0|gpg >/dev/null"
    program = "zstd"
    local = True

    def command(self, act: str, lap: Lap, target: Path) -> Command | None:
        """Only a FULL: nothing is stored."""
        made = super().command(act, lap, target) if act == "FULL" else None
        return made and Command(
            [word.replace("zstd -q -3", "zstd -q -3 -T0") if isinstance(word, str) else word for word in made.argv]
        )

    def _up(self, lap: Lap) -> str:  # noqa: ARG002 - as above
        return "cat > /dev/null"

    def stored(self, lap: Lap) -> int:  # noqa: ARG002 - as above
        """Return 0."""
        return 0

    def clear(self, lap: Lap) -> None:
        """Nothing is there."""


class OnDisk(Contender):
    """A peer that stores in a folder of this machine."""

    local = True

    def folder(self, lap: Lap) -> Path:
        """Where it stores."""
        return lap.stage.base / self.place(lap)

    def stored(self, lap: Lap) -> int:
        """Return the bytes that the round has stored."""
        return sum(path.stat().st_size for path in self.folder(lap).rglob("*") if path.is_file())

    def clear(self, lap: Lap) -> None:
        """Remove what the round has stored."""
        shutil.rmtree(self.folder(lap))


class Borg(OnDisk):
    """borg, into a folder."""

    name = "borg (to disk)"
    program = "borg"

    def prepare(self, lap: Lap) -> None:
        """Make the repository."""
        measure(Command(["borg", "init", "--encryption", "repokey"], self._env(lap)))

    def command(self, act: str, lap: Lap, target: Path) -> Command | None:
        """Each act is a command of one line."""
        env = self._env(lap)
        if act in BACKUPS:
            name = f"::{BACKUPS.index(act)}"
            return Command(["borg", "create", "--compression", "zstd,3", name, lap.workload.path], env)
        one = str(lap.workload.one).lstrip("/") if act == "one file" else lap.relative
        return Command(["borg", "extract", "::1", one], env, folder=target)

    def _env(self, lap: Lap) -> Mapping[str, str]:
        base = str(lap.stage.base / "borg")
        return {"BORG_REPO": str(self.folder(lap)), "BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": base}


class Duplicity(OnDisk):
    """duplicity, into a folder."""

    name = "duplicity (to disk)"
    program = "duplicity"

    def command(self, act: str, lap: Lap, target: Path) -> Command | None:
        """Each act is a command of one line."""
        env = {"PASSPHRASE": ""}
        url = f"file://{self.folder(lap)}"
        words = [
            "--verbosity",
            "error",
            "--archive-dir",
            lap.stage.base / f"duplicity-{lap.name}",
            "--encrypt-key",
            RECIPIENT,
        ]
        words += ["--gpg-options", "--trust-model always"]
        if act in BACKUPS:
            kind = "full" if act == "FULL" else "incremental"
            return Command(["duplicity", kind, *words, lap.workload.path, url], env)
        to = target / lap.relative
        to.parent.mkdir(parents=True, exist_ok=True)
        one = ["--file-to-restore", lap.workload.one.relative_to(lap.workload.path)] if act == "one file" else []
        return Command(["duplicity", "restore", *words, *one, url, to], env)


CONTENDERS: tuple[Contender, ...] = (S3nap(), Restic(), Aws(), Rcat(), Floor(), Borg(), Duplicity())
