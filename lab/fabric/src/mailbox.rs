// SPDX-License-Identifier: GPL-2.0

//! Mailbox commands: what the driver asks the firmware for, one at a time.

use crate::flash::{Flash, FIRMWARE_VERSION};
use crate::hba::{Hba, Mailbox, Ring, Session, Which};
use crate::switch::Fabric;
use crate::wire::control::{Initialize, PortRecord, PORT_DATABASE_BYTES};
use crate::wire::initiator::MailboxEntry;
use crate::wire::{id_be, id_le, kind, Entry, ENTRY_BYTES};
use zerocopy::{FromBytes, IntoBytes};

/// Commands.
mod code {
    pub const NOP: u16 = 0x00;
    pub const EXECUTE_FIRMWARE: u16 = 0x02;
    pub const REGISTER_TEST: u16 = 0x06;
    pub const VERIFY_CHECKSUM: u16 = 0x07;
    pub const FIRMWARE_VERSION: u16 = 0x08;
    pub const LOAD_RAM: u16 = 0x0b;
    pub const DUMP_RAM: u16 = 0x0c;
    pub const STOP_FIRMWARE: u16 = 0x14;
    pub const PORT_ID: u16 = 0x20;
    pub const RETRY_COUNT: u16 = 0x22;
    pub const GET_OPTIONS: u16 = 0x28;
    pub const SFP: u16 = 0x31;
    pub const SET_OPTIONS: u16 = 0x38;
    pub const RESOURCES: u16 = 0x42;
    pub const PORT_DATABASE_OLD: u16 = 0x47;
    pub const INITIALIZE: u16 = 0x48;
    pub const EXECUTE_ENTRY: u16 = 0x54;
    pub const DATA_RATE: u16 = 0x5d;
    pub const INITIALIZE_OLD: u16 = 0x60;
    pub const PORT_DATABASE: u16 = 0x64;
    pub const FIRMWARE_STATE: u16 = 0x69;
    pub const PORT_NAME: u16 = 0x6a;
    pub const LINK_STATUS: u16 = 0x6b;
    pub const LINK_PRIVATE: u16 = 0x6d;
    pub const NAMES: u16 = 0x75;
    pub const NODE_IDS: u16 = 0x7c;

    /// Those that there is nothing to do for: they set what nobody here looks at.
    pub const ACCEPTED: [u16; 15] = [
        0x10, 0x15, 0x18, 0x1a, 0x27, 0x30, 0x32, 0x34, 0x3b, 0x59, 0x5a, 0x6c, 0x70, 0x72, 0x33,
    ];
}

const COMPLETE: u16 = 0x4000;
const UNKNOWN: u16 = 0x4001;
const PARAMETER: u16 = 0x4005;
/// There is no such session.
const NO_SESSION: u16 = 0x0a;
/// There is no transceiver to ask.
const NO_SFP: u16 = 0x20;
/// The firmware runs, and its port has no link.
const NO_LIGHT: u16 = 4;
/// The firmware is ready.
const READY: u16 = 3;
/// The switch gives identifiers to virtual ports.
const VIRTUAL_PORTS: u16 = 1 << 10;
/// The number of the session with the switch itself.
const SWITCH: u16 = 0x7fe;
const SWITCH_PORT_NAME: u64 = 0x2001_0005_1e00_0001;
const SWITCH_NODE_NAME: u64 = 0x1000_0005_1e00_0001;

fn address(mailbox: &Mailbox) -> u64 {
    [6, 7, 2, 3]
        .into_iter()
        .fold(0, |sum, at| (sum << 16) | u64::from(mailbox[at]))
}

fn pair(high: u16, low: u16) -> u32 {
    (u32::from(high) << 16) | u32::from(low)
}

fn fail(mailbox: &mut Mailbox, why: u16) {
    mailbox[0] = PARAMETER;
    mailbox[1] = why;
}

fn record(number: u16, session: &Session, peer: &Hba, big_endian: bool) -> PortRecord {
    let (port_id, port_name, node_name) = if big_endian {
        (
            id_be(peer.id),
            peer.port_name.to_be_bytes(),
            peer.node_name.to_be_bytes(),
        )
    } else {
        (
            id_le(peer.id),
            peer.port_name.to_le_bytes(),
            peer.node_name.to_le_bytes(),
        )
    };
    let state = session.state as u8;
    PortRecord {
        flags: 0.into(),
        state,
        last_state: state,
        hard_address: [0; 3],
        reserved: 0,
        port_id,
        sequence: 0,
        timer: 0.into(),
        nport: number.into(),
        frame_bytes: 2048.into(),
        reserved_2: [0; 2],
        word_0: [0; 2],
        word_3: [peer.roles(), 0],
        port_name,
        node_name,
    }
}

