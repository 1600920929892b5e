// SPDX-License-Identifier: GPL-2.0

//! The data buffer of an SRP_CMD (SRP r16a 6.8): nothing, memory of the initiator, or the data themselves.
//!
//! A **direct** descriptor is one piece of memory. An **indirect** one is a table of pieces that lies in the
//! initiator's memory, together with a copy of its beginning in the SRP_CMD; mostly that copy is the whole table.
//! **Immediate** data (Linux, SRP-2) are in the SRP_CMD itself, at an offset that the login fixed.
//!
//! [`Cmd::data`](super::cmd::Cmd::data) makes a [`DataBuffer`] of these, or says what is wrong with them.

use super::descriptors::{Descriptor, DescriptorError, Descriptors, DESCRIPTOR_LEN};
use super::{field32, field64};
use crate::opcode::Direction;

/// Bytes of an indirect descriptor before the partial list: the table's own memory descriptor, and a length.
const INDIRECT_LEN: usize = 20;
/// Bytes of an immediate data descriptor: a length.
const IMMEDIATE_LEN: usize = 4;

/// Where the data of a command are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataBuffer<'a> {
    /// Nowhere: there is no buffer, or none of any length.
    None,
    /// In the initiator's memory: data-out to be fetched by RDMA READ, data-in to be delivered by RDMA WRITE.
    Remote {
        /// [`Direction::Out`] or [`Direction::In`].
        direction: Direction,
        /// The pieces.
        list: Descriptors<'a>,
    },
    /// In memory of the initiator that is listed in a table which the unit has only the beginning of. Fetch the table
    /// by RDMA READ from `at`, then go on with [`Descriptors::parse_table`].
    Table {
        /// [`Direction::Out`] or [`Direction::In`].
        direction: Direction,
        /// The table: `len` is a multiple of [`DESCRIPTOR_LEN`] and no longer than [`Rules::max_descriptors`] allows.
        at: Descriptor,
        /// Bytes of data.
        total: u32,
    },
    /// Data-out, here.
    Immediate(&'a [u8]),
}

impl DataBuffer<'_> {
    /// Where the data go.
    #[inline]
    pub fn direction(&self) -> Direction {
        match self {
            Self::None => Direction::None,
            Self::Remote { direction, .. } | Self::Table { direction, .. } => *direction,
            Self::Immediate(_) => Direction::Out,
        }
    }

    /// Bytes that the initiator prepared for the transfer.
    #[inline]
    pub fn len(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::Remote { list, .. } => list.total(),
            Self::Table { total, .. } => *total,
            // Its length was a number of 32 bits.
            Self::Immediate(data) => data.len() as u32,
        }
    }

    /// Whether there is nothing to transfer.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a channel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where immediate data begin, from the start of the SRP_CMD; `None` if the login granted none
    /// ([`Accept::imm_data_offset`](super::login::Accept::imm_data_offset)).
    pub imm_data_offset: Option<u16>,
    /// The longest table that the transport takes, in descriptors.
    pub max_descriptors: u32,
}

/// DATA-OUT and DATA-IN BUFFER DESCRIPTOR FORMAT.
mod format {
    pub(super) const NONE: u8 = 0;
    pub(super) const DIRECT: u8 = 1;
    pub(super) const INDIRECT: u8 = 2;
    pub(super) const IMMEDIATE: u8 = 3;
}

