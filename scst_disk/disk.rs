// SPDX-License-Identifier: GPL-2.0

//! Pass-through: SCSI disks of this machine as devices of the target.
//!
//! `dev_disk` sends each command to the disk as it is, and its answer to the initiator. `dev_disk_perf` does that with all
//! but READ and WRITE, which it answers itself without moving anything: for measuring everything else.
//!
//! A device is called by the disk's address, `HOST:CHANNEL:ID:LUN`. What an initiator is told of the disk (its identity, its
//! size, its caches) the disk says itself; of target port groups, LUNs and task management the core does. To the disk all
//! initiators are one, this machine, so reservations are the core's too.
//!
//! | file | what |
//! |---|---|
//! | `disk.rs` | the module, its two handlers |
//! | `copies.rs` | a disk as the copy manager has it |
//! | `scsi.rs` | the kernel's SCSI devices: all `unsafe` code |

#![deny(unsafe_code)]

mod copies;
#[allow(unsafe_code)]
mod scsi;

use kapi::{global::Global, module::UnloadBarrier, work::WorkQueue};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use scsi::{Device, Outcome};
use scst::{
    status, AttachContext, Attached, Cmd, Context, DeviceHandler, Direction, Executing,
    HandlerRegistration, LogicalUnit,
};
use scst_proto::{
    cdb::Cdb,
    mgmt::{Address, Params},
    sense::{INVALID_FIELD_IN_CDB, LOGICAL_UNIT_COMMUNICATION_FAILURE},
};

module! {
    type: PassThrough,
    name: "scst_disk",
    authors: ["The SCST in Rust authors"],
    description: "SCSI disk (type 0) pass-through dev handler for SCST",
    license: "GPL",
}

/// How long a disk may take for a command.
const TIMEOUT_MS: u32 = 60_000;
/// How long it may take for a command that does much (FORMAT UNIT, SANITIZE and their like).
const LONG_TIMEOUT_MS: u32 = 14 * 60 * 60 * 1000;

/// Operation codes, SPC-6 and SBC-4.
mod opcode {
    pub(super) const FORMAT_UNIT: u8 = 0x04;
    pub(super) const INQUIRY: u8 = 0x12;
    pub(super) const RESERVE_6: u8 = 0x16;
    pub(super) const RELEASE_6: u8 = 0x17;
    pub(super) const START_STOP_UNIT: u8 = 0x1b;
    pub(super) const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub(super) const WRITE_SAME_10: u8 = 0x41;
    pub(super) const UNMAP: u8 = 0x42;
    pub(super) const RESERVE_10: u8 = 0x56;
    pub(super) const RELEASE_10: u8 = 0x57;
    pub(super) const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub(super) const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
    pub(super) const COPY_OUT: u8 = 0x83;
    pub(super) const COPY_IN: u8 = 0x84;
    pub(super) const WRITE_SAME_16: u8 = 0x93;
    pub(super) const MAINTENANCE_IN: u8 = 0xa3;
    /// Service action REPORT TARGET PORT GROUPS.
    pub(super) const TARGET_PORT_GROUPS: u16 = 0x0a;
}

/// For what a disk's answer leads to that may sleep. No command keeps it: the last to let go of it
/// waits for its work.
static LATE: Global<WorkQueue> = Global::new();

/// Takes [`LATE`] away.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        drop(LATE.take());
    }
}

struct PassThrough {
    _handlers: KVec<HandlerRegistration>,
    _late: Late,
    /// Last, as it waits for what the others left under way.
    _barrier: UnloadBarrier,
}

impl kernel::Module for PassThrough {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let barrier = UnloadBarrier::new();
        LATE.set(Arc::new(WorkQueue::for_io(c"scst_disk")?, GFP_KERNEL)?)?;
        let late = Late;
        let mut handlers = KVec::with_capacity(2, GFP_KERNEL)?;
        for perf in [false, true] {
            let handler = Arc::new(Disks { perf }, GFP_KERNEL)?;
            handlers.push(scst::register_handler(handler, module)?, GFP_KERNEL)?;
        }
        Ok(Self {
            _handlers: handlers,
            _late: late,
            _barrier: barrier,
        })
    }
}

/// A handler.
struct Disks {
    /// READ and WRITE move nothing.
    perf: bool,
}

macro_rules! log_err {
    ($($arg:tt)*) => {
        kernel::pr_err!("***ERROR***: {}\n", core::format_args!($($arg)*))
    };
}

impl DeviceHandler for Disks {
    fn name(&self) -> &'static CStr {
        match self.perf {
            true => c"dev_disk_perf",
            false => c"dev_disk",
        }
    }

    fn device_type(&self) -> u8 {
        0
    }

    fn params(&self) -> &'static [&'static str] {
        &[]
    }

    fn auto_cm_assignment(&self) -> bool {
        false
    }

    fn attach(&self, name: &str, mut params: Params<'_>, _ctx: AttachContext) -> Result<Attached> {
        if params.next().is_some() {
            log_err!(
                "Device {}: a disk of this machine takes no parameters",
                name
            );
            return Err(EINVAL);
        }
        let Some(at) = Address::parse(name) else {
            log_err!("Device {}: HOST:CHANNEL:ID:LUN expected", name);
            return Err(EINVAL);
        };
        let device = Device::find(at.host, at.channel, at.id, at.lun).map_err(|_| {
            log_err!("Device {} not found", name);
            EINVAL
        })?;
        if device.device_type() != i32::from(self.device_type()) {
            log_err!(
                "Device {} is of type {}, not a disk",
                name,
                device.device_type()
            );
            return Err(EINVAL);
        }
        let (blocks, shift) = copies::capacity(&device).inspect_err(|_| {
            log_err!("Device {} does not tell its block size", name);
        })?;
        let disk = Disk {
            copies: copies::has_copies(&device),
            device,
            shift,
            blocks: Atomic::new(blocks),
            perf: self.perf,
        };
        Ok(Attached {
            device: Arc::new(disk, GFP_KERNEL)?,
            attrs: KVec::new(),
            numa_node: -1,
        })
    }
}

