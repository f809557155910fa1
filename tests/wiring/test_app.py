"""A centre that can't be put together leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from idac.core.errors import UserError
from idac.core.loading import load_settings
from idac.wiring.app import build_centre
from idac.wiring.settings import DacSettings


def test_a_centre_that_can_not_be_built_leaves_no_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (tmp_path / "state").write_text("a file where the folder of the database should be")
    (tmp_path / "dac.yaml").write_text("archive: {location: archive}\nstate: {database: state/idac.db}\n")
    loaded = load_settings(DacSettings, tmp_path / "dac.yaml")
    with pytest.raises(UserError):
        build_centre(loaded)
    assert list(scratch.iterdir()) == []
