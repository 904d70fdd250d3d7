"""The table of directives: the only place that knows them.

Validation, ``config generate``, ``config show`` and the README's reference are made from it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from s3nap import hookvalues, limitvalues, values
from s3nap.values import Packing, ValueType

KINDS = ("Directory", "Subversion", "SubversionDir", "MySQL", "PostgreSQL", "SQLite", "Command")
"""Kinds of sources, in the order in which they run within a scope."""

CONF = "Conf"
"""Kind of the job that stores the conf itself; no line of a conf names it."""

WITHOUT_DIFFS = frozenset({"MySQL", "PostgreSQL", "SQLite"})
CYCLE = "Cycle"
SIMPLE = "SimpleCycle"
HANOI = "HanoiCycle"
INCLUDE = "Include"


class Scope(StrEnum):
    """Where a directive may stand."""

    TOP = "top level"
    JOB = "top level, Cycle, source"
    SOURCE = "top level, Cycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One directive.

    ``kinds`` are the sources for which it means something. ``repeatable``: several lines add up within a scope;
    ``cumulative``: from outer to inner scopes as well; ``apart``: what stands at the top level is for the run as a
    whole, and no job inherits it. ``by_kind`` holds other defaults for some kinds, ``compute`` finds the default on
    this machine, ``shown`` says in words what the default's value does not.
    """

    name: str
    type: ValueType
    scope: Scope
    help: str
    example: str
    default: object = None
    by_kind: Mapping[str, object] = field(default_factory=dict)
    kinds: tuple[str, ...] = KINDS
    repeatable: bool = False
    cumulative: bool = False
    apart: bool = False
    compute: Callable[[], object] | None = None
    shown: str = ""

    def default_for(self, kind: str | None = None) -> object:
        """Return the value that a source of a kind, or the top level, has where nothing is written."""
        if self.compute is not None:
            return self.compute()
        return self.by_kind.get(kind, self.default) if kind else self.default


