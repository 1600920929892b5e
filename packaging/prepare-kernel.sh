#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prepare a kernel tree that Rust modules can be built against, from Debian's own packages. The headers package has no
# Rust metadata; the source package of the same version yields them, and they match the running kernel as long as the
# compiler is the one that built it.
#
#   prepare-kernel.sh RELEASE DIR      for instance 7.2.12+deb13-amd64 /var/cache/scst/7.2.12+deb13-amd64
#
# Needs linux-headers-RELEASE, linux-source-SERIES, and the toolchain that README.md lists.
set -eu

release=$1
dir=$2
version=${release%%+*}
series=${version%.*}
headers=/usr/src/linux-headers-$release
source=/usr/src/linux-source-$series.tar.xz

fail() {
	echo "prepare-kernel: $*" >&2
	exit 1
}

[ -f "$dir/.prepared" ] && exit 0
[ -f "$headers/.config" ] || fail "no $headers/.config: apt-get install linux-headers-$release"
[ -f "$source" ] || fail "no $source: apt-get install linux-source-$series"
grep -q '^CONFIG_RUST=y' "$headers/.config" || fail "the kernel $release has no Rust support"

wanted=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="rustc \([0-9.]*\).*/\1/p' "$headers/.config")
found=$(rustc --version 2>/dev/null | cut -d' ' -f2)
[ "$found" = "$wanted" ] || fail "this kernel was built by rustc $wanted, here is ${found:-none}: Rust symbols would not match"

cc=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ ]*\) .*/\1/p' "$headers/.config")
libclang=$(find /usr/lib/llvm-*/lib -name 'libclang.so*' 2>/dev/null | sort -V | tail -n 1)
[ -n "$libclang" ] || fail "no libclang: apt-get install libclang-19-dev"

mkdir -p "$dir"
find "$dir" -mindepth 1 -delete
tar -x -f "$source" -C "$dir" --strip-components=1
unpacked=$(make -s -C "$dir" kernelversion)
[ "$unpacked" = "$version" ] ||
	fail "linux-source-$series is $unpacked, the kernel is $version: install the source package of the same version"
cp "$headers/.config" "$headers/Module.symvers" "$dir/"
for target in olddefconfig modules_prepare; do
	make -C "$dir" -j"$(nproc)" LOCALVERSION="${release#"$version"}" CC="$cc" HOSTCC="${cc##*gnu-}" LIBCLANG_PATH="${libclang%/*}" $target
done
[ "$(cat "$dir/include/config/kernel.release")" = "$release" ] || fail "the prepared tree is not $release"
grep -q '^CONFIG_RUST=y' "$dir/.config" || fail "the toolchain does not fit: CONFIG_RUST went off"
echo "make -C $dir LOCALVERSION=${release#"$version"} CC=$cc" > "$dir/.prepared"
