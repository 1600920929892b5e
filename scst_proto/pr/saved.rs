// SPDX-License-Identifier: GPL-2.0

//! Reservations outside memory: the APTPL file of SCST, and the text of `pr_state`.
//!
//! The file is that of C SCST on a little-endian machine, so that an installation keeps its reservations when the
//! modules are swapped:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | 77 dd bb ee aa ee ee bb |
//! | 8 | version 1, little-endian |
//! | 1, 1 | APTPL; there is a reservation |
//! | 1, 1 | its type, FFh without one; its scope |
//! | for each registration: 1 | it is a holder |
//! | n | TransportID |
//! | 8 | key, big-endian |
//! | 2 | relative target port identifier, little-endian |

use super::{
    state::{registrants, Head, Places},
    NexusId, Registrant, TransportId, Type,
};
use crate::bytes::{be64, u8_at, Writer};
use core::fmt;

const MAGIC: [u8; 8] = [0x77, 0xdd, 0xbb, 0xee, 0xaa, 0xee, 0xee, 0xbb];
const VERSION: [u8; 8] = 1u64.to_le_bytes();
const HEADER: usize = 20;
/// The type of a reservation that is not there.
const NO_TYPE: u8 = 0xff;

/// How many bytes [`write_file`] makes.
pub fn file_len(places: &Places) -> usize {
    registrants(places).fold(HEADER, |sum, r| {
        let id = r.nexus.initiator.as_bytes();
        sum.saturating_add(11).saturating_add(id.len())
    })
}

/// Whether a registration holds the reservation.
fn holds(head: &Head, registrant: &Registrant) -> bool {
    head.kind
        .is_some_and(|kind| registrant.holder || kind.is_all_registrants())
}

/// Writes the APTPL file.
pub fn write_file(w: &mut Writer<'_>, head: &Head, places: &Places) {
    w.bytes(&MAGIC).bytes(&VERSION).bytes(&[
        u8::from(head.aptpl),
        u8::from(head.kind.is_some()),
        head.kind.map_or(NO_TYPE, |kind| kind as u8),
        0,
    ]);
    for registrant in registrants(places) {
        w.u8(u8::from(holds(head, registrant)))
            .bytes(registrant.nexus.initiator.as_bytes())
            .be64(registrant.key)
            .bytes(&registrant.nexus.port.to_le_bytes());
    }
}

/// Reads an APTPL file, each registration into `keep`; `None` if it is no such file, or cut short.
pub fn read_file(file: &[u8], mut keep: impl FnMut(Registrant)) -> Option<Head> {
    if file.get(..8)? != MAGIC || file.get(8..16)? != VERSION {
        return None;
    }
    let kind = match u8_at(file, 17)? {
        0 => None,
        _ => Some(Type::from_code(u8_at(file, 18)?)?),
    };
    let head = Head {
        generation: 0,
        kind,
        aptpl: u8_at(file, 16)? != 0,
    };
    let mut check = Check::default();
    let mut rest = file.get(HEADER..)?;
    while !rest.is_empty() {
        let marked = u8_at(rest, 0)? != 0;
        let initiator = TransportId::parse(rest.get(1..)?)?;
        let at = initiator.as_bytes().len().checked_add(1)?;
        let key = be64(rest, at)?;
        let port = rest.get(at.checked_add(8)?..)?.first_chunk::<2>()?;
        let nexus = NexusId {
            initiator,
            port: u16::from_le_bytes(*port),
        };
        keep(check.registrant(&head, nexus, key, marked)?);
        rest = rest.get(at.checked_add(10)?..)?;
    }
    check.end(&head).then_some(head)
}

/// Sees to the invariants of what comes from outside.
#[derive(Default)]
struct Check {
    registrants: usize,
    holders: usize,
}

impl Check {
    fn registrant(
        &mut self,
        head: &Head,
        nexus: NexusId,
        key: u64,
        marked: bool,
    ) -> Option<Registrant> {
        let single = head.kind.is_some_and(|kind| !kind.is_all_registrants());
        let holder = marked && single;
        self.registrants = self.registrants.checked_add(1)?;
        self.holders = self.holders.checked_add(usize::from(holder))?;
        (key != 0).then_some(Registrant { nexus, key, holder })
    }

    /// A reservation has the holders that it must have.
    fn end(&self, head: &Head) -> bool {
        match head.kind {
            None => true,
            Some(kind) if kind.is_all_registrants() => self.registrants != 0,
            Some(_) => self.holders == 1,
        }
    }
}

/// Writes `pr_state`.
pub fn write_text(out: &mut dyn fmt::Write, head: &Head, places: &Places) -> fmt::Result {
    write!(out, "version 1\ngeneration {}\n", head.generation)?;
    if let Some(kind) = head.kind {
        writeln!(out, "reservation {:02x} 00", kind as u8)?;
    }
    for registrant in registrants(places) {
        let NexusId { initiator, port } = &registrant.nexus;
        writeln!(
            out,
            "registrant {} {:016x} {} {} {:?}",
            port,
            registrant.key,
            u8::from(holds(head, registrant)),
            initiator.as_bytes().len(),
            initiator
        )?;
    }
    Ok(())
}

/// Reads `pr_state`, each registration into `keep`; `None` if a line is not as [`write_text`] makes it.
pub fn read_text(text: &str, mut keep: impl FnMut(Registrant)) -> Option<Head> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.next()? != "version 1" {
        return None;
    }
    let mut head = Head::default();
    let mut check = Check::default();
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        match words.next()? {
            "generation" => head.generation = decimal(words.next()?)?,
            "reservation" => {
                let code = u8::try_from(hex(words.next()?)?).ok()?;
                let scope = u8::try_from(hex(words.next()?)?).ok()?;
                head.kind = Some(Type::from_code(code).filter(|_| scope == 0)?);
            }
            "registrant" => {
                let port = u16::try_from(decimal(words.next()?)?).ok()?;
                let key = hex(words.next()?)?;
                let marked = match words.next()? {
                    "0" => false,
                    "1" => true,
                    _ => return None,
                };
                let len = usize::try_from(decimal(words.next()?)?).ok()?;
                let initiator = transport_id(words.next()?, len)?;
                keep(check.registrant(&head, NexusId { initiator, port }, key, marked)?);
            }
            _ => return None,
        }
        if words.next().is_some() {
            return None;
        }
    }
    check.end(&head).then_some(head)
}

/// A number in decimal digits.
fn decimal(word: &str) -> Option<u32> {
    digits(word, 10).and_then(|n| u32::try_from(n).ok())
}

/// A number in hexadecimal digits.
fn hex(word: &str) -> Option<u64> {
    digits(word, 16)
}

fn digits(word: &str, base: u8) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.bytes().try_fold(0u64, |sum, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            b'A'..=b'F' => byte.wrapping_sub(b'A').wrapping_add(10),
            _ => return None,
        };
        let shifted = sum.checked_mul(u64::from(base))?;
        (digit < base).then_some(shifted.checked_add(u64::from(digit))?)
    })
}

/// A TransportID of `len` bytes in hexadecimal digits.
fn transport_id(digits: &str, len: usize) -> Option<TransportId> {
    let mut bytes = [0; super::MAX_TRANSPORT_ID];
    let bytes = bytes.get_mut(..len)?;
    let digits = digits.as_bytes();
    if digits.len() != len.checked_mul(2)? {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(hex(core::str::from_utf8(pair).ok()?)?).ok()?;
    }
    TransportId::new(bytes)
}
