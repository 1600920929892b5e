// SPDX-License-Identifier: GPL-2.0

//! Reservations: who may do what with a logical unit (SPC-6 5.14, SPC-2 5.5).
//!
//! | module | what |
//! |---|---|
//! | [`access`] | the table: reservation class of a command x reservation type x who asks |
//! | [`list`] | the parameter list of PERSISTENT RESERVE OUT |
//! | [`state`] | the state machine: registrations, the reservation, what each service action does |
//! | [`report`] | the parameter data of PERSISTENT RESERVE IN |
//! | [`saved`] | what survives: the APTPL file, and `pr_state` |
//!
//! The caller hands in the memory for registrations, a slice of places; it makes enough of them before it asks for a
//! service action that may register somebody ([`list::OutList::places`]).

pub mod access;
pub mod list;
pub mod report;
pub mod saved;
pub mod state;

use crate::bytes::{be16, u8_at};

/// The longest TransportID that is kept: that of iSCSI has up to 228 bytes (SPC-6 7.6.4.6).
pub const MAX_TRANSPORT_ID: usize = 228;
/// The length of the TransportIDs with a fixed form, and the least of the others.
pub const FIXED_TRANSPORT_ID: usize = 24;

/// PROTOCOL IDENTIFIER of iSCSI, whose TransportIDs have a length of their own.
const ISCSI: u8 = 0x05;

/// A TransportID (SPC-6 7.6.4): the name of an initiator port.
#[derive(Clone, Copy)]
pub struct TransportId {
    len: u8,
    bytes: [u8; MAX_TRANSPORT_ID],
}

impl TransportId {
    /// A TransportID that no initiator port has: zeros, as long as most.
    pub const NONE: Self = Self {
        len: FIXED_TRANSPORT_ID as u8,
        bytes: [0; MAX_TRANSPORT_ID],
    };

    /// Takes `bytes` as they are; `None` if they are none or too many.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok().filter(|len| *len != 0)?;
        let mut id = Self {
            len,
            bytes: [0; MAX_TRANSPORT_ID],
        };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    /// Reads the TransportID at the start of `buf`; `None` if it is cut short or too long.
    pub fn parse(buf: &[u8]) -> Option<Self> {
        let len = match u8_at(buf, 0)? & 0x0f {
            ISCSI => usize::from(be16(buf, 2)?).saturating_add(4),
            _ => FIXED_TRANSPORT_ID,
        };
        if len < FIXED_TRANSPORT_ID {
            return None;
        }
        Self::new(buf.get(..len)?)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl PartialEq for TransportId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for TransportId {}

impl core::fmt::Debug for TransportId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An I_T nexus, as reservations know it: they survive the session (SPC-6 5.14.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NexusId {
    /// The initiator port.
    pub initiator: TransportId,
    /// RELATIVE TARGET PORT IDENTIFIER of the target port.
    pub port: u16,
}

/// The TYPE of a persistent reservation (SPC-6 table 80).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Type {
    /// Write Exclusive.
    WriteExclusive = 1,
    /// Exclusive Access.
    ExclusiveAccess = 3,
    /// Write Exclusive - Registrants Only.
    WriteExclusiveRegistrants = 5,
    /// Exclusive Access - Registrants Only.
    ExclusiveAccessRegistrants = 6,
    /// Write Exclusive - All Registrants.
    WriteExclusiveAll = 7,
    /// Exclusive Access - All Registrants.
    ExclusiveAccessAll = 8,
}

impl Type {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrants,
        Self::ExclusiveAccessRegistrants,
        Self::WriteExclusiveAll,
        Self::ExclusiveAccessAll,
    ];

    /// The type with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Every registered nexus holds the reservation.
    pub const fn is_all_registrants(self) -> bool {
        matches!(self, Self::WriteExclusiveAll | Self::ExclusiveAccessAll)
    }

    /// Registered nexuses may do as the holder does: Registrants Only, All Registrants.
    pub const fn admits_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Others may read.
    pub const fn admits_readers(self) -> bool {
        matches!(
            self,
            Self::WriteExclusive | Self::WriteExclusiveRegistrants | Self::WriteExclusiveAll
        )
    }
}

/// The reservation key of a registered nexus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registrant {
    /// Who.
    pub nexus: NexusId,
    /// RESERVATION KEY, not 0.
    pub key: u64,
    /// It made the reservation, or got it. Never with the types All Registrants, which have no such one.
    pub holder: bool,
}
