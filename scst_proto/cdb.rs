// SPDX-License-Identifier: GPL-2.0

//! Decoding a command descriptor block (SPC-6 4.2, SBC-4 clause 5).
//!
//! [`decode`] is the only way from bytes to a [`Cdb`]; what the transport claims about lengths and directions is
//! merely checked against it.
//!
//! ```
//! use scst_proto::cdb::{decode, TransferLength};
//! use scst_proto::opcode::PeripheralDeviceType;
//!
//! let read = decode(&[0x28, 0x08, 0, 0, 1, 0, 0, 0, 8, 0], PeripheralDeviceType::DISK).unwrap();
//! assert_eq!((read.lba, read.length), (0x100, TransferLength::Blocks(8)));
//! assert!(read.fua());
//! assert_eq!(read.expected_bytes(9), Some(4096));
//! ```

use crate::bytes::{be16, be24, be32, be64, u8_at};
use crate::opcode::{self, Direction, Field, Flags, LengthRule, OpRow, PeripheralDeviceType};
use crate::sense::{Sense, INVALID_FIELD_IN_CDB, INVALID_OPCODE};

/// How much data a command transfers by its CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferLength {
    /// No data.
    None,
    /// So many bytes: an allocation length (an upper bound) or a parameter list length.
    Bytes(u32),
    /// So many logical blocks.
    Blocks(u32),
    /// The CDB does not tell; the transport's count has to do.
    ByTransport,
}

/// A decoded CDB.
#[derive(Clone, Copy, Debug)]
pub struct Cdb {
    /// The command's row in the table.
    pub op: &'static OpRow,
    /// LOGICAL BLOCK ADDRESS, 0 if the command has none.
    pub lba: u64,
    /// Logical blocks from `lba` on that the command works on. WRITE SAME(0) is 0 here, and means up to the end.
    pub blocks: u32,
    /// What is transferred.
    pub length: TransferLength,
    /// SERVICE ACTION, 0 if the command has none.
    pub service_action: u16,
    /// GROUP NUMBER, 0 if the command has none.
    pub group: u8,
    /// CONTROL byte.
    pub control: u8,
    /// The byte with protect field, DPO, FUA, BYTCHK, UNMAP, NDOB; as `op` says which.
    option: u8,
}

const PROTECT_SHIFT: u32 = 5;
const DPO: u8 = 0x10;
const FUA: u8 = 0x08;
const NACA: u8 = 0x04;

impl Cdb {
    /// Stands for a CDB that [`decode`] refused, where there has to be one.
    pub const UNDECODED: Self = Self {
        op: &crate::opcode_table::ROWS[0],
        lba: 0,
        blocks: 0,
        length: TransferLength::None,
        service_action: 0,
        group: 0,
        control: 0,
        option: 0,
    };

    /// Where the data goes; `None` also when the CDB asks for zero bytes.
    #[inline]
    pub fn direction(&self) -> Direction {
        match self.length {
            TransferLength::None | TransferLength::Bytes(0) | TransferLength::Blocks(0) => {
                Direction::None
            }
            _ => self.op.direction,
        }
    }

    /// The bytes to transfer with logical blocks of `1 << block_shift` bytes, without protection information.
    ///
    /// `None` when the CDB does not determine it. For ALLOCATION LENGTH it is an upper bound.
    #[inline]
    pub fn expected_bytes(&self, block_shift: u32) -> Option<u64> {
        match self.length {
            TransferLength::None => Some(0),
            TransferLength::Bytes(n) => Some(u64::from(n)),
            TransferLength::Blocks(n) if block_shift <= 31 => {
                Some(u64::from(n).wrapping_shl(block_shift))
            }
            TransferLength::Blocks(_) | TransferLength::ByTransport => None,
        }
    }

    /// FUA: the data must be on the medium before the status is sent (SBC-4 5.14).
    #[inline]
    pub fn fua(&self) -> bool {
        self.op.flags.contains(Flags::CACHE_BITS) && self.option & FUA != 0 && self.has_fua()
    }

    /// DPO: do not bother to cache.
    #[inline]
    pub fn dpo(&self) -> bool {
        self.op.flags.contains(Flags::CACHE_BITS) && self.option & DPO != 0
    }

    /// The VERIFY commands have no FUA bit; WRITE AND VERIFY implies it.
    fn has_fua(&self) -> bool {
        !matches!(self.op.opcode, 0x2f | 0x8f | 0xaf)
            && !self.is_write_and_verify()
            && !self.is_verify_32()
    }

