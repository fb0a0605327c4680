#!/usr/bin/env python3
"""Runs clang-tidy over the translation units of a build folder, several at a time, and caches clean results.

A result is keyed by the content of the source, of every project header it includes, of the .clang-tidy files and of the
compile command, wherever the checkout lies, so an unchanged file costs milliseconds. Exit code 1 when there is a finding.
"""
import argparse, concurrent.futures, hashlib, json, os, pathlib, re, shlex, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "streambus-tidy"
TIDY = "clang-tidy-19"


def project_headers(entry):
    """The files of the project that the unit includes, as the compiler lists them."""
    arguments = [a for a in shlex.split(entry["command"]) if not a.endswith("ccache")]
    output = arguments.index("-o")
    command = arguments[:output] + arguments[output + 2:] + ["-MM", "-MF", "-", "-MT", "x"]
    command = [a for a in command if a not in ("-c", "-MD")]
    for flag in ("-MF", "-MT"):  # what the build itself asked for
        while command.count(flag) > 1:
            at = command.index(flag)
            del command[at:at + 2]
    result = subprocess.run(command, cwd=entry["directory"], capture_output=True, text=True)
    if result.returncode != 0:
        return None
    names = result.stdout.replace("\\\n", " ").split()[1:]
    paths = sorted({(pathlib.Path(entry["directory"]) / n).resolve() for n in names})
    return [p for p in paths if p.is_relative_to(ROOT)]


def key_of(entry):
    files = project_headers(entry)
    if files is None:
        return None
    digest = hashlib.sha256(entry["command"].replace(str(ROOT), "").encode())
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(ROOT)}
    configurations = [folder / ".clang-tidy" for folder in folders if (folder / ".clang-tidy").exists()]
    for file in sorted(configurations) + files:
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def check(entry, build):
    key = key_of(entry)
    if key and (CACHE / key).exists():
        return entry["file"], "", True
    result = subprocess.run([TIDY, "--quiet", "--warnings-as-errors=*", "-p", str(build), entry["file"]], capture_output=True, text=True)
    if result.returncode == 0 and key:
        (CACHE / key).touch()
    suppressed = re.compile(r"^\d+ warnings? generated\.$\n?", re.MULTILINE)  # counts those of the system's headers
    return entry["file"], "" if result.returncode == 0 else suppressed.sub("", result.stdout + result.stderr), False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build/asan", help="a build folder made with clang (compile_commands.json)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("files", nargs="*", help="only units whose path contains one of these")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    database = ROOT / options.build / "compile_commands.json"
    if not database.exists():
        sys.exit(f"lint: {database} is missing: run `make test-asan` first, or `cmake --preset asan`")
    entries = {}
    for entry in json.loads(database.read_text()):
        path = pathlib.Path(entry["file"])
        own = path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / "build")
        if own and "_static_" not in entry.get("output", "") and (not options.files or any(f in str(path) for f in options.files)):
            entries.setdefault(entry["file"], entry)
    findings = cached = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for file, text, was_cached in pool.map(lambda e: check(e, ROOT / options.build), entries.values()):
            cached += was_cached
            if text:
                findings += 1
                print(text)
    print(f"lint: {len(entries)} units, {cached} unchanged, {findings} with findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
