"""Read rules that publishers attach: they close what the operator opened, and never open what he closed."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.csv
import pytest

from archive_fixture import build_archive, open_archive, star_table
from command_fixture import Run, command_runner
from idac.catalogs.access import AccessChange
from idac.catalogs.archive import Archive
from idac.catalogs.manifest import MANIFEST_KEY, parse_manifest
from idac.core.database import open_database
from idac.core.errors import AccessDenied, NotFound, StoreUnavailable, UserError
from idac.core.principal import ANONYMOUS, LOCAL_ADMIN, Principal
from idac.core.rights import PUBLIC, ReadRule, RightsPolicy
from idac.identity.directory import Directory
from idac.identity.groups import UserGroups
from idac.identity.schema import USER_GROUPS
from idac.identity.store import IdentityStore
from idac.identity.watch import CallerWatch
from idac.query.adql.compiler import QueryCompiler
from idac.query.service import QueryRequest, QueryService
from idac.query.settings import QuerySettings
from idac.tables.formats import FORMATS
from identity_centre import ME, IdentityCentre, identity_centre
from services.scripted_engine import Script, ScriptedEngine

HOLDER = Principal("eve", "user", rights=frozenset({"dp1"}))
STAFF = Principal("sue", "user", groups=frozenset({"staff"}))
BOTH = Principal("bea", "user", groups=frozenset({"staff"}), rights=frozenset({"dp1"}))
EVERYONE, NOBODY = ReadRule.of([PUBLIC]), ReadRule.of([])
OF_STAFF, OF_DP1 = ReadRule.of(["staff"]), ReadRule.of([], ["dp1"])


@pytest.mark.parametrize(
    ("operator", "publisher", "readers"),
    [
        ({}, {}, ""),
        ({}, {"s": EVERYONE}, "anonymous eve sue bea"),
        ({}, {"s": OF_DP1}, "eve bea"),
        ({}, {"s.t": OF_DP1, "s": EVERYONE}, "eve bea"),
        ({}, {"s.t": EVERYONE, "s": NOBODY}, "anonymous eve sue bea"),
        ({"s": NOBODY}, {"s.t": EVERYONE}, ""),
        ({"s": OF_STAFF}, {"s.t": EVERYONE}, "sue bea"),
        ({"s.t": OF_STAFF}, {"s": EVERYONE}, "sue bea"),
        ({"s": OF_STAFF}, {"s.t": OF_DP1}, "bea"),
        ({"s.t": EVERYONE}, {"s": OF_DP1}, "eve bea"),
        ({"s": EVERYONE}, {"s.t": NOBODY}, ""),
        ({"s": OF_STAFF}, {"other": EVERYONE}, "sue bea"),
    ],
)
def test_both_rules_must_be_satisfied(
    operator: dict[str, ReadRule], publisher: dict[str, ReadRule], readers: str
) -> None:
    policy = RightsPolicy(operator, NOBODY).with_published(publisher)
    everyone = (ANONYMOUS, HOLDER, STAFF, BOTH)
    assert " ".join(each.name for each in everyone if policy.may_read(each, "S", "T")) == readers
    assert policy.may_read(LOCAL_ADMIN, "s", "t")


def test_an_operator_may_let_publishers_only_narrow() -> None:
    policy = RightsPolicy({}, OF_STAFF, publishers_narrow=True)
    assert not policy.with_published({"s": EVERYONE}).may_read(HOLDER, "s", "t")
    assert policy.with_published({"s": EVERYONE}).may_read(STAFF, "s", "t")
    assert [policy.with_published({"s": OF_DP1}).may_read(who, "s", "t") for who in (HOLDER, STAFF, BOTH)] == [
        False,
        False,
        True,
    ]


def test_a_refusal_names_what_lacks_and_nothing_else() -> None:
    policy = RightsPolicy({"s": OF_STAFF}, NOBODY, {"dp1": "write to dp1@example.org."}).with_published({"s": OF_DP1})
    told = []
    for who in (STAFF, HOLDER, Principal("joe", "user")):
        with pytest.raises(AccessDenied) as refused:
            policy.require_read(who, "s", "t")
        told.append(refused.value.allowed)
    assert told == [
        "holders of the data right dp1",
        "members of staff",
        "members of staff, and only holders of the data right dp1",
    ]
    assert policy.shown("s", "t") == told[-1]


# -- in the manifest ---------------------------------------------------------------------------------------------------


def attach(archive: Archive, name: str, rule: ReadRule | None) -> list[object]:
    noted: list[object] = []
    change = AccessChange(rule, lambda *what: noted.append(what))
    archive.change(lambda manifest: change.applied_to_known(name, manifest))
    return noted


def test_a_manifest_with_rules_is_of_a_form_that_older_versions_refuse(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)})
    before = json.loads(archive.store.get(MANIFEST_KEY))
    assert attach(archive, "demo", OF_DP1) == [("demo", None, OF_DP1)]
    assert attach(archive, "DEMO", OF_DP1) == []
    after = json.loads(archive.store.get(MANIFEST_KEY))
    assert (before["format"], after["format"], "rules" in before) == (1, 2, False)
    assert parse_manifest(archive.store.get(MANIFEST_KEY)).rules == {"demo": OF_DP1}
    assert open_archive(tmp_path).snapshot().rules == {"demo": OF_DP1}
    assert attach(archive, "demo", None) == [("demo", OF_DP1, None)]
    assert json.loads(archive.store.get(MANIFEST_KEY))["format"] == 1
    for damaged in ("none", {"demo": {"groups": "public", "rights": []}}, {"demo": {}}):
        with pytest.raises(StoreUnavailable, match="manifest is damaged"):
            parse_manifest(json.dumps(after | {"rules": damaged}).encode())


def test_what_is_not_written_down_is_not_done(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)})

    def fail(*_what: object) -> None:
        raise StoreUnavailable("The state database does not answer.")

    with pytest.raises(StoreUnavailable):
        archive.change(lambda manifest: AccessChange(EVERYONE, fail).applied("demo", manifest))
    assert archive.manifest().rules == {}


def test_a_name_that_is_not_published_is_told_with_the_nearest(tmp_path: Path) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)})
    with pytest.raises(NotFound) as refused:
        attach(archive, "demo.star", OF_DP1)
    assert str(refused.value) == (
        "There is no schema or table of this name. Given: demo.star. Allowed: demo, demo.stars. "
        "Did you mean demo.stars?"
    )


def test_a_running_query_ends_when_its_table_is_closed_even_for_someone_nameless(
    tmp_path: Path, store: IdentityStore
) -> None:
    archive = build_archive(tmp_path, {"demo.stars": star_table(50)})
    engine = ScriptedEngine()
    engine.script = Script(waits_at_start=True)
    watch = CallerWatch(Directory(store), 5)
    service = QueryService(archive, engine, QueryCompiler(RightsPolicy({}, EVERYONE)), QuerySettings(), watch=watch)
    request = QueryRequest("SELECT id FROM demo.stars", FORMATS["csv"], 60.0)
    met: list[UserError] = []

    def run() -> None:
        try:
            running = service.run(request, ANONYMOUS, query_id="q")
            try:
                list(running.batches())
            finally:
                running.close()
        except UserError as error:
            met.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert engine.seen.started.wait(60)
    watch.look()
    assert not engine.seen.cancelled.is_set()
    attach(archive, "demo.stars", OF_DP1)
    watch.look()
    thread.join(60)
    assert [error.what for error in met] == ["You may not read demo.stars."]


# -- from the command line to a running centre -------------------------------------------------------------------------

CONFIG = "catalogs:\n  read: {shut: []}\nidentity:\n  enabled: true\n  rights:\n    dp1: {title: Data Preview 1}\n"


@pytest.fixture
def idac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "dac.yaml").write_text(CONFIG)
    pyarrow.csv.write_csv(star_table(50), tmp_path / "stars.csv")
    monkeypatch.chdir(tmp_path)
    return command_runner(monkeypatch, capsys)


def test_a_table_has_its_readers_from_its_first_moment(idac: Run) -> None:
    assert idac("group", "add", "team").code == 0
    assert idac("catalog", "add", "stars.csv", "--name", "demo.stars", "--right", "dp1", "--group", "team").code == 0
    described = idac("catalog", "describe", "demo.stars", "--json").json
    assert (described["readable_by"], described["needs_right"]) == (["team"], ["dp1"])
    assert described["readers"] == "holders of the data right dp1 and members of team"
    assert idac("catalog", "replace", "stars.csv", "--name", "demo.stars").code == 0
    (listed,) = idac("catalog", "list", "--json").json
    assert listed["readers"] == described["readers"]
    assert idac("catalog", "replace", "stars.csv", "--name", "demo.stars", "--public").code == 0
    assert idac("catalog", "describe", "demo.stars", "--json").json["readers"] == "everyone"
    noted = [json.loads(line) for line in idac("audit", "export", "--action", "catalog rights").out.splitlines()]
    assert [(entry["subject"], entry["detail"]) for entry in noted] == [
        ("demo.stars", {"before": "none", "after": {"groups": ["team"], "rights": ["dp1"]}}),
        (
            "demo.stars",
            {"before": {"groups": ["team"], "rights": ["dp1"]}, "after": {"groups": ["public"], "rights": []}},
        ),
    ]
    assert all(entry["actor"].startswith("local:") for entry in noted)


def test_rights_are_changed_without_publishing_again(idac: Run) -> None:
    assert idac("catalog", "rights").out == "Nothing is attached to any schema or table: dac.yaml alone decides.\n"
    idac("catalog", "add", "stars.csv", "--name", "demo.stars")
    idac("catalog", "add", "stars.csv", "--name", "shut.stars")
    assert idac("catalog", "rights", "demo", "--right", "dp1").out == (
        "Attached to demo: holders of the data right dp1.\ndemo may be read by holders of the data right dp1.\n"
    )
    assert idac("catalog", "rights", "demo.stars").out == (
        "demo.stars may be read by holders of the data right dp1.\nNothing is attached to it itself.\n"
    )
    assert idac("catalog", "rights", "shut.stars", "--public").out == (
        "Attached to shut.stars: everyone.\n"
        "shut.stars may be read by administrators of this centre.\n"
        "dac.yaml has a rule for shut too (administrators of this centre): whoever reads it must satisfy both.\n"
    )
    assert idac("catalog", "rights", "demo.stars", "--closed", "--json").json == {
        "name": "demo.stars",
        "published_rule": {"groups": [], "rights": []},
        "readers": "administrators of this centre",
    }
    assert re.search(r"^ *shut.stars +everyone +administrators of this", idac("catalog", "rights").out, re.MULTILINE)
    assert [each["name"] for each in idac("catalog", "rights", "--json").json] == ["demo", "demo.stars", "shut.stars"]
    assert idac("catalog", "rights", "demo", "--reset").out == (
        "Took away what was attached to demo.\n"
        "demo may be read by administrators of this centre.\nNothing is attached to it itself.\n"
    )


def test_a_dropped_table_is_no_longer_public_and_stays_closed(idac: Run) -> None:
    for name in ("demo.a", "demo.b"):
        idac("catalog", "add", "stars.csv", "--name", name)
    idac("catalog", "rights", "demo.a", "--public")
    idac("catalog", "rights", "demo.b", "--right", "dp1")
    for name in ("demo.a", "demo.b"):
        idac("catalog", "drop", name, "--yes")
    assert [each["name"] for each in idac("catalog", "rights", "--json").json] == ["demo.b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--right", "dp2"],
            "There is no such data right. Given: dp2. Allowed: dp1. Did you mean dp1?",
        ),
        (
            ["--group", "team"],
            "There is no such group of administrators' making. Given: team. Allowed: none yet. "
            "Make it first: idac group add team",
        ),
        (["--group", "public"], "Everyone is no group. Given: --group public. Use --public."),
        (
            ["--right", "dp1", "--public"],
            "These contradict one another. Given: --right or --group, --public. "
            "Allowed: rights and groups, or --public, or --closed",
        ),
    ],
)
def test_what_makes_no_rule_is_refused_before_anything_is_done(idac: Run, arguments: list[str], message: str) -> None:
    refused = idac("catalog", "add", "stars.csv", "--name", "demo.stars", *arguments, "--json")
    assert (refused.code, refused.error["code"]) == (2, "bad-parameter")
    assert refused.error["message"].removesuffix(".") == message.removesuffix(".")
    assert idac("catalog", "list", "--json").json == []


def test_a_group_that_people_made_opens_nothing(idac: Run, tmp_path: Path) -> None:
    idac("user", "add", "mallory")
    idac("group", "add", "team", "mallory")
    database = open_database(f"sqlite:///{tmp_path / 'state.db'}")
    with database.begin() as connection:
        connection.execute(USER_GROUPS.insert().values(group=1, owner=1, given=False))
    database.close()
    idac("catalog", "add", "stars.csv", "--name", "demo.stars")
    refused = idac("catalog", "rights", "demo", "--group", "team", "--json")
    assert refused.error["message"] == (
        "There is no such group of administrators' making. Given: team. Allowed: none yet. mallory owns team and says "
        "who is in it. Make another for this, or take it over with those who are in it: idac group owner team --none"
    )
    assert idac("catalog", "rights", "--json").json == []


def test_a_group_that_people_made_opens_nothing_where_claims_lead_to_it_too(idac: Run, tmp_path: Path) -> None:
    provider = "{issuer: 'https://sso.example.org', client_id: idac, groups: {x: team, y: claimed}}"
    (tmp_path / "dac.yaml").write_text(f"{CONFIG}  providers: {{sso: {provider}}}\n")
    idac("user", "add", "mallory")
    idac("group", "add", "team", "mallory")
    idac("group", "owner", "team", "mallory")
    idac("catalog", "add", "stars.csv", "--name", "demo.stars")
    refused = idac("catalog", "rights", "demo", "--group", "team", "--json")
    assert refused.error["message"].startswith(
        "There is no such group of administrators' making. Given: team. Allowed: claimed. mallory owns team"
    )
    assert idac("catalog", "rights", "demo", "--group", "claimed").code == 0
    assert idac("group", "owner", "team", "--none").code == 0
    assert idac("catalog", "rights", "demo", "--group", "team").code == 0


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityCentre]:
    with identity_centre(tmp_path_factory.mktemp("centre")) as running:
        running.user("joe")
        yield running


def test_a_running_centre_heeds_what_the_command_says_at_once(
    centre: IdentityCentre, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(centre.folder)
    idac = command_runner(monkeypatch, capsys)
    public = "SELECT TOP 1 id FROM demo.stars"

    def rows(answer: httpx.Response) -> int:
        return len(list(io.StringIO(answer.text))) - 1 if answer.status_code == 200 else -answer.status_code

    assert rows(centre.query(public)) == 1
    assert idac("catalog", "rights", "demo.stars", "--right", "dp1").code == 0
    assert [rows(centre.query(public)), rows(centre.query(public, centre.token("joe")))] == [-401, -403]
    refused = centre.query(public, centre.token("joe")).text
    assert "holders of the data right dp1" in refused
    assert "To ask for dp1: write to dp1@example.org." in refused
    assert idac("catalog", "rights", "dp1", "--public").code == 0
    assert rows(centre.query(secret=centre.token("joe"))) == -403
    assert idac("catalog", "rights", "demo.stars", "--reset").code == 0
    assert rows(centre.query(public)) == 1


def test_a_group_that_people_made_opens_no_table_that_names_it(centre: IdentityCentre) -> None:
    UserGroups(centre.administration).make(Principal("joe", "user"), "shear")
    token, public = centre.token("joe"), "SELECT TOP 1 id FROM demo.stars"
    # As where dac.yaml led claims to the name when the publisher attached it, and no longer does.
    archive = open_archive(centre.folder)
    attach(archive, "demo.stars", ReadRule.of(["shear"]))
    assert centre.query(public, token).status_code == 403
    UserGroups(centre.administration).give("shear", "joe", actor=ME)
    assert centre.query(public, token).status_code == 200
    attach(archive, "demo.stars", None)
