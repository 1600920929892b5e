// SPDX-License-Identifier: GPL-2.0

//! ROD tokens (SPC-6 5.19.6): POPULATE TOKEN and WRITE USING TOKEN (SBC-4 5.9, 5.53), and the token itself.
//!
//! A token stands for blocks of one logical unit. Who has it may have them written somewhere, whatever else he may do;
//! so it has in it what nobody guesses.

use crate::bytes::{be16, be32, be64, copy, u8_at, Writer};
use crate::sense::{
    Sense, INVALID_FIELD_IN_PARAMETER_LIST, INVALID_TOKEN_LENGTH, LBA_OUT_OF_RANGE,
    PARAMETER_LIST_LENGTH_ERROR, TOO_MANY_SEGMENT_DESCRIPTORS, UNSUPPORTED_TOKEN_TYPE,
};

/// Length of every token.
pub const LEN: usize = 512;
/// ROD TOKEN LENGTH: what follows that field.
const LENGTH_FIELD: u16 = (LEN - 8) as u16;
/// Bytes of the token that nobody guesses.
pub const SECRET: usize = 32;
/// Most block device range descriptors of a command.
pub const MAX_RANGES: u16 = 64;
/// Most bytes that a token stands for, and that WRITE USING TOKEN moves.
pub const MAX_BYTES: u64 = 1 << 40;
/// So many seconds after its last use a token expires, if the initiator does not say when.
pub const DEFAULT_TIMEOUT: u32 = 60;
/// The longest such time.
pub const MAX_TIMEOUT: u32 = 3600;
/// Length of a block device range descriptor.
const RANGE: usize = 16;
/// Where the descriptors of POPULATE TOKEN begin.
const POPULATE_HEADER: usize = 16;
/// Where those of WRITE USING TOKEN begin.
const WRITE_HEADER: usize = 536;
/// Longest parameter list of either.
pub const MAX_LIST: usize = WRITE_HEADER + MAX_RANGES as usize * RANGE;

/// ROD TYPE (SPC-6 table 106).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// The blocks as they are when the token is used.
    AccessUponReference = 0x0001_0000,
    /// The blocks as they were when the token was made; once they change it is void.
    ChangeVulnerable = 0x0080_0001,
    /// Zeros, without end.
    Zero = 0xffff_0001,
}

impl Kind {
    /// What POPULATE TOKEN makes of the ROD TYPE field; `None` where it is left to the copy manager.
    fn to_make(field: Option<u32>) -> Result<Self, Sense> {
        const POINT_IN_TIME_ANY: u32 = 0x0080_ffff;
        const POINT_IN_TIME: u32 = 0x0080_0000;

        match field {
            None | Some(POINT_IN_TIME | POINT_IN_TIME_ANY | 0x0080_0001) => {
                Ok(Self::ChangeVulnerable)
            }
            Some(0x0001_0000) => Ok(Self::AccessUponReference),
            Some(_) => Err(UNSUPPORTED_TOKEN_TYPE),
        }
    }
}

/// Blocks of a logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First block.
    pub lba: u64,
    /// How many.
    pub blocks: u32,
}

impl Range {
    /// Whether both have a block.
    pub fn overlaps(&self, lba: u64, blocks: u64) -> bool {
        let end = self.lba.saturating_add(u64::from(self.blocks));
        let some = self.blocks != 0 && blocks != 0;
        some && lba < end && self.lba < lba.saturating_add(blocks)
    }
}

/// Block device range descriptors, checked.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a>(&'a [u8]);

