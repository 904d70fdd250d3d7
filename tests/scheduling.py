"""Which of several processes runs a test, and when.

A module's tests stay together, so that what they share (a world of many days, a gpg home, a server) is made once. Those
of long modules, which share little, are spread; and these begin, so that in the end nobody waits for a long one.
xdist's own ``--dist loadgroup`` does nothing any more: pytest 9.2 ignores the names that xdist 3.8 gives to tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

SPREAD = (
    "test_state_machine",
    "test_thirty_days",
    "test_failpoints",
    "test_crash",
    "test_network",
    "test_subversion",
    "test_incremental",
    "test_promises",
    "test_storage",
    "test_storage_s3",
    "test_cli",
)
"""Modules whose tests are spread, in the order in which they begin."""
EARLY = (*SPREAD, "test_looking", "test_mount", "test_drill", "test_mysql", "test_postgresql", "test_recipe")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long; the rest stays in its order."""
    places = {name: place for place, name in enumerate(EARLY)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give out modules, or single tests of those in SPREAD, in the order of the collection."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - tests run without xdist, too

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return nodeid if Path(module).stem in SPREAD else module

    config.option.loadscopereorder = False  # the largest number of tests is not the longest time
    return Scheduling(config, log)
