// SPDX-License-Identifier: GPL-2.0

//! The binding to qla2xxx: its ports, its sessions, and its commands.
//!
//! All of this module's unsafe code is here. `include/qla2x00t_helpers.c` has the
//! other half, qla2xxx's structures taken apart into plain values.
//!
//! # A command's memory
//!
//! A session has a [`Pool`] of [`Request`]s, each with room for qla2xxx's
//! `struct qla_tgt_cmd` and the core's [`Slot`]. qla2xxx takes one when a command
//! arrives (`get_cmd`) and hands it over (`handle_cmd`); from there to
//! [`Cmd::finish`] its slot is lent to the core. In between it is qla2xxx's
//! while data or a response are on their way, from a successful `qlt_rdy_to_xfer`
//! to `handle_data` and from `qlt_xmit_response` to `free_cmd`: for that time the
//! core's command waits in [`Request::pending`].
//!
//! A request is counted. One count is the command's own, from `get_cmd` to its
//! end; others are of those who look at it or abort it meanwhile. The last gives
//! it back to qla2xxx (`qlt_free_cmd`), which gives it back to the pool
//! (`rel_cmd`).

mod calls;
mod command;
mod raw;
mod void;

use crate::{port::Port, session::Session};
use core::{fmt::Write, ptr::NonNull};
use kapi::{sysfs, work::WorkQueue};
use kernel::{error::to_result, prelude::*};
use raw::*;
use scst_proto::identity::Text;

pub(crate) use command::{fetch, respond, Pool};
pub(crate) use raw::State;
pub(crate) use void::Void;

/// Fewest and most commands that an initiator may have outstanding.
const DEPTHS: core::ops::RangeInclusive<u32> = 64..=1024;

/// A World Wide Name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wwn(pub(crate) u64);

impl Wwn {
    /// Of an adapter's own port.
    pub(crate) fn of(adapter: &Adapter) -> Self {
        Self(adapter.state().port_name)
    }

    /// As it is written: 16 hexadecimal digits, in pairs with colons between.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut value, mut count) = (0u64, 0usize);
        for pair in text.split(':') {
            let byte = u8::from_str_radix(pair, 16).ok();
            let byte = byte.filter(|_| pair.len() == 2 && !pair.starts_with('+'))?;
            value = value << 8 | u64::from(byte);
            count = count.wrapping_add(1);
        }
        (count == 8 && value != 0).then_some(Self(value))
    }

    /// As `21:00:00:e0:8b:05:05:04`, which targets and sessions are called by.
    pub(crate) fn text(self) -> Text<23> {
        let (mut text, mut colon) = (Text::new(), "");
        for byte in self.0.to_be_bytes() {
            // A `Text` does not fail.
            let _ = write!(text, "{colon}{byte:02x}");
            colon = ":";
        }
        text
    }
}

/// The module parameter `qlini_mode` of qla2xxx.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IniMode {
    /// An initiator while it is no target.
    Exclusive,
    /// No initiator.
    Disabled,
    /// Always an initiator, and never a target.
    Enabled,
    /// Both at a time.
    Dual,
}

impl State {
    /// WWPN, as the target is called.
    pub(crate) fn name(&self) -> Text<23> {
        Wwn(self.port_name).text()
    }

    /// WWNN.
    pub(crate) fn node(&self) -> Wwn {
        Wwn(self.node_name)
    }

    /// `qlini_mode`; `None` if it is one that is not known here.
    pub(crate) fn mode(&self) -> Option<IniMode> {
        match self.ini_mode {
            0 => Some(IniMode::Exclusive),
            1 => Some(IniMode::Disabled),
            2 => Some(IniMode::Enabled),
            3 => Some(IniMode::Dual),
            _ => None,
        }
    }

    /// It is a target now.
    pub(crate) fn is_target(&self) -> bool {
        self.target
    }

    /// A target driver has it.
    pub(crate) fn claimed(&self) -> bool {
        self.claimed
    }

    /// Its firmware runs, and it has a link.
    pub(crate) fn online(&self) -> bool {
        self.online
    }
}

/// A port of an adapter.
///
/// # Invariants
///
/// Points to a `scsi_qla_host`, to whose SCSI host this has a reference.
pub(crate) struct Adapter(NonNull<Vha>);

// SAFETY: What is done with it here may be done from every thread.
unsafe impl Send for Adapter {}
// SAFETY: qla2xxx locks its structures itself.
unsafe impl Sync for Adapter {}

