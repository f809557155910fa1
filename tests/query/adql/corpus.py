"""Queries that ADQL 2.1 has, and texts that it has not, written for these tests after the grammar of the standard."""

from __future__ import annotations

#: Valid by the grammar. Names need not exist.
VALID = """
SELECT * FROM t
select * from t
SELECT a FROM t
SELECT a, b, c FROM t
SELECT ALL a FROM t
SELECT DISTINCT a FROM t
SELECT TOP 10 a FROM t
SELECT DISTINCT TOP 10 a FROM t
SELECT TOP 0 * FROM t
SELECT t.* FROM t
SELECT s.t.* FROM s.t
SELECT a AS b FROM t
SELECT a b FROM t
SELECT "a" FROM "t"
SELECT "a ""b"" c" FROM t
SELECT "select" FROM "from"
SELECT t.a FROM t
SELECT s.t.a FROM s.t
SELECT c.s.t.a FROM c.s.t
SELECT a FROM t AS u
SELECT a FROM t u
SELECT a FROM t, u
SELECT a FROM t, u, v
SELECT a FROM t JOIN u ON t.x = u.x
SELECT a FROM t INNER JOIN u ON t.x = u.x
SELECT a FROM t LEFT JOIN u ON t.x = u.x
SELECT a FROM t LEFT OUTER JOIN u ON t.x = u.x
SELECT a FROM t RIGHT JOIN u ON t.x = u.x
SELECT a FROM t RIGHT OUTER JOIN u ON t.x = u.x
SELECT a FROM t FULL JOIN u ON t.x = u.x
SELECT a FROM t FULL OUTER JOIN u ON t.x = u.x
SELECT a FROM t NATURAL JOIN u
SELECT a FROM t NATURAL LEFT JOIN u
SELECT a FROM t JOIN u USING (x)
SELECT a FROM t JOIN u USING (x, y)
SELECT a FROM t JOIN u ON t.x = u.x JOIN v ON u.y = v.y
SELECT a FROM (t JOIN u ON t.x = u.x)
SELECT a FROM (t JOIN u ON t.x = u.x) JOIN v ON v.y = t.y
SELECT a FROM t, u JOIN v ON u.x = v.x
SELECT a FROM (SELECT b FROM t) AS s
SELECT a FROM (SELECT b FROM t) s
SELECT a FROM ((SELECT b FROM t)) s
SELECT a FROM (SELECT b FROM t) s JOIN (SELECT c FROM u) r ON s.b = r.c
SELECT a FROM t WHERE a = 1
SELECT a FROM t WHERE a <> 1
SELECT a FROM t WHERE a != 1
SELECT a FROM t WHERE a < 1
SELECT a FROM t WHERE a > 1
SELECT a FROM t WHERE a <= 1
SELECT a FROM t WHERE a >= 1
SELECT a FROM t WHERE a = 1 AND b = 2
SELECT a FROM t WHERE a = 1 OR b = 2
SELECT a FROM t WHERE NOT a = 1
SELECT a FROM t WHERE NOT (a = 1 AND b = 2)
SELECT a FROM t WHERE (a = 1 OR b = 2) AND c = 3
SELECT a FROM t WHERE (a + 1) * 2 > 3
SELECT a FROM t WHERE a BETWEEN 1 AND 2
SELECT a FROM t WHERE a NOT BETWEEN 1 AND 2
SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND b = 3
SELECT a FROM t WHERE a IN (1)
SELECT a FROM t WHERE a IN (1, 2, 3)
SELECT a FROM t WHERE a NOT IN (1, 2, 3)
SELECT a FROM t WHERE a IN ('x', 'y')
SELECT a FROM t WHERE a IN (SELECT b FROM u)
SELECT a FROM t WHERE a NOT IN (SELECT b FROM u)
SELECT a FROM t WHERE a LIKE 'x%'
SELECT a FROM t WHERE a NOT LIKE 'x_'
SELECT a FROM t WHERE a ILIKE 'X%'
SELECT a FROM t WHERE a NOT ILIKE 'X%'
SELECT a FROM t WHERE LOWER(a) LIKE 'x%'
SELECT a FROM t WHERE a IS NULL
SELECT a FROM t WHERE a IS NOT NULL
SELECT a FROM t WHERE EXISTS (SELECT b FROM u)
SELECT a FROM t WHERE NOT EXISTS (SELECT b FROM u WHERE u.b = t.a)
SELECT 1 FROM t
SELECT 1.5 FROM t
SELECT .5 FROM t
SELECT 5. FROM t
SELECT 1e5 FROM t
SELECT 1.5E-3 FROM t
SELECT -1 FROM t
SELECT +1 FROM t
SELECT - - 1 FROM t
SELECT 'text' FROM t
SELECT 'it''s' FROM t
SELECT '' FROM t
SELECT a + b FROM t
SELECT a - b FROM t
SELECT a * b FROM t
SELECT a / b FROM t
SELECT a + b * c - d / e FROM t
SELECT (a + b) * c FROM t
SELECT -a FROM t
SELECT -(a + b) FROM t
SELECT a || b FROM t
SELECT a || '-' || b FROM t
SELECT COUNT(*) FROM t
SELECT COUNT(a) FROM t
SELECT COUNT(DISTINCT a) FROM t
SELECT COUNT(ALL a) FROM t
SELECT SUM(a), AVG(a), MIN(a), MAX(a) FROM t
SELECT SUM(DISTINCT a) FROM t
SELECT AVG(a + b) FROM t
SELECT a, COUNT(*) FROM t GROUP BY a
SELECT a, b, COUNT(*) FROM t GROUP BY a, b
SELECT ROUND(a, 1), COUNT(*) FROM t GROUP BY ROUND(a, 1)
SELECT a, COUNT(*) FROM t GROUP BY a HAVING COUNT(*) > 1
SELECT a, COUNT(*) AS n FROM t WHERE b > 0 GROUP BY a HAVING AVG(b) < 3 ORDER BY n DESC
SELECT a FROM t ORDER BY a
SELECT a FROM t ORDER BY a ASC
SELECT a FROM t ORDER BY a DESC
SELECT a, b FROM t ORDER BY a, b DESC
SELECT a FROM t ORDER BY 1
SELECT a FROM t ORDER BY a + b
SELECT a FROM t ORDER BY t.a
SELECT a FROM t OFFSET 10
SELECT TOP 5 a FROM t ORDER BY a OFFSET 10
SELECT ABS(a), CEILING(a), FLOOR(a), DEGREES(a), RADIANS(a) FROM t
SELECT EXP(a), LOG(a), LOG10(a), MOD(a, 2), PI(), POWER(a, 2) FROM t
SELECT RAND(), RAND(5), ROUND(a), ROUND(a, 2), SQRT(a), TRUNCATE(a), TRUNCATE(a, 1) FROM t
SELECT ACOS(a), ASIN(a), ATAN(a), ATAN2(a, b), COS(a), COT(a), SIN(a), TAN(a) FROM t
SELECT LOWER(a), UPPER(a) FROM t
SELECT COALESCE(a, b, 0) FROM t
SELECT IN_UNIT(a, 'arcsec') FROM t
SELECT CAST(a AS INTEGER) FROM t
SELECT CAST(a AS SMALLINT), CAST(a AS BIGINT), CAST(a AS REAL), CAST(a AS DOUBLE PRECISION) FROM t
SELECT CAST(a AS CHAR(5)), CAST(a AS VARCHAR(5)), CAST(a AS VARCHAR), CAST(a AS TIMESTAMP) FROM t
SELECT POINT(ra, dec) FROM t
SELECT POINT('ICRS', ra, dec) FROM t
SELECT POINT('', 1, 2) FROM t
SELECT CIRCLE(ra, dec, 1) FROM t
SELECT CIRCLE('ICRS', ra, dec, 1) FROM t
SELECT CIRCLE(POINT(ra, dec), 1) FROM t
SELECT CIRCLE('ICRS', POINT('ICRS', ra, dec), 1) FROM t
SELECT BOX(ra, dec, 1, 2) FROM t
SELECT BOX('ICRS', ra, dec, 1, 2) FROM t
SELECT BOX(POINT(ra, dec), 1, 2) FROM t
SELECT POLYGON(1, 1, 2, 1, 2, 2) FROM t
SELECT POLYGON('ICRS', 1, 1, 2, 1, 2, 2, 1, 2) FROM t
SELECT POLYGON(POINT(1, 1), POINT(2, 1), POINT(2, 2)) FROM t
SELECT REGION('CIRCLE ICRS 1 2 3') FROM t
SELECT AREA(CIRCLE(1, 2, 3)), CENTROID(CIRCLE(1, 2, 3)) FROM t
SELECT COORD1(POINT(ra, dec)), COORD2(POINT(ra, dec)), COORDSYS(POINT(ra, dec)) FROM t
SELECT DISTANCE(POINT(1, 2), POINT(3, 4)) FROM t
SELECT DISTANCE(ra, dec, 3, 4) FROM t
SELECT a FROM t WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(1, 2, 3))
SELECT a FROM t WHERE CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 1, 2, 3)) = 1
SELECT a FROM t WHERE 0 = CONTAINS(POINT(ra, dec), BOX(1, 2, 3, 4))
SELECT a FROM t WHERE INTERSECTS(CIRCLE(ra, dec, 1), POLYGON(1, 1, 2, 1, 2, 2)) = 1
SELECT a FROM t WHERE CONTAINS(POINT(1, 2), s_region) = 1
SELECT a FROM t WHERE INTERSECTS(s_region, CIRCLE(1, 2, 3)) = 1
SELECT a FROM t JOIN u ON DISTANCE(t.ra, t.dec, u.ra, u.dec) < 1 / 3600.
SELECT a FROM t JOIN u ON 1 = CONTAINS(POINT(t.ra, t.dec), CIRCLE(u.ra, u.dec, 0.001))
WITH w AS (SELECT a FROM t) SELECT * FROM w
WITH w AS (SELECT a FROM t), v AS (SELECT b FROM w) SELECT * FROM v
WITH w(x) AS (SELECT a FROM t) SELECT x FROM w
SELECT a FROM t UNION SELECT b FROM u
SELECT a FROM t UNION ALL SELECT b FROM u
SELECT a FROM t EXCEPT SELECT b FROM u
SELECT a FROM t EXCEPT ALL SELECT b FROM u
SELECT a FROM t INTERSECT SELECT b FROM u
SELECT a FROM t INTERSECT ALL SELECT b FROM u
SELECT a FROM t UNION SELECT b FROM u UNION SELECT c FROM v
SELECT a FROM t UNION SELECT b FROM u INTERSECT SELECT c FROM v
(SELECT a FROM t) UNION (SELECT b FROM u)
(SELECT a FROM t UNION SELECT b FROM u) EXCEPT SELECT c FROM v
SELECT a FROM t UNION SELECT b FROM u ORDER BY a
SELECT a FROM t UNION SELECT b FROM u ORDER BY 1 OFFSET 3
(SELECT TOP 3 a FROM t ORDER BY a) UNION (SELECT TOP 3 b FROM u ORDER BY b)
SELECT ivo_healpix_index(5, ra, dec) FROM t
SELECT my_function(a, b) FROM t
SELECT a FROM t;
SELECT a -- a comment\\n FROM t
SELECT a\\nFROM\\tt
SELECT a FROM t WHERE b = 'a\\nb'
SELECT a FROM t WHERE flag = TRUE
SELECT a FROM t WHERE flag = FALSE OR NOT other = TRUE
SELECT NULL FROM t
SELECT dec FROM t
SELECT CASE WHEN a > 0 THEN 1 ELSE 0 END FROM t
SELECT CASE a WHEN 1 THEN 'x' WHEN 2 THEN 'y' END AS kind FROM t
SELECT a FROM t WHERE a > (SELECT AVG(b) FROM u)
""".strip().splitlines()

