// SPDX-License-Identifier: GPL-2.0

//! Directories of device groups, of their target groups, and of target ports of
//! other nodes.

use crate::{
    attrs_group::managed,
    attrs_root::plain,
    device_group::{DeviceGroup, Dirs, RemotePort, TargetGroup},
    device_groups as groups,
    util::{emit, flag, log_err, number, parsed, show_keyed, text},
};
use kapi::sysfs::{Attr, Dir, Group, Page, Parent};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{
    alua::AccessState,
    command::{GroupsCommand, MembersCommand},
};

/// What the files of a target group are about.
pub(crate) struct Handle {
    group: Arc<DeviceGroup>,
    targets: Arc<TargetGroup>,
}

/// What `device_groups/mgmt` is about.
struct AllGroups;

/// A device group, as the files in its directories see it.
struct Files(Arc<DeviceGroup>);

fn usage(page: &mut Page<'_>, add: &str, del: &str) -> Result {
    emit!(
        page,
        "Usage: echo \"{}\" >mgmt\n\
         \x20      echo \"{}\" >mgmt\n",
        add,
        del
    );
    Ok(())
}

fn usage_groups(page: &mut Page<'_>) -> Result {
    usage(page, "create group_name", "del group_name")
}

static ROOT: &[Attr<AllGroups>] = &[Attr::rw(
    c"mgmt",
    |_, p| usage_groups(p),
    |_, b| managed(|| groups::manage(parsed(GroupsCommand::parse(text(b)?))?)),
    "Makes and removes groups of devices that are accessed alike (ALUA).",
)];

static DEVICES: &[Attr<Files>] = &[Attr::rw(
    c"mgmt",
    |_, p| usage(p, "add device", "del device"),
    |g, b| {
        managed(|| {
            let command = parsed(MembersCommand::parse(text(b)?))?;
            groups::manage_devices(&g.0, command)
        })
    },
    "Devices of the group.",
)];

static TARGET_GROUPS: &[Attr<Files>] = &[Attr::rw(
    c"mgmt",
    |_, p| usage_groups(p),
    |g, b| {
        managed(|| {
            let command = parsed(GroupsCommand::parse(text(b)?))?;
            groups::manage_targets(&g.0, command)
        })
    },
    "Makes and removes target port groups.",
)];

/// A number of 16 bits.
fn bounded(what: &str, bytes: &[u8]) -> Result<u16> {
    let n = number(bytes)?;
    u16::try_from(n).map_err(|_| {
        log_err!("{} {} is too large: at most {}", what, n, u16::MAX);
        EINVAL
    })
}

static TARGET_GROUP: &[Attr<Handle>] = &[
    Attr::rw(
        c"group_id",
        |h, p| show_keyed(p, h.targets.id.load(Relaxed), true),
        |h, b| managed(|| groups::set_id(&h.group, &h.targets, bounded("group_id", b)?)),
        "Number of the target port group that initiators see, 0 to 65535.",
    ),
    Attr::rw(
        c"mgmt",
        |_, p| usage(p, "add target", "del target"),
        |h, b| {
            managed(|| {
                let command = parsed(MembersCommand::parse(text(b)?))?;
                groups::manage_ports(&h.group, &h.targets, command)
            })
        },
        "Targets of the group; one that this machine does not have is another node's.",
    ),
    Attr::rw(
        c"preferred",
        |h, p| {
            let on = h.targets.preferred.load(Relaxed);
            show_keyed(p, on, on != 0)
        },
        |h, b| managed(|| groups::set_preferred(&h.group, &h.targets, flag(b)?)),
        "1: of several groups in the best state, the one to use.",
    ),
    Attr::rw(
        c"state",
        |h, p| show_keyed(p, h.targets.state().name(), true),
        |h, b| {
            managed(|| {
                let state = parsed(AccessState::parse(text(b)?))?;
                groups::set_state(&h.group, &h.targets, state)
            })
        },
        "Access through the targets: active, nonoptimized, standby, unavailable, offline or transitioning.",
    ),
];

static REMOTE: &[Attr<RemotePort>] = &[Attr::rw(
    c"rel_tgt_id",
    |port, p| {
        // Always to be saved: the port is known by nothing else.
        show_keyed(p, port.rel_tgt_id.load(Relaxed), true)
    },
    |port, b| {
        let id = bounded("rel_tgt_id", b)?;
        port.rel_tgt_id.store(u32::from(id), Relaxed);
        Ok(())
    },
    "Relative target port identifier that the target has on its node.",
)];

fn dir<T: Send + Sync + 'static>(
    parent: &Dir,
    name: &str,
    data: Arc<T>,
    table: &'static [Attr<T>],
) -> Result<Dir> {
    let mut groups = KVec::new();
    groups.push(Group::new(data, table)?, GFP_KERNEL)?;
    Dir::create(Parent::Dir(parent), name.as_bytes(), groups)
}

/// The directory `device_groups`.
pub(crate) fn root(root: &Dir) -> Result<Dir> {
    dir(
        root,
        "device_groups",
        Arc::new(AllGroups, GFP_KERNEL)?,
        ROOT,
    )
}

/// The directories of a device group.
pub(crate) fn publish(device_groups: &Dir, group: &Arc<DeviceGroup>) -> Result<Arc<Dirs>> {
    let files = Arc::new(Files(group.clone()), GFP_KERNEL)?;
    let own = plain(device_groups, group.name().as_bytes())?;
    let dirs = Dirs {
        devices: dir(&own, "devices", files.clone(), DEVICES)?,
        target_groups: dir(&own, "target_groups", files, TARGET_GROUPS)?,
        _own: own,
    };
    Ok(Arc::new(dirs, GFP_KERNEL)?)
}

/// The directory of a target group in `target_groups`.
pub(crate) fn target_group(
    target_groups: &Dir,
    group: &Arc<DeviceGroup>,
    targets: &Arc<TargetGroup>,
) -> Result<Dir> {
    let handle = Arc::new(
        Handle {
            group: group.clone(),
            targets: targets.clone(),
        },
        GFP_KERNEL,
    )?;
    dir(target_groups, targets.name(), handle, TARGET_GROUP)
}

/// The directory of a target port of another node.
pub(crate) fn remote_dir(targets: &Dir, name: &str, port: &Arc<RemotePort>) -> Result<Dir> {
    dir(targets, name, port.clone(), REMOTE)
}
