// SPDX-License-Identifier: GPL-2.0

//! REPORT TIMESTAMP and SET TIMESTAMP (SPC-6 6.38, 6.46, 5.3): milliseconds since 1970, 48 bits.

use crate::bytes::{be16, be32, Writer};
use crate::sense::{Sense, PARAMETER_LIST_LENGTH_ERROR};

/// Length of the parameter data of both commands.
pub const LEN: usize = 12;
/// What 48 bits hold.
const MAX: u64 = (1 << 48) - 1;

/// Who set the clock (TIMESTAMP ORIGIN, SPC-6 table 65).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Origin {
    /// SET TIMESTAMP.
    Command = 2,
    /// Somebody else: it is the machine's clock.
    Other = 3,
}

/// Writes the answer to REPORT TIMESTAMP.
pub fn report(w: &mut Writer<'_>, origin: Origin, milliseconds: u64) {
    let [_, _, time @ ..] = milliseconds.min(MAX).to_be_bytes();
    w.be16(LEN as u16 - 2)
        .u8(origin as u8)
        .u8(0)
        .bytes(&time)
        .zeros(2);
}

/// The time that the parameter list of SET TIMESTAMP tells; `None` for an empty one, which sets nothing.
///
/// ```
/// use scst_proto::timestamp::set;
///
/// assert_eq!(set(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0]), Ok(Some(0x0102_0304_0506)));
/// assert_eq!(set(&[]), Ok(None));
/// assert!(set(&[0; 11]).is_err());
/// ```
pub fn set(list: &[u8]) -> Result<Option<u64>, Sense> {
    if list.is_empty() {
        return Ok(None);
    }
    let (Some(high), Some(low), true) = (be16(list, 4), be32(list, 6), list.len() >= LEN) else {
        return Err(PARAMETER_LIST_LENGTH_ERROR);
    };
    Ok(Some((u64::from(high) << 32) | u64::from(low)))
}
