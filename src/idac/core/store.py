"""Objects by name in a folder or an S3 bucket: the archive, results and uploads live behind this one interface."""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import time
from bisect import bisect_right
from collections.abc import Buffer, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store
from pydantic import Field

from idac.core.errors import BadConfiguration, NotFound, ResourceExhausted, StoreUnavailable, UserError
from idac.core.secrets import SecretRef, SecretSource
from idac.core.settings import Section

#: Parts of a multipart upload: a terabyte within S3's 10 000 parts, and a few fit in memory.
PART_BYTES = 16 * 1024 * 1024
#: What an open object reads ahead: few requests for a whole file, little waste for a footer.
READ_AHEAD_BYTES = 2 * 1024 * 1024


class StoreSettings(Section):
    """How to reach one S3 bucket."""

    endpoint: str | None = None
    """URL of the S3 service. Default: Amazon's own, for the region."""
    region: str = "us-east-1"
    """Region of the bucket. Ceph and MinIO take any; Amazon needs the true one."""
    access_key_id: SecretRef | None = None
    """Name of the secret that holds the access key. Without one, requests are anonymous."""
    secret_access_key: SecretRef | None = None
    """Name of the secret that holds the secret key."""
    path_style: bool = True
    """Whether the bucket is named in the path. True suits Ceph and MinIO; Amazon's newer buckets want false."""
    allow_http: bool = False
    """Whether an http:// endpoint is accepted. Only for a gateway on the same machine or a trusted network."""
    timeout_s: int = Field(default=30, ge=1, le=600)
    """Seconds that one request may take before the store counts as away."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a listing or a look at one object tells."""

    key: str
    size: int  # bytes
    modified: datetime
    etag: str | None


class Store(Protocol):
    """Objects under one location. Keys are relative paths with ``/``. Thread-safe.

    Raises NotFound for a missing object and StoreUnavailable where the store does not answer; no text of either
    tells where the store is.
    """

    is_local: bool

    def put_atomic(self, key: str, source: bytes | Path | Iterable[bytes]) -> int:
        """Write a whole object from bytes, a file or chunks as they come; returns its size in bytes.

        Readers see the old object or the whole new one, never a part; where *source* raises, the old one stays.
        """
        ...

    def get(self, key: str) -> bytes: ...
    def read_range(self, key: str, start: int, length: int) -> bytes: ...
    def head(self, key: str) -> StoredObject: ...
    def list(self, prefix: str = "") -> Iterator[StoredObject]: ...
    def delete(self, key: str) -> None:
        """Remove an object; one that is gone already is no error."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object under the folder *prefix*; returns how many there were."""
        ...

    def delete_unfinished(self, prefix: str, older_than_s: float) -> int:
        """Remove what writers that died left under the folder *prefix*; returns how many such files there were.

        A writer whose file has not grown for *older_than_s* counts as dead. A bucket's own rule does this for S3.
        """
        ...

    def open_input(self, key: str) -> BinaryIO:
        """A seekable file over the object."""
        ...

    @property
    def location(self) -> str:
        """What every ``url`` begins with, without a slash at its end."""
        ...

    def url(self, key: str) -> str:
        """What DuckDB and pyarrow open: an absolute path, or an ``s3://`` URL."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The object's file, where there is one on this machine."""
        ...

    def signed_url(self, key: str, expires_s: int) -> str | None:
        """A link that anyone may GET for that many seconds; None where the store can't make one."""
        ...


def open_store(location: str, stores: Mapping[str, StoreSettings], secret_source: SecretSource, folder: Path) -> Store:
    """The store at *location*: a path (relative to *folder*) or ``s3://bucket/prefix``.

    Raises BadConfiguration for any other kind of location, and where the bucket's settings or secrets are missing.
    """
    if location and "://" not in location:
        path = Path(location).expanduser()
        return FolderStore(path if path.is_absolute() else folder / path)
    parts = urlsplit(location)
    if parts.scheme != "s3" or not parts.netloc:
        raise BadConfiguration(
            "This location can't be used as a store.",
            value=location,
            allowed="a folder, or s3://bucket/prefix",
            next_step="Correct the location in dac.yaml.",
        )
    settings = stores.get(parts.netloc, StoreSettings())
    return S3BucketStore(parts.netloc, parts.path.strip("/"), settings, secret_source)


