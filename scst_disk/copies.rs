// SPDX-License-Identifier: GPL-2.0

//! A disk of this machine as the copy manager has it, if an administrator makes it one of its LUNs.
//!
//! It is found by what it says of itself in VPD page 83h. The commands of third-party copy are carried out by the core where
//! the disk has none; then standard INQUIRY data and the list of VPD pages say so. What this machine itself writes to the disk
//! changes the blocks that a token stands for, and nobody is told.

use crate::{opcode, scsi::Device, Disk};
use kernel::{prelude::*, sync::atomic::Relaxed};
use scst::{Cmd, Executing};
use scst_proto::{
    bytes::{be16, be32, be64, u8_at, Writer},
    inquiry::{self, page},
};

/// EVPD of INQUIRY.
const EVPD: u8 = 1;
/// Room for an answer to INQUIRY: as much as an ALLOCATION LENGTH of one byte has, for devices that know no other.
const ANSWER: u8 = 255;
/// Peripheral device type of disks.
const DISK: u8 = 0;

/// Capacity in blocks, and log2 of their length, as the disk tells them. Sleeps.
pub(crate) fn capacity(device: &Device) -> Result<(u64, u32)> {
    let mut data = KVec::from_elem(0u8, 32, GFP_KERNEL)?;
    let mut cdb = [0; 16];
    // READ CAPACITY(16).
    (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
    let long = device.read_now(&cdb, &mut data);
    let (last, length) = match long {
        Ok(()) => (be64(&data, 0), be32(&data, 8)),
        Err(_) => {
            // READ CAPACITY(10).
            let mut cdb = [0; 16];
            cdb[0] = 0x25;
            device.read_now(&cdb, &mut data)?;
            (be32(&data, 0).map(u64::from), be32(&data, 4))
        }
    };
    match (last, length) {
        (Some(last), Some(length)) if length.is_power_of_two() => {
            Ok((last.saturating_add(1), length.trailing_zeros()))
        }
        _ => Err(EINVAL),
    }
}

/// The disk's answer to INQUIRY, `None` if it gives none. Sleeps.
fn ask(device: &Device, evpd: u8, code: u8) -> Option<KVec<u8>> {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[2], cdb[4]) = (opcode::INQUIRY, evpd, code, ANSWER);
    let mut data = KVec::from_elem(0u8, usize::from(ANSWER), GFP_KERNEL).ok()?;
    device.read_now(&cdb, &mut data).ok()?;
    let len = match evpd {
        0 => usize::from(u8_at(&data, 4)?).saturating_add(5),
        _ => usize::from(be16(&data, 2)?).saturating_add(4),
    };
    data.truncate(len);
    Some(data)
}

/// 3PC of standard INQUIRY data (SPC-6 6.7.2). Sleeps.
pub(crate) fn has_copies(device: &Device) -> bool {
    let data = ask(device, 0, 0);
    data.is_some_and(|data| u8_at(&data, 5).is_some_and(|byte| byte & 0x08 != 0))
}

impl Disk {
    /// See [`scst::LogicalUnit::is_designated`].
    pub(crate) fn designates(&self, code_set: u8, kind: u8, designator: &[u8]) -> bool {
        let found = ask(&self.device, EVPD, page::IDENTIFICATION);
        found.is_some_and(|data| {
            let body = data.get(4..).unwrap_or(&[]);
            inquiry::designates(body, code_set, kind, designator)
        })
    }

    /// See [`scst::LogicalUnit::cscd`].
    pub(crate) fn descriptor(&self) -> [u8; 32] {
        let found = ask(&self.device, EVPD, page::IDENTIFICATION);
        let length = 1u32.wrapping_shl(self.shift);
        found
            .and_then(|data| inquiry::cscd_of_page(data.get(4..)?, DISK, length))
            .unwrap_or([0; 32])
    }

    /// Carries out INQUIRY and the commands of third-party copy of a disk that the copy manager has, and that has none of its
    /// own. Sleeps.
    pub(crate) fn copy(&self, mut cmd: Cmd<Executing>) {
        match cmd.cdb().op.opcode {
            opcode::COPY_OUT => {
                // Tokens are for blocks that there are.
                if let Ok((blocks, _)) = capacity(&self.device) {
                    self.blocks.store(blocks, Relaxed);
                }
                return cmd.third_party_copy_out();
            }
            opcode::COPY_IN => return cmd.third_party_copy_in(),
            _ => {}
        }
        let raw = cmd.raw_cdb();
        let evpd = u8_at(raw, 1).unwrap_or(0) & EVPD;
        let mut answer = [0; 512];
        let mut w = Writer::new(&mut answer);
        match (evpd, u8_at(raw, 2).unwrap_or(0)) {
            (EVPD, page::COPY) => inquiry::third_party_copy(&mut w, DISK, self.shift),
            (_, page::SUPPORTED) => match ask(&self.device, evpd, 0) {
                Some(data) => inquiry::with_third_party_copy(&mut w, evpd != 0, &data),
                None => return self.send(cmd),
            },
            _ => return self.send(cmd),
        }
        cmd.put(w.as_bytes());
        cmd.good();
    }
}
