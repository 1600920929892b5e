// SPDX-License-Identifier: GPL-2.0

//! `kapi::sysfs`: contents, and removal against everything that may be going on.

use crate::{check, vfs::Sysfs};
use core::fmt::Write;
use kapi::{
    sysfs::{Attr, Dir, Group, Page, Parent},
    thread::Thread,
    time::sleep_ms,
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, Mutex,
    },
};

/// What the directories are about.
#[pin_data]
struct Thing {
    value: Atomic<i32>,
    /// A `store` or `show` that waits has come in.
    entered: Atomic<i32>,
    /// It may go on.
    open: Atomic<i32>,
    #[pin]
    gate: WaitQueue,
    /// The directory of itself.
    #[pin]
    own: Mutex<Option<Dir>>,
}

impl Thing {
    fn new() -> Result<Arc<Thing>> {
        Arc::pin_init(
            pin_init!(Thing {
                value: Atomic::new(5),
                entered: Atomic::new(0),
                open: Atomic::new(0),
                gate <- new_wait_queue!(),
                own <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    fn wait_at_gate(&self) {
        self.entered.store(1, Release);
        self.gate.wake_all();
        self.gate.wait_until(|| self.open.load(Acquire) != 0);
    }

    fn wait_entered(&self) {
        self.gate.wait_until(|| self.entered.load(Acquire) != 0);
    }

    fn open_gate(&self) {
        self.open.store(1, Release);
        self.gate.wake_all();
    }
}

static TABLE: &[Attr<Thing>] = &[
    Attr::rw(
        c"value",
        |t, page| {
            let _ = writeln!(page, "{}", t.value.load(Relaxed));
            Ok(())
        },
        |t, bytes| {
            let text = core::str::from_utf8(bytes).map_err(|_| EINVAL)?;
            t.value
                .store(text.trim().parse().map_err(|_| EINVAL)?, Relaxed);
            Ok(())
        },
        "A number",
    ),
    Attr::ro(c"full", fill, "More than there is room for"),
    Attr::wo(
        c"remove",
        |t, _| {
            let own = t.own.lock().take();
            drop(own);
            Ok(())
        },
        "Removes the directory",
    ),
    Attr::wo(
        c"slow_store",
        |t, _| {
            t.wait_at_gate();
            Ok(())
        },
        "Waits",
    ),
    Attr::ro(
        c"slow_show",
        |t, _| {
            t.wait_at_gate();
            Ok(())
        },
        "Waits",
    ),
];

fn fill(_: &Thing, page: &mut Page<'_>) -> Result {
    for _ in 0..5000 {
        page.bytes(b"x");
    }
    Ok(())
}

fn dir(parent: Parent<'_>, name: &[u8], thing: &Arc<Thing>) -> Result<Dir> {
    let mut groups = KVec::new();
    groups.push(Group::new(thing.clone(), TABLE)?, GFP_KERNEL)?;
    Dir::create(parent, name, groups)
}

fn top(thing: &Arc<Thing>) -> Result<Dir> {
    dir(Parent::Kernel, b"kapi_kunit", thing)
}

fn is_err<T>(result: Result<T>, code: Error) -> bool {
    matches!(result, Err(e) if e == code)
}

pub(crate) fn reads_and_writes() -> Result {
    let (fs, thing) = (Sysfs::mount()?, Thing::new()?);
    let top = top(&thing)?;
    check!(&fs.read(c"kernel/kapi_kunit/value")?[..] == b"5\n");
    fs.write(c"kernel/kapi_kunit/value", b"42\n")?;
    check!(thing.value.load(Relaxed) == 42);
    check!(is_err(
        fs.write(c"kernel/kapi_kunit/value", b"nonsense"),
        EINVAL
    ));
    check!(is_err(fs.write(c"kernel/kapi_kunit/full", b"1"), EACCES));
    check!(is_err(fs.read(c"kernel/kapi_kunit/remove"), EACCES));
    check!(fs.read(c"kernel/kapi_kunit/full")?.len() == 4095);

    let file = top.file(b"iqn.2024:x*", b"what it is")?;
    check!(&fs.read(c"kernel/kapi_kunit/iqn.2024:x*")?[..] == b"what it is\n");
    drop(file);
    check!(is_err(fs.read(c"kernel/kapi_kunit/iqn.2024:x*"), ENOENT));

    let below = dir(Parent::Dir(&top), b"below", &Thing::new()?)?;
    let link = below.symlink(b"up", &top)?;
    check!(&fs.read(c"kernel/kapi_kunit/below/up/value")?[..] == b"42\n");
    top.notify(c"value");
    drop(link);
    check!(is_err(fs.read(c"kernel/kapi_kunit/below/up/value"), ENOENT));
    drop(below);
    drop(top);
    check!(is_err(fs.read(c"kernel/kapi_kunit/value"), ENOENT));
    // The thread that unmounts and we: nobody else has a reference.
    check!(Arc::into_unique_or_drop(thing).is_some());
    Ok(())
}

pub(crate) fn refuses_bad_names() -> Result {
    let thing = Thing::new()?;
    let top = top(&thing)?;
    let names: [&[u8]; 5] = [b"", b".", b"..", b"a/b", b"a\0b"];
    for name in names {
        check!(is_err(dir(Parent::Dir(&top), name, &thing), EINVAL));
        check!(is_err(top.symlink(name, &top), EINVAL));
        check!(is_err(top.file(name, b""), EINVAL));
    }
    let long = [b'x'; 256];
    check!(dir(Parent::Dir(&top), &long, &thing).is_err());
    let _longest = dir(Parent::Dir(&top), &long[1..], &thing)?;

    let _one = dir(Parent::Dir(&top), b"one", &thing)?;
    check!(is_err(dir(Parent::Dir(&top), b"one", &thing), EEXIST));
    check!(is_err(dir(Parent::Dir(&top), b"value", &thing), EEXIST));
    check!(is_err(top.symlink(b"one", &top), EEXIST));
    check!(is_err(top.file(b"one", b""), EEXIST));
    Ok(())
}

pub(crate) fn any_order_of_removal() -> Result {
    let (fs, thing) = (Sysfs::mount()?, Thing::new()?);
    let top = top(&thing)?;
    let a = dir(Parent::Dir(&top), b"a", &thing)?;
    let b = dir(Parent::Dir(&a), b"b", &thing)?;
    let to_a = top.symlink(b"to_a", &a)?;
    let from_b = b.symlink(b"from_b", &top)?;
    let file = b.file(b"file", b"x")?;
    let open = fs.open(c"kernel/kapi_kunit/a/b/value", false)?;
    check!(&open.read()?[..] == b"5\n");

    drop(a);
    check!(is_err(fs.read(c"kernel/kapi_kunit/a/b/value"), ENOENT));
    check!(is_err(fs.read(c"kernel/kapi_kunit/to_a/value"), ENOENT));
    check!(is_err(open.read(), ENODEV));
    check!(dir(Parent::Dir(&b), b"c", &thing).is_err());
    let again = dir(Parent::Dir(&top), b"a", &thing)?;
    check!(&fs.read(c"kernel/kapi_kunit/a/value")?[..] == b"5\n");
    drop(top);
    drop(b);
    drop(file);
    drop(from_b);
    drop(to_a);
    drop(again);
    check!(is_err(open.read(), ENODEV));
    Ok(())
}

pub(crate) fn store_removes_its_own_directory() -> Result {
    let (fs, thing) = (Sysfs::mount()?, Thing::new()?);
    for _ in 0..50 {
        *thing.own.lock() = Some(top(&thing)?);
        fs.write(c"kernel/kapi_kunit/remove", b"1")?;
        check!(thing.own.lock().is_none());
        check!(is_err(fs.write(c"kernel/kapi_kunit/remove", b"1"), ENOENT));
    }
    Ok(())
}

pub(crate) fn removal_does_not_wait_for_store() -> Result {
    let (fs, thing) = (Arc::new(Sysfs::mount()?, GFP_KERNEL)?, Thing::new()?);
    let top = top(&thing)?;
    let (fs2, done) = (fs.clone(), Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?);
    let done2 = done.clone();
    let writer = Thread::spawn(fmt!("kapi_writer"), -1, move |_| {
        if fs2.write(c"kernel/kapi_kunit/slow_store", b"1").is_ok() {
            done2.store(1, Release);
        }
    })?;
    thing.wait_entered();
    drop(top);
    check!(is_err(fs.read(c"kernel/kapi_kunit/value"), ENOENT));
    check!(done.load(Acquire) == 0);
    thing.open_gate();
    drop(writer);
    check!(done.load(Acquire) == 1);
    Ok(())
}

pub(crate) fn removal_waits_for_show() -> Result {
    let (fs, thing) = (Arc::new(Sysfs::mount()?, GFP_KERNEL)?, Thing::new()?);
    let top = top(&thing)?;
    let done = Arc::new(Atomic::<i32>::new(0), GFP_KERNEL)?;
    let (fs2, done2) = (fs.clone(), done.clone());
    let reader = Thread::spawn(fmt!("kapi_reader"), -1, move |_| {
        let _ = fs2.read(c"kernel/kapi_kunit/slow_show");
    })?;
    thing.wait_entered();
    let remover = Thread::spawn(fmt!("kapi_remover"), -1, move |_| {
        drop(top);
        done2.store(1, Release);
    })?;
    sleep_ms(50);
    check!(done.load(Acquire) == 0);
    thing.open_gate();
    drop(remover);
    check!(done.load(Acquire) == 1);
    drop(reader);
    Ok(())
}

pub(crate) fn comes_and_goes_while_read() -> Result {
    let (fs, thing) = (Arc::new(Sysfs::mount()?, GFP_KERNEL)?, Thing::new()?);
    let mut threads = KVec::new();
    for write in [false, true] {
        let fs = fs.clone();
        let thread = Thread::spawn(fmt!("kapi_user"), -1, move |ctx| {
            while !ctx.should_stop() {
                // Both may fail or not: the file comes and goes.
                if write {
                    let _ = fs.write(c"kernel/kapi_kunit/value", b"5");
                } else {
                    let _ = fs.read(c"kernel/kapi_kunit/value");
                }
                kapi::cond_resched();
            }
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    for _ in 0..100 {
        let top = top(&thing)?;
        kapi::cond_resched();
        drop(top);
    }
    drop(threads);
    check!(thing.value.load(Relaxed) == 5);
    check!(Arc::into_unique_or_drop(thing).is_some());
    Ok(())
}
