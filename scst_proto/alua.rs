// SPDX-License-Identifier: GPL-2.0

//! Asymmetric logical unit access, ALUA (SPC-6 5.18): how well a logical unit can be reached through a target port.
//!
//! Target ports with the same access to a logical unit are a target port group; its [`AccessState`] says what they
//! serve. [`AccessState::refusal`] is that decision for a command, [`ReportGroups`] and [`SetGroups`] are the
//! parameter data of the two commands that initiators read and set states with, and [`medium`] says when a device that
//! nobody may use any more can be closed.
//!
//! | command | active, nonoptimized | standby | unavailable, offline | transitioning |
//! |---|---|---|---|---|
//! | INQUIRY, REPORT LUNS, REQUEST SENSE, REPORT TARGET PORT GROUPS | yes | yes | yes | yes |
//! | SET TARGET PORT GROUPS, READ BUFFER, WRITE BUFFER | yes | yes | yes | no |
//! | MODE SENSE, MODE SELECT, LOG SENSE, LOG SELECT, diagnostics, persistent reservations, READ CAPACITY, REPORT SUPPORTED ... | yes | yes | no | no |
//! | everything else | yes | no | no | no |
//!
//! Which row a command is in is told by its flags in [`opcode`](crate::opcode).

use crate::bytes::{be16, be32, u8_at, Writer};
use crate::mgmt::{Error, Wrong};
use crate::opcode::Flags;
use crate::sense::{
    Sense, ALUA_STANDBY, ALUA_TRANSITION, ALUA_UNAVAILABLE, INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST, PARAMETER_LIST_LENGTH_ERROR,
};

/// ASYMMETRIC ACCESS STATE of a target port group (SPC-6 6.37), by its code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AccessState {
    /// Active/optimized: the best path.
    Optimized = 0x0,
    /// Active/non-optimized: works, maybe slower.
    NonOptimized = 0x1,
    /// Standby: can become active.
    Standby = 0x2,
    /// Unavailable: only enough is served to find out about it.
    Unavailable = 0x3,
    /// Offline: a secondary state, the ports are as good as not there.
    Offline = 0xe,
    /// Transitioning between states.
    Transitioning = 0xf,
}

/// What there is to know of a state.
struct Row {
    state: AccessState,
    /// As administrators write it.
    name: &'static str,
    /// Its bit in the byte of supported states (SPC-6 6.37).
    supported: u8,
    /// The flag that a command needs, and the sense of one that does not have it.
    needs: Option<(Flags, Sense)>,
}

/// The states. SCST has always answered for offline ports as for unavailable ones.
static STATES: [Row; 6] = {
    const fn row(
        state: AccessState,
        name: &'static str,
        supported: u8,
        needs: Option<(Flags, Sense)>,
    ) -> Row {
        Row {
            state,
            name,
            supported,
            needs,
        }
    }
    use AccessState::*;
    [
        row(Optimized, "active", 0x01, None),
        row(NonOptimized, "nonoptimized", 0x02, None),
        row(
            Standby,
            "standby",
            0x04,
            Some((Flags::STANDBY, ALUA_STANDBY)),
        ),
        row(
            Unavailable,
            "unavailable",
            0x08,
            Some((Flags::UNAVAILABLE, ALUA_UNAVAILABLE)),
        ),
        row(
            Offline,
            "offline",
            0x40,
            Some((Flags::UNAVAILABLE, ALUA_UNAVAILABLE)),
        ),
        row(
            Transitioning,
            "transitioning",
            0x80,
            Some((Flags::TRANSITION, ALUA_TRANSITION)),
        ),
    ]
};

/// The names, as an error message lists them.
const NAMES: &str = "active, nonoptimized, standby, unavailable, offline, transitioning";

