// SPDX-License-Identifier: GPL-2.0

//! Registered target drivers, their targets and their sessions, as guards.

use crate::{
    attrs_target,
    cmd::{Incoming, Vacant},
    config::core,
    driver::{TargetDriver, TargetParams, Transport},
    session::Session,
    target::Target,
    util::log_err,
};
use core::ops::Deref;
use kapi::{
    sysfs::{Dir, Group},
    tracker::Tracker,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};

#[derive(Default)]
struct State {
    targets: KVec<Arc<Target>>,
    dir: Option<Dir>,
}

/// A registered driver.
#[pin_data]
pub(crate) struct Driver {
    ops: Arc<dyn TargetDriver>,
    pub(crate) module: &'static ThisModule,
    pub(crate) trace_level: Atomic<u32>,
    pub(crate) tracker: Tracker,
    #[pin]
    state: Mutex<State>,
}

impl Driver {
    pub(crate) fn ops(&self) -> &dyn TargetDriver {
        &*self.ops
    }

    pub(crate) fn name(&self) -> &str {
        self.ops.name().to_str().unwrap_or("")
    }

    /// The targets at this moment.
    pub(crate) fn targets(&self) -> Result<KVec<Arc<Target>>> {
        let state = self.state.lock();
        let mut list = KVec::with_capacity(state.targets.len(), GFP_KERNEL)?;
        for target in &state.targets {
            list.push(target.clone(), GFP_KERNEL)?;
        }
        Ok(list)
    }
}

/// A driver's registration. Its targets have to be gone before it is dropped;
/// that takes its directory away, and waits until no object of its is left.
pub struct DriverRegistration(Arc<Driver>);

/// Registers `ops`. Process context.
pub fn register_driver(
    ops: Arc<dyn TargetDriver>,
    module: &'static ThisModule,
) -> Result<DriverRegistration> {
    let core = core()?;
    let driver = Arc::pin_init(
        pin_init!(Driver {
            ops,
            module,
            trace_level: Atomic::new(scst_proto::trace::DEFAULT),
            tracker: Tracker::new()?,
            state <- new_mutex!(State::default()),
        }? Error),
        GFP_KERNEL,
    )?;
    let mut config = core.config.lock();
    config.drivers.reserve(1, GFP_KERNEL)?;
    let dir = attrs_target::driver_dir(&core.top.targets, &driver)?;
    let added = config.drivers.push_within_capacity(driver.clone());
    added.map_err(|_| ENOMEM)?;
    driver.state.lock().dir = Some(dir);
    drop(config);
    pr_info!(
        "Target template {} registered successfully\n",
        driver.name()
    );
    Ok(DriverRegistration(driver))
}

impl DriverRegistration {
    /// Adds the target port `name`. Process context; takes the configuration's
    /// lock. `EEXIST` if there is one of that name.
    pub fn add_target(&self, name: &str, params: TargetParams) -> Result<TargetRegistration> {
        let core = core()?;
        let config = core.config.lock();
        let driver = &self.0;
        if driver.state.lock().targets.iter().any(|t| t.name() == name) {
            log_err!("Target {} already exists in driver {}", name, driver.name());
            return Err(EEXIST);
        }
        let target = Target::new(name, driver.clone(), &params)?;
        // First what may fail: a target that has directories is one that is taken out again.
        driver.state.lock().targets.reserve(1, GFP_KERNEL)?;
        {
            // Taken out: no lock may be held while directories are made.
            let Some(dir) = driver.state.lock().dir.take() else {
                return Err(ENODEV);
            };
            let result = attrs_target::publish(&dir, &target, params.attrs);
            driver.state.lock().dir = Some(dir);
            result?;
        }
        let added = driver
            .state
            .lock()
            .targets
            .push_within_capacity(target.clone());
        added.map_err(|_| ENOMEM)?;
        drop(config);
        pr_info!(
            "Target {} for template {} registered successfully\n",
            name,
            driver.name()
        );
        Ok(TargetRegistration(target))
    }
}

impl Drop for DriverRegistration {
    fn drop(&mut self) {
        let driver = &self.0;
        let Ok(core) = core() else { return };
        {
            let drivers = &mut core.config.lock().drivers;
            if let Some(at) = drivers.iter().position(|d| Arc::ptr_eq(d, driver)) {
                let _ = drivers.remove(at);
            }
        }
        let dir = driver.state.lock().dir.take();
        drop(dir);
        while !driver.tracker.wait_none(10_000) {
            log_err!(
                "Driver {}: still waiting for its targets to go",
                driver.name()
            );
        }
        pr_info!(
            "Target template {} unregistered successfully\n",
            driver.name()
        );
    }
}

/// A target port's registration. Its sessions have to be gone before it is
/// dropped; that takes its directory away.
pub struct TargetRegistration(Arc<Target>);

impl TargetRegistration {
    /// Opens the session of `initiator`, which sees the LUNs of its group from
    /// now on. Process context; takes the configuration's lock.
    pub fn open_session(
        &self,
        initiator: &str,
        transport: Arc<dyn Transport>,
        attrs: KVec<Group>,
    ) -> Result<SessionRegistration> {
        let session = self.0.open_session(initiator, transport, attrs)?;
        Ok(SessionRegistration(session))
    }

    /// The driver has disabled the target by itself: its `enabled` says so.
    pub fn was_disabled(&self) {
        if let Some(enabled) = &self.0.enabled {
            enabled.store(0, Relaxed);
        }
    }
}

impl Deref for TargetRegistration {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.0
    }
}

impl Drop for TargetRegistration {
    fn drop(&mut self) {
        let Ok(core) = core() else { return };
        let target = &self.0;
        let config = core.config.lock();
        {
            let targets = &mut target.driver.state.lock().targets;
            if let Some(at) = targets.iter().position(|t| Arc::ptr_eq(t, target)) {
                let _ = targets.remove(at);
            }
        }
        config.forget_target(target);
        target.unpublish();
        drop(config);
        pr_info!(
            "Target {} for template {} unregistered successfully\n",
            target.name(),
            target.driver.name()
        );
    }
}

/// An open session. Dropping it ends its commands, waits for those that
/// hardware owns, and takes its directory away; the transport must not hand in
/// commands any more by then, and goes on finishing those that it has.
pub struct SessionRegistration(Arc<Session>);

impl SessionRegistration {
    /// The session itself, for a data path that outlasts the registration: after
    /// that it has no LUN any more.
    pub fn session(&self) -> Arc<Session> {
        self.0.clone()
    }

    /// See [`Session::receive`].
    #[inline]
    pub fn receive(&self, slot: Vacant, incoming: Incoming<'_>) {
        self.0.receive(slot, incoming)
    }
}

impl Deref for SessionRegistration {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for SessionRegistration {
    fn drop(&mut self) {
        let target = self.0.target.clone();
        target.close_session(&self.0);
    }
}
