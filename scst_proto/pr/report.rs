// SPDX-License-Identifier: GPL-2.0

//! The parameter data of PERSISTENT RESERVE IN (SPC-6 6.15).

use super::{
    state::{registrants, Head, Places},
    Registrant,
};
use crate::bytes::Writer;

/// PRGENERATION, and a place for ADDITIONAL LENGTH, which `end` fills.
fn begin(w: &mut Writer<'_>, head: &Head) -> usize {
    let start = w.full_len();
    w.be32(head.generation).be32(0);
    start
}

fn end(w: &mut Writer<'_>, start: usize) {
    let length = w.full_len().saturating_sub(start).saturating_sub(8);
    w.patch_be32(
        start.saturating_add(4),
        u32::try_from(length).unwrap_or(u32::MAX),
    );
}

/// READ KEYS.
pub fn keys(w: &mut Writer<'_>, head: &Head, places: &Places) {
    let start = begin(w, head);
    for registrant in registrants(places) {
        w.be64(registrant.key);
    }
    end(w, start);
}

/// READ RESERVATION.
pub fn reservation(w: &mut Writer<'_>, head: &Head, places: &Places) {
    let start = begin(w, head);
    if let Some(kind) = head.kind {
        // All Registrants: nobody's key (SPC-6 6.15.3.2).
        let holder = registrants(places).find(|r| r.holder);
        w.be64(holder.map_or(0, |r| r.key))
            .zeros(5)
            .u8(kind as u8)
            .zeros(2);
    }
    end(w, start);
}

/// REPORT CAPABILITIES.
///
/// CRH, SIP_C, ATP_C, PTPL_C; TMV and all six types; ALLOW COMMANDS 100b.
pub fn capabilities(w: &mut Writer<'_>, head: &Head) {
    w.be16(8)
        .bytes(&[0x1d, 0xc0 | u8::from(head.aptpl), 0xea, 0x01])
        .zeros(2);
}

/// READ FULL STATUS.
pub fn full_status(w: &mut Writer<'_>, head: &Head, places: &Places) {
    let start = begin(w, head);
    for registrant in registrants(places) {
        status_descriptor(w, head, registrant);
    }
    end(w, start);
}

/// A full status descriptor (SPC-6 table 210).
fn status_descriptor(w: &mut Writer<'_>, head: &Head, registrant: &Registrant) {
    let held = head
        .kind
        .filter(|kind| registrant.holder || kind.is_all_registrants());
    let id = registrant.nexus.initiator.as_bytes();
    w.be64(registrant.key)
        .zeros(4)
        .u8(u8::from(held.is_some()))
        .u8(held.map_or(0, |kind| kind as u8))
        .zeros(4)
        .be16(registrant.nexus.port)
        .be32(u32::try_from(id.len()).unwrap_or(u32::MAX))
        .bytes(id);
}
