"""The plots that README and BENCHMARKS.md show; none, with a word, where matplotlib is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures import Figures
from growth import MEMORY, WHAT, Growth


def draw(figures: Figures, target: Path) -> None:
    """Draw how long s3nap takes compared with each peer."""
    plt = _pyplot()
    if plt is None:
        return
    rows = [
        (f"{act}: {peer}", found)
        for act in figures.acts
        for peer in figures.peers(act)
        if peer != "s3nap" and (found := figures.ratio(act, peer)) is not None
    ][::-1]
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.28 * len(rows)))
    bars = axes.barh([name for name, _ in rows], [found for _, found in rows], color="#4477aa")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"time of s3nap / time of the other program (shorter is better for s3nap)\n{figures.title}")
    figure.savefig(target, dpi=110, bbox_inches="tight")
    plt.close(figure)


def draw_growth(growths: Sequence[Growth], target: Path) -> None:
    """Draw what each act costs over the sizes, a row for each table."""
    plt = _pyplot()
    if plt is None:
        return
    figure, rows = plt.subplots(len(growths), len(WHAT), figsize=(13, 4 * len(growths)), squeeze=False)
    for growth, row in zip(growths, rows, strict=True):
        sizes = list(growth.costs)
        for axes, (what, value) in zip(row, WHAT.items(), strict=True):
            for act in growth.acts:
                axes.plot(sizes, [value(costs[act]) for costs in growth.costs.values()], marker="o", label=act)
            axes.set(xscale="log", title=what, xlabel=growth.title)
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.set_xticks([], minor=True)
            if what == MEMORY:
                axes.set_ylim(bottom=0)
            else:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
            axes.grid(visible=True, which="both", linewidth=0.3)
        row[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    plt.close(figure)


def _pyplot() -> Any:  # noqa: ANN401 - a module, of an extra
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
    except ImportError:
        print("no plot is drawn: matplotlib is not installed (pip install -e '.[bench]')", file=sys.stderr)
        return None
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

    return plt
