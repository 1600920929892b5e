// SPDX-License-Identifier: GPL-2.0

//! The parameter list of EXTENDED COPY (SPC-6 6.4, 6.5): what is copied from where to where.

use super::{out, MAX_CSCDS, MAX_DESCRIPTORS, MAX_SEGMENTS, MAX_SEGMENT_BYTES};
use crate::bytes::{be16, be24, be32, be64, u8_at};
use crate::opcode::PeripheralDeviceType;
use crate::sense::{
    Sense, COPY_ABORTED, INEXACT_SEGMENT, INLINE_DATA_LENGTH_EXCEEDED, INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST, PARAMETER_LIST_LENGTH_ERROR, TOO_MANY_SEGMENT_DESCRIPTORS,
    TOO_MANY_TARGET_DESCRIPTORS, UNREACHABLE_COPY_TARGET, UNSUPPORTED_SEGMENT_DESCRIPTOR,
    UNSUPPORTED_TARGET_DESCRIPTOR,
};

/// Length of the header of EXTENDED COPY(LID1).
pub const HEADER_LID1: usize = 16;
/// Length of the header of EXTENDED COPY.
pub const HEADER_LID4: usize = 48;

/// Identification Descriptor CSCD descriptor (SPC-6 6.5.6.5).
pub const CSCD_IDENTIFICATION: u8 = 0xe4;
/// Length of every CSCD descriptor that is supported.
const CSCD_LEN: usize = 32;
/// CSCD DESCRIPTOR ID of the logical unit that the command was sent to (SPC-6 table 129).
pub const CSCD_SELF: u16 = 0xffff;

/// Segment descriptor: block device to block device (SPC-6 6.5.7.7).
pub const BLOCK_TO_BLOCK: u8 = 0x02;
/// Segment descriptor: the same with a length in bytes, and offsets within blocks (SPC-6 6.5.7.10).
pub const BLOCK_TO_BLOCK_OFFSET: u8 = 0x0a;

/// A field of the list that is wrong. All lists are short enough for a FIELD POINTER.
fn bad_field(at: usize) -> Sense {
    pointing(INVALID_FIELD_IN_PARAMETER_LIST, at)
}

fn pointing(sense: Sense, at: usize) -> Sense {
    match u16::try_from(at) {
        Ok(at) => sense.in_data(at),
        Err(_) => sense,
    }
}

/// A parameter list of EXTENDED COPY, checked but for what only the devices know.
#[derive(Clone, Copy, Debug)]
pub struct CopyList<'a> {
    /// LIST IDENTIFIER, unless LIST ID USAGE says that there is none.
    pub id: Option<u32>,
    /// IMMED: the command ends when the list has been looked at.
    pub immediate: bool,
    data: &'a [u8],
    cscds_at: usize,
    segments_at: usize,
    end: usize,
}

/// A copy source or copy destination: a block device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cscd<'a> {
    /// Where its descriptor is in the list.
    pub at: usize,
    /// CODE SET of the designator.
    pub code_set: u8,
    /// DESIGNATOR TYPE.
    pub kind: u8,
    /// The designator.
    pub designator: &'a [u8],
    /// PERIPHERAL DEVICE TYPE.
    pub pdt: PeripheralDeviceType,
    /// DISK BLOCK LENGTH in bytes, 0 where the initiator did not care to say.
    pub block_length: u32,
}

/// Which logical unit a segment means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The one of the CSCD descriptor with this number.
    Cscd(u16),
    /// The one that the command was sent to.
    Own,
}

/// How much a segment moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    /// So many blocks of the source.
    SourceBlocks(u32),
    /// So many blocks of the destination (DC).
    DestinationBlocks(u32),
    /// So many bytes.
    Bytes(u32),
}

/// A segment descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it is in the list.
    pub at: usize,
    /// Source.
    pub source: End,
    /// Destination.
    pub destination: End,
    /// How much.
    pub amount: Amount,
    /// First block of the source.
    pub source_lba: u64,
    /// First block of the destination.
    pub destination_lba: u64,
}

impl Segment {
    /// What the segment moves with blocks of `1 << shift` bytes: positions in bytes of source and destination, and how
    /// many bytes. Whole blocks of both.
    pub fn extent(
        &self,
        source_shift: u32,
        destination_shift: u32,
    ) -> Result<(u64, u64, u64), Sense> {
        let out_of_reach = pointing(COPY_ABORTED, self.at);
        let bytes = |blocks: u64, shift: u32| {
            let bytes = blocks.checked_shl(shift).unwrap_or(0);
            match bytes.checked_shr(shift) == Some(blocks) && bytes <= i64::MAX as u64 {
                true => Ok(bytes),
                false => Err(out_of_reach),
            }
        };
        let len = match self.amount {
            Amount::SourceBlocks(n) => bytes(u64::from(n), source_shift)?,
            Amount::DestinationBlocks(n) => bytes(u64::from(n), destination_shift)?,
            Amount::Bytes(n) => u64::from(n),
        };
        let coarse = source_shift.max(destination_shift);
        let rest = len & 1u64.checked_shl(coarse).unwrap_or(0).wrapping_sub(1);
        if rest != 0 {
            return Err(pointing(INEXACT_SEGMENT, self.at));
        }
        let source = bytes(self.source_lba, source_shift)?;
        let destination = bytes(self.destination_lba, destination_shift)?;
        Ok((source, destination, len))
    }
}