    fn is_write_and_verify(&self) -> bool {
        matches!(self.op.opcode, 0x2e | 0x8e | 0xae)
            || (self.op.opcode == opcode::VARIABLE_LENGTH && self.service_action == 0x000c)
    }

    fn is_verify_32(&self) -> bool {
        self.op.opcode == opcode::VARIABLE_LENGTH && self.service_action == 0x000a
    }

    /// RDPROTECT, WRPROTECT, VRPROTECT or ORPROTECT (SBC-4 4.21), 0 if the command has none.
    #[inline]
    pub fn protect(&self) -> u8 {
        if self.op.flags.contains(Flags::PROTECT) {
            self.option >> PROTECT_SHIFT
        } else {
            0
        }
    }

    /// BYTCHK of VERIFY and WRITE AND VERIFY: 0 none, 1 compare each block, 3 compare with one block (SBC-4 5.39).
    pub fn bytchk(&self) -> u8 {
        if self.op.rule == LengthRule::Verify || self.is_write_and_verify() {
            (self.option >> 1) & 3
        } else {
            0
        }
    }

    /// UNMAP of WRITE SAME (SBC-4 5.50).
    pub fn unmap(&self) -> bool {
        self.op.rule == LengthRule::WriteSame && self.option & 0x08 != 0
    }

    /// ANCHOR of WRITE SAME (SBC-4 5.50).
    pub fn anchor(&self) -> bool {
        self.op.rule == LengthRule::WriteSame && self.option & 0x10 != 0
    }

    /// NDOB of WRITE SAME(16) and (32): no data, write zeros (SBC-4 5.51).
    pub fn ndob(&self) -> bool {
        has_no_data_out_buffer(self.op, self.option)
    }

    /// IMMED, bit 1 of SYNCHRONIZE CACHE and PRE-FETCH, bit 0 of START STOP UNIT: status before the work is done.
    pub fn immed(&self) -> bool {
        match self.op.rule {
            LengthRule::Range => self.option & 0x02 != 0,
            _ => self.op.opcode == 0x1b && self.option & 0x01 != 0,
        }
    }

    /// NACA: a CHECK CONDITION of this command establishes an ACA condition (SAM-6 5.3.3, 5.8).
    #[inline]
    pub fn naca(&self) -> bool {
        self.control & NACA != 0
    }

    /// The answer of a device server that has no ACA to a command with NACA set (SAM-6 5.3.3).
    pub fn refuse_naca(&self) -> Result<(), Sense> {
        if self.naca() {
            // Less than 32.
            let at = self.op.control_at().min(opcode::MAX_CDB_LEN) as u16;
            return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(at, 2));
        }
        Ok(())
    }

    /// `Err` with the proper sense if this release does not carry the command out.
    pub fn require_supported(&self) -> Result<(), Sense> {
        if self.op.is_supported() {
            return Ok(());
        }
        let siblings = opcode::rows(self.op.opcode);
        let known = self.op.service_action.is_some() && siblings.iter().any(OpRow::is_supported);
        Err(if known {
            bad_service_action(self.op.opcode)
        } else {
            INVALID_OPCODE
        })
    }

    /// `Err` with LOGICAL BLOCK ADDRESS OUT OF RANGE unless the blocks are within a medium of `capacity` blocks.
    ///
    /// A command of zero blocks may address the block after the last one, as SBC-4 4.5 does not object to it.
    #[inline]
    pub fn check_range(&self, capacity: u64) -> Result<(), Sense> {
        match self.lba.checked_add(u64::from(self.blocks)) {
            Some(end) if end <= capacity => Ok(()),
            _ => Err(crate::sense::LBA_OUT_OF_RANGE.with_information(self.lba)),
        }
    }
}

fn bad_service_action(op: u8) -> Sense {
    let field = opcode::service_action_field(op);
    if field.width == 1 {
        INVALID_FIELD_IN_CDB.in_cdb_bit(u16::from(field.at), 4)
    } else {
        INVALID_FIELD_IN_CDB.in_cdb(u16::from(field.at))
    }
}

fn has_no_data_out_buffer(op: &OpRow, option: u8) -> bool {
    op.rule == LengthRule::WriteSame && op.opcode != 0x41 && option & 0x01 != 0
}

/// Reads a field whose CDB is long enough; a missing one reads as 0.
#[inline]
fn read(cdb: &[u8], field: Field) -> u64 {
    let at = usize::from(field.at);
    match field.width {
        1 => u8_at(cdb, at).map(u64::from),
        2 => be16(cdb, at).map(u64::from),
        3 => be24(cdb, at).map(u64::from),
        4 => be32(cdb, at).map(u64::from),
        8 => be64(cdb, at),
        _ => None,
    }
    .unwrap_or(0)
}

