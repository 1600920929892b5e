// SPDX-License-Identifier: GPL-2.0

//! The driver as the core knows it, and the adapters that it has.

use crate::{
    attrs,
    port::Port,
    qla::{Adapter, Void},
};
use kapi::{sysfs::Group, work::WorkQueue};
use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex},
};
use scst::{DriverRegistration, TargetDriver};
use scst_proto::command::DriverCommand;

/// The driver.
#[pin_data]
pub(crate) struct Driver {
    /// `None` before it is registered and when it is about to go.
    #[pin]
    registration: Mutex<Option<Arc<DriverRegistration>>>,
    #[pin]
    ports: Mutex<KVec<Arc<Port>>>,
    /// Data that have arrived, and task management, which waits for commands.
    queue: WorkQueue,
    errands: WorkQueue,
    pub(crate) void: Void,
}

impl Driver {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queue = WorkQueue::for_io(c"qla2x00tgt")?;
        let errands = WorkQueue::new(c"qla2x00tgt_tm")?;
        let void = Void::new()?;
        Arc::pin_init(
            try_pin_init!(Self {
                registration <- new_mutex!(None),
                ports <- new_mutex!(KVec::new()),
                queue,
                errands,
                void,
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

    pub(crate) fn queue(&self) -> &WorkQueue {
        &self.queue
    }

    /// Where task management waits for commands.
    pub(crate) fn errands(&self) -> &WorkQueue {
        &self.errands
    }

    /// An adapter has a driver from now on. Process context.
    pub(crate) fn appeared(self: &Arc<Self>, adapter: Adapter) {
        let name = adapter.state().name();
        if self
            .ports
            .lock()
            .iter()
            .any(|port| port.adapter.is(&adapter))
        {
            return;
        }
        let added = Port::new(self, adapter).and_then(|port| {
            let listed = self.ports.lock().push(port.clone(), GFP_KERNEL);
            listed.inspect_err(|_| port.close()).map_err(Error::from)
        });
        if let Err(e) = added {
            log_err!("Port {} is no target: {e:?}", name.as_str());
        }
    }

    /// An adapter is about to lose its driver. Process context; waits until its
    /// sessions have ended.
    pub(crate) fn gone(&self, adapter: &Adapter) {
        let port = {
            let mut ports = self.ports.lock();
            let at = ports.iter().position(|port| port.adapter.is(adapter));
            at.and_then(|at| ports.remove(at).ok())
        };
        if let Some(port) = port {
            port.close();
        }
    }

    /// Everything goes.
    pub(crate) fn shut_down(&self) {
        let ports = core::mem::take(&mut *self.ports.lock());
        for port in &ports {
            port.close();
        }
        drop(ports);
        self.errands.flush();
        self.queue.flush();
        let registration = self.registration.lock().take();
        drop(registration);
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
        c"qla2x00t"
    }

    fn has_mgmt(&self) -> bool {
        false
    }

    fn manage(&self, _command: DriverCommand<'_>) -> Result {
        Err(EINVAL)
    }

    fn attrs(&self) -> Result<KVec<Group>> {
        attrs::driver(&self.0)
    }

    fn enable(&self, target: &str, on: bool) -> Result {
        self.0.port_named(target)?.enable(on)
    }
}
