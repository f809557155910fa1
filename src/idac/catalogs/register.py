"""An existing HATS catalogue becomes a table where it stands: its footers are read once, its rows never."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from idac.catalogs.hats import RowGroups, WrittenFile, read_properties
from idac.catalogs.manifest import Version, now_text
from idac.catalogs.partition import Pixel
from idac.catalogs.sidecar import write_sidecars
from idac.core.errors import BadData, NotFound
from idac.core.store import Store
from idac.tables.model import Column
from idac.tables.readers.opening import open_table

_HIDDEN = ("Norder", "Dir", "Npix")


@dataclass(frozen=True, slots=True)
class HatsCatalog:
    """What a HATS catalogue says of itself, before its files are looked at."""

    store: Store
    #: Folder of the catalogue under the store, and of its default margin; empty for the store's own root.
    folder: str
    margin: str | None
    properties: dict[str, str]
    margin_properties: dict[str, str]
    pixels: tuple[Pixel, ...]
    columns: tuple[Column, ...]
    description: str | None
    healpix_column: str

    def data_files(self, location: str) -> list[str]:
        """Addresses of the partitions in sky order; *location* is where the store's root is."""
        base = f"{location}/{self.folder}".rstrip("/")
        return [f"{base}/{pixel.path}" for pixel in sorted(self.pixels, key=lambda p: p.low)]


def find_hats(store: Store) -> bool:
    """True where the store's root is a HATS collection or catalogue."""
    return _try_get(store, "collection.properties", "hats.properties", "properties") is not None


def open_hats(store: Store) -> HatsCatalog:
    """Read the properties, partitions and columns of the collection or catalogue at the store's root.

    Raises BadData where a part is missing, or where the rows carry no HEALPix index to find them by.
    """
    collection = read_properties(_try_get(store, "collection.properties") or "")
    folder = collection.get("hats_primary_table_url", "")
    if "://" in folder or folder.startswith("/"):
        raise _not_usable("its collection points to a catalogue elsewhere", folder, "Add that catalogue itself.")
    text = _try_get(store, _join(folder, "hats.properties"), _join(folder, "properties"))
    if text is None:
        raise _not_usable(
            "it has no hats.properties", folder or "the folder itself", "Name the catalogue's own folder."
        )
    properties = read_properties(text)
    healpix = properties.get("hats_col_healpix", "_healpix_29")
    if (
        properties.get("hats_col_healpix_order", "29") != "29"
        or properties.get("hats_npix_suffix", ".parquet") != ".parquet"
    ):
        raise _not_usable(
            "it is laid out in a way that can't be served in place",
            f"healpix order {properties.get('hats_col_healpix_order')}, suffix {properties.get('hats_npix_suffix')}",
            "Add --copy to ingest its rows instead.",
        )
    margin = collection.get("default_margin")
    margin_text = _try_get(store, f"{margin}/hats.properties", f"{margin}/properties") if margin else None
    columns, description = _columns(store, folder, healpix)
    return HatsCatalog(
        store,
        folder,
        margin if margin_text else None,
        properties,
        read_properties(margin_text or ""),
        _pixels(store, folder),
        columns,
        description,
        healpix,
    )


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _try_get(store: Store, *keys: str) -> str | None:
    for key in keys:
        try:
            return store.get(key).decode("utf-8", "replace")
        except NotFound:
            continue
    return None


def _not_usable(why: str, value: str, next_step: str) -> BadData:
    return BadData(f"This HATS catalogue can't be registered: {why}.", value=value, next_step=next_step)


def _columns(store: Store, folder: str, healpix: str) -> tuple[tuple[Column, ...], str | None]:
    """The columns as ``_common_metadata`` describes them, VOParquet words included."""
    try:
        data = store.get(_join(folder, "dataset/_common_metadata"))
    except NotFound:
        raise _not_usable(
            "it has no dataset/_common_metadata", folder or "the folder itself", "Write it with hats-import."
        ) from None
    source = open_table(io.BytesIO(data), format="parquet")
    columns = tuple(c for c in source.columns if c.name not in (healpix, *_HIDDEN))
    if healpix not in pq.read_schema(pa.BufferReader(data)).names:
        raise _not_usable(
            f"its files have no column {healpix} to find rows by",
            folder or "the folder itself",
            "Add --copy to ingest its rows instead.",
        )
    return columns, source.description


