"""Functions that DuckDB calls in Python, over whole columns: what SQL's arithmetic can't say, by means of ``sky``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from idac.core.arrays import distinct
from idac.core.errors import BadParameter
from idac.sky.frames import transform
from idac.sky.healpix import MAX_ORDER, cells_near, healpix_center, healpix_index, order_for_radius
from idac.sky.motion import propagate, propagate_star
from idac.sky.pairs import points_in_polygons, points_in_region_texts, region_or_none
from idac.sky.regions import Region, box_polygon
from idac.sky.relations import holds, intersects
from idac.sky.sexagesimal import dms_to_degrees, hms_to_degrees
from idac.sky.vectors import separation_deg

type Floats = npt.NDArray[np.float64]
type Mask = npt.NDArray[np.bool_]

#: Above this radius a block of cells does not hold the circle, and a position is near every base cell.
_WIDEST_DEG = 29.0
_BASE_CELLS = np.arange(12, dtype=np.int64)
#: Order at which regions of rows are cut into cells for a join with positions: 0.9 deg.
REGION_ORDER = 6


@dataclass(frozen=True)
class PythonFunction:
    """A function as it is registered: DuckDB's names of its types, and what does the work on Arrow arrays."""

    name: str
    parameters: tuple[str, ...]
    result: str
    run: Callable[..., pa.Array]


def make_functions(regions: Callable[[], Sequence[Region]]) -> dict[str, PythonFunction]:
    """Every function by name; *regions* gives the constant regions of the query that is running."""

    def in_region(number: pa.Array, ra: pa.Array, dec: pa.Array) -> pa.Array:
        x, y = doubles(ra), doubles(dec)
        if len(x) == 0:
            return pa.array([], pa.bool_())
        region = regions()[number[0].as_py()]
        return booleans(region.contains(x, y), np.isnan(x) | np.isnan(y))

    found = PythonFunction("idac_in_region", ("BIGINT", "DOUBLE", "DOUBLE"), "BOOLEAN", in_region)
    return {f.name: f for f in (found, *_FUNCTIONS)}


def flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def doubles(values: pa.Array | pa.ChunkedArray) -> Floats:
    """A column as doubles, NULL as NaN."""
    # Cast first: a column of whole numbers can't hold the NaN. From 2^53 on they are rounded, and meant to be.
    values = flat(values).cast(pa.float64(), safe=False)
    if values.null_count:
        values = values.fill_null(float("nan"))
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def optional(values: Floats) -> pa.Array:
    """Doubles as a column, NaN as NULL."""
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def booleans(values: Mask, missing: Mask) -> pa.Array:
    return pa.array(values, pa.bool_(), mask=missing)


def points(ra: Floats, dec: Floats) -> pa.Array:
    """Positions as a column of lists, NULL where a coordinate is NaN."""
    values = pa.array(np.stack([ra, dec], axis=1).ravel())
    missing = np.isnan(ra) | np.isnan(dec)
    offsets = pa.array(np.arange(len(ra) + 1, dtype=np.int32) * 2, mask=np.append(missing, False))
    return pa.ListArray.from_arrays(offsets, values)


def _valid(ra: Floats, dec: Floats) -> Mask:
    return np.isfinite(ra) & (np.abs(dec) <= 90)


# -- HEALPix -----------------------------------------------------------------------------------------------------------


def _healpix(order: pa.Array, ra: pa.Array, dec: pa.Array) -> pa.Array:
    orders, x, y = doubles(order), doubles(ra), doubles(dec)
    valid = _valid(x, y) & (orders >= 0) & (orders <= MAX_ORDER)
    result = np.zeros(len(x), dtype=np.int64)
    for depth in np.unique(orders[valid]):
        rows = valid & (orders == depth)
        result[rows] = healpix_index(int(depth), x[rows], y[rows])
    return pa.array(result, pa.int64(), mask=~valid)


