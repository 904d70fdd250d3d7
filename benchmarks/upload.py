"""How fast and with how much memory a FULL goes to an S3 server, against the hand-made pipe, in turn on the same data.

    python benchmarks/upload.py [--size 1G] [--rounds 5] [--tree DIR] [--stream 10G]

Starts ``rclone serve s3`` on this machine, makes a throw-away key and a tree of real files (copied from /usr until it
is large enough, or ``--tree``), then runs s3nap and ``tar | zstd -3 | gpg -z 0 | aws s3 cp -`` in turn. Quote the
ratios: they are taken pair by pair and hold when the machine's speed drifts. With ``--stream`` the same tree, listed
again and again, is sent as one long job, to see that memory does not grow. Needs tar, gpg, zstd and aws (awscli).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3

_BUCKET = "bench"
_KEY, _SECRET = "s3nap-benchmark", "benchmark-secret"
_SAMPLE = 0.02  # seconds between two looks at the memory
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Measured:
    """One run: seconds of wall clock and of CPU, and the largest sum of resident memory of all its processes."""

    wall: float
    cpu: float
    memory: int


def main() -> None:
    """Run what the command line asks for and print the figures."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="s3b-", dir="/tmp") as name:
        base = Path(name)
        os.environ |= {"GNUPGHOME": str(_keys(base)), "AWS_ACCESS_KEY_ID": _KEY, "AWS_SECRET_ACCESS_KEY": _SECRET}
        os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        tree = options.tree or _tree(base / "tree", options.size)
        with _server(base) as endpoint:
            ours, pipe = _compare(base, tree, endpoint, options.rounds)
            _print("s3nap", ours)
            if pipe:
                _print("tar|zstd|gpg|aws", pipe)
                ratios = [mine.wall / other.wall for mine, other in zip(ours, pipe, strict=True)]
                cpu = [mine.cpu / other.cpu for mine, other in zip(ours, pipe, strict=True)]
                print(f"ratio s3nap / pipe, pair by pair: wall {_three(ratios)}, CPU {_three(cpu)}")
            if options.stream:
                copies = _copies(base / "copies", tree, options.stream)
                _print(f"s3nap, {options.stream >> 30} GiB", [_ours(base, copies, endpoint, 999)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=_bytes, default=_bytes("1G"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--stream", type=_bytes, default=0)
    return parser.parse_args()


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no size: give 500M or 1G")
    return int(match[1]) * _UNITS.get(match[2], 1)


def _keys(base: Path) -> Path:
    home = base / "gpg"
    home.mkdir(mode=0o700)
    argv = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    subprocess.run([*argv, "--quick-gen-key", "bench@example.com", "default", "default", "never"], check=True)
    return home


def _tree(target: Path, size: int) -> Path:
    """Copy real files until there are ``size`` bytes."""
    total = 0
    for folder, below, names in os.walk("/usr"):
        below.sort()  # the same tree each time
        for name in sorted(names):
            source = Path(folder, name)
            if source.is_symlink() or not source.is_file():
                continue
            copy = target / source.relative_to("/usr")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
            total += source.stat().st_size
            if total >= size:
                print(f"tree: {total / (1 << 30):.2f} GiB in {sum(1 for _ in target.rglob('*'))} entries")
                return target
    return target


def _copies(target: Path, tree: Path, size: int) -> Path:
    """Make a tree of ``size`` bytes out of copies of a smaller one (reflinks where the file system has them)."""
    each = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    target.mkdir()
    for number in range(-(-size // each)):
        subprocess.run(["cp", "-a", "--reflink=auto", str(tree), str(target / str(number))], check=True)
    return target


@contextmanager
def _server(base: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    folder = base / "s3"
    folder.mkdir()
    rclone = Path(sysconfig.get_path("scripts"), "rclone")
    argv = [str(rclone), "serve", "s3", str(folder), "--addr", address, "--auth-key", f"{_KEY},{_SECRET}"]
    with (base / "rclone.log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as server:
        try:
            client = boto3.client("s3", endpoint_url=f"http://{address}")
            for _ in range(100):
                try:
                    client.create_bucket(Bucket=_BUCKET)
                    break
                except Exception:  # noqa: BLE001 - it has not started yet
                    time.sleep(0.1)
            yield f"http://{address}"
        finally:
            server.terminate()


def _compare(base: Path, tree: Path, endpoint: str, rounds: int) -> tuple[list[Measured], list[Measured]]:
    aws = shutil.which("aws")
    if aws is None:
        print("aws (awscli) is not installed: the pipe is left out")
    _ours(base, tree, endpoint, 0)  # warms the page cache
    ours: list[Measured] = []
    pipe: list[Measured] = []
    for number in range(1, rounds + 1):
        ours.append(_ours(base, tree, endpoint, number))
        if aws is not None:
            pipe.append(_pipe(tree, endpoint, number))
        _empty(endpoint)
    return ours, pipe


def _ours(base: Path, tree: Path, endpoint: str, number: int) -> Measured:
    diffs = base / f"diffs-{number}"
    diffs.mkdir()
    conf = base / "bench.conf"
    lines = [
        f"DiffDir {diffs}",
        f"Bucket s3://{_BUCKET}/{number}",
        f"Endpoint {endpoint}",
        "GpgRecipient bench@example.com",
    ]
    conf.write_text("\n".join([*lines, f"Directory {tree}"]) + "\n")
    return _measure([sys.executable, "-m", "s3nap", "-q", "-c", str(conf)])


def _pipe(tree: Path, endpoint: str, number: int) -> Measured:
    gpg = "gpg --batch --trust-model always -z 0 -e -r bench@example.com"
    target = f"aws --endpoint-url {endpoint} s3 cp - s3://{_BUCKET}/pipe-{number}"
    script = f'set -o pipefail; tar -C / -cf - "$1" | zstd -q -3 | {gpg} | {target}'
    return _measure(["bash", "-c", script, "pipe", str(tree).lstrip("/")])


def _empty(endpoint: str) -> None:
    """Empty the bucket through the API (the server keeps its folder's listing in memory)."""
    client = boto3.client("s3", endpoint_url=endpoint)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET):
        for item in page.get("Contents", ()):
            client.delete_object(Bucket=_BUCKET, Key=item["Key"])


def _measure(argv: Sequence[str]) -> Measured:
    before = os.times()
    begun = time.perf_counter()
    peak = 0
    done = threading.Event()
    with subprocess.Popen(argv) as process:

        def watch() -> None:
            nonlocal peak
            while not done.wait(_SAMPLE):
                peak = max(peak, _resident(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        status = process.wait()
        done.set()
        watcher.join()
    wall = time.perf_counter() - begun
    after = os.times()
    if status != 0:
        sys.exit(f"{argv[0]} ended with {status}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(wall, cpu, peak)


def _resident(root: int) -> int:
    """Sum the resident memory of a process and all that descend from it, in bytes.

    A child that has not yet called exec is still its parent: it is not counted twice.
    """
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    total, queue = 0, [(root, b"")]
    while queue:
        pid, above = queue.pop()
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
        queue += [(child, command) for child in parents.get(pid, [])]
        total += pages * os.sysconf("SC_PAGE_SIZE") if command != above else 0
    return total


def _print(name: str, runs: Sequence[Measured]) -> None:
    memory = max(run.memory for run in runs) / (1 << 20)
    wall, cpu = _three([run.wall for run in runs]), _three([run.cpu for run in runs])
    print(f"{name}: wall {wall} s, CPU {cpu} s, peak memory {memory:.0f} MiB")


def _three(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} (min {min(values):.2f}, max {max(values):.2f})"


if __name__ == "__main__":
    main()
