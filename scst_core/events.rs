// SPDX-License-Identifier: GPL-2.0

//! `/dev/scst_event`: what happened, for daemons that wait for it.
//!
//! The interface is SCST's (see [`scst_proto::event`]): a daemon says which events it wants, reads them one by one, and
//! answers those that ask for something. Unlike there a SET TARGET PORT GROUPS that no daemon wants to hear of is not
//! refused: the core changes the states itself.

use crate::{config::core, util::log_err};
use kapi::{
    chardev::CharDevice,
    lock::{new_spinlock_irq, SpinLockIrq},
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    fs::{file::flags::O_NONBLOCK, File},
    new_poll_condvar,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        poll::{PollCondVar, PollTable},
        Arc,
    },
    uaccess::{UserPtr, UserSlice},
};
use scst_proto::event::{self, ioctl, Event};

/// What [`Posted::answer`] holds before there is one.
const NONE: i32 = i32::MIN;
/// `EPOLLIN | EPOLLRDNORM` of `include/uapi/linux/eventpoll.h`.
const READABLE: u32 = 0x1 | 0x40;
/// How long somebody waits who asks, in milliseconds.
const PATIENCE_MS: u32 = 60_000;

/// An event that was sent.
#[pin_data]
struct Posted {
    bytes: KVec<u8>,
    /// Somebody waits for an answer.
    asks: bool,
    answer: Atomic<i32>,
    #[pin]
    answered: WaitQueue,
}

impl Posted {
    fn event(&self) -> Option<Event<'_>> {
        Event::new(&self.bytes)
    }

    fn settle(&self, status: i32) {
        let status = status.max(NONE + 1);
        if self.answer.cmpxchg(NONE, status, Release).is_ok() {
            self.answered.wake_all();
        }
    }
}

#[derive(Default)]
struct State {
    wanted: KVec<KVec<u8>>,
    /// Not read yet.
    waiting: KVec<Arc<Posted>>,
    /// Read, and to be answered.
    given: KVec<Arc<Posted>>,
}

/// An open `/dev/scst_event`.
#[pin_data]
pub(crate) struct Listener {
    #[pin]
    state: SpinLockIrq<State>,
    #[pin]
    ready: PollCondVar,
}

/// All of them.
#[pin_data]
pub(crate) struct Events {
    /// How many there are.
    count: Atomic<u32>,
    last_id: Atomic<u32>,
    #[pin]
    listeners: SpinLockIrq<KVec<Arc<Listener>>>,
}

