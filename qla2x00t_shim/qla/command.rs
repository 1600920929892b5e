// SPDX-License-Identifier: GPL-2.0

//! A command's memory, and what is sent and fetched for it.

use super::{
    raw::*,
    void::{Void, VOID_BYTES},
};
use core::{
    cell::UnsafeCell,
    mem::{offset_of, MaybeUninit},
    ptr::{self, NonNull},
};
use kapi::{
    lock::{new_spinlock_irq, SpinLockIrq},
    sg::{Gfp, OwnedSg, SgList},
};
use kernel::{
    bindings,
    ffi::{c_int, c_void},
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};
use scst::{status, Answered, Cmd, DataOut, Direction, Outstanding, Slot, Task};
use scst_proto::sense::{Sense, SenseKey};

/// How many pieces of memory without content a request has at hand.
const VOID_SEGMENTS: usize = 4;
/// DATA PHASE ERROR.
pub(super) const DATA_PHASE_ERROR: Sense = Sense::new(SenseKey::AbortedCommand, 0x4b, 0x00);

/// What waits for qla2xxx.
#[derive(Default)]
pub(super) enum Pending {
    #[default]
    Nothing,
    /// Its data are being fetched.
    Fetch(Cmd<DataOut>),
    /// Its response is being sent.
    Send(Cmd<Answered>),
}

/// A command's memory; see the [module](self).
///
/// # Invariants
///
/// `pending`, `segments` and `large` belong to whoever has the command: the core's
/// holder, or while `pending` is something else than `Nothing`, qla2xxx.
#[repr(C)]
pub(super) struct Request {
    pub(super) cmd: UnsafeCell<[u64; CMD_BYTES / 8]>,
    pub(super) slot: Slot,
    pub(super) uses: Atomic<u32>,
    pub(super) tag: Atomic<u32>,
    pub(super) number: u32,
    pub(super) pending: UnsafeCell<Pending>,
    segments: UnsafeCell<MaybeUninit<[bindings::scatterlist; VOID_SEGMENTS]>>,
    pub(super) large: UnsafeCell<Option<OwnedSg>>,
}

// qla2xxx knows a request by it.
const _: () = assert!(offset_of!(Request, cmd) == 0);

impl Request {
    fn new(number: u32) -> Self {
        Self {
            cmd: UnsafeCell::new([0; CMD_BYTES / 8]),
            slot: Slot::new(Task::idle()),
            uses: Atomic::new(0),
            tag: Atomic::new(0),
            number,
            pending: UnsafeCell::new(Pending::Nothing),
            segments: UnsafeCell::new(MaybeUninit::uninit()),
            large: UnsafeCell::new(None),
        }
    }

    /// The request that a command is in.
    fn of(slot: NonNull<Slot>) -> NonNull<Self> {
        // SAFETY: All slots that this driver lends are parts of requests.
        unsafe { slot.byte_sub(offset_of!(Self, slot)).cast() }
    }

    /// Counts a use, if it has one.
    pub(super) fn hold(&self) -> bool {
        let mut uses = self.uses.load(Relaxed);
        while uses != 0 {
            match self.uses.cmpxchg(uses, uses.wrapping_add(1), Full) {
                Ok(_) => return true,
                Err(now) => uses = now,
            }
        }
        false
    }

    /// Gives a use back; the last gives the request back.
    ///
    /// # Safety
    ///
    /// The caller has the use, and does not access the request after this.
    #[inline]
    pub(super) unsafe fn put(this: NonNull<Self>) {
        // SAFETY: It is valid as long as there is a use.
        if unsafe { this.as_ref() }.uses.fetch_sub(1, Full) == 1 {
            // SAFETY: A command that nobody uses any more, not in qla2xxx's hands.
            unsafe { qla_c_free(this.as_ptr()) };
        }
    }
}

/// The requests of a session.
#[pin_data]
pub(crate) struct Pool {
    pub(super) requests: KVVec<Request>,
    /// Numbers of those that are free.
    #[pin]
    pub(super) free: SpinLockIrq<KVVec<u32>>,
}

// SAFETY: Requests are shared as their type says; everything in them is `Send`.
unsafe impl Send for Pool {}
// SAFETY: As above.
unsafe impl Sync for Pool {}

