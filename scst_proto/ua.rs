// SPDX-License-Identifier: GPL-2.0

//! The unit attention conditions that wait for one I_T_L nexus (SAM-6 5.14).
//!
//! A condition is established once for each nexus and reported once. Power on, resets and nexus loss (ASC 29h) come
//! first and supersede; the others keep their order. A queue takes 29 bytes, as there is one for each LUN of each
//! session: a condition is its two codes, details are not kept.

use crate::sense::{Sense, SenseKey, INQUIRY_DATA_HAS_CHANGED, REPORTED_LUNS_DATA_HAS_CHANGED};

/// How many conditions can wait: more than there are kinds in [`sense`](crate::sense), so none is lost.
pub const CAPACITY: usize = 14;

/// ADDITIONAL SENSE CODE and QUALIFIER of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Codes {
    asc: u8,
    ascq: u8,
}

impl Codes {
    const NONE: Self = Self { asc: 0, ascq: 0 };

    /// How far a condition reaches (SAM-6 table 46): power on, hard reset, logical unit reset, I_T nexus loss.
    fn reach(self) -> u8 {
        match (self.asc, self.ascq) {
            (0x29, 0x01) => 5,        // power on
            (0x29, 0x00) => 4,        // power on or some reset
            (0x29, 0x02) => 3,        // bus reset, a hard reset
            (0x29, 0x03 | 0x04) => 2, // device reset
            (0x29, _) => 1,           // nexus loss, transceiver mode
            _ => 0,
        }
    }
}

impl From<&Sense> for Codes {
    fn from(sense: &Sense) -> Self {
        Self {
            asc: sense.asc,
            ascq: sense.ascq,
        }
    }
}

/// A command that reports a condition by being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// REPORT LUNS clears REPORTED LUNS DATA HAS CHANGED (SPC-6 6.33).
    ReportLuns,
    /// INQUIRY clears INQUIRY DATA HAS CHANGED (SPC-6 6.7.1).
    Inquiry,
}

/// The conditions of one nexus.
///
/// # Invariants
///
/// The first `len` entries are conditions, no two the same; the others are `Codes::NONE`. At most one has ASC 29h, and
/// it is the first.
#[derive(Clone, Copy, Debug)]
pub struct UaQueue {
    entries: [Codes; CAPACITY],
    len: u8,
}

impl UaQueue {
    /// No condition.
    pub const fn new() -> Self {
        Self {
            entries: [Codes::NONE; CAPACITY],
            len: 0,
        }
    }

    /// Whether no condition waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The conditions, the next one to be reported first.
    pub fn iter(&self) -> impl Iterator<Item = Sense> + '_ {
        let codes = self.entries.iter().take(self.len());
        codes.map(|c| Sense::new(SenseKey::UnitAttention, c.asc, c.ascq))
    }

    /// Whether this condition waits.
    pub fn contains(&self, sense: &Sense) -> bool {
        let codes = Codes::from(sense);
        self.entries.iter().take(self.len()).any(|c| *c == codes)
    }

    /// Establishes a condition; returns whether it is a new one. Anything but a unit attention is refused.
    ///
    /// - One that waits already is not established again.
    /// - Power on and resets go first and clear all others, since the initiator has to look at everything again.
    /// - Nexus loss goes first and clears nothing.
    /// - Beside a greater one of ASC 29h a lesser one is nothing new.
    pub fn push(&mut self, sense: Sense) -> bool {
        let codes = Codes::from(&sense);
        if !sense.is_unit_attention() || codes == Codes::NONE || self.contains(&sense) {
            return false;
        }
        match codes.reach() {
            0 => self.push_back(codes),
            reach if self.first_reach() >= reach => false,
            1 => self.push_front(codes),
            _ => {
                self.clear();
                self.push_front(codes)
            }
        }
    }

    /// The next condition, which stays.
    pub fn first(&self) -> Option<Sense> {
        self.iter().next()
    }

    /// Takes the next condition: it is being reported.
    pub fn pop(&mut self) -> Option<Sense> {
        let sense = self.first()?;
        self.remove(&sense);
        Some(sense)
    }

    /// Puts back a condition whose report did not reach the initiator because the command was aborted.
    ///
    /// It becomes the next one again, except for an ASC 29h that came in between.
    pub fn unpop(&mut self, sense: Sense) -> bool {
        if !sense.is_unit_attention() || self.contains(&sense) || self.len() >= CAPACITY {
            return false;
        }
        let codes = Codes::from(&sense);
        if codes.reach() > 0 {
            return self.push(sense);
        }
        let reset = self.first().filter(|s| Codes::from(s).reach() > 0);
        if let Some(reset) = reset {
            self.remove(&reset);
        }
        let done = self.push_front(codes);
        if let Some(reset) = reset {
            self.push_front(Codes::from(&reset));
        }
        done
    }

    /// Clears what a command has reported in its own way.
    pub fn answered(&mut self, what: Answered) {
        self.remove(&match what {
            Answered::ReportLuns => REPORTED_LUNS_DATA_HAS_CHANGED,
            Answered::Inquiry => INQUIRY_DATA_HAS_CHANGED,
        });
    }

    /// Removes one condition, wherever it is.
    pub fn remove(&mut self, sense: &Sense) {
        let gone = Codes::from(sense);
        let old = *self;
        self.clear();
        for codes in old.entries.iter().take(old.len()).filter(|c| **c != gone) {
            self.push_back(*codes);
        }
    }

    /// Removes all.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    fn first_reach(&self) -> u8 {
        self.entries.first().map_or(0, |c| c.reach())
    }

    /// Appends; `false` if the queue is full.
    fn push_back(&mut self, codes: Codes) -> bool {
        match self.entries.get_mut(usize::from(self.len)) {
            Some(slot) => {
                *slot = codes;
                self.len = self.len.saturating_add(1);
                true
            }
            None => false,
        }
    }

    /// Inserts at the front; `false` if the queue is full.
    fn push_front(&mut self, codes: Codes) -> bool {
        if self.len() >= CAPACITY {
            return false;
        }
        let mut carry = codes;
        for slot in &mut self.entries {
            core::mem::swap(slot, &mut carry);
        }
        self.len = self.len.saturating_add(1);
        true
    }
}

impl Default for UaQueue {
    fn default() -> Self {
        Self::new()
    }
}
