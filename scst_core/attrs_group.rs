// SPDX-License-Identifier: GPL-2.0

//! Attributes of access-control groups and of the LUNs in them.

use crate::{
    config::core,
    group::{Group, GroupDirs, LunInfo, GROUPING_AUTO, GROUPING_NEVER, GROUPING_TARGET},
    target::Target,
    util::{emit, log_err, number, parsed, show_keyed, text},
};
use kapi::{
    cpumask::CpuMask,
    sysfs::{self, Attr, Dir, Parent},
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{
    command::{GroupsCommand, InitiatorsCommand, LunsCommand},
    lun::AddressMethod,
};

/// A group as its files see it: with the target that it is of.
pub(crate) struct Handle {
    target: Arc<Target>,
    group: Arc<Group>,
}

/// Runs a management write and notes its result for `last_sysfs_mgmt_res`.
pub(crate) fn managed(write: impl FnOnce() -> Result) -> Result {
    core()?.globals.note(write())
}

static LUN: &[Attr<LunInfo>] = &[Attr::ro(
    c"read_only",
    |lun, p| show_keyed(p, u8::from(lun.read_only), lun.read_only),
    "1 if initiators cannot write to the device by this LUN.",
)];

/// The directory of a LUN below `luns`.
pub(crate) fn lun_dir(luns: &Dir, lun: u16, read_only: bool) -> Result<Dir> {
    let name = CString::try_from_fmt(fmt!("{}", lun))?;
    let info = Arc::new(LunInfo { read_only }, GFP_KERNEL)?;
    let mut groups = KVec::new();
    groups.push(sysfs::Group::new(info, LUN)?, GFP_KERNEL)?;
    Dir::create(Parent::Dir(luns), name.to_bytes(), groups)
}

static LUNS: &[Attr<Handle>] = &[Attr::rw(
    c"mgmt",
    |_, p| {
        emit!(
            p,
            "Usage: echo \"add H:C:I:L lun [parameters]\" >mgmt\n\
             \x20      echo \"add VNAME lun [parameters]\" >mgmt\n\
             \x20      echo \"del lun\" >mgmt\n\
             \x20      echo \"replace H:C:I:L lun [parameters]\" >mgmt\n\
             \x20      echo \"replace VNAME lun [parameters]\" >mgmt\n\
             \x20      echo \"replace_no_ua H:C:I:L lun [parameters]\" >mgmt\n\
             \x20      echo \"replace_no_ua VNAME lun [parameters]\" >mgmt\n\
             \x20      echo \"clear\" >mgmt\n\n\
             where parameters are one or more param_name=value pairs separated by ';'\n\n\
             The following parameters available: read_only\n"
        );
        Ok(())
    },
    |h, b| {
        managed(|| {
            let command = parsed(LunsCommand::parse(text(b)?))?;
            h.target.manage_luns(&h.group, command)
        })
    },
    "Maps devices to LUNs.",
)];

static INITIATORS: &[Attr<Handle>] = &[Attr::rw(
    c"mgmt",
    |_, p| {
        emit!(
            p,
            "Usage: echo \"add INITIATOR_NAME\" >mgmt\n\
             \x20      echo \"del INITIATOR_NAME\" >mgmt\n\
             \x20      echo \"move INITIATOR_NAME DEST_GROUP_NAME\" >mgmt\n\
             \x20      echo \"clear\" >mgmt\n"
        );
        Ok(())
    },
    |h, b| {
        managed(|| {
            let command = parsed(InitiatorsCommand::parse(text(b)?))?;
            h.target.manage_members(&h.group, command)
        })
    },
    "Initiator names and patterns (*, ?, ! in front) of the group.",
)];

static INI_GROUPS: &[Attr<TargetFiles>] = &[Attr::rw(
    c"mgmt",
    |_, p| {
        emit!(
            p,
            "Usage: echo \"create GROUP_NAME\" >mgmt\n\
             \x20      echo \"del GROUP_NAME\" >mgmt\n"
        );
        Ok(())
    },
    |t, b| {
        managed(|| {
            let command = parsed(GroupsCommand::parse(text(b)?))?;
            if !t.0.driver.ops().has_groups() {
                log_err!("Driver {} has no groups of initiators", t.0.driver.name());
                return Err(EINVAL);
            }
            t.0.manage_groups(command)
        })
    },
    "Makes and removes groups of initiators.",
)];

/// A target as `ini_groups/mgmt` sees it.
pub(crate) struct TargetFiles(Arc<Target>);

/// How the group presents LUNs; in the target's directory for the default one.
static ACCESS: &[Attr<Handle>] = &[
    Attr::rw(
        c"addr_method",
        |h, p| {
            let method = h.group.addr_method();
            show_keyed(p, method.name(), method != AddressMethod::Peripheral)
        },
        |h, b| {
            let word = text(b)?;
            let Some(method) = AddressMethod::parse(word) else {
                log_err!(
                    "Invalid address method \"{}\": PERIPHERAL, FLAT or LUN expected",
                    word
                );
                return Err(EINVAL);
            };
            // A session that is being opened has the old value, or is found here.
            let core = core()?;
            let _config = core.config.lock();
            h.group.set_addr_method(method);
            for session in &h.target.sessions()? {
                if Arc::ptr_eq(&session.group(), &h.group) {
                    session.set_addr_method(method);
                }
            }
            Ok(())
        },
        "How REPORT LUNS numbers LUNs: PERIPHERAL, FLAT or LUN.",
    ),
    Attr::rw(
        c"black_hole",
        |h, p| show_keyed(p, h.group.black_hole.load(Relaxed), false),
        |h, b| {
            let n = number(b)?;
            if n > 4 {
                log_err!("black_hole {} is unknown: 0 to 4 expected", n);
                return Err(EINVAL);
            }
            let core = core()?;
            let _config = core.config.lock();
            h.group.black_hole.store(n as u32, Relaxed);
            for session in &h.target.sessions()? {
                if Arc::ptr_eq(&session.group(), &h.group) {
                    session.set_black_hole(n as u32);
                }
            }
            Ok(())
        },
        "For tests: 1 and 2 keep all commands unanswered until they are aborted, 3 and 4 those that move data.",
    ),
    Attr::rw(
        c"cpu_mask",
        |h, p| match h.group.cpu_mask() {
            Some(mask) => show_keyed(p, &*mask, true),
            None => show_keyed(p, &CpuMask::all()?, false),
        },
        |h, b| {
            let mask = CpuMask::parse(text(b)?.as_bytes()).inspect_err(|_| {
                log_err!("cpu_mask: a hexadecimal mask of CPUs of this machine expected");
            })?;
            let all = mask == CpuMask::all()?;
            let mask = (!all).then(|| Arc::new(mask, GFP_KERNEL)).transpose()?;
            h.target.set_cpus(&h.group, mask)
        },
        "CPUs that threads for this group's initiators run on.",
    ),
    Attr::rw(
        c"io_grouping_type",
        |h, p| match h.group.io_grouping.load(Relaxed) {
            GROUPING_AUTO => show_keyed(p, "auto", false),
            GROUPING_NEVER => show_keyed(p, "never", true),
            GROUPING_TARGET => show_keyed(p, "this_group_only", true),
            n => show_keyed(p, n, true),
        },
        store_grouping,
        "Kept for configurations that set it (auto, this_group_only, never or a number): kernels since 5.0 share no I/O \
         contexts between threads.",
    ),
];

fn store_grouping(handle: &Handle, bytes: &[u8]) -> Result {
    let kind = match text(bytes)? {
        "auto" => GROUPING_AUTO,
        "never" => GROUPING_NEVER,
        "this_group_only" => GROUPING_TARGET,
        _ => match number(bytes)? {
            n @ 1..=0x7fff_ffff => n as i32,
            _ => return Err(EINVAL),
        },
    };
    handle.group.io_grouping.store(kind, Relaxed);
    Ok(())
}

fn group<T: Send + Sync + 'static>(
    data: Arc<T>,
    table: &'static [Attr<T>],
) -> Result<KVec<sysfs::Group>> {
    let mut groups = KVec::new();
    groups.push(sysfs::Group::new(data, table)?, GFP_KERNEL)?;
    Ok(groups)
}

