"""Installs kafkajs into the build folder and runs kafkajs_test.js against a broker of its own.

Exit code 77 (skipped, with the reason on stdout) where there is no Node, no npm or no registry to install from.
"""
import os, pathlib, re, shutil, subprocess, sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))
from broker import BUILD, SANITIZED, Broker  # noqa: E402

SKIPPED = 77
NODE_MAJOR_MIN = 18  # node:test
FOLDER = BUILD / "tests" / "integration" / "clients" / "npm"
INSTALL_SECONDS = 90


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def node():
    program = shutil.which("node") or shutil.which("nodejs")
    if not program:
        skip("there is no Node (apt-get install nodejs npm)")
    found = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30).stdout.strip()
    version = re.match(r"v(\d+)", found)
    if not version or int(version[1]) < NODE_MAJOR_MIN:
        skip(f"expected Node {NODE_MAJOR_MIN} or later, found '{found}'")
    return program


def install():
    """What package-lock.json pins; nothing where it is there already."""
    lock = (HERE / "package-lock.json").read_bytes()
    done = FOLDER / "installed-lock.json"
    if done.exists() and done.read_bytes() == lock:
        return
    npm = shutil.which("npm")
    if not npm:
        skip("there is no npm (apt-get install npm)")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, FOLDER / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"]
    try:
        result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        skip(f"npm could not install kafkajs within {INSTALL_SECONDS} s")
    if result.returncode != 0:
        reasons = [line for line in result.stderr.splitlines() if re.match(r"npm (error|ERR!) \S", line)]
        skip("npm could not install kafkajs:\n" + "\n".join(reasons[:5]))
    done.write_bytes(lock)


def main():
    program = node()
    install()
    with Broker() as broker:
        environment = dict(os.environ, NODE_PATH=str(FOLDER / "node_modules"), BOOTSTRAP=broker.address, KAFKAJS_NO_PARTITIONER_WARNING="1")
        code = subprocess.run([program, str(HERE / "kafkajs_test.js")], env=environment, timeout=240 if SANITIZED else 120).returncode
        if code != 0:
            raise AssertionError(f"kafkajs_test.js exited with {code}")


if __name__ == "__main__":
    main()
