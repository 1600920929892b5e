// SPDX-License-Identifier: GPL-2.0

//! Ownership of values that live in memory lent by somebody else.
//!
//! A SCSI host, an RDMA queue pair and an FC adapter all preallocate memory for
//! every command that they can have outstanding. A [`Slot`] is this project's
//! part of such an allocation. It has two halves:
//!
//! - the *shared* half `S`, which anybody who can see the slot may read through
//!   `&S` at any time (task management looks at it), and
//! - the *exclusive* half `T`, which exists only between [`Vacant::lend`] and the
//!   drop of that [`Loan`], and which only the holder of the loan can touch.
//!
//! So a `Loan` is to a slot what a `Box` is to the heap, without an allocation:
//! it moves through the pipeline, can be queued ([`LoanQueue`]) without memory
//! of its own, and dropping it ends the value's life and frees the slot.

use crate::compat::init_at;
use core::{
    cell::UnsafeCell,
    convert::Infallible,
    marker::PhantomData,
    mem::{ManuallyDrop, MaybeUninit},
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
};
use kernel::prelude::Init;

/// Lent memory for one value; see the [module](self).
///
/// # Invariants
///
/// `value` is initialised exactly while a [`Loan`] of this slot exists, and
/// `next` belongs to the [`LoanQueue`] that the loan is in, or else to the loan.
#[repr(C)]
pub struct Slot<S, T> {
    value: UnsafeCell<MaybeUninit<T>>,
    next: UnsafeCell<*mut Slot<S, T>>,
    shared: S,
}

// SAFETY: `&Slot` gives access to `shared` only, which is `Sync`; the other
// fields are reached through a `Loan`, of which there is one at the most.
unsafe impl<S: Sync, T: Send> Sync for Slot<S, T> {}

impl<S, T> Slot<S, T> {
    /// An unused slot. It must not move any more once it is lent.
    pub const fn new(shared: S) -> Self {
        // INVARIANT: There is no loan yet.
        Self {
            value: UnsafeCell::new(MaybeUninit::uninit()),
            next: UnsafeCell::new(ptr::null_mut()),
            shared,
        }
    }

    /// Makes an unused slot at `at`. Any context.
    ///
    /// # Safety
    ///
    /// `at` is valid for writes of a `Slot<S, T>`, aligned for it, and no slot
    /// there is in use.
    pub unsafe fn init(at: *mut Self, shared: S) {
        // SAFETY: By the function's contract; the exclusive half stays
        // uninitialised, as the type invariants want it without a loan.
        unsafe {
            (&raw mut (*at).next).write(UnsafeCell::new(ptr::null_mut()));
            (&raw mut (*at).shared).write(shared);
        }
    }

    /// The half that everybody may look at.
    pub fn shared(&self) -> &S {
        &self.shared
    }
}

/// An idle slot, and the right to use it for one value.
///
/// # Invariants
///
/// `slot` was set up by [`Slot::init`], has no loan, and stays valid until the
/// loan that [`Vacant::lend`] makes has ended.
pub struct Vacant<S, T>(NonNull<Slot<S, T>>);

impl<S, T> Vacant<S, T> {
    /// Vouches for `slot`.
    ///
    /// # Safety
    ///
    /// `slot` was set up by [`Slot::init`], has no loan and no other `Vacant`
    /// now, and its memory stays valid until the loan ends (it is dropped).
    #[inline]
    pub unsafe fn new(slot: NonNull<Slot<S, T>>) -> Self {
        // INVARIANT: The caller's contract.
        Self(slot)
    }

    /// Gives up the right to the slot.
    pub(crate) fn into_slot(self) -> NonNull<Slot<S, T>> {
        self.0
    }

    /// The slot's address, by which it is known while it is lent.
    pub fn addr(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Makes a value in the slot, in place. Any context.
    #[inline(always)]
    pub fn lend(self, value: impl Init<T, Infallible>) -> Loan<S, T> {
        // SAFETY: The slot is valid, nobody else reaches its exclusive half, and
        // there is no value in it.
        unsafe { init_at(self.0.as_ref().value.get().cast::<T>(), value) };
        // INVARIANT: The value was just written, and `self`, the only right to
        // a loan of the slot, is gone.
        Loan {
            slot: self.0,
            _owns: PhantomData,
        }
    }
}

/// The right to a slot and to the value in it.
///
/// # Invariants
///
/// `slot` is valid, its value is initialised, and this is its only loan.
pub struct Loan<S, T> {
    slot: NonNull<Slot<S, T>>,
    _owns: PhantomData<T>,
}

// SAFETY: A loan owns a `T` and shares an `S`, as `Box<T>` and `&S` would.
unsafe impl<S: Sync, T: Send> Send for Loan<S, T> {}

impl<S, T> Loan<S, T> {
    /// The shared half of the slot.
    #[inline]
    pub fn shared(&self) -> &S {
        // SAFETY: The slot is valid by the type invariants.
        unsafe { &(*self.slot.as_ptr()).shared }
    }

    /// The slot's address: what a driver finds its own request by.
    #[inline]
    pub fn as_ptr(&self) -> NonNull<Slot<S, T>> {
        self.slot
    }

    /// Gives up the loan without ending it; [`Loan::from_raw`] takes it back.
    #[inline]
    pub fn into_raw(self) -> NonNull<Slot<S, T>> {
        ManuallyDrop::new(self).slot
    }

