// SPDX-License-Identifier: GPL-2.0

//! Directories of target drivers and of their targets.

use crate::{
    attrs_group::{self, managed},
    attrs_root::{plain, show_trace_level, store_trace_level},
    drivers::Driver,
    group::GroupDirs,
    protection,
    stats::{Count, Kind},
    target::{Target, TargetDirs},
    util::{emit, flag, number, parsed, show_flag, show_keyed, store_flag, text},
};
use kapi::sysfs::{Attr, Dir, Group, Page, Parent};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{command::DriverCommand, mgmt::one_line};

static DRIVER_PROTECTION: &[Attr<Driver>] = &[Attr::ro(
    c"dif_capabilities",
    |d, p| protection::show_capabilities(p, d.ops().checks_protection()),
    "What the driver's targets do with protection information, see there.",
)];

static DRIVER: &[Attr<Driver>] = &[Attr::rw(
    c"trace_level",
    |d, p| show_trace_level(&d.trace_level, "", p),
    |d, b| store_trace_level(&d.trace_level, b),
    "What is logged.",
)];

static DRIVER_MGMT: &[Attr<Driver>] = &[Attr::rw(
    c"mgmt",
    show_mgmt,
    |d, b| {
        managed(|| {
            let command = parsed(DriverCommand::parse(text(b)?))?;
            d.ops().manage(command)
        })
    },
    "Adds and deletes targets.",
)];

fn show_mgmt(driver: &Driver, page: &mut Page<'_>) -> Result {
    let ops = driver.ops();
    emit!(
        page,
        "Usage: echo \"add_target target_name [parameters]\" >mgmt\n\
         \x20      echo \"del_target target_name\" >mgmt\n{}\
         \nwhere parameters are one or more param_name=value pairs separated by ';'\n\n",
        ops.extra_help()
    );
    let mut params = ops.target_params().iter();
    if let Some(first) = params.next() {
        emit!(page, "\nThe following parameters available: {}", first);
        for param in params {
            emit!(page, ", {}", param);
        }
        emit!(page, "\n");
    }
    emit!(page, "\n");
    Ok(())
}

/// Files about a driver, whose code what is written to them runs: its module stays meanwhile.
fn of_driver(driver: &Arc<Driver>, table: &'static [Attr<Driver>]) -> Result<Group> {
    Group::of_module(driver.clone(), table, driver.module)
}

/// The directory of a driver below `targets`.
pub(crate) fn driver_dir(targets: &Dir, driver: &Arc<Driver>) -> Result<Dir> {
    let mut groups = driver.ops().attrs()?;
    if driver.ops().has_trace_level() {
        groups.push(of_driver(driver, DRIVER)?, GFP_KERNEL)?;
    }
    if driver.ops().has_mgmt() {
        groups.push(of_driver(driver, DRIVER_MGMT)?, GFP_KERNEL)?;
    }
    groups.push(of_driver(driver, DRIVER_PROTECTION)?, GFP_KERNEL)?;
    Dir::create(Parent::Dir(targets), driver.name().as_bytes(), groups)
}

fn show_sum(target: &Target, page: &mut Page<'_>, kind: Kind, count: Count) -> Result {
    let mut sum = 0u64;
    for session in &target.sessions()? {
        sum = sum.wrapping_add(session.count(kind, count));
    }
    let unit = match count {
        Count::Bytes => sum >> 10,
        _ => sum,
    };
    emit!(page, "{}\n", unit);
    Ok(())
}

macro_rules! sums {
    ($($name:literal => $kind:ident $count:ident;)*) => {
        &[$(Attr::ro(
            $name,
            |t, p| show_sum(t, p, Kind::$kind, Count::$count),
            "Sum over the sessions that are open.",
        ),)*]
    };
}