#: Not ADQL 2.1: each with a part of what the error must say.
INVALID: list[tuple[str, str]] = [
    ("", "The query is empty"),
    ("   ", "The query is empty"),
    ("-- nothing but a comment", "The query is empty"),
    ("SELECT", "a column name, value or function"),
    ("SELECT a", "a comma, AS or FROM"),
    ("SELECT FROM t", "FROM is a reserved word"),
    ("SELECT a FROM", "a table name"),
    ("SELECT a, FROM t", "FROM is a reserved word"),
    ("SELECT a b c FROM t", "a comma, AS or FROM"),
    ("SELECT a FROM t WHERE", "a column name, value or function"),
    ("SELECT a FROM t WHERE a =", "a column name, value or function"),
    ("SELECT a FROM t WHERE a = = 1", "Equality is written with one sign"),
    ("SELECT a FROM t WHERE a == 1", "Equality is written with one sign"),
    ("SELECT a FROM t WHERE AND b = 1", "AND is a reserved word"),
    ("SELECT a FROM t WHERE a IN ()", "a column name, value or function"),
    ("SELECT a FROM t WHERE a IN 1", "( after IN"),
    ("SELECT a FROM t WHERE a BETWEEN 1", "AND between the two limits"),
    ("SELECT a FROM t WHERE a IS 1", "NULL after IS"),
    ("SELECT a FROM t WHERE a IS TRUE", "NULL after IS"),
    ("SELECT a FROM t WHERE a NOT = 1", "the end of the query"),
    ("SELECT a FROM t WHERE (a = 1", ") to close the parenthesis"),
    ("SELECT a FROM t WHERE a = 1)", "the end of the query"),
    ("SELECT a FROM t GROUP a", "BY after GROUP"),
    ("SELECT a FROM t ORDER a", "BY after ORDER"),
    ("SELECT a FROM t ORDER BY", "a column name, value or function"),
    ("SELECT a FROM t ORDER BY a NULLS FIRST", "the end of the query"),
    ("SELECT a FROM t LIMIT 5", "ADQL has no LIMIT; write SELECT TOP n"),
    ("SELECT a FROM t LIMIT 5 OFFSET 5", "ADQL has no LIMIT"),
    ("SELECT a FROM t FETCH FIRST 5 ROWS ONLY", "ADQL has no FETCH"),
    ("SELECT a FROM t OFFSET x", "A whole number is needed after OFFSET"),
    ("SELECT a FROM t OFFSET -1", "A whole number is needed after OFFSET"),
    ("SELECT TOP a FROM t", "A whole number is needed after TOP"),
    ("SELECT TOP 1.5 a FROM t", "A whole number is needed after TOP"),
    ("SELECT TOP -1 a FROM t", "A whole number is needed after TOP"),
    ("SELECT TOP (5) a FROM t", "A whole number is needed after TOP"),
    ("SELECT TOP 5 DISTINCT a FROM t", "DISTINCT stands before TOP"),
    ("SELECT a FROM t JOIN u", "JOIN needs to say which rows belong together"),
    ("SELECT a FROM t CROSS JOIN u", "ADQL has no CROSS JOIN"),
    ("SELECT a FROM t LEFT u ON t.x = u.x", "JOIN in a join"),
    ("SELECT a FROM t NATURAL JOIN u ON t.x = u.x", "NATURAL JOIN takes neither ON nor USING"),
    ("SELECT a FROM t JOIN u USING x", "( after USING"),
    ("SELECT a FROM t JOIN LATERAL (SELECT 1 FROM u) v ON 1 = 1", "ADQL has no table functions"),
    ("SELECT a FROM (SELECT b FROM t)", "A sub-query in FROM needs a name"),
    ("SELECT a FROM (SELECT b FROM t", ") after a sub-query"),
    ("SELECT a FROM read_parquet('x')", "ADQL has no table functions"),
    ("SELECT a FROM read_csv_auto('/etc/passwd') t", "ADQL has no table functions"),
    ("SELECT a FROM '/etc/passwd'", "A table is named, not quoted as text"),
    ("SELECT a FROM a.b.c.d", "A table name has too many parts"),
    ("SELECT a.b.c.d.e FROM t", "A column name has too many parts"),
    ("SELECT * EXCLUDE (a) FROM t", "a comma, AS or FROM"),
    ("SELECT * REPLACE (1 AS a) FROM t", "a comma, AS or FROM"),
    ("SELECT COLUMNS('a') FROM t WHERE", "a column name, value or function"),
    ("SELECT a::INTEGER FROM t", "Write CAST(value AS type)"),
    ("SELECT [1, 2] FROM t", "ADQL has no arrays"),
    ("SELECT a[1] FROM t", "ADQL has no arrays"),
    ("SELECT {'a': 1} FROM t", "ADQL has no braces"),
    ("SELECT a FROM t WHERE a = ?", "ADQL has no parameters"),
    ("SELECT a FROM t WHERE a = $1", "ADQL has no parameters"),
    ("SELECT a FROM t WHERE a = :x", "ADQL has no parameters"),
    ("SELECT @a FROM t", "ADQL has no variables"),
    ("SELECT a % 2 FROM t", "Write MOD(a, b)"),
    ("SELECT a ^ 2 FROM t", "Write POWER(a, b)"),
    ("SELECT a & 2 FROM t", "BITWISE_AND"),
    ("SELECT a | 2 FROM t", "Text is joined with ||"),
    ("SELECT !a FROM t", "Write NOT before a condition"),
    ("SELECT `a` FROM t", "double quotes"),
    ("SELECT a FROM t # comment", "Comments begin with two hyphens"),
    ("SELECT a /* comment */ FROM t", "ADQL has no comments of this kind"),
    ("SELECT _a FROM t", "Regular names begin with a letter"),
    ("SELECT é FROM t", "Letters outside ASCII"),
    ("SELECT 'a FROM t", "A string is not closed"),
    ('SELECT "a FROM t', "A delimited name is not closed"),
    ('SELECT "" FROM t', "A delimited name is empty"),
    ("SELECT 'a\\'b' FROM t", "A string is not closed"),
    ("SELECT 1abc FROM t", "A number runs into a name"),
    ("SELECT 0x1F FROM t", "A number runs into a name"),
    ("SELECT date FROM t", 'As a name it is written "date"'),
    ("SELECT a AS date FROM t", 'As a name it is written "date"'),
    ("SELECT a AS FROM t", "FROM is a reserved word"),
    ("SELECT a FROM table", "TABLE is a reserved word"),
    ("SELECT a FROM t AS", "a table alias"),
    ("SELECT size FROM t", 'as a name it is written "size"'),
    ("SELECT COUNT(* FROM t", ") after the arguments of COUNT"),
    ("SELECT COUNT(*, a) FROM t", ") after the arguments of COUNT"),
    ("SELECT f(a FROM t", ") after the arguments of f"),
    ("SELECT f(,a) FROM t", "a column name, value or function"),
    ("SELECT f(a) OVER (PARTITION BY b) FROM t", "a comma, AS or FROM"),
    ("SELECT f(a) FILTER (WHERE b) FROM t", "a comma, AS or FROM"),
    ("SELECT s.f(a) FROM t", "a comma, an operator or the next clause"),
    ("SELECT CAST(a, INTEGER) FROM t", "AS in CAST(value AS type)"),
    ("SELECT CAST(a AS foo) FROM t", "CAST does not know this type"),
    ("SELECT CAST(a AS DECIMAL(3, 1)) FROM t", ") after a length"),
    ("SELECT CAST(a AS INTEGER[]) FROM t", "ADQL has no arrays"),
    ("SELECT TRY_CAST(a AS INTEGER) FROM t", ") after the arguments of TRY_CAST"),
    ("SELECT CASE END FROM t", "END is a reserved word"),
    ("SELECT CASE WHEN a > 1 THEN 2 FROM t", "END at the end of CASE"),
    ("SELECT EXTRACT(year FROM a) FROM t", "EXTRACT is a reserved word"),
    ("SELECT CURRENT_TIMESTAMP FROM t", "ADQL does not know the time; write it as text"),
    ("SELECT INTERVAL '1' DAY FROM t", "ADQL has no INTERVAL"),
    ("SELECT a FROM t UNION", "Allowed: SELECT"),
    ("SELECT a FROM t UNION b", "Allowed: SELECT"),
    ("SELECT a FROM t UNION BY NAME SELECT b FROM u", "Allowed: SELECT"),
    ("SELECT a FROM t ORDER BY a UNION SELECT b FROM u", "stand after the last query of a set operation"),
    ("SELECT a FROM t MINUS SELECT b FROM u", "the end of the query"),
    ("WITH w AS SELECT a FROM t SELECT * FROM w", "( before the query of a common table"),
    ("WITH w AS (SELECT a FROM t)", "Allowed: SELECT"),
    ("WITH RECURSIVE w AS (SELECT a FROM t) SELECT * FROM w", "ADQL has no recursive WITH"),
    ("WITH w AS (DELETE FROM t) SELECT * FROM w", "DELETE is a reserved word"),
    ("SELECT a FROM t; SELECT b FROM u", "the end of the query"),
    ("SELECT a FROM t;;", "the end of the query"),
    ("; SELECT a FROM t", "Allowed: SELECT"),
    ("FROM t", "This is not a query. Given: FROM"),
    ("FROM t SELECT a", "This is not a query. Given: FROM"),
    ("VALUES (1)", "Queries only read: begin with SELECT or WITH."),
    ("TABLE t", "This is not a query. Given: TABLE"),
    ("DROP TABLE t", "Queries only read: begin with SELECT or WITH."),
    ("DELETE FROM t", "Queries only read: begin with SELECT or WITH."),
    ("UPDATE t SET a = 1", "Queries only read: begin with SELECT or WITH."),
    ("INSERT INTO t VALUES (1)", "Queries only read: begin with SELECT or WITH."),
    ("CREATE TABLE t (a INTEGER)", "Queries only read: begin with SELECT or WITH."),
    ("ALTER TABLE t ADD a INTEGER", "Queries only read: begin with SELECT or WITH."),
    ("GRANT ALL ON t TO u", "Queries only read: begin with SELECT or WITH."),
    ("COPY t TO 'x'", "Queries only read: begin with SELECT or WITH."),
    ("ATTACH 'x'", "Queries only read: begin with SELECT or WITH."),
    ("PRAGMA version", "Queries only read: begin with SELECT or WITH."),
    ("SET threads = 1", "Queries only read: begin with SELECT or WITH."),
    ("INSTALL httpfs", "Queries only read: begin with SELECT or WITH."),
    ("LOAD httpfs", "Queries only read: begin with SELECT or WITH."),
    ("CALL f()", "Queries only read: begin with SELECT or WITH."),
    ("EXPLAIN SELECT a FROM t", "Queries only read: begin with SELECT or WITH."),
    ("DESCRIBE t", "Queries only read: begin with SELECT or WITH."),
    ("SHOW TABLES", "Queries only read: begin with SELECT or WITH."),
    ("PIVOT t ON a", "Allowed: SELECT"),
    ("SELECT a INTO u FROM t", "Queries only read"),
    ("SELECT a FROM t TABLESAMPLE 10 PERCENT", "the end of the query"),
    ("SELECT a FROM t FOR UPDATE", "FOR is a reserved word"),
    ("SELECT a FROM t WINDOW w AS (ORDER BY a)", "the end of the query"),
    ("SELECT a FROM t QUALIFY a > 1", "the end of the query"),
    ("SELECT a FROM t ASOF JOIN u ON t.x = u.x JOIN", "the end of the query"),
    ("SELECT x -> x + 1 FROM t", "a column name, value or function"),
    ("SELECT lambda x: x FROM t", "ADQL has no parameters"),
    ("SELECT a FROM t WHERE a ~ 'x'", "does not begin anything that ADQL knows"),
    ("SELECT a FROM t WHERE a SIMILAR TO 'x'", "the end of the query"),
    ("SELECT a FROM t WHERE a LIKE 'x' ESCAPE '!'", "LIKE has no ESCAPE in ADQL"),
    ("SELECT a FROM t WHERE a = ANY (SELECT b FROM u)", "ANY is a reserved word"),
    ("SELECT a FROM t WHERE a = ALL (SELECT b FROM u)", "ALL is a reserved word"),
    ("SELECT a FROM t WHERE (a, b) = (1, 2)", ") to close the parenthesis"),
    ("SELECT a FROM t WHERE EXISTS SELECT b FROM u", "( after EXISTS"),
    ("SELECT DISTINCT ON (a) b FROM t", "ON is a reserved word"),
    ("SELECT a.* FROM t a, *", "a table name"),
    ("SELECT *, FROM t", "FROM is a reserved word"),
    ("SELECT a \\ b FROM t", "There are no backslash escapes"),
    ("SELECT .a FROM t", "a column name, value or function"),
    ("SELECT a. FROM t", "FROM is a reserved word"),
    ("SELECT a..b FROM t", "a column name"),
]
