#!/usr/bin/env bash
# usage: build.sh PRESET [TARGET...]   configures build/PRESET when needed and builds it
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1; shift
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1 # a checkout at another path finds the same objects
[ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >"/tmp/streambus-configure-$$.log" || { cat "/tmp/streambus-configure-$$.log"; exit 1; }
rm -f "/tmp/streambus-configure-$$.log"
cmake --build "build/$preset" --parallel "${JOBS:-$(nproc)}" ${1:+--target "$@"}
