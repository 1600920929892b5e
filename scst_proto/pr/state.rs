// SPDX-License-Identifier: GPL-2.0

//! The state machine of persistent reservations (SPC-6 5.14).

use super::{
    access::Access,
    list::{Action, Move, OutList},
    NexusId, Registrant, Type,
};
use crate::sense::{
    Sense, INSUFFICIENT_REGISTRATION_RESOURCES, INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST, INVALID_RELEASE, REGISTRATIONS_PREEMPTED,
    RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED,
};

/// What there is besides registrations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// PRGENERATION.
    pub generation: u32,
    /// The type of the persistent reservation, if there is one.
    pub kind: Option<Type>,
    /// PTPL_A: registrations and reservation survive a loss of power.
    pub aptpl: bool,
}

/// Why a service action was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// RESERVATION CONFLICT status.
    Conflict,
    /// CHECK CONDITION status.
    Sense(Sense),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

/// What a service action does to other nexuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It has a unit attention condition.
    Attention(NexusId, Sense),
    /// Its commands are aborted.
    Abort(NexusId),
}

/// Places for registrations.
pub type Places = [Option<Registrant>];

/// The registrations, in the order of their places.
pub fn registrants(places: &Places) -> impl Iterator<Item = &Registrant> {
    places.iter().flatten()
}

/// What `nexus` may do with the logical unit.
pub fn access(head: &Head, places: &Places, nexus: &NexusId) -> Access {
    let Some(kind) = head.kind else {
        return Access::Full;
    };
    let own = registrants(places).find(|r| r.nexus == *nexus);
    Access::under(kind, own.is_some_and(|r| r.holder), own.is_some())
}

/// The persistent reservations of a logical unit, to be changed.
///
/// # Invariants
///
/// No two registrations are of the same nexus, and no key is 0. If there is a reservation of a type other than All
/// Registrants, exactly one registration is its holder, otherwise none. With All Registrants at least one is there.
pub struct Machine<'a> {
    head: &'a mut Head,
    places: &'a mut Places,
    tell: &'a mut dyn FnMut(Event),
}

impl<'a> Machine<'a> {
    /// A machine that works on `head` and `places`, and says to `tell` what happens to others.
    pub fn new(head: &'a mut Head, places: &'a mut Places, tell: &'a mut dyn FnMut(Event)) -> Self {
        Self { head, places, tell }
    }

    /// Carries out the service action of `list` for `who`. `ports` are the RELATIVE TARGET PORT IDENTIFIERs of all
    /// target ports; true if something has changed.
    ///
    /// After an error registrations may be half made: work on a copy.
    pub fn apply(
        &mut self,
        who: &NexusId,
        list: &OutList<'_>,
        ports: &[u16],
    ) -> Result<bool, Refusal> {
        match list.action {
            Action::Register => self.register(who, list, ports, false),
            Action::RegisterAndIgnore => self.register(who, list, ports, true),
            action => {
                // SPC-6 table 74: all others need a registration and its key.
                let own = *self.find(who).ok_or(Refusal::Conflict)?;
                if own.key != list.key {
                    return Err(Refusal::Conflict);
                }
                match (action, &list.moves) {
                    (Action::Reserve, _) => self.reserve(who, list.kind),
                    (Action::Release, _) => self.release(&own, list.kind),
                    (Action::Clear, _) => Ok(self.clear(who)),
                    (Action::RegisterAndMove, Some(moves)) => {
                        self.register_and_move(&own, list, moves, ports)
                    }
                    (Action::PreemptAndAbort, _) => self.preempt(who, list, true),
                    _ => self.preempt(who, list, false),
                }
            }
        }
    }

    fn find(&self, nexus: &NexusId) -> Option<&Registrant> {
        registrants(self.places).find(|r| r.nexus == *nexus)
    }

    fn find_mut(&mut self, nexus: &NexusId) -> Option<&mut Registrant> {
        let mut all = self.places.iter_mut().flatten();
        all.find(|r| r.nexus == *nexus)
    }

