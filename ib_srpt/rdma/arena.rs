// SPDX-License-Identifier: GPL-2.0

//! Requests: the memory for one command each, from the unit that carries it to
//! the response.
//!
//! All requests of a receive queue are allocated with it. A [`Handle`] is the
//! right to one of them; it moves from its owner to the hardware (posted) or to
//! the core (parked, inside a [`scst::Cmd`]) and back, and there is only one. The
//! state of the item says where it is, so that nobody can take it twice.

use super::{
    device::ProtectionDomain,
    dma::{Buffer, Buffers, Mapped, Toward},
};
use crate::request::Request;
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
};
use kapi::sg::{Gfp, SgList};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed, Release},
        Arc,
    },
};
use scst::{Outstanding, Slot, Task, Vacant};

/// Where an item is.
mod state {
    /// Nobody has taken it yet, or it was retired.
    pub(super) const IDLE: u32 = 0;
    /// There is a handle.
    pub(super) const HELD: u32 = 1;
    /// A work request has it.
    pub(super) const POSTED: u32 = 2;
    /// A command of the core has it.
    pub(super) const PARKED: u32 = 3;
}

/// One request.
///
/// # Invariants
///
/// `body` and `next` belong to the only handle, which exists in the states
/// `HELD` (as such), `POSTED` and `PARKED` (given away). `slot` was set up when
/// the item was made.
#[repr(C)]
pub(super) struct Item {
    /// First, so that a slot's address is its item's.
    slot: Slot,
    state: Atomic<u32>,
    index: u32,
    /// What task management looks at: the tag, and which channel it is of.
    tag: Atomic<u64>,
    owner: Atomic<u64>,
    pub(super) next: UnsafeCell<*mut Item>,
    pub(super) body: UnsafeCell<Body>,
}

/// What the holder of a request works with.
pub(crate) struct Body {
    recv: Buffer,
    send: Buffer,
    received: u32,
    /// The driver's own part.
    pub(crate) request: Request,
}

/// All requests of a receive queue.
///
/// # Invariants
///
/// The items do not move. As long as one of them is not `IDLE`, neither items
/// nor buffers are freed.
pub(crate) struct Requests {
    items: ManuallyDrop<KVVec<Item>>,
    recv: ManuallyDrop<Buffers>,
    send: ManuallyDrop<Buffers>,
    taken: Atomic<u32>,
}

// SAFETY: Items are reached by handles, of which there is one each, and their
// other members are atomic.
unsafe impl Send for Requests {}
// SAFETY: As above.
unsafe impl Sync for Requests {}

