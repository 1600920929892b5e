// SPDX-License-Identifier: GPL-2.0

//! Sessions: an initiator port that is logged in to a target port (I_T nexus).

use crate::{
    cmd::{Incoming, Vacant},
    device::Device,
    driver::{LunEvent, Transport},
    group::Group,
    latency::{self, Latency},
    lun_map::LunMap,
    nexus::{Nexus, SeenLun},
    protection::FailedChecks,
    reservations::Reservations,
    stats::{Count, Kind, Totals},
    target::Target,
    tmf::of_lun,
    util::{log_err, Name},
};
use kapi::{
    counted::Counted,
    cpumask::CpuMask,
    rcu::RetiredArc,
    sysfs::{Dir, Link, Parent},
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed, Release},
        new_mutex, rcu, Arc, ArcBorrow, Mutex,
    },
};
use scst_proto::{
    lun::{AddressMethod, Lun, MAX_LUN},
    sense::Sense,
};

/// Numbers for [`SeenLun::mapping`].
static NEXT_MAPPING: Atomic<u64> = Atomic::new(1);

/// A session, the I_T nexus of SAM-6 4.6.13.
#[pin_data]
pub struct Session {
    initiator: Name,
    label: Name,
    transport: Arc<dyn Transport>,
    map: LunMap,
    /// Not 0 if a unit attention was taken since [`Session::tell_others`].
    attention_taken: Atomic<u32>,
    /// Changes whenever a command that was marked aborted ends.
    aborts_ended: Atomic<u32>,
    /// The group's [`AddressMethod`], kept here for REPORT LUNS in any context.
    addr_method: Atomic<u32>,
    black_hole: Atomic<u32>,
    pub(crate) failed_checks: FailedChecks,
    #[pin]
    pub(crate) latency: Latency,
    #[pin]
    abort_wait: WaitQueue,
    #[pin]
    state: Mutex<State>,
    /// The driver's module stays until this is gone, and the transport is of it: the last field.
    pub(crate) target: Arc<Target>,
}

/// What management changes. The lock is a leaf: nothing is waited for and no
/// directory is removed under it.
struct State {
    group: Arc<Group>,
    dir: Option<Dir>,
    luns_link: Option<Link>,
    latency_dir: Option<Dir>,
    lun_dirs: RBTree<u16, Dir>,
    /// Counters of LUNs that are gone.
    past: Totals,
}

/// A LUN that a session is to see.
pub(crate) struct Wanted {
    pub(crate) lun: u16,
    pub(crate) device: Arc<Device>,
    pub(crate) read_only: bool,
}

impl Wanted {
    /// Whether `nexus` is it already.
    fn is(&self, nexus: &Nexus) -> bool {
        Arc::ptr_eq(&nexus.device, &self.device) && nexus.read_only() == self.read_only
    }
}

/// Which LUNs a change is about.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// All.
    All,
    /// This one.
    One(u16),
    /// From the one to the other, both included.
    Between(u16, u16),
}

/// Nexuses, as many as there may be.
pub(crate) type NexusList = KVVec<Arc<Counted<Nexus>>>;

/// What is no longer mapped; it goes when [`Removed::finish`] has waited for
/// its commands.
#[must_use]
#[derive(Default)]
pub(crate) struct Removed {
    nexuses: KVVec<RetiredArc<Counted<Nexus>>>,
    /// Who is to be told, and what.
    changed: KVec<(Arc<Session>, Option<LunEvent>)>,
}

impl Removed {
    /// Adds what was mapped; there has to be room.
    fn add(&mut self, nexus: Option<RetiredArc<Counted<Nexus>>>) {
        if let Some(nexus) = nexus.filter(|nexus| nexus.get().is_some()) {
            // Without room it is dropped, which waits for its commands.
            let _ = self.nexuses.push_within_capacity(nexus);
        }
    }

    /// What initiators are told happened.
    pub(crate) fn set_event(&mut self, event: Option<LunEvent>) {
        for (_, told) in self.changed.iter_mut() {
            *told = event;
        }
    }

