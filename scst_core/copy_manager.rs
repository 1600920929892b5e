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
    cmd::{Answered, Cmd, Outstanding},
    config::Config,
    device::Device,
    driver::{TargetDriver, TargetParams, Transport},
    drivers::{register_driver, DriverRegistration, SessionRegistration, TargetRegistration},
    session::{Removed, Scope},
    target::Target,
    util::{log_err, show_flag, store_flag},
};
use kapi::sysfs::{Attr, Group};
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

/// The copy manager's TransportID; no initiator's can be equal, as SPC-6 7.6.1
/// has no such protocol identifier.
const TRANSPORT_ID: &[u8] = b"\x0f\0COPY_MGR";

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

/// The core's own end of the session.
struct Initiator;

impl Transport for Initiator {
    fn send_response(&self, cmd: Cmd<Answered>) {
        cmd.finish();
    }

    fn visit_commands(&self, _visit: &mut dyn FnMut(Outstanding<'_>)) {}

    fn is_internal(&self) -> bool {
        true
    }

    fn transport_id(&self, id: &mut [u8; 64]) -> usize {
        *id = [0; 64];
        for (to, from) in id.iter_mut().zip(TRANSPORT_ID) {
            *to = *from;
        }
        24
    }
}

/// The copy manager, while the core is loaded. Fields are dropped in the order
/// in which what they stand for has to go.
pub(crate) struct CopyManager {
    _session: SessionRegistration,
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
        let driver = register_driver(Arc::new(Driver(settings), GFP_KERNEL)?, module)?;
        let params = TargetParams {
            sg_tablesize: SG_TABLESIZE,
            ..TargetParams::default()
        };
        let target = driver.add_target(TARGET, params)?;
        let transport = Arc::new(Initiator, GFP_KERNEL)?;
        let session = target.open_session(SESSION, transport, KVec::new())?;
        Ok(Arc::new(
            Self {
                _session: session,
                target,
                _driver: driver,
                next_lun: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
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
