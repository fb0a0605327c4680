#!/usr/bin/env python3
"""wire_seeds.py GOLDEN FOLDER: writes the golden messages as inputs of fuzz_wire (see wire_fuzz.cpp for their form)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "wire"))
from generate import read_apis  # noqa: E402

FRAME = 255  # the selector of a whole request frame


def main():
    golden, folder = map(pathlib.Path, sys.argv[1:3])
    apis = read_apis()
    names = [api.name + direction for api in apis for direction in ("Request", "Response")]
    folder.mkdir(parents=True, exist_ok=True)
    for line in golden.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, version, content, digits = line.split()
        body = b"" if digits == "-" else bytes.fromhex(digits)
        stem = f"{name}-{version}-{content}"
        (folder / stem).write_bytes(bytes([names.index(name), int(version)]) + body)
        if name.endswith("Request") and content == "full":
            api = apis[names.index(name) // 2]
            header = api.key.to_bytes(2, "big") + int(version).to_bytes(2, "big") + (7).to_bytes(4, "big") + b"\0\2me"
            header += b"\0" * (int(version) >= api.flexible)
            (folder / f"{stem}-frame").write_bytes(bytes([FRAME, 0]) + header + body)


main()
