#!/usr/bin/env bash
# usage: smoke.sh BIN   every mode of both clients once, shortly, against the bare server: that they work, not how fast
set -euo pipefail
bin=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
for client in rdkafka_bench streambus_bench; do
  "$(dirname "$0")/compare.py" --client "$bin/$client" --server "bare=$port=$bin/bare_server $port --crc --sync --directory $scratch" \
    --rounds 1 --warmup 0 --sizes 1000 --bytes 2000000 --ping-rounds 50 --modes produce consume ping --limits "$scratch"
done
