"""The few Kafka requests that tests send by hand, byte by byte, independent of the code under test."""
import socket, struct


def string(text):
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def request(key, version, body, correlation=7, client="test"):
    payload = struct.pack(">hhi", key, version, correlation) + string(client) + body
    return struct.pack(">i", len(payload)) + payload


class Connection:
    def __init__(self, address, timeout=30):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError(f"closed after {len(data)} of {count} bytes")
            data += part
        return bytes(data)

    def response(self):
        """One response frame without its length; starts with the correlation id."""
        return self.exactly(struct.unpack(">i", self.exactly(4))[0])

    def call(self, key, version, body):
        self.send(request(key, version, body))
        return self.response()

    def api_versions(self):
        """{api key: (min, max)}"""
        body = self.call(18, 0, b"")
        error, count = struct.unpack_from(">hi", body, 4)
        assert error == 0, error
        return {k: (low, high) for k, low, high in struct.iter_unpack(">hhh", body[10:10 + 6 * count])}

    def create_by_asking(self, topic):
        """Metadata v1 creates a topic that is not there, where the broker allows it."""
        self.call(3, 1, struct.pack(">i", 1) + string(topic))

    def produce(self, topic, batch, partition=0, acks=-1, version=3):
        """(error code, base offset) of one batch; None with acks=0."""
        body = struct.pack(">hhii", -1, acks, 30000, 1) + string(topic) + struct.pack(">iii", 1, partition, len(batch)) + batch
        self.send(request(0, version, body))
        if acks == 0:
            return None
        answer = self.response()
        at = 4 + 4 + 2 + len(topic.encode()) + 4 + 4
        return struct.unpack_from(">hq", answer, at)

    def fetch(self, topic, offset, partition=0, max_wait_ms=500, min_bytes=1, max_bytes=1 << 20):
        """(error code, high watermark, records bytes)"""
        body = struct.pack(">iiiibi", -1, max_wait_ms, min_bytes, max_bytes, 0, 1) + string(topic)
        body += struct.pack(">iiqi", 1, partition, offset, max_bytes)
        answer = self.call(1, 4, body)
        at = 4 + 4 + 4 + 2 + len(topic.encode()) + 4 + 4
        error, high, _stable, aborted = struct.unpack_from(">hqqi", answer, at)
        at += 2 + 8 + 8 + 4 + max(0, aborted) * 16
        length, = struct.unpack_from(">i", answer, at)
        return error, high, answer[at + 4:at + 4 + max(0, length)]


def batch_headers(records):
    """Walks the RecordBatches of a fetch: (base offset, attributes, last offset delta, record count)."""
    at = 0
    while at + 61 <= len(records):
        base, length = struct.unpack_from(">qi", records, at)
        if at + 12 + length > len(records):
            return
        attributes, delta = struct.unpack_from(">hi", records, at + 21)
        yield base, attributes, delta, struct.unpack_from(">i", records, at + 57)[0]
        at += 12 + length


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _table()


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def make_batch(values, attributes=0, timestamp=1_700_000_000_000, producer=(-1, -1, -1)):
    """An uncompressed RecordBatch v2 with the values as records."""
    records = b""
    for delta, value in enumerate(values):
        body = b"\0" + varint(0) + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    tail = struct.pack(">hiqqqhii", attributes, len(values) - 1, timestamp, timestamp, *producer, len(values)) + records
    return struct.pack(">qiibI", 0, 9 + len(tail), 0, 2, crc32c(tail)) + tail
