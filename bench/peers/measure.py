"""All peers asked the same questions, by turns, and their answers held against each other."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from bench.peers.client import TapClient, count_rows, first_number
from bench.peers.processes import BenchError
from bench.peers.queries import Query, Row


class Peer(Protocol):
    """Someone who answers queries."""

    def can(self, query: Query) -> bool: ...
    def ask(self, query: Query) -> tuple[float, int]: ...


class ServicePeer:
    """A TAP service. Rows are counted after the clock has stopped."""

    def __init__(self, name: str, client: TapClient) -> None:
        self.name, self.client = name, client
        self.row: Row | None = None

    def can(self, _query: Query) -> bool:
        return self.row is not None and self.name in self.row.services

    def ask(self, query: Query) -> tuple[float, int]:
        assert self.row is not None
        answer = self.client.ask(query.adql, self.row.form, self.row.maxrec)
        rows = first_number(answer.body) if query.counts else count_rows(answer.body, self.row.form)
        return answer.seconds, int(rows)


#: Samples in seconds by row and peer.
type Samples = dict[str, dict[str, list[float]]]


class Measurement:
    """The samples of one run."""

    def __init__(self, rows: Sequence[Row], peers: Mapping[str, Peer], small_repeats: int) -> None:
        self.rows, self.peers, self._small = rows, peers, small_repeats
        self.samples: Samples = defaultdict(lambda: defaultdict(list))
        #: What the peers answered to each row's last query: rows, or the number that was asked for.
        self.answers: dict[str, int] = {}
        #: Processor seconds of this process for each sample of a service.
        self.client_cpu: Samples = defaultdict(lambda: defaultdict(list))

    def run(self, rounds: int, say: Callable[[str], None]) -> None:
        """One round to warm up, whose times are dropped, and then *rounds* that count."""
        for number in range(rounds + 1):
            say(f"Round {number} of {rounds}" + (" (to warm up)" if not number else ""))
            for row in self.rows:
                for query in self._queries(row, number):
                    self._ask_all(row, query, number)

    def _queries(self, row: Row, number: int) -> Iterator[Query]:
        each = self._small if row.small else 1
        for k in range(each):
            yield row.queries[(number * each + k) % len(row.queries)]

    def _ask_all(self, row: Row, query: Query, number: int) -> None:
        found: dict[str, int] = {}
        names = list(self.peers)
        # Nobody is always first after somebody else's work.
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            peer = self.peers[name]
            if isinstance(peer, ServicePeer):
                peer.row = row
            if not peer.can(query):
                continue
            cpu = time.process_time()
            gc.disable()
            try:
                seconds, found[name] = peer.ask(query)
            finally:
                gc.enable()
            if number:
                self.samples[row.key][name].append(seconds)
                self.client_cpu[row.key][name].append(time.process_time() - cpu)
        if len(set(found.values())) > 1:
            raise BenchError(f"The answers to {query.adql!r} differ: {found}. Nothing was measured that way.")
        self.answers[row.key] = next(iter(found.values()))
