// SPDX-License-Identifier: GPL-2.0

//! Device groups: devices that are accessed alike, and the target port groups
//! that say how (ALUA, SPC-6 5.18).
//!
//! A device is in one device group at most, a target port in one target group of
//! a device group at most. A target port of this machine is a member by its
//! [`Target`]; one of another node is a name and a number, which initiators have
//! to be told from here too.

use crate::{nexus::Nexus, target::Target, util::Name};
use kapi::{
    counted::InUse,
    sysfs::{Dir, Link},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};
use scst_proto::{
    alua::{medium, AccessState, Group, Medium, ReportGroups, StatusCode},
    bytes::Writer,
};

/// A target port of another node.
pub(crate) struct RemotePort {
    /// Its relative target port identifier; 0 while nobody has said it.
    pub(crate) rel_tgt_id: Atomic<u32>,
}

/// Where a target port is, with what is in sysfs for it.
pub(crate) enum Place {
    /// On this machine.
    Local { target: Arc<Target>, _link: Link },
    /// On another one.
    Remote { port: Arc<RemotePort>, _dir: Dir },
}

/// A member of a target group.
pub(crate) struct Port {
    pub(crate) name: Name,
    pub(crate) place: Place,
}

impl Port {
    fn rel_tgt_id(&self) -> u16 {
        match &self.place {
            Place::Local { target, .. } => target.rel_tgt_id(),
            // No more than that is ever stored.
            Place::Remote { port, .. } => port.rel_tgt_id.load(Relaxed) as u16,
        }
    }

    /// Whether it is the target port `other` of this machine.
    pub(crate) fn is(&self, other: &Target) -> bool {
        matches!(&self.place, Place::Local { target, .. } if ::core::ptr::eq(&**target, other))
    }
}

/// A target port group (SPC-6 3.1): ports with the same access to the devices
/// of the device group.
pub(crate) struct TargetGroup {
    name: Name,
    /// TARGET PORT GROUP.
    pub(crate) id: Atomic<u32>,
    /// PREF.
    pub(crate) preferred: Atomic<u32>,
    /// Code of an [`AccessState`].
    state: Atomic<u32>,
    /// Whether SET TARGET PORT GROUPS brought it there.
    explicit: Atomic<u32>,
}

impl TargetGroup {
    pub(crate) fn new(name: &str) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                name: Name::new(name)?,
                id: Atomic::new(0),
                preferred: Atomic::new(0),
                state: Atomic::new(u32::from(AccessState::Optimized.code())),
                explicit: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn state(&self) -> AccessState {
        // Only codes of states are ever stored.
        AccessState::from_code(self.state.load(Relaxed) as u8).unwrap_or(AccessState::Unavailable)
    }

    /// Under the configuration's lock.
    pub(crate) fn set_state(&self, state: AccessState, status: StatusCode) {
        self.state.store(u32::from(state.code()), Relaxed);
        let explicit = status == StatusCode::Explicit;
        self.explicit.store(u32::from(explicit), Relaxed);
    }

    /// As REPORT TARGET PORT GROUPS tells it.
    fn described(&self) -> Group {
        Group {
            id: self.id.load(Relaxed) as u16,
            preferred: self.preferred.load(Relaxed) != 0,
            state: self.state(),
            status: match self.explicit.load(Relaxed) {
                0 => StatusCode::Implicit,
                _ => StatusCode::Explicit,
            },
        }
    }
}

/// A target group with its members and its directory.
pub(crate) struct Entry {
    group: Arc<TargetGroup>,
    ports: KVec<Port>,
    dir: Arc<Dir>,
}

impl Entry {
    /// Whether `target` is a member.
    pub(crate) fn has(&self, target: &Target) -> bool {
        self.ports.iter().any(|port| port.is(target))
    }

    fn has_local(&self) -> bool {
        self.ports
            .iter()
            .any(|port| matches!(port.place, Place::Local { .. }))
    }
}

/// A device of the group: its name, and its link in `devices`.
struct Member {
    name: Name,
    _link: Link,
}

/// The directories of a device group.
pub(crate) struct Dirs {
    pub(crate) devices: Dir,
    pub(crate) target_groups: Dir,
    pub(crate) _own: Dir,
}

#[derive(Default)]
struct State {
    devices: KVec<Member>,
    targets: KVec<Entry>,
    /// `None` when the group was deleted.
    dirs: Option<Arc<Dirs>>,
    /// Whose SET TARGET PORT GROUPS a daemon is carrying out.
    asker: Option<InUse<Nexus>>,
}

