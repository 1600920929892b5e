// SPDX-License-Identifier: GPL-2.0

//! What mailbox commands pass in memory, and what is asked of virtual ports.

use super::{entries, Header};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the driver tells the firmware when it starts it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Initialize {
    /// Version and frame size and the like.
    pub head: [u8; 12],
    /// Big endian.
    pub port_name: [u8; 8],
    /// Big endian.
    pub node_name: [u8; 8],
    /// Where the rings begin, login retries, and the priority ring.
    pub pointers: [u8; 8],
    /// Entries.
    pub response_length: U16,
    /// Entries.
    pub request_length: U16,
    /// Link down time, and the priority ring's length.
    pub reserved: [u8; 4],
    /// DMA address.
    pub request_address: U64,
    /// DMA address.
    pub response_address: U64,
    /// Priority ring and interrupt vectors.
    pub reserved_2: [u8; 16],
    /// Where the ring of arriving commands begins.
    pub atio_pointer: U16,
    /// Entries.
    pub atio_length: U16,
    /// DMA address.
    pub atio_address: U64,
    /// Timers.
    pub timers: [u8; 4],
    /// See the constants.
    pub options_1: U32,
    /// More options.
    pub options: [u8; 8],
    /// Quality of service and the rest.
    pub reserved_3: [u8; 24],
}

impl Initialize {
    /// Bit of `options_1`: be a target.
    pub const TARGET: u32 = 1 << 4;
    /// Bit of `options_1`: do not be an initiator.
    pub const NO_INITIATOR: u32 = 1 << 5;
}

/// A record of the port database.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PortRecord {
    /// Flags.
    pub flags: U16,
    /// Login state now.
    pub state: u8,
    /// Login state before.
    pub last_state: u8,
    /// Hard address.
    pub hard_address: [u8; 3],
    /// Unused.
    pub reserved: u8,
    /// Big endian in the port database, little endian in the list of names.
    pub port_id: [u8; 3],
    /// Sequence.
    pub sequence: u8,
    /// Timer.
    pub timer: U16,
    /// The session.
    pub nport: U16,
    /// Bytes of a frame.
    pub frame_bytes: U16,
    /// Unused.
    pub reserved_2: [u8; 2],
    /// Of PRLI.
    pub word_0: [u8; 2],
    /// Of PRLI; in the first byte 0x10 is a target, 0x20 an initiator.
    pub word_3: [u8; 2],
    /// In the order of `port_id`.
    pub port_name: [u8; 8],
    /// In the order of `port_id`.
    pub node_name: [u8; 8],
}

/// Bytes of the firmware's port database; a record and nothing more here.
pub const PORT_DATABASE_BYTES: usize = 64;

const _: () = assert!(size_of::<Initialize>() == 128);
const _: () = assert!(size_of::<PortRecord>() == 40);

/// Virtual ports get names, and go on the fabric: one of them, here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PortConfiguration {
    /// Kind 0x31.
    pub header: Header,
    /// Of virtual fabrics.
    pub flags: U16,
    /// In the answer.
    pub completion: U16,
    /// 1: go on the fabric, too.
    pub command: u8,
    /// How many: 1 or 2.
    pub count: u8,
    /// Which.
    pub vp: u8,
    /// Which.
    pub second_vp: u8,
    /// See the constants.
    pub options: u8,
    /// Of a loop.
    pub hard_address: u8,
    /// Unused.
    pub reserved: [u8; 2],
    /// Big endian.
    pub port_name: [u8; 8],
    /// Big endian.
    pub node_name: [u8; 8],
    /// The same of the second one, and the rest.
    pub rest: [u8; 28],
}

impl PortConfiguration {
    /// Bit of `options`: be an initiator.
    pub const INITIATOR: u8 = 1 << 4;
    /// Bit of `options`: do not be a target.
    pub const NO_TARGET: u8 = 1 << 5;
}

/// Virtual ports are taken off the fabric.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PortControl {
    /// Kind 0x30.
    pub header: Header,
    /// In the answer: one for which it failed.
    pub failed: U16,
    /// In the answer.
    pub completion: U16,
    /// What; see the constants.
    pub command: U16,
    /// How many.
    pub count: U16,
    /// Which: a bit each, beginning with number 1.
    pub ports: [u8; 16],
    /// The rest.
    pub rest: [u8; 32],
}

impl PortControl {
    /// Lowest of the commands that disable.
    pub const DISABLE: u16 = 8;
}

/// The switch has given a virtual port its identifier.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PortReport {
    /// Kind 0x32.
    pub header: Header,
    /// Ports that have one.
    pub acquired: u8,
    /// Ports that want one.
    pub wanted: u8,
    /// Which.
    pub vp: u8,
    /// 0: it has one.
    pub status: u8,
    /// The identifier.
    pub port_id: [u8; 3],
    /// 1: of a fabric.
    pub format: u8,
    /// Why not.
    pub reason: u8,
    /// 6: a fabric.
    pub topology: u8,
    /// The rest.
    pub rest: [u8; 46],
}

entries!(PortConfiguration, PortControl, PortReport);
