"""A loopback proxy that does to HTTP what networks do: for chosen requests, and to all while it is ``down``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

_BLOCK = 1 << 14
_HTML = b"<html><body>Please log in to use this network</body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one request; ``at`` counts bytes of the body that is concerned.

    - ``reset``: the connection is reset when so many bytes of the answer are through
    - ``reset put``: the same of the request, which so never arrives
    - ``truncate``: the answer ends there, as if that were all that comes
    - ``throttle``: the answer comes at so many bytes a second
    - ``flip``: one bit of the answer is another
    - ``answer``: the request is not passed on; the answer is ``status``, with HTML, or with what S3 would say
    - ``lost``: the request is done, but the answer is ``status``
    - ``hang``: nothing is answered for ``seconds``, then the connection is reset
    """

    kind: Literal["reset", "reset put", "truncate", "throttle", "flip", "answer", "lost", "hang"]
    at: int = 0
    status: int = 503
    html: bool = False
    seconds: float = 3600
    method: str = ""  # of the requests that count, all if empty


@dataclass(slots=True)
class _Message:
    """A request or an answer: its first line, its headers, its body."""

    first: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def packed(self) -> bytes:
        drop = {b"connection", b"expect", b"content-length", b"transfer-encoding"}
        kept = [name + b": " + value for name, value in self.headers if name.lower() not in drop]
        length = self.header(b"content-length") if not self.body else str(len(self.body)).encode()
        kept += [b"Content-Length: " + (length or b"0"), b"Connection: close"]
        return b"\r\n".join([self.first, *kept, b"", b""])

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key.lower() == name), b"")


class Proxy:
    """Passes requests on to ``upstream`` (a URL). ``faults`` meet the ``number``-th request of their method, from 1.

    ``seen`` counts the requests, by method, and in all under ""; ``met`` those that met a fault. ``outage``: from which
    request on, how, and for how many seconds everything is ``down``, this one's answer included.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self.faults: dict[int, Fault] = {}
        self.seen: dict[str, int] = {"": 0}
        self.met = 0
        self.down: Literal["", "refuses", "hangs"] = ""
        self.outage: tuple[int, Literal["refuses", "hangs"], float] | None = None
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._up = asyncio.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        """Serve from a thread of its own."""
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(server), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def clear(self) -> None:
        """No more faults; count anew."""
        self.faults, self.seen, self.met, self.down, self.outage = {}, {"": 0}, 0, "", None

    async def _start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _stop(self, server: asyncio.Server) -> None:
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            await self._be_down(writer)
            return
        head = await _head(reader)
        method = head.first.split(b" ")[0].decode()
        fault = self._fault(method)
        if head.header(b"expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault is not None and fault.kind == "reset put":
            if head.header(b"content-length"):
                await reader.read(fault.at)
            writer.transport.abort()
            return
        head.body = await reader.readexactly(int(head.header(b"content-length") or 0))
        if fault is not None and fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
            writer.transport.abort()
        elif fault is not None and fault.kind == "answer":
            await _send(writer, _told(fault), None)
        else:
            answer = await self._asked(head)
            if self.down:  # it went down in between: nobody hears the answer
                await self._be_down(writer)
            elif fault is not None and fault.kind == "lost":
                await _send(writer, _told(fault), None)
            else:
                await _send(writer, answer, fault)

    async def _be_down(self, writer: asyncio.StreamWriter) -> None:
        if self.down == "hangs":
            await self._up.wait()
        writer.transport.abort()

    def _be_up(self) -> None:
        self.down = ""
        self._up.set()

    def _fault(self, method: str) -> Fault | None:
        self.seen[""] += 1
        self.seen[method] = self.seen.get(method, 0) + 1
        if self.outage is not None and self.outage[0] == self.seen[""]:
            self.down = self.outage[1]
            self._up.clear()
            self._loop.call_later(self.outage[2], self._be_up)
        for number, fault in list(self.faults.items()):
            if self.seen.get(fault.method) == number and fault.method in {"", method}:
                self.met += 1
                return fault
        return None

    async def _asked(self, request: _Message) -> _Message:
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            writer.write(request.packed() + request.body)
            await writer.drain()
            answer = await _head(reader)
            if request.first.startswith(b"HEAD"):
                return answer
            if answer.header(b"transfer-encoding"):
                answer.body = await _chunked(reader)
            else:
                answer.body = await reader.readexactly(int(answer.header(b"content-length") or 0))
            return answer
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> _Message:
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    return _Message(lines[0], headers, b"")


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    return body


def _told(fault: Fault) -> _Message:
    code = {403: b"AccessDenied", 500: b"InternalError", 503: b"SlowDown"}.get(fault.status, b"Odd")
    body = _HTML if fault.html else b"<Error><Code>" + code + b"</Code><Message>on purpose</Message></Error>"
    return _Message(b"HTTP/1.1 %d on purpose" % fault.status, [(b"Content-Type", b"text/xml")], body)


async def _send(writer: asyncio.StreamWriter, answer: _Message, fault: Fault | None) -> None:
    kind = fault.kind if fault is not None else ""
    at = fault.at if fault is not None else 0
    if kind == "flip" and answer.body:
        at %= len(answer.body)
        answer.body = answer.body[:at] + bytes([answer.body[at] ^ 1]) + answer.body[at + 1 :]
    if kind == "truncate":
        answer.body = answer.body[:at]
    writer.write(answer.packed())
    body = answer.body[:at] if kind == "reset" else answer.body
    pace = at if kind == "throttle" and at else _BLOCK
    for begin in range(0, len(body), pace):
        writer.write(body[begin : begin + pace])
        await writer.drain()
        if kind == "throttle":
            await asyncio.sleep(1)
    if kind == "reset":
        await asyncio.sleep(0.01)
        writer.transport.abort()
    else:
        await writer.drain()
