#!/usr/bin/env bash
# usage: test.sh PRESET   builds the preset and runs its tests; the results stay in build/PRESET/test-results.xml
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
scripts/build.sh "$preset"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --output-junit test-results.xml
