#!/usr/bin/env python3
"""Runs the same client (rdkafka_bench or streambus_bench) against several brokers, interleaved, and prints medians and ratios.

Each server is NAME=PORT=COMMAND (started and stopped by this script, all at once, fresh data is the command's affair) or
NAME=PORT= (running already). Every round visits every server in turn with a fresh topic; figures are medians over rounds, the warm-up left out.

example:
  bench/peers/compare.py --rounds 5 --sizes 100 1024 10240 \\
    --server 'wal=9092=build/release/bin/streambusd --config config/streambus.toml --set storage.wal.durability=pagecache' \\
    --server 'bare=9191=build/release/bin/bare_server 9191 --crc --directory /tmp/bare' \\
    --server 'kafka=39092=' --modes produce consume ping --baseline bare
"""
import argparse, json, os, pathlib, re, shlex, signal, socket, statistics, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIGURE = {"produce": "mb_s", "consume": "mb_s", "ping": "p50_us", "many": "acks_s"}


def wait_for_port(port, process, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process and process.poll() is not None:
            sys.exit(f"compare: the server on port {port} exited with {process.returncode} before it listened")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"compare: nothing listens on port {port} after {seconds} s")


def pid_of(port):
    out = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True).stdout
    found = re.search(r"pid=(\d+)", out)
    return int(found.group(1)) if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", required=True, metavar="NAME=PORT=COMMAND")
    parser.add_argument("--modes", nargs="+", default=["produce", "consume", "ping"], choices=FIGURE)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 1024, 10240], help="message sizes in bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1, help="rounds before those that count: recycled memory, a warm JVM")
    parser.add_argument("--bytes", type=int, default=512 << 20, help="payload bytes of one produce or consume run")
    parser.add_argument("--ping-rounds", type=int, default=3000)
    parser.add_argument("--baseline", help="the server that the others are divided by (default: the first)")
    parser.add_argument("--client", default=str(ROOT / "build/release/bin/rdkafka_bench"))
    parser.add_argument("--limits", metavar="DIRECTORY", help="also measure, every round, a loopback stream and a write() loop into a file there")
    parser.add_argument("--json", help="write every raw reading to this file, a line each")
    options = parser.parse_args()

    servers, processes, readings = {}, {}, {}
    raw = open(options.json, "a") if options.json else None
    limits = []
    try:
        for text in options.server:
            name, port, command = text.split("=", 2)
            servers[name] = int(port)
            if command:
                processes[name] = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, cwd=ROOT)
            wait_for_port(int(port), processes.get(name))
        for round_number in range(-options.warmup, options.rounds):
            if options.limits and round_number >= 0:
                command = [options.client, "--mode", "limits", "--directory", options.limits, "--bytes", str(options.bytes)]
                limits.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            names = list(servers) if round_number % 2 == 0 else list(servers)[::-1]
            for size in options.sizes:
                for mode in options.modes:
                    for name in names:
                        if name in processes and processes[name].poll() is not None:
                            sys.exit(f"compare: {name} ended with {processes[name].returncode} before its {mode} run of {size} bytes")
                        topic = f"cmp-{size}-{round_number}" if mode in ("produce", "consume") else f"cmp-{mode}-{size}"
                        command = [options.client, "-b", f"127.0.0.1:{servers[name]}", "--topic", topic, "--mode", mode, "--message-size", str(size),
                                   "--bytes", str(options.bytes), "--rounds", str(options.ping_rounds), "--pid", str(pid_of(servers[name]))]
                        result = subprocess.run(command, capture_output=True, text=True)
                        if result.returncode != 0:
                            print(f"{name} {mode} {size}: {result.stderr.strip()}", file=sys.stderr)
                            continue
                        reading = json.loads(result.stdout)
                        if round_number < 0:
                            continue
                        readings.setdefault((mode, size, name), []).append(reading)
                        if raw:
                            raw.write(json.dumps({"server": name, "round": round_number, **reading}) + "\n")
            print(f"round {round_number + 1} of {options.rounds} done" if round_number >= 0 else "warmed up", file=sys.stderr)
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
    baseline = options.baseline or next(iter(servers))
    print(f"| what | size | server | median | ratio to {baseline} | broker CPU s/GB |\n|---|---|---|---|---|---|")
    failed = False
    for limit in ("loopback_mb_s", "write_mb_s") if limits else ():
        print(f"| {limit} | | the machine | {statistics.median(reading[limit] for reading in limits):,.0f} | | |")
    for size in options.sizes:
        for mode in options.modes:
            base = [r[FIGURE[mode]] for r in readings.get((mode, size, baseline), [])]
            for name in servers:
                values = readings.get((mode, size, name), [])
                if not values:
                    failed = True
                    print(f"| {mode} | {size} | {name} | failed | | |")
                    continue
                median = statistics.median(r[FIGURE[mode]] for r in values)
                ratio = f"{median / statistics.median(base):.2f}" if base else ""
                cpu = statistics.median(r["broker_cpu_s_per_gb"] for r in values) if "broker_cpu_s_per_gb" in values[0] else None
                print(f"| {mode} ({FIGURE[mode]}) | {size} | {name} | {median:,.0f} | {ratio} | {'' if cpu is None else f'{cpu:.2f}'} |")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
