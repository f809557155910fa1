"""Two centres that run for a session, as ``idac up`` runs them: a small survey, and the demonstration's sample."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.survey import build_survey
from services.foreign_clients import foreign_clients
from services.idac_process import IdacProcess, idac

DEMO = Path(__file__).parents[2] / "demo"


def running(folder: Path) -> Iterator[IdacProcess]:
    """The centre in *folder* while it runs; whatever broke inside meanwhile fails the tests that used it."""
    process = IdacProcess(folder)
    process.start()
    yield process
    process.stop()
    assert process.faults() == ""


@pytest.fixture(scope="session")
def survey_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A centre's folder with the survey of ``clients.survey``, which nothing runs in: to be copied."""
    folder = tmp_path_factory.mktemp("archive")
    build_survey(folder)
    return folder


@pytest.fixture(scope="session")
def survey(survey_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdacProcess]:
    """The survey, running."""
    folder = tmp_path_factory.mktemp("running") / "survey"
    shutil.copytree(survey_folder, folder)
    yield from running(folder)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdacProcess]:
    """The bright stars that are kept in the repository, published by the command line."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(DEMO / "dac.yaml", folder)
    for name, file in (("tycho2.main", "tycho2.fits"), ("kstars.stars", "kstars.ecsv")):
        felis = DEMO / f"{name.partition('.')[0]}.yaml"
        idac(folder, "catalog", "add", str(DEMO / "sample" / file), "--name", name, "--felis", str(felis))
    yield from running(folder)


@pytest.fixture(autouse=True)
def _foreign_clients() -> Iterator[None]:
    with foreign_clients():
        yield
