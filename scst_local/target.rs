// SPDX-License-Identifier: GPL-2.0

//! The driver and its targets, as `mgmt` makes and removes them.

use crate::{
    attrs::{self, Stats},
    host::Root,
    session::Session,
};
use kapi::{sysfs::Group, work::Workqueue};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
    workqueue::Queue,
};
use scst::{DriverRegistration, TargetDriver, TargetParams, TargetRegistration};
use scst_proto::{
    command::{Attribute, DriverCommand},
    mgmt::{valid_name, Params},
};

/// Largest number of segments of a command's data: what the midlayer can say.
const SG_TABLESIZE: u32 = 65535;

/// The parameter of `add_target`, and the attribute of a target.
const SESSION_NAME: &str = "session_name";

/// The driver.
#[pin_data]
pub(crate) struct Driver {
    /// `None` before it is registered and when it is about to go.
    #[pin]
    registration: Mutex<Option<Arc<DriverRegistration>>>,
    #[pin]
    targets: Mutex<KVec<Arc<Target>>>,
    #[pin]
    names: Mutex<KVec<CString>>,
    stats: Arc<Stats>,
    /// Scans may wait for disks, so every host needs to be able to have its own
    /// worker.
    queue: Workqueue,
    /// Last: the devices of all sessions are below it.
    root: Root,
}

/// A target of this driver.
#[pin_data]
pub(crate) struct Target {
    name: CString,
    versions: Arc<Versions>,
    /// `None` when the target is about to go. Before `registration`: sessions
    /// end before their target does.
    #[pin]
    sessions: Mutex<Option<KVec<Session>>>,
    registration: TargetRegistration,
}

/// Reports that something named in a command is not there.
fn not_found(what: &str, name: &str) -> Error {
    log_err!("{} {} not found", what, name);
    ENOENT
}

/// Reports that a name is not possible.
fn check_name(name: &str) -> Result<&str> {
    valid_name(name).map_err(|e| {
        log_err!("{}", e);
        EINVAL
    })
}

