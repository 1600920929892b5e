// SPDX-License-Identifier: GPL-2.0

//! What is written to the `mgmt` files and attributes of device groups.
//!
//! Each is done under the configuration's lock, but for changes of states, which
//! may have to open and close media.

use crate::{
    alua::{self, Seen},
    attrs_device_group as attrs,
    config::{core, Config, Core},
    device::Device,
    device_group::{Change, DeviceGroup, Place, Port, RemotePort, TargetGroup},
    session::Session,
    target::Target,
    util::{log_err, Name},
};
use core::ptr;
use kapi::sysfs::Dir;
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use scst_proto::{
    alua::{AccessState, StatusCode, MAX_PORTS},
    command::{GroupsCommand, MembersCommand},
    sense::{Sense, ASYMMETRIC_ACCESS_STATE_CHANGED, INQUIRY_DATA_HAS_CHANGED},
};

/// A line written to `device_groups/mgmt`.
pub(crate) fn manage(command: GroupsCommand<'_>) -> Result {
    let core = core()?;
    let mut config = core.config.lock();
    match command {
        GroupsCommand::Create(name) => config.create_device_group(&core, name),
        GroupsCommand::Del(name) => config.delete_device_group(name),
    }
}

impl Config {
    fn device_group(&self, name: &str) -> Option<usize> {
        self.device_groups.iter().position(|g| g.name() == name)
    }

    fn create_device_group(&mut self, core: &Core, name: &str) -> Result {
        if self.device_group(name).is_some() {
            log_err!("Device group {} already exists", name);
            return Err(EEXIST);
        }
        let id = self.next_id();
        let group = DeviceGroup::new(id, name)?;
        self.device_groups.reserve(1, GFP_KERNEL)?;
        let dirs = attrs::publish(&core.top.device_groups, &group);
        group.set_dirs(dirs.inspect_err(|_| log_err!("Device group {} cannot be made", name))?);
        let added = self.device_groups.push_within_capacity(group);
        added.map_err(|_| ENOMEM)
    }

    fn delete_device_group(&mut self, name: &str) -> Result {
        let Some(at) = self.device_group(name) else {
            log_err!("Device group {} not found", name);
            return Err(EINVAL);
        };
        let sessions = self.sessions()?;
        let devices = match self.device_groups.get(at) {
            Some(group) => self.devices_in(group)?,
            None => return Err(EINVAL),
        };
        let group = self.device_groups.remove(at).map_err(|_| EINVAL)?;
        for device in &devices {
            leave(&sessions, &group, device);
        }
        group.unpublish();
        self.verify_access();
        Ok(())
    }

    /// A device goes: its group does not have it any more.
    pub(crate) fn forget_device(&self, device: &Device) {
        if let Some(group) = device.group() {
            leave(&[], &group, device);
        }
    }

    /// A target goes: no target group has it any more.
    pub(crate) fn forget_target(&self, target: &Target) {
        for group in &self.device_groups {
            drop(group.remove_target(target));
        }
    }
}

/// Takes `device` out of `group`, and tells the initiators of `sessions`.
fn leave(sessions: &[Arc<Session>], group: &DeviceGroup, device: &Device) {
    device.set_group(None);
    let seen = Seen {
        sessions,
        group,
        device: Some(device),
        asked: None,
    };
    seen.release(INQUIRY_DATA_HAS_CHANGED);
    group.remove_device(device.name());
}

/// A line written to `devices/mgmt` of `group`.
pub(crate) fn manage_devices(group: &Arc<DeviceGroup>, command: MembersCommand<'_>) -> Result {
    let core = core()?;
    let config = core.config.lock();
    let dirs = group.dirs()?;
    let sessions = config.sessions()?;
    match command {
        MembersCommand::Add(name) => {
            let device = core.find_device(&config, name)?;
            if let Some(other) = device.group() {
                log_err!("Device {} is in device group {}", name, other.name());
                return Err(EEXIST);
            }
            group.add_device(name, device.link_in(&dirs.devices)?)?;
            device.set_group(Some(group.clone()));
            let seen = Seen {
                sessions: &sessions,
                group,
                device: Some(&device),
                asked: None,
            };
            seen.refresh(|_| Some(INQUIRY_DATA_HAS_CHANGED));
        }
        MembersCommand::Del(name) => {
            let device = config.device(name).filter(|device| device.is_in(group));
            let Some(device) = device else {
                log_err!("Device {} not found in device group {}", name, group.name());
                return Err(EINVAL);
            };
            leave(&sessions, group, device);
        }
    }
    config.verify_access();
    Ok(())
}