_TOP = (
    Spec(
        name="DiffDir",
        type=values.PATH,
        scope=Scope.TOP,
        example="/var/lib/s3nap",
        shown="must be given",
        help="Directory for what s3nap must remember between runs; must exist.",
    ),
    Spec(
        name="Bucket",
        type=values.BUCKET,
        scope=Scope.TOP,
        example="s3://my-backups/s3nap",
        shown="must be given",
        help="Where archives go: a bucket, a prefix in one, or a directory.",
    ),
    Spec(
        name="TempDir",
        type=values.PATH,
        scope=Scope.TOP,
        example="/var/lib/s3nap/tmp",
        shown="none",
        help="Directory for temporary files; needed for UseTempFile.",
    ),
    Spec(
        name="GpgRecipient",
        type=values.USERS,
        scope=Scope.TOP,
        example="backup@example.com",
        default=(),
        repeatable=True,
        shown="no encryption",
        help="Public keys to encrypt to; any one of their private keys restores.",
    ),
    Spec(
        name="GpgKeyring",
        type=values.PATH,
        scope=Scope.TOP,
        example="/etc/s3nap/pubring.gpg",
        shown="gpg's own",
        help="Keyring that holds the keys of GpgRecipient.",
    ),
    Spec(
        name="GpgPassphraseFile",
        type=values.PATH,
        scope=Scope.TOP,
        example="/etc/s3nap/passphrase",
        shown="none",
        help="Encrypt with the passphrase in this file (mode 600) instead of public keys.",
    ),
    Spec(
        name="SignKey",
        type=values.FINGERPRINT,
        scope=Scope.TOP,
        example="0123456789ABCDEF0123456789ABCDEF01234567",
        shown="no signatures",
        help="Secret key of gpg's to sign manifests with. What no trusted signer signed counts for nothing.",
    ),
    Spec(
        name="SignPassphraseFile",
        type=values.PATH,
        scope=Scope.TOP,
        example="/etc/s3nap/sign-passphrase",
        shown="none",
        help="File (mode 600) with the passphrase of SignKey, if it has one.",
    ),
    Spec(
        name="TrustedSigner",
        type=values.FINGERPRINTS,
        scope=Scope.TOP,
        example="0123456789ABCDEF0123456789ABCDEF01234567",
        default=(),
        repeatable=True,
        shown="SignKey's",
        help="Keys whose signatures count, beside SignKey; a main key's fingerprint stands for its subkeys, too.",
    ),
    Spec(
        name="S3KeyFile",
        type=values.PATH,
        scope=Scope.TOP,
        example="/etc/s3nap/key.txt",
        shown="as the AWS CLI finds it",
        help="File (mode 600) with the lines key=... and secret=... of the S3 account.",
    ),
    Spec(
        name="Endpoint",
        type=values.ENDPOINT,
        scope=Scope.TOP,
        example="https://s3.example.com",
        shown="Amazon",
        help="URL of an S3 service other than Amazon's.",
    ),
    Spec(
        name="Region",
        type=values.IDENTIFIER,
        scope=Scope.TOP,
        example="eu-central-1",
        shown="as the AWS CLI finds it",
        help="Region of the bucket.",
    ),
    Spec(
        name="StorageClass",
        type=values.IDENTIFIER,
        scope=Scope.TOP,
        example="STANDARD_IA",
        shown="the bucket's",
        help="Storage class of chunks over 128 KiB.",
    ),
    Spec(
        name="ObjectLock",
        type=values.choice("governance", "compliance"),
        scope=Scope.TOP,
        example="governance",
        shown="no lock",
        help="Lock each archive in its bucket (which must have Object Lock) until the cycle needs it no more.",
    ),
    Spec(
        name="Host",
        type=values.TEXT,
        scope=Scope.TOP,
        example="web1",
        compute=socket.gethostname,
        shown="this machine's name",
        help="Name under which this machine's archives lie.",
    ),
    Spec(
        name="LogConfig",
        type=values.PATH,
        scope=Scope.TOP,
        example="/etc/s3nap/logconfig.ini",
        shown="the one shipped",
        help="Where messages go: screen, file, mail.",
    ),
    Spec(
        name="AuditIgnore",
        type=values.PATTERNS,
        scope=Scope.TOP,
        example='/srv/scratch "MySQL test"',
        default=(),
        repeatable=True,
        shown="nothing",
        help="What `audit` need not find in any block: paths, or sources as it names them; patterns as of Exclude.",
    ),
    Spec(
        name="StoreConf",
        type=values.FLAG,
        scope=Scope.TOP,
        example="Off",
        default=True,
        help="Store this conf with every run, for `bootstrap`; only where there is encryption.",
    ),
    Spec(
        name="Parallel",
        type=values.integer(1, 64),
        scope=Scope.TOP,
        example="4",
        default=1,
        help="How many jobs run at once; they share the workers of one.",
    ),
    Spec(
        name="UploadLimit",
        type=limitvalues.RATES,
        scope=Scope.TOP,
        example="2M 08:00-19:00 Mon-Fri",
        default=(),
        repeatable=True,
        shown="no limit",
        help="How fast archives are stored, at least 16K. Of several lines the first whose time it is counts.",
    ),
    Spec(
        name="DownloadLimit",
        type=limitvalues.RATES,
        scope=Scope.TOP,
        example="10M",
        default=(),
        repeatable=True,
        shown="no limit",
        help="The same for what is fetched: by restores and by looking whether archives are whole.",
    ),
    Spec(
        name="Nice",
        type=values.integer(0, 19),
        scope=Scope.TOP,
        example="10",
        shown="as started",
        help="How far a run and the programs it starts stand back for others in the use of processors.",
    ),
    Spec(
        name="IoClass",
        type=limitvalues.IO_CLASS,
        scope=Scope.TOP,
        example="idle",
        shown="as started",
        help="The same for disks, as ionice has it; 0 is the highest level, realtime is for root.",
    ),
    Spec(
        name="Notify",
        type=hookvalues.NOTIFY,
        scope=Scope.TOP,
        example='"ntfys://ntfy.example.com/backups"',
        default=(),
        repeatable=True,
        shown="nobody",
        help="Who is told at the end of a run, as URLs of apprise: mail, ntfy, Slack, Matrix and many more.",
    ),
    Spec(
        name="NotifyFile",
        type=values.PATH,
        scope=Scope.TOP,
        example="/etc/s3nap/notify.urls",
        shown="none",
        help="File (mode 600) with such URLs, one a line.",
    ),
    Spec(
        name="NotifyOn",
        type=values.choice("failure", "warning", "always"),
        scope=Scope.TOP,
        example="always",
        default="warning",
        help="Tell them of runs that failed, of all that did not end with status 0, or of each.",
    ),
    Spec(
        name="Ping",
        type=hookvalues.PING,
        scope=Scope.TOP,
        example="https://hc-ping.com/key-of-the-check",
        shown="none",
        help="URL of a check as healthchecks.io has them: asked at start (/start) and end (/fail unless all is well).",
    ),
    Spec(
        name="PingFile",
        type=values.PATH,
        scope=Scope.TOP,
        example="/etc/s3nap/ping.url",
        shown="none",
        help="File (mode 600) with that URL instead.",
    ),
)

