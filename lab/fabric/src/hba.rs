// SPDX-License-Identifier: GPL-2.0

//! One adapter: its rings, the events that it has for its driver, and whom it is logged in with.

use crate::flash::Flash;
use crate::memory::Memory;
use crate::registers::Registers;
use crate::wire::{Entry, ENTRY_BYTES};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// Sixteen-bit mailbox registers of the chip.
pub const MAILBOXES: usize = 32;
/// The mailbox registers.
pub type Mailbox = [u16; MAILBOXES];

/// Asynchronous events.
pub mod event {
    /// The firmware has failed.
    pub const SYSTEM_ERROR: u16 = 0x8002;
    /// The link is up; the rate follows.
    pub const LINK_UP: u16 = 0x8011;
    /// The link is down.
    pub const LINK_DOWN: u16 = 0x8012;
    /// The database of ports has changed.
    pub const PORT_UPDATE: u16 = 0x8014;
    /// A registered state change notification; a port identifier follows.
    pub const RSCN: u16 = 0x8015;
    /// The link is point to point.
    pub const POINT_TO_POINT: u16 = 0x8030;
}

/// Why an interrupt is raised, as the host status register says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A mailbox command has succeeded.
    MailboxDone = 0x10,
    /// A mailbox command has failed.
    MailboxFailed = 0x11,
    /// An asynchronous event.
    Asynchronous = 0x12,
    /// The response ring has grown.
    Response = 0x13,
    /// The ring of arriving commands has grown.
    Atio = 0x1c,
}

impl Reason {
    /// The driver looks at the whole ring for it: one interrupt may stand for several.
    fn is_ring(self) -> bool {
        matches!(self, Self::Response | Self::Atio)
    }
}

/// The timer of an interrupt that waits for more that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Off,
    /// Somebody has to set it.
    Wanted,
    Set,
}

/// Something that the driver is to be interrupted for: once a time, the next when it has cleared this one.
#[derive(Clone, Debug)]
struct Event {
    reason: Reason,
    /// The values that its first mailbox registers have while it is presented.
    mailbox: Vec<u16>,
}

/// A ring in the memory of the guest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    /// DMA address.
    pub address: u64,
    /// Entries; 0 if there is no such ring.
    pub length: u32,
    /// Where the next entry goes in.
    pub input: u32,
    /// Where the next entry is taken out.
    pub output: u32,
}

impl Ring {
    /// An empty ring.
    pub fn new(address: u64, length: u16) -> Self {
        Self {
            address,
            length: u32::from(length),
            input: 0,
            output: 0,
        }
    }

    fn after(&self, index: u32, steps: u32) -> u32 {
        (index + steps) % self.length.max(1)
    }

    fn at(&self, index: u32) -> u64 {
        self.address + u64::from(index) * ENTRY_BYTES as u64
    }

    fn full(&self) -> bool {
        self.after(self.input, 1) == self.output
    }
}

/// How far a login has come; the values are those of the port database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginState {
    /// PLOGI.
    Port = 4,
    /// PRLI.
    Process = 6,
}

/// Somebody that this port is logged in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Index of the other adapter.
    pub peer: usize,
    /// How far.
    pub state: LoginState,
}

/// Which of the two rings an entry goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The response ring.
    Response,
    /// The ring of arriving commands.
    Atio,
}

/// What has happened, for whoever asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Interrupts raised.
    pub interrupts: u64,
    /// Register accesses.
    pub accesses: u64,
    /// Commands of the initiator.
    pub commands: u64,
    /// Entries of the target that go on with a command.
    pub ctios: u64,
    /// Of those the ones that answer a command which it has answered before.
    pub twice: u64,
    /// Responses that the initiator was to confirm.
    pub confirmed: u64,
    /// Resets.
    pub resets: u64,
    /// Sequence retransmission requests that it has refused.
    pub refused: u64,
}