/// Decodes `cdb` for a device of type `pdt`.
///
/// `cdb` may be longer than the command (transports hand over 16 bytes whatever it is), not shorter. Fails with
/// INVALID COMMAND OPERATION CODE, or INVALID FIELD IN CDB for an unknown service action, a CDB cut short and the
/// obsolete LINK bit. That a command decodes does not mean that it is supported: see [`Cdb::require_supported`].
#[inline]
pub fn decode(cdb: &[u8], pdt: PeripheralDeviceType) -> Result<Cdb, Sense> {
    let opcode = *cdb.first().ok_or(INVALID_OPCODE)?;
    let rows = opcode::rows(opcode);
    let op = match rows {
        // Nearly every command, and the whole data path.
        [row] if row.service_action.is_none() && row.sets.intersects(pdt.command_sets()) => row,
        _ => find(cdb, opcode, pdt)?,
    };
    if cdb.len() < usize::from(op.cdb_len) {
        // At most 32.
        return Err(INVALID_FIELD_IN_CDB.in_cdb(cdb.len() as u16));
    }
    let control = u8_at(cdb, op.control_at()).unwrap_or(0);
    if control & 0x01 != 0 {
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(op.control_at() as u16, 0));
    }
    let (option_at, group_at) = match op.cdb_len {
        10 => (1, 6),
        16 => (1, 14),
        12 => (1, 10),
        32 => (10, 6),
        _ => (1, usize::MAX),
    };
    let option = u8_at(cdb, option_at).unwrap_or(0);
    let group = match op.flags.contains(Flags::CACHE_BITS) {
        true => u8_at(cdb, group_at).unwrap_or(0) & 0x1f,
        false => 0,
    };
    let service_action = op.service_action.unwrap_or(0);
    let mut lba = read(cdb, op.lba);
    if op.lba.width == 3 {
        lba &= 0x1f_ffff;
    }
    // Every length field has four bytes or less.
    let count = read(cdb, op.length) as u32;
    let (blocks, length) = measure(op, count, option);
    Ok(Cdb {
        op,
        lba,
        blocks,
        length,
        service_action,
        group,
        control,
        option,
    })
}

/// The blocks worked on and the data transferred for the length field `count`.
#[inline]
fn measure(op: &OpRow, count: u32, option: u8) -> (u32, TransferLength) {
    match op.rule {
        LengthRule::Blocks => (count, TransferLength::Blocks(count)),
        LengthRule::Bytes => (0, TransferLength::Bytes(count)),
        LengthRule::NoData => (0, TransferLength::None),
        LengthRule::Fixed(n) => (0, TransferLength::Bytes(u32::from(n))),
        LengthRule::Blocks6 => {
            let blocks = if count == 0 { 256 } else { count };
            (blocks, TransferLength::Blocks(blocks))
        }
        LengthRule::Range => (count, TransferLength::None),
        LengthRule::Verify => match (option >> 1) & 3 {
            0 | 2 => (count, TransferLength::None),
            1 => (count, TransferLength::Blocks(count)),
            _ => (count, TransferLength::Blocks(count.min(1))),
        },
        LengthRule::WriteSame if has_no_data_out_buffer(op, option) => {
            (count, TransferLength::None)
        }
        LengthRule::WriteSame => (count, TransferLength::Blocks(1)),
        // One byte of count.
        LengthRule::CompareAndWrite => (count, TransferLength::Blocks(count.wrapping_mul(2))),
        LengthRule::Transport => (0, TransferLength::ByTransport),
    }
}

/// The row of a command with service actions, or that differs by device type.
#[cold]
fn find(cdb: &[u8], op: u8, pdt: PeripheralDeviceType) -> Result<&'static OpRow, Sense> {
    let action = if op == opcode::VARIABLE_LENGTH {
        be16(cdb, 8).ok_or(INVALID_FIELD_IN_CDB.in_cdb(cdb.len().min(8) as u16))?
    } else {
        u16::from(u8_at(cdb, 1).unwrap_or(0) & 0x1f)
    };
    match opcode::lookup(op, action, pdt) {
        Some(row) => Ok(row),
        None if opcode::has_service_actions(op, pdt) => Err(bad_service_action(op)),
        None => Err(INVALID_OPCODE),
    }
}