    /// The holder of a reservation that only one nexus has.
    fn holder(&self) -> Option<&Registrant> {
        registrants(self.places).find(|r| r.holder)
    }

    fn holds(&self, own: &Registrant) -> bool {
        self.head
            .kind
            .is_some_and(|kind| own.holder || kind.is_all_registrants())
    }

    fn changed(&mut self) -> bool {
        self.head.generation = self.head.generation.wrapping_add(1);
        true
    }

    /// A unit attention for every registered nexus but `who`.
    fn attend(&mut self, who: &NexusId, sense: Sense) {
        for other in registrants(self.places).filter(|r| r.nexus != *who) {
            (self.tell)(Event::Attention(other.nexus, sense));
        }
    }

    /// Makes a registration, or gives one another key.
    fn set(&mut self, nexus: NexusId, key: u64) -> Result<(), Refusal> {
        if let Some(registrant) = self.find_mut(&nexus) {
            registrant.key = key;
            return Ok(());
        }
        let place = self.places.iter_mut().find(|place| place.is_none());
        *place.ok_or(INSUFFICIENT_REGISTRATION_RESOURCES)? = Some(Registrant {
            nexus,
            key,
            holder: false,
        });
        Ok(())
    }

    /// REGISTER, REGISTER AND IGNORE EXISTING KEY (SPC-6 5.14.7, table 73).
    fn register(
        &mut self,
        who: &NexusId,
        list: &OutList<'_>,
        ports: &[u16],
        ignore: bool,
    ) -> Result<bool, Refusal> {
        let own = self.find(who).map(|own| own.key);
        match own {
            None if !ignore && list.key != 0 => return Err(Refusal::Conflict),
            Some(key) if !ignore && list.key != key => return Err(Refusal::Conflict),
            Some(_) if list.specified => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4).into()),
            None if list.action_key == 0 => return Ok(false),
            _ => {}
        }
        let this = [who.port];
        let ports = match list.all_target_ports && !ports.is_empty() {
            true => ports,
            false => &this,
        };
        for port in ports {
            let nexus = NexusId {
                port: *port,
                ..*who
            };
            if list.action_key == 0 {
                self.unregister(&nexus);
            } else {
                if !ignore && nexus != *who {
                    self.check_free(&nexus, list, own)?;
                }
                self.set(nexus, list.action_key)?;
            }
            for initiator in list.initiators() {
                let nexus = NexusId {
                    initiator,
                    port: *port,
                };
                if nexus != *who {
                    self.check_free(&nexus, list, own)?;
                    self.set(nexus, list.action_key)?;
                }
            }
        }
        self.head.aptpl = list.aptpl;
        Ok(self.changed())
    }

    /// REGISTER for another nexus than the own: one that is registered with a key that `who` does not know stays as it
    /// is.
    fn check_free(
        &self,
        nexus: &NexusId,
        list: &OutList<'_>,
        own: Option<u64>,
    ) -> Result<(), Refusal> {
        match self.find(nexus) {
            Some(other) if other.key != list.action_key && Some(other.key) != own => {
                Err(Refusal::Conflict)
            }
            _ => Ok(()),
        }
    }

    /// Ends a registration, and the reservation if that goes with it (SPC-6 5.14.11.1).
    fn unregister(&mut self, nexus: &NexusId) {
        let Some(gone) = self.take(nexus) else { return };
        let Some(kind) = self.head.kind else { return };
        let ends = match kind.is_all_registrants() {
            true => registrants(self.places).next().is_none(),
            false => gone.holder,
        };
        if ends {
            self.head.kind = None;
            if kind.admits_registrants() {
                self.attend(nexus, RESERVATIONS_RELEASED);
            }
        }
    }

    fn take(&mut self, nexus: &NexusId) -> Option<Registrant> {
        let of_it = |place: &&mut Option<Registrant>| {
            let registrant = place.as_ref();
            registrant.is_some_and(|r| r.nexus == *nexus)
        };
        self.places.iter_mut().find(of_it)?.take()
    }

    /// RESERVE (SPC-6 5.14.9).
    fn reserve(&mut self, who: &NexusId, kind: Type) -> Result<bool, Refusal> {
        let own = *self.find(who).ok_or(Refusal::Conflict)?;
        match self.head.kind {
            None => {
                self.establish(who, kind);
                Ok(true)
            }
            Some(there) if there == kind && self.holds(&own) => Ok(false),
            Some(_) => Err(Refusal::Conflict),
        }
    }

    /// Makes `who` the holder.
    fn establish(&mut self, who: &NexusId, kind: Type) {
        for registrant in self.places.iter_mut().flatten() {
            registrant.holder = !kind.is_all_registrants() && registrant.nexus == *who;
        }
        self.head.kind = Some(kind);
    }

    fn end_reservation(&mut self) {
        self.head.kind = None;
        for registrant in self.places.iter_mut().flatten() {
            registrant.holder = false;
        }
    }

    /// RELEASE (SPC-6 5.14.11.2).
    fn release(&mut self, own: &Registrant, kind: Type) -> Result<bool, Refusal> {
        let Some(there) = self.head.kind.filter(|_| self.holds(own)) else {
            return Ok(false);
        };
        if there != kind {
            return Err(INVALID_RELEASE.into());
        }
        self.end_reservation();
        if there.admits_registrants() {
            self.attend(&own.nexus, RESERVATIONS_RELEASED);
        }
        Ok(true)
    }

    /// CLEAR (SPC-6 5.14.11.3).
    fn clear(&mut self, who: &NexusId) -> bool {
        self.attend(who, RESERVATIONS_PREEMPTED);
        self.places.fill(None);
        self.head.kind = None;
        self.changed()
    }

    /// PREEMPT, PREEMPT AND ABORT (SPC-6 5.14.11.4, 5.14.11.5).
    fn preempt(&mut self, who: &NexusId, list: &OutList<'_>, abort: bool) -> Result<bool, Refusal> {
        let all = self.head.kind.is_some_and(Type::is_all_registrants);
        if list.action_key == 0 && !all {
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(8).into());
        }
        let everybody = list.action_key == 0;
        let takes = match self.holder() {
            Some(holder) => holder.key == list.action_key,
            None => everybody,
        };
        let is_meant = |r: &Registrant| match takes {
            true => r.nexus != *who && (everybody || r.key == list.action_key),
            false => r.key == list.action_key,
        };
        if !takes && !registrants(self.places).any(is_meant) {
            return Err(Refusal::Conflict);
        }
        for place in self.places.iter_mut() {
            let Some(gone) = place.take_if(|r| is_meant(r)) else {
                continue;
            };
            if gone.nexus != *who {
                (self.tell)(Event::Attention(gone.nexus, REGISTRATIONS_PREEMPTED));
                if abort {
                    (self.tell)(Event::Abort(gone.nexus));
                }
            }
        }
        if takes {
            let old = self.head.kind.replace(list.kind);
            self.establish(who, list.kind);
            if old != Some(list.kind) {
                self.attend(who, RESERVATIONS_RELEASED);
            }
        } else if all && registrants(self.places).next().is_none() {
            self.head.kind = None;
        }
        Ok(self.changed())
    }

    /// REGISTER AND MOVE (SPC-6 5.14.8).
    fn register_and_move(
        &mut self,
        own: &Registrant,
        list: &OutList<'_>,
        moves: &Move,
        ports: &[u16],
    ) -> Result<bool, Refusal> {
        if !own.holder {
            return Err(Refusal::Conflict);
        }
        if list.action_key == 0 {
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(8).into());
        }
        if !ports.contains(&moves.to.port) {
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(18).into());
        }
        if moves.to == own.nexus {
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(24).into());
        }
        self.set(moves.to, list.action_key)?;
        if let Some(kind) = self.head.kind {
            self.establish(&moves.to, kind);
        }
        if moves.unregister {
            self.take(&own.nexus);
        }
        self.head.aptpl = list.aptpl;
        Ok(self.changed())
    }
}
