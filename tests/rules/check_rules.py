#!/usr/bin/env python3
"""Checks the rules of the source tree; every message names the fix.

usage: check_rules.py ROOT
"""
import pathlib, re, sys

# Which of our header folders a folder may include. The first prefix that matches a file decides.
LAYERS = [
    ("core/include/streambus/base/", {"base"}),
    ("core/src/base/", {"base"}),
    ("core/include/streambus/plugin/", {"base", "plugin"}),
    ("core/include/streambus/host/", {"base", "plugin", "host"}),
    ("core/src/host/", {"base", "plugin", "host"}),
    ("core/include/streambus/config/", {"base", "plugin", "host", "config"}),
    ("core/src/config/", {"base", "plugin", "host", "config"}),
    ("core/include/streambus/broker/", {"base", "plugin", "host", "config", "broker"}),
    ("core/src/broker/", {"base", "plugin", "host", "config", "broker"}),
    ("core/app/", {"base", "plugin", "host", "config", "broker"}),
    ("wire/", {"base", "wire"}),
    ("plugins/protocol-kafka/", {"base", "plugin", "wire"}),
    ("plugins/", {"base", "plugin"}),
    ("sdk/", {"base", "plugin"}),
    ("examples/storage-", {"base", "plugin"}),
    ("examples/codec-", {"base", "plugin"}),
    ("client/app/", {"base", "plugin", "host", "wire", "client", "broker", "conformance"}),  # a program, as streambusd is
    ("client/", {"base", "plugin", "host", "wire", "client"}),
    ("harness/conformance/", {"base", "plugin", "host", "conformance"}),
    ("harness/", {"base", "plugin", "host", "config", "broker", "wire", "client", "harness"}),
]

# Libraries that are a private matter of one folder.
PRIVATE_LIBRARIES = {
    r"boost/asio": ("plugins/transport-tcp/",),
    r"boost/dll": ("core/src/host/",),
    r"spdlog/": ("core/src/host/",),
    r"toml\+\+": ("core/src/config/",),
    r"isa-l": ("core/src/base/", "bench/"),
    r"librdkafka": ("tests/", "bench/"),
}

# Core and harness know interfaces only. The program's embedded default configuration is the one place that names plugins.
NAMES_NO_PLUGIN = ("core/include/", "core/src/", "harness/")
PLUGIN_NAME = re.compile(r'"(?:storage|codec|transport|protocol)-[a-z0-9]+"')

BANNED_FOLDERS = {"utils", "util", "misc", "helpers"}
LINES_MAX = 900

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')


def sources(root):
    for top in ("core", "wire", "plugins", "client", "harness", "sdk", "bench", "tests", "examples"):
        yield from (p for p in sorted((root / top).rglob("*")) if p.suffix in (".cpp", ".hpp") and p.is_file())


def check_file(name, text):
    """All complaints about one file; `name` is its path from the root."""
    allowed = next((layers for prefix, layers in LAYERS if name.startswith(prefix)), None)
    for number, line in enumerate(text.splitlines(), 1):
        include = INCLUDE.match(line)
        if include:
            target = include.group(1)
            layer = re.match(r"streambus/([a-z_]+)/", target)
            if allowed is not None and layer and layer.group(1) not in allowed:
                yield f"{name}:{number}: includes '{target}', but this folder may include only streambus/{{{','.join(sorted(allowed))}}}/: move the code up a layer, or the declaration down"
            if name.startswith("plugins/") and re.match(r"(?:\.\./|plugins/)", target):
                yield f"{name}:{number}: includes '{target}' of another folder: a plugin includes its own files, base and the plugin API"
            for pattern, folders in PRIVATE_LIBRARIES.items():
                if re.match(pattern, target) and not name.startswith(folders):
                    yield f"{name}:{number}: includes '{target}', which only {', '.join(folders)} may: go through the interface there"
        elif name.startswith(NAMES_NO_PLUGIN) and PLUGIN_NAME.search(line.split("//")[0]):
            yield f"{name}:{number}: names a plugin {PLUGIN_NAME.search(line).group(0)}: core and harness know interfaces only; take the name from the configuration"
    lines = text.count("\n")
    if lines > LINES_MAX:
        yield f"{name}: {lines} lines, at most {LINES_MAX}: split it along the rooms a reader would look for"
    if name.endswith(".hpp") and "#pragma once" not in text:
        yield f"{name}: a header without #pragma once: add it as the first line"
    banned = BANNED_FOLDERS.intersection(pathlib.PurePath(name).parts)
    if banned:
        yield f"{name}: in a folder named '{banned.pop()}': name the folder by what is in it"


def main():
    root = pathlib.Path(sys.argv[1])
    complaints, count = [], 0
    for path in sources(root):
        count += 1
        complaints += check_file(str(path.relative_to(root)), path.read_text())
    for folder in ("core", "plugins/storage-wal", "plugins/codec-lz4", "plugins/transport-tcp", "harness", "bench", "docs", "tests"):
        if not any((root / folder).rglob("*")):
            complaints.append(f"{folder}/: must exist and hold something real")
    print("\n".join(complaints) if complaints else f"{count} files keep the rules")
    return 1 if complaints or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
