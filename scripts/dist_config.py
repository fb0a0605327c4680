#!/usr/bin/env python3
"""Prints a configuration that names just the given plugins.

usage: dist_config.py PLUGIN...
"""
import sys

HEAD = """# A broker with {plugins}.
# Every key: docs/configuration.md of the sources. Check a change with: streambusd --config FILE --check-config

[broker]
data_dir = "data"                  # relative to the directory in which streambusd is started
"""


def main(plugins):
    kinds = {}
    for plugin in plugins:
        kind, _, name = plugin.partition("-")
        kinds.setdefault(kind, []).append((name, plugin))
    missing = [kind for kind in ("storage", "transport", "protocol") if kind not in kinds]
    if missing:
        sys.exit(f"dist: a broker needs a plugin of the kind {' and one of the kind '.join(missing)}; given: {' '.join(plugins)}")
    text = HEAD.format(plugins=", ".join(plugins))
    # Loopback only, as everywhere by default; a transport without ports is given a name.
    for i, (transport, _) in enumerate(kinds["transport"]):
        address = "127.0.0.1:9092" if transport == "tcp" else "streambus"
        text += f'\n[listener.{"main" if i == 0 else transport}]\ntransport = "{transport}"\nprotocol = "{kinds["protocol"][0][0]}"\naddress = "{address}"\n'
    for kind in ("storage", "codec"):
        for name, plugin in kinds.get(kind, []):
            text += f'\n[{kind}.{name}]\nplugin = "{plugin}"\n'
    # What keeps nothing is no default, unless there is nothing else.
    storages = [name for name, _ in kinds["storage"]]
    default = next((name for name in storages if name != "memory"), storages[0])
    print(f'{text}\n[topic_defaults]\nstorage = "{default}"\npartitions = 1')


if __name__ == "__main__":
    main(sys.argv[1:])
