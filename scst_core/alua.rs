// SPDX-License-Identifier: GPL-2.0

//! Asymmetric logical unit access (SPC-6 5.18): changes of states, what nexuses
//! know of them, and the two commands.
//!
//! A nexus holds the state of its port in its gate, beside what else may keep a
//! command from its handler; where I/O is served, nothing is there and nothing
//! is looked at. Whoever changes a group brings the gates of its nexuses into
//! line with [`Seen::refresh`], under the configuration's lock, and so does a nexus
//! when it is made.

use crate::{
    cmd::{status, Cmd, Executing},
    config::{core, Config},
    device::Device,
    device_group::{Change, DeviceGroup},
    nexus::Nexus,
    session::{NexusList, Session},
    target::Target,
    util::log_err,
};
use core::ptr;
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{
    alua::{AccessState, Medium, ReportGroups, SetGroups, StatusCode, MAX_SET_LIST},
    bytes::Writer,
    event::{code, stpg},
    sense::{
        Sense, ASYMMETRIC_ACCESS_STATE_CHANGED, INTERNAL_TARGET_FAILURE, INVALID_FIELD_IN_CDB,
        SET_TARGET_PORT_GROUPS_FAILED,
    },
};

/// A set of nexuses: those of `sessions` whose device is in `group`, or only
/// those of one device.
pub(crate) struct Seen<'a> {
    pub(crate) sessions: &'a [Arc<Session>],
    pub(crate) group: &'a DeviceGroup,
    pub(crate) device: Option<&'a Device>,
    /// It need not be told of what it asked for.
    pub(crate) asked: Option<&'a Nexus>,
}

impl Seen<'_> {
    /// Gives each nexus the access that `access` says for its target, and
    /// establishes what `tell` says for that.
    fn set(
        &self,
        access: impl Fn(&Target) -> AccessState,
        tell: impl Fn(&Target) -> Option<Sense>,
    ) {
        for session in self.sessions {
            // Both may sleep; what follows may not.
            let (state, sense) = (access(&session.target), tell(&session.target));
            session.for_each_nexus(|nexus| {
                let ours = match self.device {
                    Some(device) => ptr::eq(&*nexus.device, device),
                    None => nexus.device.is_in(self.group),
                };
                if !ours {
                    return;
                }
                nexus.set_access(state);
                let news = !self.asked.is_some_and(|asked| ptr::eq(asked, &**nexus));
                if let Some(sense) = sense.filter(|_| news) {
                    nexus.unit_attention(sense);
                }
            });
        }
    }

    /// The nexuses are no longer of the group. Under the configuration's lock.
    pub(crate) fn release(&self, tell: Sense) {
        self.set(|_| AccessState::Optimized, |_| Some(tell));
    }

    /// Brings the nexuses into line with the group, and establishes what `tell`
    /// says for their targets. Under the configuration's lock.
    pub(crate) fn refresh(&self, tell: impl Fn(&Target) -> Option<Sense>) {
        self.set(|target| self.group.access(target), tell);
    }
}

/// Changes states of target groups of `group`; `by` is the nexus that asked for
/// it, if it was not one whose command a daemon carries out. Returns when the change is complete: no command of an initiator is let
/// through to a device whose ports all ceased to serve I/O, and its medium is
/// closed if it is bound to that. Takes the configuration's lock, but does not
/// hold it while media open and close.
///
/// `ENODEV` if the group was deleted.
pub(crate) fn change(
    group: &Arc<DeviceGroup>,
    changes: &[Change],
    status: StatusCode,
    by: Option<&Nexus>,
) -> Result {
    let core = core()?;
    let _one_at_a_time = core.alua_changes.lock();
    if changes
        .iter()
        .all(|change| change.group.state() == change.to)
    {
        return Ok(());
    }
    // What a daemon does while it carries out a command is the command's doing.
    let asker = group.asker();
    let (by, status) = match &asker {
        Some(asker) => (Some(&**asker), StatusCode::Explicit),
        None => (by, status),
    };
    let medium = group.medium(changes);
    if medium == Medium::Open {
        let devices = core.config.lock().devices_in(group)?;
        for device in &devices {
            device.lu.access_changed(true);
        }
    }
    let closing = put_in_force(&core.config.lock(), group, changes, medium, status, by)?;
    if !closing.is_empty() {
        // Commands that were let through before have reached the device after this.
        kapi::rcu::synchronize();
    }
    for device in &closing {
        device.lu.access_changed(false);
    }
    Ok(())
}

/// Sets the states and tells the initiators; returns the devices to close.
fn put_in_force(
    config: &Config,
    group: &Arc<DeviceGroup>,
    changes: &[Change],
    medium: Medium,
    status: StatusCode,
    by: Option<&Nexus>,
) -> Result<KVec<Arc<Device>>> {
    // What may fail comes first.
    let sessions = config.sessions()?;
    let closing = match medium {
        Medium::Close => config.devices_in(group)?,
        Medium::Keep | Medium::Open => KVec::new(),
    };
    for change in changes {
        group.dir_of(&change.group)?;
    }
    let mut told = false;
    for change in changes {
        if change.group.state() != change.to {
            change.group.set_state(change.to, status);
            told |= change.to.is_announced();
            pr_info!(
                "Changed ALUA state of {}/{} into {}\n",
                group.name(),
                change.group.name(),
                change.to.name()
            );
        }
    }
    let seen = Seen {
        sessions: &sessions,
        group,
        device: None,
        asked: by,
    };
    seen.refresh(|_| told.then_some(ASYMMETRIC_ACCESS_STATE_CHANGED));
    config.verify_access();
    Ok(closing)
}

