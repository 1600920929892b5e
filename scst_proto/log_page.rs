// SPDX-License-Identifier: GPL-2.0

//! LOG SENSE: the list of pages, and Informational Exceptions, which has none to tell (SPC-6 6.8, 7.3).

use crate::bytes::{be16, u8_at, Writer};
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};

/// Supported Log Pages.
const SUPPORTED: u8 = 0x00;
/// Informational Exceptions (SPC-6 7.3.10).
const EXCEPTIONS: u8 = 0x2f;
/// Supported Log Pages and Subpages, with [`SUPPORTED`].
const ALL_SUBPAGES: u8 = 0xff;
/// PC: cumulative values, the only ones that are kept.
const CUMULATIVE: u8 = 1;

/// Answers LOG SENSE.
///
/// ```
/// use scst_proto::{bytes::Writer, log_page::log_sense};
///
/// let mut buf = [0; 32];
/// let mut w = Writer::new(&mut buf);
/// log_sense(&mut w, &[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 32, 0]).unwrap();
/// assert_eq!(w.as_bytes(), [0x00, 0, 0, 2, 0x00, 0x2f]);
/// ```
pub fn log_sense(w: &mut Writer<'_>, cdb: &[u8]) -> Result<(), Sense> {
    let byte = |at| u8_at(cdb, at).unwrap_or(0);
    if byte(1) & 1 != 0 {
        // SP: nothing can be saved.
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 0));
    }
    let (page, subpage) = (byte(2) & 0x3f, byte(3));
    if page != SUPPORTED && byte(2) >> 6 != CUMULATIVE {
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 7));
    }
    let from = be16(cdb, 5).unwrap_or(0);
    if from != 0 {
        // PARAMETER POINTER: the only parameter is 0000h.
        return Err(INVALID_FIELD_IN_CDB.in_cdb(5));
    }
    match (page, subpage) {
        (SUPPORTED, 0) => {
            w.u8(SUPPORTED)
                .u8(0)
                .be16(2)
                .bytes(&[SUPPORTED, EXCEPTIONS]);
        }
        (SUPPORTED, ALL_SUBPAGES) => {
            w.u8(0x40 | SUPPORTED).u8(ALL_SUBPAGES).be16(6).bytes(&[
                SUPPORTED,
                0,
                SUPPORTED,
                ALL_SUBPAGES,
                EXCEPTIONS,
                0,
            ]);
        }
        (EXCEPTIONS, 0) => {
            // Parameter 0000h: a list in binary format, four bytes: no exception, temperature unknown.
            w.u8(EXCEPTIONS)
                .u8(0)
                .be16(8)
                .bytes(&[0, 0, 0x03, 4, 0, 0, 0xff, 0]);
        }
        (SUPPORTED | EXCEPTIONS, _) => return Err(INVALID_FIELD_IN_CDB.in_cdb(3)),
        _ => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5)),
    }
    Ok(())
}
