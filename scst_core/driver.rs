// SPDX-License-Identifier: GPL-2.0

//! What a target driver (a transport: SRP, FC, the local loopback) is to the core.
//!
//! A driver registers once ([`crate::register_driver`]), adds its target ports
//! ([`DriverRegistration::add_target`](crate::DriverRegistration::add_target))
//! and, per initiator port that logs in, opens a session, the I_T nexus of
//! SAM-6. Commands enter through
//! [`SessionRegistration::receive`](crate::SessionRegistration::receive) and
//! leave through [`Transport::send_response`]. All registrations are guards:
//! dropping one takes the thing out of sight, ends its commands and waits for
//! those that hardware still owns.

use crate::{
    cmd::{Answered, Cmd, DataOut, Outstanding},
    protection::{Held, InTransfer},
};
use kapi::sysfs::Group;
use kernel::prelude::*;
use scst_proto::{command::DriverCommand, sense::Sense, task::Function};

/// A target driver. Its methods run in process context, may sleep, and are
/// called without locks of the core held.
pub trait TargetDriver: Send + Sync + 'static {
    /// Name of the directory below `targets/`.
    fn name(&self) -> &'static CStr;

    /// Parameters of `add_target`, as its help lists them.
    fn target_params(&self) -> &'static [&'static str] {
        &[]
    }

    /// Lines that the help of `mgmt` has besides those of `add_target`.
    fn extra_help(&self) -> &'static str {
        ""
    }

    /// Whether targets come and go by `mgmt` (virtual) or with hardware; a
    /// driver that says `false` has no `mgmt` file.
    fn has_mgmt(&self) -> bool {
        true
    }

    /// Carries out a line written to `mgmt`. Errors are the errno of the write,
    /// after a log line that says what is wrong.
    fn manage(&self, command: DriverCommand<'_>) -> Result;

    /// Whether its directory has a `trace_level`.
    fn has_trace_level(&self) -> bool {
        true
    }

    /// Whether its targets may have groups of initiators.
    fn has_groups(&self) -> bool {
        true
    }

    /// Whether its ports check protection information themselves (`dif_mode`
    /// tgt), or have the logical unit do it in their name.
    fn checks_protection(&self) -> bool {
        false
    }

    /// The driver's own attributes, beside the core's, in its directory.
    fn attrs(&self) -> Result<KVec<Group>> {
        Ok(KVec::new())
    }

    /// `enabled` of a target, if its driver has it (hardware targets).
    fn enable(&self, _target: &str, _on: bool) -> Result {
        Err(ENOTSUPP)
    }
}

/// What has happened to a logical unit, as a unit attention reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LunEvent {
    /// The LUN; 0 if it is not about one of them.
    pub lun: u16,
    /// Sense key UNIT ATTENTION and an additional sense code.
    pub sense: Sense,
}

/// What one session needs from its transport: the data path.
pub trait Transport: Send + Sync + 'static {
    /// Sends status and sense (and data-in) to the initiator, ends with
    /// [`Cmd::finish`]. A command that [`Cmd::is_aborted`] gets no response
    /// (SAM-6 5.6); the driver only gives the slot back.
    /// Any context, also IRQs off; must not sleep.
    fn send_response(&self, cmd: Cmd<Answered>);

    /// Fetches the data-out buffer, then [`Cmd::data_received`] or
    /// [`Cmd::data_failed`]. A driver whose data is at hand when the command
    /// arrives keeps the default. Any context; must not sleep.
    fn transfer_data(&self, cmd: Cmd<DataOut>) {
        cmd.data_received();
    }

    /// Where the protection information of `cmd` is, whose device is protected.
    /// A transport that carries nothing but a data buffer keeps the default, which
    /// is the standard's. Any context; must not sleep.
    fn protection<'a>(&self, _cmd: Held<'a>) -> InTransfer<'a> {
        InTransfer::Interleaved
    }

    /// Shows every command of the session that the core has now, for task
    /// management. No slot may be used for another command while `visit` looks
    /// at it. Process context.
    fn visit_commands(&self, visit: &mut dyn FnMut(Outstanding<'_>));

    /// Most commands that the initiator can have outstanding at one logical unit,
    /// if the transport itself bounds that. The core counts commands only where
    /// `max_tgt_dev_commands` allows fewer. A driver whose bound grows calls
    /// [`Session::queue_depth_changed`](crate::Session::queue_depth_changed)
    /// before it is in force. Any context.
    fn queue_depth(&self) -> u32 {
        u32::MAX
    }

    /// Whether an initiator that [`Transport::luns_changed`] has told acts on it.
    /// Where it does not, or is not known to, it learns of a change from a unit
    /// attention on every LUN that stays (SPC-6 6.33) as well. Process context.
    fn announces_luns(&self) -> bool {
        false
    }

    /// The LUNs that the session sees have changed: tell the initiator (by an
    /// AEN, SRP_AER, a rescan), of `event` if its protocol says what happened;
    /// `None` if no initiator is to be told that by a unit attention either. Not
    /// called if the target has `aen_disabled`. Process context, may sleep, no
    /// locks of the core held.
    fn luns_changed(&self, _event: Option<LunEvent>) {}

    /// An administrator wants the session closed (`force_close`). The driver
    /// starts that and drops its registration when it is done.
    fn close(&self) -> Result {
        Err(ENOTSUPP)
    }

    /// Whether the initiator is the core itself: no threads are kept for its
    /// LUNs, whose commands use the global ones, and nobody can close the session.
    fn is_internal(&self) -> bool {
        false
    }

    /// The initiator port's TransportID, SPC-6 7.6.4: 24 bytes for the
    /// protocols with a fixed form. Returns how many bytes of `id` are valid.
    fn transport_id(&self, id: &mut [u8; 64]) -> usize;

    /// Whether initiators can ask for this task management function by the transport's
    /// protocol. By default those that C SCST has always reported. Constant.
    fn has_function(&self, function: Function) -> bool {
        matches!(
            function,
            Function::AbortTask
                | Function::AbortTaskSet
                | Function::ClearAca
                | Function::ClearTaskSet
                | Function::LogicalUnitReset
        )
    }

    /// Version descriptors (SPC-6 6.7.2) of the physical and of the SCSI
    /// transport, for INQUIRY; 0 for none.
    fn version_descriptors(&self) -> [u16; 2] {
        [0, 0]
    }
}

/// What a driver says of a new target port.
#[derive(Default)]
pub struct TargetParams {
    /// Largest number of scatterlist segments a command may have.
    pub sg_tablesize: u32,
    /// The driver's own attributes of the target's directory.
    pub attrs: KVec<Group>,
    /// The target has an `enabled` attribute, and starts with this value.
    pub enabled: Option<bool>,
    /// Relative target port identifier (SPC-6 7.7.6.10) or 0 for none.
    pub rel_tgt_id: u16,
}
