"""Queries to a TAP service from afar: answers as streams of bytes, and its errors as our own."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import httpx
from defusedxml import DefusedXmlException, ElementTree  # type: ignore[import-untyped]

from idac.client.addresses import Address, origin_of
from idac.client.device_login import CentreUnavailable, unavailable
from idac.client.kept import LogIn
from idac.core import errors
from idac.core.errors import BadData, BadQuery, Position, ResourceExhausted, UserError

_UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
_ENDED = frozenset({"COMPLETED", "ERROR", "ABORTED", "ARCHIVED"})
_CONNECT_S = 30.0
#: Seconds that a service may hold a question about a job, and between two to one that does not.
_HOLD_S, _PAUSE_S = 30, 2.0
_ERROR_BYTES = 64 * 1024
_STATUS = re.compile(r"<INFO\b[^>]*\bname=\"QUERY_STATUS\"[^>]*\bvalue=\"ERROR\"[^>]*>(.*?)</INFO>", re.DOTALL)
_KINDS = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UserError)}


@dataclass(frozen=True)
class RemoteTap:
    """The service at *address*, asked as whoever is logged in there."""

    address: Address
    log_in: LogIn | None
    timeout_s: float

    @contextmanager
    def run(self, adql: str, form: Mapping[str, str], *, as_job: bool) -> Iterator[Iterator[bytes]]:
        """The bytes of the result; the query is stopped where they are not read to their end.

        *form* has further parameters. *as_job* asks for an asynchronous job, which may take longer than an answer.
        """
        sent = {"LANG": "ADQL", "REQUEST": "doQuery", "QUERY": adql, **form}
        headers = {"accept": "application/json, */*;q=0.9"}  # of errors; results come in the format that is asked for
        if self.log_in is not None:
            headers["authorization"] = f"Bearer {self.log_in.require_current().token}"
        timeout = httpx.Timeout(self.timeout_s, connect=_CONNECT_S)
        ends = time.monotonic() + self.timeout_s
        try:
            # A redirect to another origin does not get the token: httpx leaves it out.
            with httpx.Client(headers=headers, timeout=timeout, follow_redirects=True) as http:
                if not as_job:
                    with http.stream("POST", f"{self.address.tap}/sync", data=sent) as answer:
                        yield self._checked(answer, ends)
                    return
                with self._job(http, sent, ends) as url, http.stream("GET", f"{url}/results/result") as answer:
                    yield self._checked(answer, ends)
        except httpx.TimeoutException:
            raise self._too_long() from None
        except httpx.HTTPError as error:
            raise unavailable(self.address.origin, error) from None

    def row_limit(self, max_rows: int | None) -> int | None:
        """Rows at which the service cuts a result for which so many were asked, as it declares itself; None: unknown.

        TAPRegExt 1.0 section 2.4: the default holds where nothing is asked for, and the hard limit in any case.
        """
        limits: dict[str, int] = {}
        headers = {} if self.log_in is None else {"authorization": f"Bearer {self.log_in.token}"}
        with suppress(httpx.HTTPError, ElementTree.ParseError, DefusedXmlException, ValueError):
            answer = httpx.get(f"{self.address.tap}/capabilities", headers=headers, timeout=_CONNECT_S)
            for limit in ElementTree.fromstring(answer.content).iter("outputLimit"):
                for each in limit:
                    if each.get("unit") == "row":
                        limits[each.tag] = int(each.text or "")
        asked = max_rows if max_rows is not None else limits.get("default")
        return min((each for each in (asked, limits.get("hard")) if each is not None), default=None)

    @contextmanager
    def _job(self, http: httpx.Client, sent: Mapping[str, str], ends: float) -> Iterator[str]:
        """The address of a job that has come to its end; it is removed from the service after the block."""
        made = http.post(f"{self.address.tap}/async", data={**sent, "PHASE": "RUN"}, follow_redirects=False)
        if made.status_code != 303:
            raise self._refusal(made)
        url = str(made.url.join(made.headers.get("location", "")))
        if origin_of(url) != self.address.origin:
            # The client would send its token there.
            raise CentreUnavailable(
                "The service says that its job is at another address.",
                value=url,
                allowed=f"an address that begins with {self.address.origin}",
                next_step="Leave --job out, and tell the operator of the service.",
            )
        with closing(_Removed(http, url)):
            phase = ""
            while phase not in _ENDED:
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    raise self._too_long()
                asked = time.monotonic()
                answer = http.get(url, params={"WAIT": max(1, min(_HOLD_S, int(left_s)))})
                if answer.status_code != 200:
                    raise self._refusal(answer)
                job = ElementTree.fromstring(answer.content)
                before, phase = phase, job.findtext(f"{_UWS}phase") or ""
                if phase == before and time.monotonic() - asked < 1:
                    time.sleep(min(_PAUSE_S, left_s))  # a service of UWS 1.0 answers at once
            if phase != "COMPLETED":
                why = job.findtext(f"{_UWS}errorSummary/{_UWS}message") or f"It ended as {phase}."
                raise BadQuery("The job gave no result.", value=why.strip())
            yield url

    def _checked(self, answer: httpx.Response, ends: float) -> Iterator[bytes]:
        if answer.status_code != 200:
            answer.read()
            raise self._refusal(answer)
        return self._in_time(_until_broken(answer.iter_bytes()), ends)

    def _in_time(self, chunks: Iterator[bytes], ends: float) -> Iterator[bytes]:
        for chunk in chunks:
            if time.monotonic() > ends:
                raise self._too_long()
            yield chunk

    def _refusal(self, answer: httpx.Response) -> UserError:
        """The service's error as one of ours: with its kind and place where idac answers, as a text elsewhere."""
        with suppress(ValueError, KeyError, TypeError):
            parts = answer.json()["error"]
            kind = _KINDS.get(parts["code"], UserError)
            place = Position(int(parts["line"]), int(parts["column"])) if "line" in parts else None
            told = {name: parts.get(name) for name in ("value", "allowed", "next_step")}
            if answer.status_code == 401 and self.log_in is None:
                told["next_step"] = f"Log in with: idac login {self.address.origin}"
            return kind(parts["what"], **told, position=place)
        text = answer.text[:_ERROR_BYTES]
        found = _STATUS.search(text)
        if found is None and answer.status_code in (401, 403):
            return errors.NotAuthenticated("The service lets you in only with a log-in.", value=self.address.tap)
        if found is None:
            return CentreUnavailable(
                "What answers at this address is no TAP service, or has a fault.",
                value=f"{self.address.tap}, status {answer.status_code}",
            )
        return BadQuery("The service refused the query.", value=html.unescape(found[1]).strip())

    def _too_long(self) -> ResourceExhausted:
        return ResourceExhausted(
            "The query took too long.",
            value=f"{self.timeout_s:g} s",
            next_step="Give it more time with --timeout, and let it run as a job with --job.",
        )


class _Removed:
    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http, self._url = http, url

    def close(self) -> None:
        """Remove the job, and stop it where it runs; a service that is gone removes it by itself one day."""
        with suppress(httpx.HTTPError):
            self._http.delete(self._url, follow_redirects=False)


def _until_broken(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes as they come, and an error at their end where the service says that it could not send them all."""
    tail = b""
    for chunk in chunks:
        tail = (tail + chunk)[-_ERROR_BYTES:] if len(chunk) < _ERROR_BYTES else chunk[-_ERROR_BYTES:]
        yield chunk
    if tail.rstrip().endswith(b"VOTABLE>") and (found := _STATUS.search(tail.decode("utf-8", "replace"))):
        raise BadData("The service stopped with an error before the last row.", value=html.unescape(found[1]).strip())
