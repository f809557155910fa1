"""A real S3 service, Ceph's RADOS Gateway with one in-memory disk, for a session, and a bucket for each test.

Stand-ins accept tampered links and wrong keys, so nothing about access can be learned from them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import S3Store

from services.programs import free_port, require

_PROGRAMS = {
    "ceph-mon": ["ceph-mon"],
    "ceph-osd": ["ceph-osd"],
    "radosgw": ["radosgw", "radosgw-admin"],
    "ceph-common": ["ceph", "ceph-authtool"],
    "ceph-base": ["monmaptool"],
}
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v1:127.0.0.1:{mon_port}]
public_network = 127.0.0.0/8
ms_bind_msgr2 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 1
mon_data_avail_crit = 1
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_class_load_list = *
osd_class_default_list = *
mon_data = {folder}/mon
osd_data = {folder}/osd
keyring = {folder}/keyring
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
log_file = {folder}/log/$name.log
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 32
"""


@dataclass(frozen=True)
class Gateway:
    """A running gateway and a user's keys."""

    endpoint: str
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of the gateway."""

    gateway: Gateway
    name: str


class _Cluster:
    """The processes behind a gateway; all are children of the tests and end with them."""

    def __init__(self, folder: Path, programs: Mapping[str, str]) -> None:
        self.folder, self.programs = folder, programs
        self.port, self.mon_port = free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, program: str, *arguments: str, timeout_s: float = 90) -> str:
        command = [self.programs[program], *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, env=self._environment()
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {"CEPH_CONF": str(self.folder / "ceph.conf"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

    def spawn(self, program: str, *arguments: str) -> None:
        log = (self.folder / f"{program}.out").open("wb")
        # A daemon that asks the monitor for its configuration first may speak to it before it knows its cluster's id,
        # and is then refused ("wrong fsid").
        command = [self.programs[program], "-f", "--no-mon-config", *arguments]
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=self._environment()))
        log.close()

    def start(self) -> None:
        fsid = str(uuid.uuid4())
        for name in ("mon", "osd", "run", "log"):
            (self.folder / name).mkdir()
        text = _CONFIGURATION.format(fsid=fsid, folder=self.folder, port=self.port, mon_port=self.mon_port)
        (self.folder / "ceph.conf").write_text(text)
        keyring, monmap = str(self.folder / "keyring"), str(self.folder / "monmap")
        self.run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        capabilities = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        self.run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *capabilities)
        address = f"[v1:127.0.0.1:{self.mon_port}]"
        self.run("monmaptool", "--create", "--clobber", "--addv", "a", address, "--fsid", fsid, monmap)
        self.run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        self.spawn("ceph-mon", "-i", "a")
        disk = str(uuid.uuid4())
        number = self.run("ceph", "osd", "new", disk).strip()
        self.run("ceph-osd", "-i", number, "--mkfs", "--osd-uuid", disk)
        self.spawn("ceph-osd", "-i", number)
        self.wait("the disk", lambda: "1 up" in self.run("ceph", "osd", "stat"))
        self.spawn("radosgw", "-n", "client.rgw")
        self.wait("the gateway", self._answers)

    def wait(self, what: str, ready: Callable[[], bool], timeout_s: float = 120) -> None:
        end = time.monotonic() + timeout_s
        while not ready():
            dead = [p.args for p in self.processes if p.poll() is not None]
            assert not dead, f"ended while waiting for {what}: {dead}\n{self._last_words()}"
            assert time.monotonic() < end, f"{what} did not come up; see {self.folder}"
            time.sleep(0.1)  # ceph has no way to be told; the condition decides, not the pause

    def _last_words(self) -> str:
        return "\n".join(f"{f.name}: {f.read_text(errors='replace')[-1500:]}" for f in self.folder.glob("*.out"))

    def _answers(self) -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5)
        except httpx.TransportError:
            return False
        return True

    def user(self, name: str) -> Gateway:
        keys = (f"{name}-key", f"{name}-secret-{uuid.uuid4().hex}")
        self.run(
            "radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}",
            f"--access-key={keys[0]}", f"--secret-key={keys[1]}",
        )  # fmt: skip
        return Gateway(f"http://127.0.0.1:{self.port}", *keys)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def s3_gateway() -> Iterator[Gateway]:
    """The session's gateway; it takes about 15 seconds to come up."""
    programs = {name: path for package, names in _PROGRAMS.items() for name, path in require(package, names).items()}
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="idac-rgw-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = _started(folder, programs)
        stack.callback(cluster.stop)
        yield cluster.user("dac")


def _started(folder: Path, programs: Mapping[str, str], tries: int = 3) -> _Cluster:
    """A running cluster. Another test's process may take a port between our look at it and Ceph's: then again."""
    for number in range(tries):
        place = folder / str(number)
        place.mkdir()
        cluster = _Cluster(place, programs)
        try:
            cluster.start()
        except BaseException as error:
            cluster.stop()
            if number == tries - 1 or not isinstance(error, AssertionError):
                raise
        else:
            return cluster
    raise AssertionError("not reached")


@pytest.fixture
def s3_bucket(s3_gateway: Gateway) -> Bucket:
    """A new, empty bucket."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    root = S3Store(
        name,
        config={
            "endpoint": s3_gateway.endpoint,
            "access_key_id": s3_gateway.access_key_id,
            "secret_access_key": s3_gateway.secret_access_key,
            "region": "us-east-1",
            "virtual_hosted_style_request": False,
        },
        client_options={"allow_http": True},
    )
    # A signed PUT of the bucket's own path makes the bucket.
    httpx.put(obstore.sign(root, "PUT", "", timedelta(minutes=1)), timeout=60).raise_for_status()
    return Bucket(s3_gateway, name)
