"""Real files through kcat, each codec: what is read back is what was written, byte for byte, also after kill -9."""
import base64, hashlib, os, pathlib, subprocess, tempfile, unittest

from broker import SANITIZED, Broker
from wire import Connection, batch_headers

BYTES = int(os.environ.get("STREAMBUS_FILE_BYTES", 24 << 20 if SANITIZED else 1 << 30))
CODEC_IDS = {"none": 0, "lz4": 3, "zstd": 4}


def make_file(path, size):
    """A tar of real files, repeated to `size` bytes, as lines of base64."""
    with subprocess.Popen(["tar", "-cf", "-", "/usr/share/doc", "/usr/share/perl5", "/usr/share/zoneinfo"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
        block = tar.stdout.read(min(size, 96 << 20))
        tar.kill()
    line = 750  # 1,000 characters of base64
    with open(path, "wb") as out:
        written = 0
        while written < size:
            for at in range(0, len(block) - line, line * 1024):
                part = block[at:at + line * 1024]
                text = base64.b64encode(part)
                out.write(b"\n".join(text[i:i + 1000] for i in range(0, len(text), 1000)) + b"\n")
                written += len(text)
                if written >= size:
                    break


def digest(path):
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="streambus-files-")
        cls.file = pathlib.Path(cls.folder.name) / "input"
        make_file(cls.file, BYTES)
        cls.digest = digest(cls.file)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def read_back(self, broker, topic):
        with subprocess.Popen(["kcat", "-b", broker.address, "-C", "-t", topic, "-o", "beginning", "-e", "-q"], stdout=subprocess.PIPE) as kcat:
            sha = hashlib.sha256()
            while part := kcat.stdout.read(1 << 20):
                sha.update(part)
            self.assertEqual(kcat.wait(), 0)
        return sha.hexdigest()

    def check(self, codec):
        with Broker() as broker:
            topic = f"file-{codec}"
            with open(self.file, "rb") as lines:
                subprocess.run(["kcat", "-b", broker.address, "-P", "-t", topic, "-z", codec, "-X", "queue.buffering.max.kbytes=262144", "-X", "acks=all"],
                               stdin=lines, check=True, timeout=900)
            self.assertEqual(self.read_back(broker, topic), self.digest)
            broker.kill()
            broker.start()
            self.assertEqual(self.read_back(broker, topic), self.digest, "after kill -9")
            with Connection(broker.address) as connection:
                error, _, records = connection.fetch(topic, 0, max_bytes=4 << 20)
                self.assertEqual(error, 0)
                found = [attributes & 7 for _, attributes, _, count in batch_headers(records)]
                self.assertTrue(found)
                # A client leaves a batch uncompressed that does not get smaller: lz4 on base64 of compressed files.
                self.assertIn(CODEC_IDS[codec], found)
                self.assertLessEqual(set(found), {CODEC_IDS[codec], 0 if codec == "lz4" else CODEC_IDS[codec]})

    def test_none(self):
        self.check("none")

    def test_lz4(self):
        self.check("lz4")

    def test_zstd(self):
        self.check("zstd")


if __name__ == "__main__":
    unittest.main()
