"""taplint, all stages: what it finds is what docs/reference/taplint.md explains, and nothing else."""

from __future__ import annotations

import re

import pytest

from services.idac_process import IdacProcess
from services.stilts import stilts

#: Lines that remain, and why: docs/reference/taplint.md.
EXPLAINED = [
    "F-LOC-NOTP-1 No table with name ivoa.obsplan",
    'W-CAP-CULF-1 Custom feature type "ivo://ivoa.net/std/tapregext#features-adql-conditional" for language ADQL',
]


def findings(report: str) -> list[str]:
    """Errors, warnings and failures; the rest is information."""
    return sorted(line for line in report.splitlines() if re.match(r"[EWF]-", line))


@pytest.mark.parametrize("centre", ["survey", "demo"])
def test_only_what_is_explained_remains(centre: str, request: pytest.FixtureRequest) -> None:
    served: IdacProcess = request.getfixturevalue(centre)
    report = stilts("taplint", f"tapurl={served.tap}")
    assert findings(report) == EXPLAINED, report
    stages = set(re.findall(r"^Section ([A-Z]{3}):", report, re.MULTILINE))
    assert stages >= {"TMV", "TME", "TMS", "TMC", "CPV", "CAP", "AVV", "QGE", "QPO", "QAS", "UWS", "MDQ", "UPL", "EXA"}
