#!/bin/sh
# Make demo/.run/data: the star tables of the demonstration, from Debian's packages, or else the sample kept here.
set -eu
cd "$(dirname "$0")/.."
data=demo/.run/data
[ -f "$data/complete" ] && exit 0
mkdir -p "$data"

unpack() {
    # Only data are wanted, so the packages are unpacked, not installed: no root, no dependencies.
    packages=$PWD/.cache/debian
    mkdir -p "$packages"
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
    for package in astrometry-data-tycho2-07-littleendian kstars-data; do
        if [ ! -f "$packages/$package.unpacked" ]; then
            echo "Fetching $package …" >&2
            download "$package" || return 1
            dpkg-deb -x "$packages/$package"_*.deb "$packages/root" || return 1
            touch "$packages/$package.unpacked"
            rm -f "$packages/$package"_*.deb
        fi
    done
}

download() {
    # apt's sandbox user can't write here when root runs this, and warns; that is harmless.
    (cd "$packages" && apt-get -qq download "$1" >/dev/null 2>&1) && return 0
    # No package lists yet: they can be fetched by root alone.
    [ "$(id -u)" = 0 ] && apt-get update -qq >/dev/null 2>&1 || sudo -n apt-get update -qq >/dev/null 2>&1 || return 1
    (cd "$packages" && apt-get -qq download "$1" >/dev/null 2>&1)
}

installed=/usr/share/astrometry/index-tycho2-07.littleendian.fits
if [ -f "$installed" ] && [ -f /usr/share/kstars/stars.dat ]; then
    .venv/bin/python demo/prepare.py --packages / --out "$data"
elif unpack; then
    .venv/bin/python demo/prepare.py --packages .cache/debian/root --out "$data"
else
    echo "Debian's packages can't be had here; the sample of bright stars in demo/sample serves instead." >&2
    .venv/bin/python demo/prepare.py --sample --out "$data"
fi
touch "$data/complete"
