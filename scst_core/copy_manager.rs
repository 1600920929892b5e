// SPDX-License-Identifier: GPL-2.0

//! The copy manager (SPC-6 5.19) as management sees it: a target of its own,
//! `targets/copy_manager/copy_manager_tgt`, with one session, of the core
//! itself. The LUNs of that target are the devices that may be copied from and
//! to; each new device becomes one of them, unless `auto_cm_assignment` is off.
//!
//! LUNs are numbered in the order of assignment, and a number is not given away
//! again until all are used up. A configuration that gives a device another LUN
//! moves it there: a device is known to the copy manager by one LUN.

use crate::{
    config::Config,
    copy_io::{End, Initiator},
    copy_jobs::Jobs,
    copy_tokens::Tokens,
    device::Device,
    driver::{TargetDriver, TargetParams},
    drivers::{register_driver, DriverRegistration, SessionRegistration, TargetRegistration},
    nexus::Nexus,
    session::{NexusList, Removed, Scope},
    target::Target,
    util::{log_err, show_flag, store_flag},
};
use kapi::{
    counted::InUse,
    sysfs::{Attr, Group},
    work::WorkQueue,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use scst_proto::{command::DriverCommand, lun::MAX_LUN};

const DRIVER: &CStr = c"copy_manager";
const TARGET: &str = "copy_manager_tgt";
const SESSION: &str = "copy_manager_sess";

/// Segments that a command of the copy manager may have.
const SG_TABLESIZE: u32 = 65535;

/// What the attributes of `targets/copy_manager` set.
struct Settings {
    allow_not_connected: Atomic<u32>,
}

static ATTRS: &[Attr<Settings>] = &[Attr::rw(
    c"allow_not_connected_copy",
    |s, p| show_flag(p, &s.allow_not_connected),
    |s, b| store_flag(&s.allow_not_connected, b),
    "1: an initiator may have data copied from and to devices that it does not see itself.",
)];

struct Driver(Arc<Settings>);

impl TargetDriver for Driver {
    fn name(&self) -> &'static CStr {
        DRIVER
    }

    fn has_mgmt(&self) -> bool {
        false
    }

    fn has_trace_level(&self) -> bool {
        false
    }

    fn has_groups(&self) -> bool {
        false
    }

    fn manage(&self, _command: DriverCommand<'_>) -> Result {
        Err(EINVAL)
    }

    /// Its commands are of the logical unit's own node: there is no way to guard.
    fn checks_protection(&self) -> bool {
        true
    }

    fn attrs(&self) -> Result<KVec<Group>> {
        let mut groups = KVec::new();
        groups.push(Group::new(self.0.clone(), ATTRS)?, GFP_KERNEL)?;
        Ok(groups)
    }
}

/// The copy manager, while the core is loaded. Fields are dropped in the order
/// in which what they stand for has to go.
#[pin_data]
pub(crate) struct CopyManager {
    /// Where copies run. Dropped first: that waits for them.
    work: WorkQueue,
    #[pin]
    pub(crate) jobs: Jobs,
    #[pin]
    pub(crate) tokens: Tokens,
    session: SessionRegistration,
    pub(crate) io: Arc<Initiator>,
    settings: Arc<Settings>,
    target: TargetRegistration,
    _driver: DriverRegistration,
    next_lun: Atomic<u32>,
}

