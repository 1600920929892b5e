// SPDX-License-Identifier: GPL-2.0

//! Third-party copy (SPC-6 5.19, 6.4, 6.5, 6.23 to 6.28): the copy manager's lists and reports.
//!
//! [`list`] takes the parameter list of EXTENDED COPY apart, [`token`] those of the commands with ROD tokens, [`report`]
//! writes what is asked of the copy manager.
//! Copies are between block devices, which are told by one of their designators.

pub mod list;
pub mod report;
pub mod token;

/// SERVICE ACTIONs of THIRD-PARTY COPY OUT, operation code 83h (SPC-6 table 116).
pub mod out {
    /// EXTENDED COPY(LID1).
    pub const EXTENDED_COPY_LID1: u16 = 0x00;
    /// EXTENDED COPY, with list identifiers of four bytes.
    pub const EXTENDED_COPY: u16 = 0x01;
    /// POPULATE TOKEN.
    pub const POPULATE_TOKEN: u16 = 0x10;
    /// WRITE USING TOKEN.
    pub const WRITE_USING_TOKEN: u16 = 0x11;
    /// COPY OPERATION ABORT.
    pub const ABORT: u16 = 0x1c;
}

/// SERVICE ACTIONs of THIRD-PARTY COPY IN, operation code 84h (SPC-6 table 117).
pub mod input {
    /// RECEIVE COPY STATUS(LID1).
    pub const STATUS_LID1: u16 = 0x00;
    /// RECEIVE COPY OPERATING PARAMETERS.
    pub const PARAMETERS: u16 = 0x03;
    /// RECEIVE COPY FAILURE DETAILS(LID1).
    pub const FAILURE_LID1: u16 = 0x04;
    /// RECEIVE COPY STATUS, with list identifiers of four bytes.
    pub const STATUS: u16 = 0x05;
    /// RECEIVE ROD TOKEN INFORMATION.
    pub const TOKEN: u16 = 0x07;
    /// REPORT ALL ROD TOKENS.
    pub const ALL_TOKENS: u16 = 0x08;
}

/// Most CSCD descriptors of a list.
pub const MAX_CSCDS: u16 = 8;
/// Most segment descriptors of a list.
pub const MAX_SEGMENTS: u16 = 256;
/// Most bytes of both together.
pub const MAX_DESCRIPTORS: u32 = MAX_CSCDS as u32 * 32 + MAX_SEGMENTS as u32 * 32;
/// Longest parameter list: the header of EXTENDED COPY and the descriptors.
pub const MAX_LIST: usize = list::HEADER_LID4 + MAX_DESCRIPTORS as usize;
/// Most bytes that a segment moves.
pub const MAX_SEGMENT_BYTES: u32 = 256 << 20;
/// Most copies at the same time, of all initiators.
pub const MAX_COPIES: u16 = 64;
/// What each segment has to be a multiple of, as a power of two of bytes.
pub const GRANULARITY_SHIFT: u8 = 9;
/// How many results of copies are kept for RECEIVE COPY STATUS, of all initiators.
pub const MAX_RESULTS: usize = 256;
