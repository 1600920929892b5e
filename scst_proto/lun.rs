// SPDX-License-Identifier: GPL-2.0

//! Logical unit numbers: the eight bytes of SAM-6 4.7 and the number behind them, and REPORT LUNS (SPC-6 6.33).

use crate::bytes::Writer;
use crate::sense::{Sense, INVALID_FIELD_IN_CDB, LUN_NOT_SUPPORTED};

/// The largest LUN: 14 bits, as flat space addressing has (SAM-6 4.7.7.3).
pub const MAX_LUN: u16 = 16383;

/// A logical unit number, 0 to [`MAX_LUN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lun(u16);

/// How LUNs are shown to initiators (the attribute `addr_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AddressMethod {
    /// Peripheral device addressing (SAM-6 4.7.7.2). Beyond 255 the number continues in the bus identifier, as
    /// installations know it: Linux calls such a LUN by its plain number.
    #[default]
    Peripheral,
    /// Flat space addressing (SAM-6 4.7.7.3).
    Flat,
    /// Logical unit addressing, bus 0 target 0 up to 31, flat space beyond (SAM-6 4.7.7.4).
    Lun,
}

impl AddressMethod {
    /// The attribute's words.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "PERIPHERAL" => Some(Self::Peripheral),
            "FLAT" => Some(Self::Flat),
            "LUN" => Some(Self::Lun),
            _ => None,
        }
    }

    /// The attribute's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peripheral => "PERIPHERAL",
            Self::Flat => "FLAT",
            Self::Lun => "LUN",
        }
    }
}

/// ADDRESS METHOD values, the two top bits of the first byte (SAM-6 table 14).
mod method {
    pub(super) const PERIPHERAL: u8 = 0;
    pub(super) const FLAT: u8 = 1;
    pub(super) const LOGICAL_UNIT: u8 = 2;
}

/// REPORT LUNS well known logical unit (SAM-6 4.7.7.5.1, SPC-6 clause 8).
pub const REPORT_LUNS_WLUN: [u8; 8] = [0xc1, 0x01, 0, 0, 0, 0, 0, 0];

impl Lun {
    /// LUN 0.
    pub const ZERO: Self = Self(0);

    /// The LUN `n`, unless it is too large.
    pub const fn new(n: u16) -> Option<Self> {
        if n <= MAX_LUN {
            Some(Self(n))
        } else {
            None
        }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Decodes the LUN of a command. Single-level addresses only: peripheral (with the bus identifier as the upper
    /// bits, see [`AddressMethod::Peripheral`]), flat, logical unit (bus 0, target 0), and extended flat of two and
    /// four bytes (SAM-6 4.7.7.6).
    #[inline]
    pub fn decode(bytes: [u8; 8]) -> Result<Self, Sense> {
        let [a, b, c, d, e, f, g, h] = bytes;
        if e | f | g | h != 0 {
            return Err(LUN_NOT_SUPPORTED);
        }
        let low = a & 0x3f;
        let n = match a >> 6 {
            // The first level must be the last one.
            method::PERIPHERAL | method::FLAT if c | d == 0 => u16::from_be_bytes([low, b]),
            method::LOGICAL_UNIT if c | d == 0 && low == 0 && b & 0xe0 == 0 => u16::from(b & 0x1f),
            // Extended flat space: LENGTH 1 has three bytes of LUN, of which the first must be 0.
            3 if a == 0xd2 && b == 0 => u16::from_be_bytes([c, d]),
            _ => return Err(LUN_NOT_SUPPORTED),
        };
        Self::new(n).ok_or(LUN_NOT_SUPPORTED)
    }

    /// Encodes for REPORT LUNS.
    pub fn encode(self, how: AddressMethod) -> [u8; 8] {
        let [hi, lo] = self.0.to_be_bytes();
        let (a, b) = match how {
            AddressMethod::Peripheral => (hi, lo),
            AddressMethod::Lun if self.0 <= 0x1f => (method::LOGICAL_UNIT << 6, lo),
            _ => ((method::FLAT << 6) | hi, lo),
        };
        [a, b, 0, 0, 0, 0, 0, 0]
    }
}

/// SELECT REPORT of REPORT LUNS (SPC-6 table 311).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectReport {
    /// 00h: logical units, no well known ones.
    LogicalUnits,
    /// 01h: well known logical units only.
    WellKnown,
    /// 02h: all.
    All,
    /// 10h: administrative logical units; 11h and 12h: also subsidiary ones. Here: none, or LUN 0.
    Administrative,
    /// 11h: administrative logical units, and others that are no subsidiary ones.
    AdministrativeAndOthers,
}

impl SelectReport {
    /// Decodes byte 2 of the CDB.
    pub fn decode(byte: u8) -> Result<Self, Sense> {
        match byte {
            0x00 => Ok(Self::LogicalUnits),
            0x01 => Ok(Self::WellKnown),
            0x02 => Ok(Self::All),
            0x10 => Ok(Self::Administrative),
            0x11 => Ok(Self::AdministrativeAndOthers),
            _ => Err(INVALID_FIELD_IN_CDB.in_cdb(2)),
        }
    }

    /// Whether ordinary logical units are listed. None of ours is an administrative one.
    pub fn lists_logical_units(self) -> bool {
        matches!(
            self,
            Self::LogicalUnits | Self::All | Self::AdministrativeAndOthers
        )
    }
}

/// Builds the parameter data of REPORT LUNS, a LUN at a time: no list needs to be allocated.
///
/// There are no well known logical units in this release, so 01h and 10h give an empty list.
pub struct ReportLuns<'w, 'b> {
    w: &'w mut Writer<'b>,
    select: SelectReport,
    how: AddressMethod,
    start: usize,
}

impl<'w, 'b> ReportLuns<'w, 'b> {
    /// Checks the CDB's SELECT REPORT and ALLOCATION LENGTH and writes the header.
    ///
    /// An allocation length less than 16 is answered as SPC-3 and later have it: cut, no error (SPC-6 6.33).
    pub fn start(
        w: &'w mut Writer<'b>,
        select_report: u8,
        how: AddressMethod,
    ) -> Result<Self, Sense> {
        let select = SelectReport::decode(select_report)?;
        let start = w.full_len();
        w.zeros(8);
        Ok(Self {
            w,
            select,
            how,
            start,
        })
    }

    /// Adds a logical unit. They are to come in ascending order, LUN 0 always (SPC-6 6.33).
    pub fn lun(&mut self, lun: Lun) {
        if self.select.lists_logical_units() {
            self.w.bytes(&lun.encode(self.how));
        }
    }

    /// Writes LUN LIST LENGTH (bytes) and returns the full length of the data.
    pub fn finish(self) -> usize {
        let full = self.w.full_len().saturating_sub(self.start);
        let list = u32::try_from(full.saturating_sub(8)).unwrap_or(u32::MAX);
        self.w.patch_be32(self.start, list);
        full
    }
}
