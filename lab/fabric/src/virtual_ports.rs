// SPDX-License-Identifier: GPL-2.0

//! Virtual ports (NPIV): more ports of an adapter, with names, identifiers and sessions of their own. Rings, memory and
//! events are those of the adapter.

use crate::hba::{Hba, Mailbox, Which};
use crate::memory::Memory;
use crate::switch::Fabric;
use crate::wire::control::{PortConfiguration, PortControl, PortReport};
use crate::wire::initiator::{Command, Ct, Els, Login, Marker, TaskManagement};
use crate::wire::target::{AbtsResponse, Ctio};
use crate::wire::{id_le, kind, status, Entry, Header};
use zerocopy::little_endian::U32;

/// Such a topology is a fabric.
const FABRIC: u8 = 6;
/// An entry that is wrong as such.
const BAD_ENTRY: u16 = 1;

impl Fabric {
    /// The adapter that a port is on; one that is not virtual is on itself.
    pub fn chip(&self, port: usize) -> usize {
        self.hbas[port].parent.unwrap_or(port)
    }

    /// The memory that a port reads and writes.
    pub fn memory(&self, port: usize) -> &Memory {
        &self.hbas[self.chip(port)].memory
    }

    /// Puts an entry for a port on a ring.
    pub fn post(&mut self, port: usize, which: Which, entry: impl Into<Entry>) {
        let chip = self.chip(port);
        self.hbas[chip].post(which, entry);
    }

    /// Tells a port's driver what it did not ask for.
    pub fn tell(&mut self, port: usize, event: u16, [first, second]: [u16; 2]) {
        let (chip, vp) = (self.chip(port), self.hbas[port].vp);
        self.hbas[chip].notify(event, [first, second, vp.into()]);
    }

    /// A port of an adapter by its number.
    pub fn port_of(&self, adapter: usize, vp: u8) -> Option<usize> {
        match vp {
            0 => Some(adapter),
            _ => self
                .hbas
                .iter()
                .position(|hba| hba.parent == Some(adapter) && hba.vp == vp),
        }
    }

    /// The port that an entry of a request ring is for; the adapter, if the entry names what it is about otherwise.
    pub fn port_of_entry(&self, adapter: usize, entry: &Entry) -> Option<usize> {
        let vp = match entry[0] {
            kind::COMMAND => Command::from(*entry).vp,
            kind::CTIO => Ctio::from(*entry).vp,
            kind::TASK_MANAGEMENT => TaskManagement::from(*entry).vp,
            kind::MARKER => Marker::from(*entry).vp,
            kind::LOGIN => Login::from(*entry).vp,
            kind::ELS => Els::from(*entry).vp,
            kind::CT => Ct::from(*entry).vp,
            kind::ABTS_RESPONSE => AbtsResponse::from(*entry).vp,
            _ => 0,
        };
        self.port_of(adapter, vp)
    }

    /// The port that a mailbox command is for, of those that have one.
    pub fn port_of_mailbox(&self, adapter: usize, mailbox: &Mailbox) -> usize {
        let vp = u8::try_from(mailbox[9]).unwrap_or(0);
        self.port_of(adapter, vp).unwrap_or(adapter)
    }

    /// The virtual ports that an adapter has, or has had.
    pub fn virtual_ports(&self, adapter: usize) -> Vec<usize> {
        (0..self.hbas.len())
            .filter(|at| self.hbas[*at].parent == Some(adapter))
            .collect()
    }

    /// Gives a virtual port its names, and puts it on the fabric.
    pub fn configure_port(
        &mut self,
        adapter: usize,
        mut entry: PortConfiguration,
    ) -> PortConfiguration {
        if entry.vp == 0 || entry.count != 1 || !self.hbas[adapter].online() {
            entry.completion = BAD_ENTRY.into();
            return entry;
        }
        let port = self.port_of(adapter, entry.vp).unwrap_or_else(|| {
            let parent = &self.hbas[adapter];
            let name = format!("{}/{}", parent.name, entry.vp);
            let id = parent.id | u32::from(entry.vp);
            let mut new = Hba::new(&name, &parent.switch, 0, id);
            new.parent = Some(adapter);
            new.vp = entry.vp;
            self.hbas.push(new);
            self.hbas.len() - 1
        });
        self.stop_port(port);
        let hba = &mut self.hbas[port];
        hba.port_name = u64::from_be_bytes(entry.port_name);
        hba.node_name = u64::from_be_bytes(entry.node_name);
        hba.initiator = entry.options & PortConfiguration::INITIATOR != 0;
        hba.target = entry.options & PortConfiguration::NO_TARGET == 0;
        hba.running = true;
        hba.link = true;
        self.trace(port, || {
            let hba = &self.hbas[port];
            format!(
                "{:016x} starts: target {}, initiator {}",
                hba.port_name, hba.target, hba.initiator
            )
        });
        self.report_port(port);
        entry.completion = status::COMPLETE.into();
        entry
    }

