#!/usr/bin/env bash
# Prints the C++ sources under version control (or about to be), one a line.
cd "$(dirname "$0")/.."
git ls-files --cached --others --exclude-standard '*.cpp' '*.hpp' | while read -r file; do [ -f "$file" ] && echo "$file"; done