impl<'a> CopyList<'a> {
    /// Takes the parameter list of service action `action` apart. `None` for an empty one, which is no error and copies
    /// nothing.
    pub fn decode(action: u16, data: &'a [u8]) -> Result<Option<Self>, Sense> {
        if data.is_empty() {
            return Ok(None);
        }
        let list = match action {
            out::EXTENDED_COPY_LID1 => Self::lid1(data)?,
            out::EXTENDED_COPY => Self::lid4(data)?,
            _ => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4)),
        };
        list.check()?;
        Ok(Some(list))
    }

    fn lid1(data: &'a [u8]) -> Result<Self, Sense> {
        if data.len() < HEADER_LID1 {
            return Err(PARAMETER_LIST_LENGTH_ERROR);
        }
        let id = u32::from(u8_at(data, 0).unwrap_or(0));
        let cscds = u32::from(be16(data, 2).unwrap_or(0));
        let segments = be32(data, 8).unwrap_or(0);
        let inline = be32(data, 12).unwrap_or(0);
        Self::new(data, HEADER_LID1, (id, 0), (cscds, segments, inline), false)
    }

    fn lid4(data: &'a [u8]) -> Result<Self, Sense> {
        const FORMAT: u8 = 0x01;
        const HEADER_CSCD: u16 = 0x20;
        const HEADER_CSCD_TYPE: u8 = 0xff;

        if data.len() < HEADER_LID4 {
            return Err(PARAMETER_LIST_LENGTH_ERROR);
        }
        if u8_at(data, 0) != Some(FORMAT) {
            return Err(bad_field(0));
        }
        if be16(data, 2) != Some(HEADER_CSCD) {
            return Err(bad_field(2));
        }
        if u8_at(data, 16) != Some(HEADER_CSCD_TYPE) {
            return Err(bad_field(16));
        }
        let length = |at| u32::from(be16(data, at).unwrap_or(0));
        let immediate = u8_at(data, 15).unwrap_or(0) & 0x02 != 0;
        let id = be32(data, 20).unwrap_or(0);
        let lengths = (length(42), length(44), length(46));
        Self::new(data, HEADER_LID4, (id, 20), lengths, immediate)
    }

    fn new(
        data: &'a [u8],
        header: usize,
        (id, id_at): (u32, usize),
        (cscds, segments, inline): (u32, u32, u32),
        immediate: bool,
    ) -> Result<Self, Sense> {
        const NO_ID: u8 = 3;

        let usage = (u8_at(data, 1).unwrap_or(0) >> 3) & 3;
        let id = match usage {
            NO_ID if id != 0 => return Err(bad_field(id_at)),
            NO_ID => None,
            1 => return Err(bad_field(1)),
            _ => Some(id),
        };
        if immediate && id.is_none() {
            // Nobody could ask what became of it.
            return Err(bad_field(15));
        }
        if inline != 0 {
            return Err(INLINE_DATA_LENGTH_EXCEEDED);
        }
        let described = cscds
            .checked_add(segments)
            .filter(|n| *n <= MAX_DESCRIPTORS);
        let Some(described) = described else {
            return Err(PARAMETER_LIST_LENGTH_ERROR);
        };
        let end = header.saturating_add(described as usize);
        if data.len() < end {
            return Err(PARAMETER_LIST_LENGTH_ERROR);
        }
        Ok(Self {
            id,
            immediate,
            data,
            cscds_at: header,
            segments_at: header.saturating_add(cscds as usize),
            end,
        })
    }

    fn check(&self) -> Result<(), Sense> {
        let mut at = self.cscds_at;
        let mut cscds = 0u16;
        while at < self.segments_at {
            if u8_at(self.data, at) != Some(CSCD_IDENTIFICATION) {
                return Err(pointing(UNSUPPORTED_TARGET_DESCRIPTOR, at));
            }
            cscds = cscds.saturating_add(1);
            if cscds > MAX_CSCDS {
                return Err(pointing(TOO_MANY_TARGET_DESCRIPTORS, at));
            }
            if at.saturating_add(CSCD_LEN) > self.segments_at {
                return Err(PARAMETER_LIST_LENGTH_ERROR);
            }
            self.cscd_at(at)?;
            at = at.saturating_add(CSCD_LEN);
        }
        let mut segments = 0u16;
        while at < self.end {
            segments = segments.saturating_add(1);
            if segments > MAX_SEGMENTS {
                return Err(pointing(TOO_MANY_SEGMENT_DESCRIPTORS, at));
            }
            let (segment, len) = self.segment_at(at)?;
            if at.saturating_add(len) > self.end {
                return Err(PARAMETER_LIST_LENGTH_ERROR);
            }
            for end in [segment.source, segment.destination] {
                if matches!(end, End::Cscd(n) if n >= cscds) {
                    return Err(pointing(UNREACHABLE_COPY_TARGET, at));
                }
            }
            at = at.saturating_add(len);
        }
        Ok(())
    }

    fn cscd_at(&self, at: usize) -> Result<Cscd<'a>, Sense> {
        const MAX_DESIGNATOR: usize = 20;

        let field = |offset: usize| u8_at(self.data, at.saturating_add(offset)).unwrap_or(0);
        let len = usize::from(field(7));
        let begin = at.saturating_add(8);
        let designator = self.data.get(begin..begin.saturating_add(len));
        match designator.filter(|_| len != 0 && len <= MAX_DESIGNATOR) {
            Some(designator) => Ok(Cscd {
                at,
                code_set: field(4) & 0x0f,
                kind: field(5) & 0x3f,
                designator,
                pdt: PeripheralDeviceType(field(1) & 0x1f),
                block_length: be24(self.data, at.saturating_add(29)).unwrap_or(0),
            }),
            None => Err(bad_field(at.saturating_add(7))),
        }
    }

    /// The segment at `at`, and its length.
    fn segment_at(&self, at: usize) -> Result<(Segment, usize), Sense> {
        const DC: u8 = 0x02;

        let rest = self.data.get(at..self.end).unwrap_or(&[]);
        let (kind, len) = match u8_at(rest, 0) {
            Some(BLOCK_TO_BLOCK) => (BLOCK_TO_BLOCK, 0x18u16),
            Some(BLOCK_TO_BLOCK_OFFSET) => (BLOCK_TO_BLOCK_OFFSET, 0x1c),
            _ => return Err(pointing(UNSUPPORTED_SEGMENT_DESCRIPTOR, at)),
        };
        if be16(rest, 2) != Some(len) {
            return Err(bad_field(at.saturating_add(2)));
        }
        let full = usize::from(len).saturating_add(4);
        if rest.len() < full {
            return Err(PARAMETER_LIST_LENGTH_ERROR);
        }
        let end = |offset: usize| match be16(rest, offset).unwrap_or(0) {
            CSCD_SELF => End::Own,
            n => End::Cscd(n),
        };
        let lba = |offset: usize| be64(rest, offset).unwrap_or(0);
        let blocks = u32::from(be16(rest, 10).unwrap_or(0));
        let by_destination = u8_at(rest, 1).unwrap_or(0) & DC != 0;
        if kind == BLOCK_TO_BLOCK_OFFSET && be32(rest, 28) != Some(0) {
            // Offsets within a block.
            return Err(bad_field(at.saturating_add(28)));
        }
        let amount = match (kind, by_destination) {
            (BLOCK_TO_BLOCK_OFFSET, _) => match be32(rest, 8).unwrap_or(0) {
                bytes if bytes > MAX_SEGMENT_BYTES => return Err(bad_field(at.saturating_add(8))),
                bytes => Amount::Bytes(bytes),
            },
            (_, false) => Amount::SourceBlocks(blocks),
            (_, true) => Amount::DestinationBlocks(blocks),
        };
        let segment = Segment {
            at,
            source: end(4),
            destination: end(6),
            amount,
            source_lba: lba(12),
            destination_lba: lba(20),
        };
        Ok((segment, full))
    }

    /// The CSCD descriptors, in their order.
    pub fn cscds(&self) -> impl Iterator<Item = Cscd<'a>> + '_ {
        (self.cscds_at..self.segments_at)
            .step_by(CSCD_LEN)
            .filter_map(|at| self.cscd_at(at).ok())
    }

    /// The segments, in their order.
    pub fn segments(&self) -> Segments<'_, 'a> {
        Segments {
            list: self,
            at: self.segments_at,
        }
    }
}

/// Iterator over the segments of a list.
pub struct Segments<'l, 'a> {
    list: &'l CopyList<'a>,
    at: usize,
}

impl Iterator for Segments<'_, '_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if self.at >= self.list.end {
            return None;
        }
        let (segment, len) = self.list.segment_at(self.at).ok()?;
        self.at = self.at.saturating_add(len);
        Some(segment)
    }
}
