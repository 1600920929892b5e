// SPDX-License-Identifier: GPL-2.0

//! What driver and firmware exchange, as it lies in memory. Little endian, but for what comes from FC frames.
//!
//! Every entry of a ring has 64 bytes; the first says of what kind it is, the second how many entries belong together.

pub mod control;
pub mod initiator;
pub mod target;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a ring entry.
pub const ENTRY_BYTES: usize = 64;

/// A ring entry of whatever kind.
pub type Entry = [u8; ENTRY_BYTES];

/// Kinds of ring entries.
pub mod kind {
    /// Status of a command, to the initiator.
    pub const STATUS: u8 = 0x03;
    /// Marker.
    pub const MARKER: u8 = 0x04;
    /// A command arrived at the target.
    pub const ATIO: u8 = 0x06;
    /// More data segments of the entry before.
    pub const CONTINUATION: u8 = 0x0a;
    /// Something else arrived at the target.
    pub const IMMEDIATE_NOTIFY: u8 = 0x0d;
    /// The target's answer to it.
    pub const NOTIFY_ACK: u8 = 0x0e;
    /// The target goes on with a command; and the firmware's answer.
    pub const CTIO: u8 = 0x12;
    /// Task management by the initiator.
    pub const TASK_MANAGEMENT: u8 = 0x14;
    /// A command of the initiator.
    pub const COMMAND: u8 = 0x18;
    /// Common transport: name server and management server.
    pub const CT: u8 = 0x29;
    /// The initiator aborts a command.
    pub const ABORT: u8 = 0x33;
    /// Virtual ports are taken off the fabric.
    pub const PORT_CONTROL: u8 = 0x30;
    /// A virtual port gets names, and goes on the fabric.
    pub const PORT_CONFIGURATION: u8 = 0x31;
    /// It has an identifier.
    pub const PORT_REPORT: u8 = 0x32;
    /// A mailbox command by ring.
    pub const MAILBOX: u8 = 0x39;
    /// Login or logout.
    pub const LOGIN: u8 = 0x52;
    /// A link service that the driver has written itself.
    pub const ELS: u8 = 0x53;
    /// An ABTS arrived at the target.
    pub const ABTS: u8 = 0x54;
    /// The target's answer to it; and the firmware's answer.
    pub const ABTS_RESPONSE: u8 = 0x55;
}

/// Completion statuses of the initiator's entries.
pub mod status {
    /// Complete.
    pub const COMPLETE: u16 = 0x00;
    /// Aborted.
    pub const ABORTED: u16 = 0x05;
    /// No answer.
    pub const TIMED_OUT: u16 = 0x06;
    /// Less data than expected.
    pub const UNDERRUN: u16 = 0x15;
    /// The port is not there.
    pub const PORT_UNAVAILABLE: u16 = 0x28;
    /// The port is not logged in.
    pub const LOGGED_OUT: u16 = 0x29;
    /// An error of a login, logout or abort entry.
    pub const FAILED: u16 = 0x31;
}

/// Completion statuses of the target's entries.
pub mod ctio_status {
    /// Sent, or received.
    pub const SUCCESS: u16 = 0x01;
    /// The exchange has been aborted.
    pub const ABORTED: u16 = 0x02;
    /// There is no such exchange.
    pub const INVALID_EXCHANGE: u16 = 0x08;
    /// The initiator is not logged in any more.
    pub const LOGGED_OUT: u16 = 0x29;
}

/// The first bytes of most entries.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u8,
    /// Entries that belong together, this one included.
    pub count: u8,
    /// The driver's own.
    pub defined: u8,
    /// Of the entry as such; 0 if it is well-formed.
    pub status: u8,
    /// The driver's own.
    pub handle: U32,
}

impl Header {
    /// The header of a single entry.
    pub fn new(kind: u8, handle: U32) -> Self {
        Self {
            kind,
            count: 1,
            defined: 0,
            status: 0,
            handle,
        }
    }
}

/// Where data lies in the memory of a guest.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
    PartialEq,
    Eq,
)]
#[repr(C)]
pub struct Segment {
    /// DMA address.
    pub address: U64,
    /// Bytes.
    pub length: U32,
}

/// More segments of the entry before.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Continuation {
    /// Kind, count, and two bytes that nobody reads.
    pub header: [u8; 4],
    /// Those that are used come first.
    pub segments: [Segment; 5],
}

/// Makes a structure of 64 bytes an entry, and an entry that structure; another size does not compile.
macro_rules! entries {
    ($($name:ty),* $(,)?) => {
        $(
            impl From<$crate::wire::Entry> for $name {
                fn from(entry: $crate::wire::Entry) -> Self {
                    zerocopy::transmute!(entry)
                }
            }

            impl From<$name> for $crate::wire::Entry {
                fn from(value: $name) -> Self {
                    zerocopy::transmute!(value)
                }
            }
        )*
    };
}
pub(crate) use entries;

entries!(Continuation);

/// The segments of an entry: FIRST, and those of the continuations MORE, COUNT in all.
pub fn segments(first: Segment, more: &[Entry], count: u16) -> Vec<Segment> {
    std::iter::once(first)
        .chain(
            more.iter()
                .flat_map(|entry| Continuation::from(*entry).segments),
        )
        .take(usize::from(count))
        .collect()
}

/// Bytes of LUNs, CDBs and the like, which the chip keeps in words of the other byte order.
pub fn swap_words<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    for word in bytes.chunks_exact_mut(4) {
        word.reverse();
    }
    bytes
}

/// A port identifier as FC frames have it.
pub fn id_be(id: u32) -> [u8; 3] {
    let [_, domain, area, port] = id.to_be_bytes();
    [domain, area, port]
}

/// A port identifier as the chip has it.
pub fn id_le(id: u32) -> [u8; 3] {
    let [port, area, domain, _] = id.to_le_bytes();
    [port, area, domain]
}

/// The port identifier that [`id_le`] made.
pub fn from_id_le([port, area, domain]: [u8; 3]) -> u32 {
    u32::from_le_bytes([port, area, domain, 0])
}

/// The port identifier that [`id_be`] made.
pub fn from_id_be([domain, area, port]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, domain, area, port])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(address: u64) -> Segment {
        Segment {
            address: address.into(),
            length: 8.into(),
        }
    }

    #[test]
    fn segments_come_in_order_and_no_more_than_counted() {
        let more = Continuation {
            header: [kind::CONTINUATION, 1, 0, 0],
            segments: [2, 3, 4, 5, 6].map(segment),
        };
        let found = segments(segment(1), &[more.into(), more.into()], 8);
        let addresses: Vec<u64> = found.iter().map(|s| s.address.get()).collect();
        assert_eq!(addresses, [1, 2, 3, 4, 5, 6, 2, 3]);
        assert!(segments(segment(1), &[], 0).is_empty());
    }

    #[test]
    fn byte_orders_turn_back() {
        assert_eq!(
            swap_words([1, 2, 3, 4, 5, 6, 7, 8]),
            [4, 3, 2, 1, 8, 7, 6, 5]
        );
        assert_eq!(id_be(0x01_02_03), [1, 2, 3]);
        assert_eq!(id_le(0x01_02_03), [3, 2, 1]);
        assert_eq!(from_id_le(id_le(0x0a_0b_0c)), 0x0a_0b_0c);
        assert_eq!(from_id_be(id_be(0x0a_0b_0c)), 0x0a_0b_0c);
    }
}
