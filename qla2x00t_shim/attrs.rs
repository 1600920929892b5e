// SPDX-License-Identifier: GPL-2.0

//! The files of this driver in `/sys/kernel/scst_tgt/targets/qla2x00t`.

use crate::{
    driver::Driver,
    npiv::{self, Virtual},
    port::Port,
    qla::Wwn,
};
use core::fmt::{self, Write};
use kapi::sysfs::{Attr, Group, Page};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{mgmt::text, number::parse_max};

/// As SCST's driver has it.
const VERSION: &str = "3.11.0-pre";

fn emit(page: &mut Page<'_>, args: fmt::Arguments<'_>) -> Result {
    // What does not fit is cut off.
    let _ = page.write_fmt(args);
    Ok(())
}

/// Of the driver.
static DRIVER: [Attr<Driver>; 1] = [Attr::ro(
    c"version",
    |_, page| emit(page, format_args!("{VERSION}\n")),
    "What driver of SCST this takes the place of",
)];

/// Of a target.
static PORT: [Attr<Port>; 5] = [
    Attr::wo(
        c"abort_isp",
        |port, _| {
            port.adapter.reset();
            Ok(())
        },
        "Any write has the adapter reset",
    ),
    Attr::rw(
        c"explicit_confirmation",
        |port, page| {
            let on = port.confirm.load(Relaxed);
            let key = if on == 0 { "" } else { "[key]\n" };
            emit(page, format_args!("{on}\n{key}"))
        },
        store_confirm,
        "Whether initiators that can are asked to confirm responses: 0 or 1",
    ),
    Attr::ro(
        c"hw_target",
        |_, page| emit(page, format_args!("1\n")),
        "The target is a port of an adapter",
    ),
    Attr::ro(
        c"node_name",
        |port, page| {
            let name = port.adapter.state().node().text();
            emit(page, format_args!("{}\n", name.as_str()))
        },
        "WWNN of the adapter",
    ),
    Attr::ro(
        c"port_name",
        |port, page| {
            let name = port.adapter.state().name();
            emit(page, format_args!("{}\n", name.as_str()))
        },
        "WWPN of the port",
    ),
];

/// Of a target on a virtual port. Both names are saved with a configuration: it is made of them.
static VIRTUAL: [Attr<Virtual>; 2] = [
    Attr::rw(
        c"node_name",
        |npiv, page| {
            let name = Wwn(npiv.node_name.load(Relaxed)).text();
            emit(page, format_args!("{}\n[key]\n", name.as_str()))
        },
        store_node,
        "WWNN of the virtual port; a new one counts when the target is enabled the next time",
    ),
    Attr::ro(
        c"parent_host",
        |npiv, page| emit(page, format_args!("{}\n[key]\n", npiv.parent.name())),
        "WWPN of the port that it is on",
    ),
];

fn store_node(npiv: &Virtual, bytes: &[u8]) -> Result {
    let text = text(bytes).map_err(|_| EINVAL)?;
    let name = npiv::name(npiv.name().as_str(), text)?;
    npiv.node_name.store(name.0, Relaxed);
    Ok(())
}

fn store_confirm(port: &Port, bytes: &[u8]) -> Result {
    let value = text(bytes).ok().and_then(|text| parse_max(text, 1).ok());
    match value {
        Some(on) => {
            port.confirm.store(u32::from(on != 0), Relaxed);
            Ok(())
        }
        None => {
            log_err!("explicit_confirmation of {} is 0 or 1", port.name());
            Err(EINVAL)
        }
    }
}

/// The driver's attributes.
pub(crate) fn driver(driver: &Arc<Driver>) -> Result<KVec<Group>> {
    let mut groups = KVec::new();
    groups.push(Group::new(driver.clone(), &DRIVER)?, GFP_KERNEL)?;
    Ok(groups)
}

/// A target's attributes.
pub(crate) fn port(port: &Arc<Port>) -> Result<KVec<Group>> {
    let mut groups = KVec::new();
    let group = match &port.npiv {
        None => Group::new(port.clone(), &PORT)?,
        Some(npiv) => Group::new(npiv.clone(), &VIRTUAL)?,
    };
    groups.push(group, GFP_KERNEL)?;
    Ok(groups)
}
