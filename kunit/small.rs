// SPDX-License-Identifier: GPL-2.0

//! `kapi::percpu`, `kapi::cpumask`, `kapi::param`, `kapi::work`, `kapi::time`.

use crate::{check, vfs::Sysfs};
use core::fmt::Write;
use kapi::{
    cpumask::CpuMask, percpu::PerCpuCounters, thread::Thread, time::now_ns, work::WorkQueue,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

pub(crate) fn percpu_sums() -> Result {
    const EACH: u64 = 10_000;
    let counters = Arc::new(PerCpuCounters::new(3)?, GFP_KERNEL)?;
    check!(counters.len() == 3 && PerCpuCounters::new(0).is_err());
    let mut threads = KVec::new();
    for i in 0..3 {
        let counters = counters.clone();
        let thread = Thread::spawn(fmt!("kapi_adder/{}", i), -1, move |_| {
            for _ in 0..EACH {
                counters.add([(0, 1), (2, 512), (3, 7), (usize::MAX, 7)]);
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    drop(threads);
    let n = 3 * EACH;
    check!(counters.sum(0) == n);
    check!(counters.sum(1) == 0 && counters.sum(2) == 512 * n && counters.sum(3) == 0);
    counters.reset(2);
    check!(counters.sum(2) == 0 && counters.sum(0) == n);
    counters.add([]);
    counters.add([(1, u64::MAX), (1, 3)]);
    check!(counters.sum(1) == 2);
    counters.reset_all();
    check!((0..3).all(|i| counters.sum(i) == 0));
    Ok(())
}

/// A text of at most 4 KiB.
struct Text(KVec<u8>);

impl Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        self.0
            .extend_from_slice(s.as_bytes(), GFP_KERNEL)
            .map_err(|_| core::fmt::Error)
    }
}

fn shown(mask: &CpuMask) -> Result<KVec<u8>> {
    let mut text = Text(KVec::new());
    write!(text, "{mask}").map_err(|_| ENOMEM)?;
    Ok(text.0)
}

pub(crate) fn cpu_masks() -> Result {
    let all = CpuMask::all()?;
    check!(!all.is_empty() && all.contains(0) && !all.contains(u32::MAX));
    // What is shown can be written.
    check!(CpuMask::parse(&shown(&all)?)? == all);
    check!(all.try_clone()? == all);
    let none = CpuMask::empty()?;
    check!(none.is_empty() && none != all && !none.contains(0));
    check!(CpuMask::parse(b"0\n")? == none);
    check!(CpuMask::parse(b" 1 \n")?.contains(0));
    check!(shown(&none)?.iter().all(|c| matches!(c, b'0' | b',')));
    // 128 CPUs are more than a test machine has.
    check!(CpuMask::parse(b"ffffffff,ffffffff,ffffffff,ffffffff").is_err());
    for bad in [&b"x"[..], b"1,x", b"-1", b"1\x001", b"fffffffff"] {
        check!(CpuMask::parse(bad).is_err());
    }
    Ok(())
}

pub(crate) fn parameters() -> Result {
    let fs = Sysfs::mount()?;
    let before = (crate::NUMBER.get(), crate::FLAG.get(), crate::TEXT.get());
    crate::NUMBER.set(8);
    check!(crate::NUMBER.get() == 8);
    check!(&fs.read(c"module/scst_kunit/parameters/number")?[..] == b"8\n");
    fs.write(c"module/scst_kunit/parameters/number", b"0x10\n")?;
    check!(crate::NUMBER.get() == 16);
    for bad in [&b"101"[..], b"-1", b"", b"x", b"99999999999"] {
        check!(
            fs.write(c"module/scst_kunit/parameters/number", bad)
                .is_err()
                || bad.is_empty()
        );
    }
    check!(crate::NUMBER.get() == 16);
    fs.write(c"module/scst_kunit/parameters/flag", b"y")?;
    check!(crate::FLAG.get());
    check!(&fs.read(c"module/scst_kunit/parameters/flag")?[..] == b"Y\n");
    fs.write(c"module/scst_kunit/parameters/text", b"12345678\n")?;
    check!(crate::TEXT.get().as_bytes() == b"12345678");
    check!(fs
        .write(c"module/scst_kunit/parameters/text", b"123456789")
        .is_err());
    check!(&fs.read(c"module/scst_kunit/parameters/text")?[..] == b"12345678\n");
    crate::NUMBER.set(before.0);
    crate::FLAG.set(before.1);
    crate::TEXT.set(before.2);
    Ok(())
}

pub(crate) fn work_is_drained() -> Result {
    let done = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
    let queue = WorkQueue::new(c"kapi_kunit")?;
    for i in 0..100 {
        let done = done.clone();
        let work = move || {
            done.add(1, Relaxed);
        };
        if i % 2 == 0 {
            queue.queue(work)?;
        } else {
            queue.queue_atomic(work)?;
        }
    }
    queue.flush();
    check!(done.load(Relaxed) == 100);
    let late = done.clone();
    queue.queue(move || {
        kapi::time::sleep_ms(20);
        late.add(1, Relaxed);
    })?;
    drop(queue);
    check!(done.load(Relaxed) == 101);
    Ok(())
}

pub(crate) fn time_goes_on() -> Result {
    let start = now_ns();
    kapi::time::sleep_ms(20);
    let passed = now_ns() - start;
    check!((10_000_000..10_000_000_000).contains(&passed));
    Ok(())
}
