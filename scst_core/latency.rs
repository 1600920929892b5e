// SPDX-License-Identifier: GPL-2.0

//! `sessions/<name>/latency`: how long the commands of a session are in each
//! part of the target, by direction and size; while `measure_latency` is on.
//!
//! The parts are `DATA_WAIT`, until the transport has fetched the data-out;
//! `EXEC_WAIT`, until the device has executed the command, with the time that
//! it waited for a thread; and `XMIT_WAIT`, until the transport has sent the
//! response. Together they are the life of the command in the target.

use crate::{cmd::Command, session::Session, util::emit};
use kapi::{
    lock::{new_spinlock_irq, SpinLockIrq},
    sysfs::{Attr, Dir, Group, Page, Parent},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use scst_proto::opcode::Direction;

static MEASURING: Atomic<u32> = Atomic::new(0);

/// Whether latencies are measured. Any context.
#[inline]
pub(crate) fn measuring() -> bool {
    MEASURING.load(Relaxed) != 0
}

/// Switches the measurement. The sessions that are to be measured
/// [have room](Latency::make_room) before.
pub(crate) fn set_measuring(on: bool) {
    MEASURING.store(u32::from(on), Relaxed);
}

/// Sizes: class n has commands of more than 256 << n and at most 512 << n bytes;
/// the first one has shorter ones as well, the last one longer ones.
const SIZES: usize = 11;
const KINDS: usize = 4;
const PARTS: [&str; 3] = ["DATA_WAIT", "EXEC_WAIT", "XMIT_WAIT"];

/// Times of one part of commands of one kind and size, in units of 100 ns.
#[derive(Clone, Default)]
struct Times {
    count: u64,
    min: u64,
    max: u64,
    sum: u64,
    squares: u64,
}

impl Times {
    fn add(&mut self, time: u64) {
        self.min = match self.count {
            0 => time,
            _ => self.min.min(time),
        };
        self.max = self.max.max(time);
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(time);
        self.squares = self.squares.saturating_add(time.saturating_mul(time));
    }

    fn average(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// The standard deviation.
    fn deviation(&self) -> u64 {
        let mean = self.average();
        let of_squares = self.squares.checked_div(self.count).unwrap_or(0);
        of_squares.saturating_sub(mean.saturating_mul(mean)).isqrt()
    }
}

/// Units of 100 ns as microseconds.
struct Micros(u64);

impl ::core::fmt::Display for Micros {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

fn size_class(bytes: u32) -> usize {
    let pieces = bytes.max(1).div_ceil(512);
    let class = pieces
        .checked_next_power_of_two()
        .map_or(SIZES, |n| n.trailing_zeros() as usize);
    class.min(SIZES - 1)
}

fn index(kind: usize, size: usize, part: usize) -> usize {
    (size * KINDS + kind) * PARTS.len() + part
}

/// What was measured of a session.
#[pin_data]
pub(crate) struct Latency {
    /// Nothing before the first measurement.
    #[pin]
    times: SpinLockIrq<KVec<Times>>,
}

impl Latency {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            times <- new_spinlock_irq!(KVec::new(), "scst_latency"),
        })
    }

    /// Makes room for the times, if there is none yet. Sleeps.
    pub(crate) fn make_room(&self) -> Result {
        if !self.times.lock().is_empty() {
            return Ok(());
        }
        let room = KVec::from_elem(Times::default(), index(0, SIZES, 0), GFP_KERNEL)?;
        let old = ::core::mem::replace(&mut *self.times.lock(), room);
        drop(old);
        Ok(())
    }

    /// Counts a command that ends now. Any context.
    pub(crate) fn record(&self, cmd: &Command) {
        let now = kapi::time::clock_ns();
        let kind = match cmd.direction {
            Direction::None => 0,
            Direction::In => 1,
            Direction::Out => 2,
        };
        let size = size_class(cmd.expected.min(cmd.prepared));
        let ready = match cmd.fetched_ns {
            0 => cmd.started_ns,
            fetched => fetched,
        };
        let spans = [
            (cmd.fetched_ns != 0).then_some((cmd.started_ns, cmd.fetched_ns)),
            Some((ready, cmd.answered_ns)),
            Some((cmd.answered_ns, now)),
        ];
        let mut times = self.times.lock();
        for (part, span) in spans.iter().enumerate() {
            if let (Some((from, to)), Some(at)) = (span, times.get_mut(index(kind, size, part))) {
                at.add(to.saturating_sub(*from) / 100);
            }
        }
    }

    fn show(&self, page: &mut Page<'_>, kind: usize, size: usize) -> Result {
        emit!(page, "state count min max avg stddev\n");
        let mut found = [const { None::<Times> }; PARTS.len()];
        {
            let times = self.times.lock();
            for (part, to) in found.iter_mut().enumerate() {
                *to = times
                    .get(index(kind, size, part))
                    .filter(|t| t.count != 0)
                    .cloned();
            }
        }
        let (mut most, mut average, mut variance) = (0, 0u64, 0u64);
        for (name, times) in PARTS.iter().zip(&found) {
            let Some(times) = times else { continue };
            let deviation = times.deviation();
            emit!(
                page,
                "{} {} {} {} {} {} us\n",
                name,
                times.count,
                Micros(times.min),
                Micros(times.max),
                Micros(times.average()),
                Micros(deviation)
            );
            most = times.count.max(most);
            average = average.saturating_add(times.average());
            variance = variance.saturating_add(deviation.saturating_mul(deviation));
        }
        if most != 0 {
            let deviation = Micros(variance.isqrt());
            emit!(
                page,
                "total {} - - {} {} us\n",
                most,
                Micros(average),
                deviation
            );
        }
        Ok(())
    }

    fn reset(&self) -> Result {
        for times in self.times.lock().iter_mut() {
            *times = Times::default();
        }
        Ok(())
    }
}