def _healpix_point(order: pa.Array, places: pa.Array) -> pa.Array:
    lists = flat(places)
    return _healpix(order, pc.list_element(lists, 0), pc.list_element(lists, 1))


def _healpix_center(order: pa.Array, index: pa.Array) -> pa.Array:
    orders = doubles(order)
    index = flat(index)
    cells = np.asarray(index.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
    ra, dec = np.full(len(cells), np.nan), np.full(len(cells), np.nan)
    for depth in np.unique(orders[(orders >= 0) & (orders <= MAX_ORDER)]):
        rows = (orders == depth) & (cells >= 0) & (cells < 12 << (2 * int(depth)))
        ra[rows], dec[rows] = healpix_center(int(depth), cells[rows])
    return points(ra, dec)


def match_order(radius_deg: float) -> int:
    """The order at which positions are matched within a radius: that of ``sky``, or 0 for very wide ones."""
    return order_for_radius(radius_deg) if 0 <= radius_deg <= _WIDEST_DEG else 0


def _match_order(radius: pa.Array) -> pa.Array:
    return pa.array([match_order(float(r)) for r in np.nan_to_num(doubles(radius))], pa.int64())


def _cells(ra: pa.Array, dec: pa.Array, radius: pa.Array, order: pa.Array) -> pa.Array:
    """Cells near each position, in rows' order; none for a position that is not on the sky."""
    x, y, r = doubles(ra), doubles(dec), doubles(radius)
    if len(x) == 0:
        return pa.array([], pa.list_(pa.int64()))
    depth = flat(order)[0].as_py()
    rows_found, cells_found = [], []
    valid = _valid(x, y) & (r >= 0)
    for rows, reach in _by_reach(np.flatnonzero(valid & (r <= _WIDEST_DEG)), r):
        row, cell = cells_near(x[rows], y[rows], reach, depth)
        rows_found.append(rows[row])
        cells_found.append(cell)
    wide = np.flatnonzero(valid & (r > _WIDEST_DEG))
    rows_found.append(np.repeat(wide, 12))
    cells_found.append(np.tile(_BASE_CELLS, len(wide)))
    return _lists(np.concatenate(rows_found), np.concatenate(cells_found), len(x))


def _by_reach(rows: npt.NDArray[np.intp], radius: Floats) -> list[tuple[npt.NDArray[np.intp], float]]:
    """Rows in groups of similar radius, each with its largest: small circles are not given a large one's cells."""
    if len(rows) == 0:
        return []
    own = radius[rows]
    most = float(own.max())
    if most == float(own.min()):
        return [(rows, most)]
    level = np.floor(np.log2(np.maximum(own, most * 2.0**-12) / most))
    groups = [rows[level == step] for step in np.unique(level)]
    return [(group, float(radius[group].max())) for group in groups]


def _lists(rows: npt.NDArray[np.intp], values: npt.NDArray[np.int64], count: int) -> pa.Array:
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows, kind="stable")
        rows, values = rows[order], values[order]
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.bincount(rows, minlength=count), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _region_cells(texts: pa.Array) -> pa.Array:
    """Cells at REGION_ORDER that the region of each row touches."""
    shift = 2 * (MAX_ORDER - REGION_ORDER)
    known: dict[str | None, npt.NDArray[np.int64]] = {}
    rows = flat(texts).to_pylist()
    for text in set(rows):
        region = region_or_none(text)
        cover = region.cover(64) if region is not None else np.empty((0, 2), np.int64)
        spans = [np.arange(low >> shift, ((high - 1) >> shift) + 1) for low, high in cover]
        known[text] = distinct(np.concatenate(spans)) if spans else np.empty(0, np.int64)
    cells = [known[text] for text in rows]
    row = np.repeat(np.arange(len(rows)), [len(c) for c in cells])
    return _lists(row, np.concatenate(cells) if cells else np.empty(0, np.int64), len(rows))


# -- geometry ----------------------------------------------------------------------------------------------------------