/// An adapter of one port; or a virtual port, which has names, an identifier and sessions of its own and is served by
/// the chip of its parent.
pub struct Hba {
    /// What commands call it.
    pub name: String,
    /// The adapter whose virtual port this is.
    pub parent: Option<usize>,
    /// Its number among the ports of the adapter; 0 is the adapter itself.
    pub vp: u8,
    /// The switch that it is plugged into.
    pub switch: String,
    /// WWPN.
    pub port_name: u64,
    /// WWNN.
    pub node_name: u64,
    /// The port identifier that the switch has given it.
    pub id: u32,
    /// The guest's memory.
    pub memory: Memory,
    /// A file to write to for each interrupt vector that is in use.
    pub vectors: Vec<Option<File>>,
    /// The plain registers.
    pub registers: Registers,
    /// The flash.
    pub flash: Flash,
    /// The chip's own memory, which firmware is loaded to.
    pub ram: HashMap<u32, u32>,
    /// The driver has initialised the firmware.
    pub running: bool,
    /// It asked for target mode.
    pub target: bool,
    /// It asked for initiator mode.
    pub initiator: bool,
    /// It has registered with the name server.
    pub registered: bool,
    /// The cable is in and the switch's port enabled.
    pub link: bool,
    /// The firmware does nothing until it is reset.
    pub hung: bool,
    /// The adapter has been pulled out.
    pub removed: bool,
    /// From the driver.
    pub request: Ring,
    /// To the driver.
    pub response: Ring,
    /// To the driver: arriving commands.
    pub atio: Ring,
    /// By the number that the driver calls a session.
    pub sessions: BTreeMap<u16, Session>,
    /// Firmware options as set.
    pub options: [u16; 4],
    /// What has happened.
    pub counts: Counts,
    /// How long interrupts for the rings may wait.
    pub moderation: Duration,
    timer: Timer,
    /// Events that may be presented one after another, as their time has come.
    burst: usize,
    current: Option<Event>,
    waiting: VecDeque<Event>,
    backlog: VecDeque<(Which, Entry)>,
}

impl Hba {
    /// An adapter that no driver has touched yet.
    pub fn new(name: &str, switch: &str, port_name: u64, id: u32) -> Self {
        let node_name = port_name & 0x000f_ffff_ffff_ffff | (0x20 << 56);
        Self {
            name: name.into(),
            parent: None,
            vp: 0,
            switch: switch.into(),
            port_name,
            node_name,
            id,
            memory: Memory::default(),
            vectors: Vec::new(),
            registers: Registers::default(),
            flash: Flash::new(port_name, node_name),
            ram: HashMap::new(),
            running: false,
            target: false,
            initiator: false,
            registered: false,
            link: true,
            hung: false,
            removed: false,
            request: Ring::default(),
            response: Ring::default(),
            atio: Ring::default(),
            sessions: BTreeMap::new(),
            options: [0; 4],
            counts: Counts::default(),
            moderation: Duration::ZERO,
            timer: Timer::Off,
            burst: 0,
            current: None,
            waiting: VecDeque::new(),
            backlog: VecDeque::new(),
        }
    }

    /// On the fabric.
    pub fn online(&self) -> bool {
        self.running && self.link && !self.removed
    }

    /// On the fabric as a target.
    pub fn serves(&self) -> bool {
        self.online() && self.target
    }

    /// What PRLI says of this port: 0x10 target, 0x20 initiator.
    pub fn roles(&self) -> u8 {
        (if self.online() && self.target {
            0x10
        } else {
            0
        }) | (if self.initiator { 0x20 } else { 0 })
    }

    /// The number of the session with another adapter.
    pub fn session_with(&self, peer: usize) -> Option<u16> {
        self.sessions
            .iter()
            .find(|(_, session)| session.peer == peer)
            .map(|(number, _)| *number)
    }

    /// The state after a reset; what hung works again.
    pub fn reset(&mut self) {
        self.counts.resets += 1;
        self.running = false;
        self.registered = false;
        self.target = false;
        self.initiator = false;
        self.hung = false;
        self.burst = 0;
        self.current = None;
        self.waiting.clear();
        self.backlog.clear();
        self.registers.mailbox_in = [0; MAILBOXES];
        self.registers.mailbox_out = [0; MAILBOXES];
        self.request = Ring::default();
        self.response = Ring::default();
        self.atio = Ring::default();
        self.sessions.clear();
    }

