"""``python -m bench run``, ``compare A B``, ``join A B OUT``, ``table FILE`` and ``plot FILE``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.peers.compare import compare, report
from bench.peers.plot import draw
from bench.peers.processes import BenchError
from bench.peers.results import joined, read_results, table, to_json
from bench.peers.sizes import add_size_options, chosen_sizes

HERE = Path(__file__).parent
PARTS = ("queries", "load", "pyvo", "ingest", "memory", "planning")


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 done, 1 a regression was found, 2 the benchmark could not be run."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.work(options)
    except (BenchError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure idac and its peers side by side")
    run.add_argument(
        "--run", type=Path, default=HERE / ".run", help="folder for servers and data (default: bench/.run)"
    )
    run.add_argument("--out", type=Path, help="result file (default: bench/results/peers.json or peers-quick.json)")
    run.add_argument("--skip", nargs="*", default=[], choices=PARTS, help="parts to leave out")
    add_size_options(run)
    run.set_defaults(work=_run)
    comparison = commands.add_parser("compare", help="say what became slower from A to B")
    comparison.add_argument("before", type=Path, metavar="A")
    comparison.add_argument("after", type=Path, metavar="B")
    comparison.add_argument("--threshold", type=float, default=0.2, help="part by which it may (default: 0.2)")
    comparison.add_argument("--all", action="store_true", help="show every row")
    comparison.set_defaults(work=_compare)
    join = commands.add_parser("join", help="put two runs together that left different parts out (--skip)")
    join.add_argument("first", type=Path, metavar="A")
    join.add_argument("second", type=Path, metavar="B")
    join.add_argument("out", type=Path, metavar="OUT")
    join.set_defaults(work=_join)
    for name, work, words in (("table", _table, "print a result file as a table"), ("plot", _plot, "draw its ratios")):
        command = commands.add_parser(name, help=words)
        command.add_argument("file", type=Path)
        command.set_defaults(work=work)
    return parser


def _run(options: argparse.Namespace) -> int:
    # LSDB alone takes seconds to import, which whoever compares two files need not wait for.
    from bench.peers.session import prepared, run_all  # noqa: PLC0415

    sizes = chosen_sizes(options)
    begun = time.perf_counter()

    def say(text: str) -> None:
        sys.stderr.write(f"[{time.perf_counter() - begun:5.0f} s] {text}\n")

    with prepared(options.run, sizes, say) as session:
        results = run_all(session, frozenset(options.skip))
    name = "peers-quick.json" if options.quick else "peers.json"
    out = options.out or HERE / "results" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(to_json(results), encoding="utf-8")
    draw(results, out.with_suffix(".svg"))
    sys.stdout.write(table(results))
    say(f"Done; kept in {out} and {out.with_suffix('.svg').name}.")
    return 0


def _compare(options: argparse.Namespace) -> int:
    changes = compare(read_results(options.before), read_results(options.after), options.threshold)
    sys.stdout.write(report(changes, everything=options.all))
    return int(any(change.regressed for change in changes))


def _join(options: argparse.Namespace) -> int:
    results = joined(read_results(options.first), read_results(options.second))
    options.out.write_text(to_json(results), encoding="utf-8")
    draw(results, options.out.with_suffix(".svg"))
    sys.stdout.write(table(results))
    return 0


def _table(options: argparse.Namespace) -> int:
    sys.stdout.write(table(read_results(options.file)))
    return 0


def _plot(options: argparse.Namespace) -> int:
    draw(read_results(options.file), options.file.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
