"""streambusd as a user meets it: arguments, exit codes, output, signals. Both variants.
usage: streambusd_test.py SOURCE_FOLDER PROGRAM..."""
import json, os, pathlib, signal, socket, subprocess, sys, tempfile, time, tomllib, unittest

SOURCE, PROGRAMS = pathlib.Path(sys.argv[1]), sys.argv[2:]
SANITIZED = bool(os.environ.get("STREAMBUS_SANITIZE"))


class Started:
    """A running broker with data below a directory of its own."""

    def __init__(self, program, *arguments, data=None):
        self.folder = tempfile.TemporaryDirectory(prefix="streambusd-test-")
        self.data = data or self.folder.name + "/data"
        self.errors = open(self.folder.name + "/errors", "w+")
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [program, "--set", f"broker.data_dir={self.data}", "--set", "listener.main.address=127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready "):
                break
        self.seconds = time.monotonic() - begin

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        self.folder.cleanup()

    def error_text(self):
        self.errors.seek(0)
        return self.errors.read()


class Program(unittest.TestCase):
    program = ""

    def run_program(self, *arguments):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=60)

    def test_help_and_version(self):
        result = self.run_program("--help")
        self.assertEqual(result.returncode, 0)
        for word in ("Examples:", "--check-config", "--print-config", "--set", "--plugin-dir", "--log-level", "Exit codes:"):
            self.assertIn(word, result.stdout)
        self.assertRegex(self.run_program("--version").stdout, r"^streambusd \d+\.\d+\.\d+ \(plugin API \d+\.\d+, headers [0-9a-f]{16}\)\n$")

    def test_usage_errors_exit_2(self):
        for arguments in (["--nonsense"], ["--config"], ["--config", "/nowhere/x.toml"], ["--log-level", "loud"], ["--set", "x"], ["extra"]):
            result = self.run_program(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertNotEqual(result.stderr + result.stdout, "", arguments)

    def test_the_example_files_are_good(self):
        for file in [SOURCE / "config/streambus.toml", *sorted((SOURCE / "examples").glob("*.toml"))]:
            result = self.run_program("--config", file, "--check-config")
            self.assertEqual((result.returncode, result.stderr), (0, ""), file)
            self.assertIn("good", result.stdout)
        self.assertEqual(self.run_program("--check-config").returncode, 0, "the built-in configuration")

    def test_the_example_files_run(self):
        for file in sorted((SOURCE / "examples").glob("*.toml")):
            with Started(self.program, "--config", str(file)) as broker:
                self.assertRegex(broker.lines[-1], r"^ready 127\.0\.0\.1:\d+$", broker.error_text())

    def test_a_bad_file_is_told_everything_at_once(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('[storage.wal]\ndurabilty = "fsync-batch"\n[codec.lz4]\nplugin = "codec-lz5"\n[broker]\nnode_id = -1\n')
            file.flush()
            result = self.run_program("--config", file.name, "--check-config")
        self.assertEqual(result.returncode, 2)
        self.assertIn(f"{file.name}:2:1: unknown key 'durabilty' in [storage.wal]; did you mean 'durability'?", result.stderr)
        self.assertIn("'codec-lz5'", result.stderr)
        self.assertIn(f"{file.name}:6:11: node_id", result.stderr)

    def test_the_printed_configuration_is_toml_with_origins(self):
        result = self.run_program("--config", SOURCE / "config/streambus.toml", "--print-config", "--set", "storage.wal.durability=pagecache")
        self.assertEqual(result.returncode, 0, result.stderr)
        printed = tomllib.loads(result.stdout)
        self.assertEqual(printed["storage"]["wal"]["durability"], "pagecache")
        self.assertEqual(printed["topic_defaults"]["retention.ms"], 604800000)
        self.assertRegex(result.stdout, r'durability = "pagecache" +# --set\n')
        self.assertRegex(result.stdout, r"# \S*streambus\.toml:\d+\n")
        self.assertIn("# default", result.stdout)

    def test_starts_says_so_and_stops_on_a_signal(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Started(self.program) as broker:
                self.assertRegex(broker.lines[-1], r"^ready 127\.0\.0\.1:\d+$", broker.error_text())
                text = "\n".join(broker.lines)
                for plugin in ("storage-wal", "codec-lz4", "codec-zstd", "transport-tcp", "protocol-kafka"):
                    self.assertRegex(text, rf"{plugin} \d+\.\d+\.\d+")
                address = broker.lines[-1].split()[1]
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 10).close()
                broker.process.send_signal(number)
                rest = broker.process.stdout.read()
                self.assertEqual(broker.process.wait(30), 0, broker.error_text())
                self.assertIn(f"kcat -P -b {address}", rest)
                self.assertIn(f"topic list -b {address}", rest)

    def test_a_second_signal_forces(self):
        with Started(self.program) as broker:
            broker.process.send_signal(signal.SIGSTOP)  # so that both arrive before the stop can be over
            broker.process.send_signal(signal.SIGTERM)
            broker.process.send_signal(signal.SIGINT)
            broker.process.send_signal(signal.SIGCONT)
            self.assertEqual(broker.process.wait(30), 130, broker.error_text())
            self.assertIn("second signal", broker.error_text())

    def test_a_data_directory_in_use_is_refused(self):
        with Started(self.program) as first:
            second = self.run_program("--set", f"broker.data_dir={first.data}", "--set", "listener.main.address=127.0.0.1:0")
            self.assertEqual(second.returncode, 2, second.stderr)
            self.assertIn(first.data, second.stderr)
            self.assertIn(f"pid {first.process.pid}", second.stderr)

    def test_the_log_is_json_when_asked(self):
        with Started(self.program, "--set", "log.format=json", "--log-level", "debug") as broker:
            broker.process.send_signal(signal.SIGTERM)
            self.assertEqual(broker.process.wait(30), 0)
            lines = [json.loads(line) for line in broker.error_text().splitlines()]
            self.assertTrue(any(line["component"] == "broker" and line["level"] == "info" for line in lines), lines)

    @unittest.skipIf(SANITIZED, "figures are for release builds")
    def test_starts_fast_and_idles_small(self):
        best = 10.0
        for _ in range(5):
            with Started(self.program) as broker:
                best = min(best, broker.seconds)
                status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
                kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
                self.assertLess(kib, 40 * 1024)
        self.assertLess(best, 0.1, "seconds to ready with an empty data directory, best of five")


class Loading(Program):
    def test_a_plugin_by_absolute_path(self):
        plugin = pathlib.Path(self.program).parent.parent / "lib/streambus/plugins/codec-lz4.so"
        self.assertEqual(self.run_program("--check-config", "--set", f"codec.lz4.plugin={plugin}").returncode, 0)

    def test_a_plugin_folder_of_the_command_line(self):
        with tempfile.TemporaryDirectory() as folder:
            plugin = pathlib.Path(self.program).parent.parent / "lib/streambus/plugins/codec-lz4.so"
            (pathlib.Path(folder) / "mine.so").write_bytes(plugin.read_bytes())
            result = self.run_program("--check-config", "--plugin-dir", folder)
        self.assertEqual(result.returncode, 2)
        self.assertIn("found 2", result.stderr)
        self.assertIn(f"{folder}/mine.so", result.stderr)


class Linked(Program):
    def test_loads_nothing(self):
        symbols = subprocess.run(["nm", "-D", "--undefined-only", self.program], capture_output=True, text=True, check=True).stdout
        if not SANITIZED:  # the sanitizers' own run time uses it
            self.assertNotIn("dlopen", symbols)
        result = self.run_program("--check-config", "--set", "codec.lz4.plugin=/opt/codec-lz4.so")
        self.assertEqual(result.returncode, 2)
        self.assertIn("'/opt/codec-lz4.so': expected the name of a plugin linked into this program, found a path", result.stderr)
        result = self.run_program("--check-config", "--set", "codec.lz4.plugin=codec-lz5")
        self.assertIn("did you mean 'codec-lz4'?", result.stderr)


def load_tests(loader, *_):
    suite = unittest.TestSuite()
    for program in PROGRAMS:
        base = Linked if program.endswith("-static") else Loading
        name = pathlib.Path(program).name
        suite.addTests(loader.loadTestsFromTestCase(type(name, (base,), {"program": program})))
    return suite


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
