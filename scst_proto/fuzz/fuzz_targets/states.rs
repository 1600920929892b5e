// SPDX-License-Identifier: GPL-2.0

//! Sequences: unit attentions come and go, commands move through their states and are aborted, residuals add up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::residual::Residual;
use scst_proto::sense::{Sense, SenseKey};
use scst_proto::task::{answer, effect, Cause, Effect, State};
use scst_proto::ua::{Answered, UaQueue, CAPACITY};

/// A command as a transport and a core would drive it.
struct Command {
    state: State,
    /// Aborted, and to be waited for.
    awaited: bool,
}

fuzz_target!(|data: &[u8]| {
    let mut q = UaQueue::new();
    let mut command = Command {
        state: State::Received,
        awaited: false,
    };
    for step in data.chunks_exact(3) {
        let (what, a, b) = (step[0] % 8, step[1], step[2]);
        let sense = Sense::new(SenseKey::UnitAttention, a, b);
        match what {
            0 => {
                let had = q.contains(&sense);
                let added = q.push(sense);
                assert!(!(had && added));
                assert_eq!(q.contains(&sense), had || added);
            }
            1 => {
                let first = q.first();
                assert_eq!(q.pop(), first);
            }
            2 => {
                q.unpop(sense);
            }
            3 => q.answered(if a & 1 == 0 {
                Answered::Inquiry
            } else {
                Answered::ReportLuns
            }),
            4 => {
                let next = State::ALL
                    .iter()
                    .position(|s| *s == command.state)
                    .map_or(0, |i| i + 1);
                match State::ALL.get(next) {
                    Some(state) => command.state = *state,
                    None => {
                        command = Command {
                            state: State::Received,
                            awaited: false,
                        }
                    }
                }
            }
            5 => {
                let cause = Cause::ALL[usize::from(a) % Cause::ALL.len()];
                match effect(command.state, cause) {
                    Effect::DropSilently => {
                        command = Command {
                            state: State::Received,
                            awaited: false,
                        }
                    }
                    Effect::CancelThenWait | Effect::Wait => {
                        assert_ne!(command.state, State::Done, "nothing would end the wait");
                        command.awaited = true;
                    }
                    Effect::TooLate => {
                        assert!(matches!(command.state, State::Responding | State::Done))
                    }
                }
                let _ = answer(cause, b & 1 != 0, b & 2 != 0);
            }
            _ => {
                let (cdb, transport) = (u64::from(a) << (b & 31), u64::from(b));
                let transferred = cdb.min(transport);
                match Residual::compute(Some(cdb), transport, transferred) {
                    Residual::None => assert_eq!(cdb, transport),
                    Residual::Underflow(n) => assert_eq!(cdb + u64::from(n), transport),
                    Residual::Overflow(n) => {
                        assert_eq!(u64::from(n), (cdb - transport).min(u32::MAX.into()))
                    }
                }
            }
        }
        let all: Vec<_> = q.iter().collect();
        assert!(all.len() <= CAPACITY && all.len() == q.len());
        for (i, s) in all.iter().enumerate() {
            assert!(!all[..i].contains(s));
            assert!(i == 0 || s.asc != 0x29);
        }
    }
});
