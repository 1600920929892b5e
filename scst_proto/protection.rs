// SPDX-License-Identifier: GPL-2.0

//! Protection information: the eight bytes behind each logical block (SBC-4 4.21), which Linux calls T10 PI or DIF.
//!
//! A [`Format`] is how a device is formatted, an [`Access`] what one command means by its protect field: whether the
//! information is transferred, what is checked, and which tags are expected. [`Access::verify`] and
//! [`Access::generate`] do it for runs of blocks.
//!
//! What the standard leaves to the device server: of several fields that are wrong the guard is told first, then the
//! application tag. Information that the initiator did not send has the device's own application tag, 0 where none is
//! set (`dif_static_app_tag`), and with type 2 a reference tag made of the LBA, which is what Linux expects there.
//!
//! ```
//! use scst_proto::protection::{crc_t10dif, Access, Format, Kind};
//!
//! let format = Format { kind: Kind::Type1, checks: true, stored: true, tag: 0 };
//! let access = Access::plain(&format, 0x1_0000_0007);
//! let mut tags = [0; 16];
//! access.generate(0, &[0xff; 1024], 512, &mut tags, crc_t10dif);
//! assert_eq!(tags[4..8], [0, 0, 0, 7]);
//! ```

use crate::bytes::{be16, be32, u8_at};
use crate::cdb::{Cdb, TransferLength};
use crate::opcode;
use crate::sense::{
    Sense, SenseKey, APP_TAG_CHECK_FAILED, GUARD_CHECK_FAILED, INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST, INVALID_OPCODE, PARAMETER_LIST_LENGTH_ERROR,
    REF_TAG_CHECK_FAILED,
};

/// Bytes of protection information of a logical block.
pub const TUPLE: usize = 8;

/// Protection information of one logical block (SBC-4 4.21.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// LOGICAL BLOCK GUARD: [`crc_t10dif`] of the user data.
    pub guard: u16,
    /// LOGICAL BLOCK APPLICATION TAG.
    pub app: u16,
    /// LOGICAL BLOCK REFERENCE TAG.
    pub reference: u32,
}

impl Tuple {
    /// What a formatted or unmapped block has: it is not checked.
    pub const ESCAPE: Self = Self {
        guard: u16::MAX,
        app: u16::MAX,
        reference: u32::MAX,
    };

    /// Reads one.
    pub fn from_bytes(bytes: &[u8; TUPLE]) -> Self {
        let [g0, g1, a0, a1, r0, r1, r2, r3] = *bytes;
        Self {
            guard: u16::from_be_bytes([g0, g1]),
            app: u16::from_be_bytes([a0, a1]),
            reference: u32::from_be_bytes([r0, r1, r2, r3]),
        }
    }

    /// The eight bytes.
    pub fn to_bytes(self) -> [u8; TUPLE] {
        let ([g0, g1], [a0, a1]) = (self.guard.to_be_bytes(), self.app.to_be_bytes());
        let [r0, r1, r2, r3] = self.reference.to_be_bytes();
        [g0, g1, a0, a1, r0, r1, r2, r3]
    }
}

/// CRC generator polynomial of the guard (SBC-4 4.21.4): 18BB7h, without its highest bit.
const POLYNOMIAL: u16 = 0x8bb7;

const CRC_TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The guard of `data`: what the kernel's `crc_t10dif()` gives, for where there is no kernel.
pub fn crc_t10dif(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc, byte| {
        let [high, low] = crc.to_be_bytes();
        let entry = CRC_TABLE.get(usize::from(high ^ byte)).copied();
        entry.unwrap_or(0) ^ u16::from(low).wrapping_shl(8)
    })
}

/// Protection type (SBC-4 4.21.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The reference tag is the lower half of the LBA.
    Type1 = 1,
    /// 32-byte CDBs tell the first reference tag.
    Type2 = 2,
    /// The reference tag is the application's.
    Type3 = 3,
}

impl Kind {
    /// The type with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Type1),
            2 => Some(Self::Type2),
            3 => Some(Self::Type3),
            _ => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// SPT of VPD page 86h: this type and no other (SPC-6 table 484).
    pub const fn spt(self) -> u8 {
        match self {
            Self::Type1 => 0,
            Self::Type2 => 2,
            Self::Type3 => 4,
        }
    }
}

/// Which fields are checked: GRD_CHK, APP_CHK and REF_CHK of VPD page 86h, or what a command leaves of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Checks {
    /// The guard.
    pub guard: bool,
    /// The application tag.
    pub app: bool,
    /// The reference tag.
    pub reference: bool,
}