    /// Waits for the commands of what was removed, frees it, and tells the
    /// initiators. Sleeps; no lock of the core may be held.
    pub(crate) fn finish(self) {
        drain(&self.nexuses);
        drop(self.nexuses);
        for (session, event) in &self.changed {
            session.transport.luns_changed(*event);
        }
    }

    /// As [`Removed::finish`], for sessions that are ending: nobody is told.
    pub(crate) fn finish_quietly(self) {
        drain(&self.nexuses);
    }
}

/// Waits for the commands of nexuses that nobody can find any more. One grace period, an expedited
/// one, whatever their number.
fn drain(nexuses: &[RetiredArc<Counted<Nexus>>]) {
    for nexus in nexuses {
        nexus.end();
        if let Some(nexus) = nexus.get() {
            nexus.release_all();
            nexus.end_idle_aborted();
        }
    }
    crate::config::end_aborted_global();
    for nexus in nexuses.iter().filter_map(RetiredArc::get) {
        let mut seconds = 0u32;
        while !nexus.wait_gone(Some(10_000)) {
            seconds = seconds.saturating_add(10);
            log_err!(
                "LUN {} of initiator {}: still waiting for its commands after {} s: {}",
                nexus.lun(),
                nexus.session().initiator(),
                seconds,
                nexus.session().places(&of_lun(nexus.lun()))
            );
        }
        nexus.forget();
        Reservations::nexus_lost(nexus);
        nexus.session().state.lock().past.add(&nexus.stats);
    }
}

impl Session {
    /// Makes a session without LUNs and without a directory.
    pub(crate) fn new(
        initiator: &str,
        label: Name,
        target: Arc<Target>,
        group: Arc<Group>,
        transport: Arc<dyn Transport>,
    ) -> Result<Arc<Self>> {
        let initiator = Name::new(initiator)?;
        Arc::pin_init(
            pin_init!(Self {
                initiator,
                label,
                transport,
                map: LunMap::new(),
                attention_taken: Atomic::new(1),
                aborts_ended: Atomic::new(0),
                addr_method: Atomic::new(group.addr_method() as u32),
                black_hole: Atomic::new(group.black_hole.load(Relaxed)),
                failed_checks: FailedChecks::new(),
                latency <- Latency::new(),
                abort_wait <- new_wait_queue!(),
                state <- new_mutex!(State {
                    group,
                    dir: None,
                    luns_link: None,
                    latency_dir: None,
                    lun_dirs: RBTree::new(),
                    past: Totals::default(),
                }),
                target,
            }),
            GFP_KERNEL,
        )
    }

    /// Name of the initiator port.
    pub fn initiator(&self) -> &str {
        self.initiator.as_str()
    }

    /// Name of the session's directory: the initiator's, with `_1` and so on
    /// where one initiator has several sessions.
    pub(crate) fn label(&self) -> &str {
        self.label.as_str()
    }

    #[inline]
    pub(crate) fn transport(&self) -> &dyn Transport {
        &*self.transport
    }

    pub(crate) fn group(&self) -> Arc<Group> {
        self.state.lock().group.clone()
    }

    pub(crate) fn set_group(&self, group: Arc<Group>) {
        self.set_addr_method(group.addr_method());
        self.set_black_hole(group.black_hole.load(Relaxed));
        self.state.lock().group = group;
    }

    /// CPUs that threads for this session's commands may use.
    pub(crate) fn cpus(&self) -> Option<Arc<CpuMask>> {
        self.group().cpu_mask()
    }

