// SPDX-License-Identifier: GPL-2.0

//! Task management, and the abort of a command.

use crate::exchange::{Exchange, Fcp, Frame};
use crate::hba::Which;
use crate::switch::Fabric;
use crate::wire::initiator::{self, Status, TaskManagement};
use crate::wire::target::{self, AbtsResponse, CtioStatus, FrameHeader};
use crate::wire::{id_le, kind, status, swap_words};
use zerocopy::little_endian::U32;

/// Of an exchange that the target does not have.
const UNKNOWN: u32 = u32::MAX;
/// R_CTL of an ABTS, and of BA_ACC in its lower half.
const ABTS: u8 = 0x81;
const BA_ACC: u8 = 0x4;

/// The functions: flag of the initiator's entry, and flag of FCP_CMND.
const FUNCTIONS: [(u32, u8); 5] = [
    (1 << 4, 0x10),
    (1 << 1, 0x20),
    (1 << 3, 0x02),
    (1 << 2, 0x04),
    (1 << 0, 0x40),
];

/// Task management under way.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Who sent it.
    pub initiator: usize,
    /// To whom.
    pub target: usize,
    /// The initiator driver's name for it.
    pub handle: U32,
    /// The initiator's name on the wire.
    pub ox_id: u16,
    lun: [u8; 8],
    function: u8,
}

impl Task {
    /// As FCP_CMND.
    pub fn fcp(&self) -> Fcp {
        Fcp {
            lun: self.lun,
            attribute: 0,
            task_management: self.function,
            direction: 0,
            cdb: [0; 16],
            length: 0,
        }
    }

    /// What the initiator's driver is told of the target's answer.
    pub fn answer(&self, terminated: bool, ctio: &CtioStatus) -> Status {
        if terminated {
            return Status::new(self.handle, status::ABORTED);
        }
        let mut answer = Status::new(self.handle, status::COMPLETE);
        answer.scsi_status = Status::RESPONSE_VALID.into();
        answer.response_length = 8.into();
        answer.data[..24].copy_from_slice(&ctio.data);
        answer
    }
}

/// An abort under way.
#[derive(Clone, Copy, Debug)]
pub struct Abort {
    /// Who aborts.
    pub initiator: usize,
    /// Who has the command.
    pub target: usize,
    /// What.
    pub command: u32,
    entry: initiator::Abort,
}

impl Fabric {
    /// Runs a task management entry.
    pub fn task_management(&mut self, index: usize, entry: TaskManagement) {
        let session = self.hbas[index].sessions.get(&entry.nport.get()).copied();
        let there =
            session.filter(|session| self.hbas[index].link && self.knows(index, session.peer));
        let function = FUNCTIONS
            .iter()
            .find(|(flag, _)| entry.flags.get() & flag != 0)
            .map(|(_, code)| *code);
        let (Some(session), Some(function)) = (there, function) else {
            return self.post(
                index,
                Which::Response,
                Status::new(entry.header.handle, status::LOGGED_OUT),
            );
        };
        self.trace(index, || format!("task management {function:#04x}"));
        let exchange = self.begin(Exchange::Task(Task {
            initiator: index,
            target: session.peer,
            handle: entry.header.handle,
            ox_id: 0,
            lun: swap_words(entry.lun),
            function,
        }));
        if let Some(Exchange::Task(task)) = self.exchanges.get_mut(&exchange) {
            task.ox_id = exchange as u16;
        }
        self.send(Frame::Command(exchange));
    }

    /// Whether an exchange is task management under way.
    pub fn is_task(&self, exchange: u32) -> bool {
        matches!(self.exchanges.get(&exchange), Some(Exchange::Task(_)))
    }

    /// Task management whose frame, or the answer to it, was lost.
    pub fn task_times_out(&mut self, exchange: u32) {
        if let Some(Exchange::Task(task)) = self.exchanges.get(&exchange) {
            let (initiator, given_up) =
                (task.initiator, Status::new(task.handle, status::TIMED_OUT));
            self.exchanges.remove(&exchange);
            self.post(initiator, Which::Response, given_up);
        }
    }

