#!/bin/sh
# Install what the tests need of Node.js (an OpenID Connect provider, a browser driver) in .cache/node, as its lock file says.
# usage: scripts/setup-node-parts.sh     prints nothing when all is in place
set -eu
cd "$(dirname "$0")/.."
source=tests/services/node
target=.cache/node

# Node may be here from elsewhere than Debian, which then has no npm that fits it.
node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' >/dev/null 2>&1 && npm --version >/dev/null 2>&1 ||
    scripts/system-parts.sh nodejs npm

if [ -d "$target/node_modules" ] && cmp -s "$source/package-lock.json" "$target/installed.json"; then
    exit 0
fi
echo "Installing the tests' parts for Node.js …" >&2
mkdir -p "$target"
rm -f "$target/installed.json"
cp "$source/package.json" "$source/package-lock.json" "$target/"
if ! (cd "$target" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$target/npm.log" 2>&1; then
    tail -n 20 "$target/npm.log" >&2
    exit 1
fi
cp "$source/package-lock.json" "$target/installed.json"