    /// The switch has given a virtual port its identifier.
    pub fn report_port(&mut self, port: usize) {
        let hba = &self.hbas[port];
        if !hba.online() {
            return;
        }
        let report = PortReport {
            header: Header::new(kind::PORT_REPORT, U32::ZERO),
            acquired: 1,
            wanted: 1,
            vp: hba.vp,
            status: 0,
            port_id: id_le(hba.id),
            format: 1,
            reason: 0,
            topology: FABRIC,
            rest: [0; 46],
        };
        self.post(port, Which::Response, report);
    }

    /// Takes virtual ports off the fabric, after a logout from all that they are logged in with.
    pub fn control_ports(&mut self, adapter: usize, mut entry: PortControl) {
        if entry.command.get() >= PortControl::DISABLE {
            for (vp, bits) in (1u8..).step_by(8).zip(entry.ports) {
                for vp in (0..8)
                    .filter(|bit| bits >> bit & 1 != 0)
                    .map(|bit| vp + bit)
                {
                    if let Some(port) = self.port_of(adapter, vp) {
                        self.log_out(port);
                        self.stop_port(port);
                    }
                }
            }
        }
        entry.completion = status::COMPLETE.into();
        self.post(adapter, Which::Response, entry);
    }

    /// A virtual port is not on the fabric any more.
    pub fn stop_port(&mut self, port: usize) {
        if std::mem::replace(&mut self.hbas[port].running, false) {
            self.part(port, status::LOGGED_OUT);
        }
    }

    /// Ends all that is under way with a port, and its sessions; the others hear of it.
    pub fn part(&mut self, port: usize, completion: u16) {
        self.hbas[port].registered = false;
        self.end_all(port, completion);
        self.hbas[port].sessions.clear();
        self.announce(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hba::{LoginState, Session};
    use crate::switch::tests::fabric;
    use std::time::Duration;

    fn configuration(vp: u8) -> PortConfiguration {
        let mut entry = PortConfiguration::from([0; 64]);
        entry.count = 1;
        entry.vp = vp;
        entry.port_name = [0x22, 0, 0, 0, 0, 0, 0, vp];
        entry
    }

    fn with_port() -> (Fabric, usize) {
        let mut fabric = fabric(2);
        let answer = fabric.configure_port(1, configuration(3));
        assert_eq!(answer.completion.get(), status::COMPLETE);
        let port = fabric.port_of(1, 3).expect("a port");
        fabric.hbas[port].registered = true;
        (fabric, port)
    }

    #[test]
    fn is_found_by_others_and_not_by_its_own_adapter() {
        let (fabric, port) = with_port();
        assert_eq!(fabric.hbas[port].port_name, 0x2200_0000_0000_0003);
        assert_eq!(fabric.hbas[port].id, fabric.hbas[1].id | 3);
        assert_eq!(fabric.reachable(0, fabric.hbas[port].id), Some(port));
        assert!(!fabric.sees(1, port) && !fabric.sees(port, 1));
        assert!(fabric.hbas[port].serves());
    }

    #[test]
    fn follows_the_link_and_the_resets_of_its_adapter() {
        let (mut fabric, port) = with_port();
        fabric.link_down(1);
        assert!(!fabric.hbas[port].online());
        fabric.link_up(1, Some(Duration::ZERO));
        fabric.run_due(std::time::Instant::now() + Duration::from_secs(1));
        assert!(fabric.hbas[port].online());
        fabric.reset(1);
        assert!(!fabric.hbas[port].running);
    }

    #[test]
    fn is_taken_off_the_fabric_alone() {
        let (mut fabric, port) = with_port();
        let session = Session {
            peer: port,
            state: LoginState::Process,
        };
        fabric.hbas[0].sessions.insert(5, session);
        fabric.hbas[port]
            .sessions
            .insert(6, Session { peer: 0, ..session });
        let mut entry = PortControl::from([0; 64]);
        entry.command = 0x0b.into();
        entry.ports[0] = 1 << 2;
        fabric.control_ports(1, entry);
        assert!(!fabric.hbas[port].running && fabric.hbas[1].online());
        assert!(fabric.hbas[0].sessions.is_empty() && fabric.hbas[port].sessions.is_empty());
        // The same port again.
        let count = fabric.hbas.len();
        fabric.configure_port(1, configuration(3));
        assert_eq!(
            (fabric.hbas.len(), fabric.hbas[port].running),
            (count, true)
        );
    }
}