    /// Runs an abort entry.
    pub fn abort(&mut self, index: usize, entry: initiator::Abort) {
        let command = self
            .exchanges
            .iter()
            .find_map(|(name, exchange)| match exchange {
                Exchange::Command(command)
                    if self.chip(command.initiator) == index && command.handle == entry.aborted =>
                {
                    Some((*name, command.initiator, command.target))
                }
                _ => None,
            });
        self.trace(index, || {
            format!("abort of {:#x}: {command:x?}", entry.aborted.get())
        });
        let Some((command, initiator, target)) = command else {
            let ended = self.abort_login(index, entry.aborted);
            let completion = if ended {
                status::COMPLETE
            } else {
                status::FAILED
            };
            let answer = initiator::Abort {
                nport: completion.into(),
                ..entry
            };
            return self.post(index, Which::Response, answer);
        };
        let exchange = self.begin(Exchange::Abort(Abort {
            initiator,
            target,
            command,
            entry,
        }));
        self.send(Frame::Abts(exchange));
    }

    /// An ABTS is there.
    pub fn abts_arrives(&mut self, exchange: u32) {
        let Some(Exchange::Abort(abort)) = self.exchanges.get(&exchange) else {
            return;
        };
        let abort = *abort;
        let Some(Exchange::Command(command)) = self.exchanges.get(&abort.command) else {
            // The command has ended meanwhile.
            self.exchanges.remove(&exchange);
            return self.abort_done(abort, status::FAILED);
        };
        let (from, to) = (&self.hbas[abort.initiator], &self.hbas[abort.target]);
        let abts = target::Abts {
            kind: kind::ABTS,
            count: 1,
            reserved: [0; 8],
            nport: to.session_with(abort.initiator).unwrap_or(u16::MAX).into(),
            reserved_2: [0; 2],
            vp: to.vp,
            sof: 0,
            exchange: exchange.into(),
            frame: FrameHeader {
                destination: id_le(to.id),
                r_ctl: ABTS,
                source: id_le(from.id),
                f_ctl: [0, 0, 0x09],
                rx_id: u16::MAX.into(),
                ox_id: command.ox_id.into(),
                ..FrameHeader::default()
            },
            reserved_3: [0; 16],
            aborted: if command.arrived {
                abort.command
            } else {
                UNKNOWN
            }
            .into(),
        };
        self.post(abort.target, Which::Response, abts);
    }

    /// The target's driver has answered an ABTS.
    pub fn abts_response(&mut self, index: usize, mut entry: AbtsResponse) {
        let exchange = entry.exchange.get();
        let accepted = entry.frame.r_ctl & 0xf == BA_ACC;
        entry.completion = status::COMPLETE.into();
        self.post(index, Which::Response, entry);
        if matches!(self.exchanges.get(&exchange), Some(Exchange::Abort(abort)) if abort.target == index)
        {
            self.send(Frame::AbtsReply(exchange, accepted));
        }
    }

    /// The answer to an ABTS is there. Accepted or not, the initiator's exchange is over: what is rejected is a command
    /// that the target does not have.
    pub fn abts_answered(&mut self, exchange: u32, accepted: bool) {
        let Some(Exchange::Abort(abort)) = self.exchanges.remove(&exchange) else {
            return;
        };
        self.trace(abort.initiator, || {
            format!("abort {}", if accepted { "accepted" } else { "rejected" })
        });
        if let Some(Exchange::Command(mut command)) = self.exchanges.remove(&abort.command) {
            self.release(&mut command);
            self.post(
                abort.initiator,
                Which::Response,
                command.status(status::ABORTED),
            );
        }
        self.abort_done(abort, status::COMPLETE);
    }

    /// Tells the initiator's driver how its abort ended.
    pub fn abort_done(&mut self, abort: Abort, completion: u16) {
        let answer = initiator::Abort {
            nport: completion.into(),
            ..abort.entry
        };
        self.post(abort.initiator, Which::Response, answer);
    }
}
