"""What one file of a large archive costs, against the whole: seconds, and bytes over the wire.

    python benchmarks/onefile.py [--size 1G] [--rounds 5] [--tree DIR]

Backs up a tree of real files to ``rclone serve s3`` on this machine, then restores in turn all of it, one small file
(``restore JOB PATH``, ``dump``) and, with the extra ``mount`` and /dev/fuse, the same through ``mount`` and ``cat``.
All requests go through a proxy that counts bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import upload

_CHUNK = 16 << 20


class Counter:
    """A proxy on loopback that counts what the server sends."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target = host, int(port)
        self.received = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:  # noqa: FBT001 - an argument of Thread
        try:
            while data := source.recv(1 << 16):
                self.received += len(data) if counts else 0
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()


def main() -> None:
    """Run what the command line asks for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=upload._bytes, default=1 << 30)  # noqa: SLF001 - its sibling
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tree", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s3b-", dir="/tmp") as name:
        base = Path(name)
        os.environ |= {"GNUPGHOME": str(upload._keys(base)), "AWS_ACCESS_KEY_ID": upload._KEY}  # noqa: SLF001
        os.environ |= {"AWS_SECRET_ACCESS_KEY": upload._SECRET, "AWS_DEFAULT_REGION": "us-east-1"}  # noqa: SLF001
        tree = options.tree or upload._tree(base / "tree", options.size)  # noqa: SLF001
        with upload._server(base) as endpoint:  # noqa: SLF001
            upload._ours(base, tree, endpoint, 0)  # noqa: SLF001
            _measure(base, tree, Counter(endpoint), options.rounds)


def _measure(base: Path, tree: Path, counter: Counter, rounds: int) -> None:
    files = sorted((path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()), key=str)
    one = next(path for path in files[len(files) // 2 :] if 0 < path.stat().st_size < 65536)
    where = ["--bucket", f"s3://{upload._BUCKET}/0", "--endpoint", counter.url, "-q"]  # noqa: SLF001
    ours = [sys.executable, "-m", "s3nap"]
    acts: dict[str, Callable[[Path], object]] = {
        "full restore": lambda to: subprocess.run([*ours, "restore", tree, "--target", to, *where], check=True),
        "one file": lambda to: subprocess.run([*ours, "restore", tree, one, "--target", to, *where], check=True),
        "dump": lambda _to: subprocess.run([*ours, "dump", tree, one, *where], check=True, stdout=subprocess.DEVNULL),
        "mount, cat": lambda to: _mounted([*ours, "mount", tree, to, *where], to, one),
    }
    if not Path("/dev/fuse").exists():
        del acts["mount, cat"]
    seconds: dict[str, list[float]] = {name: [] for name in acts}
    received: dict[str, int] = {}
    for number in range(rounds):
        for name, act in acts.items():
            target = base / f"to-{number}"
            target.mkdir()
            before, begun = counter.received, time.perf_counter()
            act(target)
            seconds[name].append(time.perf_counter() - begun)
            received[name] = counter.received - before
            shutil.rmtree(target)
    whole = seconds["full restore"]
    for name, times in seconds.items():
        ratio = statistics.median(mine / all_ for mine, all_ in zip(times, whole, strict=True))
        chunks = received[name] / _CHUNK
        print(
            f"{name:>14}: {statistics.median(times):6.2f} s, {ratio:5.3f} of the whole, {received[name]:>13,} bytes",
            end="",
        )
        print(f" ({chunks:.2f} chunks of 16 MiB)")


def _mounted(argv: list[str], folder: Path, one: Path) -> None:
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as program:
        for _ in range(600):
            if os.path.ismount(folder) or program.poll() is not None:
                break
            time.sleep(0.05)
        day = next(folder.iterdir())
        subprocess.run(["cat", f"{day}{one}"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["fusermount3", "-u", folder], check=True)
        program.wait(20)


if __name__ == "__main__":
    main()
