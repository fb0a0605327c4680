#!/usr/bin/env bash
# The long durability soaks: the kill tests with many cycles. STREAMBUS_KILL_CYCLES (1000) sets the count.
set -euo pipefail
cd "$(dirname "$0")/.."
export STREAMBUS_KILL_CYCLES=${STREAMBUS_KILL_CYCLES:-1000}
ctest --test-dir build/release --output-on-failure --no-tests=error --timeout 7200 -L soak
