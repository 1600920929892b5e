#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Compiles the crate as the kernel does and looks for the panic machinery in the object. RUSTC selects the compiler.
#
# 1. As it is: nothing of it may be undefined in the object.
# 2. With -C link-dead-code, which also emits inline functions that nobody here calls: no function of this crate may
#    refer to it. (Unused copies of core's own generics do, and are never linked.)
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

compile() { # compile NAME FLAG...
	name=$1
	shift
	${RUSTC:-rustc} --edition 2021 --crate-type lib --crate-name scst_proto --emit=obj -O -C codegen-units=1 \
		-C overflow-checks=on -C panic=abort "$@" -o "$out/$name.o" scst_proto.rs
}

machinery='panicking|_fail|unwrap_failed|expect_failed|radix_panic'

compile plain
if nm -u "$out/plain.o" | grep -E "$machinery"; then
	echo "not ok 1 - the object can panic" >&2
	exit 1
fi
echo "ok 1 - $(nm -u "$out/plain.o" | wc -l) undefined symbols, none of them a panic"

compile dead -C link-dead-code=yes
objdump -dr --no-show-raw-insn "$out/dead.o" |
	awk '/^[0-9a-f]+ <.*>:/ { f = $2 } /R_X86_64/ { print f, $NF }' |
	grep -E "$machinery" | grep -E '^<_ZN(10scst_proto|[0-9]+_\$LT\$(\$RF\$)?scst_proto)|^<_RNv[A-Za-z]*Cs[0-9A-Za-z]*_10scst_proto' >"$out/refs" || true
if [ -s "$out/refs" ]; then
	cat "$out/refs"
	echo "not ok 2 - functions above can panic" >&2
	exit 1
fi
echo "ok 2 - none of $(nm "$out/dead.o" | grep -c ' [Tt] .*scst_proto') functions refers to a panic"
