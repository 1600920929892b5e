// SPDX-License-Identifier: GPL-2.0

//! Sessions: an initiator port that is logged in to a target port (I_T nexus).

use crate::{
    cmd::{Incoming, Vacant},
    device::Device,
    driver::{LunEvent, Transport},
    group::Group,
    nexus::{LunMap, Mapping, Nexus, SeenLun},
    reservations::Reservations,
    stats::{Count, Kind, Totals},
    target::Target,
    util::{log_err, Name},
};
use kapi::{
    counted::Counted,
    cpumask::CpuMask,
    rcu::{RcuBox, Retired},
    sysfs::{Dir, Link, Parent},
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        new_mutex, rcu, Arc, Mutex,
    },
};
use scst_proto::{
    lun::{AddressMethod, Lun},
    sense::Sense,
};

/// Numbers for [`SeenLun::mapping`].
static NEXT_MAPPING: Atomic<u64> = Atomic::new(1);

/// A session, the I_T nexus of SAM-6 4.6.13.
#[pin_data]
pub struct Session {
    initiator: Name,
    label: Name,
    pub(crate) target: Arc<Target>,
    transport: Arc<dyn Transport>,
    map: RcuBox<LunMap>,
    /// Changes whenever a command that was marked aborted ends.
    aborts_ended: Atomic<u32>,
    /// The group's [`AddressMethod`], kept here for REPORT LUNS in any context.
    addr_method: Atomic<u32>,
    black_hole: Atomic<u32>,
    #[pin]
    abort_wait: WaitQueue,
    #[pin]
    state: Mutex<State>,
}

/// What management changes. The lock is a leaf: nothing is waited for and no
/// directory is removed under it.
struct State {
    group: Arc<Group>,
    dir: Option<Dir>,
    luns_link: Option<Link>,
    lun_dirs: KVec<(u16, Dir)>,
    /// Counters of LUNs that are gone.
    past: Totals,
}

/// A LUN that a session is to see.
pub(crate) struct Wanted {
    pub(crate) lun: u16,
    pub(crate) device: Arc<Device>,
    pub(crate) read_only: bool,
}

/// What is no longer mapped; it goes when [`Removed::finish`] has waited for
/// its commands.
#[must_use]
#[derive(Default)]
pub(crate) struct Removed {
    nexuses: KVec<Arc<Counted<Nexus>>>,
    maps: KVec<Retired<LunMap>>,
    /// Who is to be told, and what.
    changed: KVec<(Arc<Session>, Option<LunEvent>)>,
}

impl Removed {
    /// Adds what `other` has.
    pub(crate) fn append(&mut self, mut other: Removed) -> Result {
        for nexus in other.nexuses.drain_all() {
            self.nexuses.push(nexus, GFP_KERNEL)?;
        }
        for map in other.maps.drain_all() {
            self.maps.push(map, GFP_KERNEL)?;
        }
        for change in other.changed.drain_all() {
            self.changed.push(change, GFP_KERNEL)?;
        }
        Ok(())
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
        let changed = self.drain();
        for (session, event) in &changed {
            session.transport.luns_changed(*event);
        }
    }

    /// As [`Removed::finish`], for sessions that are ending: nobody is told.
    pub(crate) fn finish_quietly(self) {
        drop(self.drain());
    }