def _checked(key: str) -> str:
    """The key itself; a key that would leave the store is a fault of ours, not of a caller."""
    path = PurePosixPath(key)
    # A second spelling, such as a//b, would be one object in a folder and two in S3.
    if path.is_absolute() or ".." in path.parts or not path.parts or str(path) != key:
        raise ValueError(f"not a key inside the store: {key!r}")
    return key


def _checked_prefix(prefix: str) -> str:
    return _checked(prefix.removesuffix("/")) if prefix else ""


class _Source:
    """The chunks of what is being written; remembers whether it was they that failed, and not the store."""

    def __init__(self, source: bytes | Path | Iterable[bytes]) -> None:
        self._source = source
        self.size = 0
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks():
                self.size += len(chunk)
                yield chunk
        except Exception as error:
            self.failure = error
            raise

    def _chunks(self) -> Iterator[bytes]:
        if isinstance(self._source, bytes):
            yield self._source
        elif isinstance(self._source, Path):
            with self._source.open("rb") as file:
                while chunk := file.read(PART_BYTES):
                    yield chunk
        else:
            yield from self._source


@contextmanager
def _source_errors(source: _Source) -> Iterator[None]:
    """Let a failure of the source out as it is, whatever the store made of it."""
    try:
        yield
    except UserError:
        if source.failure is not None:
            raise source.failure from None
        raise


@contextmanager
def _local_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _missing(key) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceExhausted(
                "The disk is full, so nothing was written.", next_step="Free some space, or tell the operator."
            ) from error
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise StoreUnavailable(
                "The store of this centre refuses access.",
                value=error.strerror,
                next_step="Tell the operator: the user who runs idac must be able to read and write it.",
            ) from error
        raise _unavailable() from error


def _missing(key: str) -> NotFound:
    return NotFound("There is no such object in the store.", value=PurePosixPath(key).name)


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable(
        "The store of this centre does not answer.", next_step="Try again in a minute; if it lasts, tell the operator."
    )


