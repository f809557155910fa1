"""Addresses that callers name: fetched where they are public, and never a way into this server's network."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from idac.core.errors import BadData, BadParameter, Cancelled, TooLarge
from idac.query.fetching import Address, UriFetcher, is_public
from idac.query.settings import UploadSettings

LOCAL = ipaddress.ip_address("127.0.0.1")


class _Site(BaseHTTPRequestHandler):
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        type(self).seen.append((self.path, self.headers["Host"]))
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
