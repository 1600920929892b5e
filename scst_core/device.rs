// SPDX-License-Identifier: GPL-2.0

//! Devices: logical units that handlers made and LUN maps refer to.

use crate::{
    cmd::CommandLoan,
    config::core as scst_core,
    copy_tokens::Watch,
    device_group::DeviceGroup,
    handler::LogicalUnit,
    handlers::Handler,
    nexus::Nexus,
    reservations::Reservations,
    task_sets::TaskSet,
    threads::{ThreadPool, MAX_THREADS},
    util::{log_err, Name},
};
use core::ops::Deref;
use kapi::{counted::Counted, cpumask::CpuMask, pool::SgShare, sysfs::Dir, tracker::Tracked};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, rcu, Arc, Mutex,
    },
};
use scst_proto::{opcode::PeripheralDeviceType, sense::Sense};

/// Which threads execute a device's commands (`threads_pool_type`, and
/// `threads_num` 0 for the global ones).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolKind {
    PerInitiator = 0,
    Shared = 1,
    Global = 2,
}

/// A device of the tree.
#[pin_data]
pub(crate) struct Device {
    name: Name,
    pub(crate) id: u32,
    pub(crate) handler: Arc<Handler>,
    pub(crate) pdt: PeripheralDeviceType,
    pub(crate) lu: Unit,
    /// What its commands may have of the pool of buffers (`scst_max_dev_cmd_mem`).
    pub(crate) buffers: Arc<SgShare>,
    pub(crate) numa_node: Atomic<i32>,
    max_commands: Atomic<u32>,
    /// A [`PoolKind`].
    pool_kind: Atomic<u32>,
    shared_pool: Arc<ThreadPool>,
    exports: Atomic<u32>,
    /// How often an administrator has blocked the device; changed under the
    /// configuration's lock.
    pub(crate) blocked: Atomic<u32>,
    /// Blocks that wait for commands to end.
    pub(crate) draining: Atomic<u32>,
    /// Number of the device group, 0 for none.
    group_id: Atomic<u32>,
    #[pin]
    group: Mutex<Option<Arc<DeviceGroup>>>,
    #[pin]
    pub(crate) reservations: Reservations,
    /// The tokens that writes are compared with.
    #[pin]
    pub(crate) watch: Watch,
    /// The task set of nexuses that share one.
    pub(crate) tasks: Arc<TaskSet>,
    /// How many nexuses prevent the removal of the medium.
    pub(crate) preventing: Atomic<u32>,
    #[pin]
    threads: Mutex<ThreadConfig>,
    #[pin]
    dirs: Mutex<Dirs>,
    /// The handler's module stays until this is gone: the last field.
    _tracked: Tracked,
}

/// What an administrator set. Its lock is taken by writers of the attributes,
/// under the configuration's lock.
#[derive(Clone, Copy)]
pub(crate) struct ThreadConfig {
    pub(crate) count: u32,
    pub(crate) shared: bool,
}

#[derive(Default)]
struct Dirs {
    dir: Option<Dir>,
    exported: Option<Dir>,
    handler_link: Option<kapi::sysfs::Link>,
    handler_side: Option<kapi::sysfs::Link>,
}

/// Default of `max_tgt_dev_commands`.
pub(crate) const DEFAULT_MAX_COMMANDS: u32 = 64;

impl Device {
    pub(crate) fn new(
        name: &str,
        id: u32,
        handler: Arc<Handler>,
        lu: Arc<dyn LogicalUnit>,
        node: i32,
        tracked: Tracked,
    ) -> Result<Arc<Self>> {
        let buffers = scst_core()?.share_of_buffers()?;
        let pdt = PeripheralDeviceType(handler.ops().device_type());
        let count = lu.default_threads();
        let lu = Unit(lu);
        check_node(node)?;
        let shared_pool = ThreadPool::new(name, node)?;
        let name = Name::new(name)?;
        Arc::pin_init(
            try_pin_init!(Self {
                name,
                id,
                handler,
                pdt,
                lu,
                buffers,
                numa_node: Atomic::new(node),
                max_commands: Atomic::new(DEFAULT_MAX_COMMANDS),
                pool_kind: Atomic::new(PoolKind::PerInitiator as u32),
                shared_pool,
                exports: Atomic::new(0),
                blocked: Atomic::new(0),
                draining: Atomic::new(0),
                group_id: Atomic::new(0),
                group <- new_mutex!(None, "scst_device_group_of"),
                reservations <- Reservations::new(),
                watch <- Watch::new(),
                tasks: TaskSet::new(true)?,
                preventing: Atomic::new(0),
                threads <- new_mutex!(ThreadConfig { count, shared: false }),
                dirs <- new_mutex!(Dirs::default()),
                _tracked: tracked,
            }? Error),
            GFP_KERNEL,
        )
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Most commands that an initiator may have outstanding here
    /// (`max_tgt_dev_commands`).
    #[inline]
    pub(crate) fn max_commands(&self) -> u32 {
        self.max_commands.load(Relaxed)
    }

    /// Sets [`Device::max_commands`], for commands that arrive from now on. Takes
    /// the configuration's lock.
    pub(crate) fn set_max_commands(self: &Arc<Self>, most: u32) -> Result {
        self.max_commands.store(most, Relaxed);
        for nexus in &scst_core()?.nexuses_of(self)? {
            nexus.update_limit();
        }
        Ok(())
    }

    /// Whether an initiator prevents the removal of the medium. Any context.
    pub(crate) fn removal_prevented(&self) -> bool {
        self.preventing.load(Relaxed) != 0
    }

    /// How often the device is blocked. Any context.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocked.load(Relaxed)
    }