/// A field that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// LOGICAL BLOCK GUARD CHECK FAILED.
    Guard,
    /// LOGICAL BLOCK APPLICATION TAG CHECK FAILED.
    App,
    /// LOGICAL BLOCK REFERENCE TAG CHECK FAILED.
    Reference,
}

/// A check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CheckFailed {
    /// What is wrong.
    pub wrong: Wrong,
    /// The block that it was found in.
    pub lba: u64,
}

impl CheckFailed {
    /// ABORTED COMMAND with the additional sense code of the check, the LBA as INFORMATION (SBC-4 4.18.1).
    pub const fn sense(self) -> Sense {
        match self.wrong {
            Wrong::Guard => GUARD_CHECK_FAILED,
            Wrong::App => APP_TAG_CHECK_FAILED,
            Wrong::Reference => REF_TAG_CHECK_FAILED,
        }
        .with_information(self.lba)
    }
}

/// How a device is formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// P_TYPE.
    pub kind: Kind,
    /// Somebody on the way to the medium checks.
    pub checks: bool,
    /// What initiators send is kept (ATO of the Control mode page: the application tag is theirs).
    pub stored: bool,
    /// `dif_static_app_tag`: the application tag in the lower 16 bits, and of type 3 the reference tag in the 32 above.
    /// 0: none, they are not checked.
    pub tag: u64,
}

impl Format {
    /// GRD_CHK, APP_CHK and REF_CHK.
    pub fn checks(&self) -> Checks {
        let tagged = self.known_tag() != 0;
        let (app, reference) = match self.kind {
            Kind::Type1 => (tagged, true),
            Kind::Type2 => (self.stored, true),
            Kind::Type3 => (tagged, tagged),
        };
        Checks {
            guard: self.checks,
            app: self.checks && app,
            reference: self.checks && reference,
        }
    }

    /// What VERIFY with BYTCHK and this VRPROTECT compares of the information (SBC-4 table 128): of the application tag, and
    /// of type 3 the reference tag, only what nobody but the initiator changes.
    fn compares(&self, protect: u8) -> Checks {
        Checks {
            guard: matches!(protect, 1 | 3..=5),
            app: matches!(protect, 1..=5) && self.stored,
            reference: matches!(protect, 1..=4) && (self.kind != Kind::Type3 || self.stored),
        }
    }

    /// As much of `tag` as counts.
    pub const fn known_tag(&self) -> u64 {
        match self.kind {
            Kind::Type1 => self.tag & 0xffff,
            Kind::Type2 => 0,
            Kind::Type3 => self.tag & 0xffff_ffff_ffff,
        }
    }
}

/// Where the protect field is: byte 1, byte 10 of a variable length CDB.
fn protect_at(cdb: &Cdb) -> u16 {
    match cdb.op.opcode {
        opcode::VARIABLE_LENGTH => 10,
        _ => 1,
    }
}

/// What a command means for protection information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    kind: Kind,
    lba: u64,
    /// The information is between initiator and device server.
    pub transferred: bool,
    /// What is checked of information that was transferred, or read from the medium.
    pub checks: Checks,
    /// What VERIFY with BYTCHK compares of the information.
    compares: Checks,
    app: u16,
    app_mask: u16,
    /// That of the first block; of all blocks with type 3.
    reference: u32,
}

impl Access {
    /// The blocks from `lba` on without a protect field: all is checked that the device can check.
    pub fn plain(format: &Format, lba: u64) -> Self {
        let tag = format.known_tag();
        let mut checks = format.checks();
        if format.kind == Kind::Type2 {
            // Only CDBs with their expectations tell tags.
            (checks.app, checks.reference) = (false, false);
        }
        Self {
            kind: format.kind,
            lba,
            transferred: false,
            checks,
            compares: Checks::default(),
            app: tag as u16,
            app_mask: u16::MAX,
            reference: match format.kind {
                Kind::Type3 => tag.wrapping_shr(16) as u32,
                _ => lba as u32,
            },
        }
    }

