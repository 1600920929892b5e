// SPDX-License-Identifier: GPL-2.0

//! Pools of threads for commands whose handler sleeps.
//!
//! The queue links commands through their own slots, so queueing one never
//! fails and never allocates. Its lock is shared only by the threads of one pool
//! and those who feed it.

use crate::cmd::{Command, CommandLoan, Task};
use kapi::{
    cpumask::CpuMask,
    handover::{new_handover, Handover},
    thread::Thread,
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};

/// Most threads that `threads_num` may ask for.
pub(crate) const MAX_THREADS: u32 = 256;

/// `poll_us`: microseconds that a thread looks for commands before it sleeps.
static POLL_US: Atomic<u32> = Atomic::new(0);

/// The `poll_us` in force.
pub(crate) fn poll_us() -> u32 {
    POLL_US.load(Relaxed)
}

/// Sets `poll_us`, for threads that run out of commands from now on.
pub(crate) fn set_poll_us(us: u32) {
    POLL_US.store(us, Relaxed);
}

/// A pool of threads that execute commands.
#[pin_data]
pub(crate) struct ThreadPool {
    work: Arc<Handover<Task, Command>>,
    #[pin]
    threads: Mutex<KVec<Thread>>,
    /// How many they are, for who cannot sleep.
    count: Atomic<u32>,
    name: CString,
    /// NUMA node, or -1.
    node: i32,
}

impl ThreadPool {
    /// A pool without threads; they are called `<name>_<n>`, cut to the 15
    /// characters that the kernel keeps. May sleep.
    pub(crate) fn new(name: &str, node: i32) -> Result<Arc<Self>> {
        let work = Arc::pin_init(new_handover!(), GFP_KERNEL)?;
        let name = CString::try_from_fmt(fmt!("{}", name))?;
        Arc::pin_init(
            pin_init!(Self {
                work,
                threads <- new_mutex!(KVec::new()),
                count: Atomic::new(0),
                name,
                node,
            }),
            GFP_KERNEL,
        )
    }

    /// Whether there is a thread. Any context.
    pub(crate) fn has_threads(&self) -> bool {
        self.count.load(Relaxed) != 0
    }

    /// Queues a command. Any context. There has to be a thread, or one has to
    /// come, for it to be executed.
    pub(crate) fn push(&self, loan: CommandLoan) {
        self.work.push(loan);
    }

    /// Ends the queued commands that are marked aborted: nobody works on them, and
    /// the threads may be busy for long. Any context.
    pub(crate) fn end_aborted(&self) {
        let aborted = |loan: &CommandLoan| loan.shared().is_aborted();
        crate::pipeline::end_aborted(self.work.extract(aborted));
    }

    /// Makes the pool have `count` threads: [`ThreadPool::shrink`], then
    /// [`ThreadPool::grow`].
    pub(crate) fn resize(&self, count: u32, cpus: Option<&CpuMask>) -> Result {
        self.shrink(count);
        self.grow(count, cpus)
    }

    /// Stops threads until there are at most `count`. They finish the queue
    /// first if they are the last, and in any case the command that they
    /// execute. Sleeps as long as that takes, so not under a lock that a handler
    /// may want: the configuration's, above all.
    pub(crate) fn shrink(&self, count: u32) {
        while let Some(surplus) = self.take_surplus(count as usize) {
            drop(surplus);
        }
    }

    /// Starts threads until there are `count`, but no more than
    /// [`MAX_THREADS`]. Sleeps. After an error the pool has those that it could
    /// start.
    pub(crate) fn grow(&self, count: u32, cpus: Option<&CpuMask>) -> Result {
        let count = count.min(MAX_THREADS) as usize;
        let mut threads = self.threads.lock();
        while threads.len() < count {
            let work = self.work.clone();
            let thread = Thread::spawn(
                fmt!("{}_{}", &*self.name, threads.len()),
                self.node,
                move |ctx| {
                    while let Some(loan) = work.next_polling(ctx, POLL_US.load(Relaxed)) {
                        crate::pipeline::execute(loan);
                    }
                },
            )?;
            if let Some(cpus) = cpus.filter(|cpus| !cpus.is_empty()) {
                thread.set_cpus(cpus)?;
            }
            pr_debug!("Processing thread {} started\n", thread.pid());
            threads.push(thread, GFP_KERNEL)?;
            self.count.store(threads.len() as u32, Relaxed);
        }
        Ok(())
    }

    fn take_surplus(&self, count: usize) -> Option<Thread> {
        let mut threads = self.threads.lock();
        let surplus = (threads.len() > count).then(|| threads.pop()).flatten();
        self.count.store(threads.len() as u32, Relaxed);
        surplus
    }

    /// Binds all threads to `cpus`. Sleeps.
    pub(crate) fn set_cpus(&self, cpus: &CpuMask) -> Result {
        self.threads
            .lock()
            .iter()
            .try_for_each(|t| t.set_cpus(cpus))
    }

    /// Calls `f` with the PID of every thread.
    pub(crate) fn for_each_pid(&self, mut f: impl FnMut(i32)) {
        for thread in self.threads.lock().iter() {
            f(thread.pid());
        }
    }
}
