"""Processes of the benchmark: whose user they run as, how they are started, watched and stopped."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil


class BenchError(Exception):
    """Something that whoever runs the benchmark can mend; its text says how."""


#: Below the ports that outgoing connections take.
_PORTS = range(18_300, 19_300)
_given: set[int] = set()


def free_port() -> int:
    """A port on which nothing listens now, and that nobody here has been given before."""
    for port in sorted(set(_PORTS) - _given):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
    raise BenchError(f"No port between {_PORTS.start} and {_PORTS.stop} is free.")


def server_user() -> str | None:
    """Who PostgreSQL and DaCHS run as: PostgreSQL refuses root, and anyone else runs them as themselves."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise BenchError("There is no user postgres; install Debian's package postgresql.") from None


def give(path: Path) -> None:
    """Let the servers' user own *path* and everything in it."""
    user = server_user()
    if user is not None:
        subprocess.run(["chown", "-R", f"{user}:", str(path)], check=True)


def check_reachable(folder: Path) -> None:
    """Raise BenchError where the servers' user can't get at *folder*, as below a home folder closed to others."""
    if server_user() is None:
        return
    for parent in [folder, *folder.parents]:
        if not parent.stat().st_mode & 0o001:
            raise BenchError(
                f"{parent} is closed to other users, and PostgreSQL does not run as root. "
                "Name a folder that all can enter with --run, such as /var/tmp/idac-bench."
            )


def run(command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, text: str = "") -> str:
    """What *command*, run as the servers' user, prints; BenchError with the end of its output where it fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        cwd="/",
        env=_clean_env(env),
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **_as_user(),
    )
    with log.open("a") as out:
        out.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise BenchError(f"{Path(command[0]).name} ended with {done.returncode}; all of it is in {log}:\n{last}")
    return done.stdout


def _as_user() -> dict[str, Any]:
    user = server_user()
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": ()} if user else {}


def _clean_env(more: Mapping[str, str] | None) -> dict[str, str]:
    """The environment without what would lead Debian's own Python, or libpq, astray."""
    kept = {k: v for k, v in os.environ.items() if not re.match(r"PYTHON|VIRTUAL_ENV|PYENV|PG|GAVO|LD_|XDG", k)}
    kept["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin"
    user = server_user()
    if user:
        kept["HOME"] = pwd.getpwnam(user).pw_dir
    return kept | {"LC_ALL": "C.UTF-8"} | dict(more or {})


class Service:
    """A server process and its children, stopped when it is left."""

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str], *, as_user: bool) -> None:
        """Start *command*; a process that a killed run left behind in the same folder is ended first."""
        self.name, self.log = name, log
        self._pid = log.with_name(f"{name}.pid")
        self._end_predecessor()
        self.begun = time.perf_counter()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd="/",
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **(_as_user() if as_user else {}),
            )

        self._pid.write_text(f"{self.process.pid} {psutil.Process(self.process.pid).create_time()}")

    def _end_predecessor(self) -> None:
        with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            number, begun = self._pid.read_text().split()
            process = psutil.Process(int(number))
            # The number may be another process's by now.
            if process.create_time() == float(begun):
                process.terminate()
                process.wait(15)

    def wait_until(self, answers: Callable[[], bool], seconds: float) -> float:
        """Seconds from now until *answers*; BenchError when the process ends first or takes too long."""
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with {self.process.returncode}; see {self.log}")
            with suppress(OSError):
                if answers():
                    return time.perf_counter() - begun
            time.sleep(0.005)
        raise BenchError(f"{self.name} did not answer within {seconds:g} s; see {self.log}")

    def tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def processor_seconds(self) -> float:
        """Processor time of the service since it began, with that of children that have ended."""
        return processor_seconds(self.process.pid)

    def stop(self) -> None:
        """End the process, softly at first."""
        self._pid.unlink(missing_ok=True)
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            for process in self.tree():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()


def processor_seconds(pid: int) -> float:
    """Processor time of a process and its children, also of those that have ended; in steps of 10 ms for each."""
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def stopping(service: Service) -> Iterator[Service]:
    try:
        yield service
    finally:
        service.stop()


def user_env(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return _clean_env(more)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that what was started is stopped."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
