"""The first start of a centre with log-in: a link for the administrator, in several processes as in one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from identity_centre import form_token_of
from services import http
from services.idac_process import IdacProcess, idac


def test_the_administrator_logs_in_by_the_link_of_the_first_start_and_by_no_other(tmp_path: Path) -> None:
    (tmp_path / "dac.yaml").write_text("server: {processes: 2}\nidentity: {enabled: true}\n")
    process = IdacProcess(tmp_path)
    process.start()
    try:
        link = urlsplit(str(process.announced["log_in"]))
        assert f"{link.scheme}://{link.netloc}{link.path}" == f"{process.url}/auth/login"
        with http.client(process.url) as browser:
            page = browser.get(f"{link.path}?{link.query}")
            data = {"link": parse_qs(link.query)["link"][0], "csrf": form_token_of(page)}
            assert browser.post("/auth/login", data=data).status_code == 303
            me = [browser.get("/auth/api/v1/user-info").json()["username"] for _ in range(8)]
            assert set(me) == {"admin"}
            assert [user["admin"] for user in browser.get("/auth/api/v1/users").json()] == [True]
        # What the command line changes, every process knows.
        secret = idac(tmp_path, "token", "create", "admin", "--name", "x").strip()
        headers = {"authorization": f"Bearer {secret}"}
        assert http.get(f"{process.url}/auth/api/v1/token-info", headers=headers).json()["username"] == "admin"
        idac(tmp_path, "user", "freeze", "admin")
    finally:
        process.stop()
    process.start()
    try:
        assert "log_in" not in process.announced
        assert http.get(f"{process.url}/auth/api/v1/token-info", headers=headers).status_code == 403
        assert secret not in process.log.read_text()
    finally:
        process.stop()