impl Driver {
    /// Makes the driver, without registering it. Once in the module's life.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let root = Root::new()?;
        let queue = Workqueue::new(c"scst_local")?;
        let stats = Arc::new(Stats::new(), GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                registration <- new_mutex!(None),
                targets <- new_mutex!(KVec::new()),
                names <- new_mutex!(KVec::new()),
                stats,
                queue,
                root,
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the driver known to the core.
    pub(crate) fn register(self: &Arc<Self>, module: &'static ThisModule) -> Result {
        let handle = Arc::new(Handle(self.clone()), GFP_KERNEL)?;
        let registration = scst::register_driver(handle, module)?;
        *self.registration.lock() = Some(Arc::new(registration, GFP_KERNEL)?);
        Ok(())
    }

    /// Removes all targets and the registration. The module is about to go.
    pub(crate) fn shut_down(&self) {
        // First what new targets need, so that none comes after this.
        let registration = self.registration.lock().take();
        let targets = core::mem::take(&mut *self.targets.lock());
        for target in targets {
            target.close();
        }
        drop(registration);
        // Work that is queued holds ports, and so the driver.
        self.queue.flush();
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    fn find(&self, name: &str) -> Result<Arc<Target>> {
        let targets = self.targets.lock();
        let target = targets.iter().find(|t| t.name() == name).cloned();
        drop(targets);
        target.ok_or_else(|| not_found("Target", name))
    }

    /// Adds a target with sessions.
    pub(crate) fn add(self: &Arc<Self>, name: &str, sessions: &[&str]) -> Result {
        let registration = self.registration.lock().clone().ok_or(ENODEV)?;
        let versions = Arc::new(Versions::default(), GFP_KERNEL)?;
        let mut groups = KVec::new();
        groups.push(attrs::target(&versions)?, GFP_KERNEL)?;
        let params = TargetParams {
            sg_tablesize: SG_TABLESIZE,
            attrs: groups,
            ..TargetParams::default()
        };
        let registration = registration.add_target(name, params).map_err(|e| {
            // What users of SCST know, and `scstadmin` takes for a failure.
            if e == EEXIST {
                EFAULT
            } else {
                e
            }
        })?;
        let name = CString::try_from_fmt(fmt!("{name}"))?;
        let target = Arc::pin_init(
            pin_init!(Target {
                name,
                versions,
                sessions <- new_mutex!(Some(KVec::new())),
                registration,
            }),
            GFP_KERNEL,
        )?;
        for session in sessions {
            // On failure all that was made goes with `target`.
            target.add_session(self, session)?;
        }
        self.targets.lock().push(target, GFP_KERNEL)?;
        Ok(())
    }

    fn remove(&self, name: &str) -> Result {
        let mut targets = self.targets.lock();
        let at = targets.iter().position(|t| t.name() == name);
        let target = at.and_then(|at| targets.remove(at).ok());
        drop(targets);
        target.ok_or_else(|| not_found("Target", name))?.close();
        Ok(())
    }

    fn add_session(self: &Arc<Self>, target: &str, name: &str) -> Result {
        self.find(target)?.add_session(self, name)
    }

    /// Closes session `name` of `target`.
    pub(crate) fn del_session(&self, target: &str, name: &str) -> Result {
        let target = self.find(target)?;
        let session = {
            let mut sessions = target.sessions.lock();
            Option::as_mut(&mut *sessions).and_then(|sessions| {
                let at = sessions.iter().position(|s| s.name() == name)?;
                sessions.remove(at).ok()
            })
        };
        drop(session.ok_or_else(|| not_found("Session", name))?);
        Ok(())
    }
}

impl Target {
    fn name(&self) -> &str {
        self.name.to_str().unwrap_or("")
    }

    fn add_session(&self, driver: &Arc<Driver>, name: &str) -> Result {
        let name = check_name(name)?;
        let versions = self.versions.clone();
        let session = Session::open(driver, &self.registration, self.name(), name, versions)?;
        match &mut *self.sessions.lock() {
            Some(sessions) => Ok(sessions.push(session, GFP_KERNEL)?),
            // Removed meanwhile.
            None => Err(ENOENT),
        }
    }

    /// Closes all sessions and lets no new ones come. The target goes when its
    /// last user does.
    fn close(&self) {
        let sessions = self.sessions.lock().take();
        drop(sessions);
    }
}

/// The driver as the core knows it.
struct Handle(Arc<Driver>);

impl TargetDriver for Handle {
    fn name(&self) -> &'static CStr {
        c"scst_local"
    }

    fn target_params(&self) -> &'static [&'static str] {
        &[SESSION_NAME]
    }

    fn extra_help(&self) -> &'static str {
        "       echo \"add_session target_name session_name\" >mgmt\n       \
         echo \"del_session target_name session_name\" >mgmt\n"
    }

    fn checks_protection(&self) -> bool {
        true
    }

    fn attrs(&self) -> Result<KVec<Group>> {
        let mut groups = KVec::new();
        groups.push(attrs::driver(&self.0.stats)?, GFP_KERNEL)?;
        Ok(groups)
    }

    fn manage(&self, command: DriverCommand<'_>) -> Result {
        use DriverCommand::*;

        let driver = &self.0;
        match command {
            AddTarget { name, params } => driver.add(name, &session_names(name, params)?),
            DelTarget(name) => driver.remove(name),
            AddSession { target, session } => driver.add_session(target, session),
            DelSession { target, session } => driver.del_session(target, session),
            AddTargetAttribute(target, Attribute { name, value }) => {
                driver.add_session(target, session_name(target, name, value)?)
            }
            DelTargetAttribute(target, Attribute { name, value }) => {
                driver.del_session(target, session_name(target, name, value)?)
            }
            AddAttribute(attribute) | DelAttribute(attribute) => {
                log_err!(
                    "Unknown attribute \"{}\": this driver has none; a target has {}",
                    attribute.name,
                    SESSION_NAME
                );
                Err(EINVAL)
            }
        }
    }
}

