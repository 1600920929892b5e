// SPDX-License-Identifier: GPL-2.0

//! The copies that run, and what became of others: what RECEIVE COPY STATUS asks
//! for. An initiator port knows a copy by its list identifier; what it did not
//! give one is known to nobody.

use crate::{copy_io::Failure, copy_tokens::Token};
use kapi::{
    lock::{new_spinlock_irq, SpinLockIrq},
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        new_mutex, Arc, Mutex,
    },
};
use scst_proto::{
    copy::{
        report::{Progress, Status},
        MAX_COPIES, MAX_RESULTS,
    },
    pr::NexusId,
    sense::{Sense, OPERATION_IN_PROGRESS},
};

/// Who knows a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The I_T nexus.
    pub(crate) nexus: NexusId,
    /// The logical unit that the command was sent to.
    pub(crate) device: u32,
}

/// How a copy ended.
#[derive(Clone, Copy)]
struct Outcome {
    progress: Progress,
    status: u8,
    sense: Option<Sense>,
}

/// A copy.
#[pin_data]
pub(crate) struct Job {
    owner: Owner,
    id: Option<u32>,
    action: u16,
    /// log2 of the blocks that its status counts, if not bytes.
    block_shift: Option<u32>,
    background: bool,
    /// What POPULATE TOKEN made.
    pub(crate) token: Option<Arc<Token>>,
    /// Segments that were copied.
    pub(crate) segments: Atomic<u32>,
    /// Bytes that were copied.
    pub(crate) bytes: Atomic<u64>,
    cancelled: Atomic<u32>,
    ended: Atomic<u32>,
    #[pin]
    outcome: SpinLockIrq<Option<Outcome>>,
    #[pin]
    wait: WaitQueue,
}

impl Job {
    /// Whether it is not to go on. Any context.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed) != 0
    }

    /// What is known of it now. Any context.
    pub(crate) fn status(&self) -> Status {
        let outcome = *self.outcome.lock();
        let outcome = outcome.unwrap_or(Outcome {
            progress: match self.background {
                true => Progress::Background,
                false => Progress::Foreground,
            },
            status: 0,
            sense: None,
        });
        Status {
            progress: outcome.progress,
            action: self.action,
            segments: u16::try_from(self.segments.load(Relaxed)).unwrap_or(u16::MAX),
            bytes: self.bytes.load(Relaxed),
            block_shift: self.block_shift,
            status: outcome.status,
            sense: outcome.sense,
        }
    }

    fn is_running(&self) -> bool {
        self.ended.load(Acquire) == 0
    }

    /// Notes how it ended.
    pub(crate) fn end(&self, result: Result<(), Failure>, status: u8, sense: Option<Sense>) {
        let progress = match result {
            Ok(()) => Progress::Complete,
            Err(Failure::Aborted) => Progress::Terminated,
            Err(_) => Progress::Failed,
        };
        *self.outcome.lock() = Some(Outcome {
            progress,
            status,
            sense,
        });
        self.ended.store(1, Release);
        self.wait.wake_all();
    }

    /// Keeps it from going on, and waits until it does not. Sleeps.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(1, Relaxed);
        self.wait.wait_until(|| !self.is_running());
    }
}

/// All copies that are known.
#[pin_data]
pub(crate) struct Jobs {
    /// The oldest first.
    #[pin]
    all: Mutex<KVec<Arc<Job>>>,
}

impl Jobs {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            all <- new_mutex!(KVec::new(), "scst_copies"),
        })
    }

    /// A new copy, which is to [`Job::end`]. Sleeps.
    pub(crate) fn begin(
        &self,
        owner: Owner,
        id: Option<u32>,
        (action, block_shift): (u16, Option<u32>),
        background: bool,
        token: Option<Arc<Token>>,
    ) -> Result<Arc<Job>, Failure> {
        let job = Arc::pin_init(
            pin_init!(Job {
                owner,
                id,
                action,
                block_shift,
                background,
                token,
                segments: Atomic::new(0),
                bytes: Atomic::new(0),
                cancelled: Atomic::new(0),
                ended: Atomic::new(0),
                outcome <- new_spinlock_irq!(None),
                wait <- new_wait_queue!(),
            }),
            GFP_KERNEL,
        )?;
        let mut all = self.all.lock();
        let same = |other: &Arc<Job>| id.is_some() && other.owner == owner && other.id == id;
        if all.iter().any(|other| same(other) && other.is_running()) {
            return Err(OPERATION_IN_PROGRESS.into());
        }
        if all.iter().filter(|other| other.is_running()).count() >= usize::from(MAX_COPIES) {
            return Err(Failure::Busy);
        }
        // What is known of an older one with the identifier is known no more, nor
        // what nobody can ask for.
        all.retain(|other| other.is_running() || (other.id.is_some() && !same(other)));
        if all.len() >= MAX_RESULTS {
            if let Some(at) = all.iter().position(|other| !other.is_running()) {
                drop(all.remove(at));
            }
        }
        all.push(job.clone(), GFP_KERNEL)?;
        Ok(job)
    }

    /// The copy that `owner` calls `id`. Sleeps.
    pub(crate) fn find(&self, owner: Owner, id: u32) -> Option<Arc<Job>> {
        let all = self.all.lock();
        let mut known = all.iter();
        known
            .find(|job| job.owner == owner && job.id == Some(id))
            .cloned()
    }

    /// A reset ends the copies that a logical unit was asked for: they do not go on.
    pub(crate) fn cancel_all(&self, device: u32) {
        for job in self.all.lock().iter() {
            if job.owner.device == device {
                job.cancelled.store(1, Relaxed);
            }
        }
    }

    /// Waits until no copy runs that a logical unit was asked for, or for `ms`
    /// milliseconds; false if one does. Sleeps.
    pub(crate) fn wait_ended(&self, device: u32, ms: u32) -> bool {
        loop {
            let job = {
                let all = self.all.lock();
                let mut jobs = all.iter();
                let its = |job: &&Arc<Job>| job.owner.device == device && job.is_running();
                jobs.find(its).cloned()
            };
            let Some(job) = job else { return true };
            if !job.wait.wait_until_timeout(ms, || !job.is_running()) {
                return false;
            }
        }
    }
}
