#!/usr/bin/env bash
# Installs the Debian packages that building, testing and measuring need. Does nothing when all are there.
set -euo pipefail

build_packages=(
  cmake ninja-build make g++ git pkg-config ccache python3
  libboost1.81-dev libtomlplusplus-dev libfmt-dev libspdlog-dev libisal-dev liblz4-dev libzstd-dev libxxhash-dev libcli11-dev nlohmann-json3-dev
)
test_packages=(
  clang-19 clang-tidy-19 clang-format-19 libclang-rt-19-dev llvm-19
  libgtest-dev libgmock-dev libbenchmark-dev libsqlite3-dev libbrotli-dev librdkafka-dev kcat lz4 zstd strace abigail-tools binutils
)

missing=()
for package in "${build_packages[@]}" "${test_packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: these packages are missing: ${missing[*]}; install them as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