impl Events {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                count: Atomic::new(0),
                last_id: Atomic::new(0),
                listeners <- new_spinlock_irq!(KVec::new(), "scst_event_listeners"),
            }),
            GFP_KERNEL,
        )
    }

    fn post(
        &self,
        code: u32,
        payload: usize,
        asks: bool,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Arc<Posted>> {
        let id = match asks {
            true => self.last_id.fetch_add(1, Relaxed).wrapping_add(1),
            false => 0,
        };
        let mut bytes = KVec::from_elem(0u8, event::event_len(payload), GFP_ATOMIC)?;
        fill(event::begin(&mut bytes, code, id));
        Arc::pin_init(
            pin_init!(Posted {
                bytes,
                asks,
                answer: Atomic::new(NONE),
                answered <- new_wait_queue!(),
            }),
            GFP_ATOMIC,
        )
    }

    /// Queues `posted` for who wants it, only for the first one if it asks; whether there was one.
    fn queue(&self, posted: &Arc<Posted>) -> bool {
        let mut any = false;
        for listener in self.listeners.lock().iter() {
            if posted.asks && any {
                break;
            }
            any |= listener.offer(posted);
        }
        any
    }

    /// Whether a daemon listens at all. Any context.
    #[inline]
    pub(crate) fn heard(&self) -> bool {
        self.count.load(Relaxed) != 0
    }

    /// Sends an event with a payload of `payload` bytes, zeroed, that `fill` fills in. Any context. One that there is
    /// no memory for is lost.
    pub(crate) fn send(&self, code: u32, payload: usize, fill: impl FnOnce(&mut [u8])) {
        if !self.heard() {
            return;
        }
        match self.post(code, payload, false, fill) {
            Ok(posted) => drop(self.queue(&posted)),
            Err(_) => log_err!("Event {} is lost: no memory", code),
        }
    }

    /// As [`Events::send`], and waits for an answer: its status, 0 or an error; `None` if no daemon wants to hear of
    /// it. Sleeps, up to a minute. `ETIMEDOUT`, `ENOMEM`.
    pub(crate) fn ask(
        &self,
        code: u32,
        payload: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Option<i32>> {
        if !self.heard() {
            return Ok(None);
        }
        let posted = self.post(code, payload, true, fill)?;
        if !self.queue(&posted) {
            return Ok(None);
        }
        let answered = || posted.answer.load(Acquire) != NONE;
        if posted.answered.wait_until_timeout(PATIENCE_MS, answered) {
            return Ok(Some(posted.answer.load(Acquire)));
        }
        for listener in self.listeners.lock().iter() {
            listener.forget(&posted);
        }
        log_err!("Event {}: no answer after {} s", code, PATIENCE_MS / 1000);
        Err(ETIMEDOUT)
    }
}

/// Takes `posted` out of `list`.
fn take(list: &mut KVec<Arc<Posted>>, posted: &Arc<Posted>) {
    if let Some(at) = list.iter().position(|p| Arc::ptr_eq(p, posted)) {
        let _ = list.remove(at);
    }
}

impl Listener {
    /// Queues `posted` if it is wanted; whether it was.
    fn offer(&self, posted: &Arc<Posted>) -> bool {
        let Some(event) = posted.event() else {
            return false;
        };
        {
            let mut state = self.state.lock();
            let mut wanted = state.wanted.iter().filter_map(|bytes| Event::new(bytes));
            if !wanted.any(|filter| filter.names(event)) {
                return false;
            }
            let room = state.waiting.len() < event::MAX_EVENTS;
            if !room || state.waiting.push(posted.clone(), GFP_ATOMIC).is_err() {
                log_err!("Event {} is lost: too many wait to be read", event.code());
                return false;
            }
        }
        self.ready.notify_all();
        true
    }

    fn forget(&self, posted: &Arc<Posted>) {
        let mut state = self.state.lock();
        take(&mut state.waiting, posted);
        take(&mut state.given, posted);
    }

    fn read_filter(&self, arg: usize) -> Result<KVec<u8>> {
        let mut first = [0; 4];
        UserSlice::new(UserPtr::from_addr(arg), first.len())
            .reader()
            .read_slice(&mut first)?;
        let length = event::filter_len(u32::from_ne_bytes(first)).ok_or(EINVAL)?;
        let mut bytes = KVec::new();
        UserSlice::new(UserPtr::from_addr(arg), length).read_all(&mut bytes, GFP_KERNEL)?;
        // The length may be another one by now.
        let whole = Event::new(&bytes).map(|filter| event::event_len(filter.payload().len()));
        match whole {
            Some(whole) if whole == length => Ok(bytes),
            _ => Err(EINVAL),
        }
    }

    fn allow(&self, arg: usize) -> Result {
        let bytes = self.read_filter(arg)?;
        let new = Event::new(&bytes).ok_or(EINVAL)?;
        let mut state = self.state.lock();
        let mut wanted = state.wanted.iter().filter_map(|bytes| Event::new(bytes));
        if wanted.any(|old| new.names(old)) {
            return Err(EEXIST);
        }
        if state.wanted.len() >= event::MAX_EVENTS {
            return Err(EMFILE);
        }
        Ok(state.wanted.push(bytes, GFP_ATOMIC)?)
    }

    fn disallow(&self, arg: usize) -> Result {
        let bytes = self.read_filter(arg)?;
        let filter = Event::new(&bytes).ok_or(EINVAL)?;
        let mut state = self.state.lock();
        let before = state.wanted.len();
        state
            .wanted
            .retain(|old| !Event::new(old).is_some_and(|old| filter.names(old)));
        match state.wanted.len() < before {
            true => Ok(()),
            false => Err(ENOENT),
        }
    }

    /// Takes the next event, sleeping until there is one.
    fn wait_next(&self, block: bool) -> Result<Arc<Posted>> {
        let mut state = self.state.lock();
        loop {
            if let Ok(posted) = state.waiting.remove(0) {
                return Ok(posted);
            }
            if !block {
                return Err(EAGAIN);
            }
            if self.ready.wait_interruptible(&mut state) {
                return Err(EINTR);
            }
        }
    }

    fn next(&self, arg: usize, block: bool) -> Result {
        let mut most = [0; 4];
        UserSlice::new(UserPtr::from_addr(arg), most.len())
            .reader()
            .read_slice(&mut most)?;
        let room = usize::try_from(i32::from_ne_bytes(most)).unwrap_or(0);
        let posted = self.wait_next(block)?;
        let length = posted.bytes.len();
        let fits = length <= room;
        let copied = match fits {
            true => arg
                .checked_add(event::USER_EVENT)
                .ok_or(EFAULT)
                .and_then(|at| write(at, &posted.bytes)),
            false => write(arg, &(length as u32).to_ne_bytes()),
        };
        let mut state = self.state.lock();
        if fits && copied.is_ok() {
            if posted.asks && state.given.push(posted.clone(), GFP_ATOMIC).is_err() {
                posted.settle(ENOMEM.to_errno());
            }
            return Ok(());
        }
        // It stays the next one.
        let _ = state.waiting.reserve(1, GFP_ATOMIC);
        if state
            .waiting
            .insert_within_capacity(0, posted.clone())
            .is_err()
        {
            posted.settle(ENOMEM.to_errno());
        }
        copied.and(Err(ENOSPC))
    }

    fn done(&self, arg: usize) -> Result {
        let mut answer = [0; 8];
        UserSlice::new(UserPtr::from_addr(arg), answer.len())
            .reader()
            .read_slice(&mut answer)?;
        let [a, b, c, d, status @ ..] = answer;
        let id = u32::from_ne_bytes([a, b, c, d]);
        let mut state = self.state.lock();
        let is_it = |p: &Arc<Posted>| p.event().is_some_and(|event| event.id() == id);
        let at = state.given.iter().position(is_it).ok_or(ENOENT)?;
        let posted = state.given.remove(at).map_err(|_| ENOENT)?;
        posted.settle(i32::from_ne_bytes(status));
        Ok(())
    }
}

fn write(at: usize, bytes: &[u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(at), bytes.len())
        .writer()
        .write_slice(bytes)
}

impl CharDevice for Listener {
    fn open() -> Result<Arc<Self>> {
        let core = core()?;
        let listener = Arc::pin_init(
            pin_init!(Self {
                state <- new_spinlock_irq!(State::default(), "scst_event_listener"),
                ready <- new_poll_condvar!("scst_event_ready"),
            }),
            GFP_KERNEL,
        )?;
        let mut listeners = core.events.listeners.lock();
        listeners.push(listener.clone(), GFP_ATOMIC)?;
        core.events.count.store(listeners.len() as u32, Relaxed);
        drop(listeners);
        Ok(listener)
    }

    fn ioctl(&self, file: &File, command: u32, arg: usize) -> Result {
        match command {
            ioctl::ALLOW => self.allow(arg),
            ioctl::DISALLOW => self.disallow(arg),
            ioctl::NEXT => self.next(arg, file.flags() & O_NONBLOCK == 0),
            ioctl::DONE => self.done(arg),
            _ => Err(EINVAL),
        }
    }

    fn poll(&self, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, &self.ready);
        match self.state.lock().waiting.is_empty() {
            true => 0,
            false => READABLE,
        }
    }

    fn close(&self) {
        if let Ok(core) = core() {
            let mut listeners = core.events.listeners.lock();
            let at = listeners.iter().position(|l| ::core::ptr::eq(&**l, self));
            let gone = at.and_then(|at| listeners.remove(at).ok());
            core.events.count.store(listeners.len() as u32, Relaxed);
            drop(listeners);
            drop(gone);
        }
        let state = core::mem::take(&mut *self.state.lock());
        for list in [&state.waiting, &state.given] {
            for posted in list {
                posted.settle(EFAULT.to_errno());
            }
        }
    }
}