static SUMS: &[Attr<Target>] = sums! {
    c"bidi_cmd_count" => Bidi Commands;
    c"bidi_io_count_kb" => Bidi Bytes;
    c"bidi_unaligned_cmd_count" => Bidi Unaligned;
    c"none_cmd_count" => None Commands;
    c"read_cmd_count" => Read Commands;
    c"read_io_count_kb" => Read Bytes;
    c"read_unaligned_cmd_count" => Read Unaligned;
    c"unknown_cmd_count" => Unknown Commands;
    c"write_cmd_count" => Write Commands;
    c"write_io_count_kb" => Write Bytes;
    c"write_unaligned_cmd_count" => Write Unaligned;
};

static TARGET: &[Attr<Target>] = &[
    Attr::rw(
        c"aen_disabled",
        |t, p| show_flag(p, &t.aen_disabled),
        |t, b| store_flag(&t.aen_disabled, b),
        "1: changes of LUNs are told by unit attentions only.",
    ),
    Attr::rw(
        c"comment",
        |t, p| {
            t.with_comment(|comment| match comment {
                "" => Ok(()),
                comment => show_keyed(p, comment, true),
            })
        },
        |t, b| t.set_comment(parsed(one_line(text(b)?))?),
        "Free text.",
    ),
    Attr::rw(
        c"forward_dst",
        |t, p| show_keyed(p, t.forward_dst.load(Relaxed), false),
        |t, b| store_flag(&t.forward_dst, b),
        "1: the target takes commands that another node forwards.",
    ),
    Attr::rw(
        c"forward_src",
        |t, p| show_flag(p, &t.forward_src),
        |t, b| store_flag(&t.forward_src, b),
        "1: the target forwards commands to another node.",
    ),
    Attr::rw(
        c"forwarding",
        |t, p| show_flag(p, &t.forward_src),
        |t, b| store_flag(&t.forward_src, b),
        "Old name of forward_src.",
    ),
    Attr::rw(
        c"rel_tgt_id",
        |t, p| {
            let id = t.rel_tgt_id();
            show_keyed(p, id, id != 0)
        },
        |t, b| managed(|| t.set_rel_tgt_id(number(b)?)),
        "Relative target port identifier, 1 to 65535, of which each target has its own.",
    ),
    Attr::ro(
        c"sg_tablesize",
        |t, p| {
            emit!(p, "{}\n", t.sg_tablesize);
            Ok(())
        },
        "Most scatterlist segments that a command can have.",
    ),
];

static ENABLED: &[Attr<Target>] = &[Attr::rw(
    c"enabled",
    |t, p| {
        let on = t.enabled.as_ref().map_or(0, |on| on.load(Relaxed));
        emit!(p, "{}\n", on);
        Ok(())
    },
    |t, b| managed(|| t.enable(flag(b)?)),
    "1: initiators can log in.",
)];

/// Makes a target's directories, with the driver's `attrs` in its own.
pub(crate) fn publish(driver: &Dir, target: &Arc<Target>, attrs: KVec<Group>) -> Result {
    let mut groups = attrs;
    groups.push(Group::new(target.clone(), TARGET)?, GFP_KERNEL)?;
    groups.push(Group::new(target.clone(), SUMS)?, GFP_KERNEL)?;
    groups.push(Group::new(target.clone(), protection::TARGET)?, GFP_KERNEL)?;
    groups.push(attrs_group::access(target)?, GFP_KERNEL)?;
    if target.enabled.is_some() {
        groups.push(Group::new(target.clone(), ENABLED)?, GFP_KERNEL)?;
    }
    let own = Dir::create(Parent::Dir(driver), target.name().as_bytes(), groups)?;
    let luns = attrs_group::luns_dir(&own, target, &target.default_group)?;
    let ini_groups = attrs_group::ini_groups_dir(&own, target)?;
    let sessions = plain(&own, b"sessions")?;
    target.default_group.set_dirs(Some(GroupDirs {
        luns,
        initiators: None,
        own: None,
    }));
    target.set_dirs(Some(TargetDirs {
        sessions,
        ini_groups,
        own,
    }));
    Ok(())
}
