// SPDX-License-Identifier: GPL-2.0

//! Target ports: their groups, their sessions, and what is said to a port's
//! `ini_groups/mgmt` and `initiators/mgmt`.

use crate::{
    attrs_group, attrs_session,
    config::core,
    device::each_pool,
    driver::Transport,
    drivers::Driver,
    group::Group,
    protection::FailedChecks,
    session::{NexusList, Removed, Scope, Session},
    util::{log_err, Name},
};
use kapi::{
    cpumask::CpuMask,
    sysfs::{self, Dir},
    tracker::Tracked,
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};
use scst_proto::{
    command::{GroupsCommand, InitiatorsCommand},
    sense::{Sense, REPORTED_LUNS_DATA_HAS_CHANGED},
};

/// What initiators whose LUNs have changed are told.
pub(crate) const LUNS_CHANGED: Option<Sense> = Some(REPORTED_LUNS_DATA_HAS_CHANGED);

/// `EBADSLT` of `include/uapi/asm-generic/errno.h`.
const EBADSLT: i32 = 57;

#[derive(Default)]
struct State {
    groups: KVec<Arc<Group>>,
    sessions: KVec<Arc<Session>>,
    comment: Option<Name>,
    dirs: Option<TargetDirs>,
}

/// The directories of a target.
pub(crate) struct TargetDirs {
    pub(crate) sessions: Dir,
    pub(crate) ini_groups: Dir,
    pub(crate) own: Dir,
}

/// A target port. Methods are management's: they take the configuration's lock
/// where they say so, and sleep.
#[pin_data]
pub struct Target {
    name: Name,
    pub(crate) driver: Arc<Driver>,
    pub(crate) default_group: Arc<Group>,
    pub(crate) rel_tgt_id: Atomic<u32>,
    /// `enabled`, for a target that has it.
    pub(crate) enabled: Option<Atomic<u32>>,
    /// Held while the driver enables or disables the target.
    #[pin]
    enabling: Mutex<()>,
    pub(crate) aen_disabled: Atomic<u32>,
    pub(crate) forward_src: Atomic<u32>,
    pub(crate) forward_dst: Atomic<u32>,
    pub(crate) sg_tablesize: u32,
    pub(crate) failed_checks: FailedChecks,
    #[pin]
    state: Mutex<State>,
    _tracked: Tracked,
}

impl Target {
    pub(crate) fn new(
        name: &str,
        driver: Arc<Driver>,
        params: &crate::TargetParams,
    ) -> Result<Arc<Self>> {
        let default_group = Group::new(name, true)?;
        let tracked = driver.tracker.track();
        let name = Name::new(name)?;
        Arc::pin_init(
            pin_init!(Self {
                name,
                driver,
                default_group,
                rel_tgt_id: Atomic::new(u32::from(params.rel_tgt_id)),
                enabled: params.enabled.map(|on| Atomic::new(u32::from(on))),
                enabling <- new_mutex!((), "scst_enabling"),
                aen_disabled: Atomic::new(0),
                forward_src: Atomic::new(0),
                forward_dst: Atomic::new(0),
                sg_tablesize: params.sg_tablesize,
                failed_checks: FailedChecks::new(),
                state <- new_mutex!(State::default()),
                _tracked: tracked,
            }),
            GFP_KERNEL,
        )
    }

    /// Name of the target port.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Relative target port identifier; 0 if it has none.
    pub fn rel_tgt_id(&self) -> u16 {
        self.rel_tgt_id.load(Relaxed) as u16
    }

    /// Has the driver enable or disable the target, one change at a time. Sleeps.
    pub(crate) fn enable(&self, on: bool) -> Result {
        let _one_at_a_time = self.enabling.lock();
        let enabled = self.enabled.as_ref().ok_or(ENOTSUPP)?;
        let before = enabled.load(Relaxed);
        if on {
            self.ensure_rel_tgt_id()?;
            // Before it is so: the driver may have to disable it again at any time.
            enabled.store(1, Relaxed);
        }
        let result = self.driver.ops().enable(self.name(), on);
        match result {
            Ok(()) if !on => enabled.store(0, Relaxed),
            Err(_) => enabled.store(before, Relaxed),
            Ok(()) => {}
        }
        result
    }

    pub(crate) fn set_dirs(&self, dirs: Option<TargetDirs>) {
        let old = core::mem::replace(&mut self.state.lock().dirs, dirs);
        drop(old);
    }