struct Disk {
    device: Device,
    shift: u32,
    /// Its capacity when it was last asked.
    blocks: Atomic<u64>,
    /// It carries out third-party copies itself.
    copies: bool,
    perf: bool,
}

impl LogicalUnit for Disk {
    fn context(&self, cdb: &Cdb) -> Context {
        match self.perf && is_transfer(cdb.op.opcode) {
            true => Context::Inline,
            false => Context::Thread,
        }
    }

    fn execute(&self, cmd: Cmd<Executing>) {
        let cdb = *cmd.cdb();
        if self.perf && is_transfer(cdb.op.opcode) {
            let length = cmd.length();
            // It may be memory that held something else before.
            if let (Direction::In, Some(data)) = (cmd.direction(), cmd.data()) {
                data.zero(0, length as usize);
            }
            return cmd.good_with(length);
        }
        let grouped = || cmd.nexus().is_some_and(|n| n.has_target_port_groups());
        let rtpg = (opcode::MAINTENANCE_IN, opcode::TARGET_PORT_GROUPS);
        if (cdb.op.opcode, cdb.service_action) == rtpg && grouped() {
            return cmd.report_target_port_groups();
        }
        use opcode::*;
        match cdb.op.opcode {
            PERSISTENT_RESERVE_IN => cmd.persistent_reserve_in(),
            PERSISTENT_RESERVE_OUT => cmd.persistent_reserve_out(),
            RESERVE_6 | RESERVE_10 => cmd.reserve_unit(),
            RELEASE_6 | RELEASE_10 => cmd.release_unit(),
            INQUIRY | COPY_OUT | COPY_IN if !self.copies && cmd.may_be_copied() => self.copy(cmd),
            _ => self.send(cmd),
        }
    }

    fn is_designated(&self, code_set: u8, kind: u8, designator: &[u8]) -> bool {
        !self.perf && self.designates(code_set, kind, designator)
    }

    fn capacity(&self) -> u64 {
        self.blocks.load(Relaxed)
    }

    fn cscd(&self) -> [u8; 32] {
        self.descriptor()
    }

    fn largest_transfer(&self) -> u32 {
        self.device.largest_transfer()
    }

    fn block_shift(&self) -> u32 {
        self.shift
    }

    fn read_only(&self) -> bool {
        false
    }

    fn sleeps(&self) -> bool {
        true
    }
}

/// READ and WRITE (6), (10), (12) and (16).
fn is_transfer(opcode: u8) -> bool {
    matches!(
        opcode,
        0x08 | 0x0a | 0x28 | 0x2a | 0x88 | 0x8a | 0xa8 | 0xaa
    )
}

fn timeout(opcode: u8) -> u32 {
    use opcode::*;
    match opcode {
        FORMAT_UNIT | START_STOP_UNIT | SYNCHRONIZE_CACHE_10 | WRITE_SAME_10 | WRITE_SAME_16
        | UNMAP => LONG_TIMEOUT_MS,
        _ => TIMEOUT_MS,
    }
}

impl Disk {
    fn send(&self, cmd: Cmd<Executing>) {
        let limit = timeout(cmd.cdb().op.opcode);
        match self.device.send(cmd, limit, answer) {
            Ok(()) => {}
            // More than the disk takes at a time.
            Err((cmd, EINVAL)) => cmd.check_condition(INVALID_FIELD_IN_CDB),
            Err((cmd, _)) => cmd.status(status::BUSY),
        }
    }
}

/// The disk has answered. Any context.
fn answer(cmd: Cmd<Executing>, outcome: Outcome) {
    match outcome {
        Outcome::Status(status::GOOD, residual) => {
            let moved = match cmd.direction() {
                Direction::None => 0,
                _ => cmd.length().saturating_sub(residual),
            };
            cmd.good_with(moved);
        }
        Outcome::Status(status, _) => cmd.status(status),
        Outcome::Sense(sense) if sense.is_unit_attention() => {
            // The disk told one initiator, this machine; all of ours have to know.
            let tell = move || {
                if let Some(nexus) = cmd.nexus() {
                    nexus.unit_attention_others(sense);
                }
                cmd.check_condition(sense);
            };
            // Without memory the command is dropped, and so answered.
            let _ = LATE.get().map(|late| late.queue_atomic(tell));
        }
        Outcome::Sense(sense) => cmd.check_condition(sense),
        Outcome::Lost => cmd.check_condition(LOGICAL_UNIT_COMMUNICATION_FAILURE),
    }
}
