// SPDX-License-Identifier: GPL-2.0

//! Entries of the target.

use super::{entries, Header, Segment};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{big_endian, FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A command has arrived (ATIO type 7): frame header and FCP_CMND as on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Atio {
    /// Kind 0x06.
    pub kind: u8,
    /// 1.
    pub count: u8,
    /// Bytes of header and FCP_CMND (0x38), task attribute in the upper four bits.
    pub attribute_length: U16,
    /// The firmware's name for the exchange.
    pub exchange: U32,
    /// 6: unsolicited command.
    pub r_ctl: u8,
    /// The target.
    pub destination: [u8; 3],
    /// Class specific.
    pub cs_ctl: u8,
    /// The initiator.
    pub source: [u8; 3],
    /// 8: FCP.
    pub protocol: u8,
    /// Frame control.
    pub f_ctl: [u8; 3],
    /// Sequence.
    pub sequence: u8,
    /// Optional headers.
    pub df_ctl: u8,
    /// Frames of the sequence.
    pub sequence_count: big_endian::U16,
    /// The initiator's name for the exchange.
    pub ox_id: big_endian::U16,
    /// The target's name for it: none yet.
    pub rx_id: U16,
    /// Of the frame.
    pub parameter: U32,
    /// As SAM has it.
    pub lun: [u8; 8],
    /// Command reference number.
    pub reference: u8,
    /// Task attribute.
    pub attribute: u8,
    /// Task management flags.
    pub task_management: u8,
    /// Bit 0: data to the device; bit 1: data from it.
    pub direction: u8,
    /// The CDB.
    pub cdb: [u8; 16],
    /// FCP_DL.
    pub data_length: big_endian::U32,
}

/// Something else has arrived: an ELS, here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ImmediateNotify {
    /// Kind 0x0d.
    pub header: Header,
    /// The session.
    pub nport: U16,
    /// Unused.
    pub reserved: [u8; 2],
    /// Flags.
    pub flags: U16,
    /// Of a sequence retransmission request.
    pub srr_rx_id: U16,
    /// What it is; 0x46 is an ELS.
    pub status: U16,
    /// Which ELS.
    pub code: u8,
    /// The firmware's own.
    pub firmware: u8,
    /// The firmware's name for the exchange.
    pub exchange: U32,
    /// Of a sequence retransmission request.
    pub srr: [u8; 8],
    /// Node name of a PLOGI, or the lower half of word 3 of a PRLI, little endian.
    pub particular: [u8; 8],
    /// The other port's name.
    pub port_name: [u8; 8],
    /// Unused.
    pub reserved_2: [u8; 3],
    /// Virtual port.
    pub vp: u8,
    /// Unused.
    pub reserved_3: [u8; 4],
    /// The other port.
    pub port_id: [u8; 3],
    /// Unused.
    pub reserved_4: [u8; 3],
    /// The exchange's name on the wire.
    pub ox_id: U16,
}

/// The target's answer to an [`ImmediateNotify`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NotifyAck {
    /// Kind 0x0e.
    pub header: Header,
    /// The session.
    pub nport: U16,
    /// Unused.
    pub reserved: [u8; 2],
    /// Bit 3: reject it.
    pub flags: U16,
    /// Of a sequence retransmission request.
    pub srr_rx_id: U16,
    /// In the answer: 1 is success.
    pub status: U16,
    /// Which ELS.
    pub code: u8,
    /// The firmware's own.
    pub firmware: u8,
    /// The firmware's name for the exchange.
    pub exchange: U32,
    /// The rest.
    pub rest: [u8; 40],
}

impl NotifyAck {
    /// A sequence retransmission request is rejected.
    pub fn refuses_retransmission(&self) -> bool {
        self.rest[6] & 1 != 0
    }
}

/// The target goes on with a command: data, and in mode 0 perhaps status; continuations may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ctio {
    /// Kind 0x12.
    pub header: Header,
    /// The session.
    pub nport: U16,
    /// Seconds.
    pub timeout: U16,
    /// Segments of the data.
    pub segments: U16,
    /// Virtual port.
    pub vp: u8,
    /// Additional flags.
    pub more_flags: u8,
    /// The initiator.
    pub initiator: [u8; 3],
    /// Unused.
    pub reserved: u8,
    /// The firmware's name for the exchange.
    pub exchange: U32,
    /// Mode 1: bytes of sense data.
    pub sense_length: U16,
    /// See the constants.
    pub flags: U16,
    /// FCP_RESID.
    pub residual: U32,
    /// The exchange's name on the wire.
    pub ox_id: [u8; 2],
    /// SAM status and what of FCP_RSP is valid.
    pub scsi_status: U16,
    /// Mode 0: offset of the data; mode 1: bytes of response information in the lower half.
    pub offset: U32,
    /// Mode 1: sense data begins here; it is [`CtioStatus`] then.
    pub reserved_2: [u8; 4],
    /// Bytes of data.
    pub length: U32,
    /// Unused.
    pub reserved_3: [u8; 4],
    /// The first segment.
    pub segment: Segment,
}

