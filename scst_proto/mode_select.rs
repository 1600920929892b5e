// SPDX-License-Identifier: GPL-2.0

//! MODE SELECT: checking a parameter list against what may be changed (SPC-6 6.12).

use crate::bytes::{be16, be24, be32, be64, u8_at, Writer};
use crate::mode::{
    page, take_provisioning, Control, ModeDevice, ModeValues, PageControl, MAX_PAGE, PROVISIONING,
    SPF,
};
use crate::sense::{
    Sense, INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_PARAMETER_LIST, PARAMETER_LIST_LENGTH_ERROR,
};

/// A decoded MODE SELECT CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSelect {
    /// MODE SELECT(10): the header has 8 bytes, not 4.
    pub long_header: bool,
    /// SP: save the pages too.
    pub save: bool,
}

impl ModeSelect {
    /// Decodes a MODE SELECT(6) or (10) CDB. PF must be one: there are no vendor specific pages.
    pub fn decode(cdb: &[u8]) -> Result<Self, Sense> {
        let flags = u8_at(cdb, 1).ok_or(INVALID_FIELD_IN_CDB.in_cdb(1))?;
        if flags & 0x10 == 0 {
            return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4));
        }
        Ok(Self {
            long_header: u8_at(cdb, 0) == Some(0x55),
            save: flags & 0x01 != 0,
        })
    }
}

/// The outcome of a valid MODE SELECT: what is to be in force now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeChange {
    /// The new current values.
    pub values: ModeValues,
    /// They are to be saved as well.
    pub save: bool,
}

impl ModeChange {
    /// Whether the other I_T nexuses need MODE PARAMETERS CHANGED (SPC-6 6.12).
    pub fn changes(&self, device: &ModeDevice) -> bool {
        self.values != device.current
    }
}

/// A field of the parameter list that is wrong. Lists longer than a FIELD POINTER have no pointer worth having.
fn bad_field(at: usize) -> Sense {
    match u16::try_from(at) {
        Ok(at) => INVALID_FIELD_IN_PARAMETER_LIST.in_data(at),
        Err(_) => INVALID_FIELD_IN_PARAMETER_LIST,
    }
}

/// Checks the parameter list `data` and tells what it changes. Nothing is changed by a list with any error in it.
///
/// An empty list is no error and changes nothing (SPC-6 6.12).
pub fn mode_select(
    data: &[u8],
    request: ModeSelect,
    device: &ModeDevice,
) -> Result<ModeChange, Sense> {
    let mut change = ModeChange {
        values: device.current,
        save: request.save,
    };
    if data.is_empty() {
        return Ok(change);
    }
    let header_len: usize = if request.long_header { 8 } else { 4 };
    if data.len() < header_len {
        return Err(PARAMETER_LIST_LENGTH_ERROR);
    }
    let (long_lba, descriptors_len) = if request.long_header {
        let long_lba = u8_at(data, 4).is_some_and(|b| b & 1 != 0);
        (long_lba, usize::from(be16(data, 6).unwrap_or(0)))
    } else {
        (false, usize::from(u8_at(data, 3).unwrap_or(0)))
    };
    let pages_at = header_len.saturating_add(descriptors_len);
    let descriptor = data
        .get(header_len..pages_at)
        .ok_or(PARAMETER_LIST_LENGTH_ERROR)?;
    check_descriptor(descriptor, long_lba, device).map_err(|wrong| match wrong {
        Wrong::Length => bad_field(if request.long_header { 6 } else { 3 }),
        Wrong::At(offset) => bad_field(header_len.saturating_add(offset)),
    })?;
    let mut at = pages_at;
    while let Some(rest @ [_, ..]) = data.get(at..) {
        let len = apply_page(rest, at, device, &mut change.values)?;
        at = at.saturating_add(len);
    }
    Ok(change)
}

/// What is wrong with a block descriptor.
enum Wrong {
    /// Its length.
    Length,
    /// The field at this offset.
    At(usize),
}

