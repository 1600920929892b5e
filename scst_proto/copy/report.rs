// SPDX-License-Identifier: GPL-2.0

//! What the copy manager says of itself and of its copies (SPC-6 6.23 to 6.27, VPD page 8Fh in 7.7.18).

use super::{
    input, list, out, token, GRANULARITY_SHIFT, MAX_COPIES, MAX_CSCDS, MAX_DESCRIPTORS,
    MAX_SEGMENTS, MAX_SEGMENT_BYTES,
};
use crate::bytes::Writer;
use crate::sense::Sense;

/// How far a copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It goes on, and the command that started it has not ended.
    Foreground,
    /// It goes on, and that command has ended.
    Background,
    /// All was copied.
    Complete,
    /// It ended with an error.
    Failed,
    /// COPY OPERATION ABORT, or the loss of the nexus, ended it.
    Terminated,
}

impl Progress {
    /// COPY MANAGER STATUS of RECEIVE COPY STATUS(LID1) (SPC-6 table 323).
    const fn lid1(self) -> u8 {
        match self {
            Self::Foreground | Self::Background => 0x00,
            Self::Complete => 0x01,
            Self::Failed | Self::Terminated => 0x02,
        }
    }

    /// COPY OPERATION STATUS (SPC-6 table 319).
    const fn lid4(self) -> u8 {
        match self {
            Self::Foreground => 0x11,
            Self::Background => 0x12,
            Self::Complete => 0x01,
            Self::Failed => 0x02,
            Self::Terminated => 0x60,
        }
    }

    /// Whether it goes on.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Foreground | Self::Background)
    }
}

/// What is known of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// How far it is.
    pub progress: Progress,
    /// SERVICE ACTION of the command that started it.
    pub action: u16,
    /// Segments that were copied.
    pub segments: u16,
    /// Bytes that were copied.
    pub bytes: u64,
    /// log2 of the blocks that they are counted in, if those of the logical unit.
    pub block_shift: Option<u32>,
    /// Status that ended it.
    pub status: u8,
    /// Sense, if the status was CHECK CONDITION.
    pub sense: Option<Sense>,
}

/// TRANSFER COUNT UNITS: bytes.
const BYTES: u8 = 0x00;
/// TRANSFER COUNT UNITS: logical blocks.
const BLOCKS: u8 = 0xf1;
/// TRANSFER COUNT UNITS: 1024 bytes.
const KIB: u8 = 0x01;
/// Room for sense data in descriptor format.
const SENSE: usize = crate::sense::MAX_LEN;

/// RECEIVE COPY STATUS(LID1) (SPC-6 6.26).
pub fn status_lid1(w: &mut Writer<'_>, copy: &Status) {
    w.be32(8).u8(copy.progress.lid1()).be16(copy.segments);
    match u32::try_from(copy.bytes) {
        Ok(bytes) => w.u8(BYTES).be32(bytes),
        Err(_) => w
            .u8(KIB)
            .be32(u32::try_from(copy.bytes >> 10).unwrap_or(u32::MAX)),
    };
}

/// RECEIVE COPY FAILURE DETAILS(LID1) (SPC-6 6.24): nothing of a copy that did not fail.
pub fn failure_lid1(w: &mut Writer<'_>, copy: &Status) {
    if copy.progress != Progress::Failed {
        w.be32(0);
        return;
    }
    let mut sense = [0; SENSE];
    let len = copy.sense.map_or(0, |s| s.encode(true, &mut sense));
    // Both are short.
    w.be32(len.saturating_add(56) as u32)
        .zeros(52)
        .u8(copy.status)
        .u8(0)
        .be16(len as u16)
        .bytes(sense.get(..len).unwrap_or(&[]));
}

/// RECEIVE COPY STATUS (SPC-6 6.27).
pub fn status(w: &mut Writer<'_>, copy: &Status) {
    let mut sense = [0; SENSE];
    let len = copy.sense.map_or(0, |s| s.encode(true, &mut sense));
    let room = len.saturating_add(3) & !3;
    let (units, count) = match copy.block_shift {
        Some(shift) => (BLOCKS, copy.bytes.checked_shr(shift).unwrap_or(0)),
        None => (BYTES, copy.bytes),
    };
    // AVAILABLE DATA does not count itself; sense data are short.
    w.be32(room.saturating_add(28) as u32)
        .u8(copy.action as u8 & 0x1f)
        .u8(copy.progress.lid4())
        .be16(copy.segments)
        .be32(match copy.progress.is_running() {
            true => UPDATE_MS,
            false => 0,
        })
        .u8(copy.status)
        .u8(room as u8)
        .u8(len as u8)
        .u8(units)
        .be64(count)
        .be16(copy.segments)
        .zeros(6)
        .bytes(sense.get(..len).unwrap_or(&[]))
        .zeros(room.saturating_sub(len));
}

/// ESTIMATED STATUS UPDATE DELAY in milliseconds: after that long it is worth asking again.
const UPDATE_MS: u32 = 100;

/// Codes of the descriptors that lists may have, ascending.
const DESCRIPTORS: [u8; 3] = [
    list::BLOCK_TO_BLOCK,
    list::BLOCK_TO_BLOCK_OFFSET,
    list::CSCD_IDENTIFICATION,
];

