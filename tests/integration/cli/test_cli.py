"""The `streambus` command against a real broker: what it prints, what it exits with, that bytes stay as they are."""
import json, os, pathlib, random, re, signal, subprocess, sys, tempfile, time, unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/integration/system"))
from broker import BUILD, Broker, free_port, wait_until  # noqa: E402

STREAMBUS = str(BUILD / "bin" / "streambus")


def run(*arguments, input=b"", bootstrap=None, timeout=120, environment=None):
    """Runs the command; output as bytes, messages as text."""
    env = {k: v for k, v in os.environ.items() if k != "STREAMBUS_BOOTSTRAP"}
    if bootstrap:
        env["STREAMBUS_BOOTSTRAP"] = bootstrap
    env.update(environment or {})
    done = subprocess.run([STREAMBUS, *map(str, arguments)], input=input, capture_output=True, timeout=timeout, env=env)
    done.err = done.stderr.decode(errors="replace")
    return done


class WithBroker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(overrides=["storage.wal.durability=pagecache"]).start()

    @classmethod
    def tearDownClass(cls):
        cls.broker.__exit__(None, None, None)

    def streambus(self, *arguments, code=0, **more):
        done = run(*arguments, bootstrap=self.broker.address, **more)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.err}")
        return done

    def topic(self, *arguments):
        name = f"topic-{random.randrange(1 << 40)}"
        self.streambus("topic", "create", name, *arguments)
        return name


class Topics(WithBroker):
    def test_life_of_a_topic(self):
        made = self.streambus("topic", "create", "orders", "--partitions", 3, "--storage", "scratch", "--config", "retention.ms=3600000")
        self.assertIn(b"orders", made.stdout)
        self.assertIn({"topic": "orders", "partitions": 3}, json.loads(self.streambus("topic", "list", "--json").stdout))
        self.assertRegex(self.streambus("topic", "list").stdout.decode(), r"(?m)^orders +3$")
        topic = json.loads(self.streambus("topic", "describe", "orders", "--json").stdout)
        self.assertEqual([p["end_offset"] for p in topic["partitions"]], [0, 0, 0])
        self.assertEqual(topic["settings"]["streambus.storage"]["value"], "scratch")
        self.assertEqual(topic["settings"]["retention.ms"], {"value": "3600000", "source": "topic", "read_only": False})
        self.assertIn("retention.ms = 3600000", self.streambus("topic", "describe", "orders").stdout.decode())
        self.streambus("topic", "delete", "orders")
        self.assertNotIn("orders", self.streambus("topic", "list").stdout.decode())

    def test_settings_change(self):
        name = self.topic()
        settings = lambda: json.loads(self.streambus("topic", "describe", name, "--json").stdout)["settings"]  # noqa: E731
        self.assertEqual(json.loads(self.streambus("topic", "alter", name, "--config", "retention.ms=1h", "--append", "cleanup.policy=compact", "--json").stdout),
                         {"topic": name, "altered": True})
        self.assertEqual(settings()["retention.ms"], {"value": "3600000", "source": "topic", "read_only": False})
        self.assertEqual(settings()["cleanup.policy"]["value"], "compact,delete")
        self.streambus("topic", "alter", name, "--delete-config", "retention.ms", "--subtract", "cleanup.policy=compact")
        self.assertEqual(settings()["retention.ms"]["source"], "default")
        self.assertEqual(settings()["cleanup.policy"]["value"], "delete")
        self.streambus("topic", "alter", name, "--config", "retention.ms=1", "--check-only")
        self.assertEqual(settings()["retention.ms"]["source"], "default")
        self.assertIn("did you mean 'retention.ms'", self.streambus("topic", "alter", name, "--config", "retention.mz=1", code=2).err)
        self.assertIn("found 'nowhere'", self.streambus("topic", "alter", name, "--config", "streambus.storage=nowhere", code=2).err)
        self.assertIn("nothing to change", self.streambus("topic", "alter", name, code=2).err)
        self.assertIn("nowhere", self.streambus("topic", "alter", "nowhere", "--config", "retention.ms=1", code=1).err)

    def test_records_are_deleted(self):
        name = self.topic()
        self.streambus("produce", name, input=b"a\nb\nc\nd\n")
        self.assertEqual(json.loads(self.streambus("topic", "delete-records", name, "--before", 2, "--json").stdout),
                         {"topic": name, "partition": 0, "start_offset": 2})
        self.assertEqual(self.streambus("consume", name, "--until-end").stdout, b"c\nd\n")
        self.assertIn("offset", self.streambus("topic", "delete-records", name, "--before", 5, code=1).err)
        self.assertIn("--before", self.streambus("topic", "delete-records", name, "--before", "soon", code=2).err)
        self.streambus("topic", "delete-records", name, "--before", "end")
        self.assertEqual(self.streambus("consume", name, "--until-end").stdout, b"")
        self.streambus("topic", "alter", name, "--config", "cleanup.policy=compact")
        self.assertIn("compacted", self.streambus("topic", "delete-records", name, "--before", 4, code=2).err)
        self.assertIn("key", self.streambus("produce", name, input=b"no key\n", code=1).err)

    def test_refusals(self):
        name = self.topic()
        self.assertIn("exists", self.streambus("topic", "create", name, code=1).err)
        self.streambus("topic", "create", name, "--if-not-exists")
        self.assertIn("no topic 'nowhere'", self.streambus("topic", "delete", "nowhere", code=1).err)
        self.streambus("topic", "delete", "nowhere", "--if-exists")
        self.assertIn("nowhere", self.streambus("topic", "describe", "nowhere", code=1).err)
        self.assertIn("frobnicate", self.streambus("topic", "create", "x", "--config", "frobnicate=1", code=2).err)
        self.assertIn("KEY=VALUE", self.streambus("topic", "create", "x", "--config", "novalue", code=2).err)
        self.assertIn("249", self.streambus("topic", "create", "no blanks", code=2).err)
        self.streambus("topic", "create", "checked", "--check-only")
        self.assertNotIn("checked", self.streambus("topic", "list").stdout.decode())