def _pixels(store: Store, folder: str) -> tuple[Pixel, ...]:
    text = _try_get(store, _join(folder, "partition_info.csv"))
    if text is not None:
        rows = csv.DictReader(io.StringIO(text))
        return tuple(Pixel(int(row["Norder"]), int(row["Npix"])) for row in rows)
    found = []
    for item in store.list(_join(folder, "dataset")):
        match = re.search(r"Norder=(\d+)/.*Npix=(\d+)\.parquet\Z", item.key)
        if match:
            found.append(Pixel(int(match[1]), int(match[2])))
    return tuple(found)


def register_hats(
    catalog: HatsCatalog,
    folder: Path,
    *,
    version_id: str,
    prefix: str,
    location: str,
    workers: int,
    id_column: str | None,
) -> Version:
    """Write the sidecars of *catalog* into *folder*, from one look at each footer."""
    if not catalog.pixels:
        raise _not_usable("it has no partitions", catalog.folder or "the folder itself", "Check that it is whole.")
    pixels = sorted(catalog.pixels, key=lambda p: p.low)
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda p: _read_footer(catalog, p), pixels))
    files = [*(file for file, _ in found), *_margin_files(catalog)]
    write_sidecars(folder, files, [groups for _, groups in found])
    return Version(
        id=version_id,
        kind="hats",
        prefix=prefix,
        catalog=catalog.folder,
        rows=sum(f.rows for f, _ in found),
        bytes=sum(f.bytes for f, _ in found),
        columns=len(catalog.columns),
        files=len(found),
        published_at=now_text(),
        source=location,
        location=location,
        ra_column=catalog.properties.get("hats_col_ra"),
        dec_column=catalog.properties.get("hats_col_dec"),
        id_column=id_column,
        healpix_column=catalog.healpix_column,
        margin_arcsec=float(catalog.margin_properties.get("hats_margin_threshold", 0)) or None,
    )


def _read_footer(catalog: HatsCatalog, pixel: Pixel) -> tuple[WrittenFile, RowGroups]:
    key = _join(catalog.folder, pixel.path)
    try:
        found = catalog.store.head(key)
        with catalog.store.open_input(key) as stream:
            footer = pq.read_metadata(stream)
    except NotFound:
        raise _not_usable("a file of its partition list is missing", pixel.path, "Restore the file.") from None
    except pa.ArrowInvalid:
        raise _not_usable("one of its files is not whole Parquet", pixel.path, "Restore the file.") from None
    file = WrittenFile(key, "data", footer.num_rows, found.size, "", round(found.modified.timestamp() * 1e6))
    return file, _row_groups(footer, catalog.healpix_column, pixel)


def _row_groups(footer: pq.FileMetaData, healpix: str, pixel: Pixel) -> RowGroups:
    names = [footer.schema.column(i).path for i in range(footer.num_columns)]
    at = names.index(healpix) if healpix in names else None
    lows, highs, rows = [], [], []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        statistics = group.column(at).statistics if at is not None else None
        if statistics is not None and statistics.has_min_max:
            lows.append(int(statistics.min))
            highs.append(int(statistics.max))
        else:  # without statistics a row group may lie anywhere in its pixel
            lows.append(pixel.low)
            highs.append(pixel.high - 1)
        rows.append(group.num_rows)
    return RowGroups(*(np.array(values, dtype=np.int64) for values in (lows, highs, rows)))


def _margin_files(catalog: HatsCatalog) -> Sequence[WrittenFile]:
    if catalog.margin is None:
        return []
    return [
        WrittenFile(item.key, "margin", 0, item.size, "")
        for item in catalog.store.list(f"{catalog.margin}/dataset")
        if re.search(r"Npix=\d+\.parquet\Z", item.key)
    ]
