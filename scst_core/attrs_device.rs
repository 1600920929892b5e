// SPDX-License-Identifier: GPL-2.0

//! Directories of device handlers, and the core's own attributes of devices.

use crate::{
    attrs_group::managed,
    attrs_reservations::ATTRS as RESERVATIONS,
    attrs_root::{plain, show_trace_level, store_trace_level},
    block,
    config::core,
    device::{Device, ThreadConfig, DEFAULT_MAX_COMMANDS},
    handlers::Handler,
    threads::MAX_THREADS,
    util::{emit, log_err, number, parsed, show_keyed, text},
};
use kapi::sysfs::{Attr, Dir, Group, Page, Parent};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{command::HandlerCommand, number::parse_i64};

/// Most commands of a nexus that `max_tgt_dev_commands` may allow.
const MAX_COMMANDS: u64 = 65536;

fn type_text(device_type: u8) -> &'static str {
    match device_type {
        0x00 => "0 - Direct-access device (e.g., magnetic disk)",
        0x05 => "5 - CD-ROM device",
        _ => "unknown",
    }
}

static HANDLER: &[Attr<Handler>] = &[
    Attr::rw(
        c"mgmt",
        show_mgmt,
        |h, b| {
            managed(|| {
                let command = parsed(HandlerCommand::parse(text(b)?))?;
                core()?.handler(h)?.manage(command)
            })
        },
        "Adds and deletes devices.",
    ),
    Attr::rw(
        c"trace_level",
        |h, p| show_trace_level(&h.trace_level, ", order", p),
        |h, b| store_trace_level(&h.trace_level, b),
        "What is logged.",
    ),
    Attr::ro(
        c"type",
        |h, p| {
            emit!(p, "{}\n", type_text(h.ops().device_type()));
            Ok(())
        },
        "Peripheral device type of the devices.",
    ),
];

fn show_mgmt(handler: &Handler, page: &mut Page<'_>) -> Result {
    if !handler.is_virtual() {
        return show_pass_through(page);
    }
    emit!(
        page,
        "Usage: echo \"add_device device_name [parameters]\" >mgmt\n\
         \x20      echo \"del_device device_name\" >mgmt\n\n\
         where parameters are one or more param_name=value pairs separated by ';'\n\n\
         The following parameters available: "
    );
    for (n, param) in handler.ops().params().iter().enumerate() {
        emit!(page, "{}{}", if n == 0 { "" } else { ", " }, param);
    }
    emit!(page, "\n\n");
    Ok(())
}

/// What a handler of SCSI devices of this machine takes.
fn show_pass_through(page: &mut Page<'_>) -> Result {
    emit!(
        page,
        "Usage: echo \"add_device H:C:I:L\" >mgmt\n\
         \x20      echo \"del_device H:C:I:L\" >mgmt\n"
    );
    Ok(())
}

/// The directory of a handler below `handlers`.
pub(crate) fn handler_dir(handlers: &Dir, handler: &Arc<Handler>) -> Result<Dir> {
    let mut groups = KVec::new();
    // What is written runs the handler's code: its module stays meanwhile.
    let files = Group::of_module(handler.clone(), HANDLER, handler.module)?;
    groups.push(files, GFP_KERNEL)?;
    Dir::create(Parent::Dir(handlers), handler.name().as_bytes(), groups)
}

static DEVICE: &[Attr<Device>] = &[
    Attr::rw(
        c"max_tgt_dev_commands",
        |d, p| {
            let n = d.max_commands();
            show_keyed(p, n, n != DEFAULT_MAX_COMMANDS)
        },
        |d, b| {
            let n = number(b)?;
            if n == 0 || n > MAX_COMMANDS {
                log_err!("max_tgt_dev_commands {}: 1 to {} expected", n, MAX_COMMANDS);
                return Err(EINVAL);
            }
            found(d)?.set_max_commands(n as u32)
        },
        "Most commands that an initiator may have outstanding; more get TASK SET FULL.",
    ),
    Attr::rw(
        c"numa_node_id",
        |d, p| {
            let node = d.numa_node.load(Relaxed);
            show_keyed(p, node, node >= 0)
        },
        |d, b| {
            let node = parsed(parse_i64(text(b)?))?;
            d.set_numa_node(i32::try_from(node).unwrap_or(i32::MIN))
        },
        "NUMA node for the threads of LUNs that are mapped from now on; -1 for any.",
    ),
    Attr::rw(
        c"threads_num",
        |d, p| {
            let n = d.thread_config().count;
            show_keyed(p, n, n != d.lu.default_threads())
        },
        |d, b| {
            let n = number(b)?;
            if n > u64::from(MAX_THREADS) {
                log_err!("threads_num {} is too large: at most {}", n, MAX_THREADS);
                return Err(EINVAL);
            }
            found(d)?.configure_threads(|now| ThreadConfig {
                count: n as u32,
                ..now
            })
        },
        "Threads for the device's commands; 0: the core's global ones.",
    ),
    Attr::rw(
        c"threads_pool_type",
        |d, p| match d.thread_config().shared {
            true => show_keyed(p, "shared", true),
            false => show_keyed(p, "per_initiator", false),
        },
        |d, b| {
            let shared = match text(b)? {
                "per_initiator" => false,
                "shared" => true,
                other => {
                    log_err!(
                        "Unknown pool type \"{}\": per_initiator or shared expected",
                        other
                    );
                    return Err(EINVAL);
                }
            };
            found(d)?.configure_threads(|now| ThreadConfig { shared, ..now })
        },
        "Whether each initiator has threads of its own: per_initiator or shared.",
    ),
    Attr::ro(
        c"type",
        |d, p| {
            emit!(p, "{}\n", type_text(d.pdt.0));
            Ok(())
        },
        "Peripheral device type.",
    ),
];

/// The core's own reference to a device. Takes the configuration's lock.
fn found(device: &Device) -> Result<Arc<Device>> {
    core()?.device(device.name()).ok_or(ENODEV)
}

/// The directories of a device: its own, with the handler's `attrs`, and the
/// one for links to the LUNs that it is exported as.
pub(crate) fn publish(
    devices: &Dir,
    device: &Arc<Device>,
    attrs: KVec<Group>,
) -> Result<(Dir, Dir)> {
    let mut groups = attrs;
    groups.push(Group::new(device.clone(), DEVICE)?, GFP_KERNEL)?;
    groups.push(Group::new(device.clone(), RESERVATIONS)?, GFP_KERNEL)?;
    groups.push(Group::new(device.clone(), block::ATTRS)?, GFP_KERNEL)?;
    let own = Dir::create(Parent::Dir(devices), device.name().as_bytes(), groups)?;
    let exported = plain(&own, b"exported")?;
    Ok((own, exported))
}
