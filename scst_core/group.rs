// SPDX-License-Identifier: GPL-2.0

//! Access-control groups: which LUNs the initiators of a group see.
//!
//! A target has a default group, whose LUNs are in its `luns` directory, and any
//! number of named ones below `ini_groups`, each with name patterns. A session
//! belongs to the first named group with a pattern that matches its initiator,
//! or else to the default group.

use crate::{
    device::Device,
    session::{Scope, Session, Wanted},
    util::{log_err, Name},
};
use kapi::{
    cpumask::CpuMask,
    sysfs::{Dir, File, Link},
};
use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};
use scst_proto::{glob, lun::AddressMethod};

/// A device at a LUN of a group.
struct Lun {
    device: Arc<Device>,
    read_only: bool,
    _links: (Link, Link),
    _dir: Dir,
}

/// An initiator name or pattern of a group.
struct Member {
    pattern: Name,
    _file: File,
}

#[derive(Default)]
struct State {
    luns: RBTree<u16, Lun>,
    members: KVec<Member>,
    cpus: Option<Arc<CpuMask>>,
    dirs: Option<GroupDirs>,
}

/// The directories of a group.
pub(crate) struct GroupDirs {
    /// `luns`.
    pub(crate) luns: Dir,
    /// `initiators`; the default group has none.
    pub(crate) initiators: Option<Dir>,
    /// The group's own; the default group's is the target's.
    pub(crate) own: Option<Dir>,
}

/// What a LUN directory shows.
pub(crate) struct LunInfo {
    pub(crate) read_only: bool,
}

/// An access-control group. All methods are management's: under the
/// configuration's lock, and they sleep.
#[pin_data]
pub(crate) struct Group {
    name: Name,
    pub(crate) is_default: bool,
    addr_method: Atomic<u32>,
    pub(crate) black_hole: Atomic<u32>,
    /// `io_grouping_type`: -1 `auto`, -2 `never`, or a number of the user's.
    pub(crate) io_grouping: Atomic<i32>,
    #[pin]
    state: Mutex<State>,
}

pub(crate) const GROUPING_AUTO: i32 = -1;
pub(crate) const GROUPING_NEVER: i32 = -2;
pub(crate) const GROUPING_TARGET: i32 = -3;

/// The method that an atomic holds.
pub(crate) fn address_method(number: u32) -> AddressMethod {
    [AddressMethod::Flat, AddressMethod::Lun]
        .into_iter()
        .find(|method| *method as u32 == number)
        .unwrap_or(AddressMethod::Peripheral)
}