impl Pool {
    /// Room for `count` commands. Sleeps. `ENOMEM`.
    pub(crate) fn new(count: u32) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            requests: {
                let mut requests = KVVec::with_capacity(count as usize, GFP_KERNEL)?;
                for number in 0..count {
                    let _ = requests.push_within_capacity(Request::new(number));
                }
                requests
            },
            free <- {
                let mut free = KVVec::with_capacity(count as usize, GFP_KERNEL)?;
                for number in (0..count).rev() {
                    let _ = free.push_within_capacity(number);
                }
                new_spinlock_irq!(free)
            },
        }? Error)
    }

    /// How many commands there may be.
    pub(crate) fn len(&self) -> u32 {
        self.requests.len() as u32
    }

    /// No command is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.free.lock().len() == self.requests.len()
    }

    /// Shows all commands that the core has.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Outstanding<'_>)) {
        self.each(|request| {
            let tag = || request.tag.load(Relaxed).into();
            if let Some(outstanding) = Outstanding::of(&request.slot, tag) {
                visit(outstanding);
            }
        });
    }

    /// Calls `f` for each request that is in use, which stays so meanwhile.
    fn each(&self, mut f: impl FnMut(&Request)) {
        for request in &self.requests {
            if request.hold() {
                f(request);
                // SAFETY: The use was just taken.
                unsafe { Request::put(NonNull::from(request)) };
            }
        }
    }

    /// Terminates the exchanges of those commands of the core that `which` chooses
    /// by LUN and tag. Process context.
    pub(crate) fn cancel(&self, which: impl Fn(u32, u32) -> bool) {
        self.each(|request| {
            let tag = request.tag.load(Relaxed);
            let known = Outstanding::of(&request.slot, || tag.into());
            if known.is_some_and(|task| which(task.lun(), tag)) {
                // SAFETY: A command that stays, as it is held.
                unsafe { qla_c_abort(ptr::from_ref(request).cast_mut()) };
            }
        });
    }

    /// As [`Pool::cancel`], for those of a LUN that wait for data. Process context.
    pub(crate) fn cancel_fetching(&self, which: impl Fn(u32) -> bool) {
        self.each(|request| {
            // SAFETY: A command that stays, as it is held.
            let waits = unsafe { qla_c_wants_data(request) };
            let known = Outstanding::of(&request.slot, || 0);
            if waits && known.is_some_and(|task| which(task.lun())) {
                // SAFETY: As above.
                unsafe { qla_c_abort(ptr::from_ref(request).cast_mut()) };
            }
        });
    }
}

/// The memory of a command's data: its own, or what stands for memory without
/// content; `None` if there is none to be had now.
///
/// # Safety
///
/// The caller has the command, whose request this is, and its data stay until it
/// gets the command back.
#[inline]
unsafe fn memory(
    void: NonNull<c_void>,
    request: NonNull<Request>,
    data: Option<SgList<'_>>,
    is_void: bool,
    length: u32,
) -> Option<(*mut bindings::scatterlist, u32)> {
    if let Some(list) = data {
        return Some((list.as_raw(), list.nents()));
    }
    if !is_void {
        return Some((ptr::null_mut(), 0));
    }
    let count = length.div_ceil(VOID_BYTES);
    // SAFETY: The caller has the command, to which these belong.
    let (segments, large) = unsafe {
        let request = request.as_ref();
        (
            request.segments.get().cast::<bindings::scatterlist>(),
            &mut *request.large.get(),
        )
    };
    if count as usize <= VOID_SEGMENTS {
        // SAFETY: There are so many segments, and so many bytes for each.
        unsafe { qla_c_fill(segments, count, void.as_ptr(), VOID_BYTES, length) };
        return Some((segments, count));
    }
    let list = OwnedSg::alloc(length as usize, Gfp::Atomic).ok()?;
    list.list().zero(0, length as usize);
    let list = large.insert(list).list();
    Some((list.as_raw(), list.nents()))
}

