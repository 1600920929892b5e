// SPDX-License-Identifier: GPL-2.0

//! Reservations of a device: what they are now, and how nexuses get to know.
//!
//! A nexus has in its gate what the reservation leaves to it, beside what else
//! may keep a command from its handler. The holder, and everybody at a device
//! that is not reserved, has nothing there, and nothing is looked at. Whoever
//! changes a reservation brings the gates of the device's nexuses into line with
//! [`Reservations::refresh`], under the configuration's lock; a nexus that is
//! made under that lock looks for itself.
//!
//! What the service actions do is `scst_proto`'s matter. Each works on a copy,
//! which takes the place of the old state when it is on stable storage, if it has
//! to be.

use crate::{
    config::{core, Config},
    device::Device,
    nexus::Nexus,
    session::NexusList,
    util::{log_err, Name},
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    str::CString,
    sync::{new_mutex, Arc, Mutex},
};
use scst_proto::{
    bytes::Writer,
    pr::{
        access::Access,
        saved,
        state::{self, Event, Head},
        NexusId, Registrant, TransportId,
    },
};

/// Where the files are that reservations survive in.
const DIRECTORY: &str = "/var/lib/scst/pr";
/// No such file is longer: some ten thousand registrations.
const MAX_FILE: usize = 1 << 20;
/// Most registrations at a device.
pub(crate) const MAX_REGISTRANTS: usize = 4096;

/// Persistent reservations, and the other kind.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) head: Head,
    pub(crate) places: KVVec<Option<Registrant>>,
    /// Who has the logical unit by RESERVE (SPC-2 5.5).
    pub(crate) reserved: Option<NexusId>,
}

impl State {
    /// A copy with room for `more` registrations.
    pub(crate) fn copy(&self, more: usize) -> Result<Self, AllocError> {
        let used = state::registrants(&self.places).count();
        let mut places = KVVec::with_capacity(used.saturating_add(more), GFP_KERNEL)?;
        for registrant in state::registrants(&self.places) {
            places.push(Some(*registrant), GFP_KERNEL)?;
        }
        for _ in 0..more {
            places.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            head: self.head,
            places,
            reserved: self.reserved,
        })
    }

    /// What is left to `nexus`.
    fn access(&self, nexus: &NexusId) -> Access {
        match &self.reserved {
            Some(holder) if holder != nexus => Access::Reserved,
            Some(_) => Access::Full,
            None => state::access(&self.head, &self.places, nexus),
        }
    }

    fn is_registered(&self) -> bool {
        state::registrants(&self.places).next().is_some()
    }
}

/// The reservations of a device.
#[pin_data]
pub(crate) struct Reservations {
    /// Held while one is changed, files written with it: before the
    /// configuration's lock.
    #[pin]
    pub(crate) changes: Mutex<()>,
    #[pin]
    state: Mutex<State>,
    /// `pr_file_name`, if an administrator chose one.
    #[pin]
    file: Mutex<Option<Name>>,
}