class ProduceAndConsume(WithBroker):
    def test_bytes_stay_as_they_are(self):
        random.seed(7)
        lines = [random.randbytes(random.choice([0, 1, 50, 1000])).replace(b"\n", b"\0") for _ in range(3000)]
        lines += [b"x" * 3_000_000, b"\r", b"the last one has no newline"]
        data = b"\n".join(lines)
        for codec in ["none", "lz4", "zstd"]:
            name = self.topic("--config", "max.message.bytes=8388608")
            self.streambus("produce", name, "--codec", codec, input=data)
            back = self.streambus("consume", name, "--until-end").stdout
            self.assertEqual(back, data + b"\n", codec)

    def test_a_file_and_the_summary(self):
        name = self.topic()
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"one\ntwo\n")
            file.flush()
            summary = json.loads(self.streambus("produce", name, "--file", file.name, "--json").stdout)
        self.assertEqual((summary["delivered"], summary["failed"]), (2, 0))
        done = self.streambus("produce", name, input=b"three\n")
        self.assertRegex(done.err, r"1 messages, .* MB/s\), 0 failed")
        self.assertEqual(self.streambus("consume", name, "-e").stdout, b"one\ntwo\nthree\n")

    def test_keys_headers_and_formats(self):
        name = self.topic("--partitions", 4)
        self.streambus("produce", name, "-K", "::", "--header", "a=1", "--header", "b=x=y", input=b"k1::v1\nk2::v2\nk1::v3\nplain\n")
        rows = [json.loads(line) for line in self.streambus("consume", name, "-e", "--json").stdout.splitlines()]
        self.assertEqual({(r["key"], r["value"]) for r in rows}, {("k1", "v1"), ("k2", "v2"), ("k1", "v3"), (None, "plain")})
        self.assertEqual(len({r["partition"] for r in rows if r["key"] == "k1"}), 1)
        self.assertEqual(rows[0]["headers"], [{"key": "a", "value": "1"}, {"key": "b", "value": "x=y"}])
        text = self.streambus("consume", name, "-e", "--format", r"%t|%k|%v|%h\0").stdout
        self.assertIn(f"{name}|k2|v2|a=1,b=x=y\0".encode(), text)
        self.assertIn("%q", self.streambus("consume", name, "--format", "%q", code=2).err)

    def test_where_to_start_and_stop(self):
        name = self.topic()
        self.streambus("produce", name, input=b"".join(b"%d\n" % i for i in range(100)))
        take = lambda *a, **k: self.streambus("consume", name, *a, **k)  # noqa: E731
        self.assertEqual(take("--from", 40, "--count", 2).stdout, b"40\n41\n")
        self.assertEqual(take("--from", 98, "-e").stdout, b"98\n99\n")
        self.assertEqual(take("--from", "end", "-e").stdout, b"")
        self.assertEqual(take("--from", "2000-01-01", "--count", 1).stdout, b"0\n")
        self.assertEqual(take("--from", "946684800000ms", "--count", 1).stdout, b"0\n")
        self.assertEqual(take("--from", "2100-01-01T00:00:00Z", "-e").stdout, b"")
        self.assertEqual(take("--count", 0).stdout, b"")
        self.assertIn("offset 1000", take("--from", 1000, "--count", 1, code=1).err)
        self.assertIn("expected beginning", take("--from", "yesterday", code=2).err)
        self.assertIn("partition 9", take("--partition", 9, code=2).err)
        self.assertIn("no such topic", run("consume", "nowhere", bootstrap=self.broker.address).err)

    def test_a_signal_stops_a_consumer_with_0(self):
        name = self.topic()
        for which in (signal.SIGINT, signal.SIGTERM):
            consumer = subprocess.Popen([STREAMBUS, "consume", name, "--from", "end", "-b", self.broker.address], stdout=subprocess.PIPE)
            # Until it is at the end it may miss what is produced.
            for attempt in range(200):
                self.streambus("produce", name, input=b"ping\n")
                os.set_blocking(consumer.stdout.fileno(), False)
                if consumer.stdout.read():
                    break
            consumer.send_signal(which)
            self.assertEqual(consumer.wait(20), 0)
            consumer.stdout.close()

    def test_a_closed_pipe_ends_a_consumer_quietly(self):
        name = self.topic()
        self.streambus("produce", name, input=b"y" * 1000 + b"\n" + b"z\n" * 400_000)
        shell = subprocess.run(f"{STREAMBUS} consume {name} -e -b {self.broker.address} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}",
                               shell=True, executable="/bin/bash", capture_output=True, timeout=60)
        self.assertEqual((shell.stdout, shell.stderr), (b"0\n", b""))

    def test_rate_and_acks(self):
        name = self.topic()
        start = time.monotonic()
        self.streambus("produce", name, "--rate", 100, input=b"x\n" * 51)
        self.assertGreaterEqual(time.monotonic() - start, 0.5)
        for acks in ["0", "1", "all"]:
            self.streambus("produce", name, "--acks", acks, input=b"y\n" * 10)
        wait_until(lambda: self.streambus("consume", name, "-e").stdout.count(b"y") == 30, "acks 0 arrive too")

    def test_failures_are_reported(self):
        name = self.topic("--config", "max.message.bytes=1000")
        done = self.streambus("produce", name, "--batch-bytes", 500, input=b"small\n" + b"x" * 5000 + b"\nsmall too\n", code=1)
        self.assertIn("2 messages", done.err)
        self.assertIn("1 failed", done.err)
        self.assertIn("max.message.bytes", done.err)
        self.assertIn(self.broker.address, done.err)
        self.assertEqual(self.streambus("consume", name, "-e").stdout, b"small\nsmall too\n")
        self.assertIn("no codec plugin offers 'brotli'", self.streambus("produce", name, "--codec", "brotli", code=2).err)
        self.assertIn("/no/such/file", self.streambus("produce", name, "--file", "/no/such/file", code=2).err)
        self.streambus("produce", name, "--acks", "2", code=2)


