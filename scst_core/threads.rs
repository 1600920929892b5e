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
    threads: Mutex<Threads>,
    /// How many they are, for who cannot sleep.
    count: Atomic<u32>,
    name: CString,
    /// NUMA node, or -1.
    node: i32,
}

#[derive(Default)]
struct Threads {
    list: KVec<Thread>,
    /// Those that they run on; `None` is all.
    cpus: Option<Arc<CpuMask>>,
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
                threads <- new_mutex!(Threads::default()),
                count: Atomic::new(0),
                name,
                node,
            }),
            GFP_KERNEL,
        )
    }

    /// Whether there is a thread. Any context.
    pub(crate) fn has_threads(&self) -> bool {
        self.count() != 0
    }

    /// How many threads there are. Any context.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
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
    pub(crate) fn resize(&self, count: u32) -> Result {
        self.shrink(count);
        self.grow(count)
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
    pub(crate) fn grow(&self, count: u32) -> Result {
        let count = count.min(MAX_THREADS) as usize;
        let mut threads = self.threads.lock();
        let Threads { list, cpus } = &mut *threads;
        while list.len() < count {
            let work = self.work.clone();
            let thread = Thread::spawn(
                fmt!("{}_{}", &*self.name, list.len()),
                self.node,
                move |ctx| {
                    while let Some(loan) = work.next_polling(ctx, POLL_US.load(Relaxed)) {
                        crate::pipeline::execute(loan);
                    }
                },
            )?;
            if let Some(cpus) = cpus.as_deref().filter(|cpus| !cpus.is_empty()) {
                thread.set_cpus(cpus)?;
            }
            pr_debug!("Processing thread {} started\n", thread.pid());
            list.push(thread, GFP_KERNEL)?;
            self.count.store(list.len() as u32, Relaxed);
        }
        Ok(())
    }

    fn take_surplus(&self, count: usize) -> Option<Thread> {
        let list = &mut self.threads.lock().list;
        let surplus = (list.len() > count).then(|| list.pop()).flatten();
        self.count.store(list.len() as u32, Relaxed);
        surplus
    }

    /// Has all threads, those to come too, run on the CPUs that `cpus` says, with the lock of the
    /// threads held: of several that ask the same, the last one is right. `None` is all; an empty set
    /// changes nothing of those that there are. Sleeps.
    pub(crate) fn set_cpus(&self, cpus: impl FnOnce() -> Option<Arc<CpuMask>>) -> Result {
        let all = CpuMask::all()?;
        let mut threads = self.threads.lock();
        threads.cpus = cpus();
        let cpus = threads.cpus.as_deref().unwrap_or(&all);
        if cpus.is_empty() {
            return Ok(());
        }
        threads.list.iter().try_for_each(|t| t.set_cpus(cpus))
    }

    /// Calls `f` with the PID of every thread.
    pub(crate) fn for_each_pid(&self, mut f: impl FnMut(i32)) {
        for thread in self.threads.lock().list.iter() {
            f(thread.pid());
        }
    }
}
