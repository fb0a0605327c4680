#!/usr/bin/env bash
# usage: summary.sh PRESET...   adds up the test results of the presets: the last line of `make test`
set -euo pipefail
cd "$(dirname "$0")/.."
python3 - "$@" <<'PYTHON'
import sys, xml.etree.ElementTree as xml
passed = failed = skipped = 0
for preset in sys.argv[1:]:
    suite = xml.parse(f"build/{preset}/test-results.xml").getroot()
    tests, bad, skip = (int(suite.get(k, 0)) for k in ("tests", "failures", "skipped"))
    skip += int(suite.get("disabled", 0))
    print(f"{preset}: {tests - bad - skip} passed, {bad} failed, {skip} skipped")
    passed += tests - bad - skip; failed += bad; skipped += skip
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(1 if failed or not passed else 0)
PYTHON
