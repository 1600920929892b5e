// SPDX-License-Identifier: GPL-2.0

//! The core's one object: what is registered, and the top of the sysfs tree.

use crate::{
    attrs_device_group, attrs_root,
    cmd::CommandLoan,
    copy_manager::CopyManager,
    device::Device,
    device_group::DeviceGroup,
    drivers::Driver,
    events::Events,
    globals::Globals,
    handlers::Handler,
    session::{NexusList, Removed, Session},
    target::Target,
    threads::ThreadPool,
    util::log_err,
};
use kapi::{
    global::Global,
    pool::{PooledSg, SgPool, SgShare},
    sg::Gfp,
    sysfs::{Dir, Parent},
    work::WorkQueue,
};
use kernel::{
    prelude::*,
    sync::{new_mutex, Arc, Mutex},
};

static CORE: Global<Core> = Global::new();

/// What is registered. Whoever holds its lock may change the tree; see the lock
/// order at the top of the crate.
#[derive(Default)]
pub(crate) struct Config {
    pub(crate) handlers: KVec<Arc<Handler>>,
    pub(crate) drivers: KVec<Arc<Driver>>,
    pub(crate) device_groups: KVec<Arc<DeviceGroup>>,
    /// In the order of their names.
    devices: KVec<Arc<Device>>,
    last_id: u32,
}

/// The directories that everything hangs below.
pub(crate) struct Top {
    pub(crate) targets: Dir,
    pub(crate) handlers: Dir,
    pub(crate) devices: Dir,
    pub(crate) device_groups: Dir,
    _sgv: (Dir, Dir),
    _root: Dir,
}

/// The SCSI target core of this kernel.
#[pin_data]
pub(crate) struct Core {
    #[pin]
    pub(crate) config: Mutex<Config>,
    /// Held while the threads of a device change; before `config`.
    #[pin]
    pub(crate) thread_changes: Mutex<()>,
    /// Held while ALUA states change; before `config`.
    #[pin]
    pub(crate) alua_changes: Mutex<()>,
    pub(crate) globals: Arc<Globals>,
    pub(crate) top: Top,
    pub(crate) threads: Arc<ThreadPool>,
    /// There from when the core is up until it goes down.
    #[pin]
    copy_manager: Mutex<Option<Arc<CopyManager>>>,
    /// For what a management write starts and does not wait for.
    pub(crate) work: WorkQueue,
    pub(crate) buffers: Arc<SgPool>,
    /// What commands that are to no device may have of them.
    no_device: Arc<SgShare>,
    pub(crate) events: Arc<Events>,
}

/// The core, while it is loaded. Any context.
pub(crate) fn core() -> Result<Arc<Core>> {
    CORE.get().ok_or(ENODEV)
}

/// A data buffer for a command that is to no device. Any context.
pub(crate) fn buffer(length: usize) -> Result<PooledSg> {
    core()?.no_device.get(length, Gfp::Atomic)
}

/// Queues a command for the global threads. Any context.
pub(crate) fn push_global(loan: CommandLoan) {
    match core() {
        Ok(core) => core.threads.push(loan),
        Err(_) => drop(crate::Cmd::<crate::cmd::Executing>::new(loan)),
    }
}

/// Ends the aborted commands that wait for a global thread. Any context.
pub(crate) fn end_aborted_global() {
    if let Ok(core) = core() {
        core.threads.end_aborted();
    }
}

/// Brings the core up, when the module is loaded.
pub(crate) fn start(globals: Arc<Globals>) -> Result {
    let buffers = SgPool::new(globals.max_cmd_mem_mb)?;
    let no_device = buffers.share(globals.max_dev_cmd_mem_mb)?;
    let threads = ThreadPool::new("scstd", -1)?;
    threads.resize(globals.default_threads)?;
    let root = attrs_root::publish(Parent::Kernel, &globals, &threads)?;
    let top = Top {
        targets: attrs_root::plain(&root, b"targets")?,
        handlers: attrs_root::plain(&root, b"handlers")?,
        devices: attrs_root::plain(&root, b"devices")?,
        device_groups: attrs_device_group::root(&root)?,
        _sgv: attrs_root::sgv(&root, &buffers)?,
        _root: root,
    };
    let work = WorkQueue::new(c"scst")?;
    let events = Events::new()?;
    CORE.set(Arc::pin_init(
        pin_init!(Core {
            config <- new_mutex!(Config::default()),
            thread_changes <- new_mutex!(()),
            alua_changes <- new_mutex!((), "scst_alua_changes"),
            globals,
            top,
            threads,
            copy_manager <- new_mutex!(None, "scst_copy_manager"),
            work,
            buffers,
            no_device,
            events,
        }),
        GFP_KERNEL,
    )?)
}

/// Makes the copy manager's target, once the core is up.
pub(crate) fn start_copy_manager(module: &'static ThisModule) -> Result {
    let manager = CopyManager::new(module)?;
    *core()?.copy_manager.lock() = Some(manager);
    Ok(())
}

