// SPDX-License-Identifier: GPL-2.0

//! Commands: from the initiator's entry to the target's ring, data between the memories of the two, and back.

use crate::faults::{Action, FrameKind};
use crate::hba::{LoginState, Which};
use crate::login::Login;
use crate::memory;
use crate::switch::Fabric;
use crate::task::{Abort, Task};
use crate::wire::initiator::{self, Marker, Status};
use crate::wire::target::{Atio, Ctio, CtioDone, CtioStatus};
use crate::wire::{ctio_status, id_be, kind, segments, status, swap_words, Entry, Segment};
use zerocopy::little_endian::U32;

/// SAM status.
const TASK_SET_FULL: u16 = 0x28;
/// FCP_CMND and the frame header before it, in an ATIO.
const COMMAND_BYTES: u16 = 0x38;

/// What is under way between two ports.
#[derive(Debug)]
pub enum Exchange {
    /// A login, as far as the target has to agree.
    Login(Login),
    /// A logout that the target is told of.
    Logout {
        /// Who goes.
        initiator: usize,
        /// From whom.
        target: usize,
    },
    /// A sequence retransmission request.
    Retransmission {
        /// Who wants a sequence again.
        initiator: usize,
        /// From whom.
        target: usize,
    },
    /// A command.
    Command(Command),
    /// Task management.
    Task(Task),
    /// The abort of a command.
    Abort(Abort),
}

impl Exchange {
    /// The two adapters: who began, and the other.
    pub fn ends(&self) -> (usize, usize) {
        match self {
            Self::Login(login) => (login.initiator, login.target),
            Self::Logout { initiator, target } | Self::Retransmission { initiator, target } => {
                (*initiator, *target)
            }
            Self::Command(command) => (command.initiator, command.target),
            Self::Task(task) => (task.initiator, task.target),
            Self::Abort(abort) => (abort.initiator, abort.target),
        }
    }
}

/// A frame, or what stands for a sequence of them. The number is the exchange's.
#[derive(Clone, Copy, Debug)]
pub enum Frame {
    /// FCP_CMND of a command or of task management.
    Command(u32),
    /// FCP_RSP, as the entry that it makes.
    Response(u32, Entry),
    /// ABTS.
    Abts(u32),
    /// The answer to it: accepted or rejected.
    AbtsReply(u32, bool),
    /// PLOGI or PRLI.
    Els(u32),
}

/// A command under way.
#[derive(Clone, Debug)]
pub struct Command {
    /// Who sent it.
    pub initiator: usize,
    /// To whom.
    pub target: usize,
    /// The initiator driver's name for it.
    pub handle: U32,
    /// The initiator's name on the wire.
    pub ox_id: u16,
    /// The target has it.
    pub arrived: bool,
    /// The target has answered it, but nobody got the answer.
    pub answered: bool,
    /// The target's entry that waits for data which will not come.
    stalled: Option<CtioDone>,
    segments: Vec<Segment>,
    length: u32,
    moved: u32,
    lun: [u8; 8],
    attribute: u8,
    direction: u8,
    cdb: [u8; 16],
}

/// What of FCP_CMND differs between commands and task management.
pub struct Fcp {
    /// As SAM has it.
    pub lun: [u8; 8],
    /// Task attribute.
    pub attribute: u8,
    /// Task management flags.
    pub task_management: u8,
    /// Bit 0: data to the device; bit 1: data from it.
    pub direction: u8,
    /// The CDB.
    pub cdb: [u8; 16],
    /// FCP_DL.
    pub length: u32,
}

impl Command {
    fn fcp(&self) -> Fcp {
        Fcp {
            lun: self.lun,
            attribute: self.attribute,
            task_management: 0,
            direction: self.direction,
            cdb: self.cdb,
            length: self.length,
        }
    }

    /// What the initiator's driver is told. Data that did not come is an underrun by the firmware's own count.
    pub fn status(&self, completion: u16) -> Status {
        let short = self.length.saturating_sub(self.moved);
        let completion = if completion == status::COMPLETE && short != 0 {
            status::UNDERRUN
        } else {
            completion
        };
        Status {
            ox_id: self.ox_id.into(),
            residual: short.into(),
            ..Status::new(self.handle, completion)
        }
    }
}

