// SPDX-License-Identifier: GPL-2.0

//! Thresholds of thin provisioning: what is left of the space behind a disk is
//! looked at when enough has been written that it may matter.

use crate::{
    attrs::{refused, show, text},
    disk::{Disk, Switch},
    io::Store,
    unit::Unit,
};
use kapi::sysfs::{Attr, Page};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Mutex,
    },
};
use scst::{Cmd, Executing};
use scst_proto::{
    number::parse_u32,
    sense::{MODE_PARAMETERS_CHANGED, THIN_SOFT_THRESHOLD},
    threshold::{Resources, Threshold, Thresholds, Watch, SET},
};

/// Bytes that are written between two looks: a threshold's range is twice as wide.
const BETWEEN_LOOKS: u64 = SET / 2;

/// A disk's thresholds.
#[pin_data]
pub(crate) struct Watched {
    /// The store knows its resources, so that there may be thresholds.
    there: Switch,
    /// There is one.
    on: Switch,
    /// Bytes written since the last look.
    unseen: Atomic<u64>,
    #[pin]
    state: Mutex<State>,
}

struct State {
    current: Thresholds,
    /// What a reset restores.
    saved: Thresholds,
    watch: Watch,
}

impl Watched {
    pub(crate) fn new() -> impl PinInit<Self> {
        let state = State {
            current: Thresholds::NONE,
            saved: Thresholds::NONE,
            watch: Watch::new(),
        };
        pin_init!(Self {
            there: Switch::new(false),
            on: Switch::new(false),
            unseen: Atomic::new(0),
            state <- new_mutex!(state),
        })
    }

    /// The medium has been opened: whether its resources are known.
    pub(crate) fn set_there(&self, there: bool) {
        self.there.set(there);
    }

    /// Whether initiators find thresholds. Any context.
    pub(crate) fn there(&self) -> bool {
        self.there.get()
    }

    /// What is in force, and what a reset restores. Does not sleep where there are
    /// no thresholds.
    pub(crate) fn values(&self) -> (Thresholds, Thresholds) {
        if !self.there() {
            return (Thresholds::NONE, Thresholds::NONE);
        }
        let state = self.state.lock();
        (state.current, state.saved)
    }

    /// Puts `new` into force. Thresholds that were reached are armed again if any of
    /// them is another one. Sleeps only where there are thresholds.
    pub(crate) fn set(&self, new: Thresholds) {
        if self.there() {
            self.change(|state| state.current = new);
        }
    }

    /// Changes the state as `f` does, whether the medium is open or not. May sleep.
    fn change(&self, f: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let before = state.current;
        f(&mut state);
        if state.current != before {
            state.watch = Watch::new();
            self.unseen.store(BETWEEN_LOOKS, Relaxed);
        }
        self.on.set(state.current.watched());
    }

    /// Has a reset restore `new`.
    pub(crate) fn save(&self, new: Thresholds) {
        if self.there() {
            self.state.lock().saved = new;
        }
    }

    /// Arms all thresholds: a reset.
    pub(crate) fn rearm(&self) {
        if self.there() {
            self.state.lock().watch = Watch::new();
            self.unseen.store(BETWEEN_LOOKS, Relaxed);
        }
    }

    /// `bytes` were written or given back; whether it is time to look.
    #[inline]
    pub(crate) fn is_due(&self, bytes: u64) -> bool {
        self.on.get()
            && self.unseen.fetch_add(bytes, Relaxed).saturating_add(bytes) >= BETWEEN_LOOKS
    }

    /// Looks at `now`; whom to tell, if anybody.
    fn look(&self, now: &Resources) -> Option<Told> {
        let mut state = self.state.lock();
        self.unseen.store(0, Relaxed);
        let State { current, watch, .. } = &mut *state;
        watch.look(current, now).then_some(match current.situa {
            true => Told::One,
            false => Told::All,
        })
    }
}

/// Which I_T nexuses get the unit attention.
enum Told {
    /// That of the command.
    One,
    All,
}

/// A command has moved `bytes`: looks at what `resources` says if that is due, and
/// tells initiators of a threshold that is reached. May sleep.
#[inline]
pub(crate) fn moved(
    disk: &Disk,
    cmd: &Cmd<Executing>,
    bytes: u64,
    resources: impl FnOnce() -> Result<Option<Resources>>,
) {
    if disk.thresholds.is_due(bytes) {
        tell(disk, cmd, resources);
    }
}

#[cold]
fn tell(disk: &Disk, cmd: &Cmd<Executing>, resources: impl FnOnce() -> Result<Option<Resources>>) {
    // A file system that cannot say will fail the writes soon, or next time say.
    let Ok(Some(now)) = resources() else { return };
    let told = disk.thresholds.look(&now);
    let (Some(told), Some(nexus)) = (told, cmd.nexus()) else {
        return;
    };
    nexus.unit_attention(THIN_SOFT_THRESHOLD);
    if matches!(told, Told::All) {
        nexus.unit_attention_others(THIN_SOFT_THRESHOLD);
    }
}

impl<S: Store> Unit<S> {
    /// As [`moved`], for commands that have used the store by themselves.
    pub(crate) fn moved(&self, cmd: &Cmd<Executing>, bytes: u64) {
        moved(&self.disk, cmd, bytes, || self.store.resources());
    }
}

fn show_threshold(
    disk: &Disk,
    page: &mut Page<'_>,
    field: impl FnOnce(&Thresholds) -> Threshold,
) -> Result {
    let threshold = field(&disk.thresholds.state.lock().current);
    let mb = if threshold.enabled {
        threshold.count
    } else {
        0
    };
    show(page, mb, mb != 0)
}

/// Sets a threshold to what was written, in force and for after a reset; tells the
/// initiators, as another way than MODE SELECT has to (SBC-4 6.5.9).
fn store_threshold(
    disk: &Disk,
    bytes: &[u8],
    field: impl Fn(&mut Thresholds) -> &mut Threshold,
) -> Result {
    let count = parse_u32(text(disk, bytes)?).map_err(|e| refused(disk, e))?;
    let new = Threshold {
        enabled: count != 0,
        count,
    };
    disk.thresholds.change(|state| {
        *field(&mut state.saved) = new;
        *field(&mut state.current) = new;
    });
    disk.unit_attention(MODE_PARAMETERS_CHANGED);
    Ok(())
}

/// A thin disk in a file.
pub(crate) static THRESHOLDS: &[Attr<Disk>] = &[
    Attr::rw(
        c"threshold_available_mb",
        |d, p| show_threshold(d, p, |t| t.available),
        |d, b| store_threshold(d, b, |t| &mut t.available),
        "Initiators are told when the file system has less free than so many MiB; 0: never.",
    ),
    Attr::rw(
        c"threshold_used_mb",
        |d, p| show_threshold(d, p, |t| t.used),
        |d, b| store_threshold(d, b, |t| &mut t.used),
        "Initiators are told when the file has more than so many MiB of the file system; 0: never.",
    ),
];
