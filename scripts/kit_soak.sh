#!/usr/bin/env bash
# The long runs of the conformance kit: the reference engine with STREAMBUS_KIT_SEEDS (50) seeds, then every storage plugin at level
# stress. The last lines say what failed.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 tests/conformance/mutants/check_mutants.py build/release/bin/streambus build/release/tests/conformance/storage-reference.so \
  --seeds "${STREAMBUS_KIT_SEEDS:-50}"
failed=0
for file in build/release/lib/streambus/plugins/storage-*.so; do
  build/release/bin/streambus plugin check "$file" --level stress || failed=1
done
exit $failed
