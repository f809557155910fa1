"""Objects by name in a folder or an S3 bucket: the archive, results and uploads live behind this one interface."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store
from pydantic import Field

from idac.core.errors import BadConfiguration, NotFound, ResourceExhausted, StoreUnavailable
from idac.core.secrets import SecretRef, SecretSource
from idac.core.settings import Section

#: Parts of a multipart upload: a terabyte within S3's 10 000 parts, and a few fit in memory.
PART_BYTES = 16 * 1024 * 1024


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

    def open_input(self, key: str) -> BinaryIO:
        """A seekable file over the object."""
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


def open_store(location: str, stores: Mapping[str, StoreSettings], secrets: SecretSource, folder: Path) -> Store:
    """The store at *location*: a path (relative to *folder*) or ``s3://bucket/prefix``.

    Raises BadConfiguration for any other kind of location, and where the bucket's settings or secrets are missing.
    """
    if "://" not in location:
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
    return S3BucketStore(parts.netloc, parts.path.strip("/"), settings, secrets)


def _checked(key: str) -> str:
    """The key itself; a key that would leave the store is a fault of ours, not of a caller."""
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"not a key inside the store: {key!r}")
    return key


def _chunks(source: bytes | Path | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, Path):
        with source.open("rb") as file:
            while chunk := file.read(PART_BYTES):
                yield chunk
    else:
        yield from source


@contextmanager
def _local_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _missing(key) from None
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise ResourceExhausted(
                "The disk is full, so nothing was written.", next_step="Free some space, or tell the operator."
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
        with _local_errors(key), _new_file(self._path(key)) as file:
            return sum(file.write(chunk) for chunk in _chunks(source))

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
        top = self.root / _checked(prefix) if prefix else self.root
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

    def delete_prefix(self, prefix: str) -> int:
        count = sum(1 for _ in self.list(prefix))
        with _local_errors(prefix):
            shutil.rmtree(self._path(prefix), ignore_errors=True)
        return count

    def open_input(self, key: str) -> BinaryIO:
        with _local_errors(key):
            return self._path(key).open("rb")

    def url(self, key: str) -> str:
        return str(self._path(key))

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def signed_url(self, key: str, expires_s: int) -> str | None:
        return None


_TEMPORARY = ".new-"


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes *target*'s name, in one step, when the block ends well, and is gone where it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that their owner alone may read; catalogues are read by notebooks and LSDB too.
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


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

    def __init__(self, bucket: str, prefix: str, settings: StoreSettings, secrets: SecretSource) -> None:
        self.bucket, self.prefix, self.settings = bucket, prefix, settings
        key_id = secrets.read(settings.access_key_id) if settings.access_key_id else None
        secret = secrets.read(settings.secret_access_key) if settings.secret_access_key else None
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
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in _chunks(source):
                size += len(chunk)
                yield chunk

        with _remote_errors(key):
            # Chunks go up as a multipart upload, which S3 shows only when it is completed.
            data = source if isinstance(source, bytes) else counted()
            obstore.put(self._store, _checked(key), data, chunk_size=PART_BYTES, max_concurrency=4)
        return len(source) if isinstance(source, bytes) else size

    def get(self, key: str) -> bytes:
        with _remote_errors(key):
            return bytes(obstore.get(self._store, _checked(key)).bytes())

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with _remote_errors(key):
            return bytes(obstore.get_range(self._store, _checked(key), start=start, length=length))

    def head(self, key: str) -> StoredObject:
        with _remote_errors(key):
            return _described(obstore.head(self._store, _checked(key)))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with _remote_errors(prefix):
            for page in obstore.list(self._store, prefix or None):
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

    def open_input(self, key: str) -> BinaryIO:
        with _remote_errors(key):
            return obstore.open_reader(self._store, _checked(key), buffer_size=PART_BYTES)  # type: ignore[return-value]

    def url(self, key: str) -> str:
        path = f"{self.prefix}/{_checked(key)}" if self.prefix else _checked(key)
        return f"s3://{self.bucket}/{path}"

    def local_path(self, key: str) -> Path | None:
        return None

    def signed_url(self, key: str, expires_s: int) -> str | None:
        with _remote_errors(key):
            return obstore.sign(self._store, "GET", _checked(key), timedelta(seconds=expires_s))


def _described(meta: Mapping[str, object]) -> StoredObject:
    etag = meta.get("e_tag")
    return StoredObject(
        str(meta["path"]),
        int(str(meta["size"])),
        meta["last_modified"],  # type: ignore[arg-type]
        str(etag) if etag else None,
    )


@contextmanager
def _remote_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise _missing(key) from None
    except (BaseError, OSError) as error:
        raise _unavailable() from error
