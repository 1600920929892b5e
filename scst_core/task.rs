// SPDX-License-Identifier: GPL-2.0

//! The half of a command that task management sees: one word that says how far
//! the command is, and whether it is aborted.

use crate::cmd::Slot;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use scst_proto::task::{effect, Cause, Effect, State};

/// Marks a command whose effect and response are no longer wanted.
const ABORTED: u32 = 0x100;
/// Of an aborted command the initiator is told, by TASK ABORTED status.
const TOLD: u32 = 0x200;
/// The task set has counted the command.
const COUNTED: u32 = 0x400;
const STATE_MASK: u32 = 0xff;
/// The upper bits number the commands of a slot, so that task management cannot
/// mistake one for the next.
const GENERATION: u32 = 0x800;
const GENERATION_MASK: u32 = !(GENERATION - 1);

fn state_of(word: u32) -> Option<State> {
    State::ALL.get((word & STATE_MASK) as usize).copied()
}

/// The half of a command that task management may look at any time.
pub struct Task {
    word: Atomic<u32>,
    lun: Atomic<u32>,
}

impl Task {
    /// A slot without a command, for [`Slot::init`].
    pub fn idle() -> Self {
        Self {
            word: Atomic::new(State::Done as u32),
            lun: Atomic::new(u32::MAX),
        }
    }

    /// Starts the life of a command for `lun`. It counts as executing from here:
    /// where it does not wait for data or a thread, nothing comes in between.
    #[inline]
    pub(crate) fn begin(&self, lun: u32) {
        self.lun.store(lun, Relaxed);
        let last = self.word.load(Relaxed) & GENERATION_MASK;
        let word = last.wrapping_add(GENERATION) | State::Executing as u32;
        self.word.store(word, Release);
    }

    /// Goes on to `to`; false if the command was aborted. Only the holder of
    /// the command's loan calls it, so an abort is all that can come between.
    #[inline]
    pub(crate) fn advance_to(&self, to: State) -> bool {
        let now = self.word.load(Relaxed);
        let next = now & (GENERATION_MASK | COUNTED) | to as u32;
        now & ABORTED == 0 && self.word.cmpxchg(now, next, Full).is_ok()
    }

    /// The LUN that the command was sent to; `u32::MAX` if that is none.
    pub(crate) fn lun_number(&self) -> u32 {
        self.lun.load(Relaxed)
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.word.load(Relaxed) & ABORTED != 0
    }

    /// Whether it was aborted and its initiator is not to hear of that.
    #[inline]
    pub(crate) fn is_silent(&self) -> bool {
        self.word.load(Relaxed) & (ABORTED | TOLD) == ABORTED
    }

    /// The task set counts the command, which it had not before. Its holder only.
    pub(crate) fn count(&self) {
        self.word.add(COUNTED, Relaxed);
    }

    #[inline]
    pub(crate) fn end(&self) {
        let generation = self.word.load(Relaxed) & GENERATION_MASK;
        self.word.store(generation | State::Done as u32, Release);
    }
}

/// A command that the core has, as task management sees it. The slot may have
/// another one at any moment; that one is left alone.
#[derive(Clone, Copy)]
pub struct Outstanding<'a> {
    task: &'a Task,
    generation: u32,
    /// The transport's tag, which ABORT TASK names.
    pub tag: u64,
}

impl<'a> Outstanding<'a> {
    /// The command in `slot`, if there is one. `tag` reads its tag, which the
    /// transport has to set before the command begins.
    pub fn of(slot: &'a Slot, tag: impl FnOnce() -> u64) -> Option<Self> {
        let task = slot.shared();
        let word = task.word.load(Acquire);
        (state_of(word)? != State::Done).then(|| Self {
            task,
            generation: word & GENERATION_MASK,
            tag: tag(),
        })
    }

    /// The LUN that it was sent to.
    pub fn lun(&self) -> u32 {
        self.task.lun_number()
    }

    /// Whether it is marked aborted.
    pub(crate) fn is_aborted(&self) -> bool {
        self.task.is_aborted()
    }

    /// Where it is now; `None` if it is gone.
    pub(crate) fn state(&self) -> Option<State> {
        let word = self.task.word.load(Acquire);
        state_of(word).filter(|_| word & GENERATION_MASK == self.generation)
    }

    /// Whether its device's handler has it.
    pub(crate) fn is_executing(&self) -> bool {
        self.state() == Some(State::Executing)
    }

    /// Whether the task set has counted it.
    pub(crate) fn is_counted(&self) -> bool {
        self.task.word.load(Acquire) & COUNTED != 0
    }

    /// Marks the command aborted, if it is in a state in which `cause` reaches
    /// it ([`effect`]). True if the mark stands: the command will end without a
    /// response, or with TASK ABORTED if the initiator is to be `told`, and ends in
    /// [`Cmd::finish`]. False if its response was already on the way, or it was
    /// aborted before.
    pub(crate) fn abort(&self, cause: Cause, told: bool) -> bool {
        let mark = if told { ABORTED | TOLD } else { ABORTED };
        let mut old = self.task.word.load(Relaxed);
        loop {
            let reached = match state_of(old) {
                None | Some(State::Responding | State::Done) => false,
                Some(state) => effect(state, cause) != Effect::TooLate,
            };
            let same = old & GENERATION_MASK == self.generation;
            if old & ABORTED != 0 || !reached || !same {
                return false;
            }
            match self.task.word.cmpxchg(old, old | mark, Full) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
    }
}