impl AccessState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Optimized,
        Self::NonOptimized,
        Self::Standby,
        Self::Unavailable,
        Self::Offline,
        Self::Transitioning,
    ];

    fn row(self) -> Option<&'static Row> {
        STATES.iter().find(|row| row.state == self)
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state with a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The name that administrators know it by.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// The state of a name.
    pub fn parse(word: &str) -> Result<Self, Error<'_>> {
        STATES
            .iter()
            .find(|row| row.name == word)
            .map(|row| row.state)
            .ok_or(Error::new(Wrong::NotOneOf(NAMES), word))
    }

    /// Whether the medium can be read and written.
    pub const fn serves_io(self) -> bool {
        matches!(self, Self::Optimized | Self::NonOptimized)
    }

    /// How a command with these flags that came through such a port is refused; `None`: it is served.
    pub fn refusal(self, flags: Flags) -> Option<Sense> {
        let (needed, sense) = self.row()?.needs?;
        (!flags.contains(needed)).then_some(sense)
    }

    /// Whether initiators are told, by ASYMMETRIC ACCESS STATE CHANGED, that a group is now in this state
    /// (SPC-6 5.18.2.3). One that is in transition will soon be in another, and says so by itself.
    pub const fn is_announced(self) -> bool {
        !matches!(self, Self::Transitioning)
    }
}

/// STATUS CODE (SPC-6 6.37): how a group came into its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StatusCode {
    /// By SET TARGET PORT GROUPS.
    Explicit = 1,
    /// By the target itself, which is its administrator.
    Implicit = 2,
}

/// What is done with a device's medium when the states of the target port groups change that it is seen through here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Nothing.
    Keep,
    /// Opened, before the change is in force.
    Open,
    /// Closed, when the change is in force: no command is let through any more.
    Close,
}

/// What to do when the states of all groups with a local port were `before` and are to be `after`.
///
/// The medium is in use as long as one of them serves I/O. Without any group nothing is known, and nothing is done.
pub fn medium(
    before: impl IntoIterator<Item = AccessState>,
    after: impl IntoIterator<Item = AccessState>,
) -> Medium {
    match (serves_any(before), serves_any(after)) {
        (Some(false), Some(true)) => Medium::Open,
        (Some(true), Some(false)) => Medium::Close,
        _ => Medium::Keep,
    }
}

/// Whether one of the states serves I/O; `None` if there is no state.
fn serves_any(states: impl IntoIterator<Item = AccessState>) -> Option<bool> {
    states.into_iter().fold(None, |found, state| {
        Some(found.unwrap_or(false) || state.serves_io())
    })
}

/// The most target ports that a group can report: TARGET PORT COUNT has one byte.
pub const MAX_PORTS: usize = 255;

/// Bytes of the extended header.
const EXTENDED_HEADER: usize = 8;
/// Bytes of a target port group descriptor without ports.
const GROUP_LEN: usize = 8;
/// Bytes of a target port descriptor.
const PORT_LEN: usize = 4;

/// A target port group, as REPORT TARGET PORT GROUPS tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// PREF: the one to use when several are as good.
    pub preferred: bool,
    /// ASYMMETRIC ACCESS STATE.
    pub state: AccessState,
    /// STATUS CODE.
    pub status: StatusCode,
}

/// A decoded REPORT TARGET PORT GROUPS CDB (SPC-6 6.37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportGroups {
    /// PARAMETER DATA FORMAT 001b: with the extended header.
    pub extended: bool,
}

impl ReportGroups {
    /// Decodes the CDB.
    pub fn decode(cdb: &[u8]) -> Result<Self, Sense> {
        match u8_at(cdb, 1).map(|byte| byte >> 5) {
            Some(0) => Ok(Self { extended: false }),
            Some(1) => Ok(Self { extended: true }),
            _ => Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 7)),
        }
    }

    /// The length in bytes of parameter data with so many groups and ports.
    pub fn size(groups: usize, ports: usize) -> usize {
        let groups = groups.saturating_mul(GROUP_LEN);
        let ports = ports.saturating_mul(PORT_LEN);
        EXTENDED_HEADER.saturating_add(groups).saturating_add(ports)
    }

    /// Begins the parameter data; call [`Report::group`] for each group, then [`Report::finish`].
    pub fn start<'r, 'b>(self, w: &'r mut Writer<'b>) -> Report<'r, 'b> {
        let start = w.full_len();
        w.be32(0);
        if self.extended {
            // FORMAT TYPE 001b, IMPLICIT TRANSITION TIME 0: not reported.
            w.bytes(&[0x10, 0, 0, 0]);
        }
        Report { w, start }
    }
}