    /// The device group. May sleep.
    pub(crate) fn group(&self) -> Option<Arc<DeviceGroup>> {
        self.group.lock().clone()
    }

    /// Whether the device is in `group`. Any context.
    pub(crate) fn is_in(&self, group: &DeviceGroup) -> bool {
        self.group_id.load(Relaxed) == group.id
    }

    /// Puts the device into a group, or out of all. Management.
    pub(crate) fn set_group(&self, group: Option<Arc<DeviceGroup>>) {
        let id = group.as_ref().map_or(0, |group| group.id);
        self.group_id.store(id, Relaxed);
        let old = core::mem::replace(&mut *self.group.lock(), group);
        drop(old);
    }

    /// Makes a link to the device in `dir`. Management.
    pub(crate) fn link_in(&self, dir: &Dir) -> Result<kapi::sysfs::Link> {
        let dirs = self.dirs.lock();
        dir.symlink(self.name().as_bytes(), dirs.dir.as_ref().ok_or(ENODEV)?)
    }

    /// Number for the next `export<N>` link.
    pub(crate) fn next_export(&self) -> u32 {
        self.exports.fetch_add(1, Relaxed)
    }

    pub(crate) fn thread_config(&self) -> ThreadConfig {
        *self.threads.lock()
    }

    /// `EINVAL` if there is no such node; -1 is any.
    pub(crate) fn set_numa_node(&self, node: i32) -> Result {
        check_node(node)?;
        self.numa_node.store(node, Relaxed);
        Ok(())
    }

    fn pool_kind(&self) -> PoolKind {
        match self.pool_kind.load(Relaxed) {
            1 => PoolKind::Shared,
            2 => PoolKind::Global,
            _ => PoolKind::PerInitiator,
        }
    }

    /// The threads of a new nexus; `None` if the device never sleeps.
    pub(crate) fn new_nexus_pool(
        &self,
        cpus: Option<Arc<CpuMask>>,
    ) -> Result<Option<Arc<ThreadPool>>> {
        if !self.lu.sleeps() {
            return Ok(None);
        }
        let pool = ThreadPool::new(self.name(), self.numa_node.load(Relaxed))?;
        pool.set_cpus(|| cpus)?;
        if self.pool_kind() == PoolKind::PerInitiator {
            pool.grow(self.thread_config().count)?;
        }
        Ok(Some(pool))
    }

    /// Changes number and kind of the threads without stopping I/O: threads of
    /// the new kind start, commands go to them, those of the old kind end when
    /// their queue is empty. Takes the configuration's lock, but not while it
    /// waits for threads to end, as those may want it; sleeps as long as the
    /// commands that the old threads execute.
    pub(crate) fn configure_threads(
        self: &Arc<Self>,
        change: impl FnOnce(ThreadConfig) -> ThreadConfig,
    ) -> Result {
        let core = scst_core()?;
        let _one_at_a_time = core.thread_changes.lock();
        let wanted = change(self.thread_config());
        if wanted.count > MAX_THREADS {
            return Err(EINVAL);
        }
        // A device that never sleeps has no threads, but commands for one: INQUIRY, reservations.
        let kind = match (wanted.count, wanted.shared) {
            (0, _) => PoolKind::Global,
            _ if !self.lu.sleeps() => PoolKind::Global,
            (_, true) => PoolKind::Shared,
            (_, false) => PoolKind::PerInitiator,
        };
        let counts = match kind {
            PoolKind::Global => (0, 0),
            PoolKind::Shared => (wanted.count, 0),
            PoolKind::PerInitiator => (0, wanted.count),
        };
        let (shared, own) = counts;
        self.shared_pool.grow(shared)?;
        let start = |nexuses: &[Arc<Counted<Nexus>>]| each_pool(nexuses, |pool| pool.grow(own));
        start(&core.nexuses_of(self)?)?;
        self.pool_kind.store(kind as u32, Relaxed);
        *self.threads.lock() = wanted;
        // LUNs that were mapped meanwhile still had the old setting; those that
        // are mapped from here on have the new one.
        let nexuses = {
            let config = core.config.lock();
            let nexuses = config.nexuses_of(self)?;
            start(&nexuses)?;
            nexuses
        };
        // After this nobody queues to the old pool: see `enqueue`.
        kapi::rcu::synchronize();
        self.shared_pool.shrink(shared);
        each_pool(&nexuses, |pool| {
            pool.shrink(own);
            Ok(())
        })
    }