_JOB = (
    Spec(
        name="CycleType",
        type=values.choice(SIMPLE, HANOI),
        scope=Scope.JOB,
        example=HANOI,
        default=SIMPLE,
        help="SimpleCycle: fixed intervals. HanoiCycle: decaying, ages are powers of two.",
    ),
    Spec(
        name="Frequency",
        type=values.integer(1, 3650),
        scope=Scope.JOB,
        example="7",
        default=1,
        help="Days from one backup to the next.",
    ),
    Spec(
        name="Phase",
        type=values.integer(0, 3649),
        scope=Scope.JOB,
        example="0",
        default=0,
        help="SimpleCycle: moves the day; below Frequency.",
    ),
    Spec(
        name="Diffs",
        type=values.integer(0, 10_000),
        scope=Scope.JOB,
        example="3",
        default=6,
        by_kind={kind: 0 for kind in (*KINDS, CONF) if kind != "Directory"},
        shown="6, Subversion 0",
        help="SimpleCycle: DIFFs between two FULLs; databases have none.",
    ),
    Spec(
        name="Fulls",
        type=values.integer(1, 10_000),
        scope=Scope.JOB,
        example="4",
        default=4,
        by_kind={CONF: 7},
        help="SimpleCycle: how many FULLs, each with its DIFFs, are kept.",
    ),
    Spec(
        name="Discs",
        type=values.integer(1, 30),
        scope=Scope.JOB,
        example="5",
        default=5,
        help="HanoiCycle: how many FULLs are kept; one more doubles the age of the oldest.",
    ),
    Spec(
        name="ArchiveOldestDisc",
        type=values.FLAG,
        scope=Scope.JOB,
        example="On",
        default=False,
        help="HanoiCycle: keep the oldest of every round for ever.",
    ),
    Spec(
        name="CatchUp",
        type=values.FLAG,
        scope=Scope.JOB,
        example="Off",
        default=True,
        help="Make up for a missed or failed day on the next one.",
    ),
    Spec(
        name="Brake",
        type=values.FLAG,
        scope=Scope.JOB,
        example="Off",
        default=True,
        help="Let an archive of a suspiciously empty or shrunken source push out no older ones until it is released.",
    ),
    Spec(
        name="ChunkSize",
        type=values.SIZE,
        scope=Scope.JOB,
        example="16M",
        default=16 << 20,
        shown="16M",
        help="Size of the pieces into which a stream is cut, before compression.",
    ),
    Spec(
        name="Compression",
        type=values.COMPRESSION,
        scope=Scope.JOB,
        example="zstd 3",
        default=Packing("zstd"),
        help="Format and level. `zstd` without a level is about as small as level 3, and faster.",
    ),
    Spec(
        name="UseTempFile",
        type=values.FLAG,
        scope=Scope.JOB,
        example="On",
        default=False,
        help="Dump to a file in TempDir first, so that a slow upload does not hold up the source.",
    ),
    Spec(
        name="Timeout",
        type=values.DURATION,
        scope=Scope.JOB,
        example="6h",
        shown="none",
        help="Kill a dump or a hook that takes longer, and keep what there was.",
    ),
    Spec(
        name="Before",
        type=hookvalues.HOOK,
        scope=Scope.JOB,
        example="systemctl stop app",
        default=(),
        repeatable=True,
        apart=True,
        shown="none",
        help="Command to run before a job, at the top level before the whole run. Status 75 skips it.",
    ),
    Spec(
        name="After",
        type=hookvalues.HOOK,
        scope=Scope.JOB,
        example="systemctl start app",
        default=(),
        repeatable=True,
        apart=True,
        shown="none",
        help="The same after a job, or run, that did not fail.",
    ),
    Spec(
        name="OnError",
        type=hookvalues.HOOK,
        scope=Scope.JOB,
        example="systemctl start app",
        default=(),
        repeatable=True,
        apart=True,
        shown="none",
        help="The same after one that failed.",
    ),
    Spec(
        name="Exclude",
        type=values.PATTERNS,
        scope=Scope.JOB,
        example="/var/cache",
        default=(),
        kinds=("Directory",),
        repeatable=True,
        cumulative=True,
        shown="nothing",
        help="What to leave out, as tar's --exclude; adds up from outer to inner blocks.",
    ),
    Spec(
        name="OneFileSystem",
        type=values.FLAG,
        scope=Scope.JOB,
        example="On",
        default=False,
        kinds=("Directory",),
        help="Stay on the file system of the directory.",
    ),
    Spec(
        name="MySQLOptions",
        type=values.MYSQL_OPTIONS,
        scope=Scope.JOB,
        example="--single-transaction --quick",
        default=(),
        kinds=("MySQL",),
        shown="none",
        help="More options for mariadb-dump or mysqldump; each can take back one of s3nap's, as --skip-routines.",
    ),
    Spec(
        name="MySQLDefaultsFile",
        type=values.PATH,
        scope=Scope.JOB,
        example="/etc/s3nap/my.cnf",
        kinds=("MySQL",),
        shown="~/.my.cnf",
        help="File (mode 600) with user and password under [client], beside ~/.my.cnf.",
    ),
    Spec(
        name="PostgreSQLOptions",
        type=values.POSTGRESQL_OPTIONS,
        scope=Scope.JOB,
        example="--no-owner",
        default=(),
        kinds=("PostgreSQL",),
        shown="none",
        help="More options for pg_dump, or pg_dumpall.",
    ),
    Spec(
        name="PostgreSQLHost",
        type=values.TEXT,
        scope=Scope.JOB,
        example="db.example.com",
        kinds=("PostgreSQL",),
        shown="the client's own",
        help="Server, or folder of its socket.",
    ),
    Spec(
        name="PostgreSQLPort",
        type=values.PORT,
        scope=Scope.JOB,
        example="5432",
        kinds=("PostgreSQL",),
        shown="the client's own",
        help="Port of the server.",
    ),
    Spec(
        name="PostgreSQLFormat",
        type=values.DUMP_FORMAT,
        scope=Scope.JOB,
        example="plain",
        default="plain",
        kinds=("PostgreSQL",),
        help="plain SQL, or custom for pg_restore (one database only).",
    ),
    Spec(
        name="Dump",
        type=values.OPTIONS,
        scope=Scope.JOB,
        example="mydump --all",
        default=(),
        kinds=("Command",),
        shown="must be given",
        help="Command whose standard output is backed up; split into words as values are, no shell; must end with 0.",
    ),
    Spec(
        name="DumpDiff",
        type=values.OPTIONS,
        scope=Scope.JOB,
        example="mydump --since",
        default=(),
        kinds=("Command",),
        shown="none: always FULL",
        help="The same for a DIFF. Both write a state to the file $S3NAP_NEW_STATE; $S3NAP_OLD_STATE is the last one.",
    ),
    Spec(
        name="Load",
        type=values.OPTIONS,
        scope=Scope.JOB,
        example="myload",
        default=(),
        kinds=("Command",),
        shown="none: to a file",
        help="Command that restores from its standard input, FULL first; kept with each archive, encrypted.",
    ),
    Spec(
        name="Shell",
        type=values.FLAG,
        scope=Scope.JOB,
        example="On",
        default=False,
        help="Run hooks and commands by /bin/sh: quote each whole, as one word. Of a pipe the last program counts.",
    ),
)

