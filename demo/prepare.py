"""Turn the star catalogues of two Debian packages into tables to publish: tycho2.fits and kstars.ecsv.

``astrometry-data-tycho2`` holds the Tycho-2 stars as a kd-tree that astrometry.net made to recognise fields: unit
vectors, quantised to 32 bits over the cube, and a magnitude. ``kstars-data`` holds the bright stars of the
Hipparcos and Tycho catalogues in fixed columns. Run as ``python demo/prepare.py --packages DIR --out DIR``; where the
packages can't be had, ``--sample`` copies the small sample that is kept beside this file instead.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, Table

HERE = Path(__file__).parent
TYCHO_INDEX = "usr/share/astrometry/index-tycho2-07.littleendian.fits"
KSTARS_FILE = "usr/share/kstars/stars.dat"
#: Stars brighter than this are the sample: small enough to keep in the repository, enough to look at.
SAMPLE_LIMIT_MAG = 6.5


def read_tycho2(index: Path) -> Table:
    """Every Tycho-2 star of an astrometry.net index: star_id, ra, dec (deg, ICRS) and vt_mag (mag)."""
    with fits.open(index, memmap=True) as hdus:
        by_column = {hdu.columns.names[0]: hdu for hdu in hdus[1:]}
        code = np.frombuffer(by_column["kdtree_data_stars"].data["kdtree_data_stars"].tobytes(), "<u4").reshape(-1, 3)
        # Lowest corner, highest corner (3 each) and the number of steps per unit length, as the index's header says.
        bounds = np.frombuffer(by_column["kdtree_range_stars"].data["kdtree_range_stars"].tobytes(), "<f8")
        magnitude = np.array(by_column["MAG_VT"].data["MAG_VT"])
    vector = bounds[:3] + code / bounds[6]
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    return Table(
        {
            "star_id": np.arange(len(vector), dtype=np.int32),
            "ra": np.degrees(np.arctan2(vector[:, 1], vector[:, 0])) % 360.0 * u.deg,
            "dec": np.degrees(np.arcsin(vector[:, 2])) * u.deg,
            "vt_mag": magnitude.astype(np.float32) * u.mag,
        }
    )


def _number(text: str) -> float:
    text = text.strip()
    return float(text) if text else np.nan


def _parse_kstars_line(line: str) -> tuple[object, ...]:
    """One star from KStars' fixed columns; what follows the first comma is its names."""
    fixed, _, names = line.partition(",")
    designation, _, name = names.partition(",")
    spectral_type = fixed[56:58].strip()
    dec_deg = int(line[11:13]) + int(line[13:15]) / 60 + float(line[15:19]) / 3600
    return (
        15 * (int(line[0:2]) + int(line[2:4]) / 60 + float(line[4:9]) / 3600),
        -dec_deg if line[10] == "-" else dec_deg,
        _number(fixed[20:29]),
        _number(fixed[29:38]),
        _number(fixed[38:45]),
        _number(fixed[45:51]),
        _number(fixed[51:56]),
        spectral_type,
        fixed[59:60] == "1",
        _number(fixed[61:65]),
        _number(fixed[66:72]),
        designation.strip(),
        name.strip(),
    )


def read_kstars(stars: Path) -> Table:
    """KStars' stars, with positions in degrees (ICRS, J2000) and proper motions in mas/yr."""
    lines = [x for x in stars.read_text(encoding="utf-8").splitlines() if x and not x.startswith("#")]
    (ra, dec, pm_ra, pm_dec, plx, mag, b_v, sp, multiple, d_v, period, desig, name) = zip(
        *map(_parse_kstars_line, lines), strict=True
    )

    def text(values: tuple[object, ...]) -> MaskedColumn:
        return MaskedColumn([str(v) for v in values], mask=[not v for v in values])

    return Table(
        {
            "star_id": np.arange(1, len(lines) + 1, dtype=np.int32),
            "ra": np.array(ra) * u.deg,
            "dec": np.array(dec) * u.deg,
            "pmra": np.array(pm_ra, np.float32) * u.mas / u.yr,
            "pmdec": np.array(pm_dec, np.float32) * u.mas / u.yr,
            "parallax": np.array(plx, np.float32) * u.mas,
            "vmag": np.array(mag, np.float32) * u.mag,
            "b_v": np.array(b_v, np.float32) * u.mag,
            "sp_type": text(sp),
            "multiple": np.array(multiple, bool),
            "var_amplitude": np.array(d_v, np.float32) * u.mag,
            "var_period": np.array(period, np.float32) * u.day,
            "designation": text(desig),
            "name": text(name),
        }
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="folder that the two packages were unpacked in, or /")
    parser.add_argument("--out", type=Path, required=True, help="folder to write tycho2.fits and kstars.ecsv into")
    parser.add_argument("--sample", action="store_true", help="use the sample kept in the repository")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.sample:
        shutil.copy(HERE / "sample" / "tycho2.fits", options.out)
        shutil.copy(HERE / "sample" / "kstars.ecsv", options.out)
        return 0
    if options.packages is None:
        parser.error("say where the packages are with --packages, or ask for the --sample")
    for star_file, read, name in (
        (TYCHO_INDEX, read_tycho2, "tycho2.fits"),
        (KSTARS_FILE, read_kstars, "kstars.ecsv"),
    ):
        table = read(options.packages / star_file)
        table.write(options.out / name, overwrite=True)
        sys.stderr.write(f"{name}: {len(table):,} stars\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
