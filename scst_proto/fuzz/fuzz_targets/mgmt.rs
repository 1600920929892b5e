// SPDX-License-Identifier: GPL-2.0

//! Any bytes written to any management file. Errors must print, and name a piece of the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::command::*;
use scst_proto::mgmt::{text, Error, Params};
use scst_proto::number::*;
use scst_proto::trace::{Level, TraceCommand};

fn check<T>(line: &str, result: Result<T, Error<'_>>) {
    if let Err(e) = result {
        assert!(
            line.contains(e.piece),
            "{:?} is no piece of {line:?}",
            e.piece
        );
        let message = e.to_string();
        assert!(!message.is_empty());
        assert!(matches!(e.errno().number(), 22 | 75));
    }
}

fuzz_target!(|data: &[u8]| {
    let [cpus, data @ ..] = data else { return };
    let Ok(line) = text(data) else { return };
    check(line, LunsCommand::parse(line));
    check(line, BlockCommand::parse(line));
    check(line, GroupsCommand::parse(line));
    check(line, MembersCommand::parse(line));
    check(line, InitiatorsCommand::parse(line));
    check(line, HandlerCommand::parse(line));
    check(line, DriverCommand::parse(line));
    check(
        line,
        TraceCommand::parse(line).map(|c| Level(c.apply(0x55aa)).to_string()),
    );
    check(line, parse_bool(line));
    check(line, parse_i64(line));
    let mut mask = [0u64; 4];
    check(line, parse_cpu_mask(line, usize::from(*cpus), &mut mask));
    let set: u32 = mask.iter().map(|w| w.count_ones()).sum();
    assert!(set <= u32::from(*cpus));
    let _ = Hctl::parse(line);
    for param in Params::new(line) {
        match param {
            Ok(p) => assert!(!p.name.is_empty() && line.contains(p.name) && line.contains(p.value)),
            Err(e) => check::<()>(line, Err(e)),
        }
    }
});
