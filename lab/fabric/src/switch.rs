// SPDX-License-Identifier: GPL-2.0

//! The switch: who sees whom, frames on their way, and what is to happen later.

use crate::exchange::{Exchange, Frame};
use crate::faults::{Action, Faults};
use crate::hba::{event, Hba};
use crate::registers::{self, Effect};
use crate::wire::status;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

/// How long a port waits for the answer to a link service (R_A_TOV of this fabric, which is a short one).
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// How many answers are remembered, to tell those that come twice.
const REMEMBERED: usize = 4096;

/// Something that is to happen later.
#[derive(Debug)]
enum Later {
    /// A frame arrives.
    Arrives(Frame),
    /// A frame is sent again.
    SentAgain(Frame),
    /// Nobody has answered a login.
    LoginTimesOut(u32),
    /// Nobody has answered task management.
    TaskTimesOut(u32),
    /// The link of an adapter comes up.
    LinkUp(usize),
    /// The interrupts of an adapter have waited long enough.
    Interrupt(usize),
}

/// All adapters, and all that is between them.
pub struct Fabric {
    /// The adapters, in the order in which they were made.
    pub hbas: Vec<Hba>,
    /// What is under way, by the name that the firmware gives it.
    pub exchanges: HashMap<u32, Exchange>,
    /// What is to go wrong.
    pub faults: Faults,
    zones: BTreeMap<String, BTreeSet<usize>>,
    /// Commands that targets have answered, the latest last.
    answered: VecDeque<u32>,
    last_exchange: u32,
    later: BTreeMap<(Instant, u64), Later>,
    last_later: u64,
    wake: Arc<Condvar>,
    verbose: bool,
}

impl Fabric {
    /// A fabric of these adapters. WAKE is signalled when [`Fabric::run_due`] should be asked again.
    pub fn new(hbas: Vec<Hba>, wake: Arc<Condvar>, verbose: bool) -> Self {
        Self {
            hbas,
            exchanges: HashMap::new(),
            faults: Faults::default(),
            zones: BTreeMap::new(),
            answered: VecDeque::new(),
            last_exchange: 0x1000,
            later: BTreeMap::new(),
            last_later: 0,
            wake,
            verbose,
        }
    }

