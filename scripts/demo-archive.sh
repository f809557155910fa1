#!/bin/sh
# Publish the demonstration tables in demo/.run/archive, once.
set -eu
cd "$(dirname "$0")/.."
run=demo/.run
idac=.venv/bin/idac
cp demo/dac.yaml "$run/dac.yaml"
if ! "$idac" --config "$run/dac.yaml" catalog list --json | grep -q '"tycho2.main"'; then
    "$idac" --config "$run/dac.yaml" catalog add "$run/data/tycho2.fits" --name tycho2.main --felis demo/tycho2.yaml
fi
if ! "$idac" --config "$run/dac.yaml" catalog list --json | grep -q '"kstars.stars"'; then
    "$idac" --config "$run/dac.yaml" catalog add "$run/data/kstars.ecsv" --name kstars.stars --felis demo/kstars.yaml
fi
