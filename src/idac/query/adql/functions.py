"""Every function that a query may call: its types, its unit, and where it is declared.

Nothing else can be called. An engine implements these by the name in ``calls``; ``/capabilities`` and the reference
page list them. Sources: ADQL 2.1 sections 2.3 (mathematical and trigonometrical), 4.2 to 4.7 (optional groups), and the
IVOA's "Catalogue of ADQL User Defined Functions" 1.2. Geometry has nodes of its own (``geometry.py``), and COALESCE and
IN_UNIT rules of their own (``calls.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from idac.query.adql.types import Family, widest
from idac.sky.frames import FRAMES
from idac.tables.model import DOUBLE, INT, LONG, POINT, STRING, DataType

type Group = Literal["core", "string", "aggregate", "udf"]
#: Where a value's unit comes from: the first argument's, its square, root or other power; else a unit's own name.
type UnitRule = str
#: From the types of the arguments to the type of the value.
type TypeRule = Callable[[Sequence[DataType]], DataType]


@dataclass(frozen=True, slots=True)
class Function:
    """A function as declared: one signature, the last *optional* parameters of which may be left out."""

    name: str  # upper case
    parameters: tuple[tuple[str, Family], ...]
    result: TypeRule
    description: str
    group: Group
    #: How to write the type of the value in a declaration.
    result_name: str = "DOUBLE"
    optional: int = 0
    aggregate: bool = False
    #: "same", "square", "root", "power", the name of a unit, or None.
    unit: UnitRule | None = None
    example: str | None = None
    #: Word that UCD1+ has for this statistic, added to the UCD of the column that it is of.
    stat: str | None = None
    #: What an engine implements: another function's name where this one is an alias of it.
    calls: str = ""
    #: Signatures beside the first, which the resolver turns into it.
    more_signatures: tuple[str, ...] = ()

    @property
    def engine_name(self) -> str:
        return self.calls or self.name

    @property
    def signature(self) -> str:
        """The first signature, with all its parameters, as TAPRegExt's ``form`` has it (TAPRegExt 1.0 section 2.3)."""
        return self._signature(len(self.parameters))

    @property
    def signatures(self) -> tuple[str, ...]:
        """Every way of calling it, each as a ``form``: the longest first."""
        counts = range(len(self.parameters), self.fewest - 1, -1)
        return (*map(self._signature, counts), *self.more_signatures)

    def _signature(self, count: int) -> str:
        shown = [f"{name} {_ADQL_NAMES[family]}" for name, family in self.parameters[:count]]
        return f"{self.name.lower()}({', '.join(shown)}) -> {self.result_name}"

    @property
    def fewest(self) -> int:
        return len(self.parameters) - self.optional


_ADQL_NAMES: dict[Family, str] = {
    "number": "DOUBLE",
    "integer": "BIGINT",
    "text": "VARCHAR",
    "time": "TIMESTAMP",
    "boolean": "BOOLEAN",
    "point": "POINT",
    "region": "REGION",
    "any": "ANY",
}


def _fixed(kind: DataType) -> TypeRule:
    return lambda _: kind


def _same(kinds: Sequence[DataType]) -> DataType:
    return kinds[0]


def _total(kinds: Sequence[DataType]) -> DataType:
    """SUM of whole numbers is a whole number, of anything else a double."""
    return LONG if kinds[0].is_integer else DOUBLE


def _text(kinds: Sequence[DataType]) -> DataType:
    return DataType(kinds[0].datatype, "*") if kinds[0].is_string else STRING


def _widest(kinds: Sequence[DataType]) -> DataType:
    return widest(kinds[0], kinds[1]) or DOUBLE


def _parameters(text: str) -> tuple[tuple[str, Family], ...]:
    """``"ra number, dec number"`` to pairs."""
    pairs = [part.split() for part in text.split(",") if part.strip()]
    return tuple((name, family) for name, family in pairs)  # type: ignore[misc]  # the families are checked by a test


