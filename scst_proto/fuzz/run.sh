#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Fuzzes every target for a while, on stable Rust, without cargo-fuzz.
# usage: fuzz/run.sh SECONDS [TARGET...]
#
# cargo-fuzz only adds these flags; they are stable. Needs cargo and a C++ compiler (libFuzzer comes as source).
# Ends with an error if any target fails; what made it fail is in fuzz/artifacts/TARGET.
set -eu
cd "$(dirname "$0")"
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
[ $# -gt 0 ] || set -- cdb mgmt glob mode_select lun options states srp_iu srp_table srp_login srp_dm alua copy_list protection

host=$(rustc -vV | sed -n 's/^host: //p')
# With --target the flags are for the targets only, not for build scripts.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Ccodegen-units=1 --cfg fuzzing" \
	cargo build --release --locked --target "$host"

for target; do
	mkdir -p "corpus/$target" "artifacts/$target"
	seeds=
	[ -d "seeds/$target" ] && seeds="seeds/$target"
	dict=
	[ -f "seeds/$target.dict" ] && dict="-dict=seeds/$target.dict"
	"${CARGO_TARGET_DIR:-target}/$host/release/$target" -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="artifacts/$target/" $dict "corpus/$target" $seeds 2>"artifacts/$target/log" || {
		tail -40 "artifacts/$target/log"
		echo "not ok - $target" >&2
		exit 1
	}
	echo "ok - $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "artifacts/$target/log") executions"
done
