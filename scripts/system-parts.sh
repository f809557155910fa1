#!/bin/sh
# Install Debian packages that are missing, or say which they are and how to get them.
# usage: scripts/system-parts.sh PACKAGE …
set -eu

missing=
for package in "$@"; do
    if [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)" != "install ok installed" ]; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

advise() {
    echo "These system packages are missing:$missing" >&2
    echo "Install them with: sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || advise
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    advise
fi

echo "Installing$missing …" >&2
log=$(mktemp)
install() {
    # shellcheck disable=SC2086  # word splitting is wanted
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1
}
# The first try may fail for want of package lists only.
if ! install && ! { $as_root apt-get update -qq >"$log" 2>&1 && install; }; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    advise
fi
rm -f "$log"