/// A device group. What changes it is management, under the configuration's
/// lock; what only looks takes its own lock. May sleep.
#[pin_data]
pub(crate) struct DeviceGroup {
    /// Not 0, and no other group's.
    pub(crate) id: u32,
    name: Name,
    #[pin]
    state: Mutex<State>,
}

/// What is wanted of a target group, as [`DeviceGroup::medium`] and the core's
/// `alua` module take it.
pub(crate) struct Change {
    pub(crate) group: Arc<TargetGroup>,
    pub(crate) to: AccessState,
}

impl DeviceGroup {
    pub(crate) fn new(id: u32, name: &str) -> Result<Arc<Self>> {
        let name = Name::new(name)?;
        Arc::pin_init(
            pin_init!(Self {
                id,
                name,
                state <- new_mutex!(State::default(), "scst_device_group"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The nexus whose SET TARGET PORT GROUPS a daemon is carrying out.
    pub(crate) fn asker(&self) -> Option<InUse<Nexus>> {
        self.state.lock().asker.clone()
    }

    /// See [`DeviceGroup::asker`].
    pub(crate) fn set_asker(&self, asker: Option<InUse<Nexus>>) {
        let old = core::mem::replace(&mut self.state.lock().asker, asker);
        drop(old);
    }

    pub(crate) fn set_dirs(&self, dirs: Arc<Dirs>) {
        self.state.lock().dirs = Some(dirs);
    }

    /// The directories; `ENODEV` if the group was deleted.
    pub(crate) fn dirs(&self) -> Result<Arc<Dirs>> {
        self.state.lock().dirs.clone().ok_or(ENODEV)
    }

    /// Takes everything out of the group, also what it has in sysfs.
    pub(crate) fn unpublish(&self) {
        let all = ::core::mem::take(&mut *self.state.lock());
        drop(all.devices);
        drop(all.targets);
        drop(all.dirs);
    }

    pub(crate) fn add_device(&self, name: &str, link: Link) -> Result {
        let member = Member {
            name: Name::new(name)?,
            _link: link,
        };
        Ok(self.state.lock().devices.push(member, GFP_KERNEL)?)
    }

    pub(crate) fn remove_device(&self, name: &str) {
        let member = {
            let devices = &mut self.state.lock().devices;
            let at = devices.iter().position(|m| m.name == *name);
            at.and_then(|at| devices.remove(at).ok())
        };
        drop(member);
    }

    /// The target group `name`.
    pub(crate) fn target_group(&self, name: &str) -> Option<Arc<TargetGroup>> {
        let state = self.state.lock();
        let mut groups = state.targets.iter().map(|entry| &entry.group);
        groups.find(|group| group.name() == name).cloned()
    }

    /// The first target group with this TARGET PORT GROUP number.
    pub(crate) fn with_id(&self, id: u16) -> Option<Arc<TargetGroup>> {
        let state = self.state.lock();
        let mut groups = state.targets.iter().map(|entry| &entry.group);
        let found = groups.find(|group| group.id.load(Relaxed) == u32::from(id));
        found.cloned()
    }

    /// The directory of a target group; `ENODEV` if that was deleted.
    pub(crate) fn dir_of(&self, group: &TargetGroup) -> Result<Arc<Dir>> {
        let state = self.state.lock();
        let entry = find(&state.targets, group).ok_or(ENODEV)?;
        Ok(entry.dir.clone())
    }

    pub(crate) fn add_target_group(&self, group: Arc<TargetGroup>, dir: Dir) -> Result {
        let entry = Entry {
            group,
            ports: KVec::new(),
            dir: Arc::new(dir, GFP_KERNEL)?,
        };
        Ok(self.state.lock().targets.push(entry, GFP_KERNEL)?)
    }

    /// Takes a target group out; what is returned has its directory.
    pub(crate) fn remove_target_group(&self, name: &str) -> Option<Entry> {
        let targets = &mut self.state.lock().targets;
        let at = targets
            .iter()
            .position(|entry| entry.group.name() == name)?;
        targets.remove(at).ok()
    }

    /// Whether a target group has a port of this name.
    pub(crate) fn has_port(&self, name: &str) -> bool {
        let state = self.state.lock();
        let mut ports = state.targets.iter().flat_map(|entry| entry.ports.iter());
        ports.any(|port| port.name == *name)
    }

    /// Adds a port to `group`; `ENODEV` if that was deleted.
    pub(crate) fn add_port(&self, group: &TargetGroup, port: Port) -> Result {
        let targets = &mut self.state.lock().targets;
        let mut entries = targets.iter_mut();
        let entry = entries.find(|entry| ::core::ptr::eq(&*entry.group, group));
        Ok(entry.ok_or(ENODEV)?.ports.push(port, GFP_KERNEL)?)
    }

    /// How many ports `group` has.
    pub(crate) fn ports(&self, group: &TargetGroup) -> usize {
        let state = self.state.lock();
        find(&state.targets, group).map_or(0, |entry| entry.ports.len())
    }

    /// Takes a port out of `group`.
    pub(crate) fn remove_port(&self, group: &TargetGroup, name: &str) -> Option<Port> {
        self.take_port(|of, port| ::core::ptr::eq(of, group) && port.name == *name)
    }

    /// Takes `target` out of whatever target group it is in.
    pub(crate) fn remove_target(&self, target: &Target) -> Option<Port> {
        self.take_port(|_, port| port.is(target))
    }

    fn take_port(&self, is_it: impl Fn(&TargetGroup, &Port) -> bool) -> Option<Port> {
        let targets = &mut self.state.lock().targets;
        for entry in targets.iter_mut() {
            let at = entry.ports.iter().position(|p| is_it(&entry.group, p));
            if let Some(at) = at {
                return entry.ports.remove(at).ok();
            }
        }
        None
    }

    /// Calls `f` with the target group that `target` is in.
    fn of_target<R>(&self, target: &Target, f: impl FnOnce(&TargetGroup) -> R) -> Option<R> {
        let state = self.state.lock();
        let mut entries = state.targets.iter();
        let entry = entries.find(|entry| entry.has(target))?;
        Some(f(&entry.group))
    }

    /// The access through `target`: without a target group, nothing is in the way.
    pub(crate) fn access(&self, target: &Target) -> AccessState {
        self.of_target(target, TargetGroup::state)
            .unwrap_or(AccessState::Optimized)
    }

    /// TARGET PORT GROUP of `target`, if it is in one.
    pub(crate) fn target_port_group(&self, target: &Target) -> Option<u16> {
        self.of_target(target, |group| group.id.load(Relaxed) as u16)
    }

    /// Whether `target` is in `group`.
    pub(crate) fn is_in(&self, target: &Target, group: &TargetGroup) -> bool {
        self.of_target(target, |of| ::core::ptr::eq(of, group)) == Some(true)
    }

    /// What `changes` ask of the media of the group's devices.
    pub(crate) fn medium(&self, changes: &[Change]) -> Medium {
        let state = self.state.lock();
        let local = || {
            let entries = state.targets.iter();
            let local = entries.filter(|entry| entry.has_local());
            local.map(|entry| &entry.group)
        };
        let after = |group: &Arc<TargetGroup>| {
            let mut last = changes.iter().rev();
            let change = last.find(|change| Arc::ptr_eq(&change.group, group));
            change.map_or_else(|| group.state(), |change| change.to)
        };
        medium(local().map(|group| group.state()), local().map(after))
    }

    /// REPORT TARGET PORT GROUPS parameter data, the first `most` bytes of them.
    pub(crate) fn report(&self, request: ReportGroups, most: usize) -> Result<KVec<u8>> {
        let (groups, ports) = {
            let state = self.state.lock();
            let ports = state.targets.iter().map(|entry| entry.ports.len());
            (state.targets.len(), ports.sum())
        };
        // If there are more by now, they are cut off as by a short allocation length.
        let room = ReportGroups::size(groups, ports).min(most);
        let mut data = KVec::from_elem(0u8, room, GFP_KERNEL)?;
        let mut w = Writer::new(&mut data);
        let mut report = request.start(&mut w);
        let state = self.state.lock();
        for entry in &state.targets {
            let ports = entry.ports.iter().map(Port::rel_tgt_id);
            report.group(&entry.group.described(), ports);
        }
        drop(state);
        report.finish();
        let written = w.written();
        data.truncate(written);
        Ok(data)
    }
}

fn find<'a>(entries: &'a [Entry], group: &TargetGroup) -> Option<&'a Entry> {
    let mut entries = entries.iter();
    entries.find(|entry| ::core::ptr::eq(&*entry.group, group))
}
