// SPDX-License-Identifier: GPL-2.0

//! The driver as the core knows it, and the adapters that it has.

use crate::{
    attrs,
    npiv::{self, Virtual},
    port::Port,
    qla::{Adapter, Void},
};
use kapi::{sysfs::Group, work::WorkQueue};
use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex},
};
use scst::{DriverRegistration, TargetDriver};
use scst_proto::{command::DriverCommand, mgmt::Params};

/// The driver.
#[pin_data]
pub(crate) struct Driver {
    /// `None` before it is registered and when it is about to go.
    #[pin]
    registration: Mutex<Option<Arc<DriverRegistration>>>,
    #[pin]
    ports: Mutex<KVec<Arc<Port>>>,
    /// Data that have arrived.
    queue: WorkQueue,
    errands: WorkQueue,
    pub(crate) void: Void,
}

impl Driver {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queue = WorkQueue::for_short_io(c"qla2x00tgt")?;
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
            .any(|port| port.npiv.is_none() && port.adapter.is(&adapter))
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
        while let Some(port) = self.take_port(|port| npiv::is_on(port, adapter)) {
            port.close();
        }
        if let Some(port) = self.take_port(|port| port.adapter.is(adapter)) {
            port.close();
        }
        adapter.renounce();
    }

    fn take_port(&self, which: impl Fn(&Port) -> bool) -> Option<Arc<Port>> {
        let mut ports = self.ports.lock();
        let at = ports.iter().position(|port| which(port))?;
        ports.remove(at).ok()
    }

    /// A virtual target is to be there.
    fn add_virtual(self: &Arc<Self>, name: &str, params: Params<'_>) -> Result {
        let port_name = npiv::name(name, name)?;
        let (node, parent) = npiv::names(name, params)?;
        let parent = self.port_named(parent.text().as_str()).ok();
        let Some(parent) = parent.filter(|parent| parent.npiv.is_none()) else {
            log_err!("Target {name}: parent_host is no port of an adapter that qla2xxx drives");
            return Err(ENODEV);
        };
        let port = Port::new_virtual(self, port_name, Virtual::new(parent, port_name, node)?)?;
        let listed = self.ports.lock().push(port.clone(), GFP_KERNEL);
        listed.inspect_err(|_| port.close()).map_err(Error::from)
    }

    /// A virtual target is to go. Sleeps until its sessions have ended.
    fn remove_virtual(&self, name: &str) -> Result {
        let port = self.take_port(|port| port.npiv.is_some() && port.name() == name);
        match port {
            Some(port) => {
                port.close();
                Ok(())
            }
            None => {
                log_err!(
                    "There is no virtual target {name}: those of adapters stay as long as these do"
                );
                Err(ENOENT)
            }
        }
    }

    /// Disables the virtual targets on the port of an adapter, with whose lock for
    /// changes this is called. Sleeps.
    pub(crate) fn disable_virtual(&self, adapter: &Adapter) {
        let mut at = 0usize;
        loop {
            let port = self.ports.lock().get(at).cloned();
            let Some(port) = port else { return };
            if npiv::is_on(&port, adapter) {
                port.disable_with_parent();
            }
            at = at.wrapping_add(1);
        }
    }

    /// Everything goes.
    pub(crate) fn shut_down(&self) {
        while let Some(port) = self.take_port(|port| port.npiv.is_some()) {
            port.close();
        }
        while let Some(port) = self.take_port(|_| true) {
            port.close();
        }
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

    fn target_params(&self) -> &'static [&'static str] {
        &npiv::PARAMS
    }

    fn manage(&self, command: DriverCommand<'_>) -> Result {
        match command {
            DriverCommand::AddTarget { name, params } => self.0.add_virtual(name, params),
            DriverCommand::DelTarget(name) => self.0.remove_virtual(name),
            _ => {
                log_err!("mgmt takes add_target and del_target, of virtual ports");
                Err(EINVAL)
            }
        }
    }

    fn attrs(&self) -> Result<KVec<Group>> {
        attrs::driver(&self.0)
    }

    fn enable(&self, target: &str, on: bool) -> Result {
        self.0.port_named(target)?.enable(on)
    }
}
