#!/usr/bin/env bash
# run.sh [OP ...] - the figures of docs/benchmarks.md: three nodes and the load on this machine, release build, default durability.
# TMPDIR says on which disk the nodes' data lies.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/bench/figures.py "$@"
