// SPDX-License-Identifier: GPL-2.0

//! `scst.ko`: the SCSI target core.
//!
//! The core knows no transport and no backing store. It has target ports,
//! sessions, access-control groups, LUN maps, the command pipeline, task
//! management, and the sysfs tree at `/sys/kernel/scst_tgt`. Transports are
//! [`TargetDriver`]s, backing stores are [`DeviceHandler`]s.
//!
//! # Locks
//!
//! In the order in which they may be taken:
//!
//! 0. `Core::thread_changes`, `Core::alua_changes`, `changes` of a device's
//!    [`reservations::Reservations`] and `enabling` of a target, mutexes: one change
//!    of a device's threads, one of ALUA states, one of a device's reservations and
//!    one of a target's `enabled` at a time. None under another; media are opened and closed under the second, files written
//!    under the third, sessions ended under the fourth.
//! 1. `Core::config`, a mutex: what is registered, and who may change the tree.
//!    Nothing is waited for under it but memory and sysfs `show` functions:
//!    what has to drain is taken out ([`session::Removed`]) and drained after.
//!    Then the threads of a [`threads::ThreadPool`], a mutex: which CPUs they run on is
//!    their session's and its group's to say.
//! 2. `State` of a [`target::Target`], a [`group::Group`], a
//!    [`session::Session`], a [`drivers::Driver`], a
//!    [`device_group::DeviceGroup`], a [`reservations::Reservations`]; `Dirs`,
//!    `ThreadConfig` and the group of a [`device::Device`]; the copies of
//!    [`copy_jobs::Jobs`], [`copy_tokens::Tokens`]: mutexes, for one access each.
//! 3. The listeners of [`events::Events`], then one's own state: spinlocks with
//!    interrupts off. The queue of a [`threads::ThreadPool`], the unit attentions of a
//!    [`nexus::Nexus`], a [`task_sets::TaskSet`], the commands of
//!    [`copy_io::Initiator`]; the tokens of a [`copy_tokens::Watch`]: likewise, for a
//!    few instructions.
//!
//! The data path takes none of them for a handler that does not sleep. It finds
//! the nexus in a map under RCU and counts its use per CPU. Commands whose task
//! attribute is not SIMPLE take that of their task set, and so do others beside them.
//!
//! `show` functions of attributes take only locks of 2 and 3, so directories
//! may be removed (which waits for them) under 1; `store` functions may take
//! all, as removing a directory does not wait for them.

#![deny(unsafe_code)]

mod alua;
mod attrs_device;
mod attrs_device_group;
mod attrs_group;
mod attrs_reservations;
mod attrs_root;
mod attrs_session;
mod attrs_target;
mod block;
mod cmd;
mod config;
mod copy;
mod copy_io;
mod copy_jobs;
mod copy_manager;
mod copy_odx;
mod copy_tokens;
mod device;
mod device_group;
mod device_groups;
mod driver;
mod drivers;
mod events;
mod globals;
mod group;
mod handler;
mod handlers;
mod latency;
mod lun_map;
mod nexus;
mod pipeline;
mod protection;
mod report_luns;
mod reservations;
mod reserve;
mod session;
mod stats;
mod target;
mod target_luns;
mod task;
mod task_sets;
mod threads;
mod tmf;
mod util;

pub use cmd::{
    status, Answered, Cmd, Command, Data, DataOut, Direction, Executing, Incoming, Outstanding,
    Received, Residual, Slot, Task, TaskAttribute, Vacant, MAX_CDB,
};
pub use device::DeviceHandle;
pub use driver::{LunEvent, TargetDriver, TargetParams, Transport};
pub use drivers::{register_driver, DriverRegistration, SessionRegistration, TargetRegistration};
pub use handler::{AttachContext, Attached, Context, DeviceHandler, LogicalUnit};
pub use handlers::{register_handler, HandlerRegistration};
pub use nexus::{Nexus, SeenLun};
pub use protection::{Held, InTransfer, Protection, Stage};
pub use session::Session;
pub use target::Target;
pub use tmf::TmResult;

use kapi::chardev::CharDeviceNode;
use kernel::prelude::*;

module! {
    type: Scst,
    name: "scst",
    authors: ["The SCST-rs developers"],
    description: "SCSI target core",
    license: "GPL",
}

kapi::param! {
    /// 0 gives one thread a CPU.
    static SCST_THREADS: u32 = 0, name: "scst_threads", perm: 0o444, range: 0..=256,
        description: "Number of global SCSI target threads (0, the default: one for each CPU)";
    static MAX_CMD_MEM: u32 = 0, name: "scst_max_cmd_mem", perm: 0o444, range: 0..=1048576,
        description: "Most memory in MB that the commands of all devices may hold (0, the default: a quarter of RAM)";
    static MAX_DEV_CMD_MEM: u32 = 0, name: "scst_max_dev_cmd_mem", perm: 0o444, range: 0..=1048576,
        description: "Most memory in MB that the commands of one device may hold (0, the default: 2/5 of scst_max_cmd_mem)";
    static FORCIBLY_CLOSE: bool = false, name: "forcibly_close_sessions", perm: 0o644,
        description: "Deleting a group that has sessions moves them to another instead of failing with EBUSY (default: N)";
    static AUTO_CM: bool = true, name: "auto_cm_assignment", perm: 0o644,
        description: "New devices become LUNs of the copy manager's target (default: Y)";
    static ASYNC_LUN_REPLACE: bool = false, name: "async_lun_replace", perm: 0o644,
        description: "Replacing a LUN does not wait for the commands of the old device (default: N)";
    static ALUA_INVARIANT_CHECK: bool = false, name: "alua_invariant_check", perm: 0o644,
        description: "After each change of a device group, compare what every LUN of every initiator lets through with what the groups say, and log differences (default: N)";
}

struct Scst {
    _events: CharDeviceNode<events::Listener>,
    _barrier: kapi::module::UnloadBarrier,
}

impl kernel::Module for Scst {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let barrier = kapi::module::UnloadBarrier::new();
        let threads = match SCST_THREADS.get() {
            0 => kapi::system::online_cpus(),
            n => n,
        };
        let memory = match MAX_CMD_MEM.get() {
            0 => u32::try_from(kapi::system::memory_mb() / 4).unwrap_or(u32::MAX),
            mb => mb,
        };
        let per_device = match MAX_DEV_CMD_MEM.get() {
            0 => memory / 5 * 2,
            mb => mb,
        };
        // What users read is what is in force.
        SCST_THREADS.set(threads);
        MAX_CMD_MEM.set(memory);
        MAX_DEV_CMD_MEM.set(per_device);
        let switches = globals::Switches {
            forcibly_close: || FORCIBLY_CLOSE.get(),
            auto_cm: || AUTO_CM.get(),
        };
        let limits = globals::Memory {
            all_mb: memory,
            device_mb: per_device,
        };
        let globals = globals::Globals::new(threads, limits, switches)?;
        globals.set_async_lun_replace(ASYNC_LUN_REPLACE.get());
        config::start(globals)?;
        pr_info!(
            "SCST loaded successfully (max mem for commands {} MB)\n",
            memory
        );
        pr_info!("SCST version: {}\n", attrs_root::SCST_VERSION);
        let copy_manager = config::start_copy_manager(module);
        let events = copy_manager.and_then(|()| CharDeviceNode::new(c"scst_event", module));
        let events = events.inspect_err(|_| config::stop())?;
        Ok(Self {
            _events: events,
            _barrier: barrier,
        })
    }
}

impl Drop for Scst {
    fn drop(&mut self) {
        config::stop();
    }
}
