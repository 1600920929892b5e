// SPDX-License-Identifier: GPL-2.0

//! Registered device handlers, and what is written to their `mgmt`.

use crate::{
    attrs_device,
    config::{core, Config},
    device::{Device, DeviceHandle},
    handler::{AttachContext, DeviceHandler},
    session::Removed,
    util::{log_err, Name},
};
use kapi::{sysfs::Dir, tracker::Tracker};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};
use scst_proto::{
    command::HandlerCommand,
    event::{code, registered},
    mgmt::Params,
};

/// A registered handler.
#[pin_data]
pub(crate) struct Handler {
    ops: Arc<dyn DeviceHandler>,
    pub(crate) module: &'static ThisModule,
    pub(crate) trace_level: Atomic<u32>,
    tracker: Tracker,
    #[pin]
    dir: Mutex<Option<Dir>>,
}

/// A handler's registration. Dropping it removes its devices, waits for their
/// commands, and takes the handler's directory away.
pub struct HandlerRegistration(Arc<Handler>);

/// Registers `ops`, of `module`, which stays while something is written to the handler's files. Process context.
pub fn register_handler(
    ops: Arc<dyn DeviceHandler>,
    module: &'static ThisModule,
) -> Result<HandlerRegistration> {
    let core = core()?;
    let handler = Arc::pin_init(
        pin_init!(Handler {
            ops,
            module,
            trace_level: Atomic::new(scst_proto::trace::DEFAULT),
            tracker: Tracker::new()?,
            dir <- new_mutex!(None),
        }? Error),
        GFP_KERNEL,
    )?;
    let mut config = core.config.lock();
    config.handlers.reserve(1, GFP_KERNEL)?;
    let dir = attrs_device::handler_dir(&core.top.handlers, &handler)?;
    let added = config.handlers.push_within_capacity(handler.clone());
    added.map_err(|_| ENOMEM)?;
    *handler.dir.lock() = Some(dir);
    drop(config);
    pr_info!(
        "Virtual device handler {} for type {} registered successfully\n",
        handler.name(),
        handler.ops.device_type()
    );
    Ok(HandlerRegistration(handler))
}

impl Drop for HandlerRegistration {
    fn drop(&mut self) {
        let handler = &self.0;
        let Ok(core) = core() else { return };
        {
            let handlers = &mut core.config.lock().handlers;
            if let Some(at) = handlers.iter().position(|h| Arc::ptr_eq(h, handler)) {
                let _ = handlers.remove(at);
            }
        }
        // No write to `mgmt` is under way, as its module goes, and none can begin.
        loop {
            let device = core.config.lock().device_of(handler);
            let Some(device) = device else { break };
            let _ = handler.del_device(device.name());
        }
        let dir = handler.dir.lock().take();
        drop(dir);
        while !handler.tracker.wait_none(10_000) {
            log_err!(
                "Handler {}: still waiting for its devices to go",
                handler.name()
            );
        }
        pr_info!("Device handler {} unloaded\n", handler.name());
    }
}

impl Handler {
    pub(crate) fn ops(&self) -> &dyn DeviceHandler {
        &*self.ops
    }

    pub(crate) fn name(&self) -> &str {
        self.ops.name().to_str().unwrap_or("")
    }

    /// Whether its devices are made with parameters; pass-through ones are there already.
    pub(crate) fn is_virtual(&self) -> bool {
        !self.ops.params().is_empty()
    }

    /// A line written to `mgmt`. Takes the configuration's lock; sleeps.
    pub(crate) fn manage(self: &Arc<Self>, command: HandlerCommand<'_>) -> Result {
        match command {
            HandlerCommand::AddDevice { name, params } => self.add_device(name, params),
            HandlerCommand::DelDevice(name) => self.del_device(name),
            _ => {
                log_err!("Handler {} has no attributes to add or delete", self.name());
                Err(EINVAL)
            }
        }
    }

    fn add_device(self: &Arc<Self>, name: &str, params: Params<'_>) -> Result {
        let core = core()?;
        let taken = |config: &Config| {
            if config.device(name).is_none() {
                return Ok(());
            }
            log_err!("Device {} already exists", name);
            Err(EEXIST)
        };
        taken(&core.config.lock())?;
        let ctx = AttachContext {
            setup_id: core.globals.setup_id.load(Relaxed),
        };
        // Opening a file may take long: not under the lock. The handler has said in the log what is wrong, and each
        // refused write leaves one line there.
        let attached = self.ops.attach(name, params, ctx)?;
        let handle = DeviceHandle {
            name: Arc::new(Name::new(name)?, GFP_KERNEL)?,
        };
        let mut config = core.config.lock();
        taken(&config)?;
        let id = config.next_id();
        let device = Device::new(
            name,
            id,
            self.clone(),
            attached.device,
            attached.numa_node,
            self.tracker.track(),
        )?;
        // What it says is in the log; a device is not lost for that.
        let _ = device.reservations.load(&device);
        let (dir, exported) = attrs_device::publish(&core.top.devices, &device, attached.attrs)?;
        {
            let handler_dir = self.dir.lock();
            let handler_dir = handler_dir.as_ref().ok_or(ENODEV)?;
            device.publish(dir, exported, handler_dir)?;
        }
        if let Err(e) = config.add_device(device.clone()) {
            device.unpublish();
            return Err(e);
        }
        let manager = core.copy_manager();
        let auto = self.ops.auto_cm_assignment() && core.globals.auto_cm_assignment();
        let manager = manager.filter(|_| auto);
        let mut removed = Removed::default();
        if let Some(manager) = manager {
            // The device is of use without the copy manager.
            let _ = manager.assign(&config, &device, &mut removed);
        }
        drop(config);
        removed.finish();
        device.lu.published(handle);
        core.events
            .send(code::REGISTERED, registered::LEN, |payload| {
                registered::write(payload, name);
            });
        pr_info!("Attached to virtual device {} (id {})\n", name, id);
        Ok(())
    }

    fn del_device(self: &Arc<Self>, name: &str) -> Result {
        let core = core()?;
        let mut config = core.config.lock();
        // Handlers of virtual devices take each other's: scstadmin's tests do that.
        let ours = |d: &&Arc<Device>| {
            Arc::ptr_eq(&d.handler, self) || self.is_virtual() && d.handler.is_virtual()
        };
        if config.device(name).filter(ours).is_none() {
            log_err!("Device {} not found", name);
            return Err(EINVAL);
        }
        let Some(device) = config.remove_device(name) else {
            return Err(EINVAL);
        };
        let mut removed = Removed::default();
        let result = config.unmap(&device, &mut removed);
        config.forget_device(&device);
        device.unpublish();
        drop(config);
        removed.finish();
        result?;
        pr_info!("Detached from virtual device {} (id {})\n", name, device.id);
        Ok(())
    }
}
