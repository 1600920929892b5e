// SPDX-License-Identifier: GPL-2.0

//! Memory descriptors: the pieces of the initiator's memory that a command reads or writes, and what can be wrong with
//! the way in which an SRP_CMD names them.
//!
//! Nothing of it is believed. A list is a value only if none of its pieces wraps around the end of the address space
//! and they are at least as long together as the initiator says. What is longer is not used: the pieces that
//! [`Descriptors`] gives add up to [`Descriptors::total`] exactly.

use core::fmt;

use super::{field32, field64, Consequence, LogoutReason};
use crate::sense::INVALID_FIELD_IN_CDB;

/// Bytes of a memory descriptor.
pub const DESCRIPTOR_LEN: usize = 16;

/// A piece of the initiator's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// VIRTUAL ADDRESS.
    pub addr: u64,
    /// MEMORY HANDLE: the R_Key.
    pub rkey: u32,
    /// DATA LENGTH, bytes.
    pub len: u32,
}

impl Descriptor {
    #[inline]
    pub(super) fn read(bytes: &[u8; DESCRIPTOR_LEN]) -> Self {
        Self {
            addr: field64(bytes, 0),
            rkey: field32(bytes, 8),
            len: field32(bytes, 12),
        }
    }

    /// Whether it ends within the address space.
    #[inline]
    pub(super) fn is_sound(&self) -> bool {
        let last = u64::from(self.len).saturating_sub(1);
        self.len == 0 || self.addr.checked_add(last).is_some()
    }
}

/// A list of pieces that has been checked, in the order of the data.
///
/// # Invariants
///
/// `table` is a whole number of memory descriptors, each of them sound, with at least `total` bytes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors<'a> {
    table: &'a [u8],
    total: u32,
}

impl<'a> Descriptors<'a> {
    /// Checks a list: the fetched table of a [`DataBuffer::Table`](super::data_buffer::DataBuffer::Table), whole, with its `total`.
    #[inline]
    pub fn parse_table(table: &'a [u8], total: u32) -> Result<Self, DescriptorError> {
        let mut sum = 0u64;
        let mut rest = table;
        while let Some((bytes, behind)) = rest.split_first_chunk() {
            let piece = Descriptor::read(bytes);
            if !piece.is_sound() {
                return Err(DescriptorError::AddressWraps);
            }
            // Saturated or not, a sum that large is more than any `total`.
            sum = sum.saturating_add(u64::from(piece.len));
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(DescriptorError::TableLength);
        }
        if sum < u64::from(total) {
            return Err(DescriptorError::ListTooShort);
        }
        Ok(Self { table, total })
    }

    /// Bytes of data.
    #[inline]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// How many pieces the table has; [`iter`](Self::iter) may give fewer.
    #[inline]
    pub fn table_entries(&self) -> usize {
        self.table.len() / DESCRIPTOR_LEN
    }

    /// The pieces, none of them empty, [`total`](Self::total) bytes together.
    #[inline]
    pub fn iter(&self) -> Pieces<'a> {
        Pieces {
            rest: self.table,
            left: self.total,
        }
    }
}

impl<'a> IntoIterator for Descriptors<'a> {
    type Item = Descriptor;
    type IntoIter = Pieces<'a>;

    #[inline]
    fn into_iter(self) -> Pieces<'a> {
        self.iter()
    }
}

/// The iterator of [`Descriptors`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
    left: u32,
}

impl Iterator for Pieces<'_> {
    type Item = Descriptor;

    #[inline]
    fn next(&mut self) -> Option<Descriptor> {
        while self.left > 0 {
            let (bytes, behind) = self.rest.split_first_chunk()?;
            self.rest = behind;
            let mut piece = Descriptor::read(bytes);
            piece.len = piece.len.min(self.left);
            self.left = self.left.saturating_sub(piece.len);
            if piece.len > 0 {
                return Some(piece);
            }
        }
        None
    }
}

/// What is wrong with the descriptors of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DescriptorError {
    /// Data-out and data-in in one command, which this target does not have.
    Bidirectional,
    /// A DATA-OUT BUFFER DESCRIPTOR FORMAT that was not agreed upon or does not exist.
    OutFormat,
    /// A DATA-IN BUFFER DESCRIPTOR FORMAT likewise; there is no immediate data-in.
    InFormat,
    /// The descriptors do not lie within the unit.
    Truncated,
    /// The table is no whole number of descriptors.
    TableLength,
    /// There are more descriptors in the unit than in the table that they are copied from.
    InlineCount,
    /// The table is longer than [`Rules::max_descriptors`](super::data_buffer::Rules::max_descriptors).
    TooMany,
    /// A piece of memory, or the table, reaches beyond the end of the address space.
    AddressWraps,
    /// The pieces are shorter together than the total length.
    ListTooShort,
    /// Immediate data begin before their descriptor ends.
    ImmediateOverlaps,
    /// Immediate data do not lie within the unit.
    ImmediateTruncated,
}

impl DescriptorError {
    /// All of them, in the order of their numbers, as for an array of counters.
    pub const ALL: [Self; 11] = [
        Self::Bidirectional,
        Self::OutFormat,
        Self::InFormat,
        Self::Truncated,
        Self::TableLength,
        Self::InlineCount,
        Self::TooMany,
        Self::AddressWraps,
        Self::ListTooShort,
        Self::ImmediateOverlaps,
        Self::ImmediateTruncated,
    ];

    /// What the target does. A descriptor that is wrong in itself ends its command; where the unit does not have the
    /// form that was agreed upon, the channel ends (SRP r16a 6.6).
    pub const fn consequence(self) -> Consequence {
        match self {
            Self::OutFormat => Consequence::Close(LogoutReason::UnsupportedOutFormat),
            Self::InFormat => Consequence::Close(LogoutReason::UnsupportedInFormat),
            Self::Truncated | Self::ImmediateTruncated => {
                Consequence::Close(LogoutReason::InvalidLength)
            }
            Self::Bidirectional
            | Self::TableLength
            | Self::InlineCount
            | Self::TooMany
            | Self::AddressWraps
            | Self::ListTooShort
            | Self::ImmediateOverlaps => Consequence::Respond(INVALID_FIELD_IN_CDB),
        }
    }
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bidirectional => "data-out and data-in in one command",
            Self::OutFormat => "unsupported data-out buffer descriptor format",
            Self::InFormat => "unsupported data-in buffer descriptor format",
            Self::Truncated => "descriptors beyond the end of the SRP_CMD",
            Self::TableLength => "descriptor table with a part of a descriptor",
            Self::InlineCount => "more descriptors in the SRP_CMD than in the table",
            Self::TooMany => "descriptor table too long",
            Self::AddressWraps => "descriptor beyond the end of the address space",
            Self::ListTooShort => "descriptors shorter than the total length",
            Self::ImmediateOverlaps => "immediate data begin before their descriptor ends",
            Self::ImmediateTruncated => "immediate data beyond the end of the SRP_CMD",
        })
    }
}