/// The sessions that the parameters of `add_target` name.
fn session_names<'a>(target: &str, params: Params<'a>) -> Result<KVec<&'a str>> {
    let mut names = KVec::new();
    for param in params {
        let param = param.map_err(|e| {
            log_err!("Target {}: {}", target, e);
            EINVAL
        })?;
        let name = session_name(target, param.name, param.value)?;
        names.push(name, GFP_KERNEL)?;
    }
    Ok(names)
}

/// The session that `name = value` stands for.
fn session_name<'a>(target: &str, name: &str, value: &'a str) -> Result<&'a str> {
    if name == SESSION_NAME {
        return check_name(value);
    }
    log_err!(
        "Target {}: unknown parameter {}: available is {}",
        target,
        name,
        SESSION_NAME
    );
    Err(EINVAL)
}

/// The right to a device's name below the root device; dropping it gives it up.
pub(crate) struct NameGuard {
    driver: Arc<Driver>,
    name: CString,
}

impl NameGuard {
    /// Takes `name`, unless a session of some target has it.
    pub(crate) fn new(driver: Arc<Driver>, name: &str) -> Result<Self> {
        let copy = CString::try_from_fmt(fmt!("{name}"))?;
        let this = CString::try_from_fmt(fmt!("{name}"))?;
        {
            let mut names = driver.names.lock();
            if names.iter().any(|n| n.to_bytes() == name.as_bytes()) {
                log_err!(
                    "There is a session {} already: each is a device of its own, and \
                     needs another name",
                    name
                );
                return Err(EEXIST);
            }
            names.push(copy, GFP_KERNEL)?;
        }
        Ok(Self { driver, name: this })
    }
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        let mut names = self.driver.names.lock();
        let at = names.iter().position(|n| **n == *self.name);
        let name = at.and_then(|at| names.remove(at).ok());
        drop(names);
        drop(name);
    }
}

/// The standards that a target's ports claim, as version descriptors of
/// INQUIRY (SPC-6 6.7.2), which also say what form a TransportID has.
pub(crate) struct Versions {
    pub(crate) physical: Atomic<u32>,
    pub(crate) scsi: Atomic<u32>,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            physical: Atomic::new(Self::NO_PHYSICAL.into()),
            scsi: Atomic::new(Self::SAS.into()),
        }
    }
}

impl Versions {
    pub(crate) const NO_PHYSICAL: u16 = 0;
    /// SAS, no version claimed.
    pub(crate) const SAS: u16 = 0x0be0;

    /// Physical and SCSI transport.
    pub(crate) fn descriptors(&self) -> [u16; 2] {
        // The attributes take nothing larger.
        [&self.physical, &self.scsi].map(|v| v.load(Relaxed) as u16)
    }

    /// The TransportID (SPC-6 7.6.4) of the initiator that is host `number`;
    /// returns its length.
    pub(crate) fn transport_id(&self, number: u32, id: &mut [u8; 64]) -> usize {
        const LENGTH: usize = 24;
        // SAS, NAA 5. Hosts differ from bit 28 on, as SCST has it.
        const BASE: u64 = 0x5fee_de40_0fad_e050;
        const MASK: u64 = 0x5fff_ffff_ffff_ffff;
        let port = BASE.wrapping_add((u64::from(number) + 1) << 28) & MASK;
        id.fill(0);
        let (protocol, at) = match self.descriptors()[1] & 0xffe0 {
            // FCP: the port's name from byte 8.
            0x0900 | 0x08c0 | 0x0a00..=0x0a40 => (0, 8),
            // SRP: 16 bytes from byte 8.
            0x0940 => (4, 16),
            // SAS: the address from byte 4.
            _ => (6, 4),
        };
        id[0] = protocol;
        if let Some(to) = id.get_mut(at..at + 8) {
            to.copy_from_slice(&port.to_be_bytes());
        }
        LENGTH
    }
}
