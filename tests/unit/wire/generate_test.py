"""The generator refuses what it cannot make code of, and says where."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "wire"))
import generate  # noqa: E402

HEAD = "# Test.\napi Ping 99\nversions 1-4\nflexible 3\nrequest\n"


def parse(fields, head=HEAD):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ping.txt"
        path.write_text(head + fields + "\nresponse\n  error_code int16\n", encoding="utf-8")
        return generate.parse_api(path)


class Schema(unittest.TestCase):
    def refused(self, fields, message):
        with self.assertRaises(SystemExit) as caught:
            parse(fields)
        self.assertRegex(str(caught.exception), r"ping\.txt:\d+: ")
        self.assertIn(message, str(caught.exception))

    def test_fields(self):
        api = parse("  name string 2+ null 3+   # remark\n  items []Item 1-2\n    id int32 = -1\n  tagged int64 3+ tag 0")
        name, items, tagged = api.request
        self.assertEqual((name.first, name.last, name.null, name.comment), (2, 4, (3, 4), "remark"))
        self.assertEqual((items.array, items.first, items.last, items.fields[0].last), (True, 1, 2, 2))
        self.assertEqual(items.fields[0].default, "-1")
        self.assertEqual(tagged.tag, 0)
        self.assertEqual((api.served, api.flexible), ((1, 4), 3))

    def test_fewest_bytes_of_an_element(self):
        fields = parse("  items []Item\n    id int32\n    name string\n    more []int8 2+\n    flag bool 4+\n    tagged int64 3+ tag 0").request[0].fields
        self.assertEqual([generate.min_bytes(fields, v, v >= 3) for v in range(1, 5)], [6, 10, 7, 8])

    def test_refused(self):
        self.refused("  name", "expected: name type")
        self.refused("  Name string", "snake_case")
        self.refused("  name text", "expected one of bool")
        self.refused("  name string 5+", "not within 1-4")
        self.refused("  name string optional", "expected versions, null or tag")
        self.refused("  name int32 null", "only strings and arrays can be null")
        self.refused("  name int32 tag 0", "tags start with the flexible versions")
        self.refused("  a int32 3+ tag 1\n  b int32 3+ tag 1", "tags must ascend")
        self.refused("  items []Item", "structure without fields")
        self.refused("  name string\n    id int32", "something that is no structure")
        self.refused("  name string = x", "take a default")
        self.refused("      name string", "unexpected here")
        self.refused("  a []Item\n    x int8\n  b []Item\n    x int8", "defined twice")

    def test_the_documents_check_notices_a_difference(self):
        command = [sys.executable, str(ROOT / "wire/generate.py"), "--check-docs"]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "protocol.md"
            path.write_text((ROOT / "docs/protocol.md").read_text(encoding="utf-8").replace("| Fetch |", "| Fetsch |"), encoding="utf-8")
            outcome = subprocess.run(command + [str(path)], capture_output=True, text=True)
            self.assertEqual(outcome.returncode, 1)
            self.assertIn("out of date", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
