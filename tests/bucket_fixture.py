"""A bucket of the tests' gateway as a centre is told of it: settings, and keys among its secrets."""

from __future__ import annotations

from pathlib import Path

from idac.core.secrets import FileSecrets, SecretRef
from idac.core.store import StoreSettings
from services.rgw import Bucket


def bucket_settings(bucket: Bucket) -> StoreSettings:
    """Its section of dac.yaml."""
    reference = {"access_key_id": SecretRef(secret="key"), "secret_access_key": SecretRef(secret="word")}  # noqa: S106 - names
    return StoreSettings(endpoint=bucket.gateway.endpoint, allow_http=True, **reference)


def bucket_secrets(folder: Path, bucket: Bucket) -> FileSecrets:
    """The keys that it names, kept in *folder*."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, value in (("key", bucket.gateway.access_key_id), ("word", bucket.gateway.secret_access_key)):
        (folder / name).write_text(value)
        (folder / name).chmod(0o600)
    return FileSecrets(folder)
