// SPDX-License-Identifier: GPL-2.0

//! What a device handler (a backing store) is to the core.

use crate::{
    cmd::{Cmd, Executing},
    protection::Protection,
};
use kapi::sysfs::Group;
use kernel::{prelude::*, sync::Arc};
use scst_proto::{cdb::Cdb, mgmt::Params, mode::Control};

/// A kind of virtual device: one directory below `handlers/`. Methods run in
/// process context and may sleep.
pub trait DeviceHandler: Send + Sync + 'static {
    /// Name of the directory below `handlers/`, such as `vdisk_nullio`.
    fn name(&self) -> &'static CStr;

    /// Peripheral device type, SPC-6 6.7.2.
    fn device_type(&self) -> u8;

    /// Parameters of `add_device`, as its help lists them.
    fn params(&self) -> &'static [&'static str];

    /// Whether a new device becomes a LUN of the copy manager by itself, if
    /// `auto_cm_assignment` is on.
    fn auto_cm_assignment(&self) -> bool {
        true
    }

    /// Makes the device `name` of `params`, which the core has not looked at.
    /// `name` is valid and not taken. Errors are the errno of the write, after
    /// a log line that says what is wrong.
    fn attach(&self, name: &str, params: Params<'_>, ctx: AttachContext) -> Result<Attached>;
}

/// What the core tells a handler about the device to be.
#[derive(Clone, Copy)]
pub struct AttachContext {
    /// `setup_id` of the installation, part of default identities.
    pub setup_id: u32,
}

/// What a handler made.
pub struct Attached {
    /// The device.
    pub device: Arc<dyn LogicalUnit>,
    /// Its attributes, beside the core's own, in the device's directory.
    pub attrs: KVec<Group>,
    /// `numa_node_id` given by the administrator, or -1.
    pub numa_node: i32,
}

/// Where a command may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// It does not sleep: right here, in whatever context it arrived.
    Inline,
    /// It may sleep: in a thread of the device's pool.
    Thread,
}

/// A logical unit (SAM-6 4.6.14) as its handler sees it.
pub trait LogicalUnit: Send + Sync + 'static {
    /// Where `cdb` has to run. Any context.
    fn context(&self, cdb: &Cdb) -> Context;

    /// Executes the command and, now or later, in whatever context, completes
    /// it. Data-out is in the command's buffer; data-in goes there.
    /// May sleep only if [`LogicalUnit::context`] said [`Context::Thread`].
    fn execute(&self, cmd: Cmd<Executing>);

    /// Whether the data of `cdb` are nothing but zeros when they are read, and
    /// not looked at when they are written, so that the command needs no buffer
    /// ([`Data::Void`](crate::Data::Void)). Any context.
    fn void(&self, _cdb: &Cdb) -> bool {
        false
    }

    /// log2 of the logical block length in bytes (512: 9). Any context.
    fn block_shift(&self) -> u32;

    /// Whether writes are refused (DATA PROTECT, WRITE PROTECTED). Any context.
    fn read_only(&self) -> bool;

    /// Whether any command is executed in a thread; a device that says `false`
    /// gets no threads. Constant.
    fn sleeps(&self) -> bool;

    /// How its blocks are protected, if they are. Constant; `cdb` then transfers
    /// their protection information too if its protect field is not 0.
    fn protection(&self) -> Option<Protection> {
        None
    }

    /// D_SENSE of the control mode page (SPC-6 7.5.10): sense data in
    /// descriptor format. Any context.
    fn descriptor_sense(&self) -> bool {
        false
    }

    /// Whether a designator of the logical unit in VPD page 83h (SPC-6 7.7.6) is this
    /// one. Copies find their devices by it. Process context, may sleep.
    fn is_designated(&self, _code_set: u8, _kind: u8, _designator: &[u8]) -> bool {
        false
    }

    /// Number of logical blocks now; 0 where that is not known. Any context.
    fn capacity(&self) -> u64 {
        0
    }

    /// An Identification Descriptor CSCD descriptor (SPC-6 6.5.6.5) that
    /// [`LogicalUnit::is_designated`] knows. Process context, may sleep.
    fn cscd(&self) -> [u8; 32] {
        [0; 32]
    }

    /// Most bytes of a READ or WRITE of the copy manager, at least a block. Any context.
    fn largest_transfer(&self) -> u32 {
        u32::MAX
    }

    /// The Control mode page (SPC-6 7.5.10), which says how the core manages the
    /// task sets; TST does not change. Any context.
    fn control(&self) -> Control {
        const OWN_TASK_SET: u8 = 1;

        Control::new(OWN_TASK_SET)
    }

    /// Whether commands with NACA are executed as others, and the core keeps the ACA
    /// condition (SAM-6 5.8). Constant.
    fn has_aca(&self) -> bool {
        false
    }

    /// A logical unit reset (SAM-6 6.3.3): mode pages become what was saved. Process context,
    /// may sleep.
    fn reset(&self) {}

    /// Number of pool threads a new device has (`threads_num`).
    fn default_threads(&self) -> u32 {
        1
    }

    /// Gives the core's handle of the device once it is published, for unit
    /// attentions ([`crate::DeviceHandle::unit_attention`]).
    fn published(&self, _device: crate::DeviceHandle) {}

    /// The ports of this machine that the device is seen through are going to
    /// serve I/O (`true`), or do not any more (`false`): their ALUA states
    /// change. Only when all of them had ceased, or all of them cease. Commands
    /// that came before the change may still be under way. Process context, may
    /// sleep; the configuration's lock is not held.
    fn access_changed(&self, _serves: bool) {}

    /// The device is about to go: no command runs any more, none will come.
    /// Process context, may sleep: flush caches, close files.
    fn detach(&self) {}
}