impl Fabric {
    /// Runs the command that is in the mailbox registers.
    pub fn run_mailbox(&mut self, index: usize) {
        if self.hbas[index].hung {
            return;
        }
        let mut mailbox = self.hbas[index].registers.mailbox_in;
        let command = mailbox[0];
        self.mailbox(index, &mut mailbox);
        self.trace(index, || {
            format!("mailbox {command:#04x}: {:04x?}", &mailbox[..8])
        });
        self.hbas[index].mailbox_done(&mailbox);
        if matches!(command, code::INITIALIZE | code::INITIALIZE_OLD) {
            self.started(index);
        }
    }

    /// Runs a command that came by ring.
    pub fn mailbox_entry(&mut self, index: usize, mut entry: MailboxEntry) {
        let mut mailbox = Mailbox::default();
        for (register, value) in mailbox.iter_mut().zip(entry.mailbox) {
            *register = value.get();
        }
        self.mailbox(index, &mut mailbox);
        for (value, register) in entry.mailbox.iter_mut().zip(mailbox) {
            *value = register.into();
        }
        self.post(index, Which::Response, entry);
    }

    fn mailbox(&mut self, index: usize, mailbox: &mut Mailbox) {
        let at = address(mailbox);
        let command = std::mem::replace(&mut mailbox[0], COMPLETE);
        match command {
            code::EXECUTE_FIRMWARE => mailbox[1..4].fill(0),
            code::NOP | code::REGISTER_TEST | code::VERIFY_CHECKSUM => {}
            code::FIRMWARE_VERSION => {
                mailbox[1..4].copy_from_slice(&FIRMWARE_VERSION);
                // Memory size, and that the firmware knows virtual ports: without it the driver initialises it in a
                // way that this firmware does not know.
                mailbox[4..7].copy_from_slice(&[0xffff, 0x1f, 0x4]);
                mailbox[15..18].fill(0);
            }
            code::LOAD_RAM => self.load_ram(index, at, mailbox),
            code::DUMP_RAM => self.dump_ram(index, at, mailbox),
            code::PORT_ID => {
                let id = self.hbas[self.port_of_mailbox(index, mailbox)].id;
                mailbox[1..4].copy_from_slice(&[0x7d0, id as u16, (id >> 16) as u16]);
                mailbox[6..8].copy_from_slice(&[3, VIRTUAL_PORTS]); // a fabric
            }
            code::RETRY_COUNT => mailbox[1..4].copy_from_slice(&[8, 20, 200]),
            code::GET_OPTIONS => mailbox[1..4].copy_from_slice(&self.hbas[index].options[1..]),
            code::SET_OPTIONS => self.hbas[index].options[1..].copy_from_slice(&mailbox[1..4]),
            code::RESOURCES => {
                for (register, value) in [
                    (1, 2048),
                    (2, 2048),
                    (3, 2048),
                    (6, 2048),
                    (7, 2048),
                    (10, 2048),
                    (11, 63),
                ] {
                    mailbox[register] = value;
                }
            }
            code::INITIALIZE | code::INITIALIZE_OLD => self.initialize(index, at, mailbox),
            code::EXECUTE_ENTRY => self.execute_entry(index, at),
            code::DATA_RATE => mailbox[1] = 4,
            code::PORT_DATABASE | code::PORT_DATABASE_OLD => {
                self.port_database(self.port_of_mailbox(index, mailbox), at, mailbox);
            }
            code::FIRMWARE_STATE => {
                let hba = &self.hbas[index];
                mailbox[1] = match (hba.online(), hba.running) {
                    (true, _) => READY,
                    (false, true) => NO_LIGHT,
                    (false, false) => 0,
                };
                mailbox[2..7].fill(0);
            }
            code::PORT_NAME => self.port_name(self.port_of_mailbox(index, mailbox), mailbox),
            code::NAMES => self.names(self.port_of_mailbox(index, mailbox), at, mailbox),
            code::NODE_IDS => mailbox[1] = 0,
            code::LINK_STATUS | code::LINK_PRIVATE => self.write(index, at, &[0; 256]),
            code::SFP => fail(mailbox, NO_SFP),
            code::STOP_FIRMWARE => self.reset(index),
            known if code::ACCEPTED.contains(&known) => {}
            unknown => {
                eprintln!(
                    "fabric: {}: no mailbox command {unknown:#04x}",
                    self.hbas[index].name
                );
                mailbox[0] = UNKNOWN;
            }
        }
    }

