// SPDX-License-Identifier: GPL-2.0

//! What is known of each operation code: the one place for direction, lengths, ALUA and reservation classes.
//!
//! [`OpRow`] is a row of the table in `opcode_table.rs`; [`lookup`] finds it, [`OpRow::usage`] derives the CDB usage
//! map of REPORT SUPPORTED OPERATION CODES from it (SPC-6 6.35), so that what is decoded and what is reported
//! cannot differ.

use crate::opcode_table::BY_OPCODE;

/// PERIPHERAL DEVICE TYPE (SPC-6 table 154); only those that matter to a decoder have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeripheralDeviceType(pub u8);

impl PeripheralDeviceType {
    /// Direct access block device (SBC-4).
    pub const DISK: Self = Self(0x00);
    /// CD/DVD device (MMC-6).
    pub const CDROM: Self = Self(0x05);
    /// Optical memory device: the SBC command set.
    pub const OPTICAL: Self = Self(0x07);
    /// Simplified direct access device (RBC): a subset of SBC.
    pub const SIMPLIFIED_DISK: Self = Self(0x0e);
    /// Host managed zoned block device: SBC and ZBC.
    pub const ZONED: Self = Self(0x14);
    /// Well known logical unit.
    pub const WELL_KNOWN: Self = Self(0x1e);
    /// Unknown or no device type.
    pub const NONE: Self = Self(0x1f);

    /// The command sets that a device of this type understands.
    #[inline]
    pub const fn command_sets(self) -> CommandSets {
        match self.0 {
            0x00 | 0x07 | 0x0e | 0x14 => CommandSets::D,
            0x05 => CommandSets::R,
            _ => CommandSets::OTHER,
        }
    }
}

/// A set of command sets, by T10's letters (SPC-6 annex F: D is SBC, R is MMC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandSets(u8);

impl CommandSets {
    /// Direct access block devices.
    pub const D: Self = Self(1);
    /// CD/DVD devices.
    pub const R: Self = Self(2);
    /// Any other type.
    pub const OTHER: Self = Self(4);
    /// Direct access and CD/DVD.
    pub const DR: Self = Self(1 | 2);
    /// Every type but CD/DVD.
    pub const NOT_R: Self = Self(1 | 4);
    /// Every type: the command is SPC's.
    pub const ALL: Self = Self(1 | 2 | 4);

    /// Whether the two sets share a member.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Where the data goes, as the initiator sees it (SAM-6 5.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// No data phase.
    None,
    /// Data-In: from the target to the initiator.
    In,
    /// Data-Out: from the initiator to the target.
    Out,
}

/// A big-endian number within a CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset of its first byte.
    pub at: u8,
    /// Its size in bytes: 0 (there is none), 1, 2, 3, 4 or 8.
    pub width: u8,
}

impl Field {
    /// No such field in this CDB.
    pub const NONE: Self = Self { at: 0, width: 0 };
}

/// What the length field of a CDB counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthRule {
    /// No data, whatever the CDB says.
    NoData,
    /// Always so many bytes.
    Fixed(u8),
    /// ALLOCATION LENGTH or PARAMETER LIST LENGTH in bytes.
    Bytes,
    /// TRANSFER LENGTH in logical blocks.
    Blocks,
    /// TRANSFER LENGTH in logical blocks, and 0 means 256: READ(6), WRITE(6) (SBC-4 5.13).
    Blocks6,
    /// NUMBER OF LOGICAL BLOCKS to work on; no data (SYNCHRONIZE CACHE, PRE-FETCH).
    Range,
    /// VERIFICATION LENGTH: data by BYTCHK: none, that many blocks, or one (SBC-4 5.39).
    Verify,
    /// NUMBER OF LOGICAL BLOCKS to fill; one block of data, or none if NDOB (SBC-4 5.50).
    WriteSame,
    /// NUMBER OF LOGICAL BLOCKS; twice as many are transferred (COMPARE AND WRITE, SBC-4 5.3).
    CompareAndWrite,
    /// Fixed by the mode or the format, so the transport's count has to do (MMC READ CD, FORMAT UNIT).
    Transport,
}

