// SPDX-License-Identifier: GPL-2.0

//! A target port of SCSI: a port of an RDMA device, or (`one_target_per_port=N`)
//! all ports of one.

use crate::{driver::Driver, hca::Hca, nexus::Nexus, params};
use core::ops::RangeInclusive;
use kapi::wait::{new_wait_queue, WaitQueue};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        new_mutex, Arc, Mutex,
    },
};
use scst::{TargetParams, TargetRegistration};
use scst_proto::srp::{login::RejectReason, names, LogoutReason, PortId};

/// Largest number of segments of a command's data.
const SG_TABLESIZE: u32 = 65536;

/// How long sessions may take to end before the log says so, in milliseconds.
const PATIENCE_MS: u32 = 10_000;

/// A nexus with its number of channels, those that are being made too.
struct Entry {
    nexus: Arc<Nexus>,
    channels: usize,
}

/// A target port.
#[pin_data]
pub(crate) struct Port {
    pub(crate) driver: Arc<Driver>,
    pub(crate) hca: Arc<Hca>,
    /// The RDMA device's ports that it is.
    pub(crate) numbers: RangeInclusive<u32>,
    /// GUID of the I/O controller and of the service.
    pub(crate) guid: u64,
    name: CString,
    enabled: Atomic<u32>,
    /// Channels that exist.
    channels: Atomic<u32>,
    /// Completion vectors that channels use, a bit each (`comp_v_mask`).
    pub(crate) vectors: Atomic<u64>,
    turn: Atomic<u32>,
    #[pin]
    pub(crate) port_id: Mutex<CString>,
    #[pin]
    nexuses: Mutex<KVec<Entry>>,
    /// `None` before it is registered, and when the port is about to go.
    #[pin]
    target: Mutex<Option<Arc<TargetRegistration>>>,
    #[pin]
    quiet: WaitQueue,
}

impl Port {
    /// Makes a target port of the ports `numbers` of a device. Sleeps.
    pub(crate) fn new(
        driver: &Arc<Driver>,
        hca: Arc<Hca>,
        numbers: RangeInclusive<u32>,
        guid: u64,
    ) -> Result<Arc<Self>> {
        let name = Self::choose_name(driver, &hca, *numbers.start())?;
        let all = u64::MAX >> (64 - hca.device.completion_vectors().min(64));
        let this = Arc::pin_init(
            try_pin_init!(Self {
                driver: driver.clone(),
                hca,
                numbers,
                guid,
                name,
                enabled: Atomic::new(0),
                channels: Atomic::new(0),
                vectors: Atomic::new(all),
                turn: Atomic::new(0),
                port_id <- new_mutex!(CString::try_from_fmt(fmt!("SCST SRP target"))?),
                nexuses <- new_mutex!(KVec::new()),
                target <- new_mutex!(None),
                quiet <- new_wait_queue!(),
            }? Error),
            GFP_KERNEL,
        )?;
        let params = TargetParams {
            sg_tablesize: SG_TABLESIZE,
            attrs: crate::attrs::port(&this)?,
            enabled: Some(false),
            rel_tgt_id: 0,
        };
        let target = driver.registration()?.add_target(this.name(), params)?;
        *this.target.lock() = Some(Arc::new(target, GFP_KERNEL)?);
        Ok(this)
    }

    fn choose_name(driver: &Driver, hca: &Hca, first: u32) -> Result<CString> {
        let device = &hca.device;
        Ok(
            match (
                params::ONE_TARGET_PER_PORT.get(),
                params::NODE_GUID_NAMES.get(),
            ) {
                (true, _) => {
                    CString::try_from_fmt(fmt!("{}", names::gid(&device.gid(first)?).as_str()))?
                }
                (false, true) => {
                    CString::try_from_fmt(fmt!("{}", names::guid(device.node_guid()).as_str()))?
                }
                (false, false) => driver.free_name()?,
            },
        )
    }