impl<'a> Ranges<'a> {
    /// The descriptors from `at` on, whose length is in the two bytes before, for a medium of `capacity` blocks of
    /// `1 << shift` bytes.
    fn decode(list: &'a [u8], at: usize, capacity: u64, shift: u32) -> Result<Self, Sense> {
        let wrong = |at: usize| {
            // Lists are shorter than a field pointer reaches.
            INVALID_FIELD_IN_PARAMETER_LIST.in_data(u16::try_from(at).unwrap_or(0))
        };
        let field = at.saturating_sub(2);
        let len = usize::from(be16(list, field).unwrap_or(0));
        if len < RANGE || len & (RANGE - 1) != 0 {
            return Err(wrong(field));
        }
        if len > usize::from(MAX_RANGES).saturating_mul(RANGE) {
            return Err(TOO_MANY_SEGMENT_DESCRIPTORS);
        }
        let end = at.saturating_add(len);
        let ranges = Self(list.get(at..end).ok_or(PARAMETER_LIST_LENGTH_ERROR)?);
        for (n, range) in ranges.iter().enumerate() {
            let end = range.lba.checked_add(u64::from(range.blocks));
            if end.is_none_or(|end| end > capacity) {
                return Err(LBA_OUT_OF_RANGE.with_information(range.lba));
            }
            let mut before = ranges.iter().take(n);
            if before.any(|other| other.overlaps(range.lba, u64::from(range.blocks))) {
                return Err(wrong(at.saturating_add(n.saturating_mul(RANGE))));
            }
        }
        match ranges.blocks() <= MAX_BYTES.checked_shr(shift).unwrap_or(0) {
            true => Ok(ranges),
            false => Err(wrong(field)),
        }
    }

    /// The ranges, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Range> + 'a {
        self.0.chunks_exact(RANGE).map(|d| Range {
            lba: be64(d, 0).unwrap_or(0),
            blocks: be32(d, 8).unwrap_or(0),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Blocks of all of them.
    pub fn blocks(&self) -> u64 {
        self.iter()
            .fold(0, |sum, r| sum.saturating_add(u64::from(r.blocks)))
    }
}

/// Checks the length field that both lists begin with.
fn check_length(list: &[u8], least: usize) -> Result<(), Sense> {
    let len = usize::from(be16(list, 0).ok_or(PARAMETER_LIST_LENGTH_ERROR)?).saturating_add(2);
    if len < least {
        return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(0));
    }
    match list.len() < len {
        true => Err(PARAMETER_LIST_LENGTH_ERROR),
        false => Ok(()),
    }
}

/// The parameter list of POPULATE TOKEN.
#[derive(Clone, Copy, Debug)]
pub struct Populate<'a> {
    /// IMMED.
    pub immediate: bool,
    /// What the token is to be.
    pub kind: Kind,
    /// So many seconds after its last use it expires.
    pub timeout: u32,
    /// The blocks.
    pub ranges: Ranges<'a>,
}

impl<'a> Populate<'a> {
    /// Takes a list apart, for a medium of `capacity` blocks of `1 << shift` bytes.
    pub fn decode(list: &'a [u8], capacity: u64, shift: u32) -> Result<Self, Sense> {
        const RTV: u8 = 0x02;

        check_length(list, POPULATE_HEADER + RANGE)?;
        let flags = u8_at(list, 2).unwrap_or(0);
        let kind = (flags & RTV != 0).then(|| be32(list, 8).unwrap_or(0));
        let timeout = match be32(list, 4).unwrap_or(0) {
            0 => DEFAULT_TIMEOUT,
            n if n > MAX_TIMEOUT => return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(4)),
            n => n,
        };
        Ok(Self {
            immediate: flags & 1 != 0,
            kind: Kind::to_make(kind)?,
            timeout,
            ranges: Ranges::decode(list, POPULATE_HEADER, capacity, shift)?,
        })
    }
}

/// The parameter list of WRITE USING TOKEN.
#[derive(Clone, Copy, Debug)]
pub struct WriteUsing<'a> {
    /// IMMED.
    pub immediate: bool,
    /// DEL_TKN: the token is not wanted afterwards.
    pub delete: bool,
    /// OFFSET INTO ROD in blocks of the destination.
    pub offset: u64,
    /// The token.
    pub token: &'a [u8; LEN],
    /// The blocks that are written.
    pub ranges: Ranges<'a>,
}

