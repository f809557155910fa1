"""taplint, all stages: what it finds is what docs/reference/taplint.md explains, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.idac_process import IdacProcess
from services.stilts import stilts

#: Lines that remain for every centre, and why: docs/reference/taplint.md.
EXPLAINED = [
    "F-LOC-NOTP-1 No table with name ivoa.obsplan",
    'W-CAP-CULF-1 Custom feature type "ivo://ivoa.net/std/tapregext#features-adql-conditional" for language ADQL',
]
#: One more for a table with a column of bytes.
BYTES = "E-MDQ-CTYP-1 Declared/result type mismatch for column flag in table survey.objects (unsignedByte != short)"
STAGES = {
    "TMV",
    "TME",
    "TMS",
    "TMC",
    "CPV",
    "CAP",
    "AVV",
    "QGE",
    "QPO",
    "QAS",
    "UWS",
    "MDQ",
    "OBS",
    "LOC",
    "UPL",
    "EXA",
}


def findings(report: str) -> list[str]:
    """Errors, warnings and failures; the rest is information."""
    return sorted(line for line in report.splitlines() if re.match(r"[EWF]-", line))


@pytest.mark.parametrize(("centre", "more"), [("survey", [BYTES]), ("demo", [])])
def test_only_what_is_explained_remains(centre: str, more: list[str], request: pytest.FixtureRequest) -> None:
    served: IdacProcess = request.getfixturevalue(centre)
    report = stilts("taplint", f"tapurl={served.tap}")
    assert findings(report) == sorted([*more, *EXPLAINED]), report
    assert set(re.findall(r"^Section ([A-Z]{3}):", report, re.MULTILINE)) == STAGES


def test_what_remains_is_explained_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/taplint.md").read_text()
    for line in (BYTES, *EXPLAINED):
        assert line.split()[0].rpartition("-")[0] in page
