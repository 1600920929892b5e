// SPDX-License-Identifier: GPL-2.0

//! Counters and latency histograms of a nexus: always on, per CPU.

use crate::{
    cmd::{status, Command},
    util::emit,
};
use kapi::{percpu::PerCpuCounters, sysfs::Page};
use kernel::prelude::*;
use scst_proto::opcode::Direction;

/// The kinds that SCST's counter files distinguish.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unknown = 0,
    Write = 1,
    Read = 2,
    Bidi = 3,
    None = 4,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Unknown, "unknown"),
    (Kind::Write, "write"),
    (Kind::Read, "read"),
    (Kind::Bidi, "bidi"),
    (Kind::None, "none"),
];

impl Kind {
    fn of(cmd: &Command) -> Self {
        match cmd.direction {
            Direction::None => Self::None,
            Direction::In => Self::Read,
            Direction::Out => Self::Write,
        }
    }
}

/// What is counted of each kind.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Commands = 0,
    Bytes = 1,
    /// Commands that are not made of whole, aligned 4 KiB pieces.
    Unaligned = 2,
    Failed = 3,
}

/// Latency classes: class n holds commands that took less than 2^n us, and not
/// less than half of that; the last one holds the rest (above 4 s).
const CLASSES: usize = 24;
const PER_KIND: usize = 4 + CLASSES;

fn index(kind: Kind, count: Count) -> usize {
    kind as usize * PER_KIND + count as usize
}

fn class_index(kind: Kind, class: usize) -> usize {
    kind as usize * PER_KIND + 4 + class
}

/// The counters of one nexus.
pub(crate) struct Stats {
    counters: PerCpuCounters,
}

impl Stats {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            counters: PerCpuCounters::new(KINDS.len() * PER_KIND)?,
        })
    }

    /// Counts a command that has ended, its latency in units of 1,024 ns. Any context.
    #[inline]
    pub(crate) fn account(&self, cmd: &Command, block_shift: u32) {
        let kind = Kind::of(cmd);
        let us = kapi::time::clock_ns().saturating_sub(cmd.started_ns) >> 10;
        let class = ((u64::BITS - us.leading_zeros()) as usize).min(CLASSES - 1);
        let offset = cmd.cdb.lba.checked_shl(block_shift).unwrap_or(0);
        let unaligned = (offset | u64::from(cmd.moved)) & 4095 != 0 && cmd.moved != 0;
        self.counters.add([
            (index(kind, Count::Commands), 1),
            (index(kind, Count::Bytes), u64::from(cmd.moved)),
            (class_index(kind, class), 1),
        ]);
        if unaligned {
            self.counters.add([(index(kind, Count::Unaligned), 1)]);
        }
        if cmd.status != status::GOOD {
            self.counters.add([(index(kind, Count::Failed), 1)]);
        }
    }

    pub(crate) fn sum(&self, kind: Kind, count: Count) -> u64 {
        self.counters.sum(index(kind, count))
    }

    pub(crate) fn reset(&self, kind: Kind, count: Count) {
        self.counters.reset(index(kind, count));
    }

    /// `kind commands bytes unaligned failed`, a line each.
    pub(crate) fn show_all(&self, page: &mut Page<'_>) -> Result {
        emit!(page, "kind commands bytes unaligned failed\n");
        for (kind, name) in KINDS {
            emit!(
                page,
                "{} {} {} {} {}\n",
                name,
                self.sum(kind, Count::Commands),
                self.sum(kind, Count::Bytes),
                self.sum(kind, Count::Unaligned),
                self.sum(kind, Count::Failed)
            );
        }
        Ok(())
    }

    /// `below_us read write none`, a line for each class that is not empty.
    pub(crate) fn show_latency(&self, page: &mut Page<'_>) -> Result {
        emit!(page, "below_us read write none\n");
        for class in 0..CLASSES {
            let [read, write, none] = [Kind::Read, Kind::Write, Kind::None]
                .map(|kind| self.counters.sum(class_index(kind, class)));
            if read | write | none == 0 {
                continue;
            }
            match class + 1 == CLASSES {
                true => emit!(page, "inf {} {} {}\n", read, write, none),
                false => emit!(page, "{} {} {} {}\n", 1u64 << class, read, write, none),
            }
        }
        Ok(())
    }
}

/// Counters that no LUN has any more.
#[derive(Default)]
pub(crate) struct Totals([[u64; 4]; KINDS.len()]);

impl Totals {
    /// Adds what `stats` counted.
    pub(crate) fn add(&mut self, stats: &Stats) {
        for ((kind, _), counts) in KINDS.iter().zip(&mut self.0) {
            let all = [
                Count::Commands,
                Count::Bytes,
                Count::Unaligned,
                Count::Failed,
            ];
            for (count, sum) in all.iter().zip(counts) {
                *sum = sum.wrapping_add(stats.sum(*kind, *count));
            }
        }
    }

    fn at(&mut self, kind: Kind, count: Count) -> Option<&mut u64> {
        self.0.get_mut(kind as usize)?.get_mut(count as usize)
    }

    pub(crate) fn get(&mut self, kind: Kind, count: Count) -> u64 {
        self.at(kind, count).map_or(0, |n| *n)
    }

    pub(crate) fn reset(&mut self, kind: Kind, count: Count) {
        if let Some(n) = self.at(kind, count) {
            *n = 0;
        }
    }
}