impl Adapter {
    /// # Safety
    ///
    /// `vha` is valid, and belongs to a device that is bound to qla2xxx while
    /// this runs.
    unsafe fn new(vha: *mut Vha) -> Option<Self> {
        let vha = NonNull::new(vha)?;
        // SAFETY: By the function's contract.
        unsafe { qla_c_hold(vha.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Some(Self(vha))
    }

    /// Whether both are the same port.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// How it stands now. Any context.
    pub(crate) fn state(&self) -> State {
        let mut state = State::default();
        // SAFETY: Valid by the type invariants, as for all calls below.
        unsafe { qla_c_state(self.0.as_ptr(), &raw mut state) };
        state
    }

    /// Its SCSI host's directory.
    pub(crate) fn host(&self) -> sysfs::Parent<'_> {
        // SAFETY: The host has its directory while the adapter has its driver,
        // and a target goes before that ends.
        unsafe { sysfs::Parent::raw(qla_c_kobj(self.0.as_ptr())) }
    }

    /// Commands that a session may have.
    pub(crate) fn depth(&self) -> u32 {
        // SAFETY: As above.
        let exchanges = unsafe { qla_c_depth(self.0.as_ptr()) };
        exchanges.clamp(*DEPTHS.start(), *DEPTHS.end())
    }

    /// Most segments of a command's data.
    pub(crate) fn segments(&self) -> u32 {
        // SAFETY: As above.
        unsafe { qla_c_segments(self.0.as_ptr()) }
    }

    /// Makes it a target, of `port`. Sleeps. `EBUSY` if another driver has it.
    ///
    /// [`Adapter::disown`] has to be called before `port` goes.
    pub(crate) fn enable(&self, port: &Port) -> Result {
        // SAFETY: As above; the port stays, as its driver disowns it first.
        to_result(unsafe { qla_c_enable(self.0.as_ptr(), port) })
    }

    /// Ends target mode, and begins to end all sessions. Sleeps.
    pub(crate) fn stop(&self) {
        // SAFETY: As above.
        unsafe { qla_c_stop(self.0.as_ptr()) };
    }

    /// Has commands given back that the hardware has, if that is not there any more.
    /// Sleeps, for seconds then.
    pub(crate) fn reclaim(&self) {
        // SAFETY: As above.
        unsafe { qla_c_reclaim(self.0.as_ptr()) };
    }

    /// Has nothing left to be done by hardware that is not there any more.
    pub(crate) fn renounce(&self) {
        // SAFETY: As above.
        unsafe { qla_c_renounce(self.0.as_ptr()) };
    }

    /// Gives it back, when no session is left. Sleeps.
    pub(crate) fn disown(&self) {
        // SAFETY: As above; it was enabled before.
        unsafe { qla_c_disown(self.0.as_ptr()) };
    }

    /// Has the chip reset.
    pub(crate) fn reset(&self) {
        // SAFETY: As above.
        unsafe { qla_c_reset(self.0.as_ptr()) };
    }
}

impl Clone for Adapter {
    fn clone(&self) -> Self {
        // SAFETY: Valid by the type invariants.
        unsafe { qla_c_hold(self.0.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Self(self.0)
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // SAFETY: The reference of the type invariants, given back once.
        unsafe { qla_c_put(self.0.as_ptr()) };
    }
}

/// A virtual port of an adapter, with a SCSI host of its own. Dropping it takes it
/// off the fabric, and sleeps.
///
/// # Invariants
///
/// It was made by `qla_c_create`, and is there as long as this.
pub(crate) struct VirtualPort(Adapter);

impl VirtualPort {
    /// Makes one. Sleeps. `ENODEV` if qla2xxx does not.
    pub(crate) fn create(parent: &Adapter, port: Wwn, node: Wwn) -> Result<Self> {
        // SAFETY: The adapter is valid by the type invariants, and has its driver
        // as long as it has a target.
        let vha = unsafe { qla_c_create(parent.0.as_ptr(), port.0, node.0) };
        // SAFETY: Its host was just made, and goes only by us or with the adapter's
        // driver, which waits for us.
        let adapter = unsafe { Adapter::new(vha) }.ok_or(ENODEV)?;
        // INVARIANT: Just made.
        Ok(Self(adapter))
    }

    /// Makes it a target, of `port`; the adapter's own is one. Sleeps.
    ///
    /// [`VirtualPort::disown`] has to be called before `port` goes.
    pub(crate) fn enable(&self, port: &Port) {
        // SAFETY: By the type invariants; the port stays, as it disowns this first.
        unsafe { qla_c_enable_virtual(self.0 .0.as_ptr(), port) };
    }

    /// Begins to end all sessions, and lets nobody in. Sleeps.
    pub(crate) fn stop(&self) {
        self.0.stop();
    }

    /// No session is left: it knows its target no more.
    pub(crate) fn disown(&self) {
        // SAFETY: By the type invariants.
        unsafe { qla_c_disown_virtual(self.0 .0.as_ptr()) };
    }
}

impl Drop for VirtualPort {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nobody else deletes it. Its memory
        // stays until the reference in the adapter goes.
        unsafe { qla_c_delete(self.0 .0.as_ptr()) };
    }
}

/// A port that is logged in, as qla2xxx calls it: only an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FcPort(*mut RawFcPort);

// SAFETY: It is only an address here.
unsafe impl Send for FcPort {}
// SAFETY: As above.
unsafe impl Sync for FcPort {}

impl FcPort {
    /// Has its session ended, soon. Process context; only as long as that exists.
    pub(crate) fn close(self) {
        // SAFETY: Only sessions have one, and qla2xxx keeps it for longer.
        unsafe { qla_c_close(self.0) };
    }
}

/// A session, as qla2xxx and [`Port`]'s seats know it: only an address.
#[derive(Clone, Copy)]
pub(crate) struct SessionRef(*const Session);

// SAFETY: It is only an address here.
unsafe impl Send for SessionRef {}
// SAFETY: As above.
unsafe impl Sync for SessionRef {}

/// Adapters that come and go; dropping this ends it.
pub(crate) struct Watch(());

impl Watch {
    /// Tells the driver of those that there are, and of all that come. `queue` is
    /// for data that arrive, and outlives all targets.
    pub(crate) fn new(queue: &WorkQueue) -> Result<Self> {
        // SAFETY: Once in the module's life; the queue stays as the contract says.
        to_result(unsafe { qla_c_watch(queue.as_raw()) })?;
        let this = Self(());
        // SAFETY: Any process context.
        unsafe { qla_c_scan() };
        Ok(this)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: It was registered in `new`.
        unsafe { qla_c_unwatch() };
    }
}
