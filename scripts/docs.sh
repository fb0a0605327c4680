#!/usr/bin/env bash
# Regenerates what in docs/ is generated: the references of the programs and the table of the protocol. Tests fail when they are old.
set -euo pipefail
cd "$(dirname "$0")/.."
build/release/bin/streambusd --print-reference >docs/configuration.md
build/release/bin/streambus --print-reference >docs/CLI.md
python3 - docs/protocol.md <(python3 wire/generate.py --docs) <<'PYTHON'
import pathlib, sys
document, table = map(pathlib.Path, sys.argv[1:])
head, rest = document.read_text().split("<!-- begin generated: wire/generate.py --docs -->\n", 1)
old, tail = rest.split("<!-- end generated -->", 1)
document.write_text(f"{head}<!-- begin generated: wire/generate.py --docs -->\n{table.read_text()}<!-- end generated -->{tail}")
PYTHON
