// SPDX-License-Identifier: GPL-2.0

//! The information units of a channel (SRP r16a clause 6): telling those of the initiator apart, building those of
//! the target.
//!
//! ```
//! use scst_proto::srp::iu::{Iu, IuError};
//!
//! let mut logout = [0; 16];
//! logout[0] = 0x03;
//! logout[15] = 7;
//! assert_eq!(Iu::parse(&logout), Ok(Iu::Logout { tag: 7 }));
//! assert_eq!(Iu::parse(&[0xc1; 36]), Err(IuError::FromTarget(0xc1)));
//! ```

use core::fmt;

use super::cmd::Cmd;
use super::tsk_mgmt::{ResponseCode, TskMgmt};
use super::{field64, iu_type, Consequence, LogoutReason};
use crate::bytes::copy;
use crate::residual::Residual;

/// Bytes of SRP_I_LOGOUT, SRP_CRED_RSP and SRP_AER_RSP, all of which are a type and a tag.
pub const SHORT_LEN: usize = 16;
/// Bytes of an SRP_RSP before response data and sense data.
pub const RSP_LEN: usize = 36;
/// Bytes of RESPONSE DATA.
pub const RESPONSE_DATA_LEN: usize = 4;
/// Bytes of an SRP_CRED_REQ.
pub const CRED_REQ_LEN: usize = 16;
/// Bytes of an SRP_T_LOGOUT.
pub const T_LOGOUT_LEN: usize = 16;
/// Bytes of an SRP_AER_REQ before the sense data.
pub const AER_REQ_LEN: usize = 36;

/// An information unit from the initiator. It borrows the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iu<'a> {
    /// SRP_CMD.
    Cmd(Cmd<'a>),
    /// SRP_TSK_MGMT.
    TskMgmt(TskMgmt),
    /// SRP_I_LOGOUT: the initiator ends the channel
    /// ([`Event::InitiatorLogout`](super::channel::Event::InitiatorLogout)). There is no response.
    Logout {
        /// The tag.
        tag: u64,
    },
    /// SRP_CRED_RSP, see [`Credit::answered`](super::credit::Credit::answered).
    CredRsp {
        /// The tag of the SRP_CRED_REQ.
        tag: u64,
    },
    /// SRP_AER_RSP, likewise.
    AerRsp {
        /// The tag of the SRP_AER_REQ.
        tag: u64,
    },
}

/// What is wrong with a unit whose tag is unknown, or that has none to respond to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IuError {
    /// No byte at all.
    Empty,
    /// Too short for its INFORMATION UNIT TYPE.
    TooShort(u8),
    /// SRP_LOGIN_REQ, which has no place within a channel.
    Login,
    /// A type that targets send.
    FromTarget(u8),
    /// A type that does not exist.
    Unknown(u8),
}

impl IuError {
    /// What the target does.
    pub const fn consequence(self) -> Consequence {
        Consequence::Close(match self {
            Self::Empty | Self::TooShort(_) => LogoutReason::InvalidLength,
            Self::Login | Self::FromTarget(_) | Self::Unknown(_) => LogoutReason::InvalidType,
        })
    }
}

impl fmt::Display for IuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty information unit"),
            Self::TooShort(t) => write!(f, "information unit of type {t:#04x} is too short"),
            Self::Login => f.write_str("SRP_LOGIN_REQ within a channel"),
            Self::FromTarget(t) => {
                write!(f, "information unit type {t:#04x} is for targets to send")
            }
            Self::Unknown(t) => write!(f, "unknown information unit type {t:#04x}"),
        }
    }
}

