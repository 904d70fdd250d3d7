"""Several calls at once, and all of them ended when one cannot go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from s3nap import interruption, pipeline

_T = TypeVar("_T")
_SOON = 0.05  # seconds


def abreast(calls: Iterable[Callable[[], _T]], count: int) -> list[_T]:
    """Make ``count`` of the calls at a time, begun in their order; return their results in their order.

    When one raises, or this process is interrupted, the others are asked to end (``interruption``), and programs are
    killed until they have: then it is raised. For one at a time no thread is made.
    """
    if count == 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(count, thread_name_prefix="job") as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            interruption.ask()
            for future in futures:
                future.cancel()
            while wait([each for each in futures if not each.cancelled()], timeout=_SOON).not_done:
                pipeline.stop_all()
            interruption.withdraw()
            raise
        return [future.result() for future in futures]
