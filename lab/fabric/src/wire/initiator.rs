// SPDX-License-Identifier: GPL-2.0

//! Entries of the initiator.

use super::{entries, Header, Segment};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A command (type 7); continuations may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Command {
    /// Kind 0x18.
    pub header: Header,
    /// The session.
    pub nport: U16,
    /// Seconds.
    pub timeout: U16,
    /// Segments of the data buffer.
    pub segments: U16,
    /// Unused.
    pub reserved: [u8; 2],
    /// In words of the other byte order.
    pub lun: [u8; 8],
    /// Bit 0: data to the device; bit 1: data from it.
    pub flags: U16,
    /// Task attribute.
    pub attribute: u8,
    /// Command reference number.
    pub reference: u8,
    /// In words of the other byte order.
    pub cdb: [u8; 16],
    /// Bytes of the data buffer (FCP_DL).
    pub data_length: U32,
    /// Of the target.
    pub port_id: [u8; 3],
    /// Virtual port.
    pub vp: u8,
    /// The first segment.
    pub segment: Segment,
}

/// A command's end.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Status {
    /// Kind 0x03, the command's handle.
    pub header: Header,
    /// One of [`super::status`].
    pub completion: U16,
    /// The exchange's name on the wire.
    pub ox_id: U16,
    /// Bytes of the buffer that were not moved, by the firmware's count.
    pub residual: U32,
    /// Unused.
    pub reserved: [u8; 2],
    /// State flags.
    pub state: U16,
    /// SAM status qualifier or retry delay.
    pub qualifier: U16,
    /// SAM status, and in the upper byte what FCP_RSP says is valid.
    pub scsi_status: U16,
    /// FCP_RESID.
    pub response_residual: U32,
    /// Bytes of sense data.
    pub sense_length: U32,
    /// Bytes of response information, which comes before the sense data.
    pub response_length: U32,
    /// Response information and sense data, in words of the other byte order.
    pub data: [u8; 28],
}

impl Status {
    /// Bit of `scsi_status`: there is response information.
    pub const RESPONSE_VALID: u16 = 0x100;
    /// Bit of `scsi_status`: there is sense data.
    pub const SENSE_VALID: u16 = 0x200;

    /// Of the command that HANDLE is the driver's name for.
    pub fn new(handle: U32, completion: u16) -> Self {
        Self {
            header: Header::new(super::kind::STATUS, handle),
            completion: completion.into(),
            ..Self::new_zeroed()
        }
    }
}

/// Task management.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TaskManagement {
    /// Kind 0x14.
    pub header: Header,
    /// The session.
    pub nport: U16,
    /// Unused.
    pub reserved: [u8; 2],
    /// Seconds.
    pub delay: U16,
    /// Seconds.
    pub timeout: U16,
    /// In words of the other byte order.
    pub lun: [u8; 8],
    /// Which function.
    pub flags: U32,
    /// Unused.
    pub reserved_2: [u8; 20],
    /// Of the target.
    pub port_id: [u8; 3],
    /// Virtual port.
    pub vp: u8,
    /// Unused.
    pub reserved_3: [u8; 12],
}

/// What follows task management.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Marker {
    /// Kind 0x04.
    pub header: Header,
    /// The session.
    pub nport: U16,
    /// What it is about: see the constants.
    pub modifier: u8,
    /// Unused.
    pub reserved: [u8; 2],
    /// Virtual port.
    pub vp: u8,
    /// Unused.
    pub reserved_2: [u8; 2],
    /// In words of the other byte order.
    pub lun: [u8; 8],
    /// Unused.
    pub reserved_3: [u8; 40],
}

impl Marker {
    /// A LUN of the session.
    pub const LUN: u8 = 0;
    /// The session.
    pub const PORT: u8 = 1;
}

/// Abort of one command.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Abort {
    /// Kind 0x33.
    pub header: Header,
    /// The session; in the answer the completion status.
    pub nport: U16,
    /// Options.
    pub options: U16,
    /// The command's handle.
    pub aborted: U32,
    /// The rest.
    pub rest: [u8; 48],
}

/// Login or logout.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Login {
    /// Kind 0x52.
    pub header: Header,
    /// In the answer.
    pub completion: U16,
    /// The session.
    pub nport: U16,
    /// What to do, and how.
    pub flags: U16,
    /// Virtual port.
    pub vp: u8,
    /// Unused.
    pub reserved: u8,
    /// Of the other port.
    pub port_id: [u8; 3],
    /// Words of the response that are wanted.
    pub response_size: u8,
    /// Parameters in and out.
    pub parameters: [U32; 11],
}

impl Login {
    /// Lowest four bits of the flags: what to do.
    pub const COMMAND: u16 = 0x0f;
    /// PLOGI, and PRLI after it.
    pub const PLOGI: u16 = 0;
    /// PRLI alone.
    pub const PRLI: u16 = 1;
    /// PDISC.
    pub const PDISC: u16 = 2;
    /// ADISC.
    pub const ADISC: u16 = 3;
    /// LOGO.
    pub const LOGO: u16 = 8;
    /// PRLO.
    pub const PRLO: u16 = 9;
    /// TPRLO.
    pub const TPRLO: u16 = 10;
    /// PLOGI only if not logged in; LOGO without telling the other side.
    pub const CONDITIONAL: u16 = 0x10;
    /// PLOGI without PRLI.
    pub const SKIP_PRLI: u16 = 0x20;
}

/// A link service that the driver has written itself; a target's driver sends such entries too.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Els {
    /// Kind 0x53.
    pub header: Header,
    /// In the answer.
    pub completion: U16,
    /// The session; none for who is not logged in.
    pub nport: U16,
    /// Segments of the frame.
    pub segments: U16,
    /// Virtual port.
    pub vp: u8,
    /// Start of frame.
    pub sof: u8,
    /// Of the one that it answers.
    pub exchange: U32,
    /// Segments of the answer.
    pub answer_segments: U16,
    /// Which service.
    pub code: u8,
    /// Unused.
    pub reserved: u8,
    /// To whom.
    pub destination: [u8; 3],
    /// From whom.
    pub source: [u8; 3],
    /// What it is, in the upper three bits: 0 for a request.
    pub flags: U16,
    /// Where frame and answer are; in the answer how many bytes came, and error codes.
    pub rest: [u8; 32],
}

impl Els {
    /// Bits of the flags that are 0 in a request.
    pub const ANSWER: u16 = 0xe000;
}

/// A request to a server of the fabric.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ct {
    /// Kind 0x29.
    pub header: Header,
    /// In the answer.
    pub completion: U16,
    /// The server.
    pub nport: U16,
    /// Segments of the request.
    pub request_segments: U16,
    /// Virtual port.
    pub vp: u8,
    /// Unused.
    pub reserved: u8,
    /// Seconds.
    pub timeout: U16,
    /// Unused.
    pub reserved_2: [u8; 2],
    /// Segments of the response.
    pub response_segments: U16,
    /// Unused.
    pub reserved_3: [u8; 10],
    /// Room for the response; in the answer what of it was not used.
    pub response_bytes: U32,
    /// Bytes of the request.
    pub request_bytes: U32,
    /// Where the request is.
    pub request: Segment,
    /// Where the response goes.
    pub response: Segment,
}

/// A mailbox command by ring.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MailboxEntry {
    /// Kind 0x39.
    pub header: Header,
    /// The registers.
    pub mailbox: [U16; 28],
}

entries!(
    Command,
    Status,
    TaskManagement,
    Marker,
    Abort,
    Login,
    Els,
    Ct,
    MailboxEntry
);
