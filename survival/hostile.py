"""Files that are made to harm their reader: what a stranger may send as an upload."""

from __future__ import annotations

import base64
import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from astropy.io import fits

type Upload = tuple[str, bytes]

_HEAD = '<?xml version="1.0"?>\n'
_OPEN = '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
_CLOSE = "</TABLE></RESOURCE></VOTABLE>"
_FIELDS = (
    '<FIELD name="n" datatype="long"/><FIELD name="t" datatype="char" arraysize="*"/>'
    '<FIELD name="a" datatype="double" arraysize="*"/>'
)


def sound_table(dice: random.Random, rows: int = 200) -> pa.Table:
    return pa.table(
        {
            "n": pa.array([dice.getrandbits(62) for _ in range(rows)], pa.int64()),
            "t": [f"text {i}" for i in range(rows)],
            "x": np.linspace(0, 360, rows),
        }
    )


def parquet(dice: random.Random, _secret: Path) -> Upload:
    sink = io.BytesIO()
    codec = dice.choice(["none", "snappy", "zstd", "gzip", "lz4", "brotli"])
    pq.write_table(sound_table(dice), sink, compression=codec)
    return "t.parquet", damaged(dice, sink.getvalue())


def arrow(dice: random.Random, _secret: Path) -> Upload:
    sink = io.BytesIO()
    table = sound_table(dice)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return "t.arrow", damaged(dice, sink.getvalue())


def fits_table(dice: random.Random, _secret: Path) -> Upload:
    columns = [
        fits.Column("n", "K", array=np.arange(50)),
        fits.Column("t", "8A", array=np.array(["ab"] * 50)),
        fits.Column("v", "PD()", array=np.array([np.arange(i % 4, dtype=float) for i in range(50)], dtype=object)),
    ]
    sink = io.BytesIO()
    fits.BinTableHDU.from_columns(columns).writeto(sink)
    data = sink.getvalue()
    lies = [
        (b"NAXIS2  =", b"999999999999"),
        (b"NAXIS1  =", b"999999999999"),
        (b"PCOUNT  =", b"-1"),
        (b"TFIELDS =", b"999"),
    ]
    if dice.random() < 0.5:
        card, value = dice.choice(lies)
        at = data.rindex(card)
        data = data[: at + 10] + value.rjust(20) + data[at + 30 :]
    if dice.random() < 0.3:
        data = data.replace(b"'K       '", b"'99999999999K'"[:10])
    return "t.fits", damaged(dice, data) if dice.random() < 0.7 else data


def csv(dice: random.Random, _secret: Path) -> Upload:
    bodies = [
        b"a,b\n" + b"1," * 100_000 + b"\n",
        b"a" * 3_000_000,
        b"a,b\n" + b'"' + b"x" * 2_000_000,
        bytes(dice.getrandbits(8) for _ in range(5_000)),
        b"a,b\n1,2\n\x00\x00\x00,3\n",
        ",".join(f"c{i}" for i in range(20_000)).encode() + b"\n",
        b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le"),
        b"# %ECSV 1.0\n# ---\n# datatype: &a [*a, *a]\n# - {name: a, datatype: !!python/object/apply:os.system [id]}\na\n1\n",
        b"# %ECSV 1.0\n# ---\n# x: " + b"[" * 50_000 + b"\na\n1\n",
        b"a,a,A\n1,2,3\n",
        b"",
    ]
    return dice.choice(["t.csv", "t.ecsv", "t.tsv", "t"]), dice.choice(bodies)


def votable(dice: random.Random, secret: Path) -> Upload:
    make = dice.choice(
        [_laughs, _entity, _parameter_entity, _deep, _binary, _base64, _shapes, _links, _encodings, _mutated]
    )
    return dice.choice(["t.vot", "t.xml", "t"]), make(dice, secret).encode("utf-8", "surrogatepass")


def _laughs(_dice: random.Random, _secret: Path) -> str:
    lines = ['<!ENTITY a0 "ha">', *(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))]
    return f"{_HEAD}<!DOCTYPE VOTABLE [{''.join(lines)}]>{_OPEN}<DESCRIPTION>&a11;</DESCRIPTION>{_CLOSE}"


def _entity(dice: random.Random, secret: Path) -> str:
    kind = dice.choice(["SYSTEM", 'PUBLIC "x"'])
    cell = "<DATA><TABLEDATA><TR><TD>1</TD><TD>&x;</TD><TD>1</TD></TR></TABLEDATA></DATA>"
    return f'{_HEAD}<!DOCTYPE V [<!ENTITY x {kind} "{secret.as_uri()}">]>{_OPEN}{_FIELDS}{cell}{_CLOSE}'


def _parameter_entity(_dice: random.Random, secret: Path) -> str:
    return f'{_HEAD}<!DOCTYPE V [<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;]>{_OPEN}{_FIELDS}{_CLOSE}'


def _deep(_dice: random.Random, _secret: Path) -> str:
    return f"{_HEAD}<VOTABLE>{'<RESOURCE>' * 100_000}"