def _separation(ra1: pa.Array, dec1: pa.Array, ra2: pa.Array, dec2: pa.Array) -> pa.Array:
    return optional(separation_deg(doubles(ra1), doubles(dec1), doubles(ra2), doubles(dec2)))


def _in_polygon(ra: pa.Array, dec: pa.Array, corners: pa.Array) -> pa.Array:
    x, y, lists = doubles(ra), doubles(dec), flat(corners)
    missing = np.isnan(x) | np.isnan(y) | lists.is_null().to_numpy(zero_copy_only=False)
    offsets = lists.offsets.to_numpy().astype(np.int64)
    inside = points_in_polygons(x, y, doubles(lists.values), offsets)
    return booleans(inside, missing)


def _in_text(ra: pa.Array, dec: pa.Array, texts: pa.Array) -> pa.Array:
    x, y, shapes = doubles(ra), doubles(dec), flat(texts)
    missing = np.isnan(x) | np.isnan(y) | shapes.is_null().to_numpy(zero_copy_only=False)
    return booleans(points_in_region_texts(x, y, shapes.to_pylist()), missing)


def _related(test: Callable[[Region, Region], bool]) -> Callable[[pa.Array, pa.Array], pa.Array]:
    def run(first: pa.Array, second: pa.Array) -> pa.Array:
        pairs = zip(flat(first).to_pylist(), flat(second).to_pylist(), strict=True)
        known: dict[tuple[str | None, str | None], bool | None] = {}
        result = []
        for pair in pairs:
            if pair not in known:
                a, b = region_or_none(pair[0]), region_or_none(pair[1])
                known[pair] = None if a is None or b is None else test(a, b)
            result.append(known[pair])
        return pa.array(result, pa.bool_())

    return run


def _box(ra: pa.Array, dec: pa.Array, width: pa.Array, height: pa.Array) -> pa.Array:
    def corners(row: tuple[float, ...]) -> list[float] | None:
        try:
            polygon = box_polygon(*row)
        except BadParameter:
            return None
        return [float(v) for v in np.stack([polygon.ra_deg, polygon.dec_deg], axis=1).ravel()]

    rows = zip(doubles(ra), doubles(dec), doubles(width), doubles(height), strict=True)
    return pa.array([corners(row) for row in rows], pa.list_(pa.float64()))


def _area(texts: pa.Array) -> pa.Array:
    regions = (region_or_none(text) for text in flat(texts).to_pylist())
    return pa.array([None if r is None else r.area_deg2() for r in regions], pa.float64())


def _centroid(texts: pa.Array) -> pa.Array:
    regions = (region_or_none(text) for text in flat(texts).to_pylist())
    return pa.array([None if r is None else list(r.centroid()) for r in regions], pa.list_(pa.float64()))


# -- others ------------------------------------------------------------------------------------------------------------


def _epoch_prop_pos(
    ra: pa.Array,
    dec: pa.Array,
    parallax: pa.Array,
    pm_ra: pa.Array,
    pm_dec: pa.Array,
    velocity: pa.Array,
    from_epoch: pa.Array,
    to_epoch: pa.Array,
) -> pa.Array:
    # Eight names, since DuckDB counts the parameters of the function and takes *columns for one.
    columns = (ra, dec, parallax, pm_ra, pm_dec, velocity, from_epoch, to_epoch)
    return points(*propagate(*map(doubles, columns)))


def _epoch_prop(
    ra: pa.Array,
    dec: pa.Array,
    parallax: pa.Array,
    pm_ra: pa.Array,
    pm_dec: pa.Array,
    velocity: pa.Array,
    from_epoch: pa.Array,
    to_epoch: pa.Array,
) -> pa.Array:
    columns = (ra, dec, parallax, pm_ra, pm_dec, velocity, from_epoch, to_epoch)
    star = np.stack(propagate_star(*map(doubles, columns)), axis=1)
    # A star without a position is NULL; another quantity that is not known is NaN in the array.
    offsets = pa.array(np.arange(len(star) + 1, dtype=np.int32) * 6, mask=np.append(np.isnan(star[:, 0]), False))
    return pa.ListArray.from_arrays(offsets, pa.array(star.ravel()))