class BrokerGoesAway(unittest.TestCase):
    def test_a_producer_survives_a_restart(self):
        with Broker(overrides=["storage.wal.durability=pagecache"]) as broker:
            self.assertEqual(run("topic", "create", "t", bootstrap=broker.address).returncode, 0)
            producer = subprocess.Popen([STREAMBUS, "produce", "t", "-b", broker.address, "--rate", "2000", "-q"], stdin=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
            producer.stdin.write(b"".join(b"%d\n" % i for i in range(3000)))
            producer.stdin.close()
            wait_until(lambda: b"\n100\n" in run("consume", "t", "-e", bootstrap=broker.address).stdout, "the first ones")
            broker.kill()
            broker.start()
            self.assertEqual(producer.wait(60), 0, producer.stderr.read())
            producer.stderr.close()
            back = run("consume", "t", "-e", bootstrap=broker.address).stdout.split()
            self.assertEqual(back, [b"%d" % i for i in range(3000)], "every message once, in order")

    def test_unreachable_is_6(self):
        address = f"127.0.0.1:{free_port()}"
        for arguments in (["topic", "list"], ["consume", "t"], ["produce", "t", "--timeout", "300"]):
            done = run(*arguments, "-b", address, input=b"x\n")
            self.assertEqual(done.returncode, 6, f"{arguments}: {done.err}")
            self.assertIn(address, done.err)
            self.assertIn("-b HOST:PORT", done.err)

    def test_a_consumer_gives_up_in_the_end(self):
        with Broker() as broker:
            run("topic", "create", "t", bootstrap=broker.address)
            consumer = subprocess.Popen([STREAMBUS, "consume", "t", "--retry-for", "1", "-b", broker.address], stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL)
            time.sleep(0.5)
            broker.kill()
            self.assertEqual(consumer.wait(30), 6)
            self.assertIn(broker.address, consumer.stderr.read().decode())
            consumer.stderr.close()

    def test_not_a_kafka_broker(self):
        import socket, threading
        with socket.create_server(("127.0.0.1", 0)) as server:
            def answer():
                peer, _ = server.accept()
                with peer:
                    peer.recv(1000)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    peer.recv(1000)
            thread = threading.Thread(target=answer)
            thread.start()
            done = run("topic", "list", "-b", f"127.0.0.1:{server.getsockname()[1]}")
            thread.join()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Kafka broker", done.err)


class Local(unittest.TestCase):
    def test_plugins_are_listed_and_described(self):
        plugins = {p["name"]: p for p in json.loads(run("plugin", "list", "--json").stdout)}
        self.assertEqual(plugins["storage-wal"]["kind"], "storage")
        self.assertTrue(plugins["storage-wal"]["loads"])
        self.assertIn("storage-wal", run("plugin", "list").stdout.decode())
        info = json.loads(run("plugin", "info", "storage-wal", "--json").stdout)
        self.assertIn("durability", [o["key"] for o in info["options"]])
        by_path = run("plugin", "info", BUILD / "lib/streambus/plugins/codec-zstd.so").stdout.decode()
        self.assertIn("codec-zstd", by_path)
        self.assertIn("level", by_path)
        missing = run("plugin", "info", "storage-nothing")
        self.assertEqual(missing.returncode, 2)
        self.assertIn("storage-nothing", missing.err)

    def test_refused_plugins_are_shown_with_the_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "broken.so").write_bytes(b"this is no ELF file")
            shown = run("plugin", "list", "--plugin-dir", folder)
            self.assertEqual(shown.returncode, 0)
            self.assertRegex(shown.stdout.decode(), r"refused: .*broken\.so")
            refused = [p for p in json.loads(run("plugin", "list", "--plugin-dir", folder, "--json").stdout) if not p["loads"]]
            self.assertEqual(len(refused), 1)
            self.assertIn("broken.so", refused[0]["file"])
            info = run("plugin", "info", str(pathlib.Path(folder) / "broken.so"))
            self.assertEqual(info.returncode, 2)
            self.assertIn("broken.so", info.err)

    def test_version_and_usage(self):
        self.assertRegex(run("version").stdout.decode(), r"^streambus \d+\.\d+\.\d+ \(plugin API \d+\.\d+")
        self.assertIn("version", json.loads(run("version", "--json").stdout))
        for wrong in ([], ["frobnicate"], ["topic"], ["topic", "create"], ["consume", "t", "--count", "-1"], ["topic", "list", "-b", "nonsense"],
                      ["produce", "t", "--rate", "fast"]):
            done = run(*wrong)
            self.assertEqual(done.returncode, 2, f"{wrong}: {done.err}")
            self.assertTrue(done.err, wrong)

    def test_every_command_has_help_with_examples(self):
        reference = run("--print-reference").stdout.decode()
        commands = re.findall(r"(?m)^## `(streambus.*)`$", reference)
        self.assertGreaterEqual(len(commands), 11)
        for command in commands:
            done = run(*command.split()[1:], "--help")
            self.assertEqual(done.returncode, 0, command)
            self.assertIn("Examples:", done.stdout.decode(), command)

    def test_the_reference_in_docs_is_up_to_date(self):
        printed = run("--print-reference").stdout.decode()
        self.assertEqual((ROOT / "docs/CLI.md").read_text(), printed, "run: build/release/bin/streambus --print-reference > docs/CLI.md")


if __name__ == "__main__":
    unittest.main()
