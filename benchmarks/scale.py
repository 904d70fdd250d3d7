"""How time, memory and requests grow: with files, with slots, with archives of other hosts.

    python benchmarks/scale.py [--files 10000,100000,1000000] [--slots 40,400] [--archives 100,1000,10000] [--write]

Trees are real, archives are made up as manifests (50 to a host), the S3 server is ``rclone serve s3``. The last column
is the growth between two sizes as a power: 1 is linear; more than 1.1 is marked. ``--write`` puts the tables and a plot
of them into BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import history
import workloads
from contenders import S3NAP
from growth import Cost, Costs, Growth
from measuring import Command, measure
from pages import PAGE, machine, write
from plot import draw_growth
from stage import BUCKET, RECIPIENT, Stage, stage

_EACH = 50  # archives of a host
_TODAY = datetime.now(UTC).date()
_PLOT = "docs/growth.png"


def main() -> None:
    """Measure what the command line asks for, print the tables, and write them if asked."""
    works = {
        "files": ("10000,100000,1000000", "Files of a tree", _files),
        "slots": ("40,400", "Slots of a job, all of them filled", _slots),
        "archives": ("100,1000,10000", f"Archives in the bucket, {_EACH} of each host", _archives),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (default, *_) in works.items():
        parser.add_argument(f"--{name}", type=_sizes, default=_sizes(default), help="sizes; empty leaves it out")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    growths = []
    for name, (_, title, costs_of) in works.items():
        growth = Growth(title)
        for size in getattr(options, name):
            print(f"{title}: {size:,}", file=sys.stderr)
            growth.costs[size] = costs_of(size)
        if growth.costs:
            growths.append(growth)
            print(f"{growth.table()}\n")
    if options.write:
        draw_growth(growths, PAGE.parent / _PLOT)
        tables = "\n\n".join(growth.table() for growth in growths)
        write("scale", f"### Growth\n\n![The same as a plot]({_PLOT})\n\n{tables}\n\n{machine(1)}")


def _sizes(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _files(count: int) -> Costs:
    """Return what a FULL and an unchanged DIFF of a tree cost."""
    with stage() as made:
        tree = workloads.small(made.base, count).path
        # the first to be made are the first to leave the memory: the disk is not what is compared
        subprocess.run(["find", tree, "-type", "f", "-exec", "cat", "{}", "+"], stdout=subprocess.DEVNULL, check=True)
        conf = _conf(made, f"Directory {tree}")
        costs = {}
        for number, act in enumerate(("FULL", "unchanged DIFF")):
            day = date(1970, 1, 1) + timedelta(28 * 734 + number)
            costs[act] = _cost(made, ["-q", "-c", conf, "--date", f"{day}"])
        target = made.base / "target"
        costs["restore"] = _cost(made, ["restore", tree, "--target", target, "-q", "-c", conf])
        return costs


def _slots(count: int) -> Costs:
    """Return what runs and queries cost where one job has so many archives."""
    with tempfile.TemporaryDirectory(prefix="s3b-") as name:
        bucket, tree = Path(name, "bucket"), Path(name, "tree")
        tree.mkdir()
        (tree / "file").write_text("content")
        history.fill(bucket, "here", str(tree), count, _TODAY - timedelta(1))
        with stage(before=bucket) as made:
            return _daily(made, tree, f"Fulls {count}")


def _archives(count: int) -> Costs:
    """Return what runs and queries of one host cost where there are so many archives, nearly all of other hosts."""
    with tempfile.TemporaryDirectory(prefix="s3b-") as name:
        bucket, tree = Path(name, "bucket"), Path(name, "tree")
        tree.mkdir()
        (tree / "file").write_text("content")
        for number in range(count // _EACH):
            host = f"host{number:04}" if number else "here"
            history.fill(bucket, host, str(tree), _EACH, _TODAY - timedelta(1))
        with stage(before=bucket) as made:
            costs = _daily(made, tree, f"Fulls {_EACH}")
            costs["list --all-hosts"] = _cost(made, ["list", "--all-hosts", "-c", made.base / "s3nap.conf"])
            return costs


def _daily(made: Stage, tree: Path, *lines: str) -> Costs:
    conf = _conf(made, "Diffs 0", *lines, f"Directory {tree}")
    return {
        "list": _cost(made, ["list", "-c", conf]),
        "plan": _cost(made, ["plan", "-c", conf]),
        "run, the first here": _cost(made, ["-q", "-c", conf, "--date", f"{_TODAY}"]),
        "run, nothing due": _cost(made, ["-q", "-c", conf, "--date", f"{_TODAY}"]),
        "run, due": _cost(made, ["-q", "-c", conf, "-f", "--date", f"{_TODAY}"]),
    }


def _conf(made: Stage, *lines: str) -> Path:
    conf, diffs = made.base / "s3nap.conf", made.base / "diffs"
    shutil.rmtree(diffs, ignore_errors=True)
    diffs.mkdir()
    head = [f"DiffDir {diffs}", f"Bucket s3://{BUCKET}", f"Endpoint {made.counter.url}", "Host here"]
    conf.write_text("\n".join([*head, f"GpgRecipient {RECIPIENT}", *lines, ""]))
    return conf


def _cost(made: Stage, argv: Sequence[str | Path]) -> Cost:
    made.counter.counted()
    # 3: the other machine that the made-up archives name is told of
    measured = measure(Command([S3NAP, *argv], statuses=frozenset({0, 3})))
    return Cost(measured, made.counter.counted()[2])


if __name__ == "__main__":
    main()
