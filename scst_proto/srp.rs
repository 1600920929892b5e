// SPDX-License-Identifier: GPL-2.0

//! SRP, the SCSI RDMA Protocol, as a target speaks it (SRP r16a, T10/1415-D).
//!
//! Wire formats and decisions only: no queue pair, no connection manager. A transport calls it like this.
//!
//! 1. **Login.** A connection request arrives with private data. [`login::LoginRequest::parse`] (IB/CM) or
//!    [`login::LoginRequest::parse_rdma_cm`] reads it, [`login::decide`] accepts it or says why not, and
//!    [`login::Accept::response`] or [`login::reject`] is the private data of the answer. A channel then has a
//!    [`channel::State`] and a [`credit::Credit`].
//! 2. **Receive.** [`iu::Iu::parse`] tells the information units apart; [`credit::Credit::receive`] counts those for
//!    which [`iu::Iu::is_request`] holds. [`cmd::Cmd::data`] says where the data of a command are: memory of the
//!    initiator, a table to be fetched first, or the unit itself.
//! 3. **Respond.** [`credit::Credit::respond`] gives the REQUEST LIMIT DELTA, [`iu::Rsp::write`] the SRP_RSP.
//! 4. **End.** Whatever happens to the connection is a [`channel::Event`]; [`channel::step`] says what is to be done.
//!
//! What is wrong with a unit is an error whose `consequence` is the answer of the target.
//!
//! | module | what |
//! |---|---|
//! | [`login`] | SRP_LOGIN_REQ, _RSP, _REJ, and the decision between the two |
//! | [`iu`] | the information units of a channel, both directions |
//! | [`cmd`], [`data_buffer`], [`descriptors`] | SRP_CMD, and where its data are |
//! | [`tsk_mgmt`] | SRP_TSK_MGMT |
//! | [`credit`] | the request limit |
//! | [`limits`] | how much a channel gets of what there is |
//! | [`channel`] | the life of an RDMA channel |
//! | [`dm`] | the device management datagrams by which initiators find the port |
//! | [`names`] | how ports and sessions are called; the TransportID |
//!
//! # Tags
//!
//! A tag is eight bytes that only the initiator understands. Here it is their big-endian number, in requests, in
//! responses and in the TAG OF TASK TO BE MANAGED alike, so that equal bytes are equal numbers.

use crate::bytes::{be16, be32, be64};
use crate::sense::Sense;

pub mod channel;
pub mod cmd;
pub mod credit;
pub mod data_buffer;
pub mod descriptors;
pub mod dm;
pub mod iu;
pub mod limits;
pub mod login;
pub mod names;
pub mod tsk_mgmt;

/// INFORMATION UNIT TYPE, the first byte of every unit.
pub mod iu_type {
    /// SRP_LOGIN_REQ.
    pub const LOGIN_REQ: u8 = 0x00;
    /// SRP_TSK_MGMT.
    pub const TSK_MGMT: u8 = 0x01;
    /// SRP_CMD.
    pub const CMD: u8 = 0x02;
    /// SRP_I_LOGOUT.
    pub const I_LOGOUT: u8 = 0x03;
    /// SRP_CRED_RSP.
    pub const CRED_RSP: u8 = 0x41;
    /// SRP_AER_RSP.
    pub const AER_RSP: u8 = 0x42;
    /// SRP_T_LOGOUT.
    pub const T_LOGOUT: u8 = 0x80;
    /// SRP_CRED_REQ.
    pub const CRED_REQ: u8 = 0x81;
    /// SRP_AER_REQ.
    pub const AER_REQ: u8 = 0x82;
    /// SRP_LOGIN_RSP.
    pub const LOGIN_RSP: u8 = 0xc0;
    /// SRP_RSP.
    pub const RSP: u8 = 0xc1;
    /// SRP_LOGIN_REJ.
    pub const LOGIN_REJ: u8 = 0xc2;
}

/// An SRP port identifier: eight bytes of identifier extension, then the GUID (SRP r16a annex B; revision 10 had them
/// the other way round).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortId(pub [u8; 16]);

impl PortId {
    /// Both halves.
    pub const fn new(id_extension: u64, guid: u64) -> Self {
        Self((((id_extension as u128) << 64) | guid as u128).to_be_bytes())
    }

    /// The identifier extension, `id_ext` to the Linux initiator.
    pub const fn id_extension(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }

    /// The GUID: that of the I/O controller for a target port, of the HCA port for an initiator port.
    pub const fn guid(&self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }
}

/// REASON of SRP_T_LOGOUT (SRP r16a 6.6): why the target ends a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum LogoutReason {
    /// No reason specified.
    Unspecified = 0,
    /// The channel was idle and its resources are needed.
    Inactive = 1,
    /// An INFORMATION UNIT TYPE that a target port does not take.
    InvalidType = 2,
    /// A response to which there is no request.
    UnexpectedResponse = 3,
    /// A login of the same initiator port asked for a single channel.
    MultiChannelAction = 4,
    /// A DATA-OUT BUFFER DESCRIPTOR FORMAT that is not supported.
    UnsupportedOutFormat = 6,
    /// A DATA-IN BUFFER DESCRIPTOR FORMAT that is not supported.
    UnsupportedInFormat = 7,
    /// A length that the type of the information unit cannot have.
    InvalidLength = 8,
}

/// What the target does about something that an initiator must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// The command ends with CHECK CONDITION and this sense; the channel goes on.
    Respond(Sense),
    /// The initiator does not keep to the protocol: the channel is closed
    /// ([`Event::CloseRequested`](channel::Event::CloseRequested)), and this is what an SRP_T_LOGOUT says.
    Close(LogoutReason),
}

/// The number at `at` of a header that is known to have it: for constant offsets, which need no check at run time.
#[inline]
fn field16<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    be16(header, at).unwrap_or(0)
}

/// As [`field16`], 32 bits.
#[inline]
fn field32<const N: usize>(header: &[u8; N], at: usize) -> u32 {
    be32(header, at).unwrap_or(0)
}

/// As [`field16`], 64 bits.
#[inline]
fn field64<const N: usize>(header: &[u8; N], at: usize) -> u64 {
    be64(header, at).unwrap_or(0)
}
