"""What is fetched from a provider comes over https, from whom its certificate says, and from nowhere else."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from idac.identity import provider_http
from idac.identity.provider_http import ProviderUnavailable, fetch_list, fetch_object


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b"[]" if self.path == "/list" else b'{"a": 1}'
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _write_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, with its key, as a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an institute's own authority")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    path = folder / "authority.pem"
    path.write_bytes(
        key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(form)
    )
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return _write_certificate(tmp_path)


@pytest.fixture
def address(certificate: Path) -> Iterator[str]:
    """A server that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  clients that break off are the point
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def fetched(url: str) -> dict[str, object]:
    async def fetch() -> dict[str, object]:
        return await fetch_object("GET", url, timeout_s=10)

    return anyio.run(fetch)


def refused(url: str) -> str:
    with pytest.raises(ProviderUnavailable) as caught:
        fetched(url)
    return str(caught.value)


NO_CONNECTION = (
    "The identity provider does not answer as it should. Given: no connection. "
    "Try again in a minute, or log in another way; if it lasts, tell the operator."
)


def test_a_certificate_of_nobody_known_is_refused_and_that_of_the_institutes_authority_taken(
    address: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    provider_http._tls.cache_clear()
    assert refused(address) == NO_CONNECTION
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    provider_http._tls.cache_clear()
    assert fetched(address) == {"a": 1}
    # It is for 127.0.0.1, and for no other name.
    assert refused(address.replace("127.0.0.1", "localhost")) == NO_CONNECTION
    monkeypatch.undo()
    provider_http._tls.cache_clear()


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "https://", "x", ""])
def test_nothing_is_asked_of_an_address_that_is_not_safe(url: str) -> None:
    assert refused(url) == NO_CONNECTION.replace("no connection", "no https address")


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"

        async def lists() -> list[object]:
            return await fetch_list(f"{url}/list", timeout_s=10, headers={})

        try:
            assert fetched(url) == {"a": 1}
            assert anyio.run(lists) == []
            with pytest.raises(ProviderUnavailable, match="Given: no JSON list"):
                anyio.run(lambda: fetch_list(url, timeout_s=10, headers={}))
        finally:
            server.shutdown()
            thread.join()
