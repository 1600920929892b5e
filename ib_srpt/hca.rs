// SPDX-License-Identifier: GPL-2.0

//! An RDMA device with its target ports, its shared receive queue and its
//! listener.

use crate::{
    channel::SPARE,
    dm,
    driver::Driver,
    params::{self, trace},
    port::Port,
    rdma::{
        arena::Requests,
        device::{Client, Device, ProtectionDomain},
        dma::Void,
        ib_cm,
        mad::MadAgent,
        queue::Queue,
        receive::{ReceiveBatch, ReceiveQueue, SharedReceiveQueue},
    },
};
use kapi::{
    lock::{new_spinlock_irq, SpinLockIrq},
    work::WorkQueue,
};
use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex},
};
use scst_proto::srp::limits::pieces;

/// Requests beside those of a shared receive queue, for units of channels' own.
const RESERVE: u32 = 64 * SPARE;
/// Pieces of memory that a work request has at most: more than a chain has would
/// be of no use.
const MOST_PIECES: u32 = 16;

/// Places that a device's work requests and the like are limited to.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Work requests of a queue.
    pub(crate) queue: u32,
    /// Pieces of memory of a send work request.
    pub(crate) pieces: u32,
    /// Completions of a completion queue.
    pub(crate) completions: u32,
    /// RDMA READs that a queue pair may have outstanding.
    pub(crate) reads: u8,
}

/// What channels need of a device.
pub(crate) struct Hca {
    pub(crate) device: Arc<Device>,
    pub(crate) pd: Arc<ProtectionDomain>,
    pub(crate) srq: Option<Arc<SharedReceiveQueue>>,
    /// The requests of `srq`.
    pub(crate) requests: Option<Arc<Requests>>,
    pub(crate) limits: Limits,
    /// Where completion queues wait for their turn.
    pub(crate) turns: Arc<WorkQueue>,
    pub(crate) void: Arc<Void>,
    /// Requests of the shared queue that channels take for units of their own.
    reserve: Pin<KBox<SpinLockIrq<Queue>>>,
}

/// A device, as long as the verbs core has it.
pub(crate) struct Held {
    /// First: nobody logs in any more when the ports go.
    _listener: Option<ib_cm::Listener>,
    _agents: KVec<MadAgent>,
    driver: Arc<Driver>,
    ports: KVec<Arc<Port>>,
}

/// What a device says of itself, at most `most`. Some kernels have signed
/// numbers there.
fn limit(value: impl TryInto<u32>, most: u32) -> u32 {
    value.try_into().unwrap_or(0).clamp(1, most)
}

impl Hca {
    fn new(device: Arc<Device>) -> Result<Arc<Self>> {
        let pd = ProtectionDomain::new(&device)?;
        let attrs = device.attrs();
        let delta = params::MAX_SGE_DELTA.get();
        let limits = Limits {
            queue: limit(attrs.max_qp_wr, 16384),
            pieces: pieces(limit(attrs.max_send_sge, u32::MAX), delta)
                .min(pieces(limit(attrs.max_sge_rd, u32::MAX), delta))
                .min(MOST_PIECES),
            completions: limit(attrs.max_cqe, 1 << 20),
            reads: limit(attrs.max_qp_rd_atom, 128) as u8,
        };
        trace!(
            MGMT_DEBUG,
            "{}: {} pieces of memory a work request, {} work requests a queue\n",
            device.name(),
            limits.pieces,
            limits.queue
        );
        let void = Void::new(&pd)?;
        let (srq, requests) = match params::USE_SRQ.get() && attrs.max_srq > 0 {
            true => {
                let size = params::srq_size(limit(attrs.max_srq_wr, 65536));
                let srq = SharedReceiveQueue::new(&pd, size)?;
                let requests = Requests::new(
                    &pd,
                    size.saturating_add(RESERVE),
                    params::req_size(),
                    params::rsp_size(),
                )?;
                (Some(srq), Some(requests))
            }
            false => (None, None),
        };
        let this = Arc::new(
            Self {
                device,
                pd,
                srq,
                requests,
                limits,
                turns: Arc::new(WorkQueue::for_io(c"ib_srpt poll")?, GFP_KERNEL)?,
                void,
                reserve: KBox::pin_init(new_spinlock_irq!(Queue::new()), GFP_KERNEL)?,
            },
            GFP_KERNEL,
        )?;
        this.fill()?;
        Ok(this)
    }

