// SPDX-License-Identifier: GPL-2.0

//! Settings of the whole core.

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};

use crate::util::Name;

/// Default of `max_tasklet_cmd`.
pub(crate) const DEFAULT_TASKLET_CMD: u32 = 10;

/// Module parameters that may be changed at any time.
pub(crate) struct Switches {
    pub(crate) forcibly_close: fn() -> bool,
    pub(crate) auto_cm: fn() -> bool,
}

/// Most memory that commands may hold, in MiB.
pub(crate) struct Memory {
    /// Those of all devices.
    pub(crate) all_mb: u32,
    /// Those of a device.
    pub(crate) device_mb: u32,
}

/// What the attributes of `/sys/kernel/scst_tgt` set.
#[pin_data]
pub(crate) struct Globals {
    pub(crate) setup_id: Atomic<u32>,
    /// Result of the last management write that failed or succeeded.
    pub(crate) last_result: Atomic<i32>,
    /// Depth of `suspend`. Nothing is suspended: configuration changes do not
    /// stop I/O, so there is nothing to gain; clients pair the writes.
    pub(crate) suspend: Atomic<u32>,
    pub(crate) max_tasklet_cmd: Atomic<u32>,
    pub(crate) async_lun_replace: Atomic<u32>,
    pub(crate) force_global_sgv_pool: Atomic<u32>,
    pub(crate) trace_level: Atomic<u32>,
    pub(crate) default_threads: u32,
    pub(crate) max_cmd_mem_mb: u32,
    pub(crate) max_dev_cmd_mem_mb: u32,
    switches: Switches,
    #[pin]
    cluster_name: Mutex<Option<Name>>,
}

impl Globals {
    pub(crate) fn new(count: u32, memory: Memory, switches: Switches) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                setup_id: Atomic::new(0),
                last_result: Atomic::new(0),
                suspend: Atomic::new(0),
                max_tasklet_cmd: Atomic::new(DEFAULT_TASKLET_CMD),
                async_lun_replace: Atomic::new(0),
                force_global_sgv_pool: Atomic::new(0),
                trace_level: Atomic::new(scst_proto::trace::DEFAULT),
                default_threads: count,
                max_cmd_mem_mb: memory.all_mb,
                max_dev_cmd_mem_mb: memory.device_mb,
                switches,
                cluster_name <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn set_async_lun_replace(&self, on: bool) {
        self.async_lun_replace.store(u32::from(on), Relaxed);
    }

    /// Whether deleting a group with sessions moves them instead of failing.
    pub(crate) fn forcibly_close_sessions(&self) -> bool {
        (self.switches.forcibly_close)()
    }

    /// Whether new devices become LUNs of the copy manager.
    pub(crate) fn auto_cm_assignment(&self) -> bool {
        (self.switches.auto_cm)()
    }

    pub(crate) fn with_cluster_name<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        let name = self.cluster_name.lock();
        f(name.as_ref().map_or("", Name::as_str))
    }

    pub(crate) fn set_cluster_name(&self, name: &str) -> Result {
        let name = match name {
            "" => None,
            text => Some(Name::new(text)?),
        };
        *self.cluster_name.lock() = name;
        Ok(())
    }

    /// Notes the result of a management write, for `last_sysfs_mgmt_res`.
    pub(crate) fn note(&self, result: Result) -> Result {
        let errno = result.err().map_or(0, Error::to_errno);
        self.last_result.store(errno, Relaxed);
        result
    }
}
