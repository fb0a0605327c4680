"""Starting, stopping, a taken data directory, a full disk."""
import os, pathlib, shutil, signal, subprocess, tempfile, time, unittest

from broker import Broker, wait_until
from wire import Connection, make_batch


def mount_small_disk(path, mebibytes):
    """A file system of its own of the given size; False where this user may not mount."""
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path)], stderr=subprocess.DEVNULL).returncode == 0


class Operation(unittest.TestCase):
    def test_stops_cleanly_with_clients_connected(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            broker = Broker().start()
            with Connection(broker.address) as connection:
                connection.create_by_asking("t")
                self.assertEqual(connection.produce("t", make_batch([b"x"])), (0, 0))
                broker.process.send_signal(number)
                self.assertEqual(broker.process.wait(30), 0)
            broker.process.stdout.close()
            shutil.rmtree(broker.root)

    def test_a_taken_data_directory_is_a_clear_error(self):
        with Broker() as broker:
            second = Broker(data=broker.data)
            result = subprocess.run(second.command(), capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(str(broker.data), result.stderr + result.stdout)
            self.assertIn(str(broker.process.pid), result.stderr + result.stdout, "names the process that holds it")
            self.assertTrue(broker.alive())

    def test_a_taken_port_is_a_clear_error(self):
        with Broker() as broker:
            second = Broker()
            second.port = broker.port
            result = subprocess.run(second.command(), capture_output=True, text=True, timeout=60)
            self.assertIn(result.returncode, (1, 2), result.stderr)
            self.assertIn(f"127.0.0.1:{broker.port}", result.stderr + result.stdout)

    def test_a_full_disk_refuses_writes_serves_reads_and_recovers(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="streambus-full-"))
        if not mount_small_disk(folder, 64):
            shutil.rmtree(folder)
            self.skipTest("mounting a tmpfs needs root")
        try:
            with Broker(data=folder / "data") as broker, Connection(broker.address) as connection:
                batch = make_batch([os.urandom(1 << 18) for _ in range(2)])
                connection.create_by_asking("t")
                wait_until(lambda: connection.produce("t", batch)[0] == 0, "first produce")
                error, accepted, deadline = 0, 1, time.monotonic() + 120
                while error == 0 and time.monotonic() < deadline:
                    error, _ = connection.produce("t", batch)
                    accepted += error == 0
                self.assertEqual(error, 56, "KAFKA_STORAGE_ERROR (retriable) when the disk is full")
                self.assertEqual(connection.fetch("t", 0)[:2], (0, 2 * accepted), "reads go on")
                subprocess.run(["mount", "-o", "remount,size=128m", str(folder)], check=True)
                wait_until(lambda: connection.produce("t", batch)[0] == 0, "writing resumes when there is room")
                self.assertEqual(connection.fetch("t", 2 * accepted)[:2], (0, 2 * accepted + 2))
        finally:
            subprocess.run(["umount", str(folder)], check=False)
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    unittest.main()