def _core(name: str, parameters: str, description: str, *, result: TypeRule | None = None, **more: object) -> Function:
    return Function(name, _parameters(parameters), result or _fixed(DOUBLE), description, "core", **more)  # type: ignore[arg-type]


def _aggregate(name: str, parameters: str, description: str, **more: object) -> Function:
    result = more.pop("result", _fixed(DOUBLE))
    return Function(name, _parameters(parameters), result, description, "aggregate", aggregate=True, **more)  # type: ignore[arg-type]


def _udf(
    name: str, parameters: str, kind: DataType, result_name: str, description: str, example: str, **more: object
) -> Function:
    return Function(
        name,
        _parameters(parameters),
        _fixed(kind),
        description,
        "udf",
        result_name=result_name,
        example=example,
        **more,  # type: ignore[arg-type]
    )


_CORE = (
    _core("ABS", "x number", "Absolute value.", result=_same, unit="same"),
    _core("CEILING", "x number", "Smallest whole number that is not less than x.", unit="same"),
    _core("FLOOR", "x number", "Largest whole number that is not greater than x.", unit="same"),
    _core("DEGREES", "x number", "Radians to degrees.", unit="deg"),
    _core("RADIANS", "x number", "Degrees to radians.", unit="rad"),
    _core("EXP", "x number", "e to the power of x."),
    _core("LOG", "x number", "Natural logarithm."),
    _core("LOG10", "x number", "Logarithm to base 10."),
    _core("MOD", "x number, y number", "Remainder of x / y, with the sign of x.", result=_widest, unit="same"),
    _core("PI", "", "The number π."),
    _core("POWER", "x number, y number", "x to the power of y.", unit="power"),
    _core("RAND", "seed number", "A random number in [0, 1); the seed is ignored.", optional=1),
    _core("ROUND", "x number, n integer", "x rounded to n decimal places, 0 by default.", optional=1, unit="same"),
    _core("SQRT", "x number", "Square root.", unit="root"),
    _core("TRUNCATE", "x number, n integer", "x cut to n decimal places, 0 by default.", optional=1, unit="same"),
    _core("ACOS", "x number", "Arc cosine, in radians.", unit="rad"),
    _core("ASIN", "x number", "Arc sine, in radians.", unit="rad"),
    _core("ATAN", "x number", "Arc tangent, in radians.", unit="rad"),
    _core("ATAN2", "y number, x number", "Angle of the point (x, y), in radians.", unit="rad"),
    _core("COS", "x number", "Cosine of an angle in radians."),
    _core("COT", "x number", "Cotangent of an angle in radians."),
    _core("SIN", "x number", "Sine of an angle in radians."),
    _core("TAN", "x number", "Tangent of an angle in radians."),
    Function("LOWER", _parameters("x text"), _text, "x in lower case.", "string", result_name="VARCHAR"),
    Function("UPPER", _parameters("x text"), _text, "x in upper case.", "string", result_name="VARCHAR"),
)

_AGGREGATES = (
    _aggregate(
        "COUNT",
        "x any",
        "Number of rows, or of values that are not NULL.",
        result=_fixed(LONG),
        result_name="BIGINT",
    ),
    _aggregate("SUM", "x number", "Sum.", result=_total, unit="same"),
    _aggregate("AVG", "x number", "Mean.", unit="same", stat="stat.mean"),
    _aggregate("MIN", "x any", "Smallest value.", result=_same, unit="same", stat="stat.min"),
    _aggregate("MAX", "x any", "Largest value.", result=_same, unit="same", stat="stat.max"),
    _aggregate("STDDEV", "x number", "Standard deviation of a sample.", unit="same", stat="stat.stdev"),
    _aggregate("STDDEV_POP", "x number", "Standard deviation of a whole population.", unit="same", stat="stat.stdev"),
    _aggregate("VARIANCE", "x number", "Variance of a sample.", unit="square", stat="stat.variance"),
    _aggregate("VAR_POP", "x number", "Variance of a whole population.", unit="square", stat="stat.variance"),
    _aggregate("MEDIAN", "x number", "Median.", unit="same", stat="stat.median"),
    _aggregate("QUANTILE", "x number, q number", "Value below which the fraction q of the values lie.", unit="same"),
    _aggregate("CORR", "y number, x number", "Correlation coefficient of two columns."),
)

