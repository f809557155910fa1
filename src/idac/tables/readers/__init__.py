"""Tables in: FITS, VOTable, CSV, TSV, ECSV, Parquet and Arrow, each as a stream of Arrow batches."""

from __future__ import annotations

from idac.tables.readers.detect import READ_FORMATS, detect_format
from idac.tables.readers.opening import open_table
from idac.tables.readers.source import ReadLimits, TableInfo, TableSource

__all__ = ["READ_FORMATS", "ReadLimits", "TableInfo", "TableSource", "detect_format", "open_table"]
