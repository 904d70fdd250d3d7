"""Which test tries which promise with which faults: the marker ``promise``, and the table in docs/promises.md.

``@pytest.mark.promise("P1", "kill -9 at every storage call")`` on a test says what it tries; each of its cases counts
once, or as often as it says by the fixture ``tried``. ``pytest --promises`` writes the table when the run has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "promises.md"
BEGIN, END = "<!-- table: made by the test run -->", "<!-- end of the table -->"
_PROPERTY, _COUNT = "promise", "tried"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table."""
    parser.addoption("--promises", action="store_true", help=f"write the table in {PAGE.name} when the run has ended")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "promise(name, faults): the test tries this promise with these faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hang what the markers say on the tests, so that it comes back with their reports, from other processes, too."""
    for item in items:
        for marker in item.iter_markers("promise"):
            name, faults = marker.args
            item.user_properties.append((_PROPERTY, f"{name}|{faults}"))


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Say how many faults a test has tried, where it tries many."""
    return lambda count: request.node.user_properties.append((_COUNT, count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the table, if that was asked for."""
    if not config.getoption("--promises"):
        return
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and (report.when == "call" or report.failed)
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{_table(reports)}\n{END}{after}")
    terminalreporter.write_line(f"wrote the table in {PAGE}")


def _table(reports: Iterable[pytest.TestReport]) -> str:
    tests: dict[tuple[int, str], set[str]] = defaultdict(set)
    tried: dict[tuple[int, str], int] = defaultdict(int)
    failed: dict[tuple[int, str], int] = defaultdict(int)
    for report in reports:
        counts = [int(str(value)) for name, value in report.user_properties if name == _COUNT]
        for name, value in report.user_properties:
            if name != _PROPERTY:
                continue
            promise, _, faults = str(value).partition("|")
            key = int(promise[1:]), faults
            tests[key].add(report.nodeid.partition("[")[0].removeprefix("tests/"))
            tried[key] += sum(counts) or 1
            failed[key] += report.failed
    rows = ["| Promise | Faults tried | How many | Failures | Test |", "| --- | --- | --: | --: | --- |"]
    for number, faults in sorted(tests):
        key = number, faults
        shown = ", ".join(f"`{test}`" for test in sorted(tests[key]))
        rows.append(f"| P{number} | {faults} | {tried[key]:,} | {failed[key]} | {shown} |")
    return "\n".join(rows) + "\n"