impl Ctio {
    /// Data from the initiator.
    pub const FROM_INITIATOR: u16 = 1 << 0;
    /// Data to the initiator.
    pub const TO_INITIATOR: u16 = 1 << 1;
    /// The two bits of the status mode, and mode 1.
    pub const MODE: u16 = 3 << 6;
    /// Status with response information or sense data, no data.
    pub const MODE_1: u16 = 1 << 6;
    /// No answer is wanted.
    pub const SILENT: u16 = 1 << 8;
    /// The initiator is to confirm the response (FCP_CONF).
    pub const CONFIRM: u16 = 1 << 13;
    /// Terminate the exchange.
    pub const TERMINATE: u16 = 1 << 14;
    /// Send status.
    pub const STATUS: u16 = 1 << 15;
}

/// A [`Ctio`] in mode 1.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CtioStatus {
    /// As in [`Ctio`].
    pub head: [u8; 36],
    /// Bytes of response information.
    pub response_length: U16,
    /// Unused.
    pub reserved: [u8; 2],
    /// Response information and sense data.
    pub data: [u8; 24],
}

/// The firmware's answer to a [`Ctio`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CtioDone {
    /// Kind 0x12, the target's handle.
    pub header: Header,
    /// One of [`super::ctio_status`].
    pub status: U16,
    /// As it was.
    pub timeout: U16,
    /// As it was.
    pub segments: U16,
    /// Virtual port.
    pub vp: u8,
    /// Unused.
    pub reserved: [u8; 5],
    /// The firmware's name for the exchange.
    pub exchange: U32,
    /// Unused.
    pub reserved_2: [u8; 2],
    /// As they were.
    pub flags: U16,
    /// What was not moved.
    pub residual: U32,
    /// The exchange's name on the wire.
    pub ox_id: [u8; 2],
    /// Unused.
    pub reserved_3: [u8; 2],
    /// Offset of the data.
    pub offset: U32,
    /// Unused.
    pub reserved_4: [u8; 24],
}

impl CtioDone {
    /// Success of an entry.
    pub fn new(ctio: &Ctio) -> Self {
        Self {
            header: Header::new(super::kind::CTIO, ctio.header.handle),
            status: super::ctio_status::SUCCESS.into(),
            exchange: ctio.exchange,
            flags: ctio.flags,
            ox_id: ctio.ox_id,
            ..Self::new_zeroed()
        }
    }
}

/// An ABTS has arrived.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Abts {
    /// Kind 0x54.
    pub kind: u8,
    /// 1.
    pub count: u8,
    /// Unused.
    pub reserved: [u8; 8],
    /// The session.
    pub nport: U16,
    /// Unused.
    pub reserved_2: [u8; 2],
    /// Virtual port.
    pub vp: u8,
    /// Start of frame.
    pub sof: u8,
    /// The firmware's name for the ABTS.
    pub exchange: U32,
    /// The frame's header.
    pub frame: FrameHeader,
    /// Unused.
    pub reserved_3: [u8; 16],
    /// The firmware's name for the exchange that is to be aborted.
    pub aborted: U32,
}

/// A frame header as the chip keeps it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    /// To whom.
    pub destination: [u8; 3],
    /// What.
    pub r_ctl: u8,
    /// From whom.
    pub source: [u8; 3],
    /// Class specific.
    pub cs_ctl: u8,
    /// Frame control.
    pub f_ctl: [u8; 3],
    /// Protocol.
    pub protocol: u8,
    /// Frames of the sequence.
    pub sequence_count: U16,
    /// Optional headers.
    pub df_ctl: u8,
    /// Sequence.
    pub sequence: u8,
    /// The target's name for the exchange.
    pub rx_id: U16,
    /// The initiator's.
    pub ox_id: U16,
    /// Of the frame.
    pub parameter: U32,
}

/// The target's answer to an [`Abts`]; the firmware gives it back with a completion.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AbtsResponse {
    /// Kind 0x55.
    pub header: Header,
    /// In the answer.
    pub completion: U16,
    /// The session.
    pub nport: U16,
    /// Bit 0: terminate the exchange.
    pub flags: U16,
    /// Virtual port.
    pub vp: u8,
    /// Start of frame.
    pub sof: u8,
    /// The firmware's name for the ABTS.
    pub exchange: U32,
    /// The frame's header; its `r_ctl` tells BA_ACC (4) from BA_RJT (5).
    pub frame: FrameHeader,
    /// Of BA_ACC or BA_RJT.
    pub payload: [u8; 12],
    /// Unused.
    pub reserved: [u8; 4],
    /// The firmware's name for the exchange that is to be aborted.
    pub aborted: U32,
}

entries!(
    Atio,
    ImmediateNotify,
    NotifyAck,
    Ctio,
    CtioStatus,
    CtioDone,
    Abts,
    AbtsResponse
);