    /// Says what happens, for who asked to hear it.
    pub fn trace(&self, index: usize, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("fabric: {}: {}", self.hbas[index].name, what());
        }
    }

    /// The adapter called NAME.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.hbas.iter().position(|hba| hba.name == name)
    }

    /// Whether two ports are on one switch and zoned together; without zones all are. Those of one adapter do not look at
    /// each other.
    pub fn sees(&self, one: usize, other: usize) -> bool {
        let switch = &self.hbas[one].switch;
        let zoned = || {
            let mut here = self
                .zones
                .values()
                .filter(|zone| zone.iter().any(|at| self.hbas[*at].switch == *switch));
            let mut any = false;
            here.any(|zone| {
                any = true;
                zone.contains(&self.chip(one)) && zone.contains(&self.chip(other))
            }) || !any
        };
        self.chip(one) != self.chip(other) && *switch == self.hbas[other].switch && zoned()
    }

    /// The adapter with a port identifier that ONE can reach now.
    pub fn reachable(&self, one: usize, id: u32) -> Option<usize> {
        (0..self.hbas.len())
            .find(|at| self.hbas[*at].id == id && self.hbas[*at].online() && self.sees(one, *at))
    }

    /// A name for something that begins.
    pub fn begin(&mut self, exchange: Exchange) -> u32 {
        self.last_exchange = self.last_exchange.wrapping_add(1) & 0x00ff_ffff | 0x1000_0000;
        self.exchanges.insert(self.last_exchange, exchange);
        self.last_exchange
    }

    /// A target has answered a command.
    pub fn remember_answer(&mut self, exchange: u32) {
        if self.answered.len() == REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back(exchange);
    }

    /// Whether a target has answered a command, not long ago.
    pub fn remembers_answer(&self, exchange: u32) -> bool {
        self.answered.contains(&exchange)
    }

    // ---- register accesses -------------------------------------------------------------------------------------

    /// A read of the registers of an adapter.
    pub fn register_read(&mut self, index: usize, offset: u64, data: &mut [u8]) {
        let hba = &mut self.hbas[index];
        hba.counts.accesses += 1;
        let value = if hba.removed {
            u32::MAX
        } else {
            registers::read(hba, offset, data.len())
        };
        for (byte, new) in data.iter_mut().zip(value.to_le_bytes()) {
            *byte = new;
        }
    }

    /// A write to the registers of an adapter.
    pub fn register_write(&mut self, index: usize, offset: u64, data: &[u8]) {
        let hba = &mut self.hbas[index];
        if hba.removed {
            return;
        }
        hba.counts.accesses += 1;
        let value = data
            .iter()
            .take(4)
            .rev()
            .fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        match registers::write(hba, offset, data.len(), value) {
            Effect::None => {}
            Effect::Reset => self.reset(index),
            Effect::Requests => self.run_requests(index),
            Effect::Mailbox => self.run_mailbox(index),
        }
        self.set_timers();
    }

    fn run_requests(&mut self, index: usize) {
        while let Some((entry, more)) = self.hbas[index].take_request() {
            self.request(index, entry, &more);
        }
    }

    // ---- coming and going --------------------------------------------------------------------------------------

    /// The chip is reset: all that was under way with it ends, and the others hear of it.
    pub fn reset(&mut self, index: usize) {
        for port in self.virtual_ports(index) {
            self.stop_port(port);
        }
        let was_running = self.hbas[index].running;
        self.trace(index, || "reset".into());
        self.hbas[index].reset();
        if was_running {
            self.end_all(index, status::LOGGED_OUT);
            self.announce(index);
            self.set_timers();
        }
    }

    /// The firmware is initialised: the link comes up.
    pub fn started(&mut self, index: usize) {
        if self.hbas[index].link {
            self.announce_link(index);
        }
    }

    fn announce_link(&mut self, index: usize) {
        let hba = &mut self.hbas[index];
        hba.notify(event::POINT_TO_POINT, [0; 3]);
        hba.notify(event::LINK_UP, [4, 0, 0]); // 8 Gbit/s
        hba.notify(event::PORT_UPDATE, [0xffff, 6, 0xff]);
    }

    /// Tells those who see an adapter that its state has changed.
    pub fn announce(&mut self, index: usize) {
        for other in 0..self.hbas.len() {
            if self.sees(index, other) {
                self.rscn(other, index);
            }
        }
    }

    fn rscn(&mut self, to: usize, about: usize) {
        let id = self.hbas[about].id;
        let hba = &self.hbas[to];
        if hba.online() && hba.registered {
            self.tell(to, event::RSCN, [(id >> 16) as u16, id as u16]);
        }
    }

    /// The cable is pulled, or the switch's port disabled.
    pub fn link_down(&mut self, index: usize) {
        let hba = &mut self.hbas[index];
        if !std::mem::replace(&mut hba.link, false) {
            return;
        }
        hba.notify(event::LINK_DOWN, [0; 3]);
        for port in self.virtual_ports(index) {
            self.hbas[port].link = false;
            self.part(port, status::PORT_UNAVAILABLE);
        }
        self.part(index, status::PORT_UNAVAILABLE);
    }

    /// The link comes up again, now or after a while.
    pub fn link_up(&mut self, index: usize, after: Option<Duration>) {
        if let Some(time) = after {
            self.later(time, Later::LinkUp(index));
        } else if !std::mem::replace(&mut self.hbas[index].link, true) {
            self.announce_link(index);
            self.announce(index);
            for port in self.virtual_ports(index) {
                self.hbas[port].link = true;
                self.report_port(port);
            }
        }
    }

    /// The adapter is pulled out of its slot: its registers read as all ones.
    pub fn remove(&mut self, index: usize) {
        self.reset(index);
        self.hbas[index].removed = true;
    }

    /// It is put back; the guest has to look for it.
    pub fn insert(&mut self, index: usize) {
        self.hbas[index].removed = false;
    }

    // ---- zones -------------------------------------------------------------------------------------------------

    /// The zones and the names of their members.
    pub fn zones(&self) -> Vec<(String, Vec<&str>)> {
        let names =
            |zone: &BTreeSet<usize>| zone.iter().map(|at| self.hbas[*at].name.as_str()).collect();
        self.zones
            .iter()
            .map(|(name, zone)| (name.clone(), names(zone)))
            .collect()
    }

    /// Makes or replaces a zone, or deletes it; those who see more or less than before are told.
    pub fn set_zone(&mut self, name: &str, members: Option<BTreeSet<usize>>) {
        let count = self.hbas.len();
        let pairs: Vec<(usize, usize)> = (0..count)
            .flat_map(|one| (0..count).map(move |other| (one, other)))
            .collect();
        let before: Vec<bool> = pairs
            .iter()
            .map(|(one, other)| self.sees(*one, *other))
            .collect();
        match members {
            Some(zone) => self.zones.insert(name.into(), zone),
            None => self.zones.remove(name),
        };
        for ((one, other), seen) in pairs.into_iter().zip(before) {
            if self.sees(one, other) != seen {
                self.rscn(one, other);
            }
        }
    }

    // ---- frames ------------------------------------------------------------------------------------------------

    /// Sends a frame, with what has been asked to go wrong.
    pub fn send(&mut self, frame: Frame) {
        let Some((kind, from, to)) = self.describe(&frame) else {
            return;
        };
        // Firmware that hangs takes nothing off the wire.
        let (from, to) = (self.chip(from), self.chip(to));
        let action = match self.hbas[to].hung {
            true => Some(Action::Drop),
            false => self.faults.judge(kind, from, to),
        };
        match action {
            None => self.arrives(frame),
            Some(Action::Delay(time)) => self.later(time, Later::Arrives(frame)),
            Some(Action::TaskSetFull) => self.task_set_full(frame),
            Some(Action::Drop) => match frame {
                // The firmware gives these up by itself, as their driver waits for ever.
                Frame::Command(exchange) | Frame::Response(exchange, _)
                    if self.is_task(exchange) =>
                {
                    self.later(ANSWER_TIMEOUT, Later::TaskTimesOut(exchange));
                }
                // Nobody misses it before the initiator does.
                Frame::Command(_) => {}
                Frame::Response(exchange, _) => self.answered(exchange),
                // The firmware tries these again by itself.
                Frame::Abts(_) | Frame::AbtsReply(..) => {
                    self.later(ANSWER_TIMEOUT, Later::SentAgain(frame))
                }
                Frame::Els(exchange) => self.later(ANSWER_TIMEOUT, Later::LoginTimesOut(exchange)),
            },
        }
    }

    fn later(&mut self, time: Duration, what: Later) {
        self.last_later += 1;
        self.later
            .insert((Instant::now() + time, self.last_later), what);
        self.wake.notify_all();
    }

    /// Does what is due, and says when something will be next.
    pub fn run_due(&mut self, now: Instant) -> Option<Instant> {
        while let Some(first) = self.later.first_entry() {
            if first.key().0 > now {
                break;
            }
            match first.remove() {
                Later::Arrives(frame) => self.arrives(frame),
                Later::SentAgain(frame) => self.send(frame),
                Later::LoginTimesOut(exchange) => self.login_times_out(exchange),
                Later::TaskTimesOut(exchange) => self.task_times_out(exchange),
                Later::LinkUp(index) => self.link_up(index, None),
                Later::Interrupt(index) => self.hbas[index].time_is_up(),
            }
        }
        self.set_timers();
        self.later.first_key_value().map(|(key, _)| key.0)
    }

    /// Sets the timers of interrupts that wait, after something has happened to adapters.
    pub fn set_timers(&mut self) {
        for index in 0..self.hbas.len() {
            if self.hbas[index].wants_timer() {
                self.later(self.hbas[index].moderation, Later::Interrupt(index));
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Adapters a, b, ... of one switch, all running and registered, a an initiator and the others targets.
    pub fn fabric(count: u32) -> Fabric {
        let hbas = ["a", "b", "c", "d"]
            .iter()
            .zip(1..=count)
            .map(|(name, number)| {
                let mut hba = Hba::new(
                    name,
                    "one",
                    0x2100_0000_fc00_0000 + u64::from(number),
                    number << 8,
                );
                hba.running = true;
                hba.registered = true;
                hba.target = number > 1;
                hba.initiator = number == 1;
                hba
            });
        Fabric::new(hbas.collect(), Arc::new(Condvar::new()), false)
    }

    #[test]
    fn without_zones_all_of_a_switch_see_each_other() {
        let mut fabric = fabric(3);
        fabric.hbas[2].switch = "two".into();
        assert!(fabric.sees(0, 1) && !fabric.sees(0, 2) && !fabric.sees(0, 0));
        assert_eq!(fabric.reachable(0, 0x200), Some(1));
        assert_eq!(fabric.reachable(0, 0x300), None);
        fabric.hbas[1].link = false;
        assert_eq!(fabric.reachable(0, 0x200), None);
    }

    #[test]
    fn zones_part_and_tell() {
        let mut fabric = fabric(3);
        fabric.set_zone("z", Some([0, 1].into()));
        assert!(fabric.sees(0, 1) && !fabric.sees(0, 2) && !fabric.sees(2, 1));
        assert_eq!(fabric.hbas[0].host_status() >> 16, u32::from(event::RSCN));
        fabric.hbas[2].cleared();
        fabric.hbas[2].cleared();
        assert_eq!(fabric.hbas[2].host_status(), 0);
        fabric.set_zone("z", None);
        assert!(fabric.sees(0, 2));
        assert_eq!(fabric.hbas[2].host_status() >> 16, u32::from(event::RSCN));
    }

    #[test]
    fn a_bounced_link_comes_back_by_itself() {
        let mut fabric = fabric(2);
        fabric.link_down(1);
        assert!(!fabric.hbas[1].online());
        assert_eq!(
            fabric.hbas[1].host_status() >> 16,
            u32::from(event::LINK_DOWN)
        );
        assert_eq!(fabric.hbas[0].host_status() >> 16, u32::from(event::RSCN));
        fabric.link_up(1, Some(Duration::from_secs(60)));
        assert!(fabric.run_due(Instant::now()).is_some());
        assert!(!fabric.hbas[1].link);
        assert_eq!(
            fabric.run_due(Instant::now() + Duration::from_secs(61)),
            None
        );
        assert!(fabric.hbas[1].link);
    }

    #[test]
    fn a_removed_adapter_reads_as_ones_and_takes_no_writes() {
        let mut fabric = fabric(1);
        fabric.remove(0);
        let mut data = [0; 4];
        fabric.register_read(0, 0x44, &mut data);
        fabric.register_write(0, 0x0c, &[8, 0, 0, 0]);
        assert_eq!(data, [0xff; 4]);
        fabric.insert(0);
        fabric.register_read(0, 0x0c, &mut data);
        assert_eq!(data, [0; 4]);
    }
}
