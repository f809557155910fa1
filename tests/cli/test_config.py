"""``idac config``: one file, its overlays, where each value came from, and no secret in what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from command_fixture import Run
from idac.cli.config import iter_keys
from idac.wiring.settings import DacSettings

PROD = """\
server: {host: 0.0.0.0, public_url: https://dac.example.org}
state:
  database: {secret: state-database}
stores:
  bucket:
    endpoint: https://s3.example.org
    access_key_id: {secret: s3-key}
    secret_access_key: {secret: s3-secret}
"""


@pytest.fixture
def prod(tmp_path: Path) -> Path:
    """An overlay, and the secrets it names."""
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "prod.yaml").write_text(PROD)
    (tmp_path / "secrets").mkdir()
    for name in ("state-database", "s3-key", "s3-secret"):
        (tmp_path / "secrets" / name).write_text("hunter2")
        (tmp_path / "secrets" / name).chmod(0o600)
    return tmp_path


def lines_of(text: str) -> dict[str, str]:
    """Each printed line's key and value, to the comment that says where it came from."""
    pairs = (line.rsplit("  # ", 1) for line in text.splitlines() if "  # " in line)
    return {value.strip(): origin for value, origin in pairs}


def test_the_merge_is_shown_with_the_place_of_every_value(idac: Run, prod: Path) -> None:
    done = idac("--env", "prod", "config", "show")
    assert (done.code, done.err) == (0, "")
    shown = lines_of(done.out)
    assert shown["host: 0.0.0.0"] == "environments/prod.yaml:1"
    assert shown["public_url: https://dac.example.org"] == "environments/prod.yaml:1"
    assert shown["default_read: [public]"] == "dac.yaml:2"
    assert shown["port: 8080"] == "default"
    assert shown["database: {secret: state-database}"] == "environments/prod.yaml:3"
    assert shown["access_key_id: {secret: s3-key}"] == "environments/prod.yaml:7"
    assert "hunter2" not in done.out
    without = lines_of(idac("config", "show").out)
    assert without["host: 127.0.0.1"] == "default"


def test_what_is_shown_is_a_file_that_says_the_same(idac: Run, prod: Path) -> None:
    text = idac("--env", "prod", "config", "show").out
    (prod / "whole.yaml").write_text(text)
    again = idac("--config", "whole.yaml", "config", "show")
    assert again.code == 0, again.err
    assert list(lines_of(again.out)) == list(lines_of(text))


def test_every_key_is_in_the_json_of_show(idac: Run) -> None:
    shown = idac("config", "show", "--json").json
    assert shown["catalogs.default_read"] == {"value": ["public"], "from": "dac.yaml:2"}
    assert shown["server.port"] == {"value": 8080, "from": "default"}
    # A mapping that is not empty is shown key by key.
    assert "identity.device_clients.idac" in shown
    keys = [key for key, *_ in iter_keys(DacSettings)]
    assert list(dict.fromkeys(re.sub(r"(?<=device_clients)\..*", "", key) for key in shown)) == keys


def test_the_password_of_a_url_is_never_printed(idac: Run, tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text("state: {database: 'postgresql://ann:hun/t@er2@db.example.org/dac'}\n")
    for done in (idac("config", "show"), idac("config", "show", "--json")):
        assert "postgresql://ann:…@" in done.out
        assert "hun" not in done.out
        assert "er2" not in done.out


def test_check_says_how_much_is_set(idac: Run, prod: Path) -> None:
    assert idac("config", "check").out == "dac.yaml is fine: 1 value set, everything else at its default.\n"
    done = idac("--env", "prod", "config", "check")
    assert done.out == ("dac.yaml with environments/prod.yaml is fine: 7 values set, everything else at its default.\n")
    assert idac("--env", "prod", "config", "check", "--json").json == {
        "ok": True,
        "file": "dac.yaml",
        "environment": "prod",
        "values": 7,
    }


def test_check_looks_for_the_secrets_and_names_each_that_is_missing(idac: Run, prod: Path) -> None:
    (prod / "secrets" / "s3-key").unlink()
    (prod / "secrets" / "s3-secret").chmod(0o644)
    done = idac("--env", "prod", "config", "check")
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "Error: environments/prod.yaml, line 7, column 5: A secret that dac.yaml names is missing. Given: s3-key. "
        "Put it into the file s3-key of the secrets folder.\n"
        "environments/prod.yaml, line 8, column 5: A secret may be read by everyone on this machine. "
        "Given: s3-secret. Allowed: files that only their owner and group may read. "
        "Run: chmod 600 on the file s3-secret of the secrets folder.\n"
    )
    assert idac("--env", "prod", "config", "check", "--no-secrets").code == 0


def test_every_fault_is_told_at_once_with_its_place(idac: Run, tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text("server:\n  prot: 80\n  host: 3\n")
    done = idac("config", "check")
    names = ", ".join(sorted(DacSettings.model_fields["server"].annotation.model_fields))  # type: ignore[union-attr]
    unknown = f"There is no such key in server. Given: prot. Allowed: {names}. Did you mean port?"
    assert done.code == 3
    assert done.err == (
        f"Error: dac.yaml, line 2, column 3: {unknown}\n"
        "dac.yaml, line 3, column 3: server.host can't be used. Given: 3. Allowed: text. Correct it.\n"
    )
    told = idac("config", "check", "--json").error
    assert (told["code"], told["file"], told["line"], told["column"]) == ("bad-configuration", "dac.yaml", 2, 3)
    assert [(one["line"], one["value"]) for one in told["all"]] == [(2, "prot"), (3, "3")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--config", "gone.yaml", "config", "check"),
            "There is no configuration file here. Given: gone.yaml. "
            "Run idac init to write one, or name another with --config.",
        ),
        (
            ("--config", ".", "config", "check"),
            "The configuration file can't be read. Given: .: Is a directory. Check its permissions.",
        ),
        (
            ("--env", "pord", "config", "show"),
            "There is no environment of this name. Given: pord. Allowed: prod. "
            "Name one of these with --env, or write a new overlay that says only what differs.",
        ),
    ],
)
def test_files_that_are_not_there_are_told(idac: Run, prod: Path, arguments: tuple[str, ...], message: str) -> None:
    done = idac(*arguments)
    assert (done.code, done.out, done.err) == (3, "", f"Error: {message}\n")
    assert idac(*arguments, "--json").error["message"] == message


def test_the_environment_may_come_from_a_variable(idac: Run, prod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDAC_ENV", "prod")
    assert lines_of(idac("config", "show").out)["host: 0.0.0.0"] == "environments/prod.yaml:1"


def test_the_schema_describes_every_key(idac: Run) -> None:
    done = idac("config", "schema")
    document = json.loads(done.out)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(document["properties"]) == list(DacSettings.model_fields)
    assert document["additionalProperties"] is False
    assert idac("config", "schema", "--json").out == done.out


def test_every_key_has_words_of_its_own() -> None:
    silent = [key for key, _, _, words in iter_keys(DacSettings) if not words.endswith(".")]
    assert silent == []
