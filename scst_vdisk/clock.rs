// SPDX-License-Identifier: GPL-2.0

//! The clock of a device (SPC-6 5.3): the machine's, until SET TIMESTAMP sets another.

use crate::{commands, disk::Disk};
use kernel::sync::atomic::{Atomic, Relaxed};
use scst::{Cmd, Executing};
use scst_proto::{
    sense::TIMESTAMP_CHANGED,
    timestamp::{self, Origin},
};

/// SET TIMESTAMP has set no clock.
const NOT_SET: i64 = i64::MIN;

/// Milliseconds that the device's clock is ahead of the machine's, or [`NOT_SET`].
pub(crate) struct Clock(Atomic<i64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Atomic::new(NOT_SET))
    }

    /// Who set it, and milliseconds since 1970.
    fn now(&self) -> (Origin, u64) {
        let now = kapi::time::real_ms();
        match self.0.load(Relaxed) {
            NOT_SET => (Origin::Other, now),
            ahead => (Origin::Command, now.saturating_add_signed(ahead)),
        }
    }

    fn set(&self, milliseconds: u64) {
        let now = kapi::time::real_ms();
        // Both are far below what 63 bits hold.
        let ahead = (milliseconds as i64).wrapping_sub(now as i64);
        self.0.store(ahead, Relaxed);
    }
}

/// REPORT TIMESTAMP, SPC-6 6.38.
pub(crate) fn report(disk: &Disk, cmd: Cmd<Executing>) {
    commands::data(cmd, |_, w| {
        let (origin, milliseconds) = disk.clock.now();
        timestamp::report(w, origin, milliseconds);
        Ok(())
    });
}

/// SET TIMESTAMP, SPC-6 6.46. Other initiators are told (SPC-6 5.3).
pub(crate) fn set(disk: &Disk, cmd: Cmd<Executing>) {
    let mut list = [0; timestamp::LEN];
    let len = cmd.get(&mut list);
    match timestamp::set(list.get(..len).unwrap_or(&[])) {
        Ok(milliseconds) => {
            if let Some(milliseconds) = milliseconds {
                disk.clock.set(milliseconds);
                if let Some(nexus) = cmd.nexus() {
                    nexus.unit_attention_others(TIMESTAMP_CHANGED);
                }
            }
            cmd.good_with(len as u32);
        }
        Err(sense) => cmd.check_condition(sense),
    }
}
