"""Queries, the one way: text → checked tree → engine → bytes in a format. TAP, cone search, jobs and the CLI use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from idac.catalogs.snapshot import CatalogSnapshot, TableEntry
from idac.core.errors import Cancelled, UserError
from idac.core.principal import Principal
from idac.core.quota import UNLIMITED, Quota
from idac.core.rights import RightsPolicy
from idac.query.engines.base import Engine, Explanation, Progress, QueryLimits, QueryStream
from idac.query.resolved import ResolvedQuery
from idac.query.settings import QuerySettings
from idac.query.turns import Turns
from idac.tables.formats import Format, ResultInfo
from idac.tables.model import Column


class Compiler(Protocol):
    """From ADQL to a checked query, for one picture of the archive and one caller; ``QueryCompiler`` is one."""

    def compile(self, text: str, snapshot: CatalogSnapshot, principal: Principal) -> ResolvedQuery: ...

    def check_tables(
        self, text: str, snapshot: CatalogSnapshot, principal: Principal, uploads: Collection[str]
    ) -> None: ...

    def rights_at(self, snapshot: CatalogSnapshot) -> RightsPolicy: ...


class CallerWatch(Protocol):
    """Sees to it that work stops when its caller may have it no longer; ``identity.watch.CallerWatch`` is one."""

    def add(
        self, principal: Principal, check: Callable[[Principal], object], stop: Callable[[UserError], None]
    ) -> Callable[[], None]:
        """Call *stop* once with the reason where *check* refuses the caller as of then, until the answer is called."""
        ...


class SnapshotSource(Protocol):
    """What is published now; ``catalogs.Archive`` is one."""

    def snapshot(self) -> CatalogSnapshot: ...


@dataclass(frozen=True)
class QueryRequest:
    """One query. *max_rows* None means the centre's default; *uploads* are its TAP_UPLOAD tables by name."""

    adql: str
    format: Format
    timeout_s: float
    max_rows: int | None = None
    uploads: Mapping[str, TableEntry] = field(default_factory=dict)
    infos: tuple[tuple[str, str, str], ...] = ()
    #: Whether a failure after the first bytes is written in the format's own words, for an answer that is being sent;
    #: a format without such words, and a result that is stored whole, let it through.
    mark_errors: bool = False
    #: Changes names and UCDs of the answer where a protocol prescribes them.
    relabel: Callable[[Column], Column] | None = None


class Ending:
    """Why a query was ended from outside, for whoever waits for it or reads its answer."""

    def __init__(self) -> None:
        self.reason: UserError | None = None

    def raise_reason(self) -> None:
        if self.reason is not None:
            raise self.reason


class RunningQuery:
    """A query whose first batch, or end, is known; ``chunks`` is its answer. Satisfies ``web.streaming.Work``."""

    def __init__(
        self,
        request: QueryRequest,
        columns: tuple[Column, ...],
        stream: QueryStream | None,
        on_close: Callable[[], None],
        spool: Path | None = None,
        ending: Ending | None = None,
    ) -> None:
        self.format = request.format
        self.columns = columns
        self._request = request
        self._stream = stream
        self._on_close = on_close
        self._spool = spool
        self._closed = False
        self._ending = ending or Ending()

    @property
    def overflowed(self) -> bool:
        """True once rows were cut. MAXREC=0 always counts as cut (DALI 1.1 section 3.4.4)."""
        return self._stream.overflowed if self._stream is not None else True

    def chunks(self) -> Iterator[bytes]:
        """The answer's bytes. Raises what the engine raises, at the point where it happened."""
        info = ResultInfo(infos=self._request.infos, mark_errors=self._request.mark_errors, spool_folder=self._spool)
        return iter(self.format.write(self.columns, self.batches(), info, lambda: self.overflowed))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The answer's rows, for callers that need no format."""
        try:
            for batch in self._stream if self._stream is not None else ():
                self._ending.raise_reason()
                yield batch
        except Cancelled:
            self._ending.raise_reason()
            raise

    def progress(self) -> Progress:
        return self._stream.progress() if self._stream is not None else Progress(1.0, 0)

    def cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._stream is not None:
                self._stream.close()
        finally:
            self._on_close()


def _nothing() -> None:
    return None