/// REPORT TARGET PORT GROUPS parameter data that is being written.
pub struct Report<'r, 'b> {
    w: &'r mut Writer<'b>,
    start: usize,
}

impl Report<'_, '_> {
    /// Appends a target port group descriptor. `ports` are RELATIVE TARGET PORT IDENTIFIERs; what
    /// is more than [`MAX_PORTS`] is left out.
    pub fn group(&mut self, group: &Group, ports: impl IntoIterator<Item = u16>) {
        let supported = STATES.iter().fold(0, |bits, row| bits | row.supported);
        let preferred = if group.preferred { 0x80 } else { 0 };
        self.w
            .u8(preferred | group.state.code())
            .u8(supported)
            .be16(group.id)
            .u8(0)
            .u8(group.status as u8)
            .u8(0); // vendor specific
        let count_at = self.w.full_len();
        self.w.u8(0);
        let mut count = 0u8;
        for port in ports.into_iter().take(MAX_PORTS) {
            self.w.be16(0).be16(port);
            count = count.saturating_add(1);
        }
        self.w.patch_u8(count_at, count);
    }

    /// Completes RETURN DATA LENGTH.
    pub fn finish(self) {
        let length = self.w.full_len().saturating_sub(self.start);
        let length = u32::try_from(length.saturating_sub(4)).unwrap_or(u32::MAX);
        self.w.patch_be32(self.start, length);
    }
}

/// The longest SET TARGET PORT GROUPS parameter list that is taken, in bytes.
pub const MAX_SET_LIST: usize = 4096;

/// Bytes before the first descriptor of a SET TARGET PORT GROUPS parameter list, and of each descriptor.
const SET_LEN: usize = 4;

/// What a descriptor of SET TARGET PORT GROUPS asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetGroup {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// The state that it is to have.
    pub state: AccessState,
    /// Where in the parameter list the group's number is.
    pub at: u16,
}

impl SetGroup {
    /// The sense for a group that there is not.
    pub fn unknown(&self) -> Sense {
        INVALID_FIELD_IN_PARAMETER_LIST.in_data(self.at)
    }
}

/// A checked SET TARGET PORT GROUPS parameter list (SPC-6 6.45).
#[derive(Clone, Copy, Debug)]
pub struct SetGroups<'a> {
    descriptors: &'a [u8],
}

impl<'a> SetGroups<'a> {
    /// PARAMETER LIST LENGTH of the CDB.
    pub fn list_length(cdb: &[u8]) -> usize {
        be32(cdb, 6).unwrap_or(0) as usize
    }

    /// Checks `list`, of which the CDB says that it has `length` bytes. 0 is no error: nothing is asked for.
    ///
    /// Every state that the target can be in may be asked for, but for transitioning.
    pub fn parse(list: &'a [u8], length: usize) -> Result<Self, Sense> {
        let descriptors = match length {
            0 => &[],
            SET_LEN..=MAX_SET_LIST if length % SET_LEN == 0 => list
                .get(SET_LEN..length)
                .ok_or(PARAMETER_LIST_LENGTH_ERROR)?,
            _ => return Err(PARAMETER_LIST_LENGTH_ERROR),
        };
        let all = Self { descriptors };
        for (at, descriptor) in all.descriptors() {
            if requested(descriptor).is_none() {
                return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data_bit(at, 3));
            }
        }
        Ok(all)
    }

    /// The descriptors, each with its offset in the list, which is less than [`MAX_SET_LIST`].
    fn descriptors(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let offsets = (1..=u16::MAX).map(|n| n.wrapping_mul(SET_LEN as u16));
        offsets.zip(self.descriptors.chunks_exact(SET_LEN))
    }

    /// What is asked for, in the order of the list.
    pub fn iter(self) -> impl Iterator<Item = SetGroup> + 'a {
        self.descriptors().filter_map(|(at, descriptor)| {
            Some(SetGroup {
                id: be16(descriptor, 2)?,
                state: requested(descriptor)?,
                at: at.wrapping_add(2),
            })
        })
    }
}

/// The state that a descriptor asks for, if that is possible.
fn requested(descriptor: &[u8]) -> Option<AccessState> {
    let state = AccessState::from_code(u8_at(descriptor, 0)? & 0x0f)?;
    (state != AccessState::Transitioning).then_some(state)
}