    /// What `cdb`, whose bytes are `raw`, means on a device of this format. `dpicz`: the bit of the Control mode page.
    ///
    /// INVALID FIELD IN CDB for a reserved protect field, INVALID COMMAND OPERATION CODE for a CDB that is not for this
    /// type: one of 32 bytes unless the type is 2, with type 2 any other that has a protect field other than 0
    /// (SBC-4 4.21.2.4, tables 73, 96 and 137).
    pub fn of(format: &Format, cdb: &Cdb, raw: &[u8], dpicz: bool) -> Result<Self, Sense> {
        let long = cdb.op.opcode == opcode::VARIABLE_LENGTH;
        let protect = cdb.protect();
        let mut access = Self::plain(format, cdb.lba);
        let known = format.kind == Kind::Type2;
        if long != known && (long || protect != 0) {
            return Err(INVALID_OPCODE);
        }
        if protect > 5 {
            return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(protect_at(cdb), 7));
        }
        if long {
            access.reference = be32(raw, 20).unwrap_or(0);
            access.app = be16(raw, 24).unwrap_or(0);
            access.app_mask = be16(raw, 26).unwrap_or(0);
            access.checks = format.checks();
        }
        access.transferred = protect != 0;
        access.compares = format.compares(protect);
        let all = access.checks;
        access.checks = match protect {
            0 if dpicz => Checks::default(),
            0 | 1 | 5 => all,
            2 => Checks {
                guard: false,
                ..all
            },
            4 => Checks {
                guard: all.guard,
                ..Checks::default()
            },
            _ => Checks::default(),
        };
        Ok(access)
    }

    /// The same, to find what somebody else has found to be wrong: whatever is known is checked.
    pub fn checking_all(self) -> Self {
        let checks = Checks {
            guard: true,
            app: self.checks.app,
            reference: self.kind != Kind::Type3,
        };
        Self { checks, ..self }
    }

    /// The reference tag that the block `index` blocks after the first should have.
    fn reference_of(&self, index: u64) -> u32 {
        match self.kind {
            Kind::Type3 => self.reference,
            _ => self.reference.wrapping_add(index as u32),
        }
    }

    /// Whether nobody is to check `tuple` (SBC-4 4.21.2.3 to 4.21.2.5).
    fn escapes(&self, tuple: Tuple) -> bool {
        tuple.app == u16::MAX && (self.kind != Kind::Type3 || tuple.reference == u32::MAX)
    }

    /// The information of the block `index` blocks after the first of a WRITE SAME whose one block came with `first`: the
    /// reference tag counts on but with type 3 (SBC-4 5.50). What nobody is to check stays as it is.
    pub fn repeat(&self, first: Tuple, index: u64) -> Tuple {
        let reference = match self.kind {
            Kind::Type3 => first.reference,
            _ if self.escapes(first) => first.reference,
            _ => first.reference.wrapping_add(index as u32),
        };
        Tuple { reference, ..first }
    }

    /// Checks the information of the block `index` blocks after the first; `guard` computes what its guard should be.
    pub fn check(
        &self,
        index: u64,
        tuple: Tuple,
        guard: impl FnOnce() -> u16,
    ) -> Result<(), CheckFailed> {
        if self.escapes(tuple) {
            return Ok(());
        }
        let wrong = if self.checks.guard && tuple.guard != guard() {
            Wrong::Guard
        } else if self.checks.app && (tuple.app ^ self.app) & self.app_mask != 0 {
            Wrong::App
        } else if self.checks.reference && tuple.reference != self.reference_of(index) {
            Wrong::Reference
        } else {
            return Ok(());
        };
        Err(CheckFailed {
            wrong,
            lba: self.lba.wrapping_add(index),
        })
    }

    /// Checks blocks of `block` bytes in `data` against their information in `tags`, the first one `index` blocks after
    /// that of the command. What one of the two has more is not looked at.
    pub fn verify(
        &self,
        index: u64,
        data: &[u8],
        block: usize,
        tags: &[u8],
        crc: fn(&[u8]) -> u16,
    ) -> Result<(), CheckFailed> {
        if self.checks == Checks::default() {
            return Ok(());
        }
        let blocks = data.chunks_exact(block.max(1));
        let mut index = index;
        for (data, tuple) in blocks.zip(tags.chunks_exact(TUPLE)) {
            if let Some(tuple) = tuple.first_chunk() {
                self.check(index, Tuple::from_bytes(tuple), || crc(data))?;
            }
            index = index.wrapping_add(1);
        }
        Ok(())
    }

    /// VERIFY with BYTCHK: compares the information that was sent for a block with the one on the medium. MISCOMPARE with the
    /// additional sense code of the field (SBC-4 table 128). What nobody is to check is not compared either.
    pub fn compare(&self, sent: Tuple, found: Tuple) -> Result<(), Sense> {
        if self.escapes(sent) || self.escapes(found) {
            return Ok(());
        }
        let failed = if self.compares.guard && sent.guard != found.guard {
            GUARD_CHECK_FAILED
        } else if self.compares.app && sent.app != found.app {
            APP_TAG_CHECK_FAILED
        } else if self.compares.reference && sent.reference != found.reference {
            REF_TAG_CHECK_FAILED
        } else {
            return Ok(());
        };
        Err(Sense::new(SenseKey::Miscompare, failed.asc, failed.ascq))
    }

    /// Makes the information of blocks of `block` bytes in `data`; see [`Access::verify`].
    pub fn generate(
        &self,
        index: u64,
        data: &[u8],
        block: usize,
        tags: &mut [u8],
        crc: fn(&[u8]) -> u16,
    ) {
        let blocks = data.chunks_exact(block.max(1));
        let mut index = index;
        for (data, tuple) in blocks.zip(tags.chunks_exact_mut(TUPLE)) {
            let made = Tuple {
                guard: crc(data),
                app: self.app & self.app_mask,
                reference: self.reference_of(index),
            };
            crate::bytes::copy(tuple, &made.to_bytes());
            index = index.wrapping_add(1);
        }
    }
}