impl<'a> Iu<'a> {
    /// Reads a unit; `bytes` are those that were received, not the whole buffer.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IuError> {
        let iu_type = *bytes.first().ok_or(IuError::Empty)?;
        let short = IuError::TooShort(iu_type);
        match iu_type {
            iu_type::CMD => Cmd::parse(bytes).map(Self::Cmd).ok_or(short),
            iu_type::TSK_MGMT => TskMgmt::parse(bytes).map(Self::TskMgmt).ok_or(short),
            iu_type::I_LOGOUT => Ok(Self::Logout {
                tag: tag(bytes).ok_or(short)?,
            }),
            iu_type::CRED_RSP => Ok(Self::CredRsp {
                tag: tag(bytes).ok_or(short)?,
            }),
            iu_type::AER_RSP => Ok(Self::AerRsp {
                tag: tag(bytes).ok_or(short)?,
            }),
            iu_type::LOGIN_REQ => Err(IuError::Login),
            iu_type::T_LOGOUT
            | iu_type::CRED_REQ
            | iu_type::AER_REQ
            | iu_type::LOGIN_RSP
            | iu_type::RSP
            | iu_type::LOGIN_REJ => Err(IuError::FromTarget(iu_type)),
            _ => Err(IuError::Unknown(iu_type)),
        }
    }

    /// The tag.
    pub fn tag(&self) -> u64 {
        match *self {
            Self::Cmd(ref cmd) => cmd.tag,
            Self::TskMgmt(ref request) => request.tag,
            Self::Logout { tag } | Self::CredRsp { tag } | Self::AerRsp { tag } => tag,
        }
    }

    /// Whether it counts against the request limit. Responses do not, and a logout ends all counting.
    #[inline]
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Cmd(_) | Self::TskMgmt(_))
    }
}

#[inline]
fn tag(bytes: &[u8]) -> Option<u64> {
    let header: &[u8; SHORT_LEN] = bytes.first_chunk()?;
    Some(field64(header, 8))
}

/// The flags of an SRP_RSP.
mod rsp_flag {
    pub(super) const RSPVALID: u8 = 1 << 0;
    pub(super) const SNSVALID: u8 = 1 << 1;
    pub(super) const DOOVER: u8 = 1 << 2;
    pub(super) const DOUNDER: u8 = 1 << 3;
    pub(super) const DIOVER: u8 = 1 << 4;
    pub(super) const DIUNDER: u8 = 1 << 5;
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Of a command.
    Command {
        /// STATUS (SAM-6 5.3.1).
        status: u8,
        /// What is left of the data-out buffer, [`Residual::None`] if there is none.
        data_out: Residual,
        /// What is left of the data-in buffer.
        data_in: Residual,
        /// Sense data, may be empty.
        sense: &'a [u8],
    },
    /// Of a task management function.
    TaskManagement(ResponseCode),
}

/// An SRP_RSP (SRP r16a 6.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rsp<'a> {
    /// The tag of the request.
    pub tag: u64,
    /// REQUEST LIMIT DELTA, [`Grant::delta`](super::credit::Grant::delta) of
    /// [`Credit::respond`](super::credit::Credit::respond).
    pub delta: u16,
    /// SOLNT: the request asked for solicited notification of such a response, and the login granted that.
    pub solicited: bool,
    /// What it says.
    pub outcome: Outcome<'a>,
}

