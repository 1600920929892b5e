// SPDX-License-Identifier: GPL-2.0

//! The half of a command that task management sees: one word that says how far
//! the command is, and whether it is aborted. What becomes of the word is
//! `scst_proto::task_word`'s matter; here are the steps on the memory.

use crate::cmd::Slot;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use scst_proto::{
    task::{Cause, State},
    task_word::Word,
};

/// The half of a command that task management may look at any time.
pub struct Task {
    word: Atomic<u32>,
    lun: Atomic<u32>,
}

impl Task {
    /// A slot without a command, for [`Slot::init`].
    pub fn idle() -> Self {
        Self {
            word: Atomic::new(Word::IDLE.0),
            lun: Atomic::new(u32::MAX),
        }
    }

    #[inline]
    fn seen(&self) -> Word {
        Word(self.word.load(Relaxed))
    }

    /// Starts the life of a command for `lun`.
    #[inline]
    pub(crate) fn begin(&self, lun: u32) {
        self.lun.store(lun, Relaxed);
        self.word.store(self.seen().begin().0, Release);
    }

    /// Goes on to `to`; false if the command was aborted. Only the holder of
    /// the command's loan calls it, so an abort is all that can come between.
    #[inline]
    pub(crate) fn advance_to(&self, to: State) -> bool {
        let now = self.seen();
        let next = now.advance(to);
        next.is_some_and(|next| self.word.cmpxchg(now.0, next.0, Full).is_ok())
    }

    /// The LUN that the command was sent to; `u32::MAX` if that is none.
    pub(crate) fn lun_number(&self) -> u32 {
        self.lun.load(Relaxed)
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.seen().is_aborted()
    }

    /// Whether it was aborted and its initiator is not to hear of that.
    #[inline]
    pub(crate) fn is_silent(&self) -> bool {
        self.seen().is_silent()
    }

    /// The task set counts the command, which it had not before. Its holder only.
    pub(crate) fn count(&self) {
        self.word.add(Word::COUNT, Relaxed);
    }

    /// The command has ended. Its holder only: an abort that comes between finds
    /// it in a state in which it is too late, or has found it before.
    #[inline]
    pub(crate) fn end(&self) {
        self.word.store(self.seen().end().0, Release);
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
        let word = Word(task.word.load(Acquire));
        (word.state()? != State::Done).then(|| Self {
            task,
            generation: word.generation(),
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
        let word = Word(self.task.word.load(Acquire));
        let same = word.generation() == self.generation;
        word.state().filter(|_| same)
    }

    /// Whether its device's handler has it.
    pub(crate) fn is_executing(&self) -> bool {
        self.state() == Some(State::Executing)
    }

    /// Whether the task set has counted it.
    pub(crate) fn is_counted(&self) -> bool {
        Word(self.task.word.load(Acquire)).is_counted()
    }

    /// Marks the command aborted, if it is in a state in which `cause` reaches
    /// it. True if the mark stands: the command will end without a response, or
    /// with TASK ABORTED if the initiator is to be `told`, and ends in
    /// [`Cmd::finish`]. False if its response was already on the way, or it was
    /// aborted before.
    pub(crate) fn abort(&self, cause: Cause, told: bool) -> bool {
        let mut old = self.task.seen();
        while let Some(marked) = old.abort(self.generation, cause, told) {
            match self.task.word.cmpxchg(old.0, marked.0, Full) {
                Ok(_) => return true,
                Err(now) => old = Word(now),
            }
        }
        false
    }
}