impl<'a> WriteUsing<'a> {
    /// Takes a list apart, for a medium of `capacity` blocks of `1 << shift` bytes.
    pub fn decode(list: &'a [u8], capacity: u64, shift: u32) -> Result<Self, Sense> {
        const TOKEN: usize = 16;
        const DEL_TKN: u8 = 0x02;

        check_length(list, WRITE_HEADER + RANGE)?;
        let flags = u8_at(list, 2).unwrap_or(0);
        let token = list.get(TOKEN..).and_then(|t| t.first_chunk::<LEN>());
        let token = token.ok_or(PARAMETER_LIST_LENGTH_ERROR)?;
        if be16(token, 6) != Some(LENGTH_FIELD) {
            return Err(INVALID_TOKEN_LENGTH);
        }
        Ok(Self {
            immediate: flags & 1 != 0,
            delete: flags & DEL_TKN != 0,
            offset: be64(list, 8).unwrap_or(0),
            token,
            ranges: Ranges::decode(list, WRITE_HEADER, capacity, shift)?,
        })
    }
}

/// Whether a token is that of zeros (SBC-4 4.28.4): there is only one.
pub fn is_zero(token: &[u8; LEN]) -> bool {
    be32(token, 0) == Some(Kind::Zero as u32)
}

/// COPY MANAGER ROD TOKEN IDENTIFIER: which of the copy manager's tokens it is.
pub fn id(token: &[u8; LEN]) -> u64 {
    be64(token, 8).unwrap_or(0)
}

/// What a token says of its blocks.
#[derive(Clone, Copy, Debug)]
pub struct Created<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its number.
    pub id: u64,
    /// Identification descriptor CSCD descriptor of the logical unit.
    pub creator: &'a [u8; 32],
    /// NUMBER OF BYTES REPRESENTED.
    pub bytes: u64,
    /// Logical block length.
    pub block_length: u32,
    /// Random bytes.
    pub secret: &'a [u8; SECRET],
}

/// Makes a token (SPC-6 table 108, SBC-4 table 27).
pub fn make(token: &mut [u8; LEN], what: &Created<'_>) {
    let mut w = Writer::new(token);
    w.be32(what.kind as u32)
        .be16(0)
        .be16(LENGTH_FIELD)
        .be64(what.id)
        .bytes(what.creator)
        .be64(0)
        .be64(what.bytes)
        .zeros(32)
        // Device type specific: LOGICAL BLOCK LENGTH, and nothing about protection information.
        .be32(what.block_length)
        .zeros(28)
        .zeros(LEN - 128);
    if let Some(place) = token.get_mut(128..128 + SECRET) {
        copy(place, what.secret);
    }
}

/// The part of the answer to RECEIVE ROD TOKEN INFORMATION that follows the status: the token of a POPULATE TOKEN that
/// is complete, or none (SPC-6 6.28).
pub fn descriptors(w: &mut Writer<'_>, token: Option<&[u8; LEN]>) {
    match token {
        // The length, an identifier of two bytes, which is of no use here.
        Some(token) => w.be32(LEN as u32 + 2).be16(0).bytes(token),
        None => w.be32(0),
    };
}

/// Bytes of a ROD management token: the beginning of a token, without what nobody guesses (SPC-6 6.34).
pub const MANAGEMENT: usize = 96;

/// Length of the answer to REPORT ALL ROD TOKENS with so many tokens.
pub const fn all_len(tokens: usize) -> usize {
    tokens.saturating_mul(MANAGEMENT).saturating_add(8)
}

/// The answer to REPORT ALL ROD TOKENS: which there are. Nobody can use one by what is told here.
pub fn all<'a>(w: &mut Writer<'_>, tokens: impl Iterator<Item = &'a [u8; LEN]>) {
    let start = w.full_len();
    w.zeros(8);
    for token in tokens {
        w.bytes(token.get(..MANAGEMENT).unwrap_or(&[]));
    }
    // AVAILABLE DATA.
    let len = w.full_len().saturating_sub(start).saturating_sub(4);
    w.patch_be32(start, u32::try_from(len).unwrap_or(u32::MAX));
}
