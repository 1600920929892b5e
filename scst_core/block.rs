// SPDX-License-Identifier: GPL-2.0

//! `block` of devices: commands wait before they are executed, so that what is
//! below the device stands still, for a snapshot or a graceful end.
//!
//! A nexus of a blocked device has that in its gate; a command that meets it is
//! held by the nexus, where task management finds it. Blocked is complete when no
//! handler has a command any more. Blocks count: as many have to be taken back.

use crate::{
    config::{core, Core},
    device::Device,
    session::NexusList,
    util::{emit, log_err, parsed, text},
};
use kapi::sysfs::{Attr, Page};
use kernel::{
    prelude::*,
    str::CString,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{
    command::BlockCommand,
    event::{blocked, code},
};

/// After how many milliseconds the log says that a block waits for commands.
const REPORT_MS: u32 = 10_000;
/// The longest pause between two looks at the commands.
const PAUSE_MS: u32 = 20;

pub(crate) static ATTRS: &[Attr<Device>] = &[Attr::rw(
    c"block",
    show,
    |d, b| {
        let command = parsed(BlockCommand::parse(text(b)?))?;
        let core = core()?;
        let device = core.device(d.name()).ok_or(ENODEV)?;
        match command {
            BlockCommand::Unblock => unblock(&core, &device),
            BlockCommand::Sync => {
                block(&core, &device)?;
                drain(&core, &device);
                Ok(())
            }
            BlockCommand::Async(words) => block_later(&core, device, words),
        }
    },
    "How often the device is blocked, and 1 if commands are still executed. Write 1 to block it and wait for that, \
     11 to block it without waiting, 0 to take one block back.",
)];

fn show(device: &Device, page: &mut Page<'_>) -> Result {
    let pending = device.draining.load(Relaxed) != 0;
    emit!(page, "{} {}\n", device.blocks(), u8::from(pending));
    Ok(())
}

/// Blocks the device once more. Takes the configuration's lock.
fn block(core: &Core, device: &Arc<Device>) -> Result {
    let config = core.config.lock();
    let nexuses = config.nexuses_of(device)?;
    device
        .blocked
        .store(device.blocks().saturating_add(1), Relaxed);
    device.draining.add(1, Relaxed);
    for nexus in &nexuses {
        nexus.set_blocked(true);
    }
    Ok(())
}

fn block_later(core: &Arc<Core>, device: Arc<Device>, words: &str) -> Result {
    let words = CString::try_from_fmt(fmt!("{}", words))?;
    block(core, &device)?;
    kapi::rcu::synchronize();
    if !busy(core, &device) {
        complete(core, &device, &words);
        return Ok(());
    }
    let (core2, device2) = (core.clone(), device.clone());
    let queued = core.work.queue(move || {
        wait_idle(&core2, &device2);
        complete(&core2, &device2, &words);
    });
    queued.inspect_err(|_| {
        let _ = device.draining.fetch_sub(1, Relaxed);
        let _ = unblock(core, &device);
    })
}

/// A block that nobody waited for is complete: tells who listens.
fn complete(core: &Core, device: &Device, words: &CStr) {
    let _ = device.draining.fetch_sub(1, Relaxed);
    let words = words.to_str().unwrap_or("");
    core.events
        .send(code::BLOCKED, blocked::len(words), |payload| {
            blocked::write(payload, device.name(), words);
        });
    pr_info!("Device {} is blocked ({})\n", device.name(), words);
}

/// Waits until no command of the device is executed, or it is unblocked again.
fn drain(core: &Core, device: &Arc<Device>) {
    // Who did not see the block yet has begun to execute after this.
    kapi::rcu::synchronize();
    wait_idle(core, device);
    let _ = device.draining.fetch_sub(1, Relaxed);
}

/// As [`drain`], after a grace period.
fn wait_idle(core: &Core, device: &Arc<Device>) {
    let (mut pause, mut waited) = (1, 0u32);
    while device.blocks() != 0 && busy(core, device) {
        kapi::time::sleep_ms(pause);
        waited = waited.saturating_add(pause);
        pause = pause.saturating_mul(2).min(PAUSE_MS);
        if waited >= REPORT_MS {
            waited = 0;
            log_err!(
                "Blocking device {}: still waiting for its commands",
                device.name()
            );
        }
    }
}

/// Whether a handler has a command of the device. Takes the configuration's lock.
fn busy(core: &Core, device: &Arc<Device>) -> bool {
    let nexuses = core.nexuses_of(device);
    // Without memory to look one has to look again.
    nexuses.map_or(true, |all| all.iter().any(|nexus| nexus.executes()))
}

/// Takes one block back; where there is none, nothing happens. Takes the
/// configuration's lock.
fn unblock(core: &Core, device: &Arc<Device>) -> Result {
    let config = core.config.lock();
    let left = match device.blocks() {
        0 => return Ok(()),
        n => n - 1,
    };
    let nexuses = match left {
        0 => config.nexuses_of(device)?,
        _ => NexusList::new(),
    };
    device.blocked.store(left, Relaxed);
    for nexus in &nexuses {
        nexus.set_blocked(false);
    }
    drop(config);
    for nexus in &nexuses {
        nexus.resume();
    }
    Ok(())
}