    /// Host status: the event that is presented, if there is one, and its first mailbox register.
    pub fn host_status(&self) -> u32 {
        self.current.as_ref().map_or(0, |event| {
            0x8000
                | event.reason as u32
                | (u32::from(event.mailbox.first().copied().unwrap_or(0)) << 16)
        })
    }

    /// Presents the next event if there is none, and raises the interrupt if there is one.
    pub fn raise(&mut self) {
        if self.current.is_none() {
            self.current = self.waiting.pop_front();
            if let Some(event) = &self.current {
                for (register, value) in self.registers.mailbox_out.iter_mut().zip(&event.mailbox) {
                    *register = *value;
                }
            }
        }
        if self.current.is_some() && self.registers.interrupts_enabled() {
            if let Some(Some(vector)) = self.vectors.first_mut() {
                self.counts.interrupts += 1;
                // The other end is QEMU's; when it is gone so is the guest.
                let _ = vector.write_all(&1u64.to_ne_bytes());
            }
        }
    }

    /// The driver has seen the event that was presented.
    pub fn cleared(&mut self) {
        self.current = None;
        self.present();
    }

    /// Presents what waits, unless that may wait for more.
    fn present(&mut self) {
        if self.current.is_some() || self.waiting.is_empty() {
            return;
        }
        let patient = self.waiting.iter().all(|event| event.reason.is_ring());
        if patient && self.burst == 0 && !self.moderation.is_zero() {
            if self.timer == Timer::Off {
                self.timer = Timer::Wanted;
            }
        } else {
            self.burst = self.burst.saturating_sub(1);
            self.raise();
        }
    }

    /// Whether [`Hba::time_is_up`] has to be called after [`Hba::moderation`]; once for each time.
    pub fn wants_timer(&mut self) -> bool {
        let wanted = self.timer == Timer::Wanted;
        if wanted {
            self.timer = Timer::Set;
        }
        wanted
    }

    /// Interrupts have waited long enough.
    pub fn time_is_up(&mut self) {
        self.timer = Timer::Off;
        self.burst = self.waiting.len();
        self.present();
    }

    fn push(&mut self, reason: Reason, mailbox: Vec<u16>) {
        // One event that the driver has not seen stands for all that follow.
        if reason.is_ring() && self.waiting.iter().any(|event| event.reason == reason) {
            return;
        }
        self.waiting.push_back(Event { reason, mailbox });
        self.present();
    }

    /// A mailbox command is done.
    pub fn mailbox_done(&mut self, mailbox: &Mailbox) {
        let reason = if mailbox[0] == 0x4000 {
            Reason::MailboxDone
        } else {
            Reason::MailboxFailed
        };
        self.push(reason, mailbox.to_vec());
    }

    /// Something has happened that the driver did not ask for.
    pub fn notify(&mut self, event: u16, parameters: [u16; 3]) {
        if self.running && !self.hung && !self.removed {
            let [first, second, third] = parameters;
            self.push(Reason::Asynchronous, vec![event, first, second, third]);
        }
    }

    /// Puts an entry on a ring; it waits if the ring is full, and is lost if there is no ring.
    pub fn post(&mut self, which: Which, entry: impl Into<Entry>) {
        self.backlog.push_back((which, entry.into()));
        self.flush();
    }

    /// Moves what waits to the rings, as far as there is room.
    pub fn flush(&mut self) {
        if self.hung || self.removed {
            return;
        }
        for _ in 0..self.backlog.len() {
            let Some((which, entry)) = self.backlog.pop_front() else {
                break;
            };
            let (ring, reason) = match which {
                Which::Response => (&mut self.response, Reason::Response),
                Which::Atio => (&mut self.atio, Reason::Atio),
            };
            if ring.length == 0 {
                continue;
            }
            // One that waits holds up all behind it, so that they stay in order.
            if ring.full() {
                self.backlog.push_front((which, entry));
                break;
            }
            if let Err(fault) = self.memory.write(ring.at(ring.input), &entry) {
                eprintln!("fabric: {}: {fault} (ring)", self.name);
            }
            ring.input = ring.after(ring.input, 1);
            self.push(reason, Vec::new());
        }
    }