impl Requests {
    /// `count` requests for units of `recv_len` bytes, with responses of
    /// `send_len`. Sleeps. `ENOMEM`.
    pub(crate) fn new(
        pd: &Arc<ProtectionDomain>,
        count: u32,
        recv_len: u32,
        send_len: u32,
    ) -> Result<Arc<Self>> {
        let many = count as usize;
        let recv = Buffers::new(pd, many, recv_len as usize, Toward::Memory, Gfp::Kernel)?;
        let send = Buffers::new(pd, many, send_len as usize, Toward::Device, Gfp::Kernel)?;
        let mut items = KVVec::with_capacity(many, GFP_KERNEL)?;
        // SAFETY: The buffers become part of the items, which are not used
        // after both are dropped, by the type invariants.
        let buffers = unsafe { recv.take().zip(send.take()) };
        for (index, (recv, send)) in buffers.enumerate() {
            let body = Body {
                recv,
                send,
                received: 0,
                request: Request::default(),
            };
            items.push(
                Item {
                    slot: Slot::new(Task::idle()),
                    state: Atomic::new(state::IDLE),
                    index: index as u32,
                    tag: Atomic::new(0),
                    owner: Atomic::new(0),
                    next: UnsafeCell::new(ptr::null_mut()),
                    body: UnsafeCell::new(body),
                },
                GFP_KERNEL,
            )?;
        }
        let this = Self {
            items: ManuallyDrop::new(items),
            recv: ManuallyDrop::new(recv),
            send: ManuallyDrop::new(send),
            taken: Atomic::new(0),
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// Number of requests.
    pub(crate) fn count(&self) -> u32 {
        self.items.len() as u32
    }

    /// The handle of request `index`, for the first post. `None` if it was
    /// taken before.
    pub(crate) fn take(&self, index: u32) -> Option<Handle> {
        let handle = self.claim(index, state::IDLE)?;
        self.taken.fetch_add(1, Relaxed);
        Some(handle)
    }

    /// The handle of request `index`, which a work request that is complete
    /// had. `None` if none had it.
    #[inline]
    pub(crate) fn completed(&self, index: u32) -> Option<Handle> {
        self.claim(index, state::POSTED)
    }

    #[inline]
    fn claim(&self, index: u32, from: u32) -> Option<Handle> {
        let item = self.items.get(index as usize)?;
        // Not a read-modify-write: of all that may claim an item in this state
        // only one knows that it is in it (the first user, the one completion
        // that the provider makes, the one command).
        if item.state.load(Acquire) != from {
            return None;
        }
        item.state.store(state::HELD, Relaxed);
        // INVARIANT: The state was one in which the handle had been given away.
        Some(Handle(NonNull::from(item)))
    }

    /// Ends the use of a request; it can be taken again.
    pub(crate) fn retire(&self, handle: Handle) {
        handle.item().owner.store(0, Relaxed);
        handle.into_state(state::IDLE);
        self.taken.fetch_sub(1, Full);
    }

    /// Says that the queue that had the posted requests is destroyed: all
    /// requests that were posted for receiving are idle again.
    ///
    /// The destroyed queue has no completions left, and its last channel is gone.
    pub(crate) fn all_back(&self) {
        for index in 0..self.count() {
            if let Some(handle) = self.completed(index) {
                self.retire(handle);
            }
        }
    }

    /// Requests that are in use.
    pub(crate) fn in_use(&self) -> u32 {
        self.taken.load(Acquire)
    }

    /// Shows every command of channel `owner`, for task management. Any context.
    pub(crate) fn visit(&self, owner: u64, visit: &mut dyn FnMut(Outstanding<'_>)) {
        for item in self.items.iter() {
            if item.owner.load(Relaxed) != owner {
                continue;
            }
            let task = Outstanding::of(&item.slot, || item.tag.load(Relaxed));
            // Now that it is known which command: it may be a later one, of
            // another channel.
            if let Some(task) = task.filter(|_| item.owner.load(Relaxed) == owner) {
                visit(task);
            }
        }
    }

    /// The bytes that a unit has brought. `len` is what the completion says.
    #[inline]
    pub(crate) fn received(&self, handle: &mut Handle, len: u32) {
        let len = len.min(handle.recv.len());
        self.recv.regain(&handle.recv, len);
        handle.received = len;
    }

    /// Prepares the response buffer for the device.
    #[inline]
    pub(crate) fn to_send(&self, handle: &Handle, len: u32) {
        self.send.give(&handle.send, len);
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let left = self.in_use();
        if left != 0 {
            // Never seen; memory that hardware may still write is not freed.
            kernel::pr_err!("***ERROR***: {left} requests never came back, their memory is lost\n");
            return;
        }
        // SAFETY: No item is in use, and none is used again: items first, their
        // buffers after them.
        unsafe {
            ManuallyDrop::drop(&mut self.items);
            ManuallyDrop::drop(&mut self.recv);
            ManuallyDrop::drop(&mut self.send);
        }
    }
}

/// The right to a request.
///
/// # Invariants
///
/// The item is valid (see [`Requests`]), in the state `HELD`, and this is its
/// only handle.
#[must_use]
pub(crate) struct Handle(pub(super) NonNull<Item>);

// SAFETY: It owns a `Body`, whose parts are `Send`.
unsafe impl Send for Handle {}
// SAFETY: As above; `&Handle` shares the `Body` only.
unsafe impl Sync for Handle {}

impl Handle {
    #[inline]
    fn item(&self) -> &Item {
        // SAFETY: By the type invariants.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn into_state(self, state: u32) -> NonNull<Item> {
        self.item().state.store(state, Release);
        self.0
    }

    /// The request's number.
    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.item().index
    }

    /// Gives it to a work request, which [`Requests::completed`] ends.
    #[inline]
    pub(super) fn posted(self) {
        self.into_state(state::POSTED);
    }

    /// Takes it back from a work request that could not be posted.
    ///
    /// # Safety
    ///
    /// The handle of `index` was given away by [`Handle::posted`], and no work
    /// request has it.
    pub(super) unsafe fn not_posted(item: NonNull<()>) -> Self {
        let this = Self(item.cast());
        this.item().state.store(state::HELD, Relaxed);
        this
    }

    pub(super) fn address(&self) -> NonNull<()> {
        self.0.cast()
    }

    /// Gives it to the core, for a command of channel `owner` that the
    /// initiator calls `tag`; [`Handle::of`] takes it back.
    #[inline]
    pub(crate) fn park(self, owner: u64, tag: u64) -> Vacant {
        let item = self.item();
        item.tag.store(tag, Relaxed);
        item.owner.store(owner, Relaxed);
        let slot = NonNull::from(&item.slot);
        self.into_state(state::PARKED);
        // SAFETY: The slot was set up with the item, which is not freed before
        // the handle has come back. Only here are its vacancies made, by the
        // owner of the handle, who gets it from a command that is about to end
        // and posts or retires it after that (see `Handle::of`).
        unsafe { Vacant::new(slot) }
    }

    /// Gives it to the core again, with the command that it is for.
    #[inline]
    pub(crate) fn park_again(self) {
        self.into_state(state::PARKED);
    }

    /// Takes the handle from the command that the core has returned. `None` if
    /// it was taken before.
    ///
    /// All commands that this driver sees are in slots of items: there is no
    /// other place in it where a [`Vacant`] is made.
    #[inline]
    pub(crate) fn of(slot: NonNull<Slot>) -> Option<Self> {
        // SAFETY: As said; the slot is an item's first member, and the item
        // lasts because its handle is not retired.
        let item = unsafe { slot.cast::<Item>().as_ref() };
        if item.state.load(Acquire) != state::PARKED {
            return None;
        }
        item.state.store(state::HELD, Relaxed);
        // INVARIANT: `park` had given it away.
        Some(Self(NonNull::from(item)))
    }

    /// The received unit, and the response buffer and the driver's part to work
    /// with beside it.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&[u8], &mut Buffer, &mut Request) {
        let body = &mut **self;
        let unit = body
            .recv
            .bytes()
            .get(..body.received as usize)
            .unwrap_or_default();
        (unit, &mut body.send, &mut body.request)
    }
}

impl Deref for Handle {
    type Target = Body;

