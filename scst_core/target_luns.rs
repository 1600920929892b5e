// SPDX-License-Identifier: GPL-2.0

//! Which devices the groups of a target port have, and what is said to `luns/mgmt`.

use crate::{
    config::{core, Config, Core},
    device::Device,
    driver::LunEvent,
    group::Group,
    session::{Removed, Scope},
    target::{Target, LUNS_CHANGED},
    util::log_err,
};
use kapi::rcu;
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{
    command::{LunEntry, LunsCommand},
    sense::{Sense, INQUIRY_DATA_HAS_CHANGED},
};

/// LUNs that `clear` unmaps before it waits for RCU.
const CLEARED_AT_ONCE: usize = 256;

/// Has `change` change maps under the configuration's lock, and waits for the commands of what it removed; does not
/// wait if that may be `later`.
fn change_map(
    core: &Core,
    later: bool,
    change: impl FnOnce(&Config, &mut Removed) -> Result,
) -> Result {
    let mut removed = Removed::default();
    let config = core.config.lock();
    let result = change(&config, &mut removed);
    config.verify_access();
    drop(config);
    if later {
        // The old device's commands end while the new one is in use.
        core.work.queue(move || removed.finish())?;
    } else {
        removed.finish();
    }
    result
}

impl Target {
    /// Makes every session of `group` see its LUNs in `scope` as they are now.
    pub(crate) fn sync_group(
        &self,
        group: &Arc<Group>,
        scope: Scope,
        attention: Option<Sense>,
        removed: &mut Removed,
    ) -> Result {
        let wanted = group.wanted(scope)?;
        for session in &self.sessions()? {
            if Arc::ptr_eq(&session.group(), group) {
                session.update(&wanted, scope, attention, removed)?;
            }
        }
        Ok(())
    }

    /// A line written to `luns/mgmt` of `group`.
    pub(crate) fn manage_luns(&self, group: &Arc<Group>, command: LunsCommand<'_>) -> Result {
        let core = core()?;
        let replace = |entry, attention| {
            let later = core.globals.async_lun_replace.load(Relaxed) != 0;
            change_map(&core, later, |config, removed| {
                self.replace_lun(&core, config, group, entry, attention, removed)
            })
        };
        match command {
            LunsCommand::Add(entry) => change_map(&core, false, |config, removed| {
                self.add_lun(&core, config, group, entry, removed)
            }),
            LunsCommand::Replace(entry) => replace(entry, Some(INQUIRY_DATA_HAS_CHANGED)),
            LunsCommand::ReplaceNoUa(entry) => replace(entry, None),
            LunsCommand::Del(lun) => change_map(&core, false, |_, removed| {
                self.del_lun(group, lun.get(), removed)
            }),
            LunsCommand::Clear => self.clear_luns(&core, group),
        }
    }

    fn del_lun(&self, group: &Arc<Group>, lun: u16, removed: &mut Removed) -> Result {
        if !group.del_lun(lun) {
            log_err!("Virtual LUN {} not found in group {}", lun, group.name());
            return Err(EINVAL);
        }
        self.sync_group(group, Scope::One(lun), LUNS_CHANGED, removed)
    }

    /// Unmaps all LUNs, so many at a time that I/O does not notice: each leaves RCU a dozen pieces of memory to free,
    /// which it does on top of what runs on that processor, and without a limit where there are more than 10,000.
    fn clear_luns(&self, core: &Core, group: &Arc<Group>) -> Result {
        let mut next = group.next_lun(0);
        while let Some(first) = next {
            let mut last = first;
            change_map(core, false, |_, removed| {
                last = group.clear_luns(first, CLEARED_AT_ONCE);
                self.sync_group(group, Scope::Between(first, last), LUNS_CHANGED, removed)
            })?;
            next = last
                .checked_add(1)
                .and_then(|following| group.next_lun(following));
            if next.is_some() {
                rcu::barrier();
            }
        }
        Ok(())
    }

    fn add_lun(
        &self,
        core: &Core,
        config: &Config,
        group: &Arc<Group>,
        entry: LunEntry<'_>,
        removed: &mut Removed,
    ) -> Result {
        let device = core.find_device(config, entry.device)?;
        let lun = entry.lun.get();
        if group.has_lun(lun) {
            return Err(group.lun_exists(lun));
        }
        self.check_protection(entry.device, device.lu.protection())?;
        let moves = self.is_copy_manager() && group.forget_device(&device);
        let added = group.add_lun(device, lun, entry.read_only);
        let scope = if moves { Scope::All } else { Scope::One(lun) };
        if added.is_err() && moves {
            // It has lost the one that it had.
            let _ = self.sync_group(group, scope, LUNS_CHANGED, removed);
        }
        added?;
        let result = self.sync_group(group, scope, LUNS_CHANGED, removed);
        match result {
            Ok(()) => self.log_added(entry, group),
            Err(_) => {
                // Some sessions may have it.
                group.del_lun(lun);
                let _ = self.sync_group(group, scope, LUNS_CHANGED, removed);
            }
        }
        result
    }

    fn replace_lun(
        &self,
        core: &Core,
        config: &Config,
        group: &Arc<Group>,
        entry: LunEntry<'_>,
        attention: Option<Sense>,
        removed: &mut Removed,
    ) -> Result {
        let device = core.find_device(config, entry.device)?;
        self.check_protection(entry.device, device.lu.protection())?;
        let lun = entry.lun.get();
        group.del_lun(lun);
        let added = group.add_lun(device, lun, entry.read_only);
        // Without the new one there is none any more.
        self.sync_group(group, Scope::One(lun), None, removed)?;
        added?;
        removed.set_event(attention.map(|sense| LunEvent { lun, sense }));
        for session in &self.sessions()? {
            if !Arc::ptr_eq(&session.group(), group) {
                continue;
            }
            if let Some(nexus) = session.nexus(lun) {
                match attention {
                    Some(sense) => nexus.unit_attention(sense),
                    None => while nexus.take_attention().is_some() {},
                }
            }
        }
        self.log_added(entry, group);
        Ok(())
    }

    fn log_added(&self, entry: LunEntry<'_>, group: &Group) {
        pr_info!(
            "Added device {} to group {} (LUN {}, flags {:#x}) to target {}\n",
            entry.device,
            group.name(),
            entry.lun.get(),
            2 | u32::from(entry.read_only),
            self.name()
        );
    }

    /// Removes `device` from every group; under the configuration's lock.
    pub(crate) fn forget_device(&self, device: &Arc<Device>, removed: &mut Removed) -> Result {
        let mut groups = self.groups()?;
        groups.push(self.default_group.clone(), GFP_KERNEL)?;
        for group in &groups {
            if group.forget_device(device) {
                self.sync_group(group, Scope::All, LUNS_CHANGED, removed)?;
            }
        }
        Ok(())
    }
}
