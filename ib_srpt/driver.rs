// SPDX-License-Identifier: GPL-2.0

//! The driver as the core knows it.

use crate::{
    hca::{no_ports, Ports},
    nexus::Errand,
    params,
    port::Port,
    rdma::device::Device,
};
use core::ptr::NonNull;
use kapi::work::WorkQueue;
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        new_mutex, Arc, Mutex,
    },
    workqueue::Queue,
};
use scst::{DriverRegistration, TargetDriver};
use scst_proto::command::DriverCommand;

/// The driver.
#[pin_data]
pub(crate) struct Driver {
    /// `None` before it is registered and when it is about to go.
    #[pin]
    registration: Mutex<Option<Arc<DriverRegistration>>>,
    ports: Ports,
    /// Links that are being torn down may wait for one another's commands.
    queue: WorkQueue,
    /// `srpt_service_guid` or the node GUID of the first device, 0 before there
    /// is one.
    guid: Atomic<u64>,
    channels: Atomic<u64>,
}

impl Driver {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queue = WorkQueue::new(c"ib_srpt")?;
        let ports = no_ports()?;
        Arc::pin_init(
            try_pin_init!(Self {
                registration <- new_mutex!(None),
                ports,
                queue,
                guid: Atomic::new(0),
                channels: Atomic::new(0),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Makes the driver known to the core.
    pub(crate) fn register(self: &Arc<Self>, module: &'static ThisModule) -> Result {
        let handle = Arc::new(Handle(self.clone()), GFP_KERNEL)?;
        let registration = scst::register_driver(handle, module)?;
        *self.registration.lock() = Some(Arc::new(registration, GFP_KERNEL)?);
        Ok(())
    }

    pub(crate) fn registration(&self) -> Result<Arc<DriverRegistration>> {
        self.registration.lock().clone().ok_or(ENODEV)
    }

    /// All ports are gone; so is the driver now.
    pub(crate) fn shut_down(&self) {
        let registration = self.registration.lock().take();
        drop(registration);
        self.queue.flush();
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Has task management carried out. Any context. `ENOMEM`; the function goes
    /// unanswered then, and the initiator goes on to stronger means.
    pub(crate) fn errand(&self, errand: Errand) -> Result {
        self.queue.queue_atomic(move || errand.run())
    }

    /// A number for a channel.
    pub(crate) fn number_channel(&self) -> u64 {
        self.channels.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// The GUID of all I/O controllers: the administrator's, or that of the
    /// first device, which the parameter shows from then on. Process context.
    pub(crate) fn service_guid(&self, device: &Device) -> u64 {
        let chosen = match params::service_guid() {
            0 => device.node_guid(),
            guid => guid,
        };
        match self.guid.cmpxchg(0, chosen, Full) {
            Ok(_) => {
                params::show_service_guid(chosen);
                chosen
            }
            Err(first) => first,
        }
    }

    /// The first of the names `ib_srpt_target_0`, `_1` and so on that no target
    /// has.
    pub(crate) fn free_name(&self) -> Result<CString> {
        let mut number = 0u32;
        loop {
            let name = CString::try_from_fmt(fmt!("ib_srpt_target_{number}"))?;
            if self.port_named(name.to_str()?).is_err() {
                return Ok(name);
            }
            number = number.checked_add(1).ok_or(ENOSPC)?;
        }
    }

    pub(crate) fn add_port(&self, port: Arc<Port>) -> Result {
        Ok(self.ports.lock().push(port, GFP_KERNEL)?)
    }

    pub(crate) fn remove_port(&self, port: &Arc<Port>) {
        let mut ports = self.ports.lock();
        let at = ports.iter().position(|p| Arc::ptr_eq(p, port));
        let gone = at.and_then(|at| ports.remove(at).ok());
        drop(ports);
        drop(gone);
    }

    /// The port of a device.
    pub(crate) fn port(
        &self,
        device: NonNull<rdma_bindings::ib_device>,
        number: u32,
    ) -> Option<Arc<Port>> {
        let ports = self.ports.lock();
        let found = ports
            .iter()
            .find(|port| port.hca.device.is(device) && port.numbers.contains(&number));
        found.cloned()
    }

    fn port_named(&self, name: &str) -> Result<Arc<Port>> {
        let ports = self.ports.lock();
        let found = ports.iter().find(|port| port.name() == name).cloned();
        found.ok_or(ENOENT)
    }
}

struct Handle(Arc<Driver>);

impl TargetDriver for Handle {
    fn name(&self) -> &'static CStr {
        c"ib_srpt"
    }

    fn has_mgmt(&self) -> bool {
        false
    }

    /// There is the module's parameter `trace_flag`.
    fn has_trace_level(&self) -> bool {
        false
    }

    fn manage(&self, _command: DriverCommand<'_>) -> Result {
        Err(EINVAL)
    }

    fn enable(&self, target: &str, on: bool) -> Result {
        self.0.port_named(target)?.enable(on);
        Ok(())
    }
}