/// The fields of an SRP_CMD that describe data.
pub(super) struct Fields<'a> {
    /// The whole unit.
    pub(super) iu: &'a [u8],
    /// Where the descriptors begin.
    pub(super) at: usize,
    /// The two formats, data-out in the upper half.
    pub(super) formats: u8,
    /// DATA-OUT BUFFER DESCRIPTOR COUNT.
    pub(super) out_count: u8,
    /// DATA-IN BUFFER DESCRIPTOR COUNT.
    pub(super) in_count: u8,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn parse(&self, rules: &Rules) -> Result<DataBuffer<'a>, DescriptorError> {
        match (self.formats >> 4, self.formats & 0x0f) {
            (format::NONE, format::NONE) => Ok(DataBuffer::None),
            (format::NONE, code) => match code {
                format::DIRECT => self.direct(Direction::In),
                format::INDIRECT => self.indirect(Direction::In, self.in_count, rules),
                _ => Err(DescriptorError::InFormat),
            },
            (code, format::NONE) => match (code, rules.imm_data_offset) {
                (format::DIRECT, _) => self.direct(Direction::Out),
                (format::INDIRECT, _) => self.indirect(Direction::Out, self.out_count, rules),
                (format::IMMEDIATE, Some(offset)) => self.immediate(offset),
                _ => Err(DescriptorError::OutFormat),
            },
            _ => Err(DescriptorError::Bidirectional),
        }
    }

    /// What follows the CDB.
    #[inline]
    fn bytes(&self) -> &'a [u8] {
        self.iu.get(self.at..).unwrap_or(&[])
    }

    #[inline]
    fn direct(&self, direction: Direction) -> Result<DataBuffer<'a>, DescriptorError> {
        let table: &[u8; DESCRIPTOR_LEN] = self
            .bytes()
            .first_chunk()
            .ok_or(DescriptorError::Truncated)?;
        let total = Descriptor::read(table).len;
        remote(direction, table, total)
    }

    fn indirect(
        &self,
        direction: Direction,
        count: u8,
        rules: &Rules,
    ) -> Result<DataBuffer<'a>, DescriptorError> {
        let (head, list) = self
            .bytes()
            .split_first_chunk::<INDIRECT_LEN>()
            .ok_or(DescriptorError::Truncated)?;
        let total = field32(head, DESCRIPTOR_LEN);
        let at = Descriptor {
            addr: field64(head, 0),
            rkey: field32(head, 8),
            len: field32(head, 12),
        };
        let size = DESCRIPTOR_LEN as u32;
        let (entries, count) = (at.len / size, u32::from(count));
        let inline = list
            .get(..DESCRIPTOR_LEN.saturating_mul(count as usize))
            .ok_or(DescriptorError::Truncated)?;
        if at.len % size != 0 {
            return Err(DescriptorError::TableLength);
        }
        if count > entries {
            return Err(DescriptorError::InlineCount);
        }
        if entries > rules.max_descriptors {
            return Err(DescriptorError::TooMany);
        }
        if count == entries {
            return remote(direction, inline, total);
        }
        if !at.is_sound() {
            return Err(DescriptorError::AddressWraps);
        }
        Ok(match total {
            0 => DataBuffer::None,
            total => DataBuffer::Table {
                direction,
                at,
                total,
            },
        })
    }

    fn immediate(&self, offset: u16) -> Result<DataBuffer<'a>, DescriptorError> {
        let length: &[u8; IMMEDIATE_LEN] = self
            .bytes()
            .first_chunk()
            .ok_or(DescriptorError::Truncated)?;
        let offset = usize::from(offset);
        if self.at.saturating_add(IMMEDIATE_LEN) > offset {
            return Err(DescriptorError::ImmediateOverlaps);
        }
        let data = self
            .iu
            .get(offset..)
            .and_then(|data| data.get(..field32(length, 0) as usize))
            .ok_or(DescriptorError::ImmediateTruncated)?;
        Ok(match data {
            [] => DataBuffer::None,
            data => DataBuffer::Immediate(data),
        })
    }
}

#[inline]
fn remote(
    direction: Direction,
    table: &[u8],
    total: u32,
) -> Result<DataBuffer<'_>, DescriptorError> {
    let list = Descriptors::parse_table(table, total)?;
    Ok(match total {
        0 => DataBuffer::None,
        _ => DataBuffer::Remote { direction, list },
    })
}