impl Reservations {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            changes <- new_mutex!((), "scst_pr_changes"),
            state <- new_mutex!(State::default(), "scst_pr"),
            file <- new_mutex!(None, "scst_pr_file"),
        })
    }

    /// Calls `f` with what they are now.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&State) -> R) -> R {
        f(&self.state.lock())
    }

    /// What is left to `nexus`. Sleeps.
    pub(crate) fn access(&self, nexus: &NexusId) -> Access {
        self.with(|state| state.access(nexus))
    }

    /// Brings the gates of all nexuses of `device` into line. Takes the
    /// configuration's lock.
    pub(crate) fn refresh(device: &Arc<Device>) -> Result {
        let core = core()?;
        let config = core.config.lock();
        for nexus in &config.nexuses_of(device)? {
            nexus.set_reserved(device.reservations.access(&id_of(nexus)));
        }
        Ok(())
    }

    /// Puts `next` into force, after it is on stable storage if it has to be, and
    /// tells the nexuses what `events` says; returns those whose commands are to
    /// be aborted. With `changes` held; takes the configuration's lock.
    pub(crate) fn commit(device: &Arc<Device>, next: State, events: &[Event]) -> Result<NexusList> {
        let own = &device.reservations;
        own.save(device, &next)?;
        let core = core()?;
        let config = core.config.lock();
        // What may fail comes first.
        let nexuses = config.nexuses_of(device)?;
        let mut aborted = NexusList::with_capacity(nexuses.len(), GFP_KERNEL)?;
        let old = core::mem::replace(&mut *own.state.lock(), next);
        drop(old);
        for nexus in &nexuses {
            let id = id_of(nexus);
            for event in events {
                match event {
                    Event::Attention(whose, sense) if *whose == id => nexus.unit_attention(*sense),
                    Event::Abort(whose) if *whose == id => {
                        let _ = aborted.push_within_capacity(nexus.clone());
                    }
                    _ => {}
                }
            }
            nexus.set_reserved(own.access(&id));
        }
        Ok(aborted)
    }

    /// Sets or ends the reservation by RESERVE.
    pub(crate) fn set_reserved(device: &Arc<Device>, holder: Option<NexusId>) -> Result {
        device.reservations.state.lock().reserved = holder;
        Self::refresh(device)
    }

    /// A reset ends what RESERVE made (SPC-2 5.5.1). With `changes` not held;
    /// takes the configuration's lock.
    pub(crate) fn reset(device: &Arc<Device>) {
        let _changes = device.reservations.changes.lock();
        if device.reservations.with(|state| state.reserved.is_some()) {
            // Without memory the gates stay as they are, and the next change
            // brings them into line.
            let _ = Self::set_reserved(device, None);
        }
    }

    /// A nexus is lost, and with it what it had by RESERVE. Takes the
    /// configuration's lock.
    pub(crate) fn nexus_lost(nexus: &Nexus) {
        let own = &nexus.device.reservations;
        if !own.with(|state| state.reserved.is_some()) {
            return;
        }
        let _changes = own.changes.lock();
        let id = id_of(nexus);
        if own.with(|state| state.reserved == Some(id)) {
            let _ = Self::set_reserved(&nexus.device, None);
        }
    }

    /// The file's path.
    pub(crate) fn file_name(&self, device: &Device) -> Result<CString> {
        match &*self.file.lock() {
            Some(name) => CString::try_from_fmt(fmt!("{}", name.as_str())),
            None => CString::try_from_fmt(fmt!("{}/{}", DIRECTORY, device.name())),
        }
    }

    /// Whether an administrator chose the file.
    pub(crate) fn file_is_chosen(&self) -> bool {
        self.file.lock().is_some()
    }

    /// Brings `next` to stable storage, or takes the file away when nothing has to
    /// survive. Files are written only for what was, or is to be, there.
    fn save(&self, device: &Device, next: &State) -> Result {
        let survives = |state: &State| state.head.aptpl && state.is_registered();
        let (was, is) = (self.with(survives), survives(next));
        if !was && !is {
            return Ok(());
        }
        let path = self.file_name(device)?;
        let path = path.to_str().map_err(|_| EINVAL)?;
        let result = match is {
            true => file_of(next).and_then(|bytes| kapi::file::replace(path, &bytes)),
            false => kapi::file::remove(path),
        };
        result.inspect_err(|e| {
            log_err!(
                "{}: writing reservations to {} failed (error {}): is its directory there?",
                device.name(),
                path,
                e.to_errno()
            );
        })
    }

    /// Reads the file of a device that is being added, if it is there. Sleeps.
    pub(crate) fn load(&self, device: &Device) -> Result {
        let path = self.file_name(device)?;
        let path = path.to_str().map_err(|_| EINVAL)?;
        match read_file(path) {
            Ok(state) => {
                *self.state.lock() = state;
                Ok(())
            }
            Err(e) if e == ENOENT => Ok(()),
            Err(e) => {
                log_err!(
                    "{}: {} holds no reservations that can be read (error {})",
                    device.name(),
                    path,
                    e.to_errno()
                );
                Err(e)
            }
        }
    }

    /// `pr_file_name`: other reservations are read from there. `None` for the
    /// name that a device has by itself. Takes the configuration's lock; `EBUSY` if
    /// initiators see the device.
    pub(crate) fn set_file(device: &Arc<Device>, name: Option<&str>) -> Result {
        let own = &device.reservations;
        let _changes = own.changes.lock();
        refuse_in_use(device)?;
        let name = match name {
            Some(name) => Some(Name::new(name)?),
            None => None,
        };
        let old = core::mem::replace(&mut *own.file.lock(), name);
        *own.state.lock() = State::default();
        if let Err(e) = own.load(device) {
            *own.file.lock() = old;
            let _ = own.load(device);
            return Err(e);
        }
        // A LUN that was mapped meanwhile may have found the old ones.
        Self::refresh(device)
    }

    /// `pr_state`: the reservations that `text` tells. Takes the configuration's
    /// lock; `EBUSY` if initiators see the device.
    pub(crate) fn restore(device: &Arc<Device>, text: &str) -> Result {
        let own = &device.reservations;
        let _changes = own.changes.lock();
        refuse_in_use(device)?;
        let next = read_with(text.lines().count(), |keep| saved::read_text(text, keep))?;
        drop(Self::commit(device, next, &[])?);
        Ok(())
    }
}

