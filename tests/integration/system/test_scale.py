"""Many idle connections, many topics, many partitions: it works, and what each costs is bounded."""
import resource, socket, struct, time, unittest

from broker import SANITIZED, Broker, wait_until
from wire import Connection, make_batch, string

CONNECTIONS = 300 if SANITIZED else 2000
TOPICS = 100 if SANITIZED else 1000
PARTITIONS = 100 if SANITIZED else 500


def create_topics(connection, topics):
    """CreateTopics v2; returns {name: error}."""
    body = struct.pack(">i", len(topics))
    for name, partitions in topics:
        body += string(name) + struct.pack(">ihii", partitions, 1, 0, 0)
    answer = connection.call(19, 2, body + struct.pack(">i?", 60000, False))
    at, result = 8, {}
    count, = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(count):
        length, = struct.unpack_from(">h", answer, at)
        name = answer[at + 2:at + 2 + length].decode()
        at += 2 + length
        error, message = struct.unpack_from(">hh", answer, at)
        at += 4 + max(0, message)
        result[name] = error
    return result


class Scale(unittest.TestCase):
    def test_idle_connections_are_cheap(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
        with Broker() as broker, Connection(broker.address) as first:
            first.api_versions()
            before = broker.rss_bytes()
            connections = []
            for _ in range(CONNECTIONS):
                connection = Connection(broker.address)
                connection.api_versions()  # has been used, and is idle now
                connections.append(connection)
            per_connection = (broker.rss_bytes() - before) / CONNECTIONS
            if not SANITIZED:
                self.assertLessEqual(per_connection, 32 << 10, f"{per_connection / 1024:.1f} KiB per idle connection")
            self.assertIn(18, connections[-1].api_versions())
            self.assertIn(18, connections[0].api_versions())
            for connection in connections:
                connection.close()
            self.assertIn(18, first.api_versions())

    def test_many_topics_and_partitions(self):
        with Broker() as broker:
            with Connection(broker.address, 120) as connection:
                before = broker.rss_bytes()
                names = [(f"topic-{i}", 1) for i in range(TOPICS)]
                for at in range(0, len(names), 100):
                    self.assertEqual(set(create_topics(connection, names[at:at + 100]).values()), {0})
                self.assertEqual(create_topics(connection, [("wide", PARTITIONS)]), {"wide": 0})
                per_partition = (broker.rss_bytes() - before) / (TOPICS + PARTITIONS)
                print(f"memory per idle partition: {per_partition / 1024:.1f} KiB")
                for partition in range(PARTITIONS):
                    self.assertEqual(connection.produce("wide", make_batch([b"p%d" % partition]), partition), (0, 0))
                for number in range(0, TOPICS, 7):
                    self.assertEqual(connection.produce(f"topic-{number}", make_batch([b"x"])), (0, 0))
            broker.kill()
            broker.start()
            with Connection(broker.address, 120) as connection:
                for partition in range(PARTITIONS):
                    error, high, records = connection.fetch("wide", 0, partition)
                    self.assertEqual((error, high), (0, 1))
                    self.assertIn(b"p%d" % partition, records)
                for number in range(0, TOPICS, 7):
                    self.assertEqual(connection.fetch(f"topic-{number}", 0)[:2], (0, 1))


if __name__ == "__main__":
    unittest.main()
