"""Tokens of this user on this machine: a file for each centre, which nobody else can read."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from idac.client.addresses import parse_centre
from idac.core.errors import BadConfiguration, NotAuthenticated


@dataclass(frozen=True, slots=True)
class LogIn:
    """A token of one centre, and what is known of it. *expires* is in seconds since 1970."""

    url: str
    token: str = field(repr=False)
    username: str
    scopes: tuple[str, ...]
    expires: int | None = None

    def require_current(self) -> LogIn:
        """Itself; NotAuthenticated where the token has expired."""
        if self.expires is not None and self.expires <= time.time():
            raise NotAuthenticated(
                "Your log-in has ended.", value=self.url, next_step=f"Log in with: idac login {self.url}"
            )
        return self


def default_folder() -> Path:
    """Where log-ins are kept, as the XDG Base Directory Specification has it."""
    given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # The specification says to ignore relative paths.
    return (given if given.is_absolute() else Path.home() / ".config") / "idac" / "log-ins"


class LogIns:
    """The log-ins in *folder*."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def find(self, origin: str) -> LogIn | None:
        """The log-in at a centre; BadConfiguration where others could have read it."""
        found = self._read(self._path(origin))
        return found if found is not None and found.url == origin else None

    def all(self) -> Iterator[LogIn]:
        for path in sorted(self.folder.glob("*.json")):
            found = self._read(path)
            if found is not None:
                yield found

    def choose(self, url: str | None) -> LogIn:
        """The log-in at *url*, or the only one that there is; NotAuthenticated where there is none."""
        if url is not None:
            origin = parse_centre(url)
            found = self.find(origin)
            if found is None:
                raise NotAuthenticated(
                    "You are not logged in there.", value=origin, next_step=f"Log in with: idac login {origin}"
                )
            return found
        every = list(self.all())
        if len(every) != 1:
            raise NotAuthenticated(
                "Say at which centre." if every else "You are not logged in anywhere.",
                allowed=", ".join(each.url for each in every) or None,
                next_step="Give its address." if every else "Log in with: idac login https://dac.example.org",
            )
        return every[0]

    def keep(self, log_in: LogIn) -> Path:
        """Write a log-in into its file, whole or not at all."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")  # which its owner alone may read
            part = Path(name)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(asdict(log_in), file, indent=2)
                path = self._path(log_in.url)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise BadConfiguration(
                "The log-in can't be kept.",
                value=f"{self.folder}: {error.strerror}",
                allowed="a folder that you may write to",
                next_step="Name another place in the environment variable XDG_CONFIG_HOME.",
            ) from None
        return path

    def remove(self, origin: str) -> None:
        self._path(origin).unlink(missing_ok=True)

    def _path(self, origin: str) -> Path:
        scheme, _, place = origin.partition("://")
        name = place if scheme == "https" else f"{scheme}-{place}"
        return self.folder / f"{''.join('_' if c in ':[]' else c for c in name)}.json"

    def _read(self, path: Path) -> LogIn | None:
        try:
            with path.open(encoding="utf-8") as file:
                _require_private(path, os.fstat(file.fileno()))
                known = json.load(file)
            return LogIn(
                url=str(known["url"]),
                token=str(known["token"]),
                username=str(known["username"]),
                scopes=tuple(known["scopes"]),
                expires=known["expires"],
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise BadConfiguration(
                "The file with your log-in can't be read.", value=path, next_step="Remove it, and log in again."
            ) from None


def _require_private(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadConfiguration(
            "The file with your log-in can be read or changed by others.",
            value=path,
            allowed="a file of your own with mode 600",
            next_step=f"Log out and in again, since others may have the token; or chmod 600 {path}",
        )