    /// Takes the next entry off the request ring, with its continuations.
    pub fn take_request(&mut self) -> Option<(Entry, Vec<Entry>)> {
        if !self.running
            || self.hung
            || self.request.length == 0
            || self.request.output == self.request.input
        {
            return None;
        }
        let ring = self.request;
        let read = |index| {
            let mut entry = [0; ENTRY_BYTES];
            if let Err(fault) = self.memory.read(ring.at(index), &mut entry) {
                eprintln!("fabric: {}: {fault} (ring)", self.name);
            }
            entry
        };
        let first = read(ring.output);
        let count = u32::from(first[1].max(1));
        let more = (1..count)
            .map(|step| read(ring.after(ring.output, step)))
            .collect();
        self.request.output = ring.after(ring.output, count);
        Some((first, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Hba {
        let mut hba = Hba::new("a", "one", 0x2100_0000_fc00_0001, 0x10100);
        hba.running = true;
        hba
    }

    #[test]
    fn events_are_presented_one_at_a_time() {
        let mut hba = running();
        hba.notify(event::LINK_UP, [4, 0, 0]);
        hba.notify(event::PORT_UPDATE, [0xffff, 6, 0xff]);
        assert_eq!(hba.host_status(), 0x8000 | 0x12 | (0x8011 << 16));
        assert_eq!(hba.registers.mailbox_out[1], 4);
        hba.cleared();
        assert_eq!(hba.host_status() >> 16, 0x8014);
        hba.cleared();
        assert_eq!(hba.host_status(), 0);
    }

    #[test]
    fn interrupts_wait_for_more_if_they_may() {
        let mut hba = running();
        hba.response = Ring::new(0, 8);
        hba.atio = Ring::new(0, 8);
        hba.moderation = Duration::from_millis(1);
        hba.post(Which::Response, [1; 64]);
        hba.post(Which::Response, [2; 64]);
        hba.post(Which::Atio, [3; 64]);
        assert_eq!(hba.host_status(), 0);
        assert!(hba.wants_timer() && !hba.wants_timer());
        hba.time_is_up();
        assert_eq!(hba.host_status(), 0x8000 | Reason::Response as u32);
        hba.cleared();
        assert_eq!(hba.host_status(), 0x8000 | Reason::Atio as u32);
        // What comes later waits again, and what is no ring does not.
        hba.post(Which::Response, [4; 64]);
        hba.cleared();
        assert!(hba.host_status() == 0 && hba.wants_timer());
        hba.notify(event::LINK_UP, [4, 0, 0]);
        assert_ne!(hba.host_status(), 0);
    }

    #[test]
    fn entries_wait_for_room_and_stay_in_order() {
        let mut hba = running();
        hba.response = Ring::new(0, 3);
        for number in 1..=4 {
            hba.post(Which::Response, [number; 64]);
        }
        assert_eq!((hba.response.input, hba.backlog.len()), (2, 2));
        hba.response.output = 1;
        hba.flush();
        assert_eq!((hba.response.input, hba.backlog.len()), (0, 1));
        assert_eq!(hba.backlog[0].1[0], 4);
    }

    #[test]
    fn what_hangs_says_nothing_until_reset() {
        let mut hba = running();
        hba.response = Ring::new(0, 8);
        hba.hung = true;
        hba.post(Which::Response, [1; 64]);
        hba.notify(event::LINK_DOWN, [0; 3]);
        assert_eq!((hba.host_status(), hba.response.input), (0, 0));
        hba.reset();
        assert!(!hba.hung && hba.backlog.is_empty());
    }
}
