"""LSDB in this process, on the HATS files that idac serves."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lsdb
import numpy as np

from bench.peers.queries import COLUMNS, Query

_WANTED = COLUMNS.split(", ")
#: Neighbours of one position within the radius; more than any has, so that all pairs are found.
_NEIGHBOURS = 8


class LsdbFiles:
    """Opens both catalogues once, and answers questions as an LSDB user would write them."""

    #: Its small queries take a second each, and tell nothing new after a few.
    most_each_round = 3
    edge_rows = 0

    def __init__(self, survey: Path, positions: Path) -> None:
        warnings.filterwarnings("ignore", module="lsdb|hats|dask|nested_pandas")
        self._survey_folder, self._positions_folder = survey, positions
        self._small = self._open(_WANTED)
        self._do: dict[str, Callable[..., int]] = {
            "head": lambda n: len(self._all.head(n)),
            "cone": self._cone,
            "polygon": lambda corners: len(self._small.polygon_search(corners).compute(progress_bar=False)),
            "aggregate": self._aggregate,
            "histogram": self._histogram,
            "match": self._match,
        }
        self._all = self._open("all")

    def _open(self, columns: list[str] | str) -> Any:
        return lsdb.open_catalog(self._survey_folder, columns=columns)

    def can(self, query: Query) -> bool:
        return query.lsdb is not None

    def ask(self, query: Query) -> tuple[float, int]:
        """Seconds to the result in memory, and the number of rows, or the number that is the answer."""
        assert query.lsdb is not None
        kind, *numbers = query.lsdb
        begun = time.perf_counter()
        # head() draws a progress bar and can't be told not to.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            rows = self._do[str(kind)](*numbers)
        return time.perf_counter() - begun, rows

    def _cone(self, ra: float, dec: float, radius_arcsec: float) -> int:
        return len(self._small.cone_search(ra, dec, radius_arcsec).compute(progress_bar=False))

    def _aggregate(self) -> int:
        def part(rows: Any) -> Any:
            bright = rows[rows["i_flux"] > 400]
            dec = bright["dec"].to_numpy()
            found = {"n": [len(bright)], "low": [np.min(dec, initial=90.0)], "high": [np.max(dec, initial=-90.0)]}
            sums = {band: [np.sum(bright[f"{band}_flux"].to_numpy(), dtype=np.float64)] for band in "gr"}
            return rows.__class__(found | sums)

        parts = self._open(["dec", "g_flux", "r_flux", "i_flux"]).map_partitions(part).compute(progress_bar=False)
        return int(parts["n"].sum())

    def _histogram(self) -> int:
        def part(rows: Any) -> Any:
            bins, counts = np.unique(np.floor(np.log(rows["r_flux"].to_numpy()) * 10), return_counts=True)
            return rows.__class__({"bin": bins, "n": counts})

        parts = self._open(["r_flux"]).map_partitions(part).compute(progress_bar=False)
        return len(parts.groupby("bin")["n"].sum())

    def _match(self, radius_arcsec: float) -> int:
        positions = lsdb.open_catalog(self._positions_folder, columns=["match_id", "ra", "dec"])
        survey = self._open(["object_id", "ra", "dec"])
        found = positions.crossmatch(
            survey,
            n_neighbors=_NEIGHBOURS,
            radius_arcsec=radius_arcsec,
            suffixes=("_m", "_s"),
            suffix_method="all_columns",
        )
        return len(found.compute(progress_bar=False))

    def close(self) -> None:
        return None
