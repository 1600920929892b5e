// SPDX-License-Identifier: GPL-2.0

//! The files of this driver in `/sys/kernel/scst_tgt/targets/scst_local`.

use crate::{host::Online, session::Port, target::Versions};
use kapi::sysfs::{Attr, Group, Page};
use kernel::{
    fmt,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use scst::SessionRegistration;
use scst_proto::{mgmt::text, number::parse_max};

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
static DRIVER: [Attr<Stats>; 1] = [Attr {
    name: c"stats",
    mode: 0o444,
    show: Some(|stats, page| {
        let [aborts, luns, targets] =
            [&stats.aborts, &stats.lun_resets, &stats.target_resets].map(|n| n.load(Relaxed));
        write(
            page,
            fmt!("Aborts: {aborts}, Device Resets: {luns}, Target Resets: {targets}\n"),
        )
    }),
    store: None,
    help: "Requests of the SCSI midlayer's error handling",
}];

/// Of a target.
static TARGET: [Attr<Versions>; 2] = [
    Attr {
        name: c"phys_transport_version",
        mode: 0o644,
        show: Some(|v, page| show_version(page, &v.physical, Versions::NO_PHYSICAL)),
        store: Some(|v, bytes| store_version(bytes, &v.physical)),
        help: "Version descriptor of the physical transport, SPC",
    },
    Attr {
        name: c"scsi_transport_version",
        mode: 0o644,
        show: Some(|v, page| show_version(page, &v.scsi, Versions::SAS)),
        store: Some(|v, bytes| store_version(bytes, &v.scsi)),
        help: "Version descriptor of the SCSI transport, SPC",
    },
];

/// Of a session.
static SESSION: [Attr<Port>; 2] = [
    Attr {
        name: c"host_no",
        mode: 0o444,
        show: Some(|port, page| write(page, fmt!("{}\n", port.host().number()))),
        store: None,
        help: "Number of the SCSI host",
    },
    Attr {
        name: c"transport_id",
        mode: 0o644,
        show: Some(|port, page| {
            let mut id = [0; 64];
            let length = port.read_transport_id(&mut id);
            page.write_bytes(id.get(..length).unwrap_or(&id));
            Ok(())
        }),
        store: Some(|port, bytes| port.set_transport_id(bytes)),
        help: "TransportID of the initiator port, SPC, as it is",
    },
];

fn write(page: &mut Page<'_>, args: fmt::Arguments<'_>) -> Result {
    // What does not fit is cut off.
    let _ = fmt::Write::write_fmt(page, args);
    Ok(())
}

fn show_version(page: &mut Page<'_>, value: &Atomic<u32>, default: u16) -> Result {
    let value = value.load(Relaxed);
    write(page, fmt!("{value:#x}\n"))?;
    // What differs from the default is saved by `scstadmin`.
    match value == u32::from(default) {
        true => Ok(()),
        false => write(page, fmt!("[key]\n")),
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

/// Makes `host` of the session's directory point to the host.
pub(crate) fn link_host(session: &SessionRegistration, host: &Online) -> Result {
    session.link(c"host", host.kobject())
}