macro_rules! files {
    ($($n:literal $r:literal $w:literal $b:literal => $size:expr;)*) => {
        &[$(
            Attr::rw(
                $n,
                |s, p| s.latency.show(p, 0, $size),
                |s, _| s.latency.reset(),
                "Commands without data. Write to reset all.",
            ),
            Attr::rw(
                $r,
                |s, p| s.latency.show(p, 1, $size),
                |s, _| s.latency.reset(),
                "Reads of this size, and down to half of it. Write to reset all.",
            ),
            Attr::rw(
                $w,
                |s, p| s.latency.show(p, 2, $size),
                |s, _| s.latency.reset(),
                "Writes of this size, and down to half of it. Write to reset all.",
            ),
            Attr::rw(
                $b,
                |s, p| s.latency.show(p, 3, $size),
                |s, _| s.latency.reset(),
                "Bidirectional commands. Write to reset all.",
            ),
        )*]
    };
}

static FILES: &[Attr<Session>] = files! {
    c"n512" c"r512" c"w512" c"b512" => 0;
    c"n1024" c"r1024" c"w1024" c"b1024" => 1;
    c"n2048" c"r2048" c"w2048" c"b2048" => 2;
    c"n4096" c"r4096" c"w4096" c"b4096" => 3;
    c"n8192" c"r8192" c"w8192" c"b8192" => 4;
    c"n16384" c"r16384" c"w16384" c"b16384" => 5;
    c"n32768" c"r32768" c"w32768" c"b32768" => 6;
    c"n65536" c"r65536" c"w65536" c"b65536" => 7;
    c"n131072" c"r131072" c"w131072" c"b131072" => 8;
    c"n262144" c"r262144" c"w262144" c"b262144" => 9;
    c"n524288" c"r524288" c"w524288" c"b524288" => 10;
};

/// The `latency` directory of a session, in `own`.
pub(crate) fn publish(own: &Dir, session: &Arc<Session>) -> Result<Dir> {
    let mut groups = KVec::new();
    groups.push(Group::new(session.clone(), FILES)?, GFP_KERNEL)?;
    Dir::create(Parent::Dir(own), b"latency", groups)
}
