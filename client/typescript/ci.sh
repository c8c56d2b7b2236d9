#!/usr/bin/env bash
# The whole story in TypeScript: what the lock file names, stubs from the .proto files, a fresh testnet, story.ts.
# Runs no package's install script and leaves no process behind.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root/client/typescript"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
rm -rf generated build
npm run --silent generate
npm run --silent build # tsc: type-checks too

cargo build --release --manifest-path "$root/Cargo.toml"
epione="${CARGO_TARGET_DIR:-$root/target}/release/epione"
dir=$(mktemp -d)
trap '"$epione" testnet down --dir "$dir/net" >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
"$epione" testnet up -n 4 --dir "$dir/net"
node build/src/story.js "$dir/net"
