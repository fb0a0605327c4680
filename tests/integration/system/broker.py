"""Starts and stops a real streambusd for tests; everything below a temporary directory of its own.

STREAMBUS_STORAGE names the plugin behind the storage that topics have, if it is not storage-wal.
"""
import os, pathlib, shutil, signal, socket, subprocess, tempfile, time

BUILD = pathlib.Path(os.environ["STREAMBUS_BUILD_DIR"])
SANITIZED = bool(os.environ.get("STREAMBUS_SANITIZE"))

CONFIG = """
[broker]
data_dir = "{data}"
[listener.main]
transport = "tcp"
address = "127.0.0.1:{port}"
[storage.wal]
plugin = "{storage}"
[storage.scratch]
plugin = "storage-memory"
[codec.lz4]
plugin = "codec-lz4"
[codec.zstd]
plugin = "codec-zstd"
[topic_defaults]
storage = "wal"
partitions = 1
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """`overrides` are --set arguments; `data` keeps its content over restarts. Use as a context manager."""

    def __init__(self, overrides=(), data=None):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="streambus-test-"))
        self.data = pathlib.Path(data) if data else self.root / "data"
        self.port = free_port()
        self.program = BUILD / "bin" / os.environ.get("STREAMBUS_PROGRAM", "streambusd")
        self.overrides = list(overrides)
        self.log = self.root / "log.txt"
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def command(self):
        config = self.root / "streambus.toml"
        config.write_text(CONFIG.format(data=self.data, port=self.port, storage=os.environ.get("STREAMBUS_STORAGE", "storage-wal")))
        return [str(self.program), "--config", str(config)] + [a for o in self.overrides for a in ("--set", o)]

    def start(self, seconds=60):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log, text=True)
        for line in self.process.stdout:
            if line.startswith("ready "):
                return self
        code = self.process.wait(seconds)
        raise AssertionError(f"streambusd exited with {code} before it was ready:\n{self.log.read_text()[-4000:]}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def stop(self, seconds=60):
        """A clean stop; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self.process.stdout.close()
        return code

    def alive(self):
        return self.process.poll() is None

    def rss_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        if kind is not None and self.log.exists():
            print(f"--- broker log (end) ---\n{self.log.read_text(errors='replace')[-3000:]}")
        if self.process and self.alive():
            code = self.stop()
            if kind is None and code != 0:
                raise AssertionError(f"streambusd exited with {code} on SIGTERM, expected 0:\n{self.log.read_text()[-4000:]}")
        shutil.rmtree(self.root, ignore_errors=True)


def wait_until(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
