// SPDX-License-Identifier: GPL-2.0

//! Thresholds of logical block provisioning (SBC-4 4.7.3.7): when initiators are told that the space behind a thin disk is
//! running out.
//!
//! Resources are counted in threshold sets, here of one MiB each. A threshold has a range, half a set to both sides of its
//! count: it is reached on one side, and reached again only after the other side was seen, so that a level that wavers does
//! not tell anybody twice.
//!
//! ```
//! use scst_proto::threshold::{Resources, Threshold, Thresholds, Watch, SET};
//!
//! let available = Threshold { enabled: true, count: 100 };
//! let thresholds = Thresholds { available, ..Thresholds::NONE };
//! let mut watch = Watch::new();
//! let at = |sets: u64| Resources { available: sets * SET, used: 0 };
//! assert!(!watch.look(&thresholds, &at(101)));
//! assert!(watch.look(&thresholds, &at(99)));
//! // It was told.
//! assert!(!watch.look(&thresholds, &at(98)));
//! assert!(!watch.look(&thresholds, &at(101)));
//! assert!(watch.look(&thresholds, &at(99)));
//! ```

/// log2 of [`SET`].
pub const SET_SHIFT: u32 = 20;
/// Bytes of a threshold set.
pub const SET: u64 = 1 << SET_SHIFT;

/// THRESHOLD EXPONENT of VPD page B2h for blocks of `1 << block_shift` bytes: log2 of a threshold set in logical blocks. 0,
/// no thresholds, with blocks of that size or larger.
pub const fn exponent(block_shift: u32) -> u8 {
    // At most 20.
    SET_SHIFT.saturating_sub(block_shift) as u8
}

/// LBA mapping resources in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// What may be used yet, by others too.
    pub available: u64,
    /// What this logical unit has.
    pub used: u64,
}

/// RESOURCE COUNT of a log parameter (SBC-4 6.4.5): whole threshold sets.
pub fn sets(bytes: u64) -> u32 {
    u32::try_from(bytes >> SET_SHIFT).unwrap_or(u32::MAX)
}

/// What can be changed of a threshold descriptor (SBC-4 6.5.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threshold {
    /// ENABLED.
    pub enabled: bool,
    /// THRESHOLD COUNT: threshold sets.
    pub count: u32,
}

impl Threshold {
    /// The ends of the range in bytes: THRESHOLD MINIMUM and MAXIMUM of SBC-4 4.7.3.7.2.
    fn range(self) -> (u64, u64) {
        let middle = u64::from(self.count) << SET_SHIFT;
        (
            middle.saturating_sub(SET / 2),
            middle.saturating_add(SET / 2),
        )
    }
}

/// The thresholds of a logical unit, one of each kind, and who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// LBPERE of the Read-Write Error Recovery mode page: initiators are told at all.
    pub report: bool,
    /// SITUA: one I_T nexus is told, that of the command that reached the threshold; else all are.
    pub situa: bool,
    /// An armed decreasing threshold of the available resources.
    pub available: Threshold,
    /// An armed increasing threshold of the used resources.
    pub used: Threshold,
}

impl Thresholds {
    /// The default: initiators would be told, but of nothing.
    pub const NONE: Self = Self {
        report: true,
        situa: false,
        available: Threshold {
            enabled: false,
            count: 0,
        },
        used: Threshold {
            enabled: false,
            count: 0,
        },
    };

    /// Whether there is anything to look for.
    pub const fn watched(&self) -> bool {
        self.report && (self.available.enabled || self.used.enabled)
    }
}

/// What a threshold waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// To be reached.
    Armed,
    /// For the level to go back; it has been reached.
    Reached,
}

impl Waits {
    /// Goes on with a level that is at (`reached`) or beyond the side where the threshold is reached, or behind the other
    /// one (`back`); whether it is reached now.
    fn next(&mut self, reached: bool, back: bool) -> bool {
        match (*self, reached, back) {
            (Self::Armed, true, _) => {
                *self = Self::Reached;
                true
            }
            (Self::Reached, _, true) => {
                *self = Self::Armed;
                false
            }
            _ => false,
        }
    }
}

/// The state of both thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    available: Waits,
    used: Waits,
}

impl Watch {
    /// After power on, a reset or a change of the thresholds. A threshold that is passed then is reached at the first look.
    pub const fn new() -> Self {
        Self {
            available: Waits::Armed,
            used: Waits::Armed,
        }
    }

    /// Looks at the resources now; whether initiators are to be told: THIN PROVISIONING SOFT THRESHOLD REACHED.
    pub fn look(&mut self, thresholds: &Thresholds, now: &Resources) -> bool {
        let mut told = false;
        if thresholds.available.enabled {
            let (low, high) = thresholds.available.range();
            told |= self
                .available
                .next(now.available < low, now.available > high);
        }
        if thresholds.used.enabled {
            let (low, high) = thresholds.used.range();
            told |= self.used.next(now.used > high, now.used < low);
        }
        told && thresholds.report
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}
