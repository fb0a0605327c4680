"""What is installed works as a new user finds it: the programs, one plugin at a time, the CMake package."""
import unittest

from installed import BUILD, ROOT, SETTINGS, Installed, run


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.installed = Installed()
        cls.prefix = cls.installed.prefix

    @classmethod
    def tearDownClass(cls):
        cls.installed.cleanup()

    def test_the_layout_is_that_of_the_build_folder(self):
        for file in ("bin/streambusd", "bin/streambus", "lib/streambus/plugins/storage-wal.so", "etc/streambus/streambus.toml"):
            self.assertTrue((self.prefix / file).is_file(), file)
        run(self.prefix / "bin/streambusd", "--config", self.prefix / "etc/streambus/streambus.toml", "--check-config")

    def test_a_plugin_is_a_component_of_its_own(self):
        alone = self.installed.path / "alone"
        run("cmake", "--install", BUILD, "--prefix", alone, "--component", "codec-lz4")
        self.assertEqual([str(p.relative_to(alone)) for p in alone.rglob("*") if p.is_file()], ["lib/streambus/plugins/codec-lz4.so"])

    def test_a_program_embeds_the_broker(self):
        build = self.installed.path / "embedded"
        run("cmake", "-S", ROOT / "examples/embedded", "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", *SETTINGS)
        run("cmake", "--build", build)
        config = ROOT / "examples/embedded/embedded.toml"
        self.assertEqual(run(build / "embedded", config, cwd=build).split(), ["0", "one", "1", "two", "2", "three"])


if __name__ == "__main__":
    unittest.main()