/// The descriptor may repeat what MODE SENSE says; a number of blocks of 0 or all ones is "as it is" (SBC-4 6.5.2).
fn check_descriptor(d: &[u8], long_lba: bool, device: &ModeDevice) -> Result<(), Wrong> {
    let (blocks, all_ones, block_size, size_at) = match (d.len(), long_lba) {
        (0, _) => return Ok(()),
        (8, false) => (
            be32(d, 0).map(u64::from),
            u64::from(u32::MAX),
            be24(d, 5),
            5,
        ),
        (16, true) => (be64(d, 0), u64::MAX, be32(d, 12), 12),
        _ => return Err(Wrong::Length),
    };
    let blocks = blocks.unwrap_or(0);
    if blocks != 0 && blocks != all_ones && blocks != device.blocks {
        return Err(Wrong::At(0));
    }
    if block_size != Some(device.block_size) {
        return Err(Wrong::At(size_at));
    }
    Ok(())
}

/// Takes over the page that `data` begins with, which stands at `at` in the list; returns its length.
fn apply_page(
    data: &[u8],
    at: usize,
    device: &ModeDevice,
    values: &mut ModeValues,
) -> Result<usize, Sense> {
    let first = u8_at(data, 0).unwrap_or(0);
    let spf = first & SPF != 0;
    let subpage = if spf {
        u8_at(data, 1).ok_or(PARAMETER_LIST_LENGTH_ERROR)?
    } else {
        0
    };
    // Bit 7, PS, is reserved here, yet initiators send back what MODE SENSE gave them.
    let code = (first & 0x3f, subpage);
    // A page has a subpage code of 0, or SPF, not both.
    if spf && subpage == 0 {
        return Err(bad_field(at));
    }
    let mut current_buf = [0u8; MAX_PAGE];
    let mut mask_buf = [0u8; MAX_PAGE];
    let mut current = Writer::new(&mut current_buf);
    let mut mask = Writer::new(&mut mask_buf);
    if !device.page(&mut current, code, PageControl::Current)
        || !device.page(&mut mask, code, PageControl::Changeable)
    {
        return Err(bad_field(at));
    }
    let (current, mask) = (current.as_bytes(), mask.as_bytes());
    let len = current.len();
    let (length_at, head) = if spf { (2, 4) } else { (1, 2) };
    let sent_len = match spf {
        true => be16(data, length_at).map(usize::from),
        false => u8_at(data, length_at).map(usize::from),
    };
    if sent_len
        .ok_or(PARAMETER_LIST_LENGTH_ERROR)?
        .saturating_add(head)
        != len
    {
        return Err(bad_field(at.saturating_add(length_at)));
    }
    let sent = data.get(..len).ok_or(PARAMETER_LIST_LENGTH_ERROR)?;
    let fields = sent.iter().zip(current.iter().zip(mask));
    let mut field = at.saturating_add(head);
    for (new, (old, changeable)) in fields.skip(head) {
        if (new ^ old) & !changeable != 0 {
            return Err(bad_field(field));
        }
        field = field.saturating_add(1);
    }
    match code {
        (page::ERROR_RECOVERY, _) if device.thresholds => {
            values.thresholds.report = u8_at(sent, 7).unwrap_or(0) & 0x80 != 0;
        }
        (page::EXCEPTIONS, PROVISIONING) => take_provisioning(sent, &mut values.thresholds),
        (page::CACHING, _) => values.wce = u8_at(sent, 2).unwrap_or(0) & 0x04 != 0,
        (page::CONTROL, _) => {
            if let Some(bits) = sent.get(2..).and_then(|s| s.first_chunk::<4>()) {
                values.control = check_control(Control(*bits), at)?;
            }
        }
        _ => {}
    }
    Ok(len)
}

/// Refuses the reserved values: QERR 10b, and QUEUE ALGORITHM MODIFIER other than 0 and 1 (SPC-6 7.5.10).
fn check_control(control: Control, at: usize) -> Result<Control, Sense> {
    if control.qerr() == 2 || control.queue_algorithm() > 1 {
        return Err(bad_field(at.saturating_add(3)));
    }
    Ok(control)
}
