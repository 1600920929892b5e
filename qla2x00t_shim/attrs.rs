// SPDX-License-Identifier: GPL-2.0

//! The files of this driver in `/sys/kernel/scst_tgt/targets/qla2x00t`.

use crate::{driver::Driver, port::Port};
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
    groups.push(Group::new(port.clone(), &PORT)?, GFP_KERNEL)?;
    Ok(groups)
}
