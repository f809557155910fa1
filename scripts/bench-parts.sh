#!/bin/sh
# Install what `make bench` measures idac against, without touching a PostgreSQL that runs here.
# usage: scripts/bench-parts.sh
set -eu
cd "$(dirname "$0")/.."

# The extensions belong to one version of PostgreSQL: the one installed, or else the one Debian would install.
version() {
    ls /usr/lib/postgresql 2>/dev/null | sort -n | tail -n 1
}
scripts/system-parts.sh postgresql wrk gcc make
pg=$(version)
if [ -z "$pg" ]; then
    echo "PostgreSQL's programs are not in /usr/lib/postgresql, where Debian puts them; see bench/peers/postgres.py." >&2
    exit 1
fi
# python3-gavo is DaCHS; gavodachs2-server would set up a service in the system's own PostgreSQL as well.
scripts/system-parts.sh python3-gavo "postgresql-$pg-q3c" "postgresql-$pg-pgsphere"
