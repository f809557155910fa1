"""A publisher's desk: a centre's folder and the ``idac`` command in it, with proof that nothing was lost."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from command_fixture import Run

#: Nothing of the kind may ever reach a person: a stack trace, a path of the code, an exception's class.
_NEVER = ("Traceback", "site-packages", "/src/idac", 'File "', "Exception", "errno", "fault ")


@dataclass(frozen=True)
class Desk:
    """The folder that holds dac.yaml, and the command run in it."""

    folder: Path
    run: Run

    def idac(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        done = self.run(*arguments)
        assert done.code == 0, done.err
        return done.out

    def refused(self, code: int, *arguments: str) -> str:
        """The whole error of a command that must fail, with all files of the folder left as they were.

        A query is shown above its error, with a mark below the place.
        """
        before = self.files()
        done = self.run(*arguments)
        assert done.code == code, done.err or done.out
        assert done.out == ""
        text = " ".join(done.err.split())
        assert text.count("Error: ") == 1, text
        assert not [word for word in _NEVER if word in text], text
        assert str(self.folder) not in text
        assert self.files() == before
        return text.partition("Error: ")[2]

    def files(self) -> dict[str, str]:
        """Every file with a checksum of its content; the state database, and locks, may come and go."""
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not path.name.startswith("state.db")
        }


@dataclass(frozen=True)
class SmallDisk:
    """A folder that can be made to have hardly any room left."""

    folder: Path
    own: bool

    @contextmanager
    def leaving(self, pages: int) -> Iterator[None]:
        """Room for so many pages of 4 KiB; where no disk can be mounted, no file may grow longer than that."""
        if not self.own:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (pages * 4096, before[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            return
        filler = self.folder / "filler"
        room = os.statvfs(self.folder)
        filler.write_bytes(b"\0" * (room.f_bavail - pages) * room.f_bsize)
        try:
            yield
        finally:
            filler.unlink()
