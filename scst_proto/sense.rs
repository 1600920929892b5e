// SPDX-License-Identifier: GPL-2.0

//! Sense data: what went wrong, as a small value, and its two encodings (SPC-6 4.4).
//!
//! Every sense that the target returns is a constant in [`codes`](crate::codes), re-exported here; a caller adds
//! what it knows (`INVALID_FIELD_IN_CDB.in_cdb(2)`, `READ_ERROR.with_information(lba)`).

use crate::bytes::Writer;

pub use crate::codes::*;

/// SENSE KEY (SPC-6 4.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// Done, with some recovery.
    RecoveredError = 0x1,
    /// The logical unit is not accessible.
    NotReady = 0x2,
    /// A flaw in the medium.
    MediumError = 0x3,
    /// A failure of the target itself.
    HardwareError = 0x4,
    /// The request is wrong.
    IllegalRequest = 0x5,
    /// Something happened that the initiator must know of.
    UnitAttention = 0x6,
    /// The medium is protected.
    DataProtect = 0x7,
    /// A third-party copy was aborted.
    CopyAborted = 0xa,
    /// The target aborted the command; try again.
    AbortedCommand = 0xb,
    /// The data compared are different.
    Miscompare = 0xe,
    /// A REQUEST SENSE report that needs no action (SPC-6 table 49).
    Completed = 0xf,
}

impl SenseKey {
    /// The key with this code; one that no standard has any more, and VENDOR SPECIFIC, as HARDWARE ERROR.
    pub const fn from_code(code: u8) -> Self {
        match code & 0xf {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0xa => Self::CopyAborted,
            0xb => Self::AbortedCommand,
            0xe => Self::Miscompare,
            0xf => Self::Completed,
            _ => Self::HardwareError,
        }
    }
}

/// Where the wrong field is: SENSE KEY SPECIFIC for ILLEGAL REQUEST (SPC-6 4.4.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldPointer {
    /// C/D: the field is in the CDB, not in the data-out parameters.
    pub in_cdb: bool,
    /// BIT POINTER, when BPV is to be set: the most significant bit of the field, 7 to 0.
    pub bit: Option<u8>,
    /// FIELD POINTER: the offset of the byte.
    pub byte: u16,
}

impl FieldPointer {
    /// The three SENSE KEY SPECIFIC bytes, SKSV set.
    fn encode(self) -> [u8; 3] {
        let bpv = match self.bit {
            Some(bit) => 0x08 | (bit & 0x07),
            None => 0,
        };
        let cd = if self.in_cdb { 0x40 } else { 0 };
        let [hi, lo] = self.byte.to_be_bytes();
        [0x80 | cd | bpv, hi, lo]
    }
}

/// One sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sense {
    /// SENSE KEY.
    pub key: SenseKey,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
    /// INFORMATION: for block devices the LBA (SBC-4 4.18.1), for MISCOMPARE the byte offset.
    pub information: Option<u64>,
    /// Where the wrong field is.
    pub field: Option<FieldPointer>,
}

/// The bytes of fixed format sense data that [`Sense::encode`] makes.
pub const FIXED_LEN: usize = 18;
/// The largest sense data that [`Sense::encode`] makes: descriptor format, two descriptors.
pub const MAX_LEN: usize = 28;

impl Sense {
    /// A sense without details.
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self {
            key,
            asc,
            ascq,
            information: None,
            field: None,
        }
    }

    /// The field that begins in CDB byte `byte`.
    pub const fn in_cdb(self, byte: u16) -> Self {
        self.at(true, byte, None)
    }

    /// The field whose most significant bit is `bit` of CDB byte `byte`.
    pub const fn in_cdb_bit(self, byte: u16, bit: u8) -> Self {
        self.at(true, byte, Some(bit))
    }

    /// The field that begins in byte `byte` of the parameter list.
    pub const fn in_data(self, byte: u16) -> Self {
        self.at(false, byte, None)
    }

    /// The field whose most significant bit is `bit` of byte `byte` of the parameter list.
    pub const fn in_data_bit(self, byte: u16, bit: u8) -> Self {
        self.at(false, byte, Some(bit))
    }

    const fn at(mut self, in_cdb: bool, byte: u16, bit: Option<u8>) -> Self {
        self.field = Some(FieldPointer { in_cdb, bit, byte });
        self
    }

    /// With the INFORMATION field set.
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// Whether key and codes are those of `other`, whatever the details.
    pub fn is(&self, other: &Sense) -> bool {
        self.key == other.key && self.asc == other.asc && self.ascq == other.ascq
    }

    /// Whether this is a unit attention condition.
    pub fn is_unit_attention(&self) -> bool {
        self.key == SenseKey::UnitAttention
    }

    /// Writes the sense data, current information, and returns the bytes used; what does not fit is cut.
    ///
    /// `descriptor_format` is the D_SENSE bit of the Control mode page (SPC-6 7.5.10), or the DESC bit of a
    /// REQUEST SENSE.
    pub fn encode(&self, descriptor_format: bool, buf: &mut [u8]) -> usize {
        let mut w = Writer::new(buf);
        if descriptor_format {
            self.encode_descriptors(&mut w);
        } else {
            self.encode_fixed(&mut w);
        }
        w.written()
    }

    /// SPC-6 4.4.3. INFORMATION has four bytes here; a larger value is left out, VALID zero.
    fn encode_fixed(&self, w: &mut Writer<'_>) {
        let information = self.information.and_then(|i| u32::try_from(i).ok());
        let valid = if information.is_some() { 0x80 } else { 0 };
        w.u8(0x70 | valid)
            .u8(0)
            .u8(self.key as u8)
            .be32(information.unwrap_or(0))
            .u8(10) // ADDITIONAL SENSE LENGTH: up to byte 17
            .zeros(4) // COMMAND-SPECIFIC INFORMATION
            .u8(self.asc)
            .u8(self.ascq)
            .u8(0) // FIELD REPLACEABLE UNIT CODE
            .bytes(&self.field.map_or([0; 3], FieldPointer::encode));
    }

    /// SPC-6 4.4.2, with the information and the sense key specific descriptor as needed.
    fn encode_descriptors(&self, w: &mut Writer<'_>) {
        let length = match (self.information, self.field) {
            (None, None) => 0,
            (None, Some(_)) => 8,
            (Some(_), None) => 12,
            (Some(_), Some(_)) => 20,
        };
        w.bytes(&[0x72, self.key as u8, self.asc, self.ascq])
            .zeros(3)
            .u8(length);
        if let Some(information) = self.information {
            w.bytes(&[0x00, 0x0a, 0x80, 0]).be64(information);
        }
        if let Some(field) = self.field {
            w.bytes(&[0x02, 0x06, 0, 0]).bytes(&field.encode()).u8(0);
        }
    }
}
