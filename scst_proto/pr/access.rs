// SPDX-License-Identifier: GPL-2.0

//! What a reservation lets whom do.
//!
//! SPC-6 tables 76 and 77 and SBC-4 table 13 have a row for each command. They differ in five ways only, which the
//! column of the table of operation codes names ([`Reservation`](crate::opcode::Reservation)); this is the other axis:
//!
//! | command is | Write Exclusive, other | Exclusive Access, other | registrant of RO or AR | holder | RESERVE, other |
//! |---|---|---|---|---|---|
//! | `Allowed` | yes | yes | yes | yes | by its flag |
//! | `Reads` | yes | no | yes | yes | no |
//! | `Conflict` | no | no | yes | yes | no |
//! | `ByCdb` | if it changes nothing | the same | yes | yes | the same |
//! | `PersistentReserveOut` | the state machine says | the same | the same | the same | no |
//!
//! A nexus that is registered with a reservation of the types Write Exclusive and Exclusive Access is an `other` like
//! one that is not; with Registrants Only and All Registrants, `other` is who is not registered.

use super::Type;
use crate::bytes::u8_at;
use crate::opcode::{Flags, OpRow, Reservation};

/// What a nexus may do with a logical unit as it is reserved now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Access {
    /// Everything: nothing is reserved, or it is the holder or as good.
    #[default]
    Full = 0,
    /// Reading: another holds a Write Exclusive reservation of some kind.
    Reads = 1,
    /// Neither: another holds an Exclusive Access reservation of some kind.
    Nothing = 2,
    /// Another has the logical unit by RESERVE (SPC-2 5.5).
    Reserved = 3,
}

impl Access {
    /// The access with this code.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Reads,
            2 => Self::Nothing,
            3 => Self::Reserved,
            _ => Self::Full,
        }
    }

    /// What a reservation of type `kind` leaves to a nexus.
    pub const fn under(kind: Type, holder: bool, registered: bool) -> Self {
        if holder || (registered && kind.admits_registrants()) {
            Self::Full
        } else if kind.admits_readers() {
            Self::Reads
        } else {
            Self::Nothing
        }
    }

    /// Whether a command conflicts with the reservation: it gets RESERVATION CONFLICT status.
    pub fn refuses(self, op: &OpRow, cdb: &[u8]) -> bool {
        match (self, op.reservation) {
            (Self::Full, _) => false,
            (Self::Reserved, Reservation::ByCdb) => changes(op, cdb),
            (Self::Reserved, _) => !op.flags.contains(Flags::LEGACY_RESERVED),
            (_, Reservation::Allowed | Reservation::PersistentReserveOut) => false,
            (Self::Reads, Reservation::Reads) => false,
            (_, Reservation::Reads | Reservation::Conflict) => true,
            (_, Reservation::ByCdb) => changes(op, cdb),
        }
    }
}

/// Whether a command of the class `ByCdb` changes something (SPC-6 table 76, SBC-4 table 13): START STOP UNIT but for
/// START without a power condition, PREVENT ALLOW MEDIUM REMOVAL but for allowing.
fn changes(op: &OpRow, cdb: &[u8]) -> bool {
    const START_STOP_UNIT: u8 = 0x1b;

    let byte = u8_at(cdb, 4).unwrap_or(0);
    match op.opcode {
        START_STOP_UNIT => byte & 0xf1 != 0x01,
        _ => byte & 0x03 != 0,
    }
}
