"""STREAMBUS_PLUGINS and STREAMBUS_STATIC_PLUGINS, as far as CMake configures: what is built, left out, refused."""
import os, pathlib, subprocess, tempfile, unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
KNOWN = sorted(file.parent.name for file in ROOT.glob("plugins/*/CMakeLists.txt"))


class PluginOptions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="streambus-options-")
        # Two libraries that pkg-config finds unusable, as good as missing.
        for library in ("liblz4", "libzstd"):
            (pathlib.Path(cls.folder.name) / f"{library}.pc").write_text(f"Name: {library}\nDescription:\nVersion: 0\nRequires: absent\n")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def configure(self, plugins="", static="", fails=False):
        """What CMake says, in one line, where liblz4 and libzstd are missing."""
        result = subprocess.run(
            ["cmake", "-S", ROOT, "-B", self.folder.name + "/build", "-DSTREAMBUS_BUILD_TESTS=OFF", "-DSTREAMBUS_BUILD_BENCH=OFF",
             f"-DSTREAMBUS_PLUGINS={plugins}", f"-DSTREAMBUS_STATIC_PLUGINS={static}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PKG_CONFIG_PATH": self.folder.name})
        self.assertEqual(result.returncode != 0, fails, result.stdout)
        return " ".join(result.stdout.split())

    def test_only_the_named_plugins_need_their_libraries(self):
        said = self.configure("storage-wal;transport-tcp;protocol-kafka")
        self.assertIn("StreamBus: plugins: protocol-kafka, storage-wal, transport-tcp --", said)
        self.assertNotIn("zstd", said)
        self.assertNotIn("lz4", said)

    def test_a_plugin_that_is_only_linked_is_built_too(self):
        self.assertIn("StreamBus: plugins: storage-memory, storage-wal --", self.configure("storage-wal", static="storage-memory"))

    def test_a_missing_library_leaves_its_plugin_out(self):
        said = self.configure()
        self.assertIn("codec-zstd is left out: libzstd was not found (Debian: libzstd-dev)", said)
        self.assertIn(f"StreamBus: plugins: {', '.join(name for name in KNOWN if not name.startswith('codec-'))} --", said)

    def test_a_missing_library_of_a_named_plugin_is_a_warning(self):
        self.assertRegex(self.configure("storage-wal;codec-zstd"), "CMake Warning.* STREAMBUS_PLUGINS: 'codec-zstd' is left out")

    def test_a_missing_library_of_a_linked_plugin_is_an_error(self):
        said = self.configure(static="storage-wal;codec-zstd", fails=True)
        self.assertIn("STREAMBUS_STATIC_PLUGINS: 'codec-zstd' cannot be linked in", said)

    def test_an_unknown_plugin_is_an_error_that_names_the_known(self):
        for option, arguments in (("STREAMBUS_PLUGINS", {"plugins": "storage-wall"}), ("STREAMBUS_STATIC_PLUGINS", {"static": "storage-wall"})):
            said = self.configure(**arguments, fails=True)
            self.assertIn(f"{option}: there is no plugin 'storage-wall'; there are: {', '.join(KNOWN)}", said)


if __name__ == "__main__":
    unittest.main()
