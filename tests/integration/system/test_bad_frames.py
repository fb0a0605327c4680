"""Garbage from many connections: the broker lives on, its memory comes back, well-behaved clients notice nothing."""
import os, random, socket, struct, threading, time, unittest

from broker import SANITIZED, Broker
from wire import Connection, batch_headers, make_batch, request, string

FRAMES = int(os.environ.get("STREAMBUS_BAD_FRAMES", 5_000 if SANITIZED else 100_000))
CONNECTIONS = 8
KINDS = 10


def bad_frame(kind, rng):
    """One frame that no broker should like; returns (bytes, whether to wait for an answer or the end)."""
    if kind == 0:  # truncated: promises more than it brings
        return struct.pack(">i", 4096) + rng.randbytes(rng.randrange(64))
    if kind == 1:  # huge length
        return struct.pack(">i", 0x7FFFFFFF) + rng.randbytes(32)
    if kind == 2:  # negative length
        return struct.pack(">i", -rng.randrange(1, 1 << 31)) + rng.randbytes(8)
    if kind == 3:  # unknown API
        return request(rng.randrange(100, 30000), 0, rng.randbytes(16))
    if kind == 4:  # wrong version
        return request(rng.choice([0, 1, 2, 3, 18, 19, 20, 22, 32]), rng.randrange(50, 1000), rng.randbytes(16))
    if kind == 5:  # random bytes
        return rng.randbytes(rng.randrange(1, 200))
    if kind == 6:  # a TLS hello
        return bytes.fromhex("1603010200010001fc0303") + rng.randbytes(64)
    if kind == 7:  # half a request, then silence
        whole = request(3, 1, struct.pack(">i", 1) + string("x"))
        return whole[:rng.randrange(1, len(whole))]
    if kind == 8:  # a known request with a body of noise
        return request(rng.choice([0, 1, 2, 3, 10, 18, 19, 20, 22, 23, 32]), rng.randrange(0, 9), rng.randbytes(rng.randrange(0, 100)))
    # a produce whose batch was damaged in one place
    batch = bytearray(make_batch([b"payload"] * 3))
    batch[rng.randrange(len(batch))] ^= 1 << rng.randrange(8)
    body = struct.pack(">hhii", -1, -1, 1000, 1) + string("garbage") + struct.pack(">iii", 1, 0, len(batch)) + bytes(batch)
    return request(0, 3, body)


class BadFrames(unittest.TestCase):
    def attack(self, broker, count, seed, errors):
        rng = random.Random(seed)
        connection = None
        try:
            for number in range(count):
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", broker.port), 10)
                    # Closing with a reset frees the port at once: a hundred thousand connections would use them all up.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    connection.sendall(bad_frame(number % KINDS, rng))
                    connection.settimeout(0.001)
                    while connection.recv(65536):
                        pass
                    raise ConnectionError
                except TimeoutError:
                    if number % 3 == 0:
                        connection.close()
                        connection = None
                except OSError:
                    connection.close()
                    connection = None
        except Exception as error:  # noqa: BLE001 - a refused connection is what must not happen
            errors.append(repr(error))
        finally:
            if connection:
                connection.close()

    def test_garbage_harms_nobody(self):
        with Broker() as broker:
            with Connection(broker.address) as setup:
                setup.create_by_asking("good")
            for seed in range(CONNECTIONS):  # warm up: what the first garbage allocates is not a leak
                self.attack(broker, 100, 1000 + seed, [])
            time.sleep(0.5)
            before = broker.rss_bytes()
            errors, good, stop = [], [], threading.Event()

            def well_behaved():
                with Connection(broker.address) as connection:
                    while not stop.is_set():
                        error, base = connection.produce("good", make_batch([b"%d" % len(good)]))
                        if error != 0:
                            errors.append(f"a well-behaved produce got error {error}")
                            return
                        good.append(base)
                        time.sleep(0.01)

            threads = [threading.Thread(target=self.attack, args=(broker, FRAMES // CONNECTIONS, seed, errors)) for seed in range(CONNECTIONS)]
            client = threading.Thread(target=well_behaved)
            client.start()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stop.set()
            client.join()
            self.assertEqual(errors, [])
            self.assertTrue(broker.alive())
            self.assertEqual(good, list(range(len(good))), "offsets of the well-behaved client are dense")
            self.assertGreater(len(good), 10)
            time.sleep(1)
            growth = broker.rss_bytes() - before
            if not SANITIZED:  # a sanitizer's allocator keeps what was freed
                self.assertLess(growth, 16 << 20, f"memory grew by {growth / 1e6:.1f} MB")
            with Connection(broker.address) as connection:
                error, high, records = connection.fetch("good", 0)
                self.assertEqual((error, high), (0, len(good)))
                self.assertEqual(next(batch_headers(records))[0], 0)


if __name__ == "__main__":
    unittest.main()
