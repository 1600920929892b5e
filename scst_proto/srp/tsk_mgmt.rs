// SPDX-License-Identifier: GPL-2.0

//! SRP_TSK_MGMT (SRP r16a 6.7) and the response codes to it (6.9, table 24).

use super::cmd::Notify;
use super::{field64, iu_type};
use crate::task::{Function, Response};

/// Bytes of an SRP_TSK_MGMT.
pub const TSK_MGMT_LEN: usize = 48;

/// A task management request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TskMgmt {
    /// The tag of the request itself.
    pub tag: u64,
    /// LOGICAL UNIT NUMBER, the eight bytes of SAM-6 4.7 as a big-endian number. Not used by ABORT TASK of this
    /// target, whose tags are unique within the session.
    pub lun: u64,
    /// TASK MANAGEMENT FUNCTION as it came; [`TskMgmt::function`] decodes it.
    pub code: u8,
    /// TAG OF TASK TO BE MANAGED, for ABORT TASK: the [tag](super::cmd::Cmd::tag) of a command.
    pub task_tag: u64,
    /// Solicited notification.
    pub notify: Notify,
}

impl TskMgmt {
    /// Reads an SRP_TSK_MGMT; `None` if it is too short, or none.
    #[inline]
    pub fn parse(iu: &[u8]) -> Option<Self> {
        let h: &[u8; TSK_MGMT_LEN] = iu.first_chunk()?;
        (h[0] == iu_type::TSK_MGMT).then_some(Self {
            tag: field64(h, 8),
            lun: field64(h, 20),
            code: h[30],
            task_tag: field64(h, 32),
            notify: Notify(h[1]),
        })
    }

    /// The function; `None` for one that SRP does not have, to be answered
    /// [`NotSupported`](ResponseCode::NotSupported).
    pub const fn function(&self) -> Option<Function> {
        function(self.code)
    }
}

/// TASK MANAGEMENT FUNCTION. The codes look like bits, but one is sent at a time.
pub const fn function(code: u8) -> Option<Function> {
    match code {
        0x01 => Some(Function::AbortTask),
        0x02 => Some(Function::AbortTaskSet),
        0x04 => Some(Function::ClearTaskSet),
        0x08 => Some(Function::LogicalUnitReset),
        0x40 => Some(Function::ClearAca),
        _ => None,
    }
}

/// The code of a function, if SRP has it.
pub const fn code(function: Function) -> Option<u8> {
    match function {
        Function::AbortTask => Some(0x01),
        Function::AbortTaskSet => Some(0x02),
        Function::ClearTaskSet => Some(0x04),
        Function::LogicalUnitReset => Some(0x08),
        Function::ClearAca => Some(0x40),
        Function::TargetReset
        | Function::NexusReset
        | Function::QueryTask
        | Function::QueryTaskSet
        | Function::QueryAsyncEvent => None,
    }
}

/// RESPONSE CODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResponseCode {
    /// TASK MANAGEMENT FUNCTION COMPLETE, or no failure.
    Complete = 0x00,
    /// REQUEST FIELDS INVALID.
    FieldsInvalid = 0x02,
    /// TASK MANAGEMENT FUNCTION NOT SUPPORTED.
    NotSupported = 0x04,
    /// TASK MANAGEMENT FUNCTION FAILED.
    Failed = 0x05,
}

impl From<Response> for ResponseCode {
    /// A task that is not there any more cannot have any more effect, which is what the initiator wanted
    /// (SAM-6 7.2). r16a has no code for a LUN that is not there.
    fn from(response: Response) -> Self {
        match response {
            Response::Complete | Response::Succeeded | Response::NoSuchTask => Self::Complete,
            Response::IncorrectLun => Self::FieldsInvalid,
            Response::Rejected => Self::NotSupported,
            Response::Failure => Self::Failed,
        }
    }
}