impl Fabric {
    /// Runs an entry of the request ring.
    pub fn request(&mut self, adapter: usize, entry: Entry, more: &[Entry]) {
        let Some(index) = self.port_of_entry(adapter, &entry) else {
            return eprintln!(
                "fabric: {}: entry {:#04x} of a port that it does not have",
                self.hbas[adapter].name, entry[0]
            );
        };
        match entry[0] {
            kind::COMMAND => self.command(index, entry.into(), more),
            kind::CTIO => self.ctio(index, entry, more),
            kind::NOTIFY_ACK => self.notify_ack(index, entry.into()),
            kind::ABTS_RESPONSE => self.abts_response(index, entry.into()),
            kind::TASK_MANAGEMENT => self.task_management(index, entry.into()),
            kind::ABORT => self.abort(index, entry.into()),
            kind::LOGIN => self.login(index, entry.into()),
            kind::ELS => self.link_service(index, entry.into()),
            kind::CT => {
                let answer = self.name_server(index, entry.into());
                self.post(index, Which::Response, answer);
            }
            kind::MAILBOX => self.mailbox_entry(index, entry.into()),
            kind::PORT_CONTROL => self.control_ports(index, entry.into()),
            kind::MARKER => {
                self.mark(index, &entry.into());
                let handle = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
                if handle & 0xffff != 0xffff && handle != 0 {
                    self.post(index, Which::Response, entry);
                }
            }
            other => eprintln!(
                "fabric: {}: no entry is of kind {other:#04x}",
                self.hbas[index].name
            ),
        }
    }

    fn command(&mut self, index: usize, entry: initiator::Command, more: &[Entry]) {
        self.hbas[index].counts.commands += 1;
        let session = self.hbas[index].sessions.get(&entry.nport.get()).copied();
        let command = Command {
            initiator: index,
            target: session.map_or(index, |session| session.peer),
            handle: entry.header.handle,
            ox_id: 0,
            arrived: false,
            answered: false,
            stalled: None,
            segments: segments(entry.segment, more, entry.segments.get()),
            length: entry.data_length.get(),
            moved: 0,
            lun: swap_words(entry.lun),
            attribute: entry.attribute & 7,
            direction: (entry.flags.get() & 3) as u8,
            cdb: swap_words(entry.cdb),
        };
        if !self.hbas[index].link {
            return self.post(
                index,
                Which::Response,
                command.status(status::PORT_UNAVAILABLE),
            );
        }
        let there = session.is_some_and(|session| {
            session.state == LoginState::Process && self.knows(index, session.peer)
        });
        if !there {
            return self.post(index, Which::Response, command.status(status::LOGGED_OUT));
        }
        let exchange = self.begin(Exchange::Command(command));
        if let Some(Exchange::Command(command)) = self.exchanges.get_mut(&exchange) {
            command.ox_id = exchange as u16;
        }
        self.send(Frame::Command(exchange));
    }

    /// Of what kind a frame is, who sends and who receives it; None if its exchange is over.
    pub fn describe(&self, frame: &Frame) -> Option<(FrameKind, usize, usize)> {
        let (kind, exchange, answer) = match frame {
            Frame::Command(exchange) => (FrameKind::Command, exchange, false),
            Frame::Response(exchange, _) => (FrameKind::Response, exchange, true),
            Frame::Abts(exchange) => (FrameKind::Abts, exchange, false),
            Frame::AbtsReply(exchange, _) => (FrameKind::AbtsReply, exchange, true),
            Frame::Els(exchange) => (FrameKind::Els, exchange, false),
        };
        let (from, to) = self.exchanges.get(exchange)?.ends();
        Some(if answer {
            (kind, to, from)
        } else {
            (kind, from, to)
        })
    }

    /// A frame is there; one whose exchange is over by now is nothing to anybody.
    pub fn arrives(&mut self, frame: Frame) {
        match frame {
            Frame::Command(exchange) => match self.exchanges.get_mut(&exchange) {
                Some(Exchange::Command(command)) => {
                    command.arrived = true;
                    let (ends, ox_id, fcp) = (
                        (command.initiator, command.target),
                        command.ox_id,
                        command.fcp(),
                    );
                    self.deliver(ends, exchange, ox_id, &fcp);
                }
                Some(Exchange::Task(task)) => {
                    let (ends, ox_id, fcp) =
                        ((task.initiator, task.target), task.ox_id, task.fcp());
                    self.deliver(ends, exchange, ox_id, &fcp);
                }
                _ => {}
            },
            Frame::Response(exchange, entry) => {
                if let Some(mut over) = self.exchanges.remove(&exchange) {
                    if let Exchange::Command(command) = &mut over {
                        self.release(command);
                    }
                    self.post(over.ends().0, Which::Response, entry);
                }
            }
            Frame::Abts(exchange) => self.abts_arrives(exchange),
            Frame::AbtsReply(exchange, accepted) => self.abts_answered(exchange, accepted),
            Frame::Els(exchange) => self.els_arrives(exchange),
        }
    }

