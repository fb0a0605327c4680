"""The tarball of `make dist`: unpacked under another path it serves for an unprivileged user, with nothing beside it."""
import os, pathlib, shutil, socket, subprocess, tempfile, time, unittest

BUILD = pathlib.Path(os.environ["STREAMBUS_BUILD_DIR"])
ROOT = pathlib.Path(__file__).resolve().parents[3]
PLUGINS = "storage-wal transport-tcp protocol-kafka"
BYTES_MAX = 8 << 20  # of the stripped broker with its plugins linked in
SYSTEM_LIBRARIES = {"linux-vdso.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6"}
NOBODY = 65534


def run(*command, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **options)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} exited with {result.returncode}:\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    return result.stdout


def unprivileged():
    """What to put before a command so that it runs as nobody; nothing where this is no root already."""
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []


def libraries(program):
    return {pathlib.Path(line.split()[0]).name for line in run("ldd", program).splitlines()}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Unpacked:
    """A tarball made, unpacked elsewhere, and used as nobody."""

    def __init__(self, static):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="streambus-dist-"))
        os.chmod(self.folder, 0o755)
        self.prefix = self.folder / "elsewhere" / "streambus"
        environment = os.environ | {"PLUGINS": PLUGINS, "STATIC": str(int(static)), "BUILD": str(BUILD), "OUT": str(self.folder),
                                    "PREFIX": str(self.prefix)}
        tarball = run(ROOT / "scripts/dist.sh", env=environment).split()[-1]
        self.prefix.mkdir(parents=True)
        run("tar", "-xf", tarball, "-C", self.prefix, "--strip-components=1", "--no-same-owner")
        self.home = self.folder / "home"
        self.home.mkdir()
        os.chmod(self.home, 0o777)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def serve(self):
        """kcat in and out, a clean stop, and the command's own look at what was stored."""
        port = free_port()
        bare = {"PATH": "/usr/bin:/bin"}
        command = unprivileged() + [str(self.prefix / "bin/streambusd"), "--config", str(self.prefix / "etc/streambus/streambus.toml"),
                                    "--set", f"listener.main.address=127.0.0.1:{port}"]
        log = self.home / "log"
        with open(log, "w") as output:
            broker = subprocess.Popen(command, cwd=self.home, env=bare, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while "ready " not in log.read_text():
                if broker.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"not ready, exit code {broker.poll()}:\n{log.read_text()}")
                time.sleep(0.02)
            lines = "".join(f"line {i}\n" for i in range(1000))
            run("kcat", "-P", "-b", f"127.0.0.1:{port}", "-t", "first", input=lines)
            answer = run("kcat", "-C", "-b", f"127.0.0.1:{port}", "-t", "first", "-o", "beginning", "-e", "-q")
            topics = run(self.prefix / "bin/streambus", "topic", "list", "-b", f"127.0.0.1:{port}", env=bare)
        finally:
            broker.terminate()
            code = broker.wait(60)
        if (answer, code) != (lines, 0) or "first" not in topics:
            raise AssertionError(f"exit code {code}, {len(answer)} bytes back\n{topics}\n{log.read_text()}")
        return run(*unprivileged(), self.prefix / "bin/streambus", "storage", "verify", "data", cwd=self.home, env=bare)


class Dist(unittest.TestCase):
    def unpack(self, static):
        unpacked = Unpacked(static)
        self.addCleanup(unpacked.remove)
        return unpacked

    def test_with_plugins_that_are_loaded(self):
        unpacked = self.unpack(static=False)
        plugins = sorted(p.stem for p in (unpacked.prefix / "lib/streambus/plugins").iterdir())
        self.assertEqual(plugins, sorted(PLUGINS.split()))
        self.assertIn("no damage", unpacked.serve())
        # Whatever is not the C or C++ runtime came along and is found.
        for program in [*(unpacked.prefix / "bin").iterdir(), *(unpacked.prefix / "lib/streambus/plugins").iterdir()]:
            for line in run("ldd", program).splitlines():
                words = line.split()
                if pathlib.Path(words[0]).name not in SYSTEM_LIBRARIES | {"libstdc++.so.6", "libgcc_s.so.1"}:
                    self.assertEqual(pathlib.Path(words[2]).resolve().parent, unpacked.prefix / "lib/streambus", line)

    def test_with_plugins_that_are_linked_in(self):
        unpacked = self.unpack(static=True)
        self.assertFalse((unpacked.prefix / "lib/streambus/plugins").exists())
        self.assertIn("no damage", unpacked.serve())
        for program in ("streambusd", "streambus"):
            self.assertLess((unpacked.prefix / "bin" / program).stat().st_size, BYTES_MAX)
            self.assertEqual(libraries(unpacked.prefix / "bin" / program) - SYSTEM_LIBRARIES, {"libisal.so.2"})

    def test_the_unit_is_one_that_systemd_takes(self):
        unpacked = self.unpack(static=True)
        unit = unpacked.prefix / "lib/systemd/system/streambusd.service"
        for file in (unit, unpacked.prefix / "share/doc/streambus/README.md"):
            self.assertNotRegex(file.read_text(), "@[A-Z]+@")
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not there")
        result = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=120)
        about_it = [line for line in result.stderr.splitlines() if "streambusd.service" in line]
        self.assertEqual(about_it, [])

    def test_a_choice_that_is_no_broker_is_refused(self):
        for plugins, words in (("storage-wal protocol-kafka", "of the kind transport"), ("storage-wall transport-tcp", "no plugin 'storage-wall'")):
            result = subprocess.run([ROOT / "scripts/dist.sh"], capture_output=True, text=True, env=os.environ | {"PLUGINS": plugins, "BUILD": str(BUILD)})
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main()
