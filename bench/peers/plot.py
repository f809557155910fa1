"""The ratios of a run as a picture: how many times faster than DaCHS, on a logarithmic axis, with the bars to clear."""

from __future__ import annotations

from pathlib import Path

from bench.peers.results import Results

_MET, _MISSED, _BARE = "#2f6fb0", "#c8553d", "#8a8a8a"


def draw(results: Results, out: Path) -> None:
    """Write *results* to *out*, whose ending says in which format."""
    # Only those who draw need the group `bench` of the dependencies.
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rows = [row for row in results.rows if row.ratio is not None and row.kind == "bar"][::-1]
    figure, axes = plt.subplots(figsize=(9, 0.38 * len(rows) + 1.4), layout="constrained")
    places = range(len(rows))
    axes.barh(places, [row.ratio or 0 for row in rows], color=[_MISSED if row.met is False else _MET for row in rows])
    for place, row in zip(places, rows, strict=True):
        axes.text((row.ratio or 0) * 1.04, place, f"{row.ratio:.3g}×", va="center", fontsize=8)
        if row.bar is not None:
            axes.plot([row.bar, row.bar], [place - 0.45, place + 0.45], color="black", lw=1.5)
    axes.set_xscale("log")
    axes.axvline(1, color=_BARE, lw=1)
    axes.set_yticks(list(places), [row.title for row in rows], fontsize=9)
    axes.set_xlabel("times faster than DaCHS (black: what the project set itself)")
    axes.set_title(f"{results.sizes['rows']:,} rows, {results.machine['cores']} cores, over HTTP", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=130)
    plt.close(figure)
