// SPDX-License-Identifier: GPL-2.0

//! A target port: whether it is one at the moment, and who is logged in.

use crate::{
    attrs,
    driver::Driver,
    qla::{Adapter, FcPort, IniMode, SessionRef},
    session::Session,
};
use kapi::{
    lock::{new_spinlock_irq, SpinLockIrq},
    sysfs::Link,
    tracker::{Tracked, Tracker},
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};
use scst::{TargetParams, TargetRegistration};

/// How long sessions may take to end before the log says so, in milliseconds.
const PATIENCE_MS: u32 = 10_000;

/// Somebody who is logged in, as qla2xxx looks for them.
#[derive(Clone)]
pub(crate) struct Seat {
    /// Port identifier.
    pub(crate) id: u32,
    /// Number of qla2xxx's.
    pub(crate) loop_id: u16,
    /// The initiator.
    pub(crate) port: FcPort,
    /// Its session, which ends only after the seat is gone.
    pub(crate) session: SessionRef,
    /// Those who use the session by its seat; it waits for them.
    pub(crate) visitors: Tracker,
}

/// A target port.
#[pin_data]
pub(crate) struct Port {
    pub(crate) driver: Arc<Driver>,
    pub(crate) adapter: Adapter,
    name: CString,
    /// qla2xxx has it as a target of ours. Changes under `changes`.
    enabled: Atomic<u32>,
    /// Initiators are asked to confirm responses (FCP_CONF), if they can.
    pub(crate) confirm: Atomic<u32>,
    /// Sessions that exist.
    pub(crate) sessions: Tracker,
    /// Ascending by `id`.
    #[pin]
    seats: SpinLockIrq<KVec<Seat>>,
    #[pin]
    changes: Mutex<()>,
    /// `None` before it is registered, and when the port is about to go.
    #[pin]
    target: Mutex<Option<(Link, Arc<TargetRegistration>)>>,
}

impl Port {
    /// Makes a target of a port. Sleeps.
    pub(crate) fn new(driver: &Arc<Driver>, adapter: Adapter) -> Result<Arc<Self>> {
        let name = CString::try_from_fmt(fmt!("{}", adapter.state().name().as_str()))?;
        let this = Arc::pin_init(
            try_pin_init!(Self {
                driver: driver.clone(),
                adapter,
                name,
                enabled: Atomic::new(0),
                confirm: Atomic::new(0),
                sessions: Tracker::new()?,
                seats <- new_spinlock_irq!(KVec::new()),
                changes <- new_mutex!(()),
                target <- new_mutex!(None),
            }? Error),
            GFP_KERNEL,
        )?;
        let params = TargetParams {
            sg_tablesize: this.adapter.segments(),
            attrs: attrs::port(&this)?,
            enabled: Some(false),
            rel_tgt_id: 0,
        };
        let target = driver.registration()?.add_target(this.name(), params)?;
        let host = target.symlink(b"host", &this.adapter.host())?;
        *this.target.lock() = Some((host, Arc::new(target, GFP_KERNEL)?));
        Ok(this)
    }

    /// Name of the target: its WWPN.
    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or("")
    }

    /// The core's target.
    pub(crate) fn target(&self) -> Result<Arc<TargetRegistration>> {
        let target = self.target.lock();
        let (_, target) = target.as_ref().ok_or(ENODEV)?;
        Ok(target.clone())
    }

    /// Lets initiators log in, or ends their sessions and lets nobody in. Sleeps.
    pub(crate) fn enable(&self, on: bool) -> Result {
        let _changes = self.changes.lock();
        if on == (self.enabled.load(Relaxed) != 0) {
            return Ok(());
        }
        match on {
            true => self.take()?,
            false => self.give_back(),
        }
        self.enabled.store(u32::from(on), Relaxed);
        Ok(())
    }

    /// Takes the port from qla2xxx, as a target.
    fn take(&self) -> Result {
        let state = self.adapter.state();
        if state.mode() == Some(IniMode::Enabled) {
            log_err!(
                "{}: qla2xxx does not let it be a target: load that with qlini_mode=exclusive, disabled or dual",
                self.name()
            );
            return Err(EINVAL);
        }
        if state.claimed() || state.is_target() {
            log_err!(
                "{}: another target driver has it (tcm_qla2xxx): remove the target there first",
                self.name()
            );
            return Err(EBUSY);
        }
        self.adapter.enable(self).inspect_err(|e| {
            log_err!("{}: qla2xxx does not give it: {e:?}", self.name());
        })?;
        match self.adapter.state().online() {
            true => pr_info!("Target {} enabled\n", self.name()),
            false => pr_warn!(
                "Target {} enabled, but it has no link: look at its cable, the switch's port and the adapter's firmware\n",
                self.name()
            ),
        }
        Ok(())
    }

    /// Ends all sessions, and is no target any more.
    fn give_back(&self) {
        self.adapter.stop();
        let mut seconds = 0u32;
        while !self.sessions.wait_none(PATIENCE_MS) {
            seconds = seconds.saturating_add(PATIENCE_MS / 1000);
            log_err!(
                "{}: still waiting for sessions to end after {seconds} s",
                self.name()
            );
        }
        self.adapter.disown();
        pr_info!("Target {} disabled\n", self.name());
    }

    /// The port goes. Sleeps.
    pub(crate) fn close(&self) {
        // It cannot fail.
        let _ = self.enable(false);
        let target = self.target.lock().take();
        if let Some((host, target)) = target {
            drop(host);
            drop(target);
        }
    }

    /// An initiator has logged in: qla2xxx finds it from now on. Process context.
    pub(crate) fn seat(&self, seat: Seat) -> Result {
        loop {
            let want = self.seats.lock().len().saturating_add(1);
            let mut larger = KVec::with_capacity(want, GFP_KERNEL)?;
            let mut seats = self.seats.lock();
            if larger.capacity() <= seats.len() {
                continue;
            }
            let at = seats.partition_point(|other| other.id < seat.id);
            for old in seats.get(..at).unwrap_or_default() {
                let _ = larger.push_within_capacity(old.clone());
            }
            let _ = larger.push_within_capacity(seat);
            for old in seats.get(at..).unwrap_or_default() {
                let _ = larger.push_within_capacity(old.clone());
            }
            let old = core::mem::replace(&mut *seats, larger);
            drop(seats);
            drop(old);
            return Ok(());
        }
    }

    /// An initiator is no longer to be found. Any context.
    pub(crate) fn unseat(&self, port: FcPort) {
        let gone = {
            let mut seats = self.seats.lock();
            let at = seats.iter().position(|seat| seat.port == port);
            at.and_then(|at| seats.remove(at).ok())
        };
        drop(gone);
    }

    /// Who has a port identifier. Any context.
    #[inline]
    pub(crate) fn by_id(&self, id: u32) -> Option<FcPort> {
        let seats = self.seats.lock();
        let at = seats.binary_search_by_key(&id, |seat| seat.id).ok()?;
        Some(seats.get(at)?.port)
    }

    /// Who has a number of qla2xxx. Any context.
    pub(crate) fn by_loop(&self, loop_id: u16) -> Option<FcPort> {
        let seats = self.seats.lock();
        let seat = seats.iter().find(|seat| seat.loop_id == loop_id)?;
        Some(seat.port)
    }

    /// The session of an initiator that has a seat; it stays as long as the token
    /// that comes with it. Any context.
    pub(crate) fn visit(&self, port: FcPort) -> Option<(SessionRef, Tracked)> {
        let seats = self.seats.lock();
        let seat = seats.iter().find(|seat| seat.port == port)?;
        Some((seat.session, seat.visitors.track()))
    }

    /// An initiator logs in. Process context.
    pub(crate) fn login(self: &Arc<Self>, port: FcPort, name: u64) -> Result<Pin<KBox<Session>>> {
        Session::open(self, port, name)
    }
}
