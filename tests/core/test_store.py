"""One suite for both kinds of store, and what is particular to each: crashes for folders, links for S3."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from idac.core.errors import BadConfiguration, NotFound, ResourceExhausted, StoreUnavailable
from idac.core.secrets import FileSecrets, SecretRef
from idac.core.store import PART_BYTES, FolderStore, S3BucketStore, Store, StoreSettings, open_store
from services.programs import free_port
from services.rgw import Bucket, Gateway


def write_secrets(folder: Path, **values: str) -> FileSecrets:
    folder.mkdir(exist_ok=True)
    for name, value in values.items():
        path = folder / name.replace("_", "-")
        path.touch(mode=0o600)
        path.write_text(value + "\n")
    return FileSecrets(folder)


def s3_settings(endpoint: str, **changes: object) -> StoreSettings:
    keys = {"access_key_id": SecretRef(secret="key-id"), "secret_access_key": SecretRef(secret="key")}  # noqa: S106
    return StoreSettings.model_validate({"endpoint": endpoint, "allow_http": True, **keys, **changes})


def s3_store(
    gateway: Gateway, bucket: str, folder: Path, prefix: str = "", *, key: str | None = None, **changes: object
) -> S3BucketStore:
    secrets = write_secrets(folder / "secrets", key_id=gateway.access_key_id, key=key or gateway.secret_access_key)
    return S3BucketStore(bucket, prefix, s3_settings(gateway.endpoint, **changes), secrets)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    bucket: Bucket = request.getfixturevalue("s3_bucket")
    return s3_store(bucket.gateway, bucket.name, tmp_path, "a/prefix")


def keys(store: Store, prefix: str = "") -> list[str]:
    return sorted(item.key for item in store.list(prefix))


def test_what_is_put_is_got(store: Store) -> None:
    assert store.put_atomic("a/b.bin", b"\x00\x01 text") == 7
    assert store.get("a/b.bin") == b"\x00\x01 text"
    assert store.put_atomic("a/b.bin", b"new") == 3
    assert store.get("a/b.bin") == b"new"


def test_an_empty_object_is_an_object(store: Store) -> None:
    assert store.put_atomic("empty", b"") == 0
    assert store.put_atomic("empty-chunks", iter([])) == 0
    assert store.get("empty") == store.get("empty-chunks") == b""
    assert store.head("empty-chunks").size == 0


def test_chunks_and_files_are_put_whole_over_several_parts(store: Store, tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    blocks = PART_BYTES * 2 // len(block) + 3
    assert store.put_atomic("chunks", (block for _ in range(blocks))) == blocks * len(block)
    source = tmp_path / "source"
    source.write_bytes(block * blocks)
    assert store.put_atomic("file", source) == blocks * len(block)
    assert store.get("chunks") == store.get("file") == block * blocks


def test_a_source_that_fails_leaves_the_old_object_and_nothing_else(store: Store) -> None:
    store.put_atomic("k", b"old")

    def source() -> Iterator[bytes]:
        yield bytes(PART_BYTES + 1)
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        store.put_atomic("k", source())
    assert store.get("k") == b"old"
    assert keys(store) == ["k"]


def test_a_source_that_refuses_in_the_users_words_keeps_its_words(store: Store) -> None:
    def source() -> Iterator[bytes]:
        yield b"x"
        raise NotFound("A part of the answer is gone.")

    with pytest.raises(NotFound) as caught:
        store.put_atomic("k", source())
    assert caught.value.text == "A part of the answer is gone."


def test_ranges_are_exact_and_end_with_the_object(store: Store) -> None:
    store.put_atomic("r", bytes(range(100)))
    assert store.read_range("r", 10, 5) == bytes(range(10, 15))
    assert store.read_range("r", 95, 100) == bytes(range(95, 100))


def test_listing_stays_inside_its_folder_and_tells_sizes(store: Store) -> None:
    for key in ("x/1", "x/2/3", "xy/1", "z"):
        store.put_atomic(key, key.encode())
    assert keys(store) == ["x/1", "x/2/3", "xy/1", "z"]
    assert keys(store, "x") == ["x/1", "x/2/3"]
    assert keys(store, "none") == []
    assert {item.key: item.size for item in store.list()}["x/2/3"] == 5


def test_more_than_one_page_of_objects_is_listed_and_deleted(store: Store) -> None:
    expected = [f"many/{n:04d}" for n in range(50 if store.is_local else 1001)]  # S3 pages have 1000
    for key in expected:
        store.put_atomic(key, b"")
    store.put_atomic("other", b"")
    assert keys(store, "many") == expected
    assert store.delete_prefix("many") == len(expected)
    assert keys(store) == ["other"]


def test_the_entity_tag_changes_with_the_content(store: Store) -> None:
    store.put_atomic("t", b"1")
    first = store.head("t")
    store.put_atomic("t", b"2")
    assert first.etag
    assert store.head("t").etag != first.etag
    assert first.modified.tzinfo is not None


def test_deleting_twice_is_no_error(store: Store) -> None:
    store.put_atomic("d/x", b"1")
    store.delete("d/x")
    store.delete("d/x")
    assert store.delete_prefix("d") == 0
    assert keys(store) == []


def test_an_object_opens_as_a_seekable_file(store: Store) -> None:
    data = os.urandom(300_000)
    store.put_atomic("f", data)
    with store.open_input("f") as file:
        assert file.read(10) == data[:10]
        assert file.seek(-5, io.SEEK_END) == len(data) - 5
        assert file.read() == data[-5:]
        file.seek(1000)
        assert file.read(4) == data[1000:1004]
        assert file.tell() == 1004


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.get("no/such"),
        lambda s: s.head("no/such"),
        lambda s: s.read_range("no/such", 0, 1),
        lambda s: s.open_input("no/such"),
    ],
    ids=["get", "head", "range", "open"],
)
def test_a_missing_object_is_not_found(store: Store, ask: object) -> None:
    with pytest.raises(NotFound) as caught:
        ask(store)  # type: ignore[operator]
    assert caught.value.text == "There is no such object in the store. Given: such."


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "", ".", "a//b", "a/./b", "a/"])
def test_a_key_can_not_leave_the_store_or_have_two_spellings(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not a key inside the store"):
        store.put_atomic(key, b"x")
    with pytest.raises(ValueError, match="not a key inside the store"):
        store.get(key)


@pytest.mark.parametrize("key", ["with space", "plus+and&", "ünïcode/λ", "50%25", "hash#x", "star*", "q?x=1"])
def test_keys_with_unusual_characters_survive(store: Store, key: str) -> None:
    store.put_atomic(key, b"v")
    assert store.get(key) == b"v"
    assert keys(store) == [key]
    assert store.head(key).key == key


def test_many_threads_write_and_read_one_key_and_never_see_a_mixture(store: Store) -> None:
    store.put_atomic("k", bytes(50_000))
    seen: set[bytes] = set()
    failures: list[Exception] = []

    def write(value: int) -> None:
        try:
            for _ in range(5):
                store.put_atomic("k", bytes([value]) * 50_000)
        except Exception as error:  # noqa: BLE001  reported below
            failures.append(error)

    def read() -> None:
        try:
            for _ in range(20):
                seen.add(store.get("k"))
        except Exception as error:  # noqa: BLE001  reported below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in (1, 2)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(len(value) == 50_000 and len(set(value)) == 1 for value in seen)


@pytest.mark.parametrize("failure", [FileNotFoundError("gone"), OSError(errno.ENOSPC, "full")])
def test_a_failure_of_the_source_is_not_taken_for_one_of_the_store(store: Store, failure: OSError) -> None:
    def source() -> Iterator[bytes]:
        yield b"x"
        raise failure

    with pytest.raises(type(failure)) as caught:
        store.put_atomic("k", source())
    assert caught.value is failure
    assert keys(store) == []


def test_a_folder_may_be_named_with_a_slash_at_its_end(store: Store) -> None:
    store.put_atomic("p/q/1", b"x")
    assert keys(store, "p/q/") == ["p/q/1"]
    assert store.delete_prefix("p/q/") == 1
    assert keys(store) == []


# Folders


def test_a_writer_killed_half_way_leaves_the_old_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_atomic("k", b"old")
    program = (
        "import sys\nfrom pathlib import Path\nfrom idac.core.store import FolderStore\n"
        "def chunks():\n    yield b'half of it'\n    print('ready', flush=True)\n    sys.stdin.read()\n"
        f"FolderStore(Path({str(tmp_path)!r})).put_atomic('k', chunks())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert store.get("k") == b"old"
    assert keys(store) == ["k"]


def test_what_a_killed_writer_left_goes_when_it_is_old(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name, age_s in (("a/.new-1", 100), ("a/b/.new-2", 100), ("c/.new-3", 1), ("c/kept", 100)):
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)
    assert store.delete_unfinished("top", 50) == 2
    assert store.delete_unfinished("top", -1) == 1
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["top", "top/c", "top/c/kept"]


def test_a_folder_store_keeps_no_empty_folders(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for key in ("top/a/b/c", "top/a/d", "top/e/f/g"):
        store.put_atomic(key, b"x")
    store.delete("top/a/b/c")
    store.delete_prefix("top/e/f")

    def failing() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError("the source ends here")

    with pytest.raises(RuntimeError, match="the source ends here"):
        store.put_atomic("top/h/i", failing())
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["top", "top/a", "top/a/d"]


def test_writers_and_those_who_clear_up_do_not_hinder_each_other(tmp_path: Path) -> None:
    store, failures = FolderStore(tmp_path), []

    def write(number: int) -> None:
        try:
            for _ in range(300):
                store.put_atomic(f"top/a/{number}", b"x")
                store.delete(f"top/a/{number}")
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads meet at every step
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []


def test_files_of_a_folder_store_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        store = FolderStore(tmp_path)
        store.put_atomic("a/k", b"v")
    finally:
        os.umask(umask)
    umask = 0o027
    path = store.local_path("a/k")
    assert path == tmp_path / "a" / "k"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert store.url("a/k") == str(path)
    assert store.signed_url("a/k", 60) is None


def test_a_full_disk_is_said_and_the_old_object_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    store.put_atomic("k", b"old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceExhausted) as caught:
        store.put_atomic("k", b"new")
    assert caught.value.text == "The disk is full, so nothing was written. Free some space, or tell the operator."
    monkeypatch.undo()
    assert store.get("k") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_folder_that_can_not_be_read_is_unavailable_and_not_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreUnavailable) as caught:
        FolderStore(tmp_path).get("loop")
    assert caught.value.text == (
        "The store of this centre does not answer. Try again in a minute; if it lasts, tell the operator."
    )


# S3


def fetch(url: str) -> tuple[int, bytes]:
    answer = httpx.get(url, timeout=30)
    return answer.status_code, answer.content


def test_a_signed_link_opens_one_object_to_anyone_and_nothing_else(s3_bucket: Bucket, tmp_path: Path) -> None:
    store = s3_store(s3_bucket.gateway, s3_bucket.name, tmp_path)
    store.put_atomic("result one.vot", b"rows")
    store.put_atomic("other", b"secret")
    link = store.signed_url("result one.vot", 600)
    assert link is not None
    assert fetch(link) == (200, b"rows")
    assert fetch(link.split("?")[0])[0] == 403
    assert fetch(link.replace("result%20one.vot", "other"))[0] == 403
    signature = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["X-Amz-Signature"][0]
    changed = ("0" if signature[0] != "0" else "1") + signature[1:]
    assert fetch(link.replace(signature, changed))[0] == 403
    assert fetch(link.replace("X-Amz-Expires=600", "X-Amz-Expires=60000"))[0] == 403
    assert httpx.put(link, content=b"overwritten", timeout=30).status_code == 403
    assert store.get("result one.vot") == b"rows"


def test_a_signed_link_ends_when_it_said(s3_bucket: Bucket, tmp_path: Path) -> None:
    store = s3_store(s3_bucket.gateway, s3_bucket.name, tmp_path)
    store.put_atomic("k", b"v")
    link = store.signed_url("k", 1)
    assert link is not None
    status = 200
    while status == 200:  # ends by itself: the gateway's clock goes on
        status, _ = fetch(link)
    assert status == 403


@pytest.mark.parametrize("change", ["key", "anonymous"])
def test_wrong_or_no_keys_are_a_store_that_does_not_answer(s3_bucket: Bucket, tmp_path: Path, change: str) -> None:
    s3_store(s3_bucket.gateway, s3_bucket.name, tmp_path).put_atomic("k", b"v")
    if change == "key":
        store = s3_store(s3_bucket.gateway, s3_bucket.name, tmp_path, key="not the key")
    else:
        nothing = {"access_key_id": None, "secret_access_key": None}
        store = s3_store(s3_bucket.gateway, s3_bucket.name, tmp_path, **nothing)
    for ask in (lambda: store.get("k"), lambda: store.put_atomic("k", b"x"), lambda: list(store.list())):
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        assert caught.value.text == (
            "The store of this centre refuses our credentials. Tell the operator: the keys of this bucket are wrong "
            "or lack a right."
        )


def test_a_gateway_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    gateway = Gateway(f"http://127.0.0.1:{free_port()}", "id", "key")
    store = s3_store(gateway, "b", tmp_path, timeout_s=1)
    with pytest.raises(StoreUnavailable) as caught:
        store.get("k")
    assert caught.value.text == (
        "The store of this centre does not answer. Try again in a minute; if it lasts, tell the operator."
    )


def test_a_bucket_that_does_not_exist_is_said_to_the_operator(s3_bucket: Bucket, tmp_path: Path) -> None:
    store = s3_store(s3_bucket.gateway, "no-such-bucket", tmp_path)
    with pytest.raises(StoreUnavailable) as caught:
        store.put_atomic("k", b"v")
    assert caught.value.text == (
        "The store of this centre does not answer. Try again in a minute; if it lasts, tell the operator."
    )


# Locations


def test_locations_open_relative_to_the_files_folder(tmp_path: Path) -> None:
    store = open_store("./archive", {}, FileSecrets(tmp_path), tmp_path)
    store.put_atomic("k", b"v")
    assert (tmp_path / "archive" / "k").read_bytes() == b"v"
    bucket = open_store("s3://b/some/prefix/", {}, FileSecrets(tmp_path), tmp_path)
    assert bucket.url("k") == "s3://b/some/prefix/k"
    assert bucket.location == "s3://b/some/prefix"
    assert store.location == str(tmp_path / "archive")
    assert not bucket.is_local


@pytest.mark.parametrize("location", ["gs://bucket", "s3://", "s3:///x", "http://example.org/x", ""])
def test_other_locations_are_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as caught:
        open_store(location, {}, FileSecrets(tmp_path), tmp_path)
    given = f" Given: {location}."
    assert caught.value.text == (
        f"This location can't be used as a store.{given} Allowed: a folder, or s3://bucket/prefix. "
        "Correct the location in dac.yaml."
    )


def test_half_a_pair_of_keys_is_refused(tmp_path: Path) -> None:
    settings = {"b": StoreSettings(access_key_id=SecretRef(secret="key-id"))}  # noqa: S106
    with pytest.raises(BadConfiguration) as caught:
        open_store("s3://b", settings, write_secrets(tmp_path / "s", key_id="x"), tmp_path)
    assert caught.value.text == (
        "The store of a bucket has one key without the other. Given: b. "
        "Allowed: both access_key_id and secret_access_key, or neither. Correct stores in dac.yaml."
    )
