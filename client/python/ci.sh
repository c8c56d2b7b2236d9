#!/usr/bin/env bash
# The whole story in another language than the node's: stubs from the .proto files, a fresh testnet, story.py.
# Installs what it needs from PyPI into a virtual environment of its own; leaves no process behind.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv="$root/target/python-client"
[ -x "$venv/bin/pip" ] || python3 -m venv --clear "$venv" || {
  echo "python3 has no venv module: install it (Debian: apt-get install python3-venv)" >&2
  exit 1
}
# Nothing but what is written down there, and all of it.
"$venv/bin/pip" install --quiet --no-deps --requirement "$root/client/python/requirements.txt"
"$venv/bin/pip" check >/dev/null
PATH="$venv/bin:$PATH" "$root/client/python/generate.sh"

cargo build --release --manifest-path "$root/Cargo.toml"
epione="${CARGO_TARGET_DIR:-$root/target}/release/epione"
dir=$(mktemp -d)
trap '"$epione" testnet down --dir "$dir/net" >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
"$epione" testnet up -n 4 --dir "$dir/net"
PYTHONPATH="$root/client/python:$root/client/python/build" "$venv/bin/python3" "$root/client/python/story.py" "$dir/net"
