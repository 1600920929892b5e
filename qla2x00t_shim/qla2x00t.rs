// SPDX-License-Identifier: GPL-2.0

//! qla2x00tgt: Fibre Channel, by the target mode of the stock qla2xxx driver.
//!
//! Each port of an adapter that qla2xxx has is a target, called by its WWPN. What
//! qla2xxx calls a session (a port that is logged in) is a session of the core,
//! called by the initiator's WWPN.
//!
//! - [`driver`]: the driver, and adapters that come and go;
//! - [`port`]: a target port, its state, and who is logged in;
//! - [`session`]: a session, its commands, task management;
//! - [`npiv`]: targets on virtual ports;
//! - [`attrs`]: the files of this driver in `/sys/kernel/scst_tgt`;
//! - [`qla`]: the binding to qla2xxx, with all unsafe code.
//!
//! # Locks
//!
//! In the order in which they are taken; qla2xxx calls with locks of its own
//! held, which come before 4 and 5. None is held while the core or qla2xxx is
//! called, unless it says so.
//!
//! 1. `Port::changes`, of the adapter's own port: one change of its state and that
//!    of the virtual ports on it at a time; qla2xxx is called under it.
//! 2. `Driver::ports`: the list of ports.
//! 3. `Driver::registration`, `Port::target`, `Port::host`, `Virtual::on`: for one
//!    access each.
//! 4. `Port::seats`: who is logged in; a spinlock, interrupts off.
//! 5. The free requests of a `Pool`: a spinlock, interrupts off.

#![deny(unsafe_code)]

/// Logs an error in SCST's wording.
macro_rules! log_err {
    ($($arg:tt)*) => {
        kernel::pr_err!("***ERROR***: {}\n", ::core::format_args!($($arg)*))
    };
}

mod attrs;
mod driver;
mod npiv;
mod port;
#[allow(unsafe_code)]
mod qla;
mod session;

use driver::Driver;
use kapi::{global::Global, module::UnloadBarrier};
use kernel::{prelude::*, sync::Arc};

module! {
    type: Qla2x00t,
    name: "qla2x00tgt",
    authors: ["The SCST in Rust authors"],
    description: "SCST target driver for QLogic Fibre Channel adapters, on the stock qla2xxx driver",
    license: "GPL",
}

static DRIVER: Global<Driver> = Global::new();

/// The loaded module. Dropping it disables and removes all targets.
struct Qla2x00t {
    /// First: no adapter comes or goes any more.
    watch: Option<qla::Watch>,
    driver: Arc<Driver>,
    /// Last: until then code of this module may still be running.
    _barrier: UnloadBarrier,
}

impl kernel::Module for Qla2x00t {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let barrier = UnloadBarrier::new();
        let driver = Driver::new()?;
        DRIVER.set(driver.clone())?;
        // From here on `Drop` cleans up.
        let mut this = Self {
            watch: None,
            driver,
            _barrier: barrier,
        };
        this.driver.register(module)?;
        this.watch = Some(qla::Watch::new(this.driver.queue())?);
        Ok(this)
    }
}

impl Drop for Qla2x00t {
    fn drop(&mut self) {
        self.watch = None;
        self.driver.shut_down();
        drop(DRIVER.take());
    }
}
