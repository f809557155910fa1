"""Reading a configuration: what merges, what is refused, and that each fault says where it stands and what would do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from idac.core.errors import BadConfiguration, Position
from idac.core.loading import BadConfigurations, Loaded, check_secrets, load_settings
from idac.core.secrets import FileSecrets, SecretRef
from idac.core.settings import Section
from idac.core.yaml_file import read_yaml


class Limits(Section):
    """Bounds."""

    rows: Annotated[int, Field(ge=1, le=65535)] = 100
    ratio: Annotated[float, Field(gt=0)] = 0.5
    timeout_s: Annotated[float, Field(ge=1)] = 30.0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Bucket(Section):
    """One store."""

    endpoint: str | None = None
    key: SecretRef | None = None


class Centre(Section):
    """A small configuration."""

    name: Annotated[str, Field(pattern="^[a-z]+$", max_length=10)] = "dac"
    kind: Literal["small", "large"] = "small"
    open: bool = True
    hosts: tuple[str, ...] = ()
    scratch: Path | None = None
    limits: Limits = Limits()
    stores: dict[str, Bucket] = Field(default_factory=dict)
    read: dict[str, list[str]] = Field(default_factory=dict)
    database: str | SecretRef = "sqlite:///state.db"
    url: str = "http://localhost"

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not value.startswith("http"):
            raise ValueError("must be an address that begins with http")
        return value


def load(folder: Path, text: str, overlay: str | None = None) -> Loaded[Centre]:
    (folder / "dac.yaml").write_text(text)
    if overlay is None:
        return load_settings(Centre, folder / "dac.yaml")
    (folder / "environments").mkdir(exist_ok=True)
    (folder / "environments" / "prod.yaml").write_text(overlay)
    return load_settings(Centre, folder / "dac.yaml", "prod")


def refusal(folder: Path, text: str, overlay: str | None = None) -> str:
    with pytest.raises(BadConfiguration) as caught:
        load(folder, text, overlay)
    return caught.value.text


# What is accepted


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "{}", "limits:\n", "limits:\n  # rows: 5\n"])
def test_an_empty_file_or_section_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).settings == Centre()


def test_values_of_all_kinds_are_read(tmp_path: Path) -> None:
    text = (
        "name: abc\nkind: large\nopen: false\nhosts: [a, 'b']\nlimits: {rows: 1e3, ratio: 1, timeout_s: 1.5}\n"
        "stores:\n  bucket:\n    key: {secret: s3-key}\nread:\n  dp2: [public]\n  2026: []\n  dp2.Object: [team]\n"
    )
    settings = load(tmp_path, text).settings
    assert settings.name == "abc"
    assert settings.kind == "large"
    assert settings.open is False
    assert settings.hosts == ("a", "b")
    assert settings.limits == Limits(rows=1000, ratio=1.0, timeout_s=1.5)
    assert settings.stores["bucket"].key == SecretRef(secret="s3-key")  # noqa: S106
    assert settings.read == {"dp2": ["public"], "2026": [], "dp2.Object": ["team"]}


def test_words_that_other_yaml_versions_take_for_booleans_are_words(tmp_path: Path) -> None:
    assert load(tmp_path, "hosts: [no, off, 2026-01-01, y]\n").settings.hosts == ("no", "off", "2026-01-01", "y")


def test_windows_line_ends_and_a_byte_order_mark_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_bytes(b"\xef\xbb\xbfname: abc\r\nlimits:\r\n  rows: 7\r\n")
    settings = load_settings(Centre, tmp_path / "dac.yaml").settings
    assert (settings.name, settings.limits.rows) == ("abc", 7)


def test_aliases_repeat_a_part(tmp_path: Path) -> None:
    settings = load(tmp_path, "read:\n  a: &team [x, y]\n  b: *team\n").settings
    assert settings.read == {"a": ["x", "y"], "b": ["x", "y"]}


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert load(tmp_path, "scratch: ./tmp\n").settings.scratch == tmp_path / "tmp"
    assert load(tmp_path, "scratch: /fast/tmp\n").settings.scratch == Path("/fast/tmp")
    monkeypatch.setenv("HOME", "/home/someone")
    assert load(tmp_path, "scratch: ~/tmp\n").settings.scratch == Path("/home/someone/tmp")


# Overlays


def test_an_overlay_merges_maps_and_replaces_everything_else(tmp_path: Path) -> None:
    base = "name: abc\nhosts: [a, b]\nlimits: {rows: 5, ratio: 2}\nstores: {one: {endpoint: http://a}}\n"
    overlay = "hosts: [c]\nlimits:\n  rows: 6\nstores: {two: {endpoint: http://b}}\n"
    loaded = load(tmp_path, base, overlay)
    assert loaded.settings.name == "abc"
    assert loaded.settings.hosts == ("c",)
    assert loaded.settings.limits == Limits(rows=6, ratio=2.0)
    assert set(loaded.settings.stores) == {"one", "two"}


def test_the_origin_of_each_value_is_the_file_that_said_it_last(tmp_path: Path) -> None:
    loaded = load(tmp_path, "name: abc\nlimits:\n  rows: 5\n  ratio: 2\n", "limits:\n  rows: 6\n")
    assert loaded.origins["name",] == Position(1, 1, "dac.yaml")
    assert loaded.origins["limits", "rows"] == Position(2, 3, "environments/prod.yaml")
    assert loaded.origins["limits", "ratio"] == Position(4, 3, "dac.yaml")


@pytest.mark.parametrize(
    ("base", "overlay", "value"),
    [
        ("database: {secret: a}\n", "database: sqlite:///b\n", "sqlite:///b"),
        ("database: sqlite:///b\n", "database: {secret: a}\n", SecretRef(secret="a")),  # noqa: S106
        ("database: {secret: a}\n", "database: {secret: b}\n", SecretRef(secret="b")),  # noqa: S106
    ],
)
def test_a_text_and_a_secret_replace_each_other(tmp_path: Path, base: str, overlay: str, value: object) -> None:
    assert load(tmp_path, base, overlay).settings.database == value


def test_an_empty_section_in_an_overlay_changes_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "name: abc\n", "limits:\n").settings == Centre(name="abc")


def test_a_map_in_place_of_a_list_is_refused_where_it_stands(tmp_path: Path) -> None:
    assert refusal(tmp_path, "hosts: [a]\n", "name: x\nhosts: {a: b}\n") == (
        "environments/prod.yaml, line 2, column 1: hosts can't be used. Given: a map. "
        "Allowed: a list in brackets, each item text. Correct it."
    )


def test_an_unknown_environment_lists_those_that_are_there(tmp_path: Path) -> None:
    load(tmp_path, "", "")
    (tmp_path / "environments" / "dev.yaml").touch()
    with pytest.raises(BadConfiguration) as caught:
        load_settings(Centre, tmp_path / "dac.yaml", "prd")
    assert caught.value.text == (
        "There is no environment of this name. Given: prd. Allowed: dev, prod. "
        "Name one of these with --env, or write a new overlay that says only what differs."
    )


@pytest.mark.parametrize("name", ["../dac", "/etc/passwd", ".."])
def test_an_environment_is_a_name_and_not_a_path(tmp_path: Path, name: str) -> None:
    load(tmp_path, "")
    with pytest.raises(BadConfiguration) as caught:
        load_settings(Centre, tmp_path / "dac.yaml", name)
    assert caught.value.text == (
        f"There is no environment of this name. Given: {name}. "
        "Allowed: none, as there are no files in environments/ beside dac.yaml. "
        "Name one of these with --env, or write a new overlay that says only what differs."
    )


# Faults, each with its whole text

KEYS = "Allowed: database, hosts, kind, limits, name, open, read, scratch, stores, url."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "limits:\n  rowz: 5\n",
            "dac.yaml, line 2, column 3: There is no such key in limits. Given: rowz. "
            "Allowed: ratio, rows, share, timeout_s. Did you mean rows?",
        ),
        (
            "timeout_s: 5\n",
            f"dac.yaml, line 1, column 1: There is no such key. Given: timeout_s. {KEYS} "
            "Did you mean limits.timeout_s?",
        ),
        ("zzzzzzz: 5\n", f"dac.yaml, line 1, column 1: There is no such key. Given: zzzzzzz. {KEYS} Remove it."),
        (
            "stores:\n  b:\n    endpint: x\n",
            "dac.yaml, line 3, column 5: There is no such key in stores.b. Given: endpint. "
            "Allowed: endpoint, key. Did you mean endpoint?",
        ),
        (
            "limits:\n  rows: many\n",
            "dac.yaml, line 2, column 3: limits.rows can't be used. Given: many. "
            "Allowed: a whole number from 1 to 65535. Correct it.",
        ),
        (
            "limits:\n  rows: true\n",
            "dac.yaml, line 2, column 3: limits.rows can't be used. Given: true. "
            "Allowed: a whole number from 1 to 65535. Correct it.",
        ),
        (
            "limits: {rows: 0}\n",
            "dac.yaml, line 1, column 10: limits.rows can't be used. Given: 0. "
            "Allowed: a whole number from 1 to 65535. Correct it.",
        ),
        (
            "limits: {rows: '5'}\n",
            "dac.yaml, line 1, column 10: limits.rows can't be used. Given: 5. "
            "Allowed: a whole number from 1 to 65535. Correct it.",
        ),
        (
            "limits: {rows: 1.5}\n",
            "dac.yaml, line 1, column 10: limits.rows can't be used. Given: 1.5. "
            "Allowed: a whole number from 1 to 65535. Correct it.",
        ),
        (
            "limits: {ratio: -1}\n",
            "dac.yaml, line 1, column 10: limits.ratio can't be used. Given: -1. "
            "Allowed: a number above 0. Correct it.",
        ),
        (
            "limits: {timeout_s: .nan}\n",
            "dac.yaml, line 1, column 10: limits.timeout_s can't be used. Given: NaN. "
            "Allowed: a number of at least 1. Correct it.",
        ),
        (
            "limits: {share: 1}\n",
            "dac.yaml, line 1, column 10: limits.share can't be used. Given: 1. "
            "Allowed: a number above 0 and below 1. Correct it.",
        ),
        (
            "limits: 5\n",
            "dac.yaml, line 1, column 1: limits can't be used. Given: 5. Allowed: a map of keys and values. "
            "Correct it.",
        ),
        (
            "limits: [1]\n",
            "dac.yaml, line 1, column 1: limits can't be used. Given: a list. "
            "Allowed: a map of keys and values. Correct it.",
        ),
        (
            "name: 5\n",
            "dac.yaml, line 1, column 1: name can't be used. Given: 5. "
            "Allowed: text of at most 10 characters like ^[a-z]+$. Correct it.",
        ),
        (
            "name: A B\n",
            "dac.yaml, line 1, column 1: name can't be used. Given: A B. "
            "Allowed: text of at most 10 characters like ^[a-z]+$. Correct it.",
        ),
        (
            "name:\n",
            "dac.yaml, line 1, column 1: name can't be used. Given: null. "
            "Allowed: text of at most 10 characters like ^[a-z]+$. Correct it.",
        ),
        (
            "kind: huge\n",
            "dac.yaml, line 1, column 1: kind can't be used. Given: huge. Allowed: one of small, large. Correct it.",
        ),
        (
            "open: 'yes'\n",
            "dac.yaml, line 1, column 1: open can't be used. Given: yes. Allowed: true or false. Correct it.",
        ),
        (
            "hosts:\n- a\n- 5\n",
            "dac.yaml, line 3, column 3: hosts.1 can't be used. Given: 5. Allowed: text. Correct it.",
        ),
        (
            "hosts: a\n",
            "dac.yaml, line 1, column 1: hosts can't be used. Given: a. "
            "Allowed: a list in brackets, each item text. Correct it.",
        ),
        (
            "scratch: [a]\n",
            "dac.yaml, line 1, column 1: scratch can't be used. Given: a list. Allowed: a path or null. Correct it.",
        ),
        (
            "url: ftp://x\n",
            "dac.yaml, line 1, column 1: url can't be used. Given: ftp://x. "
            "Allowed: an address that begins with http. Correct it.",
        ),
        (
            "read: {dp2: public}\n",
            "dac.yaml, line 1, column 8: read.dp2 can't be used. Given: public. "
            "Allowed: a list in brackets, each item text. Correct it.",
        ),
        (
            "stores:\n  b:\n    key: {}\n",
            "dac.yaml, line 3, column 5: stores.b.key.secret is missing. "
            "Allowed: text of at most 63 characters like ^[a-z0-9]([a-z0-9-]*[a-z0-9])?$. Add it.",
        ),
        (
            "a: 1\na: 2\n",
            f"dac.yaml, line 1, column 1: There is no such key. Given: a. {KEYS} Remove it.\n"
            "dac.yaml, line 2, column 1: This key is there twice. Given: a. Keep one of them.",
        ),
        (
            "? [a]\n: b\n",
            "dac.yaml, line 1, column 3: A key is a map or a list. Allowed: text. Write a name before the colon.",
        ),
        (
            "limits:\n  <<: {rows: 5}\n",
            "dac.yaml, line 2, column 3: Merge keys are not understood. Given: <<. "
            "Write the keys out, or use an overlay.",
        ),
        (
            "name: !python/object:os.system abc\n",
            "dac.yaml, line 1, column 7: Tags are not understood. Given: !python/object:os.system. "
            "Write the value without it.",
        ),
        (
            "- a\n- b\n",
            "dac.yaml, line 1, column 1: A configuration file is a map of sections. Given: a list. "
            "Allowed: lines such as 'centre:' with indented keys below.",
        ),
        (
            "just text\n",
            "dac.yaml, line 1, column 1: A configuration file is a map of sections. Given: just text. "
            "Allowed: lines such as 'centre:' with indented keys below.",
        ),
        (
            "limits:\n  rows: 5\n ratio: 2\n",
            "dac.yaml, line 3, column 2: This is not YAML: expected <block end>, but found '<block mapping start>'. "
            "Check indentation, colons and quotes.",
        ),
        (
            "limits:\n\trows: 5\n",
            "dac.yaml, line 2, column 1: This is not YAML: found character '\\t' that cannot start any token. "
            "Check indentation, colons and quotes.",
        ),
        (
            "name: 'abc\n",
            "dac.yaml, line 2, column 1: This is not YAML: found unexpected end of stream. "
            "Check indentation, colons and quotes.",
        ),
        (
            "name: abc\n---\nname: def\n",
            "dac.yaml, line 2, column 1: This is not YAML: but found another document. "
            "Check indentation, colons and quotes.",
        ),
        (
            "name: *nothing\n",
            "dac.yaml, line 1, column 7: This is not YAML: found undefined alias 'nothing'. "
            "Check indentation, colons and quotes.",
        ),
    ],
)
def test_each_fault_says_where_it_is_and_what_would_do(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message


def test_all_faults_are_said_at_once_in_the_order_of_the_files(tmp_path: Path) -> None:
    text = refusal(tmp_path, "limits:\n  rows: 0\nnam: x\n", "open: maybe\nopen: maybe\n")
    assert [line.split(": ")[0] for line in text.splitlines()] == [
        "dac.yaml, line 2, column 3",
        "dac.yaml, line 3, column 1",
        "environments/prod.yaml, line 1, column 1",
        "environments/prod.yaml, line 2, column 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stores:\n  b:\n    key: hunter2\n",
            "dac.yaml, line 3, column 5: stores.b.key can't be used. Allowed: {secret: NAME} or null. Correct it.",
        ),
        (
            "database: 12345\n",
            "dac.yaml, line 1, column 1: database can't be used. Allowed: text or {secret: NAME}. Correct it.",
        ),
        (
            "database: {sekret: hunter2}\n",
            "dac.yaml, line 1, column 1: database can't be used. Allowed: text or {secret: NAME}. Correct it.",
        ),
        (
            "database: [hunter2]\n",
            "dac.yaml, line 1, column 1: database can't be used. Allowed: text or {secret: NAME}. Correct it.",
        ),
    ],
)
def test_what_stands_in_a_secrets_place_is_never_repeated(tmp_path: Path, text: str, message: str) -> None:
    said = refusal(tmp_path, text)
    assert said == message
    assert "hunter2" not in said


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_settings(Centre, tmp_path / "dac.yaml")
    assert caught.value.text == (
        f"There is no configuration file here. Given: {tmp_path}/dac.yaml. "
        "Run idac init to write one, or name another with --config."
    )


def test_a_folder_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        load_settings(Centre, tmp_path)
    assert caught.value.text == (
        f"The configuration file can't be read. Given: {tmp_path}: Is a directory. Check its permissions."
    )


def test_text_in_another_encoding_is_placed(tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_bytes("name: abc\nurl: Sã".encode() + "é".encode("latin-1") + b"o\n")
    with pytest.raises(BadConfiguration) as caught:
        load_settings(Centre, tmp_path / "dac.yaml")
    assert caught.value.text == (
        "dac.yaml, line 2, column 8: The configuration file is not UTF-8 text. Given: byte 0xe9. Save it as UTF-8."
    )


def test_a_huge_file_is_no_configuration(tmp_path: Path) -> None:
    assert refusal(tmp_path, "#" * (1 << 20) + "\n") == (
        "The configuration file is too large to be one. Given: dac.yaml, 1048577 bytes. Allowed: 1048576 bytes. "
        "Name the right file with --config."
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "read: &r\n  a: *r\n",
        "[" * 5000,
    ],
    ids=["bomb", "circle", "deep"],
)
def test_aliases_and_depth_can_not_fill_the_memory(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadConfiguration):
        load(tmp_path, text)


def test_the_faults_of_a_file_travel_between_processes(tmp_path: Path) -> None:
    with pytest.raises(BadConfigurations) as caught:
        load(tmp_path, "a: 1\nb: 2\n")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.text == caught.value.text
    assert len(copy.errors) == 2


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("any") / "dac.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_yaml(file, "dac.yaml")
    except BadConfiguration:
        return


_texts = st.text(st.characters(exclude_categories=["C"]))
_numbers = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
_values = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcxyz_", min_size=1), _values))
def test_what_json_can_say_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]
) -> None:
    file = tmp_path_factory.mktemp("json") / "dac.yaml"
    # YAML 1.2 knows no surrogate pairs in escapes.
    file.write_text(json.dumps(value, ensure_ascii=False))
    read = read_yaml(file, "dac.yaml")
    assert read.faults == ()
    assert read.values == value


# Secrets


def test_missing_secrets_are_all_named_with_their_places(tmp_path: Path) -> None:
    text = "database: {secret: state}\nstores:\n  b:\n    key: {secret: s3-key}\n"
    loaded = load(tmp_path, text)
    with pytest.raises(BadConfiguration) as caught:
        check_secrets(loaded, FileSecrets(tmp_path / "secrets"))
    assert caught.value.text == (
        "dac.yaml, line 1, column 1: A secret that dac.yaml names is missing. Given: state. "
        "Put it into the file state of the secrets folder.\n"
        "dac.yaml, line 4, column 5: A secret that dac.yaml names is missing. Given: s3-key. "
        "Put it into the file s3-key of the secrets folder."
    )
