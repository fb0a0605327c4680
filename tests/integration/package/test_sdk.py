"""Plugins made outside of the tree, with nothing of StreamBus but what is installed."""
import functools, os, pathlib, re, shutil, signal, socket, subprocess, time, unittest

from installed import BUILD, ROOT, Installed, run

KINDS = ("storage", "codec", "transport", "protocol")
PLUGINS = sorted(file.stem for file in (BUILD / "lib/streambus/plugins").glob("*.so"))
# What a plugin of ours must not see, found by the names of the headers.
FOREIGN = re.compile(r"/(boost|toml\+\+|fmt|spdlog|CLI|nlohmann)/")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def accepts(family, address):
    with socket.socket(family) as client:
        return client.connect_ex(address) == 0


class Broker:
    """A streambusd that runs until the end of the block, and must then stop in order."""

    def __init__(self, command, ports, **options):
        self.ports = ports
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        try:
            end = time.monotonic() + 60
            while not all(accepts(socket.AF_INET, ("127.0.0.1", port)) for port in ports.values()):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"the broker does not listen on {ports}")
                time.sleep(0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.stop()}") from None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[0] + "\n(it did not stop within a minute)"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        said = self.stop()
        if kind is None and self.process.returncode != 0:
            raise AssertionError(f"streambusd exited with {self.process.returncode}:\n{said[-3000:]}")


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.installed = Installed("core", "sdk", *PLUGINS)
        cls.folder, cls.prefix = cls.installed.path, cls.installed.prefix
        cls.environment = cls.installed.environment()
        cls.has_kit = re.search(r"^ +check ", cls.shell("streambus", "plugin", "--help"), re.MULTILINE) is not None

    @classmethod
    def tearDownClass(cls):
        cls.installed.cleanup()

    @classmethod
    def shell(cls, *command, **options):
        return run(*command, env=cls.environment, cwd=cls.folder, **options)

    @classmethod
    def build(cls, source):
        """Configures, builds and checks a project; its build folder."""
        build = cls.folder / f"build-{source.name}"
        cls.shell("cmake", "-S", source, "-B", build)
        cls.shell("cmake", "--build", build)
        if cls.has_kit:
            cls.shell("ctest", "--test-dir", build, "--output-on-failure")
        return build

    @classmethod
    @functools.cache
    def made(cls, kind):
        """The project that `plugin new` writes, and the plugin that it builds, checked."""
        cls.shell("streambus", "plugin", "new", "made-here", "--kind", kind)
        project = cls.folder / f"{kind}-made-here"
        return project, cls.build(project) / f"{project.name}.so"

    def broker(self, kind):
        """A broker with the example configuration of a new plugin, on free ports: by those that stand in the example."""
        project, plugin = self.made(kind)
        text = (project / "broker.toml").read_text()
        self.assertIn(f'plugin = "{project}/build/{plugin.name}"', text)
        ports = {port: free_port() for port in re.findall(r"127\.0\.0\.1:(\d+)", text)}
        for port, free in ports.items():
            text = text.replace(f":{port}", f":{free}")
        text = text.replace(f"{project}/build/{plugin.name}", str(plugin)).replace("/tmp/streambus-made-here.sock", str(self.folder / "socket"))
        config = self.folder / f"{kind}.toml"
        config.write_text(text.replace('data_dir = "data"', f'data_dir = "data-{kind}"'))
        self.shell("streambusd", "--config", config, "--check-config")
        return Broker(["streambusd", "--config", config], ports, env=self.environment, cwd=self.folder)

    def need_kit(self):
        if not self.has_kit:
            self.skipTest("built and loaded; there is no 'streambus plugin check' in this build to try it with")

    # ---- streambus plugin new

    def test_a_new_project_of_each_kind_builds_and_passes(self):
        for kind in KINDS:
            project, plugin = self.made(kind)
            self.assertIn(f"{kind}-made-here 0.1.0 ({kind} plugin)", self.shell("streambus", "plugin", "info", plugin))
            for path in filter(pathlib.Path.is_file, project.iterdir()):
                self.assertNotIn("acme", path.read_text(), path)
        self.need_kit()

    def test_wrong_words_are_refused_and_nothing_is_overwritten(self):
        for arguments, said in ((("a_b", "--kind", "storage"), "expected 1 to 31 letters, digits and single '-'"),
                                (("9", "--kind", "codec"), "beginning with a letter, such as 'acme', found '9'"),
                                (("../x", "--kind", "codec"), "found '../x'"), (("x" * 32, "--kind", "storage"), "expected 1 to 31"),
                                (("x", "--kind", "store"), "expected storage, codec, transport or protocol, found 'store'")):
            self.assertIn(said, self.shell("streambus", "plugin", "new", *arguments, code=2))
        (self.folder / "mine").mkdir()
        (self.folder / "mine/file").write_text("precious")
        self.assertIn("mine: exists already", self.shell("streambus", "plugin", "new", "x", "--kind", "codec", "--directory", "mine", code=2))
        self.assertEqual([path.name for path in (self.folder / "mine").iterdir()], ["file"])

    # ---- each kind in a broker

    def test_a_new_storage_keeps_records_over_a_restart(self):
        for word in ("first", "second"):
            with self.broker("storage") as broker:
                address = f"127.0.0.1:{broker.ports['9092']}"
                self.shell("streambus", "produce", "kept", "-b", address, input=f"{word}\n")
                said = self.shell("streambus", "consume", "kept", "-b", address, "--until-end")
        self.assertIn("first", said)
        self.assertIn("second", said)

    def test_a_new_codec_makes_what_is_stored_smaller(self):
        words = "the same words again and again\n" * 2000
        with self.broker("codec") as broker:
            address = f"127.0.0.1:{broker.ports['9092']}"
            self.shell("streambus", "topic", "create", "small", "-b", address, "--config", "compression.type=made-here")
            self.shell("streambus", "produce", "small", "-b", address, input=words)
        stored = sum(path.stat().st_size for path in (self.folder / "data-codec/storage").rglob("*.log"))
        self.assertLess(0, stored)
        self.assertLess(stored, len(words))

    def test_a_new_transport_carries_the_kafka_protocol(self):
        with self.broker("transport"), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(self.folder / "socket"))
            request = b"\0\x12\0\0" + b"\0\0\0\x2a" + b"\0\4test"  # ApiVersions version 0, correlation id 42
            client.sendall(len(request).to_bytes(4, "big") + request)
            answer = client.recv(1 << 16)
        self.assertEqual(answer[4:10], b"\0\0\0\x2a\0\0")

    def test_a_new_protocol_puts_and_gets(self):
        with self.broker("protocol") as broker:
            self.shell("streambus", "topic", "create", "texts", "-b", f"127.0.0.1:{broker.ports['9092']}")
            with socket.create_connection(("127.0.0.1", broker.ports["9099"]), 60) as client:
                client.sendall(b"PUT texts hello\nPUT texts and goodbye\r\nGET texts 1\nGET texts 2\nGET none 0\nMAKE tea\n")
                client.shutdown(socket.SHUT_WR)
                answers = b"".join(iter(lambda: client.recv(4096), b"")).decode().splitlines()
        self.assertEqual(answers[:5], ["OK 0", "OK 1", "MSG 1 11", "and goodbye", "END 2"])
        self.assertTrue(answers[5].startswith("ERR not_found"), answers)
        self.assertTrue(answers[6].startswith("ERR invalid_argument"), answers)

    # ---- the examples

    def example(self, name, *libraries):
        if subprocess.run(["pkg-config", "--exists", *libraries]).returncode != 0:
            self.skipTest(f"examples/{name} needs {' '.join(libraries)}")
        source = self.folder / name
        shutil.copytree(ROOT / "examples" / name, source)
        plugin = self.build(source) / f"{name}.so"
        self.assertIn(f"{name} 0.1.0", self.shell("streambus", "plugin", "info", plugin))
        self.need_kit()

    def test_the_example_on_sqlite(self):
        self.example("storage-sqlite", "sqlite3")

    def test_the_example_with_brotli(self):
        self.example("codec-brotli", "libbrotlienc", "libbrotlidec")

    # ---- the package

    def test_no_header_of_another_library_is_needed(self):
        environment = self.environment | {"PKG_CONFIG_PATH": str(self.prefix / "lib/pkgconfig")}
        words = run("pkg-config", "--cflags", "--libs", "streambus-plugin", env=environment).split()
        for kind in KINDS:
            sources = sorted((ROOT / "sdk/templates" / kind).glob("*.cpp"))
            compiler = [self.environment["CXX"], *self.environment["CXXFLAGS"].split()]
            included = self.shell(*compiler, "-M", *[word for word in words if word[:2] in ("-I", "-s", "-f")], *sources)
            self.assertIn("streambus/plugin/sdk.hpp", included)
            self.assertEqual(FOREIGN.findall(included), [])
        if not self.environment["CXXFLAGS"]:  # as written: no sanitizer's symbols are left to the executable
            plugin = self.folder / "by-pkg-config.so"
            self.shell(*compiler, "-shared", *sorted((ROOT / "sdk/templates/codec").glob("*.cpp")), "-o", plugin, *words)
            self.assertIn("codec-acme 0.1.0", self.shell("streambus", "plugin", "info", plugin))

    def test_the_component_alone_gives_the_package(self):
        self.assertFalse((self.prefix / "include/streambus/host").exists())
        self.assertFalse((self.prefix / "include/streambus/client").exists())
        self.assertFalse((self.prefix / "lib/cmake/StreamBus/StreamBusDevTargets.cmake").exists())
        project = self.folder / "needs-dev"
        project.mkdir()
        (project / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(x CXX)\nfind_package(StreamBus REQUIRED COMPONENTS dev)\n")
        self.assertIn("dev", self.shell("cmake", "-S", project, "-B", project / "build", code=1))

    # ---- the guide

    def test_the_commands_of_the_guide(self):
        guide = (ROOT / "docs/plugin-guide.md").read_text()
        blocks = re.findall(r"<!-- newcomer(: a broker)? -->\n```sh\n(.*?)```", guide, re.DOTALL)
        self.assertEqual([kind for kind, _ in blocks], ["", ": a broker", ""])
        if shutil.which("kcat") is None:
            self.skipTest("kcat is not installed")
        work, port = self.folder / "newcomer", free_port()
        work.mkdir()
        # Where it is installed and which port is free is all that differs from what is printed.
        make, serve, use = (text.replace("/opt/streambus", str(self.prefix)).replace("9092", str(port)) for _, text in blocks)
        if not self.has_kit:
            make = "".join(line for line in make.splitlines(True) if " plugin check " not in line)
        run("bash", "-ec", make, cwd=work, env=self.environment)
        config = work / "storage-acme/broker.toml"
        config.write_text(config.read_text().replace("9092", str(port)))
        with Broker(["bash", "-ec", f"exec {serve}"], {"9092": port}, cwd=work, env=self.environment):
            self.assertEqual(run("bash", "-ec", use, cwd=work, env=self.environment).splitlines(), ["hello from a plugin"])
        self.need_kit()


if __name__ == "__main__":
    unittest.main()
