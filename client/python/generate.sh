#!/usr/bin/env bash
# Generates the stubs from the .proto files into build/ (needs grpcio-tools, no protoc).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p build
python3 -m grpc_tools.protoc -I ../../proto --python_out=build --grpc_python_out=build ../../proto/epione/v1/*.proto