fn handle(target: &Arc<Target>, group: &Arc<Group>) -> Result<Arc<Handle>> {
    Ok(Arc::new(
        Handle {
            target: target.clone(),
            group: group.clone(),
        },
        GFP_KERNEL,
    )?)
}

/// The attributes that say how the default group of `target` presents LUNs.
pub(crate) fn access(target: &Arc<Target>) -> Result<sysfs::Group> {
    sysfs::Group::new(handle(target, &target.default_group)?, ACCESS)
}

/// The `luns` directory of a group, in `parent`.
pub(crate) fn luns_dir(parent: &Dir, target: &Arc<Target>, of: &Arc<Group>) -> Result<Dir> {
    Dir::create(
        Parent::Dir(parent),
        b"luns",
        group(handle(target, of)?, LUNS)?,
    )
}

/// The `ini_groups` directory of a target.
pub(crate) fn ini_groups_dir(parent: &Dir, target: &Arc<Target>) -> Result<Dir> {
    let target = Arc::new(TargetFiles(target.clone()), GFP_KERNEL)?;
    Dir::create(
        Parent::Dir(parent),
        b"ini_groups",
        group(target, INI_GROUPS)?,
    )
}

/// The directories of a named group.
pub(crate) fn publish(
    ini_groups: &Dir,
    target: &Arc<Target>,
    of: &Arc<Group>,
) -> Result<GroupDirs> {
    let handle = handle(target, of)?;
    let own = Dir::create(
        Parent::Dir(ini_groups),
        of.name().as_bytes(),
        group(handle.clone(), ACCESS)?,
    )?;
    let luns = luns_dir(&own, target, of)?;
    let initiators = Dir::create(Parent::Dir(&own), b"initiators", group(handle, INITIATORS)?)?;
    Ok(GroupDirs {
        luns,
        initiators: Some(initiators),
        own: Some(own),
    })
}