class FolderStore:
    """Objects as files of a folder."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)

    def put_atomic(self, key: str, source: bytes | Path | Iterable[bytes]) -> int:
        chunks = _Source(source)
        try:
            with _source_errors(chunks), _local_errors(key), _new_file(self._path(key)) as file:
                file.writelines(chunks)
        except BaseException:
            self._remove_empty(self._path(key).parent)
            raise
        return chunks.size

    def get(self, key: str) -> bytes:
        with _local_errors(key):
            return self._path(key).read_bytes()

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with _local_errors(key), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def head(self, key: str) -> StoredObject:
        with _local_errors(key):
            path = self._path(key)
            if not path.is_file():
                raise FileNotFoundError
            return self._describe(path)

    def _describe(self, path: Path) -> StoredObject:
        status = path.stat()
        etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
        modified = datetime.fromtimestamp(status.st_mtime).astimezone()
        return StoredObject(path.relative_to(self.root).as_posix(), status.st_size, modified, etag)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        top = self.root / _checked_prefix(prefix)
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(files):
                if not name.startswith(_TEMPORARY):
                    try:
                        yield self._describe(Path(folder, name))
                    except FileNotFoundError:
                        continue  # deleted while we were listing

    def delete(self, key: str) -> None:
        try:
            with _local_errors(key):
                self._path(key).unlink()
        except NotFound:
            return
        self._remove_empty(self._path(key).parent)

    def delete_prefix(self, prefix: str) -> int:
        count = sum(1 for _ in self.list(prefix))
        path = self._path(_checked_prefix(prefix))
        with _local_errors(prefix):
            shutil.rmtree(path, onexc=_unless_gone)
        self._remove_empty(path.parent)
        return count

    def delete_unfinished(self, prefix: str, older_than_s: float) -> int:
        oldest, count = time.time() - older_than_s, 0
        for folder, _, files in os.walk(self.root / _checked_prefix(prefix), topdown=False):
            untouched = False
            with suppress(NotFound), _local_errors(prefix):
                untouched = Path(folder).stat().st_mtime < oldest
                for path in (Path(folder, name) for name in files if name.startswith(_TEMPORARY)):
                    if path.stat().st_mtime < oldest:
                        path.unlink()
                        count += 1
                        untouched = True
            if untouched:
                self._remove_empty(Path(folder))
        return count

    def _remove_empty(self, folder: Path) -> None:
        """Remove *folder* and those around it that hold nothing: objects alone make folders, as in S3."""
        with suppress(OSError):
            while folder.parent.is_relative_to(self.root) and folder.parent != self.root:
                folder.rmdir()
                folder = folder.parent

    def open_input(self, key: str) -> BinaryIO:
        with _local_errors(key):
            return self._path(key).open("rb")

    @property
    def location(self) -> str:
        return str(self.root)

    def url(self, key: str) -> str:
        return str(self._path(key))

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def signed_url(self, key: str, expires_s: int) -> str | None:
        return None


_TEMPORARY = ".new-"


def _unless_gone(_function: object, _path: str, error: BaseException) -> None:
    """Two processes may clear the same folder; what one has removed is no error to the other."""
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes *target*'s name, in one step, when the block ends well, and is gone where it does not."""
    # Not tempfile's: its files are for their owner alone, and here the operator's umask says who else may read.
    path = target.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        with _opened(path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        path.replace(target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _opened(path: Path) -> IO[bytes]:
    """The new file, open for writing, in a folder that whoever clears up beside us may remove while it is empty."""
    left = 100
    while True:
        left -= 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")
        except (FileNotFoundError, FileExistsError):
            # The second is mkdir's word for a folder that was there, and is gone when it looks what it is.
            if not left:
                raise


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class S3BucketStore:
    """Objects of an S3 bucket, under a prefix."""

    is_local = False

    def __init__(self, bucket: str, prefix: str, settings: StoreSettings, secret_source: SecretSource) -> None:
        self.bucket, self.prefix, self.settings = bucket, prefix, settings
        if (settings.access_key_id is None) != (settings.secret_access_key is None):
            raise BadConfiguration(
                "The store of a bucket has one key without the other.",
                value=bucket,
                allowed="both access_key_id and secret_access_key, or neither",
                next_step="Correct stores in dac.yaml.",
            )
        key_id = secret_source.read(settings.access_key_id) if settings.access_key_id else None
        secret = secret_source.read(settings.secret_access_key) if settings.secret_access_key else None
        self.credentials = (key_id, secret) if key_id and secret else None
        config: dict[str, object] = {
            "region": settings.region,
            "virtual_hosted_style_request": not settings.path_style,
            "skip_signature": self.credentials is None,
        }
        if settings.endpoint:
            config["endpoint"] = settings.endpoint
        if self.credentials:
            config |= {"access_key_id": key_id, "secret_access_key": secret}
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,  # type: ignore[arg-type]
            client_options={"allow_http": settings.allow_http, "timeout": f"{settings.timeout_s}s"},
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=settings.timeout_s)},
        )

    def put_atomic(self, key: str, source: bytes | Path | Iterable[bytes]) -> int:
        chunks = _Source(source)
        with _source_errors(chunks), _remote_errors(key, writing=True):
            # Chunks go up as a multipart upload, which S3 shows only when it is completed.
            data = source if isinstance(source, bytes) else iter(chunks)
            obstore.put(self._store, _checked(key), data, chunk_size=PART_BYTES, max_concurrency=4)
        return len(source) if isinstance(source, bytes) else chunks.size

    def get(self, key: str) -> bytes:
        with _remote_errors(key):
            return bytes(obstore.get(self._store, _checked(key)).bytes())

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with _remote_errors(key):
            return bytes(obstore.get_range(self._store, _checked(key), start=start, length=length))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """The bytes of many (start, length) of one object, several at a time, and close ones by one request."""
        if not ranges:
            return []
        starts, lengths = [start for start, _ in ranges], [length for _, length in ranges]
        with _remote_errors(key):
            return [
                memoryview(b) for b in obstore.get_ranges(self._store, _checked(key), starts=starts, lengths=lengths)
            ]

    def head(self, key: str) -> StoredObject:
        with _remote_errors(key):
            return _described(obstore.head(self._store, _checked(key)))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with _remote_errors(prefix):
            for page in obstore.list(self._store, _checked_prefix(prefix) or None):
                yield from map(_described, page)

    def delete(self, key: str) -> None:
        try:
            with _remote_errors(key):
                obstore.delete(self._store, _checked(key))
        except NotFound:
            return

    def delete_prefix(self, prefix: str) -> int:
        keys = [item.key for item in self.list(prefix)]
        if keys:
            with _remote_errors(prefix):
                obstore.delete(self._store, keys)
        return len(keys)

    def delete_unfinished(self, prefix: str, older_than_s: float) -> int:
        return 0  # parts of uploads that were never completed are no objects; the bucket's lifecycle rule ends them

    def open_input(self, key: str) -> BinaryIO:
        return io.BufferedReader(_ObjectReader(self, key, self.head(key).size), READ_AHEAD_BYTES)

    def open_ranges(self, key: str, size: int, ranges: Sequence[tuple[int, int]]) -> io.RawIOBase:
        """A file over an object of *size* bytes whose *ranges* (start, length; sorted) are here once it is open."""
        return _ObjectReader(self, key, size, ranges)

    @property
    def location(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def url(self, key: str) -> str:
        return f"{self.location}/{_checked(key)}"

    def local_path(self, key: str) -> Path | None:
        return None

    def signed_url(self, key: str, expires_s: int) -> str | None:
        with _remote_errors(key):
            return obstore.sign(self._store, "GET", _checked(key), timedelta(seconds=expires_s))


class _ObjectReader(io.RawIOBase):
    """An object as a raw file of ranges, of which some may be fetched at once; BufferedReader over it reads ahead."""

    def __init__(self, store: S3BucketStore, key: str, size: int, ranges: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        self._store, self._key, self._size, self._at = store, key, size, 0
        self._starts = [start for start, _ in ranges]
        self._pieces = store.read_ranges(key, ranges)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        length = min(len(view), self._size - self._at)
        if length <= 0:
            return 0
        data = self._fetched(length)
        if data is None:
            data = memoryview(self._store.read_range(self._key, self._at, length))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetched(self, length: int) -> memoryview | None:
        """So many bytes from here, where one piece has them all."""
        place = bisect_right(self._starts, self._at) - 1
        offset = self._at - self._starts[place] if place >= 0 else 0
        if place < 0 or offset + length > len(self._pieces[place]):
            return None
        return self._pieces[place][offset : offset + length]


def _described(meta: Mapping[str, object]) -> StoredObject:
    etag = meta.get("e_tag")
    return StoredObject(
        str(meta["path"]),
        int(str(meta["size"])),
        meta["last_modified"],  # type: ignore[arg-type]
        str(etag) if etag else None,
    )


@contextmanager
def _remote_errors(key: str, *, writing: bool = False) -> Iterator[None]:
    """What the S3 library raises, in this family's terms. Nothing can be missing for a write but the bucket itself."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        if writing:
            raise _unavailable() from error
        raise _missing(key) from None
    except (BaseError, OSError) as error:
        # A listing that is refused arrives as a general error which tells its status in words alone.
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "status code: 403" in str(error):
            raise StoreUnavailable(
                "The store of this centre refuses our credentials.",
                next_step="Tell the operator: the keys of this bucket are wrong or lack a right.",
            ) from error
        raise _unavailable() from error