impl Rsp<'_> {
    /// Writes the unit and returns its length.
    ///
    /// `buf` is to be as long as MAXIMUM TARGET TO INITIATOR IU LENGTH allows: sense data that do not fit are cut, and
    /// SENSE DATA LIST LENGTH says how much is there. `None` if not even the fixed part fits.
    #[inline]
    pub fn write(&self, buf: &mut [u8]) -> Option<usize> {
        let (first, rest) = buf.split_first_chunk_mut::<16>()?;
        let (second, rest) = rest.split_first_chunk_mut::<16>()?;
        let (third, rest) = rest.split_first_chunk_mut::<4>()?;
        let (flags, status, [out, left], [sense_len, response_len]) = match self.outcome {
            Outcome::Command {
                status,
                data_out,
                data_in,
                sense,
            } => {
                let (out_flag, out) = residual(data_out, rsp_flag::DOUNDER, rsp_flag::DOOVER);
                let (in_flag, left) = residual(data_in, rsp_flag::DIUNDER, rsp_flag::DIOVER);
                let (sense_flag, sense_len) = match copy(rest, sense) {
                    0 => (0, 0),
                    n => (rsp_flag::SNSVALID, n),
                };
                let flags = out_flag | in_flag | sense_flag;
                (flags, status, [out, left], [sense_len, 0])
            }
            Outcome::TaskManagement(response) => {
                let data: &mut [u8; RESPONSE_DATA_LEN] = rest.first_chunk_mut()?;
                *data = [0, 0, 0, response as u8];
                (rsp_flag::RSPVALID, 0, [0; 2], [0, RESPONSE_DATA_LEN])
            }
        };
        *first = head(iu_type::RSP, self.solicited, self.delta.into(), self.tag);
        // Lengths in 32 bits: no channel has longer units.
        *second = ((u128::from(u16::from_be_bytes([flags, status])) << 96)
            | (u128::from(out) << 64)
            | (u128::from(left) << 32)
            | u128::from(sense_len as u32))
        .to_be_bytes();
        *third = (response_len as u32).to_be_bytes();
        Some(
            RSP_LEN
                .saturating_add(response_len)
                .saturating_add(sense_len),
        )
    }
}

/// The flag and the count of one residual.
#[inline]
fn residual(of: Residual, under: u8, over: u8) -> (u8, u32) {
    match of {
        Residual::None => (0, 0),
        Residual::Underflow(n) => (under, n),
        Residual::Overflow(n) => (over, n),
    }
}

/// The first 16 bytes of what a target sends: type, SOLNT, a number (mostly REQUEST LIMIT DELTA), tag.
#[inline]
fn head(iu_type: u8, solicited: bool, number: u32, tag: u64) -> [u8; 16] {
    let first = (u64::from(iu_type) << 56) | (u64::from(solicited) << 48) | u64::from(number);
    ((u128::from(first) << 64) | u128::from(tag)).to_be_bytes()
}

/// The SRP_CRED_REQ that gives the initiator `delta` more requests (SRP r16a 6.10). `tag` is the target's own and comes
/// back in the SRP_CRED_RSP; `solicited` sets SOLNT, if the login asked for it (CRSOLNT).
pub fn cred_req(tag: u64, delta: u16, solicited: bool) -> [u8; CRED_REQ_LEN] {
    head(iu_type::CRED_REQ, solicited, delta.into(), tag)
}

/// The SRP_T_LOGOUT by which the target says why it is about to disconnect (SRP r16a 6.6). `solicited` sets SOLNT, if
/// the login asked for it (LOSOLNT).
pub fn t_logout(tag: u64, reason: LogoutReason, solicited: bool) -> [u8; T_LOGOUT_LEN] {
    head(iu_type::T_LOGOUT, solicited, reason as u32, tag)
}

/// An SRP_AER_REQ: tells the initiator of an asynchronous event (SRP r16a 6.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AerReq<'a> {
    /// The target's own tag, which comes back in the SRP_AER_RSP.
    pub tag: u64,
    /// REQUEST LIMIT DELTA.
    pub delta: u16,
    /// SOLNT, if the login asked for it (AESOLNT).
    pub solicited: bool,
    /// The logical unit, as [`Lun::encode`](crate::lun::Lun::encode) has it.
    pub lun: [u8; 8],
    /// The event as sense data.
    pub sense: &'a [u8],
}

impl AerReq<'_> {
    /// Writes the unit and returns its length; sense data and `None` as with [`Rsp::write`].
    pub fn write(&self, buf: &mut [u8]) -> Option<usize> {
        let (fixed, rest) = buf.split_first_chunk_mut::<AER_REQ_LEN>()?;
        let sense_len = copy(rest, self.sense);
        crate::bytes::Writer::new(fixed)
            .bytes(&head(
                iu_type::AER_REQ,
                self.solicited,
                self.delta.into(),
                self.tag,
            ))
            .zeros(4)
            .bytes(&self.lun)
            .be32(sense_len as u32)
            .zeros(4);
        Some(AER_REQ_LEN.saturating_add(sense_len))
    }
}
