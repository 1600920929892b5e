// SPDX-License-Identifier: GPL-2.0

//! LOG SENSE: the list of pages, Informational Exceptions, which has none to tell, and Logical Block Provisioning (SPC-6 6.8,
//! 7.3; SBC-4 6.4.5).

use crate::bytes::{be16, u8_at, Writer};
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};
use crate::threshold::{sets, Resources};

/// Supported Log Pages.
const SUPPORTED: u8 = 0x00;
/// Logical Block Provisioning.
const PROVISIONING: u8 = 0x0c;
/// Informational Exceptions (SPC-6 7.3.10).
const EXCEPTIONS: u8 = 0x2f;
/// Supported Log Pages and Subpages, with [`SUPPORTED`].
const ALL_SUBPAGES: u8 = 0xff;
/// FORMAT AND LINKING of a parameter that is a list in binary format.
const LIST: u8 = 0x03;
/// Available LBA Mapping Resource Count.
const AVAILABLE: u16 = 0x0001;
/// Used LBA Mapping Resource Count.
const USED: u16 = 0x0002;
/// SCOPE: of this logical unit alone.
const DEDICATED: u8 = 1;
/// SCOPE: of others too.
const SHARED: u8 = 2;
/// PC: cumulative values, the only ones that are kept.
const CUMULATIVE: u8 = 1;

/// Answers LOG SENSE; `resources` are the device's LBA mapping resources, where they are counted.
///
/// ```
/// use scst_proto::{bytes::Writer, log_page::log_sense};
///
/// let mut buf = [0; 32];
/// let mut w = Writer::new(&mut buf);
/// log_sense(&mut w, &[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 32, 0], None).unwrap();
/// assert_eq!(w.as_bytes(), [0x00, 0, 0, 2, 0x00, 0x2f]);
/// ```
pub fn log_sense(
    w: &mut Writer<'_>,
    cdb: &[u8],
    resources: Option<Resources>,
) -> Result<(), Sense> {
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
    let last = last_parameter(page);
    if from > last {
        // PARAMETER POINTER.
        return Err(INVALID_FIELD_IN_CDB.in_cdb(5));
    }
    let counted = |page: &u8| *page != PROVISIONING || resources.is_some();
    let pages = || {
        [SUPPORTED, PROVISIONING, EXCEPTIONS]
            .into_iter()
            .filter(counted)
    };
    let begin = w.full_len();
    match (page, subpage, resources) {
        (SUPPORTED, 0, _) => {
            w.u8(SUPPORTED).u8(0).be16(0);
            for page in pages() {
                w.u8(page);
            }
        }
        (SUPPORTED, ALL_SUBPAGES, _) => {
            w.u8(0x40 | SUPPORTED).u8(ALL_SUBPAGES).be16(0);
            for page in pages() {
                w.u8(page).u8(0);
                if page == SUPPORTED {
                    w.u8(page).u8(ALL_SUBPAGES);
                }
            }
        }
        (EXCEPTIONS, 0, _) => {
            // Parameter 0000h: a list in binary format, four bytes: no exception, temperature unknown.
            w.u8(EXCEPTIONS).u8(0).be16(0);
            w.bytes(&[0, 0, LIST, 4, 0, 0, 0xff, 0]);
        }
        (PROVISIONING, 0, Some(now)) => {
            w.u8(PROVISIONING).u8(0).be16(0);
            let available = (AVAILABLE, sets(now.available), SHARED);
            let used = (USED, sets(now.used), DEDICATED);
            for (code, count, scope) in [available, used] {
                if code >= from {
                    w.be16(code).u8(LIST).u8(8).be32(count).u8(scope).zeros(3);
                }
            }
        }
        (SUPPORTED | EXCEPTIONS, _, _) | (PROVISIONING, _, Some(_)) => {
            return Err(INVALID_FIELD_IN_CDB.in_cdb(3));
        }
        _ => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5)),
    }
    // PAGE LENGTH.
    let length = w.full_len().saturating_sub(begin).saturating_sub(4);
    w.patch_be16(
        begin.saturating_add(2),
        u16::try_from(length).unwrap_or(u16::MAX),
    );
    Ok(())
}

/// The last parameter code of a page.
fn last_parameter(page: u8) -> u16 {
    match page {
        PROVISIONING => USED,
        _ => 0,
    }
}
