// SPDX-License-Identifier: GPL-2.0

//! PERSISTENT RESERVE OUT: CDB and parameter list (SPC-6 6.16).

use super::{NexusId, TransportId, Type};
use crate::bytes::{be16, be32, be64, u8_at};
use crate::sense::{
    Sense, INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_PARAMETER_LIST, PARAMETER_LIST_LENGTH_ERROR,
};

/// The length of the basic parameter list.
pub const BASIC: usize = 24;
/// The longest parameter list that is taken: SPEC_I_PT with some hundred initiator ports.
pub const MAX_LIST: usize = 8192;

/// SERVICE ACTION of PERSISTENT RESERVE OUT (SPC-6 table 213).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Action {
    /// REGISTER.
    Register = 0,
    /// RESERVE.
    Reserve = 1,
    /// RELEASE.
    Release = 2,
    /// CLEAR.
    Clear = 3,
    /// PREEMPT.
    Preempt = 4,
    /// PREEMPT AND ABORT.
    PreemptAndAbort = 5,
    /// REGISTER AND IGNORE EXISTING KEY.
    RegisterAndIgnore = 6,
    /// REGISTER AND MOVE.
    RegisterAndMove = 7,
}

impl Action {
    /// All of them, by their code.
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::Reserve,
        Self::Release,
        Self::Clear,
        Self::Preempt,
        Self::PreemptAndAbort,
        Self::RegisterAndIgnore,
        Self::RegisterAndMove,
    ];

    /// Whether the CDB's SCOPE and TYPE count.
    pub const fn has_type(self) -> bool {
        matches!(
            self,
            Self::Reserve | Self::Release | Self::Preempt | Self::PreemptAndAbort
        )
    }
}

/// Where REGISTER AND MOVE moves the reservation to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The nexus that gets it.
    pub to: NexusId,
    /// UNREG: who had it is no longer registered.
    pub unregister: bool,
}

/// A decoded PERSISTENT RESERVE OUT.
#[derive(Clone, Copy, Debug)]
pub struct OutList<'a> {
    /// SERVICE ACTION.
    pub action: Action,
    /// TYPE; not looked at where the service action has none.
    pub kind: Type,
    /// RESERVATION KEY.
    pub key: u64,
    /// SERVICE ACTION RESERVATION KEY.
    pub action_key: u64,
    /// APTPL: what this makes has to survive a loss of power.
    pub aptpl: bool,
    /// ALL_TG_PT: for all target ports.
    pub all_target_ports: bool,
    /// SPEC_I_PT: for the initiator ports of [`OutList::initiators`] as well.
    pub specified: bool,
    /// Of REGISTER AND MOVE.
    pub moves: Option<Move>,
    /// TransportIDs, one behind the other, all whole.
    ids: &'a [u8],
}

impl<'a> OutList<'a> {
    /// Decodes CDB and parameter list.
    pub fn decode(cdb: &[u8], list: &'a [u8]) -> Result<Self, Sense> {
        let code = u8_at(cdb, 1).unwrap_or(0) & 0x1f;
        let action = Action::ALL
            .get(usize::from(code))
            .copied()
            .ok_or(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4))?;
        let kind = scope_and_type(action, u8_at(cdb, 2).unwrap_or(0))?;
        let announced = be32(cdb, 5).unwrap_or(0) as usize;
        if announced != list.len() || list.len() < BASIC {
            return Err(PARAMETER_LIST_LENGTH_ERROR);
        }
        let key = be64(list, 0).unwrap_or(0);
        let action_key = be64(list, 8).unwrap_or(0);
        if action == Action::RegisterAndMove {
            return Self::decode_move(list, key, action_key, kind);
        }
        let flags = u8_at(list, 20).unwrap_or(0);
        let specified = flags & 0x08 != 0;
        if specified && action != Action::Register {
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data_bit(20, 3));
        }
        let ids = match specified {
            true => transport_ids(list)?,
            false if list.len() != BASIC => return Err(PARAMETER_LIST_LENGTH_ERROR),
            false => &[],
        };
        let registers = matches!(action, Action::Register | Action::RegisterAndIgnore);
        Ok(Self {
            action,
            kind,
            key,
            action_key,
            aptpl: registers && flags & 0x01 != 0,
            all_target_ports: registers && flags & 0x04 != 0,
            specified,
            moves: None,
            ids,
        })
    }

    fn decode_move(list: &'a [u8], key: u64, action_key: u64, kind: Type) -> Result<Self, Sense> {
        let flags = u8_at(list, 17).unwrap_or(0);
        let port = be16(list, 18).unwrap_or(0);
        let announced = be32(list, 20).unwrap_or(0) as usize;
        let id = list.get(BASIC..).unwrap_or(&[]);
        if announced != id.len() {
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(20));
        }
        let initiator = TransportId::parse(id)
            .filter(|parsed| parsed.as_bytes().len() == id.len())
            .ok_or(INVALID_FIELD_IN_PARAMETER_LIST.in_data(BASIC as u16))?;
        Ok(Self {
            action: Action::RegisterAndMove,
            kind,
            key,
            action_key,
            aptpl: flags & 0x01 != 0,
            all_target_ports: false,
            specified: false,
            moves: Some(Move {
                to: NexusId { initiator, port },
                unregister: flags & 0x02 != 0,
            }),
            ids: &[],
        })
    }

    /// The initiator ports that SPEC_I_PT names.
    pub fn initiators(&self) -> impl Iterator<Item = TransportId> + 'a {
        let mut rest = self.ids;
        core::iter::from_fn(move || {
            let id = TransportId::parse(rest)?;
            rest = rest.get(id.as_bytes().len()..)?;
            Some(id)
        })
    }

    /// How many registrations this may add, for `ports` target ports.
    pub fn places(&self, ports: usize) -> usize {
        let ports = match self.all_target_ports {
            true => ports.max(1),
            false => 1,
        };
        self.initiators()
            .count()
            .saturating_add(1)
            .saturating_mul(ports)
    }
}

/// SCOPE has to be that of a logical unit, TYPE one that there is.
fn scope_and_type(action: Action, byte: u8) -> Result<Type, Sense> {
    if !action.has_type() {
        return Ok(Type::WriteExclusive);
    }
    if byte & 0xf0 != 0 {
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 7));
    }
    Type::from_code(byte & 0x0f).ok_or(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 3))
}

/// The TransportIDs behind the basic list (SPC-6 table 216), each of them whole.
fn transport_ids(list: &[u8]) -> Result<&[u8], Sense> {
    const LENGTH: usize = 4;

    let announced = be32(list, BASIC).ok_or(PARAMETER_LIST_LENGTH_ERROR)? as usize;
    let ids = list.get(BASIC.saturating_add(LENGTH)..).unwrap_or(&[]);
    if announced != ids.len() {
        return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(BASIC as u16));
    }
    let mut at = 0usize;
    while at < ids.len() {
        let Some(id) = ids.get(at..).and_then(TransportId::parse) else {
            let offset = at.saturating_add(BASIC).saturating_add(LENGTH);
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(offset as u16));
        };
        at = at.saturating_add(id.as_bytes().len());
    }
    Ok(ids)
}