impl Config {
    /// With `alua_invariant_check`: complains of each nexus whose gate does not
    /// say what the groups do.
    pub(crate) fn verify_access(&self) {
        if !crate::ALUA_INVARIANT_CHECK.get() {
            return;
        }
        for session in self.sessions().iter().flatten() {
            let mut nexuses = NexusList::new();
            let _ = session.collect(&mut nexuses, |_| true);
            for nexus in &nexuses {
                let (is, ought) = (nexus.access(), nexus.granted());
                if is.serves_io() != ought.serves_io() || (!is.serves_io() && is != ought) {
                    log_err!(
                        "ALUA: LUN {} of initiator {} at target {} is {}, its group {}",
                        nexus.lun(),
                        session.initiator(),
                        session.target.name(),
                        is.name(),
                        ought.name()
                    );
                }
            }
        }
    }
}

/// The answer to SET TARGET PORT GROUPS where that is not allowed: there is no
/// such service action.
const NO_SUCH_ACTION: Sense = INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4);

impl Cmd<Executing> {
    /// Answers REPORT TARGET PORT GROUPS (SPC-6 6.37); a device that is in no
    /// device group has none. Process context.
    pub fn report_target_port_groups(mut self) {
        let request = match ReportGroups::decode(self.raw_cdb()) {
            Ok(request) => request,
            Err(sense) => return self.check_condition(sense),
        };
        match self.nexus().and_then(|nexus| nexus.device.group()) {
            Some(group) => match group.report(request, self.length() as usize) {
                Ok(data) => self.put(&data),
                Err(_) => return self.status(status::BUSY),
            },
            None => {
                let mut header = [0; 8];
                let mut w = Writer::new(&mut header);
                request.start(&mut w).finish();
                self.put(w.as_bytes());
            }
        }
        self.good();
    }

    /// Carries out SET TARGET PORT GROUPS (SPC-6 6.45), if the device lets
    /// initiators do that (`allowed`) and is in a device group. Opening and
    /// closing media takes its time, so the command is answered later. Process
    /// context.
    pub fn set_target_port_groups(self, allowed: bool) {
        match core() {
            // Without memory the command is dropped, and so answered.
            Ok(core) if allowed => drop(core.work.queue(move || self.set_port_groups())),
            _ => self.check_condition(NO_SUCH_ACTION),
        }
    }

    fn set_port_groups(self) {
        match self.carry_out() {
            Ok(moved) => self.good_with(moved),
            Err(sense) => self.check_condition(sense),
        }
    }

    /// Has a daemon change the states, if there is one that wants to; what it says when it is done.
    /// It does that by writing to `state`, and may bring a cluster with it first.
    fn ask(&self, nexus: &Nexus, group: &DeviceGroup, changes: &[Change]) -> Result<Option<i32>> {
        let differs = |change: &&Change| change.group.state() != change.to;
        let count = changes.iter().filter(differs).count();
        if count == 0 {
            return Ok(None);
        }
        let long = |name: &str| name.len() > stpg::MAX_NAME;
        let mut groups = changes.iter().map(|change| change.group.name());
        if long(nexus.device.name()) || long(group.name()) || groups.any(long) {
            log_err!("SET TARGET PORT GROUPS: a name is too long for daemons to be told");
            return Err(EOVERFLOW);
        }
        let fill = |payload: &mut [u8]| {
            stpg::begin(payload, self.tag(), nexus.device.name());
            for (n, change) in (0..).zip(changes.iter().filter(differs)) {
                let one = stpg::Group {
                    id: change.group.id.load(Relaxed) as u16,
                    from: change.group.state().name(),
                    to: change.to.name(),
                    device_group: group.name(),
                    target_group: change.group.name(),
                };
                stpg::group(payload, n, &one);
            }
        };
        let core = core()?;
        group.set_asker(self.nexus_in_use());
        let answer = core.events.ask(code::STPG, stpg::len(count), fill);
        group.set_asker(None);
        answer
    }

    /// Returns the length of the parameter list.
    fn carry_out(&self) -> Result<u32, Sense> {
        let nexus = self.nexus().ok_or(INTERNAL_TARGET_FAILURE)?;
        let group = nexus.device.group().ok_or(NO_SUCH_ACTION)?;
        let failed = |_| SET_TARGET_PORT_GROUPS_FAILED;
        let length = SetGroups::list_length(self.raw_cdb());
        let mut list =
            KVec::from_elem(0u8, length.min(MAX_SET_LIST), GFP_KERNEL).map_err(failed)?;
        let got = self.get(&mut list);
        let asked = SetGroups::parse(list.get(..got).unwrap_or(&[]), length)?;
        let mut changes = KVec::new();
        for one in asked.iter() {
            let change = Change {
                group: group.with_id(one.id).ok_or(one.unknown())?,
                to: one.state,
            };
            changes.push(change, GFP_KERNEL).map_err(failed)?;
        }
        match self.ask(nexus, &group, &changes) {
            Ok(Some(0)) => {}
            Ok(Some(_)) | Err(_) => return Err(SET_TARGET_PORT_GROUPS_FAILED),
            Ok(None) => change(&group, &changes, StatusCode::Explicit, Some(nexus))
                .map_err(|_| SET_TARGET_PORT_GROUPS_FAILED)?,
        }
        Ok(got as u32)
    }
}
