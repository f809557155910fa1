"""What is asked: each row of the table with its queries in ADQL, and the same for bare PostgreSQL and LSDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.generate import DEEP, WIDE
from bench.peers.data import Files, known_ids
from bench.peers.sizes import Sizes

SURVEY = "bench.survey"
COLUMNS = "object_id, ra, dec, g_flux, r_flux"
EXPORTED = "object_id, ra, dec, g_flux, g_flux_err, r_flux, r_flux_err, i_flux, n_obs, tract"
ARCMIN = 1 / 60
#: Half the width and height in degrees of the polygon, a square of 0.2 degrees.
_POLYGON = 0.1


@dataclass(frozen=True)
class Query:
    """One question in the words of each peer; *lsdb* is a kind and its numbers, see ``bench.peers.lsdb_files``."""

    adql: str
    q3c: str | None = None
    pgsphere: str | None = None
    lsdb: tuple[object, ...] | None = None
    #: Whether the answer is one number, which is compared instead of the number of rows.
    counts: bool = False


@dataclass(frozen=True)
class Row:
    """A row of the table. *bar* is the least ratio DaCHS ÷ idac that the project set itself."""

    key: str
    title: str
    queries: Sequence[Query]
    bar: float | None = None
    form: str = "binary2"
    small: bool = False
    maxrec: int = 1_000_000
    #: Peers that can be asked; DaCHS writes neither Parquet nor Arrow.
    services: tuple[str, ...] = ("idac", "DaCHS")
    kind: Literal["bar", "also"] = "bar"
    #: For rates: rows of each answer.
    rows_each: int | None = field(default=None)


def table_rows(sizes: Sizes, files: Files) -> list[Row]:
    """The rows that are one query at a time, in the order of the table."""
    rng = np.random.default_rng(7)
    many = sizes.small_repeats * (sizes.rounds + 1)
    few = sizes.rounds + 1
    fields = {"deep": DEEP, "wide": WIDE}
    ids = {c: rng.choice(known_ids(files, c), many).tolist() for c in ("object_id", "source_id")}
    one = [Query(f"SELECT TOP 1 * FROM {SURVEY}", q3c=f"SELECT * FROM {SURVEY} LIMIT 1", lsdb=("head", 1))]
    rows = [Row("top1", "TOP 1", one, bar=5, small=True)]
    for field_name, area in fields.items():
        cones = [_cone(ra, dec, ARCMIN) for ra, dec in _places(rng, area, many, 0.05)]
        rows.append(Row(f"cone_{field_name}", f"cone 1′, {field_name}", cones, bar=12, small=True))
    degrees = [_cone(ra, dec, 1.0) for ra, dec in _places(rng, WIDE, few, 1.1)]
    rows.append(Row("cone_degree", "rows within 1°, wide", degrees, bar=15, maxrec=10_000_000))
    for field_name, area in fields.items():
        polygons = [_polygon(ra, dec) for ra, dec in _places(rng, area, few, 0.3)]
        rows.append(Row(f"polygon_{field_name}", f"polygon 0.2°, {field_name}", polygons, bar=8))
    rows += [
        Row("id", "id look-up", [_lookup("object_id", i) for i in ids["object_id"]], bar=4, small=True),
        Row("random_id", "random id look-up", [_lookup("source_id", i) for i in ids["source_id"]], bar=4, small=True),
        Row("aggregate", "aggregate of all rows", [_aggregate()], bar=15, form="csv"),
        Row("histogram", "histogram of all rows", [_histogram()], bar=20, form="csv"),
        Row("crossmatch", f"cross-match {sizes.match_rows:,} × {sizes.rows:,} at 1″", [_match()], bar=9, form="csv"),
    ]
    export = Query(
        f"SELECT TOP {sizes.export_rows} {EXPORTED} FROM {SURVEY}",
        q3c=f"COPY (SELECT {EXPORTED} FROM {SURVEY} LIMIT {sizes.export_rows}) TO STDOUT (FORMAT BINARY)",
    )
    for form, bar in (("binary2", 40.0), ("tabledata", 12.0), ("csv", 12.0), ("fits", 30.0)):
        asked = export if form == "binary2" else Query(export.adql)
        rows.append(_export(form, asked, sizes, bar=bar))
    rows += [_export(form, Query(export.adql), sizes, bar=None) for form in ("parquet", "arrow")]
    return rows


def _export(form: str, query: Query, sizes: Sizes, bar: float | None) -> Row:
    both = bar is not None
    return Row(
        f"export_{form}",
        f"export {sizes.export_rows:,} × 10, {form.upper() if both else form.title()}",
        [query],
        bar=bar,
        form=form,
        maxrec=sizes.export_rows,
        services=("idac", "DaCHS") if both else ("idac",),
        kind="bar" if both else "also",
        rows_each=sizes.export_rows,
    )


def cone_queries(count: int) -> list[str]:
    """Cones of 1 arcmin for many clients, by turns deep and wide."""
    rng = np.random.default_rng(11)
    deep, wide = _places(rng, DEEP, count, 0.05), _places(rng, WIDE, count, 0.05)
    return [_cone(*place, ARCMIN).adql for pair in zip(deep, wide, strict=True) for place in pair][:count]


def pgsphere_cones(count: int) -> list[str]:
    """The same for bare PostgreSQL."""
    rng = np.random.default_rng(11)
    places = [*_places(rng, DEEP, count // 2, 0.05), *_places(rng, WIDE, count - count // 2, 0.05)]
    return [sql for place in places if (sql := _cone(*place, ARCMIN).pgsphere)]


def whole_table() -> str:
    return f"SELECT {EXPORTED} FROM {SURVEY}"


# -- questions -------------------------------------------------------------------------------------------------------


def _places(
    rng: np.random.Generator, area: tuple[float, float, float], count: int, margin: float
) -> list[tuple[float, float]]:
    """*count* positions at least *margin* degrees inside a field."""
    ra0, dec0, half = area
    inside = max(half - margin, 0.0)
    offsets = rng.uniform(-inside, inside, (count, 2))
    return [(round(ra0 + float(x), 6), round(dec0 + float(y), 6)) for x, y in offsets]


def _cone(ra: float, dec: float, radius: float) -> Query:
    radius = round(radius, 8)
    return Query(
        f"SELECT {COLUMNS} FROM {SURVEY} "
        f"WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', {ra}, {dec}, {radius}))",
        q3c=f"SELECT {COLUMNS} FROM {SURVEY} WHERE q3c_radial_query(ra, dec, {ra}, {dec}, {radius})",
        pgsphere=f"SELECT {COLUMNS} FROM {SURVEY} WHERE spoint(radians(ra), radians(dec))"
        f" <@ scircle(spoint(radians({ra}), radians({dec})), radians({radius}))",
        lsdb=("cone", ra, dec, radius * 3600),
    )


def _polygon(ra: float, dec: float) -> Query:
    h = _POLYGON
    corners = [(ra - h, dec - h), (ra + h, dec - h), (ra + h, dec + h), (ra - h, dec + h)]
    corners = [(round(x, 6), round(y, 6)) for x, y in corners]
    flat = ", ".join(f"{x}, {y}" for x, y in corners)
    points = ", ".join(f"({x}d, {y}d)" for x, y in corners)
    return Query(
        f"SELECT {COLUMNS} FROM {SURVEY} WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), POLYGON('ICRS', {flat}))",
        q3c=f"SELECT {COLUMNS} FROM {SURVEY} WHERE q3c_poly_query(ra, dec, ARRAY[{flat}])",
        pgsphere=f"SELECT {COLUMNS} FROM {SURVEY} WHERE spoint(radians(ra), radians(dec)) <@ spoly '{{{points}}}'",
        lsdb=("polygon", corners),
    )


def _lookup(column: str, value: int) -> Query:
    text = f"SELECT * FROM {SURVEY} WHERE {column} = {value}"
    return Query(text, q3c=text)


def _aggregate() -> Query:
    text = (
        f"SELECT COUNT(*) AS n, AVG(g_flux) AS mean_g, AVG(r_flux) AS mean_r, MIN(dec) AS low, MAX(dec) AS high "
        f"FROM {SURVEY} WHERE i_flux > 400"
    )
    return Query(text, q3c=text, lsdb=("aggregate",), counts=True)


def _histogram() -> Query:
    # With LOG10, DaCHS 2.7 takes the natural logarithm, so that is what everybody is asked for.
    inner = f"SELECT FLOOR({{log}}(r_flux) * 10) AS bin FROM {SURVEY}"
    text = f"SELECT bin, COUNT(*) AS n FROM ({inner}) AS t GROUP BY bin"
    return Query(text.format(log="LOG"), q3c=text.format(log="ln"), lsdb=("histogram",))


def _match() -> Query:
    arcsec = round(1 / 3600, 10)
    return Query(
        f"SELECT COUNT(*) AS n FROM bench.positions AS m JOIN {SURVEY} AS s "
        f"ON 1 = CONTAINS(POINT('ICRS', s.ra, s.dec), CIRCLE('ICRS', m.ra, m.dec, {arcsec}))",
        q3c=f"SELECT COUNT(*) FROM bench.positions AS m, {SURVEY} AS s "
        f"WHERE q3c_join(m.ra, m.dec, s.ra, s.dec, {arcsec})",
        lsdb=("match", arcsec * 3600),
        counts=True,
    )
