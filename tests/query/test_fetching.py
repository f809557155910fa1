"""Addresses that callers name: fetched where they are public, and never a way into this server's network."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from idac.core.errors import BadData, BadParameter, Cancelled, TooLarge
from idac.query.fetching import Address, UriFetcher, is_public
from idac.query.settings import UploadSettings
from idac.tables.readers import open_table

LOCAL = ipaddress.ip_address("127.0.0.1")


class _Site(BaseHTTPRequestHandler):
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        type(self).seen.append((self.path, self.headers["Host"]))
        if self.path.startswith("/packed/"):
            self.send_response(200)
            self.send_header("Content-Encoding", self.path.removeprefix("/packed/"))
            self.end_headers()
            self.wfile.write(gzip.compress(b"ra,dec\n1,2\n"))
            return
        if self.path.startswith("/status/"):
            self.send_response(int(self.path.removeprefix("/status/")))
            self.end_headers()
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(200 if self.path != "/missing" else 404)
        self.end_headers()
        self.wfile.write(b"ra,dec\n1,2\n")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def site() -> Iterator[tuple[int, list[tuple[str, str]]]]:
    seen: list[tuple[str, str]] = []
    handler = type("Site", (_Site,), {"seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1], seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("0.1.2.3", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
        *("::ffff:10.0.0.1", "::ffff:8.8.8.8", "2002:7f00:1::", "2001:0:1::1", "64:ff9b::7f00:1", "64:ff9b::808:808"),
    ],
)
def test_addresses_that_are_not_of_the_open_internet(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "193.174.61.1", "2606:4700::1111"])
def test_addresses_of_the_open_internet(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def resolving(**names: str) -> object:
    def resolve(host: str, _port: int) -> list[Address]:
        return [ipaddress.ip_address(names.get(host.replace(".", "_"), host))]

    return resolve


def test_a_listed_host_is_fetched_and_keeps_its_name(site: tuple[int, list[tuple[str, str]]], tmp_path: Path) -> None:
    port, seen = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=("data.test",)), resolving(data_test="127.0.0.1"))  # type: ignore[arg-type]
    fetcher.fetch(f"http://data.test:{port}/t.csv", tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == b"ra,dec\n1,2\n"
    assert seen == [("/t.csv", f"data.test:{port}")]


@pytest.mark.parametrize("allowed", [".test", "127.0.0.0/8"])
def test_domains_and_networks_may_be_listed(
    site: tuple[int, list[tuple[str, str]]], tmp_path: Path, allowed: str
) -> None:
    port, _ = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=(allowed,)), resolving(data_test="127.0.0.1"))  # type: ignore[arg-type]
    fetcher.fetch(f"http://data.test:{port}/t.csv", tmp_path / "t")
    assert (tmp_path / "t").exists()


def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(
    site: tuple[int, list[tuple[str, str]]], tmp_path: Path
) -> None:
    port, seen = site
    fetcher = UriFetcher(UploadSettings(), resolving(innocent_example="127.0.0.1"))  # type: ignore[arg-type]
    with pytest.raises(BadParameter) as caught:
        fetcher.fetch(f"http://innocent.example:{port}/t.csv?token=secret", tmp_path / "t")
    assert str(caught.value) == (
        f"The upload's address is not a public one. Given: http://innocent.example:{port}/t.csv. Allowed: public "
        "internet addresses, and hosts that the operator lists (query.uploads.allow_hosts). Send the table in the "
        "request instead (UPLOAD=name,param:field)."
    )
    assert seen == []


def test_a_name_with_one_inner_address_among_public_ones_is_refused(tmp_path: Path) -> None:
    def resolve(_host: str, _port: int) -> list[Address]:
        return [ipaddress.ip_address("8.8.8.8"), LOCAL]

    with pytest.raises(BadParameter, match="not a public one"):
        UriFetcher(UploadSettings(), resolve).fetch("http://two.example/t.csv", tmp_path / "t")


def test_the_name_is_resolved_once(site: tuple[int, list[tuple[str, str]]], tmp_path: Path) -> None:
    port, _ = site
    answers = [[LOCAL], [ipaddress.ip_address("10.0.0.1")]]

    def resolve(_host: str, _port: int) -> list[Address]:
        return answers.pop(0)

    UriFetcher(UploadSettings(allow_hosts=("127.0.0.1/32",)), resolve).fetch(f"http://x.test:{port}/t", tmp_path / "t")
    assert len(answers) == 1


def test_a_redirect_is_checked_like_the_first_address(site: tuple[int, list[tuple[str, str]]], tmp_path: Path) -> None:
    port, seen = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=("data.test",)), resolving(data_test="127.0.0.1"))  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match="not a public one"):
        fetcher.fetch(f"http://data.test:{port}/to/http://169.254.169.254/latest/meta-data", tmp_path / "t")
    fetcher.fetch(f"http://data.test:{port}/to//t.csv", tmp_path / "t")
    assert (tmp_path / "t").exists()
    with pytest.raises(BadParameter, match="of a kind that is not fetched"):
        fetcher.fetch(f"http://data.test:{port}/to/file:///etc/passwd", tmp_path / "t")
    assert [path for path, _ in seen][-1] == "/to/file:///etc/passwd"


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "ftp://x.org/t", "http://user@x.org/t", "http:///t", "gopher:x"])
def test_other_kinds_of_address_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(BadParameter) as caught:
        UriFetcher(UploadSettings()).fetch(uri, tmp_path / "t")
    assert "The upload's address is of a kind that is not fetched." in str(caught.value)
    assert "user@" not in str(caught.value)


def test_a_file_over_the_limit_is_not_kept_coming(site: tuple[int, list[tuple[str, str]]], tmp_path: Path) -> None:
    port, _ = site
    settings = UploadSettings(allow_hosts=("127.0.0.1",), max_uri_bytes=5)
    with pytest.raises(TooLarge) as caught:
        UriFetcher(settings).fetch(f"http://127.0.0.1:{port}/t.csv", tmp_path / "t")
    assert str(caught.value) == (
        f"The upload is too large. Given: http://127.0.0.1:{port}/t.csv. Allowed: 5 bytes "
        "(query.uploads.max_uri_bytes). Select the columns and rows you need before uploading."
    )


def test_a_missing_file_a_silent_host_and_a_loop_are_told(
    site: tuple[int, list[tuple[str, str]]], tmp_path: Path
) -> None:
    port, _ = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",)))
    with pytest.raises(BadData) as caught:
        fetcher.fetch(f"http://127.0.0.1:{port}/missing", tmp_path / "t")
    assert str(caught.value) == (
        f"The upload could not be fetched. Given: http://127.0.0.1:{port}/missing: HTTP status 404. Check that the "
        "address opens from anywhere, or send the table in the request."
    )
    with pytest.raises(BadData, match="no answer from this address"):
        fetcher.fetch("http://127.0.0.1:1/t", tmp_path / "t")
    with pytest.raises(BadData, match="more than 5 redirects"):
        fetcher.fetch(f"http://127.0.0.1:{port}" + "/to/" * 20, tmp_path / "t")


def test_a_stopped_query_stops_fetching(site: tuple[int, list[tuple[str, str]]], tmp_path: Path) -> None:
    port, _ = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",)))
    with pytest.raises(Cancelled):
        fetcher.fetch(f"http://127.0.0.1:{port}/t", tmp_path / "t", lambda: True)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://[::1/x", "http://[zz]/x", "http://\x00/x", "http://a.test/\x01", "http://127.0.0.1:99999999/x"),
        *("http://127.0.0.1:x/", "https://[v1.x]/", "http://]/", "http://a\u2100.test/"),
    ],
)
def test_what_is_no_address_is_told_as_such(uri: str, tmp_path: Path) -> None:
    with pytest.raises(BadParameter) as caught:
        UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",))).fetch(uri, tmp_path / "t")
    assert caught.value.text == (
        f"The upload's address can't be read. Given: {uri}. Allowed: http:// and https:// addresses without "
        "user name, or param: for a file in the request."
    )


def test_what_is_secret_in_an_address_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(BadParameter) as caught:
        UriFetcher(UploadSettings()).fetch("http://me:word@[::1/x?token=secret", tmp_path / "t")
    assert caught.value.value == "http://[::1/x"


@pytest.mark.parametrize("status", [204, 300, 304])
def test_an_answer_without_a_file_or_an_address_is_told(
    site: tuple[int, list[tuple[str, str]]], tmp_path: Path, status: int
) -> None:
    port, _ = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",)))
    with pytest.raises(BadData) as caught:
        fetcher.fetch(f"http://127.0.0.1:{port}/status/{status}", tmp_path / "t")
    assert caught.value.value == f"http://127.0.0.1:{port}/status/{status}: HTTP status {status}"


@pytest.mark.parametrize("location", ["http://[::1", "http://[zz]/x", "mailto:x", "http://a:b/"])
def test_a_redirect_to_what_is_no_address_is_told(
    site: tuple[int, list[tuple[str, str]]], tmp_path: Path, location: str
) -> None:
    port, _ = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",)))
    with pytest.raises(BadData, match="no answer from this address"):
        fetcher.fetch(f"http://127.0.0.1:{port}/to/{location}", tmp_path / "t")


def test_a_file_that_is_sent_packed_is_kept_packed_for_its_reader(
    site: tuple[int, list[tuple[str, str]]], tmp_path: Path
) -> None:
    port, _ = site
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",)))
    fetcher.fetch(f"http://127.0.0.1:{port}/packed/gzip", tmp_path / "t")
    with open_table(tmp_path / "t") as table:
        assert [column.name for column in table.columns] == ["ra", "dec"]
    with pytest.raises(BadData) as caught:
        fetcher.fetch(f"http://127.0.0.1:{port}/packed/br", tmp_path / "t")
    assert caught.value.value == (
        f"http://127.0.0.1:{port}/packed/br: the host sends it packed as br, which was not asked for"
    )


class SlowHost:
    """A host that says *begin* and then a byte at a time without end, until whoever asked hangs up."""

    def __init__(self, begin: bytes) -> None:
        self.has_dripped, self.was_left, self._ends = threading.Event(), threading.Event(), threading.Event()
        self._begin = begin
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(20)
        self.port = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            caller, _ = self._door.accept()
        except TimeoutError:
            return
        with caller:
            caller.recv(65536)
            try:
                caller.sendall(self._begin)
                while not self._ends.wait(0.01):
                    caller.sendall(b"x")
                    self.has_dripped.set()
            except OSError:
                self.was_left.set()

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        self._door.close()


#: The headers, the file itself, and the first message of TLS: a handshake record of 16 kB.
SLOW = {"http": b"HTTP/1.1 200 OK\r\nX-Long: ", "body": b"HTTP/1.1 200 OK\r\n\r\n", "https": b"\x16\x03\x03\x40\x00"}


@pytest.fixture(params=SLOW)
def slow(request: pytest.FixtureRequest) -> Iterator[tuple[SlowHost, str]]:
    host = SlowHost(SLOW[request.param])
    scheme = "https" if request.param == "https" else "http"
    yield host, f"{scheme}://127.0.0.1:{host.port}/t.csv"
    host.close()


def test_a_host_that_drips_is_left_when_the_time_is_over(slow: tuple[SlowHost, str], tmp_path: Path) -> None:
    host, uri = slow
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",), uri_timeout_s=1.5))
    with pytest.raises(BadData) as caught:
        fetcher.fetch(uri, tmp_path / "t")
    assert caught.value.value == f"{uri}: not complete after 1.5 s"
    assert host.was_left.wait(20)


def test_a_host_that_drips_is_left_when_the_query_is_stopped(slow: tuple[SlowHost, str], tmp_path: Path) -> None:
    host, uri = slow
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",)))
    with pytest.raises(Cancelled):
        fetcher.fetch(uri, tmp_path / "t", host.has_dripped.is_set)
    assert host.was_left.wait(20)


def test_a_name_service_that_does_not_answer_holds_nobody(
    site: tuple[int, list[tuple[str, str]]], tmp_path: Path
) -> None:
    port, seen = site
    asked, answers, resolvers = threading.Event(), threading.Event(), []

    def resolve(_host: str, _port: int) -> list[Address]:
        resolvers.append(threading.current_thread())
        asked.set()
        answers.wait()
        return [LOCAL]

    settings = UploadSettings(allow_hosts=("127.0.0.1",), uri_timeout_s=0.2)
    with pytest.raises(BadData, match=r"not complete after 0\.2 s"):
        UriFetcher(settings, resolve).fetch(f"http://x.test:{port}/t", tmp_path / "t")
    with pytest.raises(Cancelled):
        UriFetcher(settings, resolve).fetch(f"http://x.test:{port}/t", tmp_path / "t", asked.is_set)
    answers.set()
    for thread in resolvers:
        thread.join()
    assert seen == []
    assert not (tmp_path / "t").exists()


def test_a_connection_that_comes_when_nobody_waits_any_more_is_closed(
    monkeypatch: pytest.MonkeyPatch, site: tuple[int, list[tuple[str, str]]], tmp_path: Path
) -> None:
    port, seen = site
    connected, nobody_waits, made, threads = threading.Event(), threading.Event(), [], []
    connect = socket.create_connection

    def slow_connect(*arguments: Any, **more: Any) -> socket.socket:
        made.append(connect(*arguments, **more))
        threads.append(threading.current_thread())
        connected.set()
        nobody_waits.wait()
        return made[0]

    monkeypatch.setattr(socket, "create_connection", slow_connect)
    fetcher = UriFetcher(UploadSettings(allow_hosts=("127.0.0.1",)))
    with pytest.raises(Cancelled):
        fetcher.fetch(f"http://127.0.0.1:{port}/t", tmp_path / "t", connected.is_set)
    nobody_waits.set()
    threads[0].join()
    assert made[0].fileno() == -1
    assert seen == []
