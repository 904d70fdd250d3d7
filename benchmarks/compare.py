"""s3nap against its peers, in turn on the same data: time, CPU, memory, bytes, requests, stored size.

    python benchmarks/compare.py [--work mixed,small,blob,sql,quick] [--size 1G] [--rounds 5] [--write]

Starts ``rclone serve s3`` on this machine, makes throw-away keys and data (or copies ``--tree``), then lets s3nap and
the peers that are installed make a FULL, repeat it unchanged, restore all and one file of it, and repeat it with one
file of a hundred changed. What counts are the ratios: they are taken pair by pair, and hold when the machine's speed
drifts. A first round, not timed, counts bytes and requests and compares what was restored. ``--write`` puts the
figures into BENCHMARKS.md and a plot beside it. With ``--stream 20G`` copies of the mixed tree are sent as one long
job, to see that memory does not grow.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import workloads
from contenders import ACTS, CONTENDERS, Contender, Lap, S3nap
from figures import Figures
from measuring import measure, size
from pages import PAGE, machine, write
from plot import draw
from quick import quick
from stage import Stage, stage
from workloads import Workload

_WORK = ("mixed", "small", "blob", "sql", "quick")


def main() -> None:
    """Run what the command line asks for, print the figures, and write them if asked."""
    options = _options()
    with stage() as made:
        for name in options.work:
            if name == "quick":
                section = quick(made, options.rounds)
            else:
                figures = _figures(made, _workload(name, made.base, options), options)
                section = figures.markdown()
                if options.write and name == "mixed":
                    draw(figures, PAGE.parent / "docs" / "benchmarks.png")
            print(section)
            if options.write:
                write(name, f"{section}\n\n{machine(options.rounds if name != 'quick' else options.rounds * 3)}")
        if options.stream:
            _stream(made, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=_works, default=_WORK, help="of mixed, small, blob, sql, quick")
    parser.add_argument("--size", type=size, default=size("1G"), help="of the mixed tree, the large file and the dump")
    parser.add_argument("--files", type=int, default=200_000, help="how many small files")
    parser.add_argument("--rounds", type=int, default=5)
    acts = ", ".join(ACTS).replace("%", "%%")
    parser.add_argument("--acts", type=lambda text: text.split(","), default=ACTS, help=acts)
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of contenders, s3nap beside them")
    parser.add_argument("--tree", type=Path, help="what to copy for the mixed tree, instead of /usr")
    parser.add_argument("--stream", type=size, default=0)
    parser.add_argument("--write", action="store_true", help="write BENCHMARKS.md and the plot")
    return parser.parse_args()


def _works(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(_WORK):
        raise ValueError(unknown)
    return names


def _workload(name: str, base: Path, options: argparse.Namespace) -> Workload:
    if name == "small":
        return workloads.small(base, options.files)
    if name == "mixed":
        return workloads.mixed(base, options.size, options.tree)
    return (workloads.blob if name == "blob" else workloads.sql)(base, options.size)


def _figures(made: Stage, workload: Workload, options: argparse.Namespace) -> Figures:
    acts = [act for act in ACTS if act in options.acts and not (workload.stream and act not in {"FULL", "restore"})]
    figures = Figures(workload.name, workload.title, acts)
    chosen = [each for each in CONTENDERS if _takes_part(each, workload, options.only)]
    for number in range(options.rounds + 1):
        print(f"{workload.name}: round {number} of {options.rounds}", file=sys.stderr)
        _round(Lap(made, workload, number, made.endpoint if number else made.counter.url), chosen, figures)
    shutil.rmtree(workload.path)
    return figures


def _takes_part(contender: Contender, workload: Workload, only: list[str] | None) -> bool:
    if only and contender.name not in {"s3nap", *only}:
        return False
    if missing := contender.missing():
        print(f"{contender.name} is left out: {missing} is not installed", file=sys.stderr)
    return missing is None and not (workload.stream and contender.name.endswith("(to disk)"))


def _round(lap: Lap, chosen: list[Contender], figures: Figures) -> None:
    for contender in chosen:
        contender.prepare(lap)
    lap.stage.counter.counted()
    first = lap.number % len(chosen)  # who goes first finds the tree cold
    for act in figures.acts:
        if act == "1 % changed":
            lap.workload.change()
        for contender in chosen[first:] + chosen[:first]:
            _act(act, lap, contender, figures)
    for contender in chosen:
        if lap.number == 0:
            figures.stored[contender.name] = contender.stored(lap)
        contender.clear(lap)


def _act(act: str, lap: Lap, contender: Contender, figures: Figures) -> None:
    # kept till the end: ext4 looks for minutes at what was just deleted whenever it makes a file
    target = lap.stage.base / "targets" / f"{lap.name} {act} {contender.name}".replace("/", " ")
    target.mkdir(parents=True)
    command = contender.command(act, lap, target)
    if command is not None:
        measured = measure(command)
        if lap.number:
            figures.add(act, contender.name, measured)
        else:
            figures.count(act, contender.name, lap.stage.counter.counted())
            if act == "restore":
                _compare(lap, contender, target)


def _compare(lap: Lap, contender: Contender, target: Path) -> None:
    """End with an error unless what was restored is what was backed up."""
    here, there = (
        (lap.dump, next(target.iterdir())) if lap.workload.stream else (lap.workload.path, target / lap.relative)
    )
    if subprocess.run(["diff", "-rq", "--no-dereference", here, there], check=False).returncode != 0:
        sys.exit(f"{contender.name} did not restore {lap.workload.path} as it was")


def _stream(made: Stage, options: argparse.Namespace) -> None:
    """Print the memory of a FULL of a tree, and of many copies of it."""
    tree = workloads.mixed(made.base, options.size, options.tree)
    for number, workload in enumerate((tree, workloads.copies(made.base, tree.path, options.stream))):
        lap, contender = Lap(made, workload, number, made.endpoint), S3nap()
        contender.prepare(lap)
        command = contender.command("FULL", lap, made.base)
        if command is not None:
            measured = measure(command)
            print(f"{workload.title}: {measured.wall:.1f} s, peak memory {measured.memory / (1 << 20):.0f} MiB")
        contender.clear(lap)


if __name__ == "__main__":
    main()
