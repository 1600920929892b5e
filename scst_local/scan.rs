// SPDX-License-Identifier: GPL-2.0

//! LUNs that come and go while the host is there.
//!
//! The midlayer would find them by asking REPORT LUNS and then every LUN; here
//! the session's own list tells what has changed, so that a change costs the
//! same with 1 LUN and with 10,000, and LUNs that stay are left alone.

use crate::session::Port;
use core::cmp::Ordering;
use kernel::prelude::*;
use scst::SeenLun;

/// A LUN as it was when the midlayer was last told.
pub(crate) type Seen = SeenLun;

/// What the midlayer has to be told about a LUN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Gone,
    /// Not the LUN that it was: that one had been unmapped.
    Exchanged,
    /// The administrator has put another device below the LUN.
    Replaced,
    New,
}

/// Calls `f` for every difference between two lists in ascending order.
fn differences(old: &[Seen], new: &[Seen], mut f: impl FnMut(u16, Change)) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(was), Some(is)) => was.lun.cmp(&is.lun),
        };
        let was = old.next_if(|_| order.is_le());
        let is = new.next_if(|_| order.is_ge());
        match (was, is) {
            (Some(was), None) => f(was.lun, Change::Gone),
            (None, Some(is)) => f(is.lun, Change::New),
            (Some(was), Some(is)) if was.since != is.since => f(is.lun, Change::Exchanged),
            (Some(was), Some(is)) if was.mapping != is.mapping => f(is.lun, Change::Replaced),
            _ => {}
        }
    }
}

/// Makes the host's devices fit the session's LUNs. Run by a work item, which
/// is never run twice at a time.
pub(crate) fn run(port: &Port) {
    let now = match port.with_session(|session| session.luns()) {
        Some(Ok(now)) => now,
        Some(Err(e)) => {
            log_err!("Reading the LUNs of {}: {:?}", port.name(), e);
            return;
        }
        // Not open yet, or closing.
        None => return,
    };
    let mut known = port.luns.lock();
    // First what goes: devices that are gone must not be asked anything.
    differences(&known, &now, |lun, change| {
        if matches!(change, Change::Gone | Change::Exchanged) {
            // An error says that somebody else has removed it.
            let _ = port.host().remove_lun(lun);
        }
    });
    differences(&known, &now, |lun, change| {
        let result = match change {
            Change::New | Change::Exchanged => port.host().add_lun(lun),
            Change::Replaced => port.host().rescan_lun(lun),
            Change::Gone => Ok(()),
        };
        if let Err(e) = result {
            pr_warn!(
                "LUN {} of session {}: not made known to the host: {:?}\n",
                lun,
                port.name(),
                e
            );
        }
    });
    *known = now;
}