    /// Calls `f` with the target's directories. They stay meanwhile, as
    /// management is serialised.
    fn with_dirs<R>(&self, f: impl FnOnce(&TargetDirs) -> Result<R>) -> Result<R> {
        let Some(dirs) = self.state.lock().dirs.take() else {
            return Err(ENODEV);
        };
        let result = f(&dirs);
        self.state.lock().dirs = Some(dirs);
        result
    }

    /// Makes a link to the target in `dir`. Management.
    pub(crate) fn link_in(&self, dir: &Dir) -> Result<sysfs::Link> {
        self.with_dirs(|dirs| dir.symlink(self.name().as_bytes(), &dirs.own))
    }

    /// Makes a link `name` in the target's directory, for its driver, which drops it
    /// before the target. Process context; takes the configuration's lock.
    pub fn symlink(&self, name: &[u8], to: &sysfs::Parent<'_>) -> Result<sysfs::Link> {
        let core = core()?;
        let _config = core.config.lock();
        self.with_dirs(|dirs| dirs.own.symlink_to(name, to))
    }

    pub(crate) fn with_comment<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        let state = self.state.lock();
        f(state.comment.as_ref().map_or("", Name::as_str))
    }

    pub(crate) fn set_comment(&self, comment: &str) -> Result {
        let comment = match comment {
            "" => None,
            text => Some(Name::new(text)?),
        };
        self.state.lock().comment = comment;
        Ok(())
    }

    /// The sessions at this moment.
    pub(crate) fn sessions(&self) -> Result<KVec<Arc<Session>>> {
        let state = self.state.lock();
        let mut list = KVec::with_capacity(state.sessions.len(), GFP_KERNEL)?;
        for session in &state.sessions {
            list.push(session.clone(), GFP_KERNEL)?;
        }
        Ok(list)
    }

    /// The named groups at this moment.
    pub(crate) fn groups(&self) -> Result<KVec<Arc<Group>>> {
        let state = self.state.lock();
        let mut list = KVec::with_capacity(state.groups.len(), GFP_KERNEL)?;
        for group in &state.groups {
            list.push(group.clone(), GFP_KERNEL)?;
        }
        Ok(list)
    }

    fn group(&self, name: &str) -> Option<Arc<Group>> {
        let state = self.state.lock();
        state.groups.iter().find(|g| g.name() == name).cloned()
    }

    /// The group that `initiator` belongs to.
    fn group_of(&self, initiator: &str) -> Arc<Group> {
        let state = self.state.lock();
        let mut groups = state.groups.iter();
        match groups.find(|g| g.matches(initiator)) {
            Some(group) => group.clone(),
            None => self.default_group.clone(),
        }
    }

    /// Moves sessions to the groups that match them now; `rebind` gets those whose threads are to run
    /// on other CPUs then.
    fn regroup(&self, removed: &mut Removed, rebind: &mut KVec<Arc<Session>>) -> Result {
        for session in &self.sessions()? {
            let group = self.group_of(session.initiator());
            if Arc::ptr_eq(&group, &session.group()) {
                continue;
            }
            self.announce(session, &group);
            if session.cpus().as_deref() != group.cpu_mask().as_deref() {
                rebind.push(session.clone(), GFP_KERNEL)?;
            }
            session.set_group(group.clone());
            group.link_session(session)?;
            let wanted = group.wanted(Scope::All)?;
            session.update(&wanted, Scope::All, LUNS_CHANGED, removed)?;
        }
        Ok(())
    }

    fn announce(&self, session: &Session, group: &Group) {
        pr_info!(
            "Using security group \"{}\" for initiator \"{}\" (target {})\n",
            group.name(),
            session.initiator(),
            self.name()
        );
    }

    /// A line written to `ini_groups/mgmt`.
    pub(crate) fn manage_groups(self: &Arc<Self>, command: GroupsCommand<'_>) -> Result {
        let core = core()?;
        let guard = core.config.lock();
        let (mut removed, mut rebind) = (Removed::default(), KVec::new());
        let result = match command {
            GroupsCommand::Create(name) => self.create_group(name),
            GroupsCommand::Del(name) => self.del_group(name, &mut removed, &mut rebind),
        };
        drop(guard);
        removed.finish();
        result.and(bind_threads(&rebind))
    }

    fn create_group(self: &Arc<Self>, name: &str) -> Result {
        if self.group(name).is_some() {
            log_err!("Group {} already exists in target {}", name, self.name());
            return Err(EEXIST);
        }
        let group = Group::new(name, false)?;
        self.state.lock().groups.reserve(1, GFP_KERNEL)?;
        let dirs = self.with_dirs(|d| attrs_group::publish(&d.ini_groups, self, &group))?;
        group.set_dirs(Some(dirs));
        let added = self.state.lock().groups.push_within_capacity(group);
        added.map_err(|_| ENOMEM)
    }

    fn del_group(
        &self,
        name: &str,
        removed: &mut Removed,
        rebind: &mut KVec<Arc<Session>>,
    ) -> Result {
        let Some(group) = self.group(name) else {
            log_err!("Group {} not found in target {}", name, self.name());
            return Err(EINVAL);
        };
        let in_use = self
            .sessions()?
            .iter()
            .any(|s| Arc::ptr_eq(&s.group(), &group));
        if in_use && !core()?.globals.forcibly_close_sessions() {
            log_err!(
                "Group {} has sessions: log the initiators out, or remove their names from it first",
                name
            );
            return Err(EBUSY);
        }
        group.clear_members();
        {
            let groups = &mut self.state.lock().groups;
            if let Some(at) = groups.iter().position(|g| Arc::ptr_eq(g, &group)) {
                let _ = groups.remove(at);
            }
        }
        let result = self.regroup(removed, rebind);
        group.unpublish();
        result
    }

    /// A line written to `initiators/mgmt` of `group`.
    pub(crate) fn manage_members(
        &self,
        group: &Arc<Group>,
        command: InitiatorsCommand<'_>,
    ) -> Result {
        let core = core()?;
        let guard = core.config.lock();
        self.change_members(group, command)?;
        let (mut removed, mut rebind) = (Removed::default(), KVec::new());
        let result = self.regroup(&mut removed, &mut rebind);
        drop(guard);
        removed.finish();
        result.and(bind_threads(&rebind))
    }

    fn change_members(&self, group: &Arc<Group>, command: InitiatorsCommand<'_>) -> Result {
        match command {
            InitiatorsCommand::Add(pattern) => {
                group.add_member(pattern).inspect_err(|_| {
                    log_err!(
                        "Initiator {} already exists in group {}",
                        pattern,
                        group.name()
                    );
                })?;
                pr_info!(
                    "Added name {} to group {} (target {})\n",
                    pattern,
                    group.name(),
                    self.name()
                );
            }
            InitiatorsCommand::Del(pattern) => group.del_member(pattern).inspect_err(|_| {
                log_err!("Initiator {} not found in group {}", pattern, group.name());
            })?,
            InitiatorsCommand::Move { pattern, group: to } => {
                let Some(to) = self.group(to) else {
                    log_err!("Group {} not found in target {}", to, self.name());
                    return Err(EINVAL);
                };
                if !group.has_member(pattern) {
                    log_err!("Initiator {} not found in group {}", pattern, group.name());
                    return Err(EINVAL);
                }
                to.add_member(pattern).inspect_err(|_| {
                    log_err!(
                        "Initiator {} already exists in group {}",
                        pattern,
                        to.name()
                    );
                })?;
                group.del_member(pattern)?;
            }
            InitiatorsCommand::Clear => group.clear_members(),
        }
        Ok(())
    }

    /// Has the threads of the sessions of `group` run on `cpus`; `None` is all.
    pub(crate) fn set_cpus(&self, group: &Arc<Group>, cpus: Option<Arc<CpuMask>>) -> Result {
        let core = core()?;
        let mut bound = KVec::new();
        {
            // Threads that are made from now on have the new ones.
            let _config = core.config.lock();
            group.set_cpu_mask(cpus);
            for session in self.sessions()? {
                if Arc::ptr_eq(&session.group(), group) {
                    bound.push(session, GFP_KERNEL)?;
                }
            }
        }
        bind_threads(&bound)
    }

    /// Sets the relative target port identifier, of which no other target may
    /// have the same. `EINVAL` if it is too large, `EBADSLT` if it is 0 or taken.
    pub(crate) fn set_rel_tgt_id(&self, id: u64) -> Result {
        let core = core()?;
        let id = u16::try_from(id).map_err(|_| {
            log_err!("rel_tgt_id {} is too large: 1 to 65535 expected", id);
            EINVAL
        })?;
        let config = core.config.lock();
        if id == 0 || self.others_have(&config, id)? {
            log_err!("Relative port id {} is not free", id);
            return Err(Error::from_errno(-EBADSLT));
        }
        self.rel_tgt_id.store(u32::from(id), Relaxed);
        Ok(())
    }

    /// Gives the target the lowest free relative target port identifier, if it has
    /// none yet. `ENOSPC` if there is none free.
    pub(crate) fn ensure_rel_tgt_id(&self) -> Result {
        let core = core()?;
        let config = core.config.lock();
        if self.rel_tgt_id() != 0 {
            return Ok(());
        }
        for id in 1..=u16::MAX {
            if !self.others_have(&config, id)? {
                self.rel_tgt_id.store(u32::from(id), Relaxed);
                pr_info!(
                    "Using autogenerated relative target id {} for target {}\n",
                    id,
                    self.name()
                );
                return Ok(());
            }
        }
        log_err!(
            "No relative target id is left for target {}: 1 to 65535 are taken",
            self.name()
        );
        Err(ENOSPC)
    }

    /// Whether another target has this relative target port identifier.
    fn others_have(&self, config: &crate::config::Config, id: u16) -> Result<bool> {
        let mut taken = false;
        for driver in &config.drivers {
            for other in &driver.targets()? {
                taken |= other.rel_tgt_id() == id && !::core::ptr::eq(&**other, self);
            }
        }
        Ok(taken)
    }

    /// Makes the session of an initiator that logged in. Takes the
    /// configuration's lock.
    pub(crate) fn open_session(
        self: &Arc<Self>,
        initiator: &str,
        transport: Arc<dyn Transport>,
        attrs: KVec<sysfs::Group>,
    ) -> Result<Arc<Session>> {
        let core = core()?;
        let guard = core.config.lock();
        let label = self.free_label(initiator)?;
        self.state.lock().sessions.reserve(1, GFP_KERNEL)?;
        let group = self.group_of(initiator);
        let session = Session::new(initiator, label, self.clone(), group.clone(), transport)?;
        self.announce(&session, &group);
        let dir = self.with_dirs(|d| attrs_session::publish(&d.sessions, &session, attrs))?;
        session.set_dir(Some(dir));
        let rest = session.publish_latency();
        rest.and_then(|()| group.link_session(&session))
            .inspect_err(|_| session.set_dir(None))?;
        let added = self
            .state
            .lock()
            .sessions
            .push_within_capacity(session.clone());
        added.map_err(|_| ENOMEM)?;
        let mut removed = Removed::default();
        let wanted = group.wanted(Scope::All);
        let result = wanted.and_then(|w| session.update(&w, Scope::All, None, &mut removed));
        drop(guard);
        removed.finish_quietly();
        if let Err(error) = result {
            self.close_session(&session);
            return Err(error);
        }
        Ok(session)
    }

    /// A session's directory is called as its initiator, or `name_1` and so on
    /// if that is taken.
    fn free_label(&self, initiator: &str) -> Result<Name> {
        let state = self.state.lock();
        for n in 0..u32::MAX {
            let label = match n {
                0 => CString::try_from_fmt(fmt!("{}", initiator))?,
                n => CString::try_from_fmt(fmt!("{}_{}", initiator, n))?,
            };
            let label = label.to_str().map_err(|_| EINVAL)?;
            if !state.sessions.iter().any(|s| s.label() == label) {
                return Name::new(label);
            }
        }
        Err(EEXIST)
    }

    fn forget_session(&self, session: &Arc<Session>) {
        let sessions = &mut self.state.lock().sessions;
        if let Some(at) = sessions.iter().position(|s| Arc::ptr_eq(s, session)) {
            let _ = sessions.remove(at);
        }
    }

    /// Takes a session out of sight and ends its commands. Takes the
    /// configuration's lock; sleeps until hardware has let go of every command.
    pub(crate) fn close_session(&self, session: &Arc<Session>) {
        let Ok(core) = core() else { return };
        let guard = core.config.lock();
        self.forget_session(session);
        let mut removed = Removed::default();
        let result = session.update(&[], Scope::All, None, &mut removed);
        session.set_dir(None);
        drop(guard);
        session.abort_all();
        removed.finish_quietly();
        if result.is_err() {
            session.unmap_each();
        }
    }

    /// Takes the target's directories away.
    pub(crate) fn unpublish(&self) {
        for group in self.groups().unwrap_or_default() {
            group.unpublish();
        }
        self.default_group.unpublish();
        let dirs = self.state.lock().dirs.take();
        if let Some(dirs) = dirs {
            drop(dirs.sessions);
            drop(dirs.ini_groups);
            drop(dirs.own);
        }
    }
}

/// Has the threads of `sessions` run on the CPUs of their groups. Sleeps.
fn bind_threads(sessions: &[Arc<Session>]) -> Result {
    for session in sessions {
        let mut nexuses = NexusList::new();
        session.collect(&mut nexuses, |nexus| nexus.pool.is_some())?;
        each_pool(&nexuses, |pool| pool.set_cpus(|| session.cpus()))?;
    }
    Ok(())
}
