"""streambus storage verify and dump on the data of a real broker that was stopped, killed, or whose files were damaged."""
import hashlib, json, pathlib, shutil, subprocess, tempfile, unittest
from broker import BUILD, Broker

DONE, UNREADABLE, USAGE, DAMAGE = 0, 1, 2, 4


def storage(*arguments):
    result = subprocess.run([BUILD / "bin/streambus", "storage", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


def produce(broker, topic, lines, *options):
    subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic, *options], input="".join(f"{l}\n" for l in lines), text=True,
                   check=True, timeout=60, capture_output=True)


def tree(directory):
    """Every file with its content's hash and its time: what a tool that only looks leaves as it is."""
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in directory.rglob("*") if p.is_file()}


def flip(file, position, bit=0):
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


class Storage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="streambus-storage-"))
        cls.made = cls.folder / "made"
        with Broker(["topic_defaults.segment.bytes=16384"], data=cls.made) as broker:
            produce(broker, "orders", [f"k{i}:value {i}" for i in range(2000)], "-K", ":", "-z", "lz4", "-X", "batch.num.messages=20")
            produce(broker, "plain", ["one", "two", "three"])

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def setUp(self):
        self.data = self.folder / "data"
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.made, self.data)

    def segments(self, topic="orders"):
        _, text, _ = storage("dump", self.data, "--topic", topic, "--json")
        return [self.data / f for f in dict.fromkeys(json.loads(line)["file"] for line in text.splitlines())]

    def test_good_data_is_good_and_stays_as_it_is(self):
        before = tree(self.data)
        code, text, _ = storage("verify", self.data, "--json")
        self.assertEqual(code, DONE, text)
        found = json.loads(text)
        self.assertEqual((found["findings"], found["complete"]), ([], True))
        self.assertEqual({(p["topic"], p["first_offset"], p["next_offset"]) for p in found["partitions"]}, {("orders", 0, 2000), ("plain", 0, 3)})
        self.assertEqual(storage("dump", self.data, "--records")[0], DONE)
        self.assertEqual(tree(self.data), before)
        self.assertIn("no damage", storage("verify", self.data / "storage")[1])

    def test_a_running_broker_is_refused_and_keeps_running(self):
        with Broker(data=self.data) as broker:
            for command in ("verify", "dump"):
                code, _, errors = storage(command, self.data)
                self.assertEqual(code, USAGE)
                self.assertIn(f"in use by a running broker (pid {broker.process.pid})", errors)
            produce(broker, "plain", ["four"])

    def test_damage_is_placed_and_says_what_a_repair_keeps(self):
        segment = self.segments()[0]
        flip(segment, 5000)
        code, text, _ = storage("verify", self.data, "--json")
        self.assertEqual(code, DAMAGE)
        found = json.loads(text)
        self.assertEqual(found["damages"], 1)
        finding = found["findings"][0]
        self.assertEqual((finding["kind"], finding["topic"], self.data / finding["file"]), ("damage", "orders", segment))
        self.assertTrue(finding["position"] <= 5000 < finding["position"] + finding["bytes"])
        lost = finding["next_offset"] - finding["first_offset"]
        self.assertIn("keeps", finding["repair"])
        # A dump shows all but what is lost, and says so.
        code, text, errors = storage("dump", self.data, "--topic", "orders", "--format", "%o\\n")
        offsets = [int(line) for line in text.splitlines() if line.isdigit()]
        self.assertEqual((code, len(offsets)), (DAMAGE, 2000 - lost))
        self.assertIn("damage orders-0", errors)

    def test_every_small_file_is_checked(self):
        files = [self.data / "meta/topics", self.data / "meta/storages", self.data / "storage/wal/wal.state", self.data / "storage/wal/marks",
                 *self.data.glob("storage/wal/*/0/manifest"), *self.data.glob("storage/wal/*/0/*.index"), *self.data.glob("meta/producers/*")]
        self.assertGreaterEqual(len(files), 8)
        for file in files:
            for position in (9, file.stat().st_size // 2, file.stat().st_size - 1):
                flip(file, position, 5)
                self.assertEqual(storage("verify", self.data, "--plugin", "storage-wal")[0], DAMAGE, f"{file} byte {position}")
                flip(file, position, 5)

    def test_a_partition_that_is_gone_is_missed(self):
        shutil.rmtree(self.segments("plain")[0].parent)
        code, text, _ = storage("verify", self.data)
        self.assertEqual(code, DAMAGE)
        self.assertIn("damage plain-0", text)

    def test_what_a_kill_leaves_is_no_damage(self):
        with Broker(data=self.data) as broker:
            produce(broker, "orders", [f"late {i}" for i in range(500)])
            broker.kill()
        segment = self.segments()[-1]
        with open(segment, "r+b") as file:  # behind the zeros, as a torn write leaves it
            file.seek(0, 2)
            file.write(b"torn" * 100)
        code, text, _ = storage("verify", self.data)
        self.assertEqual(code, DONE, text)
        self.assertIn("torn-tail orders-0", text)
        with Broker(data=self.data):
            pass
        code, text, _ = storage("verify", self.data, "--verbose")
        self.assertIn("orders-0: offsets 0 to 2499", text)
        self.assertIn("no damage, 0 other findings", text)

    def test_dump_shows_batches_and_records(self):
        code, text, _ = storage("dump", self.data, "--topic", "orders", "--offset", "1000", "--count", "2", "--records", "--json")
        rows = [json.loads(line) for line in text.splitlines()]
        batches = [r for r in rows if "base_offset" in r]
        records = [r for r in rows if "offset" in r]
        self.assertEqual((code, len(batches), batches[0]["compression"]), (DONE, 2, "lz4"))
        self.assertTrue(batches[0]["base_offset"] <= 1000 <= batches[0]["last_offset"])
        self.assertEqual(len(records), sum(b["records"] for b in batches))
        for record in records:
            self.assertEqual((record["key"], record["value"]), (f"k{record['offset']}", f"value {record['offset']}"))
        self.assertIn("    1 ", storage("dump", self.data, "--topic", "plain", "--records")[1])

    def test_dump_takes_one_segment_and_a_copy_of_it_anywhere(self):
        segment = self.segments()[1]
        inside = storage("dump", segment, "--format", "%o %k\\n")
        copy = self.folder / "copy.log"
        shutil.copy(segment, copy)
        outside = storage("dump", copy, "--format", "%o %k\\n")
        self.assertEqual((inside[0], outside[0]), (DONE, DONE))
        self.assertEqual(inside[1].splitlines()[1:], outside[1].splitlines())  # the first names the partition
        flip(copy, 100)
        self.assertEqual(storage("dump", copy)[0], DAMAGE)

    def test_a_storage_alone_needs_its_plugin_named(self):
        alone = self.folder / "alone"
        shutil.copytree(self.data / "storage/wal", alone, dirs_exist_ok=True)
        code, _, errors = storage("verify", alone)
        self.assertEqual(code, USAGE)
        self.assertIn("--plugin", errors)
        self.assertEqual(storage("verify", alone, "--plugin", "storage-wal")[0], DONE)
        code, _, errors = storage("verify", alone, "--plugin", "storage-memory")
        self.assertEqual(code, UNREADABLE)
        self.assertIn("cannot inspect", errors)
        self.assertEqual(storage("verify", self.folder / "absent")[0], USAGE)

    def test_a_directory_is_not_given_to_another_plugin(self):
        broker = Broker(["storage.wal.plugin=storage-memory"], data=self.data)
        with self.assertRaises(AssertionError) as refusal:
            broker.start()
        self.assertIn("made the data in", str(refusal.exception))
        shutil.rmtree(broker.root)


if __name__ == "__main__":
    unittest.main()
