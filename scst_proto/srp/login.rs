// SPDX-License-Identifier: GPL-2.0

//! The login of an RDMA channel: SRP_LOGIN_REQ, SRP_LOGIN_RSP, SRP_LOGIN_REJ (SRP r16a 6.2 to 6.4).
//!
//! They travel as private data of the connection manager. RDMA/CM over InfiniBand leaves 56 bytes of the 92, so Linux
//! has a request without the reserved fields for it. Immediate data are an extension of Linux (and SRP-2).

use super::{field16, field32, field64, iu_type, PortId};
use crate::bytes::Writer;

/// Bytes of an SRP_LOGIN_REQ.
pub const LOGIN_REQ_LEN: usize = 64;
/// Bytes of the request of RDMA/CM.
pub const LOGIN_REQ_RDMA_LEN: usize = 56;
/// Bytes of an SRP_LOGIN_RSP.
pub const LOGIN_RSP_LEN: usize = 52;
/// Bytes of an SRP_LOGIN_REJ.
pub const LOGIN_REJ_LEN: usize = 32;

/// The least REQUESTED MAXIMUM INITIATOR TO TARGET IU LENGTH: an SRP_CMD with one direct descriptor.
pub const MIN_IT_IU_LEN: u32 = 64;
/// What a target should at least be able to send: an SRP_RSP with fixed format sense data, and some room.
pub const MIN_TI_IU_LEN: u32 = 64;
/// The least request limit: the Linux initiator keeps one request back for task management.
pub const MIN_REQUEST_LIMIT: u16 = 2;
/// The least offset at which immediate data can begin: behind an SRP_CMD and an immediate descriptor.
pub const MIN_IMM_DATA_OFFSET: u16 = 52;

/// Data buffer descriptor formats, REQUIRED BUFFER FORMATS and SUPPORTED BUFFER FORMATS: a bit for each code.
pub mod buffer_format {
    /// DDBD, direct.
    pub const DIRECT: u16 = 1 << 1;
    /// IDBD, indirect.
    pub const INDIRECT: u16 = 1 << 2;
    /// What this target supports; immediate data are negotiated by a flag of their own.
    pub const SUPPORTED: u16 = DIRECT | INDIRECT;
}

/// REQ_FLAGS (SRP r16a table 9).
mod req_flag {
    pub(super) const ACTION: u8 = 0x03;
    pub(super) const LOSOLNT: u8 = 0x10;
    pub(super) const CRSOLNT: u8 = 0x20;
    pub(super) const AESOLNT: u8 = 0x40;
    pub(super) const IMMED_REQUESTED: u8 = 0x80;
}

/// RSP_FLAGS.
mod rsp_flag {
    pub(super) const SOLNTSUP: u8 = 0x10;
    pub(super) const IMMED_SUPP: u8 = 0x80;
}

/// Why private data are no login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// Shorter than a login request. Nobody there speaks SRP: reject the connection without SRP_LOGIN_REJ, or with
    /// tag 0.
    TooShort,
    /// Another INFORMATION UNIT TYPE than SRP_LOGIN_REQ.
    Type(u8),
}

/// MULTI-CHANNEL ACTION: what is to become of other channels between the same two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiChannel {
    /// Single channel: the others are to be terminated.
    Single,
    /// The others go on, independently.
    Multiple,
    /// A reserved value.
    Reserved,
}

/// A login request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// The tag, to be sent back.
    pub tag: u64,
    /// REQUESTED MAXIMUM INITIATOR TO TARGET IU LENGTH, bytes.
    pub it_iu_len: u32,
    /// REQUIRED BUFFER FORMATS, see [`buffer_format`].
    pub buffer_formats: u16,
    flags: u8,
    imm_data_offset: u16,
    /// INITIATOR PORT IDENTIFIER.
    pub initiator: PortId,
    /// TARGET PORT IDENTIFIER.
    pub target: PortId,
}

impl LoginRequest {
    /// Reads the private data of an IB/CM REQ, which may be longer than the login.
    pub fn parse(data: &[u8]) -> Result<Self, LoginError> {
        let h: &[u8; LOGIN_REQ_LEN] = data.first_chunk().ok_or(LoginError::TooShort)?;
        let request = Self {
            tag: field64(h, 8),
            it_iu_len: field32(h, 16),
            buffer_formats: field16(h, 24),
            flags: h[26],
            imm_data_offset: field16(h, 28),
            initiator: PortId::new(field64(h, 32), field64(h, 40)),
            target: PortId::new(field64(h, 48), field64(h, 56)),
        };
        request.of_type(h[0])
    }