/// Puts a command into qla2xxx's hands.
///
/// # Safety
///
/// The caller has the command that `pending` holds, and `submit` gives it to
/// qla2xxx if it returns 0.
#[inline]
unsafe fn give(
    request: NonNull<Request>,
    pending: Pending,
    submit: impl FnOnce(*mut Request) -> c_int,
) {
    // SAFETY: The caller has the command. From `submit` on qla2xxx may have ended
    // it already.
    unsafe { *request.as_ref().pending.get() = pending };
    if submit(request.as_ptr()) != 0 {
        // SAFETY: qla2xxx has not taken it, so it is still there.
        unsafe { qla_c_retry_later(request.as_ptr()) };
    }
}

/// Sends the response to a command, with its data-in; or ends it without one, if
/// it was aborted. Any context in which qla2xxx's locks are not held.
#[inline]
pub(crate) fn respond(void: &Void, cmd: Cmd<Answered>) {
    let request = Request::of(cmd.slot());
    if cmd.is_aborted() {
        return end_silently(request, cmd);
    }
    let moved = match cmd.direction() {
        Direction::In => cmd.moved(),
        _ => 0,
    };
    let residual = cmd.residual();
    let mut answer = RawAnswer {
        sg: ptr::null_mut(),
        nents: 0,
        length: moved,
        under: residual.under,
        over: match residual.under {
            0 => residual.over,
            _ => 0,
        },
        status: cmd.status_code(),
    };
    if moved != 0 {
        // SAFETY: The command is ours, and goes to qla2xxx together with its data.
        match unsafe { memory(void.zeros, request, cmd.data(), cmd.is_void(), moved) } {
            Some((sg, nents)) => (answer.sg, answer.nents) = (sg, nents),
            None => {
                answer.status = status::BUSY;
                answer.under = answer.under.saturating_add(moved);
                (answer.length, answer.over) = (0, 0);
            }
        }
    }
    if answer.status == status::CHECK_CONDITION {
        // SAFETY: A command of ours, which has a buffer of that size.
        let buffer = unsafe {
            core::slice::from_raw_parts_mut(qla_c_sense_buffer(request.as_ptr()), SENSE_BYTES)
        };
        cmd.sense(buffer);
    }
    // SAFETY: The command is ours; what `answer` says is valid until it ends.
    unsafe { give(request, Pending::Send(cmd), |raw| qla_c_send(raw, &answer)) };
}

/// Ends a command that was aborted.
#[cold]
fn end_silently(request: NonNull<Request>, cmd: Cmd<Answered>) {
    // SAFETY: A command of ours. Its exchange ends with it, if it has not.
    unsafe { qla_c_abort(request.as_ptr()) };
    // SAFETY: As above.
    unsafe { finish(request, cmd) };
}

/// Fetches a command's data-out. Any context in which qla2xxx's locks are not
/// held.
pub(crate) fn fetch(void: &Void, cmd: Cmd<DataOut>) {
    let request = Request::of(cmd.slot());
    let length = cmd.length();
    // SAFETY: The command is ours, and goes to qla2xxx together with its data.
    let found = unsafe { memory(void.sink, request, cmd.data(), cmd.is_void(), length) };
    let Some((sg, nents)) = found else {
        return cmd.data_failed(DATA_PHASE_ERROR);
    };
    let submit = |raw| {
        // SAFETY: The command is ours; the list stays until its data are there.
        unsafe { qla_c_fetch(raw, sg, nents, length) }
    };
    // SAFETY: As above.
    unsafe { give(request, Pending::Fetch(cmd), submit) };
}

/// Ends a command, and lets go of its request.
///
/// # Safety
///
/// `request` is the command's, which qla2xxx does not have.
#[inline]
pub(super) unsafe fn finish(request: NonNull<Request>, cmd: Cmd<Answered>) {
    cmd.finish();
    // SAFETY: The command was the holder; what is its own use now goes.
    unsafe {
        *request.as_ref().large.get() = None;
        Request::put(request);
    }
}

/// Takes back what qla2xxx had.
///
/// # Safety
///
/// `request` is valid, and qla2xxx has just given it back.
#[inline]
pub(super) unsafe fn take_back(request: *mut Request) -> Pending {
    // SAFETY: By the function's contract.
    core::mem::take(unsafe { &mut *(*request).pending.get() })
}
