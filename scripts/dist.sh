#!/usr/bin/env bash
# Makes a tarball: programs, chosen plugins, a configuration that names just them, a systemd unit.
#   PLUGINS="storage-wal transport-tcp protocol-kafka"   which plugins (this is the default)
#   STATIC=1        linked into the programs instead of loaded
#   BUILD=DIR       a build to take the parts from (default: build/release, built when needed)
#   OUT=DIR         where the tarball goes (default: build/dist)
#   PREFIX=DIR      where the unit expects it to be unpacked (default: /opt/streambus)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
plugins=${PLUGINS:-storage-wal transport-tcp protocol-kafka}
static=${STATIC:-0}
build=${BUILD:-build/release}
out=${OUT:-build/dist}
prefix=${PREFIX:-/opt/streambus}

fail() { echo "dist: $*" >&2; exit 2; }
for plugin in $plugins; do
  [ -f "plugins/$plugin/CMakeLists.txt" ] || fail "there is no plugin '$plugin'; there are: $(cd plugins && ls -d ./*/CMakeLists.txt | cut -d/ -f2 | tr '\n' ' ')"
done
config=$(python3 scripts/dist_config.py $plugins)

[ -n "${BUILD:-}" ] || scripts/build.sh release streambusd streambus $(for p in $plugins; do echo "streambus_${p//-/_}"; done) >&2
if [ "$static" = 1 ]; then
  wanted=${plugins// /;}
  grep -qxF "STREAMBUS_DIST_PLUGINS:STRING=$wanted" "$build/CMakeCache.txt" || cmake "$build" -DSTREAMBUS_DIST_PLUGINS="$wanted" >/dev/null
  cmake --build "$build" --parallel "${JOBS:-$(nproc)}" --target streambusd-minimal streambus-minimal >&2
fi

version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$build/CMakeCache.txt")
arch=$(uname -m)
name=streambus-$version-linux-$arch
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/$name
cmake --install "$build" --prefix "$top" --component core --strip >/dev/null
if [ "$static" = 1 ]; then
  for program in streambusd streambus; do strip -o "$top/bin/$program" "$build/bin/$program-minimal"; done
else
  for plugin in $plugins; do
    cmake --install "$build" --prefix "$top" --component "$plugin" --strip >/dev/null
    [ -f "$top/lib/streambus/plugins/$plugin.so" ] || fail "'$plugin' was not built: its library is missing (scripts/setup.sh installs it)"
  done
fi

# Libraries that a bare system may lack come along, with their licences; the C and C++ runtimes are the system's.
doc=$top/share/doc/streambus
mkdir -p "$doc" "$top/lib/streambus"
needed="the C library ($(getconf GNU_LIBC_VERSION) or later)"
[ "$static" = 1 ] || needed+=" and the C++ runtime (Debian: libstdc++6)"
objects=("$top"/bin/*)
[ "$static" = 1 ] || objects+=("$top"/lib/streambus/plugins/*.so)
ldd "${objects[@]}" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | while read -r library; do
  file=$(basename "$library")
  case $file in libc.so.*|libm.so.*|libstdc++.so.*|libgcc_s.so.*|libpthread.so.*|libdl.so.*|librt.so.*|ld-linux*) continue ;; esac
  cp -L "$library" "$top/lib/streambus/$file"
  package=$(dpkg-query -S "$(readlink -f "$library")" 2>/dev/null | cut -d: -f1 | head -1 || true)
  [ -z "$package" ] || [ ! -f "/usr/share/doc/$package/copyright" ] || cp -L "/usr/share/doc/$package/copyright" "$doc/copyright.$package"
done

echo "$config" >"$top/etc/streambus/streambus.toml"
fill() {
  sed -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@ARCH@|$arch|g" -e "s|@PLUGINS@|${plugins// /, }|g" -e "s|@NEEDED@|$needed|g" \
    -e "s|@LINKAGE@|$([ "$static" = 1 ] && echo "linked into the programs" || echo "loaded from lib/streambus/plugins")|g" "$1"
}
mkdir -p "$top/lib/systemd/system"
fill deploy/streambusd.service.in >"$top/lib/systemd/system/streambusd.service"
fill deploy/README.md.in >"$doc/README.md"
cp LICENSE "$doc/LICENSE"
chmod -R u=rwX,go=rX "$top"
"$top/bin/streambusd" --config "$top/etc/streambus/streambus.toml" --check-config >&2

mkdir -p "$out"
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"
echo "$out/$name.tar.gz"