    /// Name of the target.
    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or("")
    }

    /// The core's target.
    pub(crate) fn target(&self) -> Result<Arc<TargetRegistration>> {
        self.target.lock().clone().ok_or(ENODEV)
    }

    /// What a login has to name.
    pub(crate) fn id(&self) -> PortId {
        PortId::new(self.guid, self.guid)
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Acquire) != 0
    }

    /// Lets initiators log in, or ends their sessions and lets nobody in. Sleeps.
    pub(crate) fn enable(&self, on: bool) {
        if on == self.is_enabled() {
            return;
        }
        let what = if on { "Enabling" } else { "Disabling" };
        pr_info!("{what} target {}\n", self.name());
        {
            // Whoever logs in looks at it under the lock.
            let _nexuses = self.nexuses.lock();
            self.enabled.store(u32::from(on), Release);
        }
        if !on {
            self.end_all("target disabled");
        }
    }

    /// Ends all sessions, and waits for that.
    fn end_all(&self, why: &str) {
        let mut all = KVec::new();
        for entry in self.nexuses.lock().iter() {
            if all.push(entry.nexus.clone(), GFP_KERNEL).is_err() {
                break;
            }
        }
        for nexus in &all {
            nexus.close_channels(LogoutReason::Unspecified, why);
        }
        drop(all);
        let mut seconds = 0u32;
        let gone = || self.channels.load(Acquire) == 0;
        while !self.quiet.wait_until_timeout(PATIENCE_MS, gone) {
            seconds = seconds.saturating_add(PATIENCE_MS / 1000);
            pr_err!(
                "***ERROR***: {}: still waiting for sessions to end after {seconds} s\n",
                self.name()
            );
        }
    }

    /// Counts a channel of the nexus of `initiator` through the device's port
    /// `number`, which `decide` has let in; the nexus is made if there is none of
    /// that name. `decide` gets the number of its channels.
    pub(crate) fn enter<R>(
        self: &Arc<Self>,
        initiator: PortId,
        number: u32,
        name: &str,
        decide: impl FnOnce(bool, usize) -> Result<R, RejectReason>,
    ) -> Result<(Arc<Nexus>, R), RejectReason> {
        let poor = |_| RejectReason::InsufficientResources;
        let mut nexuses = self.nexuses.lock();
        let same = nexuses.iter_mut().find(|entry| {
            entry.nexus.initiator == initiator
                && entry.nexus.number == number
                && entry.nexus.name() == name
        });
        let verdict = decide(
            self.is_enabled(),
            same.as_ref().map_or(0, |entry| entry.channels),
        )?;
        let nexus = match same {
            Some(entry) => {
                entry.channels += 1;
                entry.nexus.clone()
            }
            None => {
                let nexus = Nexus::new(self.clone(), initiator, number, name).map_err(poor)?;
                let entry = Entry {
                    nexus: nexus.clone(),
                    channels: 1,
                };
                nexuses
                    .push(entry, GFP_KERNEL)
                    .map_err(|_| RejectReason::InsufficientResources)?;
                nexus
            }
        };
        self.channels.fetch_add(1, Relaxed);
        Ok((nexus, verdict))
    }

    /// A channel of `nexus` is about to go; true if it was the last, and the
    /// nexus is gone with it.
    pub(crate) fn leave(&self, nexus: &Arc<Nexus>) -> bool {
        let mut nexuses = self.nexuses.lock();
        let Some(at) = nexuses.iter().position(|e| Arc::ptr_eq(&e.nexus, nexus)) else {
            return false;
        };
        let last = match nexuses.get_mut(at) {
            Some(entry) => {
                entry.channels = entry.channels.saturating_sub(1);
                entry.channels == 0
            }
            None => false,
        };
        let gone = match last {
            true => nexuses.remove(at).ok(),
            false => None,
        };
        drop(nexuses);
        drop(gone);
        last
    }

    /// A channel has gone.
    pub(crate) fn released(&self) {
        self.channels.fetch_sub(1, Release);
        self.quiet.wake_all();
    }

    /// The port goes. Sleeps.
    pub(crate) fn close(&self) {
        self.enabled.store(0, Release);
        self.end_all("port removed");
        let target = self.target.lock().take();
        drop(target);
    }

    /// The completion vector of the next channel: those of `comp_v_mask` in turn.
    pub(crate) fn next_vector(&self) -> u32 {
        let vectors = self.hca.device.completion_vectors().min(64);
        let mask = self.vectors.load(Relaxed);
        let turn = self.turn.fetch_add(1, Relaxed);
        let chosen = mask.count_ones().max(1);
        (0..vectors)
            .filter(|vector| mask >> vector & 1 != 0)
            .nth((turn % chosen) as usize)
            .unwrap_or(0)
    }

    /// Whether it is Ethernet; of several ports, the first.
    pub(crate) fn is_ethernet(&self) -> bool {
        self.hca.device.is_ethernet(*self.numbers.start())
    }
}
