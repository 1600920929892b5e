// SPDX-License-Identifier: GPL-2.0

//! SRP_CMD (SRP r16a 6.8): a command, and where its data are.

use super::data_buffer::{DataBuffer, Fields, Rules};
use super::descriptors::DescriptorError;
use super::{field64, iu_type};
use crate::opcode::MAX_CDB_LEN;

/// Bytes of an SRP_CMD without additional CDB and descriptors.
pub const CMD_LEN: usize = 48;

/// Where the CDB begins.
const CDB_AT: usize = 32;

/// TASK ATTRIBUTE (SRP r16a table 21, SAM-6 8.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskAttribute {
    /// 0h.
    Simple,
    /// 1h.
    HeadOfQueue,
    /// 2h.
    Ordered,
    /// 4h.
    Aca,
}

impl TaskAttribute {
    /// Decodes the three bits. A reserved value is [`Ordered`](Self::Ordered): whatever was meant, that keeps more
    /// order than it asks for.
    #[inline]
    pub fn decode(byte: u8) -> Self {
        match byte & 0x07 {
            0 => Self::Simple,
            1 => Self::HeadOfQueue,
            4 => Self::Aca,
            _ => Self::Ordered,
        }
    }
}

/// SOL_NOT of a request (SRP r16a tables 18 and 20): of which responses the initiator wants solicited notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(pub(super) u8);

impl Notify {
    const SCSOLNT: u8 = 0x02;
    const UCSOLNT: u8 = 0x04;

    /// Whether the response to the request is to be sent with solicited notification. Only GOOD status and a completed
    /// task management function are successful.
    #[inline]
    pub fn wants(self, successful: bool) -> bool {
        let bit = if successful {
            Self::SCSOLNT
        } else {
            Self::UCSOLNT
        };
        self.0 & bit != 0
    }
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cmd<'a> {
    iu: &'a [u8],
    /// The tag.
    pub tag: u64,
    /// LOGICAL UNIT NUMBER, the eight bytes of SAM-6 4.7 as a big-endian number.
    pub lun: u64,
    /// TASK ATTRIBUTE.
    pub attribute: TaskAttribute,
    /// Solicited notification.
    pub notify: Notify,
    /// CDB and ADDITIONAL CDB: 16 bytes or more, up to 268, a multiple of four. It tells nothing of the length that
    /// the command has, which is in its operation code.
    pub cdb: &'a [u8],
}

impl<'a> Cmd<'a> {
    /// Reads an SRP_CMD; `None` if `iu` is too short for what it says of itself, or is none.
    #[inline]
    pub fn parse(iu: &'a [u8]) -> Option<Self> {
        let h: &[u8; CMD_LEN] = iu.first_chunk()?;
        if h[0] != iu_type::CMD {
            return None;
        }
        // ADDITIONAL CDB LENGTH counts words of four bytes, above two reserved bits.
        let end = CMD_LEN.saturating_add(usize::from(h[31] & !3));
        Some(Self {
            iu,
            tag: field64(h, 8),
            lun: field64(h, 20),
            attribute: TaskAttribute::decode(h[29]),
            notify: Notify(h[1]),
            cdb: iu.get(CDB_AT..end)?,
        })
    }

    /// The first [`MAX_CDB_LEN`] bytes of the CDB, zeros behind it: no command of this target has a longer one.
    #[inline]
    pub fn cdb_padded(&self) -> [u8; MAX_CDB_LEN] {
        let mut cdb = [0; MAX_CDB_LEN];
        crate::bytes::copy(&mut cdb, self.cdb);
        cdb
    }

    /// Where the data are, checked. An error is for this command to end with, see
    /// [`DescriptorError::consequence`].
    #[inline]
    pub fn data(&self, rules: &Rules) -> Result<DataBuffer<'a>, DescriptorError> {
        // The header is there, or `parse` would not have made this.
        let h: &[u8; CMD_LEN] = self.iu.first_chunk().ok_or(DescriptorError::Truncated)?;
        let fields = Fields {
            iu: self.iu,
            at: CDB_AT.saturating_add(self.cdb.len()),
            formats: h[5],
            out_count: h[6],
            in_count: h[7],
        };
        fields.parse(rules)
    }
}