    fn drain(self) -> KVec<(Arc<Session>, Option<LunEvent>)> {
        // Waits for a grace period: nobody finds the nexuses after that.
        drop(self.maps);
        for nexus in &self.nexuses {
            nexus.kill();
            nexus.release_all();
            nexus.end_idle_aborted();
        }
        for nexus in &self.nexuses {
            let mut seconds = 0u32;
            while !nexus.wait_gone(Some(10_000)) {
                seconds = seconds.saturating_add(10);
                log_err!(
                    "LUN {} of initiator {}: still waiting for its commands after {} s; the device below does not answer",
                    nexus.lun(),
                    nexus.session().initiator(),
                    seconds
                );
            }
            Reservations::nexus_lost(nexus);
            nexus.session().state.lock().past.add(&nexus.stats);
        }
        self.changed
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
                target,
                transport,
                map: RcuBox::null(),
                aborts_ended: Atomic::new(0),
                addr_method: Atomic::new(group.addr_method() as u32),
                black_hole: Atomic::new(group.black_hole.load(Relaxed)),
                abort_wait <- new_wait_queue!(),
                state <- new_mutex!(State {
                    group,
                    dir: None,
                    luns_link: None,
                    lun_dirs: KVec::new(),
                    past: Totals::default(),
                }),
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

    #[inline]
    pub(crate) fn map<'g>(&self, rcu: &'g rcu::Guard) -> Option<&'g LunMap>
    where
        Self: 'g,
    {
        self.map.load(rcu)
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
    pub(crate) fn for_each_nexus(&self, mut f: impl FnMut(&Arc<Counted<Nexus>>)) {
        let rcu = rcu::read_lock();
        for entry in self.map(&rcu).map_or(&[][..], LunMap::entries) {
            f(&entry.nexus);
        }
    }

    /// The nexus of `lun`.
    pub(crate) fn nexus(&self, lun: u16) -> Option<Arc<Counted<Nexus>>> {
        let rcu = rcu::read_lock();
        Some(self.map(&rcu)?.find(lun)?.nexus.clone())
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

    /// Replaces the session's map so that it shows `wanted`, ascending by LUN.
    /// Nexuses that stay are kept, with their state and their commands; on
    /// those, and only if others came or went and the initiator is not known to
    /// act on what the transport tells it, `attention` is established. Management, under
    /// the configuration's lock; sleeps.
    pub(crate) fn sync_map(
        self: &Arc<Self>,
        wanted: &[Wanted],
        attention: Option<Sense>,
    ) -> Result<Removed> {
        let old = self.mappings()?;
        let mut entries = KVec::with_capacity(wanted.len(), GFP_KERNEL)?;
        let mut kept = KVec::new();
        let mut added = KVec::new();
        for want in wanted {
            let same = find(&old, want.lun).filter(|n| {
                Arc::ptr_eq(&n.device, &want.device) && n.read_only() == want.read_only
            });
            let nexus = match same {
                Some(nexus) => {
                    kept.push(nexus.clone(), GFP_KERNEL)?;
                    nexus.clone()
                }
                None => {
                    let (session, device) = (self.clone(), want.device.clone());
                    let mapping = NEXT_MAPPING.fetch_add(1, Relaxed);
                    let since = find(&old, want.lun).map_or(mapping, |n| n.seen().since);
                    let lun = want.lun;
                    let seen = SeenLun {
                        lun,
                        since,
                        mapping,
                    };
                    let nexus = Nexus::new(session, device, seen, want.read_only)?;
                    added.push(nexus.clone(), GFP_KERNEL)?;
                    nexus
                }
            };
            let lun = want.lun;
            entries.push(Mapping { lun, nexus }, GFP_KERNEL)?;
        }
        let mut removed = Removed::default();
        for entry in &old {
            let stays = find(&entries, entry.lun).is_some_and(|n| Arc::ptr_eq(n, &entry.nexus));
            if !stays {
                removed.nexuses.push(entry.nexus.clone(), GFP_KERNEL)?;
            }
        }
        if added.is_empty() && removed.nexuses.is_empty() {
            return Ok(removed);
        }
        let told = self.target.aen_disabled.load(Relaxed) == 0;
        if told {
            let event = attention.map(|sense| LunEvent { lun: 0, sense });
            removed.changed.push((self.clone(), event), GFP_KERNEL)?;
        }
        let announced = told && self.transport.announces_luns();
        removed.maps.reserve(1, GFP_KERNEL)?;
        let map = KBox::new(LunMap::new(entries), GFP_KERNEL)?;
        self.update_dirs(&removed.nexuses, &added)?;
        removed.maps.push(self.map.replace(Some(map)), GFP_KERNEL)?;
        for nexus in &added {
            nexus.update_limit();
        }
        // Who has been told needs no unit attention as well: after one, Linux sends
        // the disk nothing for some 16 ms (SCSI_MLQUEUE_EH_RETRY of an idle disk).
        if let Some(sense) = attention.filter(|_| !announced) {
            for nexus in &kept {
                nexus.unit_attention(sense);
            }
        }
        Ok(removed)
    }

    fn mappings(&self) -> Result<KVec<Mapping>> {
        // Only management replaces the map, and that is serialised: its length
        // stays while memory is allocated outside of RCU.
        let mut count = 0;
        self.for_each_nexus(|_| count += 1);
        let mut list = KVec::with_capacity(count, GFP_KERNEL)?;
        self.for_each_nexus(|nexus| {
            let (lun, nexus) = (nexus.lun(), nexus.clone());
            let _ = list.push_within_capacity(Mapping { lun, nexus });
        });
        Ok(list)
    }

    /// Makes the `lun<N>` directories fit.
    fn update_dirs(
        &self,
        removed: &[Arc<Counted<Nexus>>],
        added: &[Arc<Counted<Nexus>>],
    ) -> Result {
        for nexus in removed {
            let dir = {
                let dirs = &mut self.state.lock().lun_dirs;
                let at = dirs.iter().position(|(lun, _)| *lun == nexus.lun());
                at.and_then(|at| dirs.remove(at).ok())
            };
            drop(dir);
        }
        for nexus in added {
            let dir = self.with_dir(|dir| crate::attrs_session::lun_dir(dir, nexus))?;
            if let Some(dir) = dir {
                let dirs = &mut self.state.lock().lun_dirs;
                dirs.push((nexus.lun(), dir), GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Publishes the session's directory. Management.
    pub(crate) fn set_dir(&self, dir: Option<Dir>) {
        let old = {
            let mut state = self.state.lock();
            let luns = core::mem::take(&mut state.lun_dirs);
            let link = state.luns_link.take();
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

    /// See [`Nexus::end_idle_aborted`].
    pub(crate) fn end_idle_aborted(&self) {
        self.for_each_nexus(|nexus| nexus.end_idle_aborted());
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

fn find(mappings: &[Mapping], lun: u16) -> Option<&Arc<Counted<Nexus>>> {
    let at = mappings.binary_search_by_key(&lun, |m| m.lun).ok()?;
    Some(&mappings.get(at)?.nexus)
}