    #[inline]
    fn deref(&self) -> &Body {
        // SAFETY: By the type invariants the body is this handle's.
        unsafe { &*self.item().body.get() }
    }
}

impl DerefMut for Handle {
    #[inline]
    fn deref_mut(&mut self) -> &mut Body {
        // SAFETY: As above, and `&mut self` is exclusive.
        unsafe { &mut *self.item().body.get() }
    }
}

impl Body {
    /// The received unit.
    #[inline]
    pub(crate) fn unit(&self) -> &[u8] {
        self.recv
            .bytes()
            .get(..self.received as usize)
            .unwrap_or_default()
    }

    /// The receive buffer, for a work request.
    #[inline]
    pub(super) fn recv(&self) -> &Buffer {
        &self.recv
    }

    /// The response buffer.
    #[inline]
    pub(crate) fn send(&self) -> &Buffer {
        &self.send
    }

    /// Maps the data buffer of the command that the request is for. Any context.
    pub(crate) fn map(
        &self,
        pd: &Arc<ProtectionDomain>,
        sg: &SgList<'_>,
        dir: Toward,
    ) -> Result<Mapped> {
        // SAFETY: The driver keeps the mapping beside the command that has the
        // buffer, and drops it before that (`Request::finish`).
        unsafe { Mapped::new(pd, sg, dir) }
    }
}
