#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what hookmesh needs on Debian 12: docker/install.sh [run] [build] [test]
#
#   run    the libraries of the program, and redis-server
#   build  compilers and headers, and the dashboard's two libraries from npm (needs npm; Debian's is taken when there is none)
#   test   what tests/run needs beyond that: Check, clang, chromium, the test tools from npm
#
# Without words: run and build. Asks dpkg first, so that a second call takes a fraction of a second and needs no rights; it
# uses sudo only when something is missing and it isn't root. Nothing is removed or upgraded.
set -eu
cd "$(dirname "$0")/.."

say() {
    printf '%s\n' "install: $*"
}

give_up() {
    printf '%s\n' "install: $*" >&2
    exit 1
}

# The packages of the files named that are not installed.
missing() {
    cat "$@" | LC_ALL=C sort -u >"$list"
    # shellcheck disable=SC2016,SC2094  # the variables are dpkg-query's; the file is only read
    xargs dpkg-query -W -f '${db:Status-Status} ${Package}\n' <"$list" 2>/dev/null |
        sed -n 's/^installed //p' | LC_ALL=C sort -u | LC_ALL=C comm -13 - "$list"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        give_up "needs root to install packages, and there is no sudo. Run as root: $*"
    fi
}

apt_install() {
    command -v apt-get >/dev/null || give_up "this is not Debian: install the equivalents of: $*"
    say "$# packages: $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Use-Pty=0 "$@" >"$list.log" 2>&1 </dev/null || {
        cat "$list.log" >&2
        give_up "apt-get could not install: $*"
    }
}

# npm ci, unless node_modules is what the lock file says already. dev: with the test tools.
npm_install() {
    want=$1
    stamp=node_modules/.installed
    have=$(cat "$stamp" 2>/dev/null || true)
    sum=$(sha256sum <package-lock.json)
    case $have in
        "dev $sum" | "$want $sum") return 0 ;;
    esac
    say "npm: $(test "$want" = dev && echo "the dashboard's libraries and the test tools" || echo "the dashboard's libraries")"
    omit=$(test "$want" = dev || echo --omit=dev)
    # shellcheck disable=SC2086  # no word at all when empty
    npm ci $omit --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >"$list.log" 2>&1 || {
        cat "$list.log" >&2
        give_up "npm ci failed; is the npm registry reachable?"
    }
    echo "$want $sum" >"$stamp"
}

[ $# -gt 0 ] || set -- run build
files=''
npm=''
for part in "$@"; do
    case $part in
        run) ;;
        build) npm=${npm:-prod} ;;
        test) npm=dev ;;
        *) give_up "unknown part $part; known: run, build, test" ;;
    esac
    files="$files docker/packages-$part.txt"
done

list=$(mktemp)
trap 'rm -f "$list" "$list.log"' EXIT
# shellcheck disable=SC2086  # several file names
need=$(missing $files)
if [ -n "$npm" ] && ! command -v npm >/dev/null; then
    need="$need npm"
fi
# shellcheck disable=SC2086  # several packages
[ -z "$need" ] || apt_install $need
[ -z "$npm" ] || npm_install "$npm"