    /// Takes back a loan given up by [`Loan::into_raw`].
    ///
    /// # Safety
    ///
    /// `slot` came from `into_raw`, and is taken back once.
    #[inline]
    pub unsafe fn from_raw(slot: NonNull<Slot<S, T>>) -> Self {
        // INVARIANT: Those of the loan that was given up.
        Self {
            slot,
            _owns: PhantomData,
        }
    }
}

impl<S, T> Deref for Loan<S, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The value is initialised and this is the only way to it.
        unsafe { (*self.slot.as_ref().value.get()).assume_init_ref() }
    }
}

impl<S, T> DerefMut for Loan<S, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As for `deref`, and `&mut self` is exclusive.
        unsafe { (*self.slot.as_ref().value.get()).assume_init_mut() }
    }
}

impl<S, T> Drop for Loan<S, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The value is initialised, and nobody can reach it after this.
        unsafe { (*self.slot.as_ref().value.get()).assume_init_drop() };
    }
}

/// A first-in, first-out queue of loans, linked through their slots: it never
/// allocates. It has no lock of its own; put it into one.
///
/// # Invariants
///
/// `head` to `tail` is a null-terminated chain of loans that the queue owns.
pub struct LoanQueue<S, T> {
    head: *mut Slot<S, T>,
    tail: *mut Slot<S, T>,
    _owns: PhantomData<Loan<S, T>>,
}

// SAFETY: The queue owns `Loan`s, which are `Send` under the same bounds.
unsafe impl<S: Sync, T: Send> Send for LoanQueue<S, T> {}

impl<S, T> LoanQueue<S, T> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            _owns: PhantomData,
        }
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Appends `loan`.
    pub fn push_back(&mut self, loan: Loan<S, T>) {
        let slot = loan.into_raw().as_ptr();
        // SAFETY: The queue owns the loan now, so `next` of the slot is its own;
        // `tail` is null or the last slot of the chain.
        unsafe {
            *(*slot).next.get() = ptr::null_mut();
            match self.tail.is_null() {
                true => self.head = slot,
                false => *(*self.tail).next.get() = slot,
            }
        }
        self.tail = slot;
    }

    /// The value of the first loan.
    pub fn first(&self) -> Option<&T> {
        let slot = NonNull::new(self.head)?;
        // SAFETY: `slot` is the first of the chain that the queue owns, so its value
        // is initialised, and nobody else reaches it while the queue is borrowed.
        Some(unsafe { (*slot.as_ref().value.get()).assume_init_ref() })
    }

    /// Takes the first loan.
    pub fn pop_front(&mut self) -> Option<Loan<S, T>> {
        let slot = NonNull::new(self.head)?;
        // SAFETY: `slot` is the first of the chain that the queue owns.
        self.head = unsafe { *slot.as_ref().next.get() };
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        // SAFETY: `push_back` gave the loan up, and the chain no longer has it.
        Some(unsafe { Loan::from_raw(slot) })
    }

    /// Takes out those that `which` chooses; they and the others keep their order.
    pub fn extract(&mut self, mut which: impl FnMut(&Loan<S, T>) -> bool) -> Self {
        let (mut all, mut chosen) = (self.take(), Self::new());
        while let Some(loan) = all.pop_front() {
            match which(&loan) {
                true => chosen.push_back(loan),
                false => self.push_back(loan),
            }
        }
        chosen
    }

    /// Takes everything, leaving the queue empty.
    pub fn take(&mut self) -> Self {
        core::mem::take(self)
    }
}

impl<S, T> Default for LoanQueue<S, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, T> Drop for LoanQueue<S, T> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

/// What a stage of a value's life does when its holder lets go of it without
/// passing it on.
pub trait Stage<S, T>: Sized {
    /// Ends or continues the life of a value whose holder dropped it.
    fn abandoned(loan: Loan<S, T>);
}

/// A [`Loan`] in the stage `P` of its life: the type says what may be done with
/// it next, and forgetting to do it is [`Stage::abandoned`].
pub struct Staged<S, T, P: Stage<S, T>> {
    loan: ManuallyDrop<Loan<S, T>>,
    _stage: PhantomData<P>,
}

// SAFETY: A staged loan is a loan; the stage has no value.
unsafe impl<S: Sync, T: Send, P: Stage<S, T>> Send for Staged<S, T, P> {}

impl<S, T, P: Stage<S, T>> Staged<S, T, P> {
    /// Puts `loan` into the stage `P`.
    #[inline]
    pub fn new(loan: Loan<S, T>) -> Self {
        Self {
            loan: ManuallyDrop::new(loan),
            _stage: PhantomData,
        }
    }

    /// Leaves the stage properly.
    #[inline]
    pub fn into_loan(self) -> Loan<S, T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the loan is not used again there.
        unsafe { ManuallyDrop::take(&mut this.loan) }
    }
}

impl<S, T, P: Stage<S, T>> Deref for Staged<S, T, P> {
    type Target = Loan<S, T>;

    #[inline]
    fn deref(&self) -> &Loan<S, T> {
        &self.loan
    }
}

impl<S, T, P: Stage<S, T>> DerefMut for Staged<S, T, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Loan<S, T> {
        &mut self.loan
    }
}

impl<S, T, P: Stage<S, T>> Drop for Staged<S, T, P> {
    fn drop(&mut self) {
        // SAFETY: The loan is not used again after the drop.
        P::abandoned(unsafe { ManuallyDrop::take(&mut self.loan) });
    }
}