impl CopyManager {
    /// Publishes the target and opens its session. Takes the configuration's
    /// lock; sleeps.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Arc<Self>> {
        let settings = Arc::new(
            Settings {
                allow_not_connected: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        let driver = register_driver(Arc::new(Driver(settings.clone()), GFP_KERNEL)?, module)?;
        let params = TargetParams {
            sg_tablesize: SG_TABLESIZE,
            ..TargetParams::default()
        };
        let target = driver.add_target(TARGET, params)?;
        let io = Initiator::new()?;
        let session = target.open_session(SESSION, io.clone(), KVec::new())?;
        let work = WorkQueue::for_io(c"scst_copy")?;
        Arc::pin_init(
            pin_init!(Self {
                work,
                jobs <- Jobs::new(),
                tokens <- Tokens::new(),
                session,
                io,
                settings,
                target,
                _driver: driver,
                next_lun: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Runs `copy` soon, in a thread. `ENOMEM`. Sleeps.
    pub(crate) fn run(&self, copy: impl FnOnce() + Send + 'static) -> Result {
        self.work.queue(copy)
    }

    /// The device that `which` chooses, among those that the session of `home`
    /// sees, and that the copy manager may use; others only if an administrator allows
    /// that. Sleeps, and `which` may.
    pub(crate) fn find(
        &self,
        home: &Nexus,
        which: &dyn Fn(&Device) -> bool,
    ) -> Result<Option<End>> {
        let mut seen = NexusList::new();
        home.session().collect(&mut seen, |_| true)?;
        let theirs = seen.iter().filter(|nexus| which(&nexus.device));
        for nexus in theirs {
            let (Some(behalf), Some(own)) = (nexus.get(), self.own(&nexus.device)?) else {
                continue;
            };
            return Ok(Some(End::seen(behalf, own)));
        }
        if self.settings.allow_not_connected.load(Relaxed) == 0 {
            return Ok(None);
        }
        let mut all = NexusList::new();
        self.session.collect(&mut all, |_| true)?;
        let own = all.iter().find(|nexus| which(&nexus.device));
        let own = own.and_then(|nexus| nexus.get());
        Ok(own.map(|own| End::foreign(own, false)))
    }

    /// The device with this number, for who has a token of it: nobody asks who may read
    /// it. Sleeps.
    pub(crate) fn by_number(&self, number: u32) -> Result<Option<End>> {
        let mut own = NexusList::new();
        self.session
            .collect(&mut own, |nexus| nexus.device.id == number)?;
        let own = own.first().and_then(|nexus| nexus.get());
        Ok(own.map(|own| End::foreign(own, true)))
    }

    /// The copy manager's own nexus to `device`.
    fn own(&self, device: &Arc<Device>) -> Result<Option<InUse<Nexus>>> {
        let mut own = NexusList::new();
        self.session
            .collect(&mut own, |nexus| Arc::ptr_eq(&nexus.device, device))?;
        Ok(own.first().and_then(|nexus| nexus.get()))
    }

    /// Whether `device` is one of its LUNs. Sleeps.
    pub(crate) fn has(&self, device: &Arc<Device>) -> bool {
        self.own(device).is_ok_and(|own| own.is_some())
    }

    /// Gives a new device a LUN. Under the configuration's lock; sleeps.
    pub(crate) fn assign(
        &self,
        _config: &Config,
        device: &Arc<Device>,
        removed: &mut Removed,
    ) -> Result {
        let group = &self.target.default_group;
        let from = self.next_lun.load(Relaxed).min(u32::from(MAX_LUN));
        let free = |lun: &u16| !group.has_lun(*lun);
        let lun = (from as u16..=MAX_LUN).find(free);
        let Some(lun) = lun.or_else(|| (0..=MAX_LUN).find(free)) else {
            log_err!(
                "The copy manager has no LUN left for device {}",
                device.name()
            );
            return Err(ENOSPC);
        };
        group.add_lun(device.clone(), lun, false)?;
        let scope = Scope::One(lun);
        self.target
            .sync_group(group, scope, None, removed)
            .inspect_err(|_| {
                group.del_lun(lun);
            })?;
        self.next_lun.store(u32::from(lun) + 1, Relaxed);
        Ok(())
    }
}

impl Target {
    /// Whether this is the copy manager's.
    pub(crate) fn is_copy_manager(&self) -> bool {
        self.driver.name().as_bytes() == DRIVER.to_bytes()
    }
}
