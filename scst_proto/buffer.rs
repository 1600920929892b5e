// SPDX-License-Identifier: GPL-2.0

//! READ BUFFER(10) and WRITE BUFFER: the echo buffer, and the descriptor of a data buffer that is not there
//! (SPC-6 6.20, 6.49).

use crate::bytes::{be24, u8_at};
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};

/// Capacity of the echo buffer in bytes; the 13-bit field allows up to 4 KiB (SPC-6 6.20.9).
pub const ECHO_CAPACITY: usize = 4096;

/// What a READ BUFFER or WRITE BUFFER is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 03h: the descriptor of a data buffer.
    Descriptor,
    /// 0Ah: the echo buffer.
    Echo,
    /// 0Bh: the descriptor of the echo buffer.
    EchoDescriptor,
}

/// The mode of READ BUFFER(10).
pub fn read_mode(cdb: &[u8]) -> Result<Mode, Sense> {
    match u8_at(cdb, 1).unwrap_or(0) & 0x1f {
        0x03 => Ok(Mode::Descriptor),
        0x0a => Ok(Mode::Echo),
        0x0b => Ok(Mode::EchoDescriptor),
        _ => Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4)),
    }
}

/// Checks a WRITE BUFFER: only the echo buffer can be written, from its start, and not beyond its end.
pub fn check_write(cdb: &[u8]) -> Result<(), Sense> {
    if u8_at(cdb, 1).unwrap_or(0) & 0x1f != 0x0a {
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4));
    }
    match be24(cdb, 6) {
        Some(len) if len as usize <= ECHO_CAPACITY => Ok(()),
        _ => Err(INVALID_FIELD_IN_CDB.in_cdb(6)),
    }
}

/// The descriptor of a data buffer: OFFSET BOUNDARY none, BUFFER CAPACITY zero.
pub const NO_BUFFER: [u8; 4] = [0xff, 0, 0, 0];

/// The descriptor of the echo buffer, which all initiators share (EBOS is zero).
pub fn echo_descriptor() -> [u8; 4] {
    let [hi, lo] = (ECHO_CAPACITY as u16).to_be_bytes();
    [0, 0, hi, lo]
}
