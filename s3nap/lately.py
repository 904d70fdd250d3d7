"""Holding a few of what is costly to make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Lately(Generic[_K, _V]):
    """What was made lately, by key; the eldest goes where there are more than ``most``, or ``heavy`` says so."""

    def __init__(self, most: int, heavy: Callable[[list[_V]], bool] = lambda _values: False) -> None:
        """One is always kept."""
        self._most = most
        self._heavy = heavy
        self._held: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        """Return what is held, or make it; what ``make`` raises goes on, and nothing is held."""
        if key not in self._held:
            self._held[key] = make()
        self._held.move_to_end(key)
        while len(self._held) > 1 and (len(self._held) > self._most or self._heavy(list(self._held.values()))):
            self._held.popitem(last=False)
        return self._held[key]