    /// Reads the private data of an RDMA/CM connection request.
    pub fn parse_rdma_cm(data: &[u8]) -> Result<Self, LoginError> {
        let h: &[u8; LOGIN_REQ_RDMA_LEN] = data.first_chunk().ok_or(LoginError::TooShort)?;
        let request = Self {
            tag: field64(h, 0),
            buffer_formats: field16(h, 8),
            flags: h[10],
            it_iu_len: field32(h, 12),
            initiator: PortId::new(field64(h, 16), field64(h, 24)),
            target: PortId::new(field64(h, 32), field64(h, 40)),
            imm_data_offset: field16(h, 48),
        };
        request.of_type(h[11])
    }

    fn of_type(self, iu_type: u8) -> Result<Self, LoginError> {
        match iu_type {
            iu_type::LOGIN_REQ => Ok(self),
            other => Err(LoginError::Type(other)),
        }
    }

    /// MULTI-CHANNEL ACTION.
    pub fn multi_channel(&self) -> MultiChannel {
        match self.flags & req_flag::ACTION {
            0 => MultiChannel::Single,
            1 => MultiChannel::Multiple,
            _ => MultiChannel::Reserved,
        }
    }

    /// LOSOLNT: an SRP_T_LOGOUT is to be sent with solicited notification.
    pub fn logout_solicited(&self) -> bool {
        self.flags & req_flag::LOSOLNT != 0
    }

    /// CRSOLNT: so is SRP_CRED_REQ.
    pub fn credit_solicited(&self) -> bool {
        self.flags & req_flag::CRSOLNT != 0
    }

    /// AESOLNT: so is SRP_AER_REQ.
    pub fn event_solicited(&self) -> bool {
        self.flags & req_flag::AESOLNT != 0
    }

    /// The offset within an SRP_CMD at which the initiator would put immediate data, if it asks for them.
    pub fn imm_data_offset(&self) -> Option<u16> {
        (self.flags & req_flag::IMMED_REQUESTED != 0).then_some(self.imm_data_offset)
    }
}

/// What a target port knows when a login arrives. The counts of channels hold only under the lock that adds channels
/// to the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// The target is enabled, and will not be disabled before the channel is in its list.
    pub enabled: bool,
    /// The identifier that a login has to name.
    pub target: PortId,
    /// The longest information unit that the receive buffers take, bytes (`srp_max_req_size`).
    pub max_it_iu_len: u32,
    /// The longest that this target will send, bytes (`srp_max_rsp_size`, at least [`MIN_TI_IU_LEN`]). The initiator
    /// makes its receive buffers as long.
    pub max_ti_iu_len: u32,
    /// How many requests the channel could take at a time; 0 if there are no resources for one more channel. The
    /// receive queue must have two places more, for the responses to an SRP_CRED_REQ and an SRP_AER_REQ.
    pub request_limit: u16,
    /// The channels that there are between the same initiator port and target port.
    pub channels: u32,
    /// How many there may be.
    pub max_channels: u32,
    /// The largest offset of immediate data that the receive buffers are made for; `None` if the port takes none (as
    /// with a shared receive queue).
    pub max_imm_data_offset: Option<u16>,
    /// SOLNTSUP: the transport sends with solicited notification where that is asked for.
    pub solicited_notification: bool,
}

/// REASON of SRP_LOGIN_REJ (SRP r16a 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RejectReason {
    /// Unable to establish RDMA channel, no reason specified.
    Unspecified = 0x0001_0000,
    /// Insufficient RDMA channel resources. Also the answer of a target that is not enabled: try again later.
    InsufficientResources = 0x0001_0001,
    /// REQUESTED MAXIMUM INITIATOR TO TARGET IU LENGTH too large.
    LengthTooLarge = 0x0001_0002,
    /// Unable to associate the RDMA channel with the specified I_T nexus: no such target port.
    UnableToAssociate = 0x0001_0003,
    /// One or more REQUIRED BUFFER FORMATS are not supported.
    UnsupportedFormat = 0x0001_0004,
    /// Multiple RDMA channels for an I_T nexus are not supported.
    MultiChannelUnsupported = 0x0001_0005,
    /// RDMA channel limit reached for this initiator.
    ChannelLimit = 0x0001_0006,
}