_UDFS = (
    _udf("IVO_HEALPIX_INDEX", "hpxOrder integer, long number, lat number", LONG, "BIGINT",
         "HEALPix index (nested) at the given order of a position: two angles in degrees, or one point.",
         "ivo_healpix_index(5, ra, dec)",
         more_signatures=("ivo_healpix_index(hpxOrder BIGINT, point POINT) -> BIGINT",)),
    _udf("IVO_HEALPIX_CENTER", "hpxOrder integer, hpxIndex integer", POINT, "POINT",
         "Centre of a HEALPix cell (nested).", "ivo_healpix_center(5, 1234)", unit="deg"),
    _udf("IVO_EPOCH_PROP_POS",
         "ra number, dec number, parallax number, pmra number, pmdec number, radial_velocity number, ref_epoch number, "
         "out_epoch number", POINT, "POINT",
         "Position at out_epoch of a star that moves uniformly in space; angles in degrees, mas and mas/yr, velocity "
         "in km/s, epochs in Julian years.", "ivo_epoch_prop_pos(ra, dec, parallax, pmra, pmdec, 0, 2000, 2026)",
         unit="deg"),
    _udf("IVO_EPOCH_PROP",
         "ra number, dec number, parallax number, pmra number, pmdec number, radial_velocity number, ref_epoch number, "
         "out_epoch number", DataType("double", "6"), "DOUBLE[6]",
         "The six parameters of a star that moves uniformly in space, at out_epoch: position in degrees, parallax in "
         "mas, proper motion in mas/yr, radial velocity in km/s; NaN for those that are NULL at ref_epoch.",
         "ivo_epoch_prop(ra, dec, parallax, pmra, pmdec, NULL, 2000, 2026)"),
    _udf("IVO_GEOM_TRANSFORM", "from_sys text, to_sys text, geo region", POINT, "REGION",
         "A point, circle or polygon in another frame; the frames are named by literal text: " + ", ".join(FRAMES)
         + ". A circle or polygon must be written with CIRCLE(…) or POLYGON(…).",
         "ivo_geom_transform('ICRS', 'GALACTIC', POINT(ra, dec))", unit="deg"),
    _udf("IVO_TO_JD", "t time", DOUBLE, "DOUBLE", "Julian date of a timestamp.", "ivo_to_jd(obs_time)", unit="d"),
    _udf("IVO_TO_MJD", "t time", DOUBLE, "DOUBLE", "Modified Julian date of a timestamp.", "ivo_to_mjd(obs_time)",
         unit="d"),
    _udf("IVO_NOCASEMATCH", "value text, pattern text", INT, "INTEGER",
         "1 where the value matches a LIKE pattern regardless of case, else 0.", "ivo_nocasematch(name, 'm%')"),
    _udf("IVO_HASWORD", "haystack text, needle text", INT, "INTEGER",
         "1 where the text has every word of needle, regardless of case, else 0.",
         "ivo_hasword(description, 'quasar')"),
    _udf("IVO_HASHLIST_HAS", "hashlist text, item text", INT, "INTEGER",
         "1 where a list with # between its items has the item, regardless of case, else 0.",
         "ivo_hashlist_has('radio#optical', 'radio')"),
    _udf("IVO_INTERVAL_OVERLAPS", "l1 number, h1 number, l2 number, h2 number", INT, "INTEGER",
         "1 where the interval from l1 to h1 and that from l2 to h2 have a point in common, else 0; an interval that "
         "ends before it begins has none.",
         "ivo_interval_overlaps(t_min, t_max, 59000, 59100)"),
    _udf("IVO_NORMAL_RANDOM", "mu number, sigma number", DOUBLE, "DOUBLE",
         "A random number from a normal distribution.", "ivo_normal_random(0, 1)"),
    _udf("IVO_HMS_TO_DEGREES", "hms text", DOUBLE, "DOUBLE",
         "A right ascension such as 12:34:56.7 in degrees.", "ivo_hms_to_degrees('12:34:56.7')", unit="deg"),
    _udf("IVO_DMS_TO_DEGREES", "dms text", DOUBLE, "DOUBLE",
         "A declination such as -12:34:56.7 in degrees.", "ivo_dms_to_degrees('-12:34:56.7')", unit="deg"),
    _udf("IVO_STRING_AGG", "value text, delimiter text", STRING, "VARCHAR",
         "The texts of a group, joined with the delimiter.", "ivo_string_agg(name, ', ')", aggregate=True),
    _udf("IVO_HISTOGRAM", "value number, lower number, upper number, nbins integer",
         DataType("long", "*"), "BIGINT[]",
         "Numbers of values of a group in nbins equal bins from lower to upper; the first and last element count what "
         "lies below and above. NULL counts as below.", "ivo_histogram(vt_mag, 0, 16, 16)", aggregate=True),
    _udf("BITWISE_AND", "a integer, b integer", LONG, "BIGINT", "Bits that both numbers have.",
         "bitwise_and(flags, 4)"),
    _udf("BITWISE_OR", "a integer, b integer", LONG, "BIGINT", "Bits that either number has.", "bitwise_or(flags, 4)"),
    _udf("BITWISE_XOR", "a integer, b integer", LONG, "BIGINT", "Bits that one number alone has.",
         "bitwise_xor(flags, 4)"),
    _udf("SIGN", "x number", DOUBLE, "DOUBLE", "-1, 0 or 1.", "sign(parallax)"),
    _udf("LENGTH", "x text", LONG, "BIGINT", "Number of characters.", "length(name)"),
    _udf("BTRIM", "x text", STRING, "VARCHAR", "x without spaces at its ends.", "btrim(name)", calls="TRIM"),
    _udf("SUBSTR", "x text, start integer, length integer", STRING, "VARCHAR",
         "Part of x from the character number start, from 1.", "substr(name, 1, 3)", optional=1, calls="SUBSTRING"),
)  # fmt: skip