/// How a reservation of another I_T nexus affects the command (SPC-6 5.14.3 and SBC-4 table 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Never conflicts.
    Allowed,
    /// Reads the medium: conflicts with Exclusive Access, not with Write Exclusive.
    Reads,
    /// Conflicts with every type of reservation.
    Conflict,
    /// START STOP UNIT, PREVENT ALLOW: depends on the CDB (allowed when it changes nothing).
    ByCdb,
    /// PERSISTENT RESERVE OUT: depends on service action and registration.
    PersistentReserveOut,
}

/// Yes-or-no properties of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// This release carries the command out on a virtual disk or CD-ROM.
    pub const SUPPORTED: Self = Self(1);
    /// Changes the medium: refused when write-protected.
    pub const WRITES: Self = Self(1 << 1);
    /// Allowed in the ALUA state standby (SPC-6 5.18.2.6).
    pub const STANDBY: Self = Self(1 << 2);
    /// Allowed in the ALUA state unavailable (SPC-6 5.18.2.7).
    pub const UNAVAILABLE: Self = Self(1 << 3);
    /// Allowed while the ALUA state is in transition (SPC-6 5.18.2.10).
    pub const TRANSITION: Self = Self(1 << 4);
    /// Carried out although a unit attention is pending, without clearing it (SAM-6 5.14).
    pub const SKIPS_UA: Self = Self(1 << 5);
    /// May be addressed to a LUN where no logical unit is (SPC-6 6.7.1, 6.33, 6.39).
    pub const NO_LUN: Self = Self(1 << 6);
    /// Carries FUA and DPO bits.
    pub const CACHE_BITS: Self = Self(1 << 7);
    /// Carries RDPROTECT, WRPROTECT, VRPROTECT or ORPROTECT in bits 7 to 5.
    pub const PROTECT: Self = Self(1 << 8);
    /// The medium must be present and ready.
    pub const NEEDS_MEDIUM: Self = Self(1 << 9);
    /// Allowed to others while a RESERVE(6/10) is held (SPC-2 5.5.1).
    pub const LEGACY_RESERVED: Self = Self(1 << 10);
    /// May take long: its recommended time-out is one minute, not ten seconds.
    pub const MEDIUM_TIME: Self = Self(1 << 11);
    /// May take very long: its recommended time-out is one hour.
    pub const LONG_TIME: Self = Self(1 << 12);
    /// Obsolete: decoded, never reported.
    pub const OBSOLETE: Self = Self(1 << 13);
    /// Only on a device that is thin provisioned.
    pub const THIN: Self = Self(1 << 14);
    /// Only on a device that keeps what is written: what the command does is to be seen in the data.
    pub const KEEPS_DATA: Self = Self(1 << 15);

    /// Both sets.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One command.
#[derive(Debug)]
pub struct OpRow {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, when the operation code has several commands.
    pub service_action: Option<u16>,
    /// Its name in the standard.
    pub name: &'static str,
    /// CDB length in bytes.
    pub cdb_len: u8,
    /// The command sets that have it.
    pub sets: CommandSets,
    /// Data direction, when there is data.
    pub direction: Direction,
    /// LOGICAL BLOCK ADDRESS.
    pub lba: Field,
    /// The length field.
    pub length: Field,
    /// What the length field counts.
    pub rule: LengthRule,
    /// Reservation class.
    pub reservation: Reservation,
    /// Properties.
    pub flags: Flags,
    /// Usage map of the bytes that are neither operation code, service action, LBA, length nor CONTROL.
    pub extra: &'static [(u8, u8)],
}

/// The longest CDB (SPC-6 4.2.3: variable length, up to 260 bytes; the longest that is defined for disks is 32).
pub const MAX_CDB_LEN: usize = 32;

/// CONTROL byte bits that are evaluated: NACA.
pub const CONTROL_USAGE: u8 = 0x04;

