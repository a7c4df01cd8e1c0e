#!/usr/bin/env bash
# need.sh COMMAND=PACKAGE…: installs the Debian packages of the commands that are lacking, and says so.
# A name that begins with / is a file instead of a command.
set -euo pipefail

lacking=()
for pair in "$@"; do
    wanted=${pair%%=*} package=${pair#*=}
    case $wanted in
        /*) [ -e "$wanted" ] || lacking+=("$package") ;;
        *) command -v "$wanted" >/dev/null || lacking+=("$package") ;;
    esac
done
[ ${#lacking[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "libkv needs: ${lacking[*]} (Debian's names); this system has no apt-get, so install them by hand" >&2
    exit 1
fi
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
echo "installing Debian packages: ${lacking[*]}"
"${root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${lacking[@]}"