impl Group {
    pub(crate) fn new(name: &str, is_default: bool) -> Result<Arc<Self>> {
        let name = Name::new(name)?;
        Arc::pin_init(
            pin_init!(Self {
                name,
                is_default,
                addr_method: Atomic::new(AddressMethod::Peripheral as u32),
                black_hole: Atomic::new(0),
                io_grouping: Atomic::new(GROUPING_AUTO),
                state <- new_mutex!(State::default()),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn addr_method(&self) -> AddressMethod {
        address_method(self.addr_method.load(Relaxed))
    }

    pub(crate) fn set_addr_method(&self, method: AddressMethod) {
        self.addr_method.store(method as u32, Relaxed);
    }

    /// CPUs for the threads of the group's sessions; `None` is all.
    pub(crate) fn cpu_mask(&self) -> Option<Arc<CpuMask>> {
        self.state.lock().cpus.clone()
    }

    pub(crate) fn set_cpu_mask(&self, cpus: Option<Arc<CpuMask>>) {
        self.state.lock().cpus = cpus;
    }

    pub(crate) fn set_dirs(&self, dirs: Option<GroupDirs>) {
        let old = core::mem::replace(&mut self.state.lock().dirs, dirs);
        drop(old);
    }

    /// Takes everything away that the group has in sysfs.
    pub(crate) fn unpublish(&self) {
        let (luns, members, dirs) = {
            let mut state = self.state.lock();
            (
                core::mem::take(&mut state.luns),
                core::mem::take(&mut state.members),
                state.dirs.take(),
            )
        };
        drop(luns);
        drop(members);
        if let Some(dirs) = dirs {
            drop(dirs.luns);
            drop(dirs.initiators);
            drop(dirs.own);
        }
    }

    pub(crate) fn has_lun(&self, lun: u16) -> bool {
        self.state.lock().luns.get(&lun).is_some()
    }

    /// Maps `device` at `lun`, which is free. The LUN of a device that nobody can
    /// write to is read-only too.
    pub(crate) fn add_lun(&self, device: Arc<Device>, lun: u16, read_only: bool) -> Result {
        let read_only = read_only || device.lu.read_only();
        let mut state = self.state.lock();
        if state.luns.get(&lun).is_some() {
            return Err(EEXIST);
        }
        let dirs = state.dirs.as_ref().ok_or(ENODEV)?;
        let dir = crate::attrs_group::lun_dir(&dirs.luns, lun, read_only)?;
        let links = device.link_lun(&dir)?;
        let entry = Lun {
            device,
            read_only,
            _links: links,
            _dir: dir,
        };
        state.luns.try_create_and_insert(lun, entry, GFP_KERNEL)?;
        Ok(())
    }

    /// Unmaps `lun`; whether it was mapped.
    pub(crate) fn del_lun(&self, lun: u16) -> bool {
        let entry = self.state.lock().luns.remove(&lun);
        entry.is_some()
    }

    /// The first LUN that is not less than `from`.
    pub(crate) fn next_lun(&self, from: u16) -> Option<u16> {
        let state = self.state.lock();
        let mut luns = state.luns.keys();
        luns.find(|lun| **lun >= from).copied()
    }

    /// Unmaps `first` and those that follow it, `most` at most; the last of them.
    pub(crate) fn clear_luns(&self, first: u16, most: usize) -> u16 {
        let mut last = first;
        for _ in 0..most {
            let Some(lun) = self.next_lun(first) else {
                break;
            };
            self.del_lun(lun);
            last = lun;
        }
        last
    }

    /// Unmaps the LUNs of `device`; whether there were any.
    pub(crate) fn forget_device(&self, device: &Arc<Device>) -> bool {
        let mut any = false;
        loop {
            let entry = {
                let luns = &mut self.state.lock().luns;
                let mut of_it = luns.iter().filter(|(_, l)| Arc::ptr_eq(device, &l.device));
                let lun = of_it.next().map(|(lun, _)| *lun);
                lun.and_then(|lun| luns.remove(&lun))
            };
            match entry {
                Some(_) => any = true,
                None => return any,
            }
        }
    }

    /// The LUNs in `scope` that a session of the group is to see, ascending.
    pub(crate) fn wanted(&self, scope: Scope) -> Result<KVVec<Wanted>> {
        let state = self.state.lock();
        let mut list = KVVec::new();
        let wanted = |lun, entry: &Lun| Wanted {
            lun,
            device: entry.device.clone(),
            read_only: entry.read_only,
        };
        match scope {
            Scope::One(lun) => {
                if let Some(entry) = state.luns.get(&lun) {
                    list.push(wanted(lun, entry), GFP_KERNEL)?;
                }
            }
            Scope::Between(first, last) => {
                for (lun, entry) in &state.luns {
                    if (first..=last).contains(lun) {
                        list.push(wanted(*lun, entry), GFP_KERNEL)?;
                    }
                }
            }
            Scope::All => {
                list.reserve(state.luns.iter().count(), GFP_KERNEL)?;
                for (lun, entry) in &state.luns {
                    list.push(wanted(*lun, entry), GFP_KERNEL)?;
                }
            }
        }
        Ok(list)
    }

    /// Whether a pattern of the group matches `initiator`.
    pub(crate) fn matches(&self, initiator: &str) -> bool {
        let state = self.state.lock();
        let mut members = state.members.iter();
        members.any(|m| glob::matches(m.pattern.as_str(), initiator))
    }

    pub(crate) fn has_member(&self, pattern: &str) -> bool {
        self.state
            .lock()
            .members
            .iter()
            .any(|m| m.pattern == *pattern)
    }

    pub(crate) fn add_member(&self, pattern: &str) -> Result {
        if self.has_member(pattern) {
            return Err(EEXIST);
        }
        let name = Name::new(pattern)?;
        let mut state = self.state.lock();
        let dirs = state
            .dirs
            .as_ref()
            .and_then(|dirs| dirs.initiators.as_ref());
        let file = dirs
            .ok_or(EINVAL)?
            .file(pattern.as_bytes(), pattern.as_bytes())?;
        state.members.push(
            Member {
                pattern: name,
                _file: file,
            },
            GFP_KERNEL,
        )?;
        Ok(())
    }

    pub(crate) fn del_member(&self, pattern: &str) -> Result {
        let member = {
            let members = &mut self.state.lock().members;
            let at = members.iter().position(|m| m.pattern == *pattern);
            at.and_then(|at| members.remove(at).ok())
        };
        member.map(drop).ok_or(EINVAL)
    }

    pub(crate) fn clear_members(&self) {
        let members = core::mem::take(&mut self.state.lock().members);
        drop(members);
    }

    /// Points the `luns` link of `session` here.
    pub(crate) fn link_session(&self, session: &Session) -> Result {
        // The directory is taken out, so that no lock is held while the link is
        // made; management is serialised.
        let Some(dirs) = self.state.lock().dirs.take() else {
            return Err(ENODEV);
        };
        let result = session.link_luns(&dirs.luns);
        self.state.lock().dirs = Some(dirs);
        result
    }

    /// Logs that a LUN was refused.
    pub(crate) fn lun_exists(&self, lun: u16) -> Error {
        log_err!("virt lun {} already exists in group {}", lun, self.name());
        EEXIST
    }
}
