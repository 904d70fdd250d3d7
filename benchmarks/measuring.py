"""What a run costs: time, CPU and memory of all its processes; bytes and requests, counted by a proxy."""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE = 0.04  # seconds between two looks at the memory
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_REQUEST = b" HTTP/1.1\r\n"


@dataclass(frozen=True)
class Measured:
    """One run: seconds of wall clock and of CPU, and the largest sum of resident memory of all its processes."""

    wall: float
    cpu: float
    memory: int


@dataclass(frozen=True)
class Command:
    """A program to be measured; ``output`` takes what it writes, ``folder`` is where it works."""

    argv: Sequence[str | Path]
    env: Mapping[str, str] | None = None
    output: Path | None = None
    folder: Path | None = None
    statuses: frozenset[int] = frozenset({0})


def size(text: str) -> int:
    """Read a size: 500M, 1G; ValueError for anything else."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None:
        raise ValueError(f"{text} is no size: give 500M or 1G")
    return int(match[1]) * _UNITS.get(match[2], 1)


def measure(command: Command) -> Measured:
    """Run a program to its end; the whole benchmark ends if it fails, with what the program said."""
    os.sync()  # the disk is busy for seconds with what others wrote: not on this one's time
    before, begun, peak = os.times(), time.perf_counter(), 0
    done = threading.Event()
    with (command.output or Path(os.devnull)).open("wb") as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            list(map(str, command.argv)),
            env={**os.environ, **(command.env or {})},
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=said,
        )

        def watch() -> None:
            nonlocal peak
            while not done.wait(_SAMPLE):
                peak = max(peak, _resident(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        status = process.wait()
        wall = time.perf_counter() - begun
        done.set()
        watcher.join()
        after = os.times()
        if status not in command.statuses:
            said.seek(0)
            words = said.read().decode("utf-8", "replace")[-2000:]
            sys.exit(f"{' '.join(map(str, command.argv))[:200]} ended with {status}: {words}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(wall, cpu, peak)


def median(values: Sequence[float]) -> float:
    """Return the median; 0 of nothing."""
    return statistics.median(values) if values else 0.0


def ratio(mine: Sequence[float], others: Sequence[float]) -> float | None:
    """Return the median of the ratios pair by pair: they hold when the machine's speed drifts."""
    pairs = [one / other for one, other in zip(mine, others, strict=False) if other > 0]
    return statistics.median(pairs) if pairs else None


def _resident(root: int) -> int:
    """Sum the resident memory of a process and all that descend from it, in bytes.

    A child that has not yet called exec is still its parent: it is not counted twice.
    """
    total, queue = 0, [(root, b"")]
    while queue:
        pid, above = queue.pop()
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            children = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")]
        except OSError:
            continue
        queue += [(int(child), command) for each in children for child in each.split()]
        total += pages * os.sysconf("SC_PAGE_SIZE") if command != above else 0
    return total


class Counter:
    """A proxy on loopback that counts bytes both ways, and requests. It costs time: what passes it is not timed."""

    def __init__(self, target: str) -> None:
        """Pass all on to ``target``, a URL."""
        host, port = target.removeprefix("http://").split(":")
        self._target = host, int(port)
        self.sent = self.received = self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def counted(self) -> tuple[int, int, int]:
        """Return bytes sent, bytes received and requests since this was asked last."""
        found = self.sent, self.received, self.requests
        self.sent = self.received = self.requests = 0
        return found

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        tail = b""
        try:
            while data := client.recv(1 << 16):
                self.sent += len(data)
                self.requests += (tail + data).count(_REQUEST)
                tail = data[1 - len(_REQUEST) :]
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            client.close()

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(1 << 16):
                self.received += len(data)
                client.sendall(data)
        except OSError:
            pass
        client.close()
        server.close()