    /// The nexus of `lun`. Any context.
    #[inline(always)]
    pub(crate) fn find<'g>(
        &self,
        lun: u16,
        rcu: &'g rcu::Guard,
    ) -> Option<ArcBorrow<'g, Counted<Nexus>>> {
        self.map.find(lun, rcu)
    }

    /// The LUN of an 8-byte LUN field, in any addressing method.
    #[inline]
    pub(crate) fn decode_lun(&self, field: u64) -> Option<u16> {
        Lun::decode(field.to_be_bytes()).ok().map(Lun::get)
    }

    /// Takes a command from the transport. Any context.
    #[inline]
    pub fn receive(&self, slot: Vacant, incoming: Incoming<'_>) {
        crate::pipeline::receive(self, slot, incoming)
    }

    /// The transport's [`queue_depth`](Transport::queue_depth) has grown. Any
    /// context.
    pub fn queue_depth_changed(&self) {
        self.for_each_nexus(|nexus| nexus.update_limit());
    }

    /// How many commands the initiator may have outstanding at one of the logical
    /// units that it sees (`max_tgt_dev_commands`): the largest number, or the
    /// default if it sees none. Any context.
    pub fn task_set_size(&self) -> u32 {
        let mut most = None;
        self.for_each_nexus(|nexus| most = most.max(Some(nexus.device.max_commands())));
        most.unwrap_or(crate::device::DEFAULT_MAX_COMMANDS)
    }

    /// Calls `f` for each mapped LUN, in ascending order. Under RCU: `f` must
    /// not sleep.
    pub(crate) fn for_each_nexus(&self, f: impl FnMut(ArcBorrow<'_, Counted<Nexus>>)) {
        self.map.for_each(&rcu::read_lock(), f);
    }

    /// The nexus of `lun`.
    pub(crate) fn nexus(&self, lun: u16) -> Option<Arc<Counted<Nexus>>> {
        let rcu = rcu::read_lock();
        self.find(lun, &rcu).map(Arc::from)
    }

    /// Commands of `lun`, or all, that the session has now. Sleeps.
    pub(crate) fn count_active(&self, lun: Option<u16>) -> usize {
        let mut count = 0;
        self.transport.visit_commands(&mut |task| {
            if lun.is_none_or(|lun| task.lun() == u32::from(lun)) {
                count += 1;
            }
        });
        count
    }

    /// Adds those nexuses to `list` that `which` chooses, ascending by LUN. Sleeps; `which` must not.
    pub(crate) fn collect(&self, list: &mut NexusList, which: impl Fn(&Nexus) -> bool) -> Result {
        let had = list.len();
        loop {
            let mut count = 0;
            self.for_each_nexus(|nexus| count += usize::from(which(&nexus)));
            list.reserve(count, GFP_KERNEL)?;
            let mut all = true;
            // There may be more of them by now.
            self.for_each_nexus(|nexus| {
                if which(&nexus) {
                    all &= list.push_within_capacity(nexus.into()).is_ok();
                }
            });
            if all {
                return Ok(());
            }
            list.truncate(had);
        }
    }

    /// Changes the session's map so that of the LUNs in `scope` it shows those of `wanted`, ascending
    /// by LUN. Nexuses that stay are kept, with their state and their commands; if others came or went
    /// and the initiator is not known to act on what the transport tells it, `attention` is established
    /// on those that stay. What is not mapped any more is added to `removed`, also if this fails on its
    /// way. Management, under the configuration's lock; sleeps.
    pub(crate) fn update(
        self: &Arc<Self>,
        wanted: &[Wanted],
        scope: Scope,
        attention: Option<Sense>,
        removed: &mut Removed,
    ) -> Result {
        let mut old = NexusList::new();
        match scope {
            Scope::All => self.collect(&mut old, |_| true)?,
            Scope::Between(first, last) => {
                self.collect(&mut old, |nexus| (first..=last).contains(&nexus.lun()))?;
            }
            Scope::One(lun) => {
                if let Some(nexus) = self.nexus(lun) {
                    old.push(nexus, GFP_KERNEL)?;
                }
            }
        }
        let mut added = NexusList::new();
        for want in wanted {
            let before = find(&old, want.lun);
            if before.is_some_and(|nexus| want.is(nexus)) {
                continue;
            }
            let mapping = NEXT_MAPPING.fetch_add(1, Relaxed);
            let seen = SeenLun {
                lun: want.lun,
                since: before.map_or(mapping, |nexus| nexus.seen().since),
                mapping,
            };
            self.map.reserve(want.lun)?;
            let nexus = Nexus::new(self.clone(), want.device.clone(), seen, want.read_only)?;
            added.push(nexus, GFP_KERNEL)?;
        }
        let mut gone = NexusList::new();
        for nexus in &old {
            let at = wanted.binary_search_by_key(&nexus.lun(), |want| want.lun);
            let stays = at.is_ok_and(|at| wanted.get(at).is_some_and(|want| want.is(nexus)));
            if !stays {
                gone.push(nexus.clone(), GFP_KERNEL)?;
            }
        }
        if added.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let told = self.target.aen_disabled.load(Relaxed) == 0;
        if told {
            let event = attention.map(|sense| LunEvent { lun: 0, sense });
            removed.changed.push((self.clone(), event), GFP_KERNEL)?;
        }
        let announced = told && self.transport.announces_luns();
        removed.nexuses.reserve(gone.len(), GFP_KERNEL)?;
        self.update_dirs(&gone, &added)?;
        for nexus in &gone {
            if find(&added, nexus.lun()).is_none() {
                removed.add(self.map.set(nexus.lun(), None));
            }
        }
        for nexus in &added {
            removed.add(self.map.set(nexus.lun(), Some(nexus.clone())));
            nexus.update_limit();
        }
        // Who has been told needs no unit attention as well: after one, Linux sends
        // the disk nothing for some 16 ms (SCSI_MLQUEUE_EH_RETRY of an idle disk).
        if let Some(sense) = attention.filter(|_| !announced) {
            self.tell_others(sense, &added);
        }
        Ok(())
    }

    /// Establishes a unit attention on every nexus that is not in `new`: those have a greater one. Where
    /// the initiator has not taken any since the last time, they all still have that.
    fn tell_others(&self, sense: Sense, new: &[Arc<Counted<Nexus>>]) {
        if self.attention_taken.xchg(0, Full) == 0 {
            return;
        }
        self.for_each_nexus(|nexus| {
            if find(new, nexus.lun()).is_none() {
                nexus.unit_attention(sense);
            }
        });
    }

    /// The initiator is about to be told of a unit attention. Any context.
    pub(crate) fn attention_is_taken(&self) {
        // Before it is taken: a change of the map that does not see this has been made before the
        // initiator can ask for the LUNs.
        let _ = self.attention_taken.xchg(1, Full);
    }

    /// Ends the session's mappings, whose commands have been aborted, one after the other: for want of
    /// memory to do it at once. Sleeps.
    pub(crate) fn unmap_each(&self) {
        for lun in 0..=MAX_LUN {
            if let Some(nexus) = self.map.set(lun, None) {
                drain(&[nexus]);
            }
        }
    }

    /// Makes the `lun<N>` directories fit.
    fn update_dirs(
        &self,
        removed: &[Arc<Counted<Nexus>>],
        added: &[Arc<Counted<Nexus>>],
    ) -> Result {
        for nexus in removed {
            let dir = self.state.lock().lun_dirs.remove(&nexus.lun());
            drop(dir);
        }
        for nexus in added {
            let dir = self.with_dir(|dir| crate::attrs_session::lun_dir(dir, nexus))?;
            if let Some(dir) = dir {
                let dirs = &mut self.state.lock().lun_dirs;
                dirs.try_create_and_insert(nexus.lun(), dir, GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Publishes `latency` in the session's directory. Management.
    pub(crate) fn publish_latency(self: &Arc<Self>) -> Result {
        if latency::measuring() {
            self.latency.make_room()?;
        }
        let dir = self.with_dir(|own| latency::publish(own, self))?;
        self.state.lock().latency_dir = dir;
        Ok(())
    }

    /// Publishes the session's directory. Management.
    pub(crate) fn set_dir(&self, dir: Option<Dir>) {
        let old = {
            let mut state = self.state.lock();
            let luns = core::mem::take(&mut state.lun_dirs);
            let link = (state.luns_link.take(), state.latency_dir.take());
            (luns, link, core::mem::replace(&mut state.dir, dir))
        };
        drop(old);
    }

    /// Points `luns` of the session's directory to those of its group.
    pub(crate) fn link_luns(&self, luns: &Dir) -> Result {
        let old = self.state.lock().luns_link.take();
        drop(old);
        let link = self.with_dir(|dir| dir.symlink(b"luns", luns))?;
        self.state.lock().luns_link = link;
        Ok(())
    }

    /// Makes a link `name` in the session's directory, for its driver, which
    /// drops it before the session. `ENOENT` if the session is closing.
    pub fn symlink(&self, name: &[u8], target: &Parent<'_>) -> Result<Link> {
        self.with_dir(|dir| dir.symlink_to(name, target))?
            .ok_or(ENOENT)
    }

    /// Calls `f` with the session's directory, if it has one. The directory
    /// stays: management is serialised.
    pub(crate) fn with_dir<R>(&self, f: impl FnOnce(&Dir) -> Result<R>) -> Result<Option<R>> {
        let dir = self.state.lock().dir.take();
        let Some(dir) = dir else {
            return Ok(None);
        };
        let result = f(&dir);
        self.state.lock().dir = Some(dir);
        result.map(Some)
    }

    /// Sum of a counter over all LUNs, those that are gone included.
    pub(crate) fn count(&self, kind: Kind, count: Count) -> u64 {
        let mut sum = self.state.lock().past.get(kind, count);
        self.for_each_nexus(|nexus| sum = sum.wrapping_add(nexus.stats.sum(kind, count)));
        sum
    }

    /// Sets a counter back to zero.
    pub(crate) fn reset(&self, kind: Kind, count: Count) {
        self.state.lock().past.reset(kind, count);
        self.for_each_nexus(|nexus| nexus.stats.reset(kind, count));
    }

    /// How LUNs are numbered towards this initiator. Any context.
    pub(crate) fn group_addr_method(&self) -> AddressMethod {
        crate::group::address_method(self.addr_method.load(Relaxed))
    }

    pub(crate) fn set_addr_method(&self, method: AddressMethod) {
        self.addr_method.store(method as u32, Relaxed);
    }

    /// `black_hole` of the session's group; see [`crate::nexus::Hole`].
    pub(crate) fn set_black_hole(&self, mode: u32) {
        self.black_hole.store(mode, Relaxed);
        self.for_each_nexus(|nexus| nexus.set_hole(mode));
    }

    pub(crate) fn black_hole(&self) -> u32 {
        self.black_hole.load(Relaxed)
    }

    /// See [`Nexus::end_idle_aborted`]; also those that wait for a thread of the core's.
    pub(crate) fn end_idle_aborted(&self) {
        self.for_each_nexus(|nexus| nexus.end_idle_aborted());
        crate::config::end_aborted_global();
    }

    /// A number that is another one after a command that was marked aborted has
    /// ended.
    pub(crate) fn aborts_ended(&self) -> u32 {
        self.aborts_ended.load(Acquire)
    }

    /// Sleeps until [`Session::aborts_ended`] is not `seen` any more, at most
    /// `ms` milliseconds.
    pub(crate) fn wait_abort_ended(&self, seen: u32, ms: u32) {
        self.abort_wait
            .wait_until_timeout(ms, || self.aborts_ended() != seen);
    }

    /// A command that was marked aborted has ended. Any context.
    pub(crate) fn abort_ended(&self) {
        let _ = self.aborts_ended.fetch_add(1, Release);
        self.abort_wait.wake_all();
    }
}

fn find(nexuses: &[Arc<Counted<Nexus>>], lun: u16) -> Option<&Arc<Counted<Nexus>>> {
    let at = nexuses.binary_search_by_key(&lun, |n| n.lun()).ok()?;
    nexuses.get(at)
}
