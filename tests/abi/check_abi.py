#!/usr/bin/env python3
"""Compares the plugin API of the headers with the saved description of its binary interface (tests/abi/plugin_api.abi).

usage: check_abi.py [--save] [--compiler CXX] [--headers DIR]
Exit codes: 0 the same (or saved); 1 changed: the message says what to do; 77 not comparable with this compiler.
"""
import argparse, pathlib, re, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAVED = ROOT / "tests/abi/plugin_api.abi"
FLAGS = ["-std=c++23", "-g", "-O0", "-fPIC", "-shared", "-fno-eliminate-unused-debug-types", "-femit-class-debug-always",
         "-fvisibility=hidden"]
NOT_COMPARABLE = 77


def run(*command, codes=(0,), **options):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if result.returncode not in codes:
        sys.exit(f"{' '.join(map(str, command))} exited with {result.returncode}:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    return result


def version_of(headers):
    text = (headers / "streambus/plugin/abi.hpp").read_text()
    return ".".join(re.search(rf"kAbi{part} = (\d+)", text).group(1) for part in ("Major", "Minor"))


def compiler_of(compiler):
    said = run(compiler, "--version").stdout
    return f"GCC {run(compiler, '-dumpversion').stdout.split('.')[0].strip()}" if "Free Software Foundation" in said else "another compiler"


def describe(compiler, headers, folder):
    library, description = folder / "plugin_api.so", folder / "plugin_api.abi"
    run(compiler, *FLAGS, f"-I{headers}", "tests/abi/plugin_api.cpp", "-o", library, cwd=ROOT)
    run("abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--type-id-style", "hash", "--drop-private-types",
        "--headers-dir", headers / "streambus", "--out-file", description, library)
    return description


def complain(what, do):
    print(f"{what}\n\nWhat to do:\n{do}")
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--headers", type=pathlib.Path, default=ROOT / "core/include")
    arguments = parser.parse_args()
    version, compiler = version_of(arguments.headers), compiler_of(arguments.compiler)
    with tempfile.TemporaryDirectory(prefix="streambus-abi-") as folder:
        described = describe(arguments.compiler, arguments.headers, pathlib.Path(folder))
        if arguments.save:
            # abidiff knows the file by its first bytes: what else is to be known stands at the end.
            SAVED.write_text(f"{described.read_text()}<!-- plugin API {version}, {compiler}; made by scripts/abi.sh -->\n")
            print(f"saved the description of plugin API {version}")
            return 0
        saved_version, saved_compiler = re.search(r"<!-- plugin API ([\d.]+), ([^;]+);", SAVED.read_text()).groups()
        if compiler != saved_compiler:
            print(f"the saved description was made by {saved_compiler}, this is {compiler}: not comparable")
            return NOT_COMPARABLE
        difference = run("abidiff", "--no-show-locs", SAVED, described, codes=(0, 4, 12))
    if version != saved_version:
        return complain(f"The saved description is that of plugin API {saved_version}, the headers say {version}.",
                        "  scripts/abi.sh    # saves the description of the new version; commit it with the change")
    if difference.returncode == 0:
        return 0
    report = re.sub(r"'function void streambus::streambus_plugin_api\(.*?\)'", "the plugin API", difference.stdout)
    return complain(
        f"The plugin API changed, and its version is still {version}:\n\n{report.strip()[:6000]}",
        "  If the change is not meant, take it back. Else raise, in core/include/streambus/plugin/abi.hpp,\n"
        "    kAbiMajor (and set kAbiMinor to 0) where something that exists changed: older plugins are then refused;\n"
        "    kAbiMinor where only virtuals or fields were added at an end: older plugins still load, and the host must not call\n"
        "    what they do not have.\n"
        "  Then: scripts/abi.sh, a record in docs/decisions/, a line in CHANGELOG.md.\n"
        "  As long as no version of the API is released, scripts/abi.sh alone will do.")


if __name__ == "__main__":
    sys.exit(main())