def _transform(source: pa.Array, target: pa.Array, ra: pa.Array, dec: pa.Array) -> pa.Array:
    x, y = doubles(ra), doubles(dec)
    lon, lat = np.full(len(x), np.nan), np.full(len(x), np.nan)
    names = pc.binary_join_element_wise(flat(source), flat(target), ">").to_pylist()
    for pair in {name for name in names if name is not None}:
        rows = np.array([name == pair for name in names])
        first, _, second = pair.partition(">")
        lon[rows], lat[rows] = transform(first, second, x[rows], y[rows])
    return points(lon, lat)


def _transform_point(source: pa.Array, target: pa.Array, places: pa.Array) -> pa.Array:
    lists = flat(places)
    return _transform(source, target, pc.list_element(lists, 0), pc.list_element(lists, 1))


def _hms(texts: pa.Array) -> pa.Array:
    return optional(hms_to_degrees(flat(texts).to_pylist()))


def _dms(texts: pa.Array) -> pa.Array:
    return optional(dms_to_degrees(flat(texts).to_pylist()))


_FUNCTIONS = (
    PythonFunction("idac_healpix", ("BIGINT", "DOUBLE", "DOUBLE"), "BIGINT", _healpix),
    PythonFunction("idac_healpix_point", ("BIGINT", "DOUBLE[]"), "BIGINT", _healpix_point),
    PythonFunction("idac_healpix_center", ("BIGINT", "BIGINT"), "DOUBLE[]", _healpix_center),
    PythonFunction("idac_match_order", ("DOUBLE",), "BIGINT", _match_order),
    PythonFunction("idac_cells", ("DOUBLE", "DOUBLE", "DOUBLE", "BIGINT"), "BIGINT[]", _cells),
    PythonFunction("idac_region_cells", ("VARCHAR",), "BIGINT[]", _region_cells),
    PythonFunction("idac_separation", ("DOUBLE",) * 4, "DOUBLE", _separation),
    PythonFunction("idac_in_polygon", ("DOUBLE", "DOUBLE", "DOUBLE[]"), "BOOLEAN", _in_polygon),
    PythonFunction("idac_in_text", ("DOUBLE", "DOUBLE", "VARCHAR"), "BOOLEAN", _in_text),
    PythonFunction("idac_contains", ("VARCHAR", "VARCHAR"), "BOOLEAN", _related(lambda a, b: holds(b, a))),
    PythonFunction("idac_intersects", ("VARCHAR", "VARCHAR"), "BOOLEAN", _related(intersects)),
    PythonFunction("idac_box", ("DOUBLE",) * 4, "DOUBLE[]", _box),
    PythonFunction("idac_area", ("VARCHAR",), "DOUBLE", _area),
    PythonFunction("idac_centroid", ("VARCHAR",), "DOUBLE[]", _centroid),
    PythonFunction("idac_epoch_prop", ("DOUBLE",) * 8, "DOUBLE[]", _epoch_prop),
    PythonFunction("idac_epoch_prop_pos", ("DOUBLE",) * 8, "DOUBLE[]", _epoch_prop_pos),
    PythonFunction("idac_transform", ("VARCHAR", "VARCHAR", "DOUBLE", "DOUBLE"), "DOUBLE[]", _transform),
    PythonFunction("idac_transform_point", ("VARCHAR", "VARCHAR", "DOUBLE[]"), "DOUBLE[]", _transform_point),
    PythonFunction("idac_hms", ("VARCHAR",), "DOUBLE", _hms),
    PythonFunction("idac_dms", ("VARCHAR",), "DOUBLE", _dms),
)