    /// Ends the commands that wait for a thread that all nexuses share, and are
    /// marked aborted. Any context.
    pub(crate) fn end_aborted(&self) {
        self.shared_pool.end_aborted();
    }

    /// Calls `f` with the PIDs of the threads that serve `nexus`.
    pub(crate) fn for_each_pid(&self, nexus: &Nexus, f: impl FnMut(i32)) {
        match (self.pool_kind(), &nexus.pool) {
            (_, None) => {}
            (PoolKind::PerInitiator, Some(pool)) => pool.for_each_pid(f),
            (PoolKind::Shared, _) => self.shared_pool.for_each_pid(f),
            (PoolKind::Global, _) => {
                if let Ok(core) = scst_core() {
                    core.threads.for_each_pid(f);
                }
            }
        }
    }

    /// Publishes the device's directories. Management.
    pub(crate) fn publish(self: &Arc<Self>, dir: Dir, exported: Dir, handler: &Dir) -> Result {
        let handler_link = dir.symlink(b"handler", handler)?;
        let handler_side = handler.symlink(self.name().as_bytes(), &dir)?;
        *self.dirs.lock() = Dirs {
            dir: Some(dir),
            exported: Some(exported),
            handler_link: Some(handler_link),
            handler_side: Some(handler_side),
        };
        Ok(())
    }

    /// Takes the device's directories away. Management.
    pub(crate) fn unpublish(&self) {
        let dirs = core::mem::take(&mut *self.dirs.lock());
        drop(dirs.handler_side);
        drop(dirs.handler_link);
        drop(dirs.exported);
        drop(dirs.dir);
    }

    /// Links `luns/<lun>` of a group to the device and back. Management.
    pub(crate) fn link_lun(&self, lun_dir: &Dir) -> Result<(kapi::sysfs::Link, kapi::sysfs::Link)> {
        let dirs = self.dirs.lock();
        let (Some(dir), Some(exported)) = (&dirs.dir, &dirs.exported) else {
            return Err(ENODEV);
        };
        let device = lun_dir.symlink(b"device", dir)?;
        let name = kernel::str::CString::try_from_fmt(fmt!("export{}", self.next_export()))?;
        let export = exported.symlink(name.to_bytes(), lun_dir)?;
        Ok((device, export))
    }
}

/// A device's logical unit, which is told when the device goes.
pub(crate) struct Unit(Arc<dyn LogicalUnit>);

impl Deref for Unit {
    type Target = dyn LogicalUnit;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.0.detach();
    }
}

fn check_node(node: i32) -> Result {
    if node == -1 || kapi::system::is_node(node) {
        return Ok(());
    }
    log_err!(
        "numa_node_id {}: -1 or a node of this machine expected",
        node
    );
    Err(EINVAL)
}

/// Calls `f` with the threads of each of the nexuses that has some of its own, until that fails.
pub(crate) fn each_pool(
    nexuses: &[Arc<Counted<Nexus>>],
    f: impl FnMut(&Arc<ThreadPool>) -> Result,
) -> Result {
    nexuses
        .iter()
        .filter_map(|n| n.pool.as_ref())
        .try_for_each(f)
}

/// Queues a command for a thread. Which pool is read and used under RCU, so that
/// [`Device::configure_threads`] knows when the old one gets nothing any more. It does not
/// find a nexus that was unmapped after the command had found that: the pool of such a one
/// may have no thread, and the core's see to what is left.
pub(crate) fn enqueue(loan: CommandLoan) {
    let Some(nexus) = loan.nexus.clone() else {
        return crate::pipeline::execute(loan);
    };
    let _rcu = rcu::read_lock();
    match (nexus.device.pool_kind(), &nexus.pool) {
        (PoolKind::PerInitiator, Some(pool)) if pool.has_threads() => pool.push(loan),
        (PoolKind::Shared, _) => nexus.device.shared_pool.push(loan),
        _ => crate::config::push_global(loan),
    }
}

/// A handler's handle of its published device.
#[derive(Clone)]
pub struct DeviceHandle {
    pub(crate) name: Arc<Name>,
}

impl DeviceHandle {
    /// Whether an initiator prevents the removal of the medium (PREVENT ALLOW MEDIUM
    /// REMOVAL). May sleep; takes the configuration's lock.
    pub fn removal_prevented(&self) -> bool {
        let device = scst_core().ok().and_then(|c| c.device(self.name.as_str()));
        device.is_some_and(|device| device.removal_prevented())
    }

    /// Establishes a unit attention on every nexus of the device. May sleep;
    /// takes the configuration's lock.
    pub fn unit_attention(&self, sense: Sense) {
        let Ok(core) = scst_core() else { return };
        let Some(device) = core.device(self.name.as_str()) else {
            return;
        };
        if let Ok(nexuses) = core.nexuses_of(&device) {
            for nexus in &nexuses {
                nexus.unit_attention(sense);
            }
        }
    }
}
