"""``idac up`` as its users run it: a process of its own, real sockets, killed and started anew as tests ask."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from services import http
from services.programs import free_port

IDAC = str(Path(sys.executable).with_name("idac"))


@dataclass
class IdacProcess:
    """A centre in *folder*, which holds its dac.yaml; at the same address each time it is started."""

    folder: Path
    url: str = ""
    #: What it printed when it answered.
    announced: dict[str, object] = field(default_factory=dict)
    _port: int = field(default_factory=free_port)
    _process: subprocess.Popen[str] | None = None

    @property
    def tap(self) -> str:
        return f"{self.url}/api/tap"

    @property
    def log(self) -> Path:
        return self.folder / "up.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it says that it answers."""
        with self.log.open("ab") as log:
            command = [IDAC, "--config", str(self.folder / "dac.yaml"), "up", "--port", str(self._port), "--json"]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = self._process.stdout.readline()
            assert line, f"it ended before it answered: {self.log.read_text()}"
            said += line
        self.announced = json.loads(said)
        self.url = str(self.announced["url"])

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def sync(self, query: str, **parameters: str) -> httpx.Response:
        """The answer to a synchronous query."""
        return http.post(f"{self.tap}/sync", data={"LANG": "ADQL", "QUERY": query, **parameters}, timeout=120)

    def faults(self) -> str:
        """What went wrong inside, as the log has it."""
        lines = self.log.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if " ERROR " in line or "Traceback" in line)


def idac(folder: Path, *arguments: str) -> str:
    """What a command prints; fails where it does."""
    command = [IDAC, "--config", str(folder / "dac.yaml"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout
