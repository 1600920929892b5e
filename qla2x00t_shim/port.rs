// SPDX-License-Identifier: GPL-2.0

//! A target port: whether it is one at the moment, and who is logged in.

use crate::{
    attrs,
    driver::Driver,
    npiv::Virtual,
    qla::{Adapter, FcPort, IniMode, SessionRef, Wwn},
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
    /// The port of the adapter: this one, or the one that it is on.
    pub(crate) adapter: Adapter,
    /// It is a virtual one.
    pub(crate) npiv: Option<Arc<Virtual>>,
    name: CString,
    /// qla2xxx has it as a target of ours. Changes under `changes` of the adapter's port.
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
    target: Mutex<Option<Arc<TargetRegistration>>>,
    /// To the SCSI host of the adapter.
    #[pin]
    host: Mutex<Option<Link>>,
}

impl Port {
    /// Makes a target of a port. Sleeps.
    pub(crate) fn new(driver: &Arc<Driver>, adapter: Adapter) -> Result<Arc<Self>> {
        let name = Wwn::of(&adapter);
        let this = Self::make(driver, adapter, name, None)?;
        let target = this.target()?;
        let host = target.symlink(b"host", &this.adapter.host())?;
        *this.host.lock() = Some(host);
        Ok(this)
    }

    /// Makes a target of a virtual port called `name`. Sleeps.
    pub(crate) fn new_virtual(
        driver: &Arc<Driver>,
        name: Wwn,
        npiv: Arc<Virtual>,
    ) -> Result<Arc<Self>> {
        let adapter = npiv.parent.adapter.clone();
        Self::make(driver, adapter, name, Some(npiv))
    }

    fn make(
        driver: &Arc<Driver>,
        adapter: Adapter,
        name: Wwn,
        npiv: Option<Arc<Virtual>>,
    ) -> Result<Arc<Self>> {
        let name = CString::try_from_fmt(fmt!("{}", name.text().as_str()))?;
        let this = Arc::pin_init(
            try_pin_init!(Self {
                driver: driver.clone(),
                adapter,
                npiv,
                name,
                enabled: Atomic::new(0),
                confirm: Atomic::new(0),
                sessions: Tracker::new()?,
                seats <- new_spinlock_irq!(KVec::new()),
                changes <- new_mutex!(()),
                host <- new_mutex!(None),
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
        *this.target.lock() = Some(Arc::new(target, GFP_KERNEL)?);
        Ok(this)
    }

    /// Name of the target: its WWPN.
    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or("")
    }

    /// The core's target.
    pub(crate) fn target(&self) -> Result<Arc<TargetRegistration>> {
        self.target.lock().clone().ok_or(ENODEV)
    }

    /// Lets initiators log in, or ends their sessions and lets nobody in; also to
    /// the virtual ports that are on this one. Sleeps.
    pub(crate) fn enable(&self, on: bool) -> Result {
        let Some(npiv) = &self.npiv else {
            let _changes = self.changes.lock();
            if !on {
                self.driver.disable_virtual(&self.adapter);
            }
            return self.change(on);
        };
        let _changes = npiv.parent.changes.lock();
        self.change(on)
    }

    /// It is a target now.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed) != 0
    }

    /// Ends all sessions of a virtual port, as those of the port that it is on end.
    pub(crate) fn disable_with_parent(&self) {
        if self.is_enabled() {
            // It cannot fail.
            let _ = self.change(false);
            if let Ok(target) = self.target() {
                target.was_disabled();
            }
        }
    }

    /// With the lock for changes.
    fn change(&self, on: bool) -> Result {
        if on == (self.enabled.load(Relaxed) != 0) {
            return Ok(());
        }
        match (on, &self.npiv) {
            (true, None) => self.take()?,
            (true, Some(npiv)) => npiv.take(self)?,
            (false, _) => self.give_back(),
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
        self.adapter.reclaim();
        let on = self.npiv.as_ref().map(|npiv| npiv.on());
        match &on {
            None => self.adapter.stop(),
            Some(Some(on)) => on.stop(),
            Some(None) => {}
        }
        drop(on);
        let mut seconds = 0u32;
        while !self.sessions.wait_none(PATIENCE_MS) {
            seconds = seconds.saturating_add(PATIENCE_MS / 1000);
            log_err!(
                "{}: still waiting for sessions to end after {seconds} s",
                self.name()
            );
        }
        match &self.npiv {
            None => self.adapter.disown(),
            Some(npiv) => npiv.give_back(),
        }
        pr_info!("Target {} disabled\n", self.name());
    }

    /// The port goes. Sleeps.
    pub(crate) fn close(&self) {
        // It cannot fail.
        let _ = self.enable(false);
        let host = self.host.lock().take();
        drop(host);
        let target = self.target.lock().take();
        drop(target);
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