    fn write(&self, index: usize, at: u64, bytes: &[u8]) {
        if let Err(fault) = self.memory(index).write(at, bytes) {
            eprintln!("fabric: {}: {fault} (mailbox)", self.hbas[index].name);
        }
    }

    fn read(&self, index: usize, at: u64, bytes: &mut [u8]) {
        if let Err(fault) = self.memory(index).read(at, bytes) {
            eprintln!("fabric: {}: {fault} (mailbox)", self.hbas[index].name);
        }
    }

    /// The chip's address, and how many words, as both memory commands have them.
    fn words(mailbox: &Mailbox) -> (u32, u32) {
        (
            pair(mailbox[8], mailbox[1]),
            pair(mailbox[4], mailbox[5]).min(1 << 20),
        )
    }

    fn load_ram(&mut self, index: usize, at: u64, mailbox: &Mailbox) {
        let (start, count) = Self::words(mailbox);
        let mut bytes = vec![0; count as usize * 4];
        self.read(index, at, &mut bytes);
        for (word, bytes) in (start..).zip(bytes.chunks_exact(4)) {
            let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            self.hbas[index].ram.insert(word, value);
        }
    }

    fn dump_ram(&mut self, index: usize, at: u64, mailbox: &Mailbox) {
        let (start, count) = Self::words(mailbox);
        let hba = &self.hbas[index];
        let word = |address: u32| match Flash::holds(address) {
            true => hba.flash.read(address),
            false => hba.ram.get(&address).copied().unwrap_or(0),
        };
        let bytes: Vec<u8> = (0..count)
            .flat_map(|step| word(start.wrapping_add(step)).to_le_bytes())
            .collect();
        self.write(index, at, &bytes);
    }

    fn initialize(&mut self, index: usize, at: u64, mailbox: &mut Mailbox) {
        let mut bytes = [0; size_of::<Initialize>()];
        self.read(index, at, &mut bytes);
        let Ok(block) = Initialize::read_from_bytes(&bytes) else {
            return fail(mailbox, 0);
        };
        let options = block.options_1.get();
        let hba = &mut self.hbas[index];
        hba.port_name = u64::from_be_bytes(block.port_name);
        hba.node_name = u64::from_be_bytes(block.node_name);
        hba.request = Ring::new(block.request_address.get(), block.request_length.get());
        hba.response = Ring::new(block.response_address.get(), block.response_length.get());
        hba.atio = Ring::new(block.atio_address.get(), block.atio_length.get());
        hba.target = options & Initialize::TARGET != 0;
        hba.initiator = options & Initialize::NO_INITIATOR == 0;
        hba.running = true;
        hba.sessions.clear();
        self.trace(index, || {
            let hba = &self.hbas[index];
            format!(
                "{:016x} starts: target {}, initiator {}",
                hba.port_name, hba.target, hba.initiator
            )
        });
    }

    fn execute_entry(&mut self, adapter: usize, at: u64) {
        let mut entry: Entry = [0; ENTRY_BYTES];
        self.read(adapter, at, &mut entry);
        let index = self.port_of_entry(adapter, &entry).unwrap_or(adapter);
        let answer: Entry = match entry[0] {
            kind::LOGIN => self.login_at_once(entry.into()).into(),
            kind::CT => self.name_server(index, entry.into()).into(),
            kind::PORT_CONFIGURATION => self.configure_port(index, entry.into()).into(),
            other => {
                eprintln!(
                    "fabric: {}: entry {other:#04x} by mailbox",
                    self.hbas[index].name
                );
                entry
            }
        };
        self.write(index, at, &answer);
    }