/// `EBUSY` if an initiator sees the device: it could not know what changed.
fn refuse_in_use(device: &Arc<Device>) -> Result {
    let core = core()?;
    let seen = core.nexuses_of(device)?;
    let in_use = seen.iter().any(|n| !n.session().transport().is_internal());
    if in_use {
        log_err!(
            "{}: initiators see the device; its reservations are theirs to change",
            device.name()
        );
        return Err(EBUSY);
    }
    Ok(())
}

/// The bytes of an APTPL file.
fn file_of(state: &State) -> Result<KVec<u8>> {
    let mut bytes = KVec::from_elem(0u8, saved::file_len(&state.places), GFP_KERNEL)?;
    saved::write_file(&mut Writer::new(&mut bytes), &state.head, &state.places);
    Ok(bytes)
}

fn read_file(path: &str) -> Result<State> {
    let bytes = kapi::file::read(path, MAX_FILE)?;
    read_with(bytes.len() / 32, |keep| saved::read_file(&bytes, keep))
}

/// What a reader makes of registrations, `most` at the most.
fn read_with(
    most: usize,
    read: impl FnOnce(&mut dyn FnMut(Registrant)) -> Option<Head>,
) -> Result<State> {
    let mut places = KVVec::with_capacity(most.min(MAX_REGISTRANTS), GFP_KERNEL)?;
    let mut all = true;
    let head = read(&mut |registrant| {
        all &= places.push_within_capacity(Some(registrant)).is_ok();
    });
    match head.filter(|_| all) {
        Some(head) => Ok(State {
            head,
            places,
            reserved: None,
        }),
        None => Err(EINVAL),
    }
}

/// How reservations know a nexus. Sleeps.
pub(crate) fn id_of(nexus: &Nexus) -> NexusId {
    let mut bytes = [0; 64];
    let len = nexus.session().transport().transport_id(&mut bytes);
    let id = bytes.get(..len).and_then(TransportId::new);
    NexusId {
        // A transport has one; 24 zeros are nobody's.
        initiator: id.unwrap_or(TransportId::NONE),
        port: nexus.relative_target_port(),
    }
}

impl Config {
    /// RELATIVE TARGET PORT IDENTIFIERs of the target ports of the driver that
    /// `nexus` goes through. Sleeps.
    pub(crate) fn ports_beside(&self, nexus: &Nexus) -> Result<KVec<u16>> {
        let mut ports = KVec::new();
        for driver in &self.drivers {
            let targets = driver.targets()?;
            let ours = |t: &Arc<crate::Target>| ::core::ptr::eq(&**t, &*nexus.session().target);
            if !targets.iter().any(ours) {
                continue;
            }
            for target in &targets {
                if !ports.contains(&target.rel_tgt_id()) {
                    ports.push(target.rel_tgt_id(), GFP_KERNEL)?;
                }
            }
        }
        Ok(ports)
    }
}
