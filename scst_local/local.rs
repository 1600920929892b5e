// SPDX-License-Identifier: GPL-2.0

//! scst_local: the target's LUNs as disks of this machine.
//!
//! Every session of a target of this driver is a SCSI host of the local kernel,
//! `/sys/devices/scst_local/<session>/hostN`, and every LUN that the session
//! sees is a SCSI device of that host. A command of the midlayer is a command
//! of the core without anything between: its data are the initiator's own pages,
//! its memory is part of the midlayer's request, and a device that does not
//! sleep answers it before `queuecommand` returns.
//!
//! - [`target`]: the driver, its targets, and `mgmt`;
//! - [`session`]: a session with its host, and error handling;
//! - [`scan`]: LUNs that come and go;
//! - [`attrs`]: the files of this driver in `/sys/kernel/scst_tgt`;
//! - [`host`], [`protection`]: the binding to the SCSI midlayer, with all unsafe code.
//!
//! # Locks
//!
//! In the order in which they are taken; none is held while the core or the
//! midlayer is called, unless it says so.
//!
//! 1. `Driver::targets`: the list of targets.
//! 2. `Target::sessions`: a target's list of sessions.
//! 3. `Driver::names`: names of sessions, one per device.
//! 4. `Port::luns`: what the midlayer was told of LUNs; held during a scan, which
//!    only the scan's work item does, one at a time.
//! 5. `Port::link`: the way from the host to the session, for one look at it.
//! 6. `Host::live`: that a host has commands; held while they are visited.

#![deny(unsafe_code)]

/// Logs an error in SCST's wording.
macro_rules! log_err {
    ($($arg:tt)*) => {
        kernel::pr_err!("***ERROR***: {}\n", ::core::format_args!($($arg)*))
    };
}

mod attrs;
#[allow(unsafe_code)]
mod host;
#[allow(unsafe_code)]
mod protection;
mod scan;
mod session;
mod target;

use kapi::module::UnloadBarrier;
use kernel::{prelude::*, sync::Arc};

module! {
    type: ScstLocal,
    name: "scst_local",
    authors: ["The SCST in Rust authors"],
    description: "SCST target driver for disks of the local machine",
    license: "GPL",
}

kapi::param! {
    static ADD_DEFAULT_TGT: bool = true, name: "add_default_tgt", perm: 0o444,
        description: "add (default) or not on start default target scst_local_tgt with default session scst_local_host";
}

/// Name of the target that `add_default_tgt` adds, and of its session.
const DEFAULT_TARGET: &str = "scst_local_tgt";
const DEFAULT_SESSION: &str = "scst_local_host";

/// The loaded module. Dropping it removes all targets and hosts.
struct ScstLocal {
    driver: Arc<target::Driver>,
    /// Last: until then code of this module may still be running.
    _barrier: UnloadBarrier,
}

impl kernel::Module for ScstLocal {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let barrier = UnloadBarrier::new();
        // From here on `Drop` cleans up.
        let this = Self {
            driver: target::Driver::new()?,
            _barrier: barrier,
        };
        this.driver.register(module)?;
        if ADD_DEFAULT_TGT.get() {
            this.driver.add(DEFAULT_TARGET, &[DEFAULT_SESSION])?;
        }
        Ok(this)
    }
}

impl Drop for ScstLocal {
    fn drop(&mut self) {
        self.driver.shut_down();
    }
}