impl OpRow {
    /// Whether this release carries the command out.
    #[inline]
    pub fn is_supported(&self) -> bool {
        self.flags.contains(Flags::SUPPORTED)
    }

    /// Whether the command changes the medium.
    #[inline]
    pub fn writes_medium(&self) -> bool {
        self.flags.contains(Flags::WRITES)
    }

    /// Where the SERVICE ACTION is.
    pub fn service_action_field(&self) -> Field {
        service_action_field(self.opcode)
    }

    /// Where the CONTROL byte is: the last, but byte 1 in a variable length CDB (SPC-6 4.2.3).
    #[inline]
    pub fn control_at(&self) -> usize {
        if self.opcode == VARIABLE_LENGTH {
            1
        } else {
            usize::from(self.cdb_len).saturating_sub(1)
        }
    }

    /// Recommended command time-out in seconds (SPC-6 6.35.4).
    pub fn recommended_timeout(&self) -> u32 {
        if self.flags.contains(Flags::LONG_TIME) {
            3600
        } else if self.flags.contains(Flags::MEDIUM_TIME) {
            60
        } else {
            10
        }
    }

    /// The CDB USAGE DATA: operation code and service action themselves, a one for each bit that is evaluated.
    ///
    /// The first `cdb_len` bytes of the answer count.
    pub fn usage(&self) -> [u8; MAX_CDB_LEN] {
        let mut map = [0u8; MAX_CDB_LEN];
        let mut set = |at: usize, bits: u8| {
            if let Some(byte) = map.get_mut(at) {
                *byte |= bits;
            }
        };
        set(0, self.opcode);
        set(self.control_at(), CONTROL_USAGE);
        for field in [self.lba, self.length] {
            for i in 0..usize::from(field.width) {
                // The 21-bit LBA of the 6-byte CDBs begins in the middle of byte 1.
                let bits = if field.width == 3 && self.cdb_len == 6 && i == 0 {
                    0x1f
                } else {
                    0xff
                };
                set(usize::from(field.at).saturating_add(i), bits);
            }
        }
        for &(at, bits) in self.extra {
            set(usize::from(at), bits);
        }
        if let Some(action) = self.service_action {
            let [hi, lo] = action.to_be_bytes();
            if self.opcode == VARIABLE_LENGTH {
                set(7, 0x18); // ADDITIONAL CDB LENGTH
                set(8, hi);
                set(9, lo);
            } else {
                set(1, lo);
            }
        }
        map
    }
}

/// The variable length CDB's OPERATION CODE.
pub const VARIABLE_LENGTH: u8 = 0x7f;

/// Where operation code `opcode` has its SERVICE ACTION (SPC-6 4.2.2, 4.2.3).
pub fn service_action_field(opcode: u8) -> Field {
    if opcode == VARIABLE_LENGTH {
        Field { at: 8, width: 2 }
    } else {
        Field { at: 1, width: 1 }
    }
}

/// The rows of an operation code, for all device types: none if it is unknown.
#[inline]
pub fn rows(opcode: u8) -> &'static [OpRow] {
    BY_OPCODE.get(usize::from(opcode)).copied().unwrap_or(&[])
}

/// All rows, by operation code and service action.
pub fn all_rows() -> &'static [OpRow] {
    &crate::opcode_table::ROWS
}

/// The row of `opcode` and `service_action` for a device of type `pdt`.
pub fn lookup(
    opcode: u8,
    service_action: u16,
    pdt: PeripheralDeviceType,
) -> Option<&'static OpRow> {
    let sets = pdt.command_sets();
    rows(opcode).iter().find(|row| {
        row.sets.intersects(sets) && row.service_action.is_none_or(|sa| sa == service_action)
    })
}

/// Whether `opcode` has service actions on a device of type `pdt`.
pub fn has_service_actions(opcode: u8, pdt: PeripheralDeviceType) -> bool {
    let sets = pdt.command_sets();
    rows(opcode)
        .iter()
        .any(|row| row.sets.intersects(sets) && row.service_action.is_some())
}
