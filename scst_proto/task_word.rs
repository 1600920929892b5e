// SPDX-License-Identifier: GPL-2.0

//! The word by which the holder of a command and task management agree on what becomes of the command.
//!
//! What is here is one step each: from what was read to what is to stand in its place, if nobody has written meanwhile. As it
//! is one word, all processors see its values in one order, whatever they see of other memory; so to try the steps of all
//! parties in every order (`tests/task_word.rs`) is to try all that can happen.
//!
//! | bits | |
//! |---|---|
//! | 7-0 | the [`State`] |
//! | 8 | aborted: neither effect nor response are wanted any more |
//! | 9 | of an aborted command: its initiator is told, by TASK ABORTED status |
//! | 10 | the task set has counted the command |
//! | 31-11 | number of the command among those of its slot, so that one is not taken for the next |

use crate::task::{effect, Cause, Effect, State};

const STATE: u32 = 0xff;
const ABORTED: u32 = 0x100;
const TOLD: u32 = 0x200;
const COUNTED: u32 = 0x400;
const GENERATION: u32 = 0x800;
const GENERATIONS: u32 = !(GENERATION - 1);

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Word(pub u32);

impl Word {
    /// A slot without a command.
    pub const IDLE: Self = Self(State::Done as u32);
    /// What is added when the task set counts a command that it has not counted before.
    pub const COUNT: u32 = COUNTED;

    /// The next command of the slot. It counts as executing from here: where it does not wait for data or a thread, nothing
    /// comes in between.
    #[inline]
    pub const fn begin(self) -> Self {
        let next = self.generation().wrapping_add(GENERATION);
        Self(next | State::Executing as u32)
    }

    /// Goes on to `to`; `None` for a command that was aborted. For its holder only.
    #[inline]
    pub const fn advance(self, to: State) -> Option<Self> {
        match self.is_aborted() {
            true => None,
            false => Some(Self(self.0 & (GENERATIONS | COUNTED) | to as u32)),
        }
    }

    /// The command has ended. For its holder only.
    #[inline]
    pub const fn end(self) -> Self {
        Self(self.generation() | State::Done as u32)
    }

    /// Marks command `generation` of the slot aborted, and its initiator to be `told`, if it is in a state in which `cause`
    /// reaches it ([`effect`]): it will end without the response that it would have had. `None` if its response is on the way
    /// already, if it was aborted before, or if it is gone.
    #[inline]
    pub fn abort(self, generation: u32, cause: Cause, told: bool) -> Option<Self> {
        let reached = match self.state() {
            None | Some(State::Responding | State::Done) => false,
            Some(state) => effect(state, cause) != Effect::TooLate,
        };
        let mark = if told { ABORTED | TOLD } else { ABORTED };
        let same = self.generation() == generation;
        (reached && same && !self.is_aborted()).then_some(Self(self.0 | mark))
    }

    /// Where the command is.
    #[inline]
    pub fn state(self) -> Option<State> {
        State::ALL.get((self.0 & STATE) as usize).copied()
    }

    /// Which command of the slot it is.
    #[inline]
    pub const fn generation(self) -> u32 {
        self.0 & GENERATIONS
    }

    /// It was aborted.
    #[inline]
    pub const fn is_aborted(self) -> bool {
        self.0 & ABORTED != 0
    }

    /// It was aborted, and its initiator is not to hear of that.
    #[inline]
    pub const fn is_silent(self) -> bool {
        self.0 & (ABORTED | TOLD) == ABORTED
    }

    /// The task set has counted it.
    #[inline]
    pub const fn is_counted(self) -> bool {
        self.0 & COUNTED != 0
    }
}