/// RECEIVE COPY OPERATING PARAMETERS (SPC-6 6.25).
pub fn parameters(w: &mut Writer<'_>) {
    let start = w.full_len();
    w.be32(0)
        .u8(0x01) // SNLID: a list may have no identifier
        .zeros(3)
        .be16(MAX_CSCDS)
        .be16(MAX_SEGMENTS)
        .be32(MAX_DESCRIPTORS)
        .be32(MAX_SEGMENT_BYTES)
        .be32(0) // MAXIMUM INLINE DATA LENGTH
        .be32(0) // HELD DATA LIMIT
        .be32(0) // MAXIMUM STREAM DEVICE TRANSFER SIZE
        .zeros(2)
        .be16(MAX_COPIES)
        .u8(MAX_COPIES as u8) // MAXIMUM CONCURRENT COPIES
        .u8(GRANULARITY_SHIFT)
        .u8(0) // INLINE DATA GRANULARITY
        .u8(0) // HELD DATA GRANULARITY
        .zeros(3)
        .u8(DESCRIPTORS.len() as u8)
        .bytes(&DESCRIPTORS);
    let len = w.full_len().saturating_sub(start).saturating_sub(4);
    w.patch_be32(start, u32::try_from(len).unwrap_or(u32::MAX));
}

/// What the copy manager carries out: operation codes and their service actions.
const COMMANDS: [(u8, &[u16]); 2] = [
    (
        0x83,
        &[
            out::EXTENDED_COPY_LID1,
            out::EXTENDED_COPY,
            out::POPULATE_TOKEN,
            out::WRITE_USING_TOKEN,
            out::ABORT,
        ],
    ),
    (
        0x84,
        &[
            input::STATUS_LID1,
            input::PARAMETERS,
            input::FAILURE_LID1,
            input::STATUS,
            input::TOKEN,
            input::ALL_TOKENS,
        ],
    ),
];

/// Writes a third-party copy descriptor, a multiple of four bytes long.
fn descriptor(w: &mut Writer<'_>, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
    let start = w.full_len();
    w.be16(kind).be16(0);
    body(w);
    let used = w.full_len().saturating_sub(start);
    w.zeros((used.saturating_add(3) & !3).saturating_sub(used));
    let len = w.full_len().saturating_sub(start).saturating_sub(4);
    w.patch_be16(
        start.saturating_add(2),
        u16::try_from(len).unwrap_or(u16::MAX),
    );
}

/// The descriptors of the Third-Party Copy VPD page of a logical unit with blocks of `1 << shift` bytes, ascending.
pub fn vpd(w: &mut Writer<'_>, shift: u32) {
    // Block Device ROD Token Limits (SBC-4 6.6.9).
    descriptor(w, 0x0000, |w| {
        let most = token::MAX_BYTES.checked_shr(shift).unwrap_or(0);
        w.zeros(6)
            .be16(token::MAX_RANGES)
            .be32(token::MAX_TIMEOUT)
            .be32(token::DEFAULT_TIMEOUT)
            .be64(most) // MAXIMUM TOKEN TRANSFER SIZE
            .be64(most); // OPTIMAL TRANSFER COUNT
    });
    // Supported Commands (SPC-6 7.7.18.5).
    descriptor(w, 0x0001, |w| {
        let start = w.full_len();
        w.u8(0);
        for (code, actions) in COMMANDS {
            w.u8(code).u8(actions.len() as u8);
            for action in actions {
                w.u8(*action as u8);
            }
        }
        let len = w.full_len().saturating_sub(start).saturating_sub(1);
        w.patch_u8(start, len as u8);
    });
    // Parameter Data.
    descriptor(w, 0x0004, |w| {
        w.zeros(4)
            .be16(MAX_CSCDS)
            .be16(MAX_SEGMENTS)
            .be32(MAX_DESCRIPTORS)
            .be32(0) // MAXIMUM INLINE DATA LENGTH
            .zeros(12);
    });
    // Supported Descriptors.
    descriptor(w, 0x0008, |w| {
        w.u8(DESCRIPTORS.len() as u8).bytes(&DESCRIPTORS);
    });
    // Supported CSCD Descriptor IDs: beyond those of descriptors in the list.
    descriptor(w, 0x000c, |w| {
        w.be16(2).be16(list::CSCD_SELF);
    });
    // ROD Token Features.
    descriptor(w, 0x0106, |w| {
        w.u8(0) // REMOTE TOKENS: none
            .zeros(11)
            .be32(0) // MINIMUM TOKEN LIFETIME
            .be32(token::MAX_TIMEOUT) // MAXIMUM TOKEN LIFETIME
            .be32(token::MAX_TIMEOUT) // MAXIMUM TOKEN INACTIVITY TIMEOUT
            .zeros(18)
            .be16(0); // no ROD device type specific features
    });
    // Supported ROD Types: ROD TYPE; TOKEN_IN and TOKEN_OUT; PREFERENCE INDICATOR.
    descriptor(w, 0x0108, |w| {
        const IN: u8 = 0x02;
        const OUT: u8 = 0x01;
        const TYPES: [(token::Kind, u8, u16); 3] = [
            (token::Kind::AccessUponReference, IN | OUT, 2),
            (token::Kind::ChangeVulnerable, IN | OUT, 1),
            (token::Kind::Zero, IN, 0),
        ];
        w.zeros(2).be16(TYPES.len() as u16 * 64);
        for (kind, ways, preference) in TYPES {
            w.be32(kind as u32)
                .u8(ways)
                .u8(0)
                .be16(preference)
                .zeros(56);
        }
    });
    // General Copy Operations.
    descriptor(w, 0x8001, |w| {
        w.be32(u32::from(MAX_COPIES)) // TOTAL CONCURRENT COPIES
            .be32(u32::from(MAX_COPIES)) // MAXIMUM IDENTIFIED CONCURRENT COPIES
            .be32(MAX_SEGMENT_BYTES)
            .u8(GRANULARITY_SHIFT)
            .u8(0)
            .zeros(18);
    });
}
