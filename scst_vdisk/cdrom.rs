// SPDX-License-Identifier: GPL-2.0

//! `vcdrom`: a CD-ROM drive, empty or with an image file in it. Its store is
//! that of a disk in a file, read-only; here is what only a drive has: another
//! disc, and the basic commands of MMC-6.

use crate::{attrs::refused, disk::Disk, fileio::FileStore, log, medium::Medium, unit::Unit};
use kernel::{prelude::*, str::CString};
use scst_proto::{
    bytes::{be16, u8_at, Writer},
    mgmt::absolute,
    sense::{Sense, INVALID_FIELD_IN_CDB, NO_MEDIUM},
};

const READ_TOC: u8 = 0x43;
const GET_CONFIGURATION: u8 = 0x46;
const GET_EVENT_STATUS: u8 = 0x4a;
const READ_DISC_INFORMATION: u8 = 0x51;

/// Puts the disc in file `path` into the drive, or takes out what is there if
/// `path` is empty.
pub(crate) fn change<S: Medium>(unit: &Unit<S>, path: &str) -> Result {
    let disk = &unit.disk;
    if disk.removal_prevented() {
        log::error!(
            "Prevent medium removal for virtual device {} is set",
            disk.name()
        );
        return Err(EBUSY);
    }
    let file = match path {
        "" | "none" => None,
        path => {
            let path = absolute(path).map_err(|e| refused(disk, e))?;
            Some(CString::try_from_fmt(fmt!("{}", path))?)
        }
    };
    unit.change_medium(file)?;
    unit.store.backing().with_path(|path| disk.log_medium(path));
    Ok(())
}

/// A drive without a disc.
pub(crate) fn store() -> Result<FileStore> {
    FileStore::new(None)
}

/// Whether `op` is one of [`answer`]'s.
pub(crate) fn has(op: u8) -> bool {
    matches!(
        op,
        READ_TOC | GET_CONFIGURATION | GET_EVENT_STATUS | READ_DISC_INFORMATION
    )
}

/// Answers the commands that only a CD-ROM drive has.
pub(crate) fn answer(disk: &Disk, cdb: &[u8], w: &mut Writer<'_>) -> Result<(), Sense> {
    let at = |i| u8_at(cdb, i).unwrap_or(0);
    match at(0) {
        GET_CONFIGURATION => configuration(disk, be16(cdb, 2).unwrap_or(0), at(1) & 3, w),
        GET_EVENT_STATUS => event_status(disk, at(1), at(4), w)?,
        _ if !disk.ready.get() => return Err(NO_MEDIUM),
        READ_TOC => toc(disk, at(1) & 2 != 0, at(2) & 0x0f, at(6), w)?,
        _ => disc_information(w),
    }
    Ok(())
}

/// An address as READ TOC has it: a block, or minute, second and frame
/// (MMC-6 4.1.2.2).
fn address(w: &mut Writer<'_>, block: u64, msf: bool) {
    let block = u32::try_from(block).unwrap_or(u32::MAX);
    if msf {
        // 75 frames a second; block 0 is at two seconds.
        let frames = block.saturating_add(150);
        let (minute, second) = (frames / (75 * 60), frames / 75 % 60);
        w.u8(0)
            .u8(minute.min(255) as u8)
            .u8(second as u8)
            .u8((frames % 75) as u8);
    } else {
        w.be32(block);
    }
}

/// READ TOC/PMA/ATIP (MMC-6 6.25): one session with one data track.
fn toc(disk: &Disk, msf: bool, format: u8, first: u8, w: &mut Writer<'_>) -> Result<(), Sense> {
    // ADR 1 (position), CONTROL 4 (data track, digital copy prohibited).
    const DATA_TRACK: u8 = 0x14;
    const LEAD_OUT: u8 = 0xaa;

    match format {
        0 => {
            if first > 1 && first != LEAD_OUT {
                return Err(INVALID_FIELD_IN_CDB.in_cdb(6));
            }
            w.be16(0).u8(1).u8(1);
            if first <= 1 {
                w.u8(0).u8(DATA_TRACK).u8(1).u8(0);
                address(w, 0, msf);
            }
            w.u8(0).u8(DATA_TRACK).u8(LEAD_OUT).u8(0);
            address(w, disk.blocks(), msf);
        }
        // Multi-session information: the one session.
        1 => {
            w.be16(0).u8(1).u8(1).u8(0).u8(DATA_TRACK).u8(1).u8(0);
            address(w, 0, msf);
        }
        _ => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 3)),
    }
    let len = w.full_len().saturating_sub(2);
    w.patch_be16(0, len as u16);
    Ok(())
}

/// GET CONFIGURATION (MMC-6 6.6): the features Profile List and Core.
fn configuration(disk: &Disk, start: u16, only: u8, w: &mut Writer<'_>) {
    const PROFILE_CDROM: u16 = 0x0008;
    const CORE: u16 = 0x0001;
    const ONE_FEATURE: u8 = 2;

    let present = disk.ready.get();
    w.be32(0)
        .be16(0)
        .be16(if present { PROFILE_CDROM } else { 0 });
    if start == 0 {
        // Version 0, persistent, current.
        w.be16(0).u8(0x03).u8(4);
        w.be16(PROFILE_CDROM).u8(u8::from(present)).u8(0);
    }
    if start == CORE || (start == 0 && only != ONE_FEATURE) {
        // Version 2, persistent, current; PHYSICAL INTERFACE STANDARD: SCSI; DBE.
        w.be16(CORE).u8(0x0b).u8(8).be32(1).u8(1).zeros(3);
    }
    let len = w.full_len().saturating_sub(4);
    w.patch_be32(0, len as u32);
}

/// GET EVENT STATUS NOTIFICATION (MMC-6 6.7), polled: whether there is a disc.
fn event_status(disk: &Disk, flags: u8, classes: u8, w: &mut Writer<'_>) -> Result<(), Sense> {
    const MEDIA: u8 = 4;
    const NO_EVENT: u8 = 0x80;

    if flags & 1 == 0 {
        // Asynchronous operation.
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 0));
    }
    let supported = 1u8 << MEDIA;
    if classes & supported == 0 {
        w.be16(2).u8(NO_EVENT).u8(supported);
        return Ok(());
    }
    // No event; MEDIA STATUS: medium present.
    w.be16(6).u8(MEDIA).u8(supported).u8(0);
    w.u8(if disk.ready.get() { 0x02 } else { 0 }).u8(0).u8(0);
    Ok(())
}

/// READ DISC INFORMATION (MMC-6 6.22), standard: a complete CD-ROM.
fn disc_information(w: &mut Writer<'_>) {
    // DISC STATUS complete, LAST SESSION complete; first track 1, 1 session,
    // first and last track of it 1; URU.
    w.be16(32)
        .u8(0x0e)
        .u8(1)
        .u8(1)
        .u8(1)
        .u8(1)
        .u8(0x20)
        .u8(0)
        .zeros(3);
    // DISC ID, LEAD-IN and LEAD-OUT START of a next session: none.
    w.zeros(4).fill(0xff, 8).zeros(8).zeros(2);
}
