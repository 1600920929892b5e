// SPDX-License-Identifier: GPL-2.0

//! Logins, commands and aborts between an initiator and a target, as their drivers see them: by the entries on their rings.

use fabric::faults::{Action, Fault, FrameKind};
use fabric::hba::{Hba, LoginState, Ring, Session, Which};
use fabric::switch::Fabric;
use fabric::wire::initiator::{Abort, Command, Els, Login, Marker, Status, TaskManagement};
use fabric::wire::target::{Abts, AbtsResponse, Atio, Ctio, CtioDone, ImmediateNotify, NotifyAck};
use fabric::wire::{ctio_status, id_le, kind, status, Entry, Header, Segment, ENTRY_BYTES};
use std::fs::File;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

const RESPONSES: u64 = 0x1000;
const ATIOS: u64 = 0x2000;
const DATA: u64 = 0x3000;
const INITIATOR: usize = 0;
const TARGET: usize = 1;

/// An initiator and a target that can be talked to.
struct Pair {
    fabric: Fabric,
    read: [[u32; 2]; 2],
}

fn memory(index: usize) -> File {
    let name = format!(
        "fabric-flow-{}-{index}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path);
    let file = file.expect("a file");
    let _ = std::fs::remove_file(&path);
    file.set_len(0x10000).expect("its length");
    file
}

impl Pair {
    fn new() -> Self {
        let hba = |(index, name)| {
            let mut hba = Hba::new(
                name,
                "one",
                0x2100_0000_fc00_0001 + index as u64,
                0x10100 + 0x100 * index as u32,
            );
            hba.memory
                .map(0x1000, 0x10000, 0, memory(index))
                .expect("memory");
            hba.response = Ring::new(RESPONSES, 32);
            hba.atio = Ring::new(ATIOS, 32);
            hba.running = true;
            hba.registered = true;
            hba.target = index == TARGET;
            hba.initiator = index == INITIATOR;
            hba
        };
        let hbas = ["ini", "tgt"].into_iter().enumerate().map(hba).collect();
        Self {
            fabric: Fabric::new(hbas, Arc::new(Condvar::new()), false),
            read: [[0; 2]; 2],
        }
    }

    /// As [`Pair::new`], logged in.
    fn logged_in() -> Self {
        let mut pair = Self::new();
        let process = |peer| Session {
            peer,
            state: LoginState::Process,
        };
        pair.fabric.hbas[INITIATOR]
            .sessions
            .insert(7, process(TARGET));
        pair.fabric.hbas[TARGET]
            .sessions
            .insert(9, process(INITIATOR));
        pair
    }

    /// The next entry that an adapter has put on a ring.
    fn next(&mut self, index: usize, which: Which) -> Option<Entry> {
        let hba = &self.fabric.hbas[index];
        let (ring, start) = match which {
            Which::Response => (hba.response, RESPONSES),
            Which::Atio => (hba.atio, ATIOS),
        };
        let at = &mut self.read[index][which as usize];
        if *at == ring.input {
            return None;
        }
        let mut entry = [0; ENTRY_BYTES];
        hba.memory
            .read(start + u64::from(*at) * 64, &mut entry)
            .expect("the ring");
        *at += 1;
        Some(entry)
    }

    fn request(&mut self, index: usize, entry: impl Into<Entry>) {
        self.fabric.request(index, entry.into(), &[]);
    }

    /// An adapter logs in to who has an identifier, by a number of its own.
    fn log_in(&mut self, index: usize, number: u16, id: u32) {
        let mut login = Login::from([0; ENTRY_BYTES]);
        login.header = Header::new(kind::LOGIN, 1.into());
        login.nport = number.into();
        login.port_id = id_le(id);
        self.request(index, login);
    }

    /// The initiator sends a command for 512 bytes.
    fn command(&mut self, handle: u32, write: bool) {
        let mut entry = Command::from([0; ENTRY_BYTES]);
        entry.header = Header::new(kind::COMMAND, handle.into());
        entry.nport = 7.into();
        entry.segments = 1.into();
        entry.flags = if write { 1 } else { 2 }.into();
        entry.cdb = [3, 2, 1, 0x28, 7, 6, 5, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        entry.lun = [0, 0, 5, 0, 0, 0, 0, 0];
        entry.data_length = 512.into();
        entry.segment = Segment {
            address: DATA.into(),
            length: 512.into(),
        };
        self.request(INITIATOR, entry);
    }

    fn atio(&mut self) -> Option<Atio> {
        self.next(TARGET, Which::Atio).map(Atio::from)
    }

    fn status(&mut self) -> Option<Status> {
        self.next(INITIATOR, Which::Response).map(Status::from)
    }

    fn done(&mut self) -> Option<CtioDone> {
        self.next(TARGET, Which::Response).map(CtioDone::from)
    }

    /// The target goes on with a command, with so many bytes.
    fn ctio(&mut self, exchange: u32, flags: u16, bytes: u32) {
        let mut entry = Ctio::from([0; ENTRY_BYTES]);
        entry.header = Header::new(kind::CTIO, 0x77.into());
        entry.exchange = exchange.into();
        entry.flags = flags.into();
        entry.length = bytes.into();
        entry.segments = u16::from(bytes != 0).into();
        entry.segment = Segment {
            address: DATA.into(),
            length: bytes.into(),
        };
        self.request(TARGET, entry);
    }

    fn lose(&mut self, kind: FrameKind) {
        self.fabric.faults.add(Fault::new(kind, Action::Drop));
    }

    fn abort(&mut self, handle: u32) {
        let mut entry = Abort::from([0; ENTRY_BYTES]);
        entry.header = Header::new(kind::ABORT, 0x99.into());
        entry.aborted = handle.into();
        self.request(INITIATOR, entry);
    }

    /// The target answers the ABTS that it has got.
    fn answer_abts(&mut self, accept: bool) -> Abts {
        let abts = Abts::from(self.next(TARGET, Which::Response).expect("an ABTS"));
        assert_eq!(abts.kind, kind::ABTS);
        let mut answer = AbtsResponse::from([0; ENTRY_BYTES]);
        answer.header = Header::new(kind::ABTS_RESPONSE, 0.into());
        answer.exchange = abts.exchange;
        answer.frame.r_ctl = if accept { 0x84 } else { 0x85 };
        self.request(TARGET, answer);
        assert!(self.next(TARGET, Which::Response).is_some());
        abts
    }
}

#[test]
fn a_login_asks_the_target_twice_and_makes_sessions() {
    let mut pair = Pair::new();
    pair.log_in(INITIATOR, 7, 0x10200);
    for (code, lowest) in [(0x03, 0x20), (0x20, 0xa2)] {
        let notify = ImmediateNotify::from(pair.next(TARGET, Which::Atio).expect("a link service"));
        assert_eq!(
            (notify.code, notify.particular[0], notify.port_name[7]),
            (code, lowest, 1)
        );
        let mut ack = NotifyAck::from([0; ENTRY_BYTES]);
        ack.header = Header::new(kind::NOTIFY_ACK, 0.into());
        ack.exchange = notify.exchange;
        pair.request(TARGET, ack);
    }
    let answer = Login::from(pair.next(INITIATOR, Which::Response).expect("an answer"));
    assert_eq!(
        (answer.completion.get(), answer.parameters[0].get()),
        (0, 0x10)
    );
    assert_eq!(
        pair.fabric.hbas[INITIATOR].sessions[&7].state,
        LoginState::Process
    );
    assert!(pair.fabric.hbas[TARGET].session_with(INITIATOR).is_some());
}

#[test]
fn who_logs_in_to_an_initiator_is_no_target_to_it_yet() {
    let mut pair = Pair::new();
    pair.log_in(TARGET, 9, 0x10100);
    let answer = Login::from(pair.next(TARGET, Which::Response).expect("an answer"));
    assert_eq!(answer.completion.get(), 0);
    let number = pair.fabric.hbas[INITIATOR].session_with(TARGET);
    let session = pair.fabric.hbas[INITIATOR].sessions[&number.expect("a session")];
    assert_eq!(session.state, LoginState::Port);
}

#[test]
fn responses_that_are_to_be_confirmed_are_counted() {
    let mut pair = Pair::logged_in();
    for (flags, counted) in [(0, 0), (Ctio::CONFIRM, 1)] {
        pair.command(5, false);
        let exchange = pair.atio().expect("a command").exchange.get();
        pair.ctio(exchange, Ctio::TO_INITIATOR | Ctio::STATUS | flags, 512);
        assert!(pair.status().is_some() && pair.done().is_some());
        assert_eq!(pair.fabric.hbas[TARGET].counts.confirmed, counted);
    }
}

#[test]
fn a_login_that_is_refused_or_lost_fails() {
    let mut pair = Pair::new();
    pair.log_in(INITIATOR, 0, 0x10200);
    let notify = ImmediateNotify::from(pair.next(TARGET, Which::Atio).expect("a link service"));
    let mut ack = NotifyAck::from([0; ENTRY_BYTES]);
    ack.header = Header::new(kind::NOTIFY_ACK, 0.into());
    ack.exchange = notify.exchange;
    ack.flags = 8.into();
    pair.request(TARGET, ack);
    let answer = Login::from(pair.next(INITIATOR, Which::Response).expect("an answer"));
    assert_eq!(
        (answer.completion.get(), answer.parameters[0].get()),
        (status::FAILED, 0x18)
    );
    pair.fabric.hbas[INITIATOR].sessions.clear();
    pair.lose(FrameKind::Els);
    pair.log_in(INITIATOR, 0, 0x10200);
    assert!(pair.next(TARGET, Which::Atio).is_none());
    pair.fabric
        .run_due(Instant::now() + Duration::from_secs(10));
    let answer = Login::from(pair.next(INITIATOR, Which::Response).expect("an answer"));
    assert_eq!(answer.completion.get(), status::FAILED);
}

#[test]
fn a_login_that_nobody_answers_can_be_aborted() {
    let mut pair = Pair::new();
    pair.log_in(INITIATOR, 0, 0x10200);
    assert!(pair.next(TARGET, Which::Atio).is_some());
    pair.abort(1);
    let answer = Login::from(pair.next(INITIATOR, Which::Response).expect("an answer"));
    assert_eq!(answer.completion.get(), status::FAILED);
    let aborted = Abort::from(pair.next(INITIATOR, Which::Response).expect("an answer"));
    assert_eq!(aborted.nport.get(), status::COMPLETE);
    assert!(pair.fabric.exchanges.is_empty());
}

#[test]
fn a_target_that_writes_its_own_logout_is_answered_and_the_initiator_is_told() {
    let mut pair = Pair::logged_in();
    pair.command(5, false);
    let mut logout = Els::from([0; ENTRY_BYTES]);
    logout.header = Header::new(kind::ELS, 0x55.into());
    logout.code = 5;
    logout.destination = id_le(0x10100);
    pair.request(TARGET, logout);
    let answer = Els::from(pair.next(TARGET, Which::Response).expect("an answer"));
    assert_eq!(
        (answer.header.handle.get(), answer.completion.get()),
        (0x55, status::COMPLETE)
    );
    assert_eq!(
        pair.status().expect("status").completion.get(),
        status::LOGGED_OUT
    );
    let hba = &pair.fabric.hbas[INITIATOR];
    assert!(hba.sessions.is_empty());
    logout.destination = id_le(0x99900);
    pair.request(TARGET, logout);
    let answer = Els::from(pair.next(TARGET, Which::Response).expect("an answer"));
    assert_eq!(answer.completion.get(), status::PORT_UNAVAILABLE);
}

#[test]
fn a_target_takes_no_command_of_whom_it_has_no_session_with() {
    let mut pair = Pair::logged_in();
    pair.fabric.hbas[TARGET].sessions.clear();
    pair.command(5, false);
    assert!(pair.atio().is_none());
    assert_eq!(
        pair.status().expect("status").completion.get(),
        status::LOGGED_OUT
    );
}

#[test]
fn a_read_moves_data_and_status() {
    let mut pair = Pair::logged_in();
    pair.fabric.hbas[TARGET]
        .memory
        .write(DATA, &[0x5a; 512])
        .expect("data");
    pair.command(1, false);
    let atio = pair.atio().expect("a command");
    assert_eq!(
        (atio.cdb[0], atio.cdb[4], atio.lun[1], atio.direction),
        (0x28, 4, 5, 2)
    );
    assert_eq!(atio.data_length.get(), 512);
    pair.ctio(atio.exchange.get(), Ctio::TO_INITIATOR | Ctio::STATUS, 512);
    let status = pair.status().expect("status");
    assert_eq!((status.completion.get(), status.residual.get()), (0, 0));
    let mut data = [0; 512];
    pair.fabric.hbas[INITIATOR]
        .memory
        .read(DATA, &mut data)
        .expect("data");
    assert_eq!(data, [0x5a; 512]);
    assert_eq!(
        pair.done().expect("a completion").status.get(),
        ctio_status::SUCCESS
    );
    assert!(pair.fabric.exchanges.is_empty());
}

#[test]
fn a_command_that_is_answered_twice_is_counted_also_if_the_first_answer_was_lost() {
    let mut pair = Pair::logged_in();
    pair.lose(FrameKind::Response);
    for (handle, twice) in [(1, 1), (2, 2)] {
        pair.command(handle, false);
        let exchange = pair.atio().expect("a command").exchange.get();
        pair.ctio(exchange, Ctio::STATUS, 0);
        assert_eq!(pair.fabric.hbas[TARGET].counts.twice, twice - 1);
        pair.ctio(exchange, Ctio::STATUS, 0);
        assert_eq!(pair.fabric.hbas[TARGET].counts.twice, twice);
    }
}

#[test]
fn a_sequence_retransmission_request_that_is_refused_is_counted() {
    let mut pair = Pair::logged_in();
    assert!(pair.fabric.request_retransmission(TARGET));
    let notify = ImmediateNotify::from(pair.next(TARGET, Which::Atio).expect("a request"));
    assert_eq!(notify.status.get(), 0x45);
    let mut ack = NotifyAck::from([0; ENTRY_BYTES]);
    ack.header = Header::new(kind::NOTIFY_ACK, 0.into());
    ack.exchange = notify.exchange;
    ack.rest[6] = 1;
    pair.request(TARGET, ack);
    assert_eq!(pair.fabric.hbas[TARGET].counts.refused, 1);
    assert!(pair.fabric.exchanges.is_empty());
}

#[test]
fn lost_data_of_a_read_are_an_underrun() {
    let mut pair = Pair::logged_in();
    pair.lose(FrameKind::Data);
    pair.command(1, false);
    let exchange = pair.atio().expect("a command").exchange.get();
    pair.ctio(exchange, Ctio::TO_INITIATOR | Ctio::STATUS, 512);
    let status = pair.status().expect("status");
    assert_eq!(
        (status.completion.get(), status.residual.get()),
        (status::UNDERRUN, 512)
    );
}

#[test]
fn a_lost_command_is_aborted_though_the_target_does_not_know_it() {
    let mut pair = Pair::logged_in();
    pair.lose(FrameKind::Command);
    pair.command(5, false);
    assert!(pair.atio().is_none());
    pair.abort(5);
    assert_eq!(pair.answer_abts(false).aborted.get(), u32::MAX);
    assert_eq!(
        pair.status().expect("status").completion.get(),
        status::ABORTED
    );
    let aborted = Abort::from(pair.next(INITIATOR, Which::Response).expect("an answer"));
    assert_eq!(
        (aborted.header.handle.get(), aborted.nport.get()),
        (0x99, status::COMPLETE)
    );
    assert!(pair.fabric.exchanges.is_empty());
}

#[test]
fn a_write_that_waits_for_lost_data_ends_when_it_is_aborted() {
    let mut pair = Pair::logged_in();
    pair.lose(FrameKind::Data);
    pair.command(5, true);
    let exchange = pair.atio().expect("a command").exchange.get();
    pair.ctio(exchange, Ctio::FROM_INITIATOR, 512);
    assert!(pair.done().is_none());
    pair.abort(5);
    let abts = pair.answer_abts(true);
    assert_eq!(abts.aborted.get(), exchange);
    assert_eq!(
        pair.done().expect("a completion").status.get(),
        ctio_status::ABORTED
    );
    assert_eq!(
        pair.status().expect("status").completion.get(),
        status::ABORTED
    );
}

#[test]
fn a_marker_gives_back_the_lost_commands_of_its_lun() {
    let mut pair = Pair::logged_in();
    pair.lose(FrameKind::Command);
    pair.command(5, false);
    let mut marker = Marker::from([0; ENTRY_BYTES]);
    marker.header = Header::new(kind::MARKER, 0x31.into());
    marker.nport = 7.into();
    marker.lun = [0, 0, 6, 0, 0, 0, 0, 0];
    pair.request(INITIATOR, marker);
    let done = pair.next(INITIATOR, Which::Response).expect("the marker");
    assert_eq!((done[0], done[4]), (kind::MARKER, 0x31));
    marker.lun = [0, 0, 5, 0, 0, 0, 0, 0];
    pair.request(INITIATOR, marker);
    let status = pair.status().expect("status");
    assert_eq!(
        (status.header.handle.get(), status.completion.get()),
        (5, status::ABORTED)
    );
    assert!(pair.fabric.exchanges.is_empty());
}

#[test]
fn a_lost_abts_is_sent_again() {
    let mut pair = Pair::logged_in();
    pair.command(5, false);
    assert!(pair.atio().is_some());
    pair.lose(FrameKind::Abts);
    pair.abort(5);
    assert!(pair.next(TARGET, Which::Response).is_none());
    pair.fabric
        .run_due(Instant::now() + Duration::from_secs(10));
    pair.answer_abts(true);
    assert_eq!(
        pair.status().expect("status").completion.get(),
        status::ABORTED
    );
}

#[test]
fn lost_task_management_is_given_up() {
    let mut pair = Pair::logged_in();
    pair.lose(FrameKind::Command);
    let mut entry = TaskManagement::from([0; ENTRY_BYTES]);
    entry.header = Header::new(kind::TASK_MANAGEMENT, 6.into());
    entry.nport = 7.into();
    entry.flags = (1 << 4).into();
    pair.request(INITIATOR, entry);
    assert!(pair.atio().is_none() && pair.status().is_none());
    pair.fabric
        .run_due(Instant::now() + Duration::from_secs(10));
    assert_eq!(
        pair.status().expect("status").completion.get(),
        status::TIMED_OUT
    );
    assert!(pair.fabric.exchanges.is_empty());
}

#[test]
fn a_full_queue_is_a_status_and_the_target_hears_nothing() {
    let mut pair = Pair::logged_in();
    pair.fabric
        .faults
        .add(Fault::new(FrameKind::Command, Action::TaskSetFull));
    pair.command(5, false);
    assert!(pair.atio().is_none());
    let status = pair.status().expect("status");
    assert_eq!(
        (status.completion.get(), status.scsi_status.get()),
        (0, 0x28)
    );
}

#[test]
fn what_is_under_way_ends_when_the_target_goes_and_its_answer_is_refused() {
    let mut pair = Pair::logged_in();
    pair.command(5, false);
    let exchange = pair.atio().expect("a command").exchange.get();
    pair.fabric.link_down(INITIATOR);
    assert_eq!(
        pair.status().expect("status").completion.get(),
        status::PORT_UNAVAILABLE
    );
    pair.ctio(exchange, Ctio::TO_INITIATOR | Ctio::STATUS, 512);
    assert_eq!(
        pair.done().expect("a completion").status.get(),
        ctio_status::INVALID_EXCHANGE
    );
}