/// MULTI-CHANNEL RESULT: what has become of the other channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MultiChannelResult {
    /// There were none.
    None = 0,
    /// They are terminated. The transport must do that: each gets a
    /// [`CloseRequested`](super::channel::Event::CloseRequested) for
    /// [`MultiChannelAction`](super::LogoutReason::MultiChannelAction).
    Terminated = 1,
    /// They go on.
    Maintained = 2,
}

/// The parameters of an accepted login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The longest unit to be received, bytes.
    pub max_it_iu_len: u32,
    /// The longest unit to be sent, bytes.
    pub max_ti_iu_len: u32,
    /// The request limit that [`Credit::new`](super::credit::Credit::new) starts with.
    pub request_limit: u16,
    /// Where immediate data are in an SRP_CMD, if this channel has them.
    pub imm_data_offset: Option<u16>,
    /// What becomes of the other channels.
    pub channels: MultiChannelResult,
    /// Solicited notification is supported.
    pub solicited_notification: bool,
}

/// Accepts a login, or says why not: the first reason of the table that applies.
pub fn decide(request: &LoginRequest, port: &PortFacts) -> Result<Accept, RejectReason> {
    let action = request.multi_channel();
    let several = action == MultiChannel::Multiple && port.channels > 0;
    let refusals = [
        (
            request.it_iu_len > port.max_it_iu_len,
            RejectReason::LengthTooLarge,
        ),
        (request.it_iu_len < MIN_IT_IU_LEN, RejectReason::Unspecified),
        (!port.enabled, RejectReason::InsufficientResources),
        (
            request.target != port.target,
            RejectReason::UnableToAssociate,
        ),
        (
            request.buffer_formats & !buffer_format::SUPPORTED != 0,
            RejectReason::UnsupportedFormat,
        ),
        (
            action == MultiChannel::Reserved || (several && port.max_channels <= 1),
            RejectReason::MultiChannelUnsupported,
        ),
        (
            several && port.channels >= port.max_channels,
            RejectReason::ChannelLimit,
        ),
        (
            port.request_limit < MIN_REQUEST_LIMIT,
            RejectReason::InsufficientResources,
        ),
    ];
    if let Some((_, reason)) = refusals.into_iter().find(|(applies, _)| *applies) {
        return Err(reason);
    }
    Ok(Accept {
        max_it_iu_len: port.max_it_iu_len,
        max_ti_iu_len: port.max_ti_iu_len,
        request_limit: port.request_limit,
        imm_data_offset: imm_data_offset(request, port),
        channels: match action {
            _ if port.channels == 0 => MultiChannelResult::None,
            MultiChannel::Multiple => MultiChannelResult::Maintained,
            _ => MultiChannelResult::Terminated,
        },
        solicited_notification: port.solicited_notification,
    })
}

/// Immediate data at an offset that cannot be is not granted; that is no reason to refuse the login.
fn imm_data_offset(request: &LoginRequest, port: &PortFacts) -> Option<u16> {
    let (offset, max) = (request.imm_data_offset()?, port.max_imm_data_offset?);
    let fits =
        offset >= MIN_IMM_DATA_OFFSET && offset <= max && u32::from(offset) < request.it_iu_len;
    fits.then_some(offset)
}

impl Accept {
    /// The SRP_LOGIN_RSP to the request with `tag`.
    pub fn response(&self, tag: u64) -> [u8; LOGIN_RSP_LEN] {
        let mut flags = self.channels as u8;
        if self.solicited_notification {
            flags |= rsp_flag::SOLNTSUP;
        }
        if self.imm_data_offset.is_some() {
            flags |= rsp_flag::IMMED_SUPP;
        }
        let mut iu = [0; LOGIN_RSP_LEN];
        Writer::new(&mut iu)
            .u8(iu_type::LOGIN_RSP)
            .zeros(3)
            .be32(self.request_limit.into())
            .be64(tag)
            .be32(self.max_it_iu_len)
            .be32(self.max_ti_iu_len)
            .be16(buffer_format::SUPPORTED)
            .u8(flags);
        iu
    }
}

/// The SRP_LOGIN_REJ to the request with `tag`.
pub fn reject(tag: u64, reason: RejectReason) -> [u8; LOGIN_REJ_LEN] {
    let mut iu = [0; LOGIN_REJ_LEN];
    Writer::new(&mut iu)
        .u8(iu_type::LOGIN_REJ)
        .zeros(3)
        .be32(reason as u32)
        .be64(tag)
        .zeros(8)
        .be16(buffer_format::SUPPORTED);
    iu
}
