// SPDX-License-Identifier: GPL-2.0

//! The files of this driver in `/sys/kernel/scst_tgt/targets/ib_srpt`.

use crate::{nexus::Nexus, port::Port};
use core::fmt::{self, Write};
use kapi::sysfs::{Attr, Group, Page};
use kernel::{
    prelude::*,
    str::CString,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{mgmt::text, srp::names};

/// Most characters of `port_id`: what IOControllerProfile has room for.
const MOST_PORT_ID: usize = 63;

fn emit(page: &mut Page<'_>, args: fmt::Arguments<'_>) -> Result {
    // What does not fit is cut off.
    let _ = page.write_fmt(args);
    Ok(())
}

fn refused(what: fmt::Arguments<'_>) -> Error {
    pr_err!("***ERROR***: {what}\n");
    EINVAL
}

/// Of a target.
static PORT: [Attr<Port>; 5] = [
    Attr::rw(
        c"comp_v_mask",
        |port, page| {
            emit(
                page,
                format_args!("{:x}\n[key]\n", port.vectors.load(Relaxed)),
            )
        },
        store_vectors,
        "Completion vectors that channels use in turn, a hexadecimal mask",
    ),
    Attr::ro(
        c"device",
        |port, page| emit(page, format_args!("{}\n", port.hca.device.name())),
        "The RDMA device",
    ),
    Attr::ro(
        c"link_layer",
        |port, page| {
            let layer = match port.is_ethernet() {
                true => "Ethernet",
                false => "InfiniBand",
            };
            emit(page, format_args!("{layer}\n"))
        },
        "What the port is: InfiniBand or Ethernet",
    ),
    Attr::ro(
        c"login_info",
        |port, page| {
            for number in port.numbers.clone() {
                let gid = port.hca.device.gid(number)?;
                page.bytes(names::login_info(port.guid, &gid).as_str().as_bytes());
            }
            Ok(())
        },
        "What an initiator needs to log in, a line for each port of the device",
    ),
    Attr::rw(
        c"port_id",
        |port, page| {
            let id = port.port_id.lock();
            page.bytes(id.to_bytes());
            page.bytes(b"\n");
            Ok(())
        },
        store_port_id,
        "What initiators find the I/O controller by, up to 63 characters",
    ),
];

fn store_vectors(port: &Port, bytes: &[u8]) -> Result {
    let value = text(bytes)
        .ok()
        .and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    let all = u64::MAX >> (64 - port.hca.device.completion_vectors().min(64));
    match value {
        Some(mask) if mask & all != 0 => {
            port.vectors.store(mask & all, Relaxed);
            Ok(())
        }
        _ => Err(refused(format_args!(
            "comp_v_mask of {} has to be a hexadecimal mask with one of the bits of {all:x}",
            port.name()
        ))),
    }
}

fn store_port_id(port: &Port, bytes: &[u8]) -> Result {
    let value = text(bytes).map_err(|e| refused(format_args!("{e}")))?;
    if value.len() > MOST_PORT_ID {
        return Err(refused(format_args!(
            "port_id of {} has {} characters; {MOST_PORT_ID} are possible",
            port.name(),
            value.len()
        )));
    }
    let value = CString::try_from_fmt(fmt!("{value}"))?;
    let old = core::mem::replace(&mut *port.port_id.lock(), value);
    drop(old);
    Ok(())
}

/// Of a session. With several channels, the first one's.
static SESSION: [Attr<Nexus>; 4] = [
    Attr::ro(
        c"ch_state",
        |nexus, page| {
            let state = nexus.with_first(|channel| channel.link.state().name());
            emit(page, format_args!("{}\n", state.unwrap_or("disconnected")))
        },
        "State of the RDMA channel",
    ),
    Attr::ro(
        c"comp_vector",
        |nexus, page| {
            let vector = nexus.with_first(|channel| channel.vector.load(Relaxed));
            emit(page, format_args!("{}\n", vector.unwrap_or(0)))
        },
        "Completion vector of the RDMA channel",
    ),
    Attr::ro(
        c"req_lim",
        |nexus, page| {
            let limit = nexus.with_first(|channel| channel.credit().limit());
            emit(page, format_args!("{}\n", limit.unwrap_or(0)))
        },
        "Requests that the initiator may send at this moment",
    ),
    Attr::ro(
        c"req_lim_delta",
        |nexus, page| {
            let delta = nexus.with_first(|channel| channel.credit().delta());
            emit(page, format_args!("{}\n", delta.unwrap_or(0)))
        },
        "Requests that the next response lets the initiator send",
    ),
];

/// A target's attributes.
pub(crate) fn port(port: &Arc<Port>) -> Result<KVec<Group>> {
    let mut groups = KVec::new();
    groups.push(Group::new(port.clone(), &PORT)?, GFP_KERNEL)?;
    Ok(groups)
}

/// A session's attributes.
pub(crate) fn session(nexus: &Arc<Nexus>) -> Result<KVec<Group>> {
    let mut groups = KVec::new();
    groups.push(Group::new(nexus.clone(), &SESSION)?, GFP_KERNEL)?;
    Ok(groups)
}
