// SPDX-License-Identifier: GPL-2.0

//! The files of this driver in `/sys/kernel/scst_tgt/targets/scst_local`.

use crate::{session::Port, target::Versions};
use core::fmt::{self, Write};
use kapi::sysfs::{Attr, Group, Page};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use scst_proto::{mgmt::text, number::parse_max};

/// As SCST's driver has it.
const VERSION: &str = "3.11.0-pre/20110901";

/// Error handling since the module was loaded.
pub(crate) struct Stats {
    aborts: Atomic<u64>,
    lun_resets: Atomic<u64>,
    target_resets: Atomic<u64>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            aborts: Atomic::new(0),
            lun_resets: Atomic::new(0),
            target_resets: Atomic::new(0),
        }
    }

    pub(crate) fn count_abort(&self) {
        self.aborts.add(1, Relaxed);
    }

    pub(crate) fn count_lun_reset(&self) {
        self.lun_resets.add(1, Relaxed);
    }

    pub(crate) fn count_target_reset(&self) {
        self.target_resets.add(1, Relaxed);
    }
}

/// Of the driver.
static DRIVER: [Attr<Stats>; 2] = [
    Attr::ro(
        c"version",
        |_, page| emit(page, format_args!("{VERSION}\nTRACING\n")),
        "What driver of SCST this takes the place of, and how it is built",
    ),
    Attr::ro(
        c"stats",
        |stats, page| {
            let [aborts, luns, targets] =
                [&stats.aborts, &stats.lun_resets, &stats.target_resets].map(|n| n.load(Relaxed));
            emit(
                page,
                format_args!("Aborts: {aborts}, Device Resets: {luns}, Target Resets: {targets}\n"),
            )
        },
        "Requests of the SCSI midlayer's error handling",
    ),
];

/// Of a target.
static TARGET: [Attr<Versions>; 2] = [
    Attr::rw(
        c"phys_transport_version",
        |v, page| show_version(page, &v.physical, Versions::NO_PHYSICAL),
        |v, bytes| store_version(bytes, &v.physical),
        "Version descriptor of the physical transport, SPC",
    ),
    Attr::rw(
        c"scsi_transport_version",
        |v, page| show_version(page, &v.scsi, Versions::SAS),
        |v, bytes| store_version(bytes, &v.scsi),
        "Version descriptor of the SCSI transport, SPC",
    ),
];

/// Of a session.
static SESSION: [Attr<Port>; 2] = [
    Attr::ro(
        c"host_no",
        |port, page| emit(page, format_args!("{}\n", port.host().number())),
        "Number of the SCSI host",
    ),
    Attr::rw(
        c"transport_id",
        |port, page| {
            let mut id = [0; 64];
            let length = port.read_transport_id(&mut id);
            page.bytes(id.get(..length).unwrap_or(&id));
            Ok(())
        },
        |port, bytes| port.set_transport_id(bytes),
        "TransportID of the initiator port, SPC, as it is",
    ),
];

fn emit(page: &mut Page<'_>, args: fmt::Arguments<'_>) -> Result {
    // What does not fit is cut off.
    let _ = page.write_fmt(args);
    Ok(())
}

fn show_version(page: &mut Page<'_>, value: &Atomic<u32>, default: u16) -> Result {
    let value = value.load(Relaxed);
    emit(page, format_args!("{value:#x}\n"))?;
    // What differs from the default is saved by `scstadmin`.
    match value == u32::from(default) {
        true => Ok(()),
        false => emit(page, format_args!("[key]\n")),
    }
}

fn store_version(bytes: &[u8], value: &Atomic<u32>) -> Result {
    let parse = || parse_max(text(bytes)?, u16::MAX.into());
    let new = parse().map_err(|e| {
        log_err!("{}", e);
        EINVAL
    })?;
    value.store(new as u32, Relaxed);
    Ok(())
}

/// The driver's attributes.
pub(crate) fn driver(stats: &Arc<Stats>) -> Result<Group> {
    Group::new(stats.clone(), &DRIVER)
}

/// A target's attributes.
pub(crate) fn target(versions: &Arc<Versions>) -> Result<Group> {
    Group::new(versions.clone(), &TARGET)
}

/// A session's attributes.
pub(crate) fn session(port: &Arc<Port>) -> Result<KVec<Group>> {
    let mut groups = KVec::new();
    groups.push(Group::new(port.clone(), &SESSION)?, GFP_KERNEL)?;
    Ok(groups)
}