def _alias(name: str, of: Function) -> Function:
    """Another name under which a function is known elsewhere; for engines it does not exist."""
    example = of.example.replace(of.name.lower(), name.lower()) if of.example else None
    return replace(
        of,
        name=name,
        description=f"The same as {of.name.lower()}.",
        example=example,
        calls=of.engine_name,
        more_signatures=tuple(s.replace(of.name.lower(), name.lower()) for s in of.more_signatures),
    )


_OWN = {f.name: f for f in (*_CORE, *_AGGREGATES, *_UDFS)}
_ALIASES = (
    _alias("STDDEV_SAMP", _OWN["STDDEV"]),
    _alias("VAR_SAMP", _OWN["VARIANCE"]),
    # GAVO DaCHS had these before the catalogue did, and queries written for it use them.
    *(
        _alias(f"GAVO_{name}", _OWN[f"IVO_{of}"])
        for name, of in (
            ("TO_MJD", "TO_MJD"),
            ("TO_JD", "TO_JD"),
            ("NORMAL_RANDOM", "NORMAL_RANDOM"),
            ("HISTOGRAM", "HISTOGRAM"),
            ("TRANSFORM", "GEOM_TRANSFORM"),
        )
    ),
)
FUNCTIONS: dict[str, Function] = _OWN | {f.name: f for f in _ALIASES}
#: Functions with a syntax or a type rule of their own, which the resolver knows by name: group and description.
SPECIAL = {
    "COALESCE": ("conditional", "The first of its arguments that is not NULL."),
    "IN_UNIT": ("unit", "The first argument, a number with a unit, in the unit that the second names."),
}
