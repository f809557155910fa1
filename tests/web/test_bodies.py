"""Request bodies that no honest client sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from idac.core.errors import BadParameter
from idac.web.bodies import BodyLimits, _Multipart


def test_a_boundary_of_any_length_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadParameter) as caught:
        _Multipart(b"b" * 5_000, BodyLimits(1_000, 1), tmp_path)
    assert caught.value.text == (
        "The multipart form can't be read. Given: its boundary is too long. "
        "Allowed: multipart/form-data as in RFC 7578."
    )
