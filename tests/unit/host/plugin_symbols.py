"""No two plugins define the same symbol: they are linked into one program in the static variant.
usage: plugin_symbols.py NM ARCHIVE..."""
import pathlib, subprocess, sys


def definitions(nm, archive):
    """Strong global symbols that the archive defines (weak ones are inline functions of shared headers)."""
    listing = subprocess.run([nm, "--defined-only", "--extern-only", "-P", archive], check=True, capture_output=True, text=True)
    symbols = set()
    for line in listing.stdout.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[1] in "TDBRGSC" and not fields[0].startswith(("___asan", "__odr_asan")):
            symbols.add(fields[0])
    return symbols


def main():
    nm, archives = sys.argv[1], sys.argv[2:]
    owner, clashes, wrong = {}, [], []
    for archive in archives:
        name = pathlib.Path(archive).name.removeprefix("libstreambus_static_").removesuffix(".a")
        symbols = definitions(nm, archive)
        if f"streambus_plugin_{name}" not in symbols:
            wrong.append(f"{archive}: expected the descriptor streambus_plugin_{name}, found none")
        for symbol in symbols:
            if symbol in owner:
                clashes.append(f"{symbol}: defined by {owner[symbol]} and by {name}; put it into the plugin's own namespace")
            owner[symbol] = name
    print("\n".join(wrong + sorted(clashes)) or f"{len(owner)} symbols of {len(archives)} plugins, none twice")
    return 1 if wrong or clashes or not archives else 0


sys.exit(main())
