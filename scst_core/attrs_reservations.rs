// SPDX-License-Identifier: GPL-2.0

//! Attributes of a device about its reservations.

use crate::{
    config::core,
    device::Device,
    reservations::{Reservations, State},
    util::{parsed, show_keyed, text},
};
use kapi::sysfs::{Attr, Page};
use kernel::{prelude::*, sync::Arc};
use scst_proto::{
    mgmt::absolute,
    pr::{saved, state},
};

/// What `devices/<name>` has of them.
pub(crate) static ATTRS: &[Attr<Device>] = &[
    Attr::wo(
        c"dump_prs",
        |d, _bytes| {
            d.reservations.with(|now| dump(d, now));
            Ok(())
        },
        "A write prints registrations and reservation to the kernel log.",
    ),
    Attr::rw(
        c"pr_file_name",
        |d, p| {
            let name = d.reservations.file_name(d)?;
            let name = name.to_str().map_err(|_| EINVAL)?;
            show_keyed(p, name, d.reservations.file_is_chosen())
        },
        |d, b| {
            let path = match text(b)? {
                "" => None,
                path => Some(parsed(absolute(path))?),
            };
            Reservations::set_file(&found(d)?, path)
        },
        "File that reservations survive a loss of power in; empty for the usual one.",
    ),
    Attr::rw(
        c"pr_state",
        |d, p| d.reservations.with(|now| show(p, now)),
        |d, b| Reservations::restore(&found(d)?, text(b)?),
        "Registrations and reservation, to be saved, and restored before initiators see the device.",
    ),
];

/// The core's own reference to a device. Takes the configuration's lock.
fn found(device: &Device) -> Result<Arc<Device>> {
    core()?.device(device.name()).ok_or(ENODEV)
}

fn show(page: &mut Page<'_>, now: &State) -> Result {
    // What does not fit is cut off.
    let _ = saved::write_text(page, &now.head, &now.places);
    Ok(())
}

fn dump(device: &Device, now: &State) {
    pr_info!(
        "Persistent reservations of device {}: generation {}, {}, APTPL {}\n",
        device.name(),
        now.head.generation,
        if now.head.kind.is_some() {
            "reserved"
        } else {
            "not reserved"
        },
        u8::from(now.head.aptpl)
    );
    for registrant in state::registrants(&now.places) {
        pr_info!(
            "  {:?}, target port {}: key {:#x}{}\n",
            registrant.nexus.initiator,
            registrant.nexus.port,
            registrant.key,
            if registrant.holder { ", holder" } else { "" }
        );
    }
}