/// Takes the core down, when the module is unloaded: every other module is gone
/// by then, as they use this one's symbols.
pub(crate) fn stop() {
    // While the core is there: its target goes as any other does.
    let manager = core().ok().and_then(|core| core.copy_manager.lock().take());
    drop(manager);
    if let Some(core) = CORE.take() {
        for group in core.config.lock().device_groups.drain_all() {
            group.unpublish();
        }
        let _ = core.threads.resize(0);
    }
}

impl Config {
    fn position(&self, name: &str) -> Result<usize, usize> {
        self.devices.binary_search_by(|d| d.name().cmp(name))
    }

    pub(crate) fn device(&self, name: &str) -> Option<&Arc<Device>> {
        self.devices.get(self.position(name).ok()?)
    }

    /// A number for a new device or device group; not 0.
    pub(crate) fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.last_id
    }

    pub(crate) fn add_device(&mut self, device: Arc<Device>) -> Result {
        let Err(at) = self.position(device.name()) else {
            return Err(EEXIST);
        };
        self.devices.reserve(1, GFP_KERNEL)?;
        self.devices
            .insert_within_capacity(at, device)
            .map_err(|_| ENOMEM)
    }

    pub(crate) fn remove_device(&mut self, name: &str) -> Option<Arc<Device>> {
        let at = self.position(name).ok()?;
        self.devices.remove(at).ok()
    }

    /// A device of `handler`, if it has any.
    pub(crate) fn device_of(&self, handler: &Arc<Handler>) -> Option<Arc<Device>> {
        let mut devices = self.devices.iter();
        let device = devices.find(|device| Arc::ptr_eq(&device.handler, handler));
        device.cloned()
    }
}

impl Core {
    /// Finds a device for a management command.
    pub(crate) fn find_device(&self, config: &Config, name: &str) -> Result<Arc<Device>> {
        config.device(name).cloned().ok_or_else(|| {
            log_err!("Device '{}' not found", name);
            EINVAL
        })
    }

    /// What the commands of another device may have of the buffers. Sleeps. `ENOMEM`.
    pub(crate) fn share_of_buffers(&self) -> Result<Arc<SgShare>> {
        self.buffers.share(self.globals.max_dev_cmd_mem_mb)
    }

    /// The copy manager, unless the core is about to go.
    pub(crate) fn copy_manager(&self) -> Option<Arc<CopyManager>> {
        self.copy_manager.lock().clone()
    }

    /// The device `name`. Takes the configuration's lock.
    pub(crate) fn device(&self, name: &str) -> Option<Arc<Device>> {
        self.config.lock().device(name).cloned()
    }

    /// The handler's own reference. Takes the configuration's lock.
    pub(crate) fn handler(&self, handler: &Handler) -> Result<Arc<Handler>> {
        let config = self.config.lock();
        let mut handlers = config.handlers.iter();
        let it = |h: &&Arc<Handler>| ::core::ptr::eq(&***h, handler);
        handlers.find(it).cloned().ok_or(ENODEV)
    }

    /// Every nexus of `device`. Takes the configuration's lock; sleeps.
    pub(crate) fn nexuses_of(&self, device: &Arc<Device>) -> Result<NexusList> {
        self.config.lock().nexuses_of(device)
    }
}

impl Config {
    /// Every session. Sleeps.
    pub(crate) fn sessions(&self) -> Result<KVec<Arc<Session>>> {
        let mut list = KVec::new();
        for driver in &self.drivers {
            for target in &driver.targets()? {
                for session in target.sessions()? {
                    list.push(session, GFP_KERNEL)?;
                }
            }
        }
        Ok(list)
    }

    /// The first target called `name`, of whatever driver. Sleeps.
    pub(crate) fn target(&self, name: &str) -> Result<Option<Arc<Target>>> {
        for driver in &self.drivers {
            for target in driver.targets()? {
                if target.name() == name {
                    return Ok(Some(target));
                }
            }
        }
        Ok(None)
    }

    /// The devices of `group`.
    pub(crate) fn devices_in(&self, group: &DeviceGroup) -> Result<KVec<Arc<Device>>> {
        let mut list = KVec::new();
        for device in self.devices.iter().filter(|d| d.is_in(group)) {
            list.push(device.clone(), GFP_KERNEL)?;
        }
        Ok(list)
    }

    /// Takes `device` out of every group of every target. Sleeps.
    pub(crate) fn unmap(&self, device: &Arc<Device>, removed: &mut Removed) -> Result {
        for driver in &self.drivers {
            for target in &driver.targets()? {
                target.forget_device(device, removed)?;
            }
        }
        Ok(())
    }

    /// Every nexus of `device`. Sleeps.
    pub(crate) fn nexuses_of(&self, device: &Arc<Device>) -> Result<NexusList> {
        let mut list = NexusList::new();
        for session in &self.sessions()? {
            session.collect(&mut list, |nexus| Arc::ptr_eq(&nexus.device, device))?;
        }
        Ok(list)
    }
}
