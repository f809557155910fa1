"""Random ADQL: queries by the grammar over given tables, most of them right, and mutations of any text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

#: Columns of a table by name, each of a family: number, integer, text, time, boolean, point, region, array.
type Columns = Mapping[str, str]

NUMBERS = ["0", "1", "-1", "2", "7", "0.5", "-2.5", "1e-3", "1e300"]
NUMBERS += ["9223372036854775807", "2147483648", "32767", "45.0"]
INTEGERS = [
    "0",
    "1",
    "-1",
    "2",
    "5",
    "29",
    "30",
    "2147483647",
    "9223372036854775807",
    "-9223372036854775808",
    "1000000",
]
TEXTS = [
    "",
    "a",
    "star 1",
    "it''s",
    "%",
    "_",
    "s%",
    "2000-01-01",
    "12:34:56.7",
    "1",
    "nan",
    "CIRCLE ICRS 1 2 3",
    "ä",
    "\\",
    "#a#b",
]
TIMES = ["'2000-01-01'", "'2026-11-24T12:00:00.123456Z'", "'1858-11-17T00:00:00'", "'9999-12-31'", "'0001-01-01'"]
UNITS = ["deg", "arcsec", "mag", "m", "rad", "km/s", "", "nonsense"]
FRAMES = ["ICRS", "GALACTIC", "FK4", "FK5", "ECLIPTIC", "galactic", "MARS"]
ONE_NUMBER = (
    *("ABS", "CEILING", "FLOOR", "DEGREES", "RADIANS", "EXP", "LOG", "LOG10", "ROUND", "SQRT", "TRUNCATE", "ACOS"),
    *("ASIN", "ATAN", "COS", "COT", "SIN", "TAN", "SIGN"),
)
AGGREGATES = (
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "STDDEV",
    "STDDEV_POP",
    "VARIANCE",
    "VAR_POP",
    "MEDIAN",
    "COUNT",
    "STDDEV_SAMP",
)
CASTS = (
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "REAL",
    "DOUBLE PRECISION",
    "CHAR(3)",
    "VARCHAR(5)",
    "VARCHAR",
    "TIMESTAMP",
    "BOOLEAN",
)
WORDS = [
    *(
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "BY",
        "HAVING",
        "ORDER",
        "TOP",
        "DISTINCT",
        "ALL",
        "AS",
        "JOIN",
        "LEFT",
        "FULL",
    ),
    *("NATURAL", "USING", "ON", "UNION", "EXCEPT", "INTERSECT", "WITH", "IN", "EXISTS", "NOT", "AND", "OR", "LIKE"),
    *(
        "BETWEEN",
        "IS",
        "NULL",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "CAST",
        "OFFSET",
        "TRUE",
        "FALSE",
        "DESC",
        "LIMIT",
    ),
    *(
        "POINT",
        "CIRCLE",
        "BOX",
        "POLYGON",
        "REGION",
        "CONTAINS",
        "INTERSECTS",
        "DISTANCE",
        "AREA",
        "CENTROID",
        "COORD1",
    ),
    *("COPY", "ATTACH", "PRAGMA", "read_csv", "getenv", "read_parquet", "main", "rowid", "TABLE", "VALUES", "COLUMNS"),
    *(
        "(",
        ")",
        ",",
        ".",
        ";",
        "*",
        "+",
        "-",
        "/",
        "||",
        "=",
        "<",
        ">",
        "<>",
        "<=",
        ">=",
        "!=",
        "==",
        "::",
        "[",
        "]",
        "{",
    ),
    *(
        "}",
        "?",
        "$1",
        ":x",
        "@",
        "#",
        "'",
        '"',
        "`",
        "--",
        "/*",
        "*/",
        "''",
        '""',
        "\\",
        "\0",
        "\n",
        "é",
        "😀",
        "%",
        "|",
        "&",
    ),
    *(
        "0",
        "1",
        "1e999",
        "1e",
        ".",
        "..",
        "0x1F",
        "99999999999999999999999",
        "NaN",
        "1.5.5",
        "'a'",
        '"id"',
        "'2000-13-45'",
    ),
]
_TOKEN = re.compile(r"\s+|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+|.", re.DOTALL)


@dataclass
class Source:
    """What stands in FROM under an alias."""

    alias: str
    columns: Columns


@dataclass
class QueryGenerator:
    """Queries over *tables*, by full names; *error_rate* is how often a value of a wrong family is taken."""

    rng: random.Random
    tables: Mapping[str, Columns]
    error_rate: float = 0.02
    sources: list[Source] = field(default_factory=list)
    aggregates: bool = False
    names: int = 0

    # -- queries -----------------------------------------------------------------------------------------------------

    def query(self) -> str:
        """A whole query."""
        kind = self.rng.random()
        if kind < 0.08:
            return self.with_tables()
        if kind < 0.2:
            return self.set_operation(2)
        return self.select(self.rng.choice([1, 2, 2, 3]))

    def with_tables(self) -> str:
        name = self.new_name("w")
        columns = self.rng.sample(["number", "integer", "text", "boolean", "time", "point"], self.rng.randint(1, 4))
        listed = {f"c{i}": family for i, family in enumerate(columns)}
        inner = self.select(1, columns)
        before = self.tables
        self.tables = {**before, name: listed}
        outer = self.select(2)
        self.tables = before
        return f"WITH {name} ({', '.join(listed)}) AS ({inner}) {outer}"

    def set_operation(self, depth: int) -> str:
        families = [
            self.rng.choice(["number", "integer", "text", "time", "boolean"]) for _ in range(self.rng.randint(1, 3))
        ]
        word = self.rng.choice(["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"])
        sides = [self.select(1, families) for _ in range(self.rng.randint(2, 3))]
        joined = f" {word} ".join(f"({s})" for s in sides)
        return joined + self.maybe(0.3, lambda: f" ORDER BY {self.rng.randint(1, len(families))}")

    def select(self, depth: int, families: Sequence[str] | None = None) -> str:
        """A SELECT; with *families*, of just such columns."""
        outer_sources, outer_aggregates = self.sources, self.aggregates
        self.sources, self.aggregates = [], False
        tables = self.from_clause(depth)
        where = self.maybe(0.6, lambda: f" WHERE {self.condition(depth)}")
        grouped = families is None and self.rng.random() < 0.2
        keys = [self.value(self.any_family(), 1) for _ in range(self.rng.randint(1, 2))] if grouped else []
        self.aggregates = grouped or (families is None and self.rng.random() < 0.1)
        wanted = families or [self.any_family() for _ in range(self.rng.randint(1, 4))]
        if self.aggregates:
            items = [*keys, *(self.aggregate() for _ in range(self.rng.randint(1, 3)))]
        elif families is None and self.rng.random() < 0.15:
            items = ["*"]
        elif families is not None:
            items = [f"{self.value(f, depth)} AS c{i}" for i, f in enumerate(wanted)]
        else:
            items = [self.value(f, depth) + self.maybe(0.3, lambda: f" AS {self.new_name('o')}") for f in wanted]
        head = self.maybe(0.1, lambda: "DISTINCT ") + self.maybe(
            0.25, lambda: f"TOP {self.rng.choice([0, 1, 5, 1000])} "
        )
        tail = f" GROUP BY {', '.join(keys)}" if keys else ""
        tail += self.maybe(0.4, lambda: f" HAVING {self.aggregate()} > 1") if grouped else ""
        tail += self.maybe(0.25, lambda: self.order_by(items, keys, depth))
        tail += self.maybe(0.05, lambda: f" OFFSET {self.rng.choice([0, 1, 10**6])}")
        self.sources, self.aggregates = outer_sources, outer_aggregates
        return f"SELECT {head}{', '.join(items)} FROM {tables}{where}{tail}"

    def order_by(self, items: Sequence[str], keys: Sequence[str], depth: int) -> str:
        by = [
            str(self.rng.randint(1, len(items))),
            *keys,
            self.value(self.any_family(), 1) if not self.aggregates else "1",
        ]
        return f" ORDER BY {self.rng.choice(by)}{self.rng.choice(['', ' DESC', ' ASC'])}"

    def from_clause(self, depth: int) -> str:
        text = self.source(depth)
        for _ in range(self.rng.choice([0, 0, 0, 1, 1, 2])):
            kind = self.rng.choice(
                ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "INNER JOIN", ",", "NATURAL JOIN", "USING"]
            )
            other = self.source(depth)
            shared = [c for c in self.sources[-1].columns if any(c in s.columns for s in self.sources[:-1])]
            if kind == ",":
                text += f", {other}"
            elif kind == "NATURAL JOIN" and shared:
                text += f" NATURAL JOIN {other}"
            elif kind == "USING" and shared:
                text += f" JOIN {other} USING ({self.rng.choice(shared)})"
            elif kind in ("USING", "NATURAL JOIN"):
                text += f" JOIN {other} ON {self.condition(1)}"
            else:
                text += f" {kind} {other} ON {self.join_condition()}"
        return text

    def source(self, depth: int) -> str:
        alias = self.new_name("t")
        if depth > 1 and self.rng.random() < 0.15:
            families = [self.any_family() for _ in range(self.rng.randint(1, 3))]
            before = list(self.sources)
            query = self.select(depth - 1, families)
            self.sources = before
            self.sources.append(Source(alias, {f"c{i}": f for i, f in enumerate(families)}))
            return f"({query}) AS {alias}"
        name = self.rng.choice(list(self.tables))
        self.sources.append(Source(alias, self.tables[name]))
        return f"{name} AS {alias}"

    def join_condition(self) -> str:
        first, second = self.rng.choice(self.sources), self.sources[-1]
        on_the_sky = all("ra" in s.columns and "id" in s.columns for s in (first, second))
        match self.rng.randrange(5) if on_the_sky else self.rng.randint(3, 4):
            case 0:
                return f"{first.alias}.id = {second.alias}.id"
            case 1:
                radius = self.rng.choice(["0.1", "1", "5.0 / 3600", "0", "30", "180", f"{second.alias}.mag", "NULL"])
                points = f"{first.alias}.ra, {first.alias}.dec, {second.alias}.ra, {second.alias}.dec"
                return f"DISTANCE({points}) {self.rng.choice(['<', '<=', '>', '='])} {radius}"
            case 2:
                radius = self.rng.choice(["0.5", "1", "40", f"{first.alias}.mag"])
                circle = f"CIRCLE({first.alias}.ra, {first.alias}.dec, {radius})"
                return f"1 = CONTAINS(POINT({second.alias}.ra, {second.alias}.dec), {circle})"
            case 3:
                return f"{self.value('integer', 1)} = {self.value('integer', 1)}"
            case _:
                return self.condition(1)

    # -- conditions ----------------------------------------------------------------------------------------------------

    def condition(self, depth: int) -> str:
        if depth > 0 and self.rng.random() < 0.4:
            left, right = self.condition(depth - 1), self.condition(depth - 1)
            return self.rng.choice(
                [f"({left} AND {right})", f"{left} OR {right}", f"NOT ({left})", f"({left})", f"{left} AND {right}"]
            )
        family = self.rng.choice(["number", "integer", "text", "time", "boolean"])
        value, other = self.value(family, depth), self.value(family, 0)
        negated = self.rng.choice(["", "", "NOT "])
        match self.rng.randrange(11):
            case 0 | 1 | 2:
                return f"{value} {self.rng.choice(['=', '<>', '<', '>', '<=', '>=', '!='])} {other}"
            case 3:
                return f"{value} {negated}BETWEEN {other} AND {self.value(family, 0)}"
            case 4:
                return f"{value} {negated}IN ({other}, {self.value(family, 0)})"
            case 5:
                return f"{value} IS {negated}NULL"
            case 6:
                return (
                    f"{self.value('text', depth)} {negated}{self.rng.choice(['LIKE', 'ILIKE'])} {self.value('text', 0)}"
                )
            case 7 if depth > 0:
                return f"{value} {negated}IN ({self.select(depth - 1, [family])})"
            case 8 if depth > 0:
                return f"{negated}EXISTS ({self.select(depth - 1)})"
            case 9:
                return self.value("boolean", 0)
            case _:
                name = self.rng.choice(["CONTAINS", "INTERSECTS"])
                first = self.value(self.rng.choice(["point", "point", "region"]), depth)
                call = f"{name}({first}, {self.value('region', depth)})"
                return self.rng.choice([f"1 = {call}", f"{call} = 1", f"{call} = 0", f"{call} <> 1", f"0 < {call}"])

    # -- values --------------------------------------------------------------------------------------------------------

    def value(self, family: str, depth: int) -> str:
        if self.rng.random() < self.error_rate:
            family = self.any_family()
        if self.rng.random() < 0.03:
            return "NULL"
        if depth <= 0 or self.rng.random() < 0.35:
            return self.leaf(family)
        choices: dict[str, Callable[[int], str]] = {
            "number": self.number,
            "integer": self.integer,
            "text": self.text,
            "time": lambda d: f"CAST({self.rng.choice(TIMES)} AS TIMESTAMP)",
            "point": self.point,
            "region": self.region,
        }
        return self.rng.choice(
            [choices.get(family, lambda _: self.leaf(family)), lambda d: self.conditional(family, d)]
        )(depth - 1)

    def leaf(self, family: str) -> str:
        column = self.column(family)
        if column is not None and self.rng.random() < 0.75:
            return column
        match family:
            case "number":
                return self.rng.choice([*NUMBERS, "PI()", "RAND()"])
            case "integer":
                return self.rng.choice(INTEGERS)
            case "text":
                return f"'{self.rng.choice(TEXTS)}'"
            case "time":
                return self.rng.choice(TIMES)
            case "boolean":
                return self.rng.choice(["TRUE", "FALSE"])
            case "point":
                return self.point(0)
            case "region":
                return self.region(0)
        return column or "NULL"

    def column(self, family: str) -> str | None:
        wanted = ("number", "integer") if family == "number" else (family,)
        found = [(s, name) for s in self.sources for name, kind in s.columns.items() if kind in wanted]
        if not found:
            return None
        source, name = self.rng.choice(found)
        return f"{source.alias}.{name}"

    def conditional(self, family: str, depth: int) -> str:
        value, other = self.value(family, depth), self.value(family, 0)
        match self.rng.randrange(4):
            case 0:
                return f"COALESCE({value}, {other})"
            case 1:
                return f"CASE WHEN {self.condition(min(depth, 1))} THEN {value} ELSE {other} END"
            case 2 if depth > 0:
                return f"({self.select(depth - 1, [family])})"
            case _:
                return f"({value})"

    def number(self, depth: int) -> str:
        a = self.value("number", depth)
        match self.rng.randrange(10):
            case 0 | 1 | 2:
                return f"{a} {self.rng.choice('+-*/')} {self.value('number', depth)}"
            case 3 | 4:
                return f"{self.rng.choice(ONE_NUMBER)}({a})"
            case 5:
                name = self.rng.choice(["MOD", "POWER", "ATAN2", "ivo_normal_random"])
                return f"{name}({a}, {self.value('number', 0)})"
            case 6:
                return f"{self.rng.choice(['ROUND', 'TRUNCATE'])}({a}, {self.value('integer', 0)})"
            case 7:
                point = self.value("point", 0)
                return self.rng.choice(
                    [
                        f"DISTANCE({point}, {self.value('point', 0)})",
                        f"COORD1({point})",
                        f"AREA({self.value('region', 0)})",
                    ]
                )
            case 8:
                time = self.value("time", 0)
                return self.rng.choice(
                    [
                        f"ivo_to_mjd({time})",
                        f"ivo_to_jd({time})",
                        f"ivo_hms_to_degrees({self.value('text', 0)})",
                        f"IN_UNIT({a}, '{self.rng.choice(UNITS)}')",
                        f"-{a}",
                    ]
                )
            case _:
                return f"CAST({self.value(self.any_family(), depth)} AS {self.rng.choice(CASTS)})"

    def integer(self, depth: int) -> str:
        a = self.value("integer", depth)
        match self.rng.randrange(7):
            case 0:
                return f"{a} {self.rng.choice('+-*/')} {self.value('integer', depth)}"
            case 1:
                return f"BITWISE_{self.rng.choice(['AND', 'OR', 'XOR'])}({a}, {self.value('integer', 0)})"
            case 2:
                return f"LENGTH({self.value('text', depth)})"
            case 3:
                angles = f"{self.value('number', 0)}, {self.value('number', 0)}"
                return f"ivo_healpix_index({self.value('integer', 0)}, {angles})"
            case 4:
                name = self.rng.choice(["ivo_nocasematch", "ivo_hasword", "ivo_hashlist_has"])
                return f"{name}({self.value('text', depth)}, {self.value('text', 0)})"
            case 5:
                return f"ivo_interval_overlaps({', '.join(self.value('number', 0) for _ in range(4))})"
            case _:
                return f"MOD({a}, {self.value('integer', 0)})"

    def text(self, depth: int) -> str:
        a = self.value("text", depth)
        match self.rng.randrange(6):
            case 0:
                return f"{self.rng.choice(['LOWER', 'UPPER', 'BTRIM'])}({a})"
            case 1:
                return f"{a} || {self.value('text', depth)}"
            case 2:
                return f"SUBSTR({a}, {self.value('integer', 0)}, {self.value('integer', 0)})"
            case 3:
                kind = self.rng.choice(["VARCHAR", "CHAR(4)", "VARCHAR(2)"])
                return f"CAST({self.value(self.any_family(), 0)} AS {kind})"
            case 4:
                return f"COORDSYS({self.value('point', 0)})"
            case _:
                return a

    def point(self, depth: int) -> str:
        ra, dec = self.value("number", min(depth, 1)), self.value("number", min(depth, 1))
        plain = self.rng.choice([f"POINT({ra}, {dec})", "POINT(10, -5)", f"POINT('ICRS', {ra}, {dec})", "POINT(0, 90)"])
        if depth <= 0:
            return plain
        frames = f"'{self.rng.choice(FRAMES)}', '{self.rng.choice(FRAMES)}'"
        epoch = ", ".join(self.value("number", 0) for _ in range(8))
        return self.rng.choice(
            [
                plain,
                f"CENTROID({self.value('region', depth - 1)})",
                f"ivo_healpix_center({self.value('integer', 0)}, {self.value('integer', 0)})",
                f"ivo_geom_transform({frames}, {plain})",
                f"ivo_epoch_prop_pos({epoch})",
            ]
        )

    def region(self, depth: int) -> str:
        a, b, c, d = (self.value("number", 0) for _ in range(4))
        somewhere = f"{self.rng.uniform(0, 360):.3f}, {self.rng.uniform(-90, 90):.3f}"
        return self.rng.choice(
            [
                f"CIRCLE({a}, {b}, {c})",
                f"CIRCLE({self.value('point', 0)}, {c})",
                f"CIRCLE({somewhere}, {self.rng.choice([0, 0.1, 2, 60, 180])})",
                f"BOX({a}, {b}, {c}, {d})",
                f"BOX({somewhere}, 2, 3)",
                f"POLYGON(10, 10, {a}, 10, {b}, {c})",
                "POLYGON(359, -1, 1, -1, 1, 1, 359, 1)",
                "REGION('POLYGON ICRS 10 10 20 10 15 20')",
                f"REGION('{self.rng.choice(TEXTS)}')",
                self.leaf("point"),
            ]
        )

    def aggregate(self) -> str:
        distinct = self.rng.choice(["", "", "DISTINCT "])
        match self.rng.randrange(8):
            case 0:
                return "COUNT(*)"
            case 1:
                return (
                    f"QUANTILE({distinct}{self.value('number', 1)}, {self.rng.choice(['0', '0.5', '1', '2', 'NULL'])})"
                )
            case 2:
                return f"CORR({self.value('number', 1)}, {self.value('number', 1)})"
            case 3:
                return f"ivo_string_agg({distinct}{self.value('text', 1)}, ',')"
            case 4:
                return f"ivo_histogram({self.value('number', 1)}, -10, 10, {self.rng.choice([1, 5, 100])})"
            case _:
                name = self.rng.choice(AGGREGATES)
                return (
                    f"{name}({distinct}{self.value('number' if name not in ('MIN', 'MAX') else self.any_family(), 1)})"
                )

    def any_family(self) -> str:
        return self.rng.choice(["number", "number", "integer", "text", "time", "boolean", "point", "region", "array"])

    def maybe(self, chance: float, make: Callable[[], str]) -> str:
        return make() if self.rng.random() < chance else ""

    def new_name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"


def mutated(rng: random.Random, text: str, other: str, words: Sequence[str] = ()) -> str:
    """*text* with one to four of its tokens changed, or crossed with *other*; *words* are more that may be put in."""
    tokens, pool = _TOKEN.findall(text), [*WORDS, *words]
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(tokens) + 1)
        match rng.randrange(8):
            case 0:
                tokens[place : place + rng.randint(1, 3)] = []
            case 1:
                tokens[place:place] = [rng.choice(pool)]
            case 2:
                tokens[place : place + 1] = [rng.choice(pool)]
            case 3 if tokens:
                tokens[place:place] = [rng.choice(tokens)]
            case 4:
                piece = _TOKEN.findall(other)
                start = rng.randrange(len(piece) + 1)
                tokens[place : place + rng.randint(0, 5)] = piece[start : start + rng.randint(1, 12)]
            case 5:
                tokens[place:] = []
            case 6 if len(tokens) > 1:
                first, second = rng.randrange(len(tokens)), rng.randrange(len(tokens))
                tokens[first], tokens[second] = tokens[second], tokens[first]
            case _ if tokens:
                at = rng.randrange(len(tokens))
                word = tokens[at]
                cut = rng.randrange(len(word) + 1)
                tokens[at] = word[:cut] + rng.choice([chr(rng.randrange(1, 128)), "'", '"', "\ud7ff", ""]) + word[cut:]
    return "".join(tokens)
