"""Make a fixture bucket of today's format: python tests/frozen_bucket.py FOLDER. Never run over an old one.

It holds a FULL, two DIFFs and what was there on each day (``expected.json``), for each way to encrypt, and a job of
raw streams; with the throw-away key and passphrase that open them. Later versions restore it, whatever they write.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

from s3nap import access, config
from s3nap.backup import Options, Run

FIRST = date(2026, 3, 1)
CONF = """
DiffDir {base}/diff
Bucket file://{target}/bucket
Host frozen
ChunkSize 16K
Diffs 2
Fulls 2
Compression {compression}
{encryption}
Directory {base}/tree
<Command it>
Diffs 0
Dump /bin/sh {base}/dump.sh
</Command>
"""


def main() -> None:
    """Make it."""
    target = Path(sys.argv[1]).resolve()
    (target / "bucket").mkdir(parents=True)
    home = Path(tempfile.mkdtemp(prefix="g-", dir="/tmp"))
    os.environ["GNUPGHOME"] = str(home)
    gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "frozen@s3nap.test", "rsa2048", "default", "never"], check=True)
    subprocess.run([*gpg, "--quick-add-key", _fingerprint(), "rsa2048", "encr", "never"], check=True)
    subprocess.run([*gpg, "--armor", "--output", target / "secret.asc", "--export-secret-keys"], check=True)
    (target / "passphrase").write_text("not a secret any more\n")
    (target / "passphrase").chmod(0o600)
    expected = {}
    for compression in ("zstd", "gzip", "xz", "bzip2", "none"):
        encryption = {
            "zstd": "GpgRecipient frozen@s3nap.test",
            "gzip": f"GpgPassphraseFile {target}/passphrase",
        }.get(compression, "")
        expected[compression] = _days(target, compression, encryption)
    (target / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    subprocess.run(["gpgconf", "--kill", "all"], check=False)
    shutil.rmtree(home)


def _fingerprint() -> str:
    listed = subprocess.run(["gpg", "--list-keys", "--with-colons"], check=True, capture_output=True, text=True).stdout
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))


def _days(target: Path, compression: str, encryption: str) -> dict[str, object]:
    """Back up three days of a small tree as a host of its own; return what was there on each."""
    base = Path(tempfile.mkdtemp(prefix="frozen-", dir="/tmp"))
    tree = base / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "text").write_text("first\n" * 9000)
    (tree / "sub" / "odd \n -> name\\").write_text("odd")
    (tree / "gone").write_text("gone on day 2")
    (tree / "link").symlink_to("sub/text")
    os.link(tree / "sub" / "text", tree / "hard")
    (base / "diff").mkdir()
    days: dict[str, object] = {}
    for day in range(3):
        (base / "dump.sh").write_text(f"echo day {day}\n")
        if day == 1:
            (tree / "gone").unlink()
            (tree / "sub").rename(tree / "moved")
        if day == 2:
            (tree / "moved" / "text").chmod(0o640)
            (tree / "new").write_bytes(bytes(range(256)) * 100)
        for path in sorted(tree.rglob("*")):
            os.utime(path, ns=(0, 1_700_000_000_123_456_789 + day), follow_symlinks=False)
        text = CONF.format(base=base, target=target, compression=compression, encryption=encryption)
        conf = base / "frozen.conf"
        conf.write_text(text.replace("Host frozen", f"Host {compression}"))
        loaded = config.load(conf)
        run = Run(loaded, access.storage_of(loaded), Options(day=FIRST + timedelta(days=day), full=day == 0))
        results = run.execute()
        run.close()
        if any(result.outcome != "done" for result in results):
            raise SystemExit([result.message for result in results])
        days[str(FIRST + timedelta(days=day))] = {
            "source": str(tree),
            "files": {str(path.relative_to(tree)): facts(path) for path in sorted(tree.rglob("*"))},
            "dump": f"day {day}\n",
        }
    shutil.rmtree(base)
    return days


def facts(path: Path) -> list[object]:
    """Mode, time and content of a path, as JSON has them; directories have no time of interest."""
    status = path.lstat()
    content = ""
    if path.is_symlink():
        content = str(path.readlink())
    elif path.is_file():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return [oct(status.st_mode), status.st_mtime_ns if not path.is_dir() else 0, content]


if __name__ == "__main__":
    main()