    fn port_database(&self, index: usize, at: u64, mailbox: &mut Mailbox) {
        let number = mailbox[1];
        let Some(session) = self.hbas[index].sessions.get(&number) else {
            return fail(mailbox, NO_SESSION);
        };
        let mut bytes = [0; PORT_DATABASE_BYTES];
        let found = record(number, session, &self.hbas[session.peer], true);
        bytes[..size_of::<PortRecord>()].copy_from_slice(found.as_bytes());
        self.write(index, at, &bytes);
    }

    fn names(&self, index: usize, at: u64, mailbox: &mut Mailbox) {
        let sessions = &self.hbas[index].sessions;
        let bytes: Vec<u8> = sessions
            .iter()
            .flat_map(|(number, session)| {
                record(*number, session, &self.hbas[session.peer], false)
                    .as_bytes()
                    .to_vec()
            })
            .collect();
        mailbox[1] = bytes.len() as u16;
        if !bytes.is_empty() {
            self.write(index, at, &bytes);
        }
    }

    fn port_name(&self, index: usize, mailbox: &mut Mailbox) {
        let (number, node) = (mailbox[1], mailbox[10] & 1 != 0);
        let name = match (number, self.hbas[index].sessions.get(&number)) {
            (SWITCH, _) => Some(if node {
                SWITCH_NODE_NAME
            } else {
                SWITCH_PORT_NAME
            }),
            (_, Some(session)) => {
                let peer = &self.hbas[session.peer];
                Some(if node { peer.node_name } else { peer.port_name })
            }
            _ => None,
        };
        let Some(name) = name else {
            return fail(mailbox, NO_SESSION);
        };
        for (register, half) in [2, 3, 6, 7]
            .into_iter()
            .zip(name.to_be_bytes().chunks_exact(2))
        {
            mailbox[register] = u16::from_be_bytes([half[0], half[1]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hba::LoginState;
    use crate::switch::tests::fabric;

    fn run(fabric: &mut Fabric, index: usize, values: &[(usize, u16)]) -> Mailbox {
        for (register, value) in values {
            fabric.hbas[index].registers.mailbox_in[*register] = *value;
        }
        fabric.run_mailbox(index);
        fabric.hbas[index].registers.mailbox_out
    }

    #[test]
    fn answers_come_with_an_event() {
        let mut fabric = fabric(1);
        let answer = run(&mut fabric, 0, &[(0, code::FIRMWARE_STATE)]);
        assert_eq!(answer[..2], [COMPLETE, READY]);
        assert_eq!(fabric.hbas[0].host_status(), 0x8010 | (0x4000 << 16));
        fabric.hbas[0].cleared();
        assert_eq!(run(&mut fabric, 0, &[(0, 0xff)])[0], UNKNOWN);
        assert_eq!(fabric.hbas[0].host_status() & 0xff, 0x11);
    }

    #[test]
    fn names_of_sessions_are_found_or_refused() {
        let mut fabric = fabric(2);
        let session = Session {
            peer: 1,
            state: LoginState::Process,
        };
        fabric.hbas[0].sessions.insert(7, session);
        let answer = run(&mut fabric, 0, &[(0, code::PORT_NAME), (1, 7)]);
        assert_eq!(
            [answer[2], answer[3], answer[6], answer[7]],
            [0x2100, 0, 0xfc00, 2]
        );
        fabric.hbas[0].cleared();
        assert_eq!(
            run(&mut fabric, 0, &[(0, code::PORT_NAME), (1, 8)])[..2],
            [PARAMETER, NO_SESSION]
        );
    }

    #[test]
    fn a_hung_adapter_does_not_answer() {
        let mut fabric = fabric(1);
        fabric.hbas[0].hung = true;
        assert_eq!(run(&mut fabric, 0, &[(0, code::NOP)])[0], 0);
        assert_eq!(fabric.hbas[0].host_status(), 0);
    }

    #[test]
    fn records_have_names_in_the_order_that_is_asked_for() {
        let fabric = fabric(2);
        let session = Session {
            peer: 1,
            state: LoginState::Process,
        };
        let bytes = record(3, &session, &fabric.hbas[1], true);
        assert_eq!(
            (bytes.port_id, bytes.port_name[7], bytes.word_3[0]),
            ([0, 2, 0], 2, 0x10)
        );
        let bytes = record(3, &session, &fabric.hbas[1], false);
        assert_eq!((bytes.port_id, bytes.port_name[0]), ([0, 2, 0], 2));
    }
}
