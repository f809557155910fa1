"""All peers asked the same questions, by turns, and their answers held against each other."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from bench.peers.client import TapClient, count_rows, first_number
from bench.peers.processes import BenchError
from bench.peers.queries import Query, Row


class Peer(Protocol):
    """Someone who answers queries, of one row of the table at most *most_each_round* in a round.

    *edge_rows*: rows by which a count may differ from everybody else's, for what lies on the edge of a region.
    """

    most_each_round: int
    edge_rows: int

    def can(self, query: Query) -> bool: ...
    def ask(self, query: Query) -> tuple[float, int]: ...


class ServicePeer:
    """A TAP service. Rows are counted after the clock has stopped."""

    most_each_round = 1_000_000
    edge_rows = 0

    def __init__(self, name: str, client: TapClient, processor_seconds: Callable[[], float]) -> None:
        """*processor_seconds* is what the service's processes have used since they began."""
        self.name, self.client, self.processor_seconds = name, client, processor_seconds
        self.row: Row | None = None
        self.client_cpu_s = 0.0

    def can(self, _query: Query) -> bool:
        return self.row is not None and self.name in self.row.services

    def ask(self, query: Query) -> tuple[float, int]:
        assert self.row is not None
        answer = self.client.ask(query.adql, self.row.form, self.row.maxrec)
        self.client_cpu_s = answer.client_cpu_s
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
        #: Processor seconds for each sample: of this process, and of the service that answered.
        self.client_cpu: Samples = defaultdict(lambda: defaultdict(list))
        self.service_cpu: Samples = defaultdict(lambda: defaultdict(list))

    def run(self, rounds: int, say: Callable[[str], None]) -> None:
        """One round to warm up, whose times are dropped, and then *rounds* that count."""
        for number in range(rounds + 1):
            say(f"Round {number} of {rounds}" + (" (to warm up)" if not number else ""))
            for row in self.rows:
                for count, query in enumerate(self._queries(row, number)):
                    peers = [name for name, peer in self.peers.items() if count < peer.most_each_round]
                    if peers:
                        self._ask_all(row, query, number, peers)

    def _queries(self, row: Row, number: int) -> Iterator[Query]:
        each = self._small if row.small else 1
        for k in range(each):
            yield row.queries[(number * each + k) % len(row.queries)]

    def _ask_all(self, row: Row, query: Query, number: int, names: list[str]) -> None:
        found: dict[str, int] = {}
        # Nobody is always first after somebody else's work.
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            peer = self.peers[name]
            service = peer if isinstance(peer, ServicePeer) else None
            if service is not None:
                service.row = row
            if not peer.can(query):
                continue
            before = service.processor_seconds() if service is not None else 0.0
            gc.disable()
            try:
                seconds, found[name] = peer.ask(query)
            finally:
                gc.enable()
            if number:
                self.samples[row.key][name].append(seconds)
                if service is not None:
                    self.client_cpu[row.key][name].append(service.client_cpu_s)
                    self.service_cpu[row.key][name].append(service.processor_seconds() - before)
        exact = [rows for name, rows in found.items() if not self.peers[name].edge_rows]
        agreed = next(iter(exact or found.values()))
        if any(abs(rows - agreed) > self.peers[name].edge_rows for name, rows in found.items()):
            raise BenchError(f"The answers to {query.adql!r} differ: {found}. Nothing was measured that way.")
        self.answers[row.key] = agreed