/// A line written to `target_groups/mgmt` of `group`.
pub(crate) fn manage_targets(group: &Arc<DeviceGroup>, command: GroupsCommand<'_>) -> Result {
    let core = core()?;
    let config = core.config.lock();
    let dirs = group.dirs()?;
    match command {
        GroupsCommand::Create(name) => {
            if group.target_group(name).is_some() {
                let group = group.name();
                log_err!(
                    "Target group {} already exists in device group {}",
                    name,
                    group
                );
                return Err(EEXIST);
            }
            let targets = TargetGroup::new(name)?;
            let dir = attrs::target_group(&dirs.target_groups, group, &targets);
            let dir = dir.inspect_err(|_| log_err!("Target group {} cannot be made", name))?;
            group.add_target_group(targets, dir)
        }
        GroupsCommand::Del(name) => {
            let sessions = config.sessions()?;
            let Some(gone) = group.remove_target_group(name) else {
                let group = group.name();
                log_err!("Target group {} not found in device group {}", name, group);
                return Err(EINVAL);
            };
            let tell = |target: &Target| gone.has(target).then_some(INQUIRY_DATA_HAS_CHANGED);
            refresh(&config, &sessions, group, tell);
            Ok(())
        }
    }
}

/// Brings all nexuses of `group` into line with it, and tells those through each
/// target what `tell` says.
fn refresh(
    config: &Config,
    sessions: &[Arc<Session>],
    group: &DeviceGroup,
    tell: impl Fn(&Target) -> Option<Sense>,
) {
    let seen = Seen {
        sessions,
        group,
        device: None,
        asked: None,
    };
    seen.refresh(tell);
    config.verify_access();
}

/// A line written to `mgmt` of the target group `targets` of `group`.
pub(crate) fn manage_ports(
    group: &Arc<DeviceGroup>,
    targets: &Arc<TargetGroup>,
    command: MembersCommand<'_>,
) -> Result {
    let core = core()?;
    let config = core.config.lock();
    let dir = group.dir_of(targets)?;
    let sessions = config.sessions()?;
    match command {
        MembersCommand::Add(name) => {
            if group.has_port(name) {
                let group = group.name();
                log_err!(
                    "Target {} is in a target group of device group {}",
                    name,
                    group
                );
                return Err(EEXIST);
            }
            if group.ports(targets) >= MAX_PORTS {
                let targets = targets.name();
                log_err!(
                    "Target group {} has {} targets, the most",
                    targets,
                    MAX_PORTS
                );
                return Err(ENOSPC);
            }
            let local = config.target(name)?;
            let place = place(&dir, name, local.clone()).inspect_err(|_| {
                log_err!("Target {} cannot be added to {}", name, targets.name());
            })?;
            let name = Name::new(name)?;
            group.add_port(targets, Port { name, place })?;
            let is_it = |target: &Target| local.as_deref().is_some_and(|l| ptr::eq(l, target));
            let tell = |target: &Target| is_it(target).then_some(INQUIRY_DATA_HAS_CHANGED);
            refresh(&config, &sessions, group, tell);
        }
        MembersCommand::Del(name) => {
            let Some(gone) = group.remove_port(targets, name) else {
                log_err!("Target {} not found in {}", name, targets.name());
                return Err(EINVAL);
            };
            let tell = |target: &Target| gone.is(target).then_some(INQUIRY_DATA_HAS_CHANGED);
            refresh(&config, &sessions, group, tell);
        }
    }
    Ok(())
}

/// Where the target `name` is, `local` if it is one of this machine: with its
/// link or directory in `dir`.
fn place(dir: &Dir, name: &str, local: Option<Arc<Target>>) -> Result<Place> {
    if let Some(target) = local {
        let _link = target.link_in(dir)?;
        return Ok(Place::Local { target, _link });
    }
    let port = Arc::new(
        RemotePort {
            rel_tgt_id: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let _dir = attrs::remote_dir(dir, name, &port)?;
    Ok(Place::Remote { port, _dir })
}

/// `group_id` of a target group.
pub(crate) fn set_id(group: &DeviceGroup, targets: &TargetGroup, id: u16) -> Result {
    let core = core()?;
    let config = core.config.lock();
    let sessions = config.sessions()?;
    group.dir_of(targets)?;
    if targets.id.load(Relaxed) == u32::from(id) {
        return Ok(());
    }
    targets.id.store(u32::from(id), Relaxed);
    refresh(&config, &sessions, group, |target| {
        let told = group.is_in(target, targets);
        told.then_some(INQUIRY_DATA_HAS_CHANGED)
    });
    Ok(())
}

/// `preferred` of a target group.
pub(crate) fn set_preferred(group: &DeviceGroup, targets: &TargetGroup, on: bool) -> Result {
    let core = core()?;
    let config = core.config.lock();
    let sessions = config.sessions()?;
    group.dir_of(targets)?;
    if (targets.preferred.load(Relaxed) != 0) != on {
        targets.preferred.store(u32::from(on), Relaxed);
        let tell = |_: &Target| Some(ASYMMETRIC_ACCESS_STATE_CHANGED);
        refresh(&config, &sessions, group, tell);
    }
    Ok(())
}

/// `state` of a target group.
pub(crate) fn set_state(
    group: &Arc<DeviceGroup>,
    targets: &Arc<TargetGroup>,
    to: AccessState,
) -> Result {
    let change = Change {
        group: targets.clone(),
        to,
    };
    alua::change(group, &[change], StatusCode::Implicit, None)
}