_SOURCES = (
    Spec(
        name="Directory",
        type=values.DIRECTORY,
        scope=Scope.SOURCE,
        example="/etc /home",
        kinds=("Directory",),
        repeatable=True,
        help="Directories to back up.",
    ),
    Spec(
        name="Subversion",
        type=values.REPOSITORY,
        scope=Scope.SOURCE,
        example="/srv/svn/project",
        kinds=("Subversion",),
        repeatable=True,
        help="Subversion repositories.",
    ),
    Spec(
        name="SubversionDir",
        type=values.REPOSITORY,
        scope=Scope.SOURCE,
        example="/srv/svn",
        kinds=("SubversionDir",),
        repeatable=True,
        help="Directories of Subversion repositories; each is backed up by itself.",
    ),
    Spec(
        name="MySQL",
        type=values.MYSQL,
        scope=Scope.SOURCE,
        example="all",
        kinds=("MySQL",),
        repeatable=True,
        help="MySQL or MariaDB databases.",
    ),
    Spec(
        name="PostgreSQL",
        type=values.POSTGRESQL,
        scope=Scope.SOURCE,
        example="all",
        kinds=("PostgreSQL",),
        repeatable=True,
        help="PostgreSQL databases.",
    ),
    Spec(
        name="SQLite",
        type=values.DIRECTORY,
        scope=Scope.SOURCE,
        example="/var/lib/app/app.db",
        kinds=("SQLite",),
        repeatable=True,
        help="SQLite databases, copied consistently while in use.",
    ),
    Spec(
        name="Command",
        type=values.NAMES,
        scope=Scope.SOURCE,
        example="ldap",
        kinds=("Command",),
        repeatable=True,
        help="Whatever a command writes to standard output, under a name; the block holds Dump.",
    ),
)

TABLE: Mapping[str, Spec] = {spec.name: spec for spec in (*_TOP, *_JOB, *_SOURCES)}
"""Every directive by its canonical name, in the order of documents."""

_BY_LOWER = {name.lower(): spec for name, spec in TABLE.items()}


def find(name: str) -> Spec | None:
    """Return the directive of a name, however its case is written."""
    return _BY_LOWER.get(name.lower())


def job_specs(kind: str | None = None) -> list[Spec]:
    """Return the directives that a job of a kind may have; without a kind, those of any job."""
    return [spec for spec in TABLE.values() if spec.scope is Scope.JOB and (kind is None or kind in spec.kinds)]


def top_specs() -> list[Spec]:
    """Return the directives that belong at the top level only."""
    return [spec for spec in TABLE.values() if spec.scope is Scope.TOP]