def _binary(dice: random.Random, _secret: Path) -> str:
    """Rows whose text and array say that they are longer than all there is."""
    length = dice.choice([-1, 2**31 - 1, -(2**31), 100, 2**24])
    row = struct.pack(">q", 7) + struct.pack(">i", dice.choice([3, length])) + b"abc" + struct.pack(">i", length)
    kind = dice.choice(["BINARY", "BINARY2"])
    data = (b"\x00" if kind == "BINARY2" else b"") + row + bytes(dice.randrange(40))
    return f'{_HEAD}{_OPEN}{_FIELDS}<DATA><{kind}><STREAM encoding="base64">{base64.b64encode(data).decode()}</STREAM></{kind}></DATA>{_CLOSE}'


def _base64(dice: random.Random, _secret: Path) -> str:
    text = "".join(dice.choice("ABCabc=+/ \n<&é\x0b") for _ in range(300)).replace("<", "").replace("&", "")
    encoding = dice.choice(["base64", "gzip", "none", "dynamic", "x"])
    return (
        f'{_HEAD}{_OPEN}{_FIELDS}<DATA><BINARY2><STREAM encoding="{encoding}">{text}</STREAM></BINARY2></DATA>{_CLOSE}'
    )


def _shapes(dice: random.Random, _secret: Path) -> str:
    size = dice.choice(["999999999999", "-5", "0", "99999x99999x99999", "*x*", "1e9", "", "x"])
    kind = dice.choice(["double", "char", "bit", "unicodeChar", "quadruple", "doubleComplex"])
    return (
        f'{_HEAD}{_OPEN}<FIELD name="a" datatype="{kind}" arraysize="{size}"/>'
        f"<DATA><TABLEDATA><TR><TD>1 2 3</TD></TR></TABLEDATA></DATA>{_CLOSE}"
    )


def _links(_dice: random.Random, secret: Path) -> str:
    return f'{_HEAD}{_OPEN}{_FIELDS}<DATA><BINARY2><STREAM href="{secret.as_uri()}"/></BINARY2></DATA>{_CLOSE}'


def _encodings(dice: random.Random, _secret: Path) -> str:
    name = dice.choice(["UTF-7", "UTF-16", "latin1", "idna", "rot13", "unicode_escape", "zlib", ""])
    return f'<?xml version="1.0" encoding="{name}"?>{_OPEN}{_FIELDS}{_CLOSE}'


def _mutated(dice: random.Random, _secret: Path) -> str:
    rows = "".join(f"<TR><TD>{i}</TD><TD>t</TD><TD>1 2</TD></TR>" for i in range(20))
    text = f"{_HEAD}{_OPEN}{_FIELDS}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA>{_CLOSE}"
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(text))
        text = (
            text[:at]
            + dice.choice(["", "<", "&#x0;", "&#xFFFF;", "]]>", "<!--", "\x00", "é", text[at : at + 50] * 3])
            + text[at + 1 :]
        )
    return text


def bomb(dice: random.Random, _secret: Path) -> Upload:
    """Little that unpacks to much."""
    kind = dice.choice(["gzip", "gzip rows", "zip", "parquet", "wide parquet", "nested gzip"])
    if kind == "parquet":
        return "t.parquet", _parquet_bomb(2_000_000, 40)
    if kind == "wide parquet":
        return "t.parquet", _parquet_bomb(150_000, 1_000)
    zeros = bytes(300 * 2**20)
    if kind == "zip":
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", zeros)
        return "t.csv.zip", sink.getvalue()
    data = gzip.compress(b"a,b\n" + b"1,2\n" * 20_000_000 if kind == "gzip rows" else b"a\n" + zeros, 1)
    if kind == "nested gzip":
        data = gzip.compress(data, 1)
    return dice.choice(["t.csv.gz", "t.vot.gz", "t.fits.gz", "t"]), data


_BOMBS: dict[tuple[int, int], bytes] = {}


def _parquet_bomb(rows: int, columns: int) -> bytes:
    if (rows, columns) not in _BOMBS:
        sink = io.BytesIO()
        column = pa.array(np.zeros(rows))
        pq.write_table(
            pa.table({f"c{i}": column for i in range(columns)}), sink, compression="zstd", row_group_size=rows
        )
        _BOMBS[rows, columns] = sink.getvalue()
    return _BOMBS[rows, columns]


def damaged(dice: random.Random, data: bytes) -> bytes:
    """*data* cut short, with bits flipped, or with a stretch of it moved."""
    how = dice.choice(["cut", "flip", "flip", "swap", "grow"])
    if how == "cut":
        return data[: dice.randrange(len(data))]
    if how == "grow":
        return data + bytes(dice.getrandbits(8) for _ in range(100))
    changed = bytearray(data)
    if how == "swap":
        a, b = sorted(dice.sample(range(len(data)), 2))
        changed[a:b] = changed[a:b][::-1]
    else:
        # Lengths and types stand at both ends of most formats.
        near = dice.choice([len(data), min(len(data), 200)])
        for _ in range(dice.randrange(1, 12)):
            at = dice.choice([dice.randrange(near), len(data) - 1 - dice.randrange(near)])
            changed[at] ^= 1 << dice.randrange(8)
    return bytes(changed)


UPLOADS: list[Callable[[random.Random, Path], Upload]] = [votable, votable, parquet, arrow, fits_table, csv]