    /// Posts all requests of the shared queue.
    fn fill(&self) -> Result {
        let (Some(srq), Some(requests)) = (&self.srq, &self.requests) else {
            return Ok(());
        };
        let mut batch = ReceiveBatch::new();
        for index in 0..requests.count() {
            let full = match requests.take(index) {
                Some(handle) if index < RESERVE => {
                    self.reserve.lock().push(handle);
                    false
                }
                Some(handle) => batch.push(handle),
                None => false,
            };
            if full || index + 1 == requests.count() {
                if let Err(mut failed) = srq.post_receives(&mut batch) {
                    while let Some(handle) = failed.pop() {
                        requests.retire(handle);
                    }
                    return Err(ENOMEM);
                }
            }
        }
        Ok(())
    }

    /// Takes up to `count` of the requests that are kept for units of channels'
    /// own; there are none without a shared queue.
    pub(crate) fn reserve(&self, count: u32) -> Queue {
        let mut taken = Queue::new();
        let mut reserve = self.reserve.lock();
        for _ in 0..count {
            match reserve.pop() {
                Some(handle) => taken.push(handle),
                None => break,
            }
        }
        taken
    }

    /// Gives them back.
    pub(crate) fn unreserve(&self, mut taken: Queue) {
        let mut reserve = self.reserve.lock();
        while let Some(handle) = taken.pop() {
            reserve.push(handle);
        }
    }
}

impl Drop for Hca {
    fn drop(&mut self) {
        // The last channel is gone. The queue goes before its requests, which
        // come back that way.
        self.srq = None;
        let mut reserve = core::mem::replace(&mut *self.reserve.lock(), Queue::new());
        if let Some(requests) = &self.requests {
            requests.all_back();
            while let Some(handle) = reserve.pop() {
                requests.retire(handle);
            }
        }
    }
}

/// The devices of the driver.
pub(crate) struct Devices;

impl Client for Devices {
    type Data = Held;

    fn add(device: Arc<Device>) -> Result<Held> {
        let driver = crate::driver().ok_or(ENODEV)?;
        let guid = driver.service_guid(&device);
        let hca = Hca::new(device.clone())?;
        let mut held = Held {
            _listener: None,
            _agents: KVec::new(),
            driver: driver.clone(),
            ports: KVec::new(),
        };
        let each = match params::ONE_TARGET_PER_PORT.get() {
            true => 1,
            false => device.ports().max(1),
        };
        for first in (1..=device.ports()).step_by(each as usize) {
            let numbers = first..=first.saturating_add(each - 1);
            let port = Port::new(&driver, hca.clone(), numbers, guid)?;
            held.ports.push(port.clone(), GFP_KERNEL)?;
            driver.add_port(port)?;
        }
        if params::RDMA_CM_PORT.get() == 0 || !device.is_ethernet(1) {
            let accept = Arc::new(crate::login::Door(driver.clone()), GFP_KERNEL)?;
            match ib_cm::Listener::new(device.clone(), guid, accept) {
                Ok(listener) => held._listener = Some(listener),
                Err(e) => pr_info!("{}: no listener of the IB/CM: {e:?}\n", device.name()),
            }
        }
        for port in &held.ports {
            for number in port.numbers.clone() {
                if let Some(agent) = dm::register(port, number) {
                    held._agents.push(agent, GFP_KERNEL)?;
                }
            }
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self._listener = None;
        self._agents = KVec::new();
        for port in &self.ports {
            self.driver.remove_port(port);
            port.close();
        }
    }
}

/// A list of ports that changes seldom.
pub(crate) type Ports = Pin<KBox<Mutex<KVec<Arc<Port>>>>>;

pub(crate) fn no_ports() -> Result<Ports> {
    KBox::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)
}