    fn deliver(
        &mut self,
        (initiator, target): (usize, usize),
        exchange: u32,
        ox_id: u16,
        fcp: &Fcp,
    ) {
        let atio = Atio {
            kind: kind::ATIO,
            count: 1,
            attribute_length: (COMMAND_BYTES | (u16::from(fcp.attribute) << 12)).into(),
            exchange: exchange.into(),
            r_ctl: 0x06,
            destination: id_be(self.hbas[target].id),
            cs_ctl: 0,
            source: id_be(self.hbas[initiator].id),
            protocol: 0x08,
            f_ctl: [0x29, 0, 0], // first and last of its sequence, the initiative goes to the target
            sequence: 0,
            df_ctl: 0,
            sequence_count: 0.into(),
            ox_id: ox_id.into(),
            rx_id: u16::MAX.into(),
            parameter: 0.into(),
            lun: fcp.lun,
            reference: 0,
            attribute: fcp.attribute,
            task_management: fcp.task_management,
            direction: fcp.direction,
            cdb: fcp.cdb,
            data_length: fcp.length.into(),
        };
        self.post(target, Which::Atio, atio);
    }

    /// The answer of the target is lost: the initiator waits on.
    pub fn answered(&mut self, exchange: u32) {
        if let Some(Exchange::Command(command)) = self.exchanges.get_mut(&exchange) {
            command.answered = true;
        }
    }

    /// The target's port answers a command itself; task management is none.
    pub fn task_set_full(&mut self, frame: Frame) {
        let Frame::Command(exchange) = frame else {
            return;
        };
        if let Some(Exchange::Command(command)) = self.exchanges.get(&exchange) {
            let full = Status {
                scsi_status: TASK_SET_FULL.into(),
                residual: 0.into(),
                completion: status::COMPLETE.into(),
                ..command.status(status::COMPLETE)
            };
            self.arrives(Frame::Response(exchange, full.into()));
        } else {
            self.arrives(frame);
        }
    }

    fn ctio(&mut self, index: usize, entry: Entry, more: &[Entry]) {
        self.hbas[index].counts.ctios += 1;
        let ctio = Ctio::from(entry);
        let (exchange, flags) = (ctio.exchange.get(), ctio.flags.get());
        let mut done = CtioDone::new(&ctio);
        match self.exchanges.get(&exchange) {
            _ if !self.hbas[index].link => done.status = ctio_status::LOGGED_OUT.into(),
            Some(Exchange::Command(command)) if command.target == index && !command.answered => {
                let command = command.clone();
                if flags & Ctio::TERMINATE != 0 {
                    self.terminate(exchange, command);
                } else if self.go_on(exchange, command, entry, more) {
                    return;
                }
            }
            Some(Exchange::Task(task)) if task.target == index => {
                let answer = task.answer(flags & Ctio::TERMINATE != 0, &entry.into());
                self.send(Frame::Response(exchange, answer.into()));
            }
            _ => {
                let answers = flags & (Ctio::STATUS | Ctio::TERMINATE) == Ctio::STATUS;
                if answers && self.remembers_answer(exchange) {
                    self.hbas[index].counts.twice += 1;
                }
                done.status = ctio_status::INVALID_EXCHANGE.into();
            }
        }
        if flags & Ctio::SILENT == 0 {
            self.post(index, Which::Response, done);
        }
    }

    /// What waited for data will not get it: the exchange is over.
    pub fn release(&mut self, command: &mut Command) {
        if let Some(done) = command.stalled.take() {
            let aborted = CtioDone {
                status: ctio_status::ABORTED.into(),
                ..done
            };
            self.post(command.target, Which::Response, aborted);
        }
    }

    /// The target terminates the exchange: the initiator sees an abort, unless it waits for its own to be answered.
    fn terminate(&mut self, exchange: u32, mut command: Command) {
        self.release(&mut command);
        let aborting = self
            .exchanges
            .values()
            .any(|other| matches!(other, Exchange::Abort(abort) if abort.command == exchange));
        let answer = command.status(status::ABORTED);
        self.exchanges.insert(exchange, Exchange::Command(command));
        if aborting {
            self.answered(exchange);
        } else {
            self.send(Frame::Response(exchange, answer.into()));
        }
    }

