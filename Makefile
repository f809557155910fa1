.PHONY: help demo demo-archive test check fuzz survive fuzz-requests load bench bench-quick bench-parts docs clean

help:  ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: demo-archive  ## Publish real stars and serve them at http://localhost:8080
	@.venv/bin/idac --config demo/.run/dac.yaml up $(if $(PORT),--port $(PORT))

demo-archive:  ## Set up and build the demonstration archive
	@scripts/setup-python.sh
	@scripts/demo-data.sh
	@scripts/demo-archive.sh

test:  ## Set up, lint, type-check and run every test
	@scripts/setup-python.sh --dev
	@scripts/system-parts.sh $(TEST_PARTS)
	@scripts/setup-node-parts.sh
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/pytest -n $(TEST_WORKERS)

check:  ## Lint and type-check only
	@scripts/setup-python.sh --dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

fuzz:  ## Ask the real engine many random queries (FUZZ_CASES=100000 FUZZ_SEED=1)
	@scripts/setup-python.sh --dev
	PYTHONPATH=tests .venv/bin/python fuzz/queries.py --cases $(FUZZ_CASES) --seed $(FUZZ_SEED)

survive:  ## Kill, starve and break a running centre (SURVIVE_KILLS=200 SURVIVE_SEED=1)
	@scripts/setup-python.sh --dev
	@scripts/system-parts.sh $(TEST_PARTS) libfaketime
	.venv/bin/python -m survival kill --moments $(SURVIVE_KILLS) --seed $(SURVIVE_SEED)
	.venv/bin/python -m survival faults

fuzz-requests:  ## Send hostile uploads, parameters and HTTP (FUZZ_CASES=100000 FUZZ_SEED=1)
	@scripts/setup-python.sh --dev
	.venv/bin/python -m survival requests --cases $(FUZZ_CASES) --seed $(FUZZ_SEED)

load:  ## Mixed clients at twice the machine's capacity (LOAD_SECONDS=3600)
	@scripts/setup-python.sh --dev
	.venv/bin/python -m survival load --seconds $(LOAD_SECONDS)

bench: bench-parts  ## Measure idac against GAVO DaCHS, PostgreSQL and LSDB (BENCH_OPTIONS="--rounds 3")
	.venv/bin/python -m bench run $(BENCH_OPTIONS)

bench-quick: bench-parts  ## The same with a million rows
	.venv/bin/python -m bench run --quick $(BENCH_OPTIONS)

bench-parts:
	@scripts/setup-python.sh --dev
	@scripts/setup-python.sh --only .cache/installed
	@scripts/bench-parts.sh

docs:  ## Build the documentation into site/
	@scripts/setup-python.sh --dev
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

clean:  ## Remove everything that was made here
	rm -rf .venv .cache demo/.run bench/.run site .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Real parts for the tests: STILTS, PostgreSQL, a Ceph RADOS Gateway, a browser. scripts/setup-node-parts.sh has more.
TEST_PARTS = stilts postgresql ceph-mon ceph-osd radosgw ceph-common chromium
TEST_WORKERS ?= 2
FUZZ_CASES ?= 100000
FUZZ_SEED ?= 1
SURVIVE_KILLS ?= 200
SURVIVE_SEED ?= 1
LOAD_SECONDS ?= 3600