class QueryService:
    """Answers queries of anyone over what is published. Thread-safe.

    *spool* is a scratch folder for formats that must know all rows before they write the first. *origin* is told with
    every result: INFO elements of whose data it is.
    """

    def __init__(
        self,
        archive: SnapshotSource,
        engine: Engine,
        compiler: Compiler,
        settings: QuerySettings,
        spool: Path | None = None,
        watch: CallerWatch | None = None,
        origin: tuple[tuple[str, str, str], ...] = (),
        turns: Turns | None = None,
        quota_of: Callable[[Principal], Quota] = lambda _: UNLIMITED,
    ) -> None:
        self.archive = archive
        self.engine = engine
        self.settings = settings
        self._compiler = compiler
        self._spool = spool
        self._watch = watch
        self._origin = origin
        self._turns = turns or Turns()
        self._quota_of = quota_of

    def compile(
        self, adql: str, principal: Principal, uploads: Mapping[str, TableEntry] | None = None
    ) -> ResolvedQuery:
        """The checked query; BadQuery with line and column, or AccessDenied, for one that may not run."""
        snapshot = self.archive.snapshot().with_uploads(uploads or {})
        return self._compiler.compile(adql, snapshot, principal)

    def rights_at(self, snapshot: CatalogSnapshot) -> RightsPolicy:
        """Who may read what of *snapshot*."""
        return self._compiler.rights_at(snapshot)

    def check_tables(self, adql: str, principal: Principal, uploads: Collection[str]) -> None:
        """Refuse a query that can't run whatever its *uploads* hold, before the work of reading them is done."""
        self._compiler.check_tables(adql, self.archive.snapshot(), principal, uploads)

    def run(
        self,
        request: QueryRequest,
        principal: Principal,
        *,
        query_id: str,
        owner: str | None = None,
        on_close: Callable[[], None] = _nothing,
    ) -> RunningQuery:
        """Start a query and return when its first batch or its end is known. The caller closes what it gets.

        *owner* is whom this query is counted for while somebody waits for its answer, by the engine's fair queue and by
        quotas: anonymous callers share one name and differ by address. Jobs have none, since they have had their turn.
        *on_close* runs once, also where starting fails.
        """
        ending = Ending()

        def end(reason: UserError) -> None:
            ending.reason = reason
            self.cancel(query_id)

        unwatch = give_turn_back = _nothing

        def close() -> None:
            unwatch()
            give_turn_back()
            on_close()

        try:
            snapshot = self.archive.snapshot().with_uploads(request.uploads)
            resolved = self._compiler.compile(request.adql, snapshot, principal)
            if self._watch is not None:
                # Whether the caller may still have these rows is asked as it was at first: by resolving every name.
                unwatch = self._watch.add(principal, lambda now: self._look_again(request.adql, snapshot, now), end)
            request = replace(request, infos=(*request.infos, *self._origin))
            columns = tuple(map(request.relabel, resolved.columns)) if request.relabel else resolved.columns
            limits = self.limits(request.max_rows, request.timeout_s)
            if limits.max_rows == 0:
                return RunningQuery(request, columns, None, close, self._spool)
            if owner is not None:
                begun = time.monotonic()
                quota = self._quota_of(principal)
                give_turn_back = self._turns.take(owner, quota, query_id, limits.timeout_s)
                limits = replace(limits, timeout_s=max(0.001, limits.timeout_s - (time.monotonic() - begun)))
            stream = self.engine.run(resolved, limits, owner=owner or principal.name, query_id=query_id)
        except BaseException as error:
            close()
            if isinstance(error, Cancelled):
                ending.raise_reason()
            raise
        return RunningQuery(request, columns, stream, close, self._spool, ending)

    def _look_again(self, adql: str, snapshot: CatalogSnapshot, now: Principal) -> None:
        """Refuse what the caller may not read as of now, by the rules that are published now."""
        self._compiler.compile(adql, snapshot.with_rules_of(self.archive.snapshot()), now)

    def limits(self, max_rows: int | None, timeout_s: float) -> QueryLimits:
        """The caller's wish within this centre's bounds."""
        wanted = self.settings.default_max_rows if max_rows is None else max_rows
        return QueryLimits(min(wanted, self.settings.max_rows), timeout_s)

    def explain(self, adql: str, principal: Principal) -> Explanation:
        """What running the query would read."""
        limits = self.limits(None, self.settings.sync_timeout_s)
        return self.engine.explain(self.compile(adql, principal), limits)

    def cancel(self, query_id: str) -> None:
        """Stop a query that is waiting or running in this process."""
        self._turns.cancel(query_id)
        self.engine.cancel(query_id)
