"""How far a run stands back for others: nice, and the class of its disk accesses. Programs it starts inherit both."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import NamedTuple

IO_CLASSES = {"realtime": 1, "best-effort": 2, "idle": 3}
_SHIFT = 13  # linux/ioprio.h
_SYSCALLS = {  # ioprio_set, which libc has no function for
    "x86_64": 251,
    "i686": 289,
    "aarch64": 30,
    "riscv64": 30,
    "loongarch64": 30,
    "armv7l": 314,
    "ppc64le": 273,
    "s390x": 282,
}


class IoClass(NamedTuple):
    """The value of IoClass; idle has no level."""

    name: str
    level: int | None = None

    def __str__(self) -> str:
        return self.name if self.level is None else f"{self.name} {self.level}"

    @property
    def number(self) -> int:
        """What the kernel takes; without a level its own default, 4."""
        level = 4 if self.level is None else self.level
        return IO_CLASSES[self.name] << _SHIFT | (0 if self.name == "idle" else level)


def yield_to_others(nice: int | None, io_class: IoClass | None) -> list[str]:
    """Lower this thread's priorities, and with them those of threads and programs that it starts from now on.

    Never raises ``nice`` above what the process was started with. Returns what could not be done, for people.
    """
    refused = []
    if nice is not None and os.getpriority(os.PRIO_PROCESS, 0) < nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if io_class is not None and (why := _set_io_class(io_class)):
        refused.append(f"IoClass {io_class} is not in effect: {why}")
    return refused


def _set_io_class(wanted: IoClass) -> str | None:
    call = _SYSCALLS.get(platform.machine())
    if call is None:
        return f"s3nap does not know how to set it on {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(call, 1, 0, wanted.number) == 0:  # 1: one process, 0: this one
        return None
    return os.strerror(ctypes.get_errno())