/// Computes the guards in `tags` anew, of blocks of `block` bytes that have changed.
pub fn guard_anew(data: &[u8], block: usize, tags: &mut [u8], crc: fn(&[u8]) -> u16) {
    let blocks = data.chunks_exact(block.max(1));
    for (data, tuple) in blocks.zip(tags.chunks_exact_mut(TUPLE)) {
        if let Some(guard) = tuple.first_chunk_mut() {
            *guard = crc(data).to_be_bytes();
        }
    }
}

/// Takes blocks apart that are transferred with their information behind each (SBC-4 4.21.3): `wire` into `data`, blocks
/// of `block` bytes, and `tags`. What does not fit is left.
pub fn split(wire: &[u8], block: usize, data: &mut [u8], tags: &mut [u8]) {
    let whole = block.max(1).saturating_add(TUPLE);
    let blocks = data.chunks_exact_mut(block.max(1));
    let parts = blocks.zip(tags.chunks_exact_mut(TUPLE));
    for (wire, (data, tuple)) in wire.chunks_exact(whole).zip(parts) {
        if let Some((user, info)) = wire.split_at_checked(block.max(1)) {
            crate::bytes::copy(data, user);
            crate::bytes::copy(tuple, info);
        }
    }
}

/// Puts blocks and their information together; see [`split`].
pub fn join(wire: &mut [u8], block: usize, data: &[u8], tags: &[u8]) {
    let whole = block.max(1).saturating_add(TUPLE);
    let parts = data
        .chunks_exact(block.max(1))
        .zip(tags.chunks_exact(TUPLE));
    for (wire, (data, tuple)) in wire.chunks_exact_mut(whole).zip(parts) {
        if let Some((user, info)) = wire.split_at_mut_checked(block.max(1)) {
            crate::bytes::copy(user, data);
            crate::bytes::copy(info, tuple);
        }
    }
}

/// Bytes that `cdb` transfers with blocks of `1 << block_shift` bytes and their information; `None` if the CDB does not
/// determine it.
pub fn expected_bytes(cdb: &Cdb, block_shift: u32) -> Option<u64> {
    let data = cdb.expected_bytes(block_shift)?;
    let blocks = data.checked_shr(block_shift).unwrap_or(0);
    let info = match (cdb.protect(), cdb.length) {
        (1.., TransferLength::Blocks(_)) => blocks.saturating_mul(TUPLE as u64),
        _ => 0,
    };
    Some(data.saturating_add(info))
}

/// The protection type that a FORMAT UNIT asks for, by FMTPINFO of its CDB and PROTECTION FIELD USAGE of its parameter
/// list (SBC-4 5.4.1, table 40); `None` is none.
pub fn format_unit(cdb: &[u8], list: &[u8]) -> Result<Option<Kind>, Sense> {
    const FMTDATA: u8 = 0x10;

    let flags = u8_at(cdb, 1).unwrap_or(0);
    let usage = match flags & FMTDATA {
        0 => 0,
        _ => u8_at(list, 0).ok_or(PARAMETER_LIST_LENGTH_ERROR)? & 7,
    };
    match (flags >> 6, usage) {
        (0, 0) => Ok(None),
        (2, 0) => Ok(Some(Kind::Type1)),
        (3, 0) => Ok(Some(Kind::Type2)),
        (3, 1) => Ok(Some(Kind::Type3)),
        (1, _) => Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 7)),
        _ => Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data_bit(0, 2)),
    }
}
