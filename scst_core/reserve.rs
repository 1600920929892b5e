// SPDX-License-Identifier: GPL-2.0

//! The commands of reservations: PERSISTENT RESERVE IN and OUT (SPC-6 6.15,
//! 6.16), RESERVE and RELEASE (SPC-2 7.21, 7.22).

use crate::{
    cmd::{status, Cmd, Executing},
    config::core,
    nexus::Nexus,
    reservations::{id_of, Reservations, State, MAX_REGISTRANTS},
    session::NexusList,
    tmf,
};
use kapi::counted::InUse;
use kernel::prelude::*;
use scst_proto::{
    bytes::{u8_at, Writer},
    pr::{
        access::Access,
        list::{OutList, MAX_LIST},
        report,
        state::{self, Event, Machine, Refusal},
    },
    sense::{
        Sense, INSUFFICIENT_REGISTRATION_RESOURCES, INTERNAL_TARGET_FAILURE, INVALID_FIELD_IN_CDB,
    },
};

/// Why a command of reservations failed.
enum Failure {
    Refused(Refusal),
    /// There is no memory now.
    Busy,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self::Refused(Refusal::Sense(sense))
    }
}

impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Self::Busy
    }
}

impl From<kernel::alloc::AllocError> for Failure {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self::Busy
    }
}

impl Cmd<Executing> {
    /// Carries out PERSISTENT RESERVE IN. Process context, sleeps.
    pub fn persistent_reserve_in(mut self) {
        match self.report_reservations() {
            Ok(data) => {
                self.put(&data);
                self.good();
            }
            Err(failure) => self.fail_with(failure),
        }
    }

    /// Carries out PERSISTENT RESERVE OUT. Process context; sleeps, for PREEMPT
    /// AND ABORT until the aborted commands have ended.
    pub fn persistent_reserve_out(self) {
        match self.change_reservations() {
            Ok(moved) => self.good_with(moved),
            Err(failure) => self.fail_with(failure),
        }
    }

    /// Carries out RESERVE(6) or (10). Process context, sleeps.
    pub fn reserve_unit(self) {
        let result = self.set_reserved(true);
        self.finish_with(result);
    }

    /// Carries out RELEASE(6) or (10). Process context, sleeps.
    pub fn release_unit(self) {
        let result = self.set_reserved(false);
        self.finish_with(result);
    }

    fn finish_with(self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.good(),
            Err(failure) => self.fail_with(failure),
        }
    }

    fn fail_with(self, failure: Failure) {
        match failure {
            Failure::Refused(Refusal::Sense(sense)) => self.check_condition(sense),
            Failure::Refused(Refusal::Conflict) => self.status(status::RESERVATION_CONFLICT),
            Failure::Busy => self.status(status::BUSY),
        }
    }

    fn own_nexus(&self) -> Result<InUse<Nexus>, Failure> {
        Ok(self.nexus_in_use().ok_or(INTERNAL_TARGET_FAILURE)?)
    }

    fn report_reservations(&self) -> Result<KVec<u8>, Failure> {
        let nexus = self.own_nexus()?;
        let mut data = KVec::from_elem(0u8, self.length() as usize, GFP_KERNEL)?;
        let mut w = Writer::new(&mut data);
        nexus.device.reservations.with(|now: &State| {
            match self.cdb().service_action {
                0 => report::keys(&mut w, &now.head, &now.places),
                1 => report::reservation(&mut w, &now.head, &now.places),
                2 => report::capabilities(&mut w, &now.head),
                3 => report::full_status(&mut w, &now.head, &now.places),
                _ => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4)),
            }
            Ok(())
        })?;
        let written = w.written();
        data.truncate(written);
        Ok(data)
    }

    /// Returns the length of the parameter list.
    fn change_reservations(&self) -> Result<u32, Failure> {
        let nexus = self.own_nexus()?;
        let list = self.parameter_list::<Failure>(MAX_LIST)?;
        let aborted = change(&nexus, &OutList::decode(self.raw_cdb(), &list)?)?;
        if !aborted.is_empty() {
            // Commands that their gates let through before have begun after this,
            // and are found.
            kapi::rcu::synchronize();
            tmf::abort_preempted(&aborted);
        }
        Ok(list.len() as u32)
    }

    fn set_reserved(&self, on: bool) -> Result<(), Failure> {
        const THIRD_PARTY_OR_EXTENT: u8 = 0x11;

        if u8_at(self.raw_cdb(), 1).unwrap_or(0) & THIRD_PARTY_OR_EXTENT != 0 {
            return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4).into());
        }
        let nexus = self.own_nexus()?;
        let device = &nexus.device;
        let _changes = device.reservations.changes.lock();
        let id = id_of(&nexus);
        let own = device
            .reservations
            .with(|now| -> Result<Option<bool>, Failure> {
                // Who is registered, and may do everything, has no use for it,
                // and is not told so (CRH, SPC-4 5.13.3); nor may the others have it.
                let mut registered = state::registrants(&now.places).peekable();
                if registered.peek().is_some() {
                    let full = state::access(&now.head, &now.places, &id) == Access::Full;
                    return match full && registered.any(|r| r.nexus == id) {
                        true => Ok(None),
                        false => Err(Refusal::Conflict.into()),
                    };
                }
                match now.reserved {
                    Some(holder) if holder != id && on => Err(Refusal::Conflict.into()),
                    // RELEASE by another is ignored (SPC-2 7.21).
                    Some(holder) if holder != id => Ok(None),
                    other => Ok(Some(other.is_some())),
                }
            })?;
        if own.is_some_and(|held| held != on) {
            Reservations::set_reserved(device, on.then_some(id))?;
        }
        Ok(())
    }
}

/// Carries out a service action; returns the nexuses whose commands are to be
/// aborted, after the locks are gone: one of those commands may wait for them.
fn change(nexus: &Nexus, list: &OutList<'_>) -> Result<NexusList, Failure> {
    let device = &nexus.device;
    let own = &device.reservations;
    let _changes = own.changes.lock();
    let ports = core()?.config.lock().ports_beside(nexus)?;
    let id = id_of(nexus);
    let (mut next, registered) = own.with(|now| {
        let used = state::registrants(&now.places).count();
        let more = list
            .places(ports.len())
            .min(MAX_REGISTRANTS.saturating_sub(used));
        (now.copy(more), used.saturating_add(more))
    });
    let next_state = next.as_mut().map_err(|_| Failure::Busy)?;
    if next_state.reserved.is_some() {
        // RESERVE is in force (SPC-2 5.5.1).
        return Err(Refusal::Conflict.into());
    }
    // A service action says at most two things of each nexus.
    let mut events = KVec::with_capacity(registered.saturating_mul(2), GFP_KERNEL)?;
    let mut tell = |event: Event| {
        let _ = events.push_within_capacity(event);
    };
    let changed = Machine::new(&mut next_state.head, &mut next_state.places, &mut tell)
        .apply(&id, list, &ports)?;
    if !changed {
        return Ok(NexusList::new());
    }
    let next = next.map_err(|_| Failure::Busy)?;
    match Reservations::commit(device, next, &events) {
        Err(e) if e != ENOMEM => Err(INSUFFICIENT_REGISTRATION_RESOURCES.into()),
        result => Ok(result?),
    }
}
