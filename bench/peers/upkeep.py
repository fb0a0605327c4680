#!/usr/bin/env python3
"""What compaction and retention cost a producer: latencies at half of its full rate, without them and while they run all the time.

Each round starts a broker with fresh data for every case, in turn; figures are medians over rounds. `deleted`: nothing but the log;
`retained`: old segments are removed all the time; `compacted`: records with keys, compacted as soon as a segment is full.

example:
  bench/peers/upkeep.py --rounds 5 --seconds 30 --durability fsync-batch
"""
import argparse, json, pathlib, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CASES = {
    "deleted": {},
    "keyed": {"keys": True},
    "retained": {"settings": '"retention.bytes" = "128MiB"'},
    "compacted": {"keys": True, "settings": '"cleanup.policy" = "compact"\n"min.cleanable.dirty.ratio" = 0.2'},
}
FIGURES = ["p50_us", "p99_us", "p999_us", "max_us", "mb_s"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    def __init__(self, options, case):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="upkeep-", dir=options.directory))
        self.port = free_port()
        config = self.directory / "broker.toml"
        config.write_text(f"""
[broker]
data_dir = "{self.directory}/data"
retention_check_interval = "1s"
compaction_check_interval = "1s"
compaction_rate = "{options.compaction_rate}"
[log]
level = "debug"
[listener.main]
address = "127.0.0.1:{self.port}"
[storage.main]
plugin = "{options.storage}"
{f'durability = "{options.durability}"' if options.durability else ''}
[codec.lz4]
plugin = "codec-lz4"
[[topic]]
name = "bench"
"segment.bytes" = "64MiB"
{case.get("settings", "")}
""")
        self.log = open(self.directory / "log", "w+b")
        self.process = subprocess.Popen([options.broker, "--config", config], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while b"\nready " not in (self.directory / "log").read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"upkeep: the broker does not start: {(self.directory / 'log').read_text()}")
            time.sleep(0.05)

    def client(self, options, *arguments):
        done = subprocess.run([options.client, "-b", f"127.0.0.1:{self.port}", "--topic", "bench", *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"upkeep: {done.stderr}")
        return json.loads(done.stdout)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        text = (self.directory / "log").read_text(errors="replace")
        shutil.rmtree(self.directory)
        return len(re.findall(r"compacted in \d+ passes", text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20, help="of a case in a round")
    parser.add_argument("--size", type=int, default=1024, help="message size in bytes")
    parser.add_argument("--keys", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=0, help="MB/s; 0: half of what a producer reaches")
    parser.add_argument("--storage", default="storage-wal")
    parser.add_argument("--durability", default="fsync-batch", help="empty: the storage has no such option")
    parser.add_argument("--compaction-rate", default="64MiB")
    parser.add_argument("--directory", default=None, help="where the data is kept (default: the system's temporary folder)")
    parser.add_argument("--broker", default=str(ROOT / "build/release/bin/streambusd"))
    parser.add_argument("--client", default=str(ROOT / "build/release/bin/streambus_bench"))
    options = parser.parse_args()

    rate = options.rate
    if rate == 0:
        broker = Broker(options, CASES["deleted"])
        full = [broker.client(options, "--mode", "produce", "--message-size", options.size, "--bytes", 512 << 20)["mb_s"] for _ in range(3)]
        broker.stop()
        rate = statistics.median(full) / 2
        print(f"full rate {statistics.median(full):.0f} MB/s; every case at {rate:.0f} MB/s")
    readings = {name: [] for name in CASES}
    runs = {name: 0 for name in CASES}
    for _ in range(options.rounds):
        for name, case in CASES.items():
            broker = Broker(options, case)
            more = ["--keys", options.keys] if case.get("keys") else []
            readings[name].append(broker.client(options, "--mode", "steady", "--message-size", options.size, "--rate", rate, "--seconds", options.seconds, *more))
            runs[name] += broker.stop()
    print(f"{'case':12}" + "".join(f"{figure:>12}" for figure in FIGURES) + f"{'compactions':>13}")
    for name, rows in readings.items():
        print(f"{name:12}" + "".join(f"{statistics.median(row[figure] for row in rows):12.0f}" for figure in FIGURES) + f"{runs[name]:13}")
    p99 = lambda name: statistics.median(row["p99_us"] for row in readings[name])  # noqa: E731
    print(f"p99 of produce: retention x{p99('retained') / p99('deleted'):.2f}, compaction x{p99('compacted') / p99('keyed'):.2f}")


if __name__ == "__main__":
    main()
