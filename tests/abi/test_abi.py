"""The saved description of the plugin API fits the headers, and the check finds changes."""
import pathlib, shutil, subprocess, sys, tempfile, unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NOT_COMPARABLE = 77


def check(*arguments):
    result = subprocess.run([sys.executable, HERE / "check_abi.py", *arguments], capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


class Abi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.code, cls.said = check()
        if cls.code == NOT_COMPARABLE:
            raise unittest.SkipTest(cls.said)

    def changed(self, file, old, new):
        """What the check says of headers in which a text is another one."""
        with tempfile.TemporaryDirectory(prefix="streambus-abi-") as folder:
            headers = pathlib.Path(folder) / "include"
            shutil.copytree(ROOT / "core/include", headers)
            path = headers / "streambus/plugin" / file
            text = path.read_text()
            self.assertEqual(text.count(old), 1, f"{file}: {old}")
            path.write_text(text.replace(old, new))
            return check("--headers", headers)

    def test_the_saved_description_fits_the_headers(self):
        self.assertEqual(self.code, 0, self.said)

    def test_a_field_of_another_type_is_found(self):
        code, said = self.changed("storage.hpp", "std::int64_t retention_ms = -1;", "std::int32_t retention_ms = -1;")
        self.assertEqual(code, 1, said)
        self.assertIn("PartitionSettings", said)
        self.assertIn("kAbiMajor", said)

    def test_a_virtual_at_the_end_is_found(self):
        code, said = self.changed("codec.hpp", "  virtual CodecResult decompress(Bytes in, MutableBytes out) const noexcept = 0;\n",
                                  "  virtual CodecResult decompress(Bytes in, MutableBytes out) const noexcept = 0;\n  virtual void more() noexcept {}\n")
        self.assertEqual(code, 1, said)
        self.assertIn("Codec::more", said)

    def test_a_value_in_the_middle_of_an_enumeration_is_found(self):
        code, said = self.changed("codec.hpp", "  needs_space,", "  postponed,\n  needs_space,")
        self.assertEqual(code, 1, said)
        self.assertIn("CodecOutcome", said)

    def test_a_raised_version_must_be_saved(self):
        code, said = self.changed("abi.hpp", "kAbiMinor = 0;", "kAbiMinor = 77;")
        self.assertEqual(code, 1, said)
        self.assertIn(".77", said)
        self.assertIn("scripts/abi.sh", said)

    def test_a_comment_is_no_change(self):
        self.assertEqual(self.changed("codec.hpp", "/// A compression codec.", "/// A codec."), (0, ""))


if __name__ == "__main__":
    unittest.main()
