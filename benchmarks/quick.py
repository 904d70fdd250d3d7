"""What shall feel instant: the version, lists, the calendar; as ratios to ``python -c pass``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import history
from contenders import S3NAP
from measuring import Command, measure, median, ratio
from stage import Stage

_GOALS = {"--version": 6.0, "list of 100": 25.0}


def quick(made: Stage, rounds: int) -> str:
    """Return a table: in each round every command once, beside an empty Python."""
    hundred, thousand = (_conf(made.base, count) for count in (100, 1000))
    acts = {
        "--version": [S3NAP, "--version"],
        "--help": [S3NAP, "--help"],
        "list of 100": [S3NAP, "list", "-c", hundred],
        "list of 1,000": [S3NAP, "list", "-c", thousand],
        "plan with 100": [S3NAP, "plan", "-c", hundred],
        "plan with 1,000": [S3NAP, "plan", "-c", thousand],
        "-t with 100": [S3NAP, "-t", "-c", hundred],
    }
    empty: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in acts}
    memory: dict[str, int] = dict.fromkeys(acts, 0)
    for _ in range(rounds * 3):
        empty.append(measure(Command([sys.executable, "-c", "pass"])).wall)
        for name, argv in acts.items():
            measured = measure(Command(argv))
            found[name].append(measured.wall)
            memory[name] = max(memory[name], measured.memory)
    lines = ["### Start-up", "", "| command | ms | as a ratio to `python -c pass` | peak memory | wanted | |"]
    lines += ["| --- | --: | --: | --: | --: | --- |"]
    for name, times in found.items():
        quotient, goal = ratio(times, empty) or 0.0, _GOALS.get(name)
        verdict = "" if goal is None else "reached" if quotient <= goal else f"missed by {quotient / goal - 1:.0%}"
        cells = [name, f"{median(times) * 1000:.0f}", f"{quotient:.1f}", f"{memory[name] >> 20} MiB"]
        lines.append(f"| {' | '.join([*cells, f'{goal:.0f}' if goal else '', verdict])} |")
    return "\n".join(lines)


def _conf(base: Path, count: int) -> Path:
    folder = base / f"quick-{count}"
    for name in ("bucket", "diffs", "tree"):
        (folder / name).mkdir(parents=True)
    history.fill(folder / "bucket", "quick", str(folder / "tree"), count, datetime.now(UTC).date())
    conf = folder / "s3nap.conf"
    lines = [f"DiffDir {folder / 'diffs'}", f"Bucket file://{folder / 'bucket'}", "Host quick", "Diffs 0"]
    conf.write_text("\n".join([*lines, f"Fulls {count}", f"Directory {folder / 'tree'}", ""]))
    return conf
