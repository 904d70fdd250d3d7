"""The plot that the README shows."""

from __future__ import annotations

import sys
from pathlib import Path

from figures import Figures


def draw(figures: Figures, target: Path) -> None:
    """Draw how long s3nap takes compared with each peer; with a word nothing, where matplotlib is missing."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
    except ImportError:
        print("no plot is drawn: matplotlib is not installed (pip install -e '.[bench]')", file=sys.stderr)
        return
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

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