    /// Data and status of a command; true if the entry is not done, as data has been lost that it waits for.
    fn go_on(&mut self, exchange: u32, mut command: Command, entry: Entry, more: &[Entry]) -> bool {
        let ctio = Ctio::from(entry);
        let flags = ctio.flags.get();
        let mode_1 = flags & Ctio::MODE == Ctio::MODE_1;
        if flags & (Ctio::TO_INITIATOR | Ctio::FROM_INITIATOR) != 0 && !mode_1 {
            let list = segments(ctio.segment, more, ctio.segments.get());
            match self.move_data(&command, &ctio, &list) {
                Some(moved) => command.moved = command.moved.saturating_add(moved),
                None if flags & Ctio::FROM_INITIATOR != 0 => {
                    command.stalled = Some(CtioDone::new(&ctio));
                    self.exchanges.insert(exchange, Exchange::Command(command));
                    return true;
                }
                None => {}
            }
        }
        if flags & Ctio::STATUS != 0 {
            if flags & Ctio::CONFIRM != 0 {
                // The initiator's firmware does so by itself.
                self.hbas[command.target].counts.confirmed += 1;
            }
            let mut answer = command.status(status::COMPLETE);
            answer.scsi_status = ctio.scsi_status;
            answer.response_residual = ctio.residual;
            if mode_1 {
                let detail = CtioStatus::from(entry);
                answer.data[..24].copy_from_slice(&detail.data);
                if ctio.scsi_status.get() & Status::SENSE_VALID != 0 {
                    answer.sense_length = u32::from(ctio.sense_length.get()).into();
                }
                answer.response_length = u32::from(detail.response_length.get()).into();
            }
            self.exchanges.insert(exchange, Exchange::Command(command));
            self.remember_answer(exchange);
            self.send(Frame::Response(exchange, answer.into()));
        } else {
            self.exchanges.insert(exchange, Exchange::Command(command));
        }
        false
    }

    /// Moves the data of an entry of the target; the number of bytes, or None if it is lost on the way.
    fn move_data(&mut self, command: &Command, ctio: &Ctio, list: &[Segment]) -> Option<u32> {
        let to_initiator = ctio.flags.get() & Ctio::TO_INITIATOR != 0;
        let ends = if to_initiator {
            (command.target, command.initiator)
        } else {
            (command.initiator, command.target)
        };
        let adapters = (self.chip(ends.0), self.chip(ends.1));
        if self.faults.judge(FrameKind::Data, adapters.0, adapters.1) == Some(Action::Drop) {
            return None;
        }
        let offset = u64::from(ctio.offset.get());
        let initiator = (
            self.memory(command.initiator),
            command.segments.as_slice(),
            offset,
        );
        let target = (self.memory(command.target), list, 0);
        let (from, to) = if to_initiator {
            (target, initiator)
        } else {
            (initiator, target)
        };
        match memory::copy(from, to, u64::from(ctio.length.get())) {
            Ok(moved) => Some(u32::try_from(moved).unwrap_or(u32::MAX)),
            Err(fault) => {
                eprintln!("fabric: {}: {fault} (data)", self.hbas[command.target].name);
                None
            }
        }
    }

    /// A marker follows task management: the firmware gives back the commands that it was about.
    fn mark(&mut self, index: usize, marker: &Marker) {
        let Some(session) = self.hbas[index].sessions.get(&marker.nport.get()).copied() else {
            return;
        };
        let lun = swap_words(marker.lun);
        let concerned = |command: &Command| {
            let there = command.initiator == index && command.target == session.peer;
            match marker.modifier {
                Marker::LUN => there && command.lun == lun,
                Marker::PORT => there,
                _ => false,
            }
        };
        let mut over: Vec<u32> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| matches!(exchange, Exchange::Command(c) if concerned(c)))
            .map(|(name, _)| *name)
            .collect();
        over.sort_unstable();
        for name in over {
            if let Some(Exchange::Command(mut command)) = self.exchanges.remove(&name) {
                self.release(&mut command);
                self.post(index, Which::Response, command.status(status::ABORTED));
            }
        }
    }

    /// Ends all that is under way with an adapter; the initiators hear COMPLETION.
    pub fn end_all(&mut self, index: usize, completion: u16) {
        self.end_those(|one, other| one == index || other == index, completion);
    }

    /// Ends all that is under way between two adapters, as one has logged out.
    pub fn end_between(&mut self, index: usize, peer: usize) {
        let ends = [index, peer];
        self.end_those(
            |one, other| ends == [one, other] || ends == [other, one],
            status::LOGGED_OUT,
        );
    }

    fn end_those(&mut self, which: impl Fn(usize, usize) -> bool, completion: u16) {
        let concerned = |exchange: &Exchange| {
            let (one, other) = exchange.ends();
            which(one, other)
        };
        let mut over: Vec<u32> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| concerned(exchange))
            .map(|(name, _)| *name)
            .collect();
        over.sort_unstable();
        for name in over {
            match self.exchanges.remove(&name) {
                Some(Exchange::Login(login)) => self.login_failed(login),
                Some(Exchange::Command(mut command)) => {
                    self.release(&mut command);
                    self.post(
                        command.initiator,
                        Which::Response,
                        command.status(completion),
                    );
                }
                Some(Exchange::Task(task)) => {
                    self.post(
                        task.initiator,
                        Which::Response,
                        Status::new(task.handle, completion),
                    );
                }
                Some(Exchange::Abort(abort)) => self.abort_done(abort, status::FAILED),
                Some(Exchange::Logout { .. } | Exchange::Retransmission { .. }) | None => {}
            }
        }
    }
}
