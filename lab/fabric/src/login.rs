// SPDX-License-Identifier: GPL-2.0

//! Logins and logouts. A target's driver is asked for each (immediate notify) and its answer decides.

use crate::exchange::{Exchange, Frame};
use crate::hba::{event, LoginState, Session, Which};
use crate::switch::Fabric;
use crate::wire::initiator::{self, Els, Login as Entry};
use crate::wire::target::{ImmediateNotify, NotifyAck};
use crate::wire::{from_id_le, id_le, kind, status, Header};
use zerocopy::little_endian::U32;

/// Why a login failed, in its first parameter.
mod reason {
    /// No answer.
    pub const FAILED: u32 = 0x04;
    /// Not logged in.
    pub const NOT_LOGGED_IN: u32 = 0x09;
    /// The other side rejects it.
    pub const REJECTED: u32 = 0x18;
    /// The port has a session of another number.
    pub const PORT_ID_USED: u32 = 0x1a;
    /// There is no such port.
    pub const NO_PORT: u32 = 0x1c;
}

/// Link services.
mod els {
    pub const PLOGI: u8 = 0x03;
    pub const LOGO: u8 = 0x05;
    pub const PRLI: u8 = 0x20;
}

/// What an immediate notify is: a link service.
const NOTIFY_ELS: u16 = 0x46;
/// Or a sequence retransmission request.
const NOTIFY_SRR: u16 = 0x45;
/// The target rejects.
const ACK_REJECT: u16 = 0x08;
const ACK_SUCCESS: u16 = 1;
/// The new state of a port, in an event: it has logged out.
const LOGGED_OUT: u16 = 7;
/// LS_RJT: unable to perform.
const UNABLE: u32 = 0x0003_0000;
/// Numbers of sessions that a port's own firmware gives begin here.
const FIRST_NUMBER: u16 = 0x200;
/// A number belongs to one of the ports of an adapter.
const NUMBERS_OF_A_PORT: u16 = 0x40;

/// A login that waits for the target.
#[derive(Clone, Copy, Debug)]
pub struct Login {
    /// Who wants in.
    pub initiator: usize,
    /// Where.
    pub target: usize,
    /// What the initiator's driver has asked for.
    entry: initiator::Login,
    /// PRLI, not PLOGI.
    process: bool,
}

impl Fabric {
    fn number_of(&self, at: usize, peer: usize) -> u16 {
        self.hbas[at].session_with(peer).unwrap_or(
            FIRST_NUMBER
                + NUMBERS_OF_A_PORT * u16::from(self.hbas[at].vp)
                + u16::try_from(peer).unwrap_or(0),
        )
    }

    /// Whether a target can be reached and has a session with who sends to it.
    pub fn knows(&self, index: usize, target: usize) -> bool {
        self.hbas[target].serves()
            && self.sees(index, target)
            && self.hbas[target].session_with(index).is_some()
    }

    /// Answers a login or logout entry.
    fn login_done(
        &mut self,
        index: usize,
        entry: &Entry,
        completion: u16,
        first: u32,
        second: u32,
    ) {
        let mut answer = *entry;
        answer.completion = completion.into();
        answer.parameters = [U32::ZERO; 11];
        answer.parameters[0] = first.into();
        answer.parameters[1] = second.into();
        answer.parameters[9] = 1.into(); // frames may be of any class that was asked for
        self.trace(index, || {
            let to = from_id_le(entry.port_id);
            format!(
                "login {:#06x} to {to:06x}: {completion:#x} {first:#x}",
                entry.flags.get()
            )
        });
        self.post(index, Which::Response, answer);
    }

    fn login_refused(&mut self, index: usize, entry: &Entry, reason: u32, detail: u32) {
        self.login_done(index, entry, status::FAILED, reason, detail);
    }

    fn logged_in(&mut self, index: usize, entry: &Entry, peer: usize) {
        let roles = u32::from(self.hbas[peer].roles());
        self.login_done(index, entry, status::COMPLETE, roles, 0);
    }

    /// The other side has not answered, or is gone.
    pub fn login_failed(&mut self, login: Login) {
        self.login_refused(login.initiator, &login.entry, reason::FAILED, 0);
    }

    /// A login whose frame was lost.
    pub fn login_times_out(&mut self, exchange: u32) {
        if let Some(Exchange::Login(login)) = self.exchanges.remove(&exchange) {
            self.login_failed(login);
        }
    }

    /// Ends a login that its driver does not want to wait for any more; false if there is none.
    pub fn abort_login(&mut self, index: usize, handle: U32) -> bool {
        let found = self
            .exchanges
            .iter()
            .find_map(|(name, exchange)| match exchange {
                Exchange::Login(login)
                    if self.chip(login.initiator) == index
                        && login.entry.header.handle == handle =>
                {
                    Some(*name)
                }
                _ => None,
            });
        let Some(Exchange::Login(login)) = found.and_then(|name| self.exchanges.remove(&name))
        else {
            return false;
        };
        self.login_failed(login);
        true
    }

    /// Runs a login or logout entry.
    pub fn login(&mut self, index: usize, entry: Entry) {
        let number = entry.nport.get();
        match entry.flags.get() & Entry::COMMAND {
            Entry::PLOGI | Entry::PRLI => self.log_in(index, entry),
            Entry::PDISC | Entry::ADISC => {
                // These go by the number of the session.
                let peer = self.hbas[index]
                    .sessions
                    .get(&number)
                    .map(|session| session.peer)
                    .filter(|peer| {
                        self.hbas[*peer].online()
                            && self.sees(index, *peer)
                            && self.hbas[*peer].session_with(index).is_some()
                    });
                match peer {
                    Some(peer) => self.logged_in(index, &entry, peer),
                    None => self.login_refused(index, &entry, reason::NOT_LOGGED_IN, 0),
                }
            }
            Entry::LOGO | Entry::PRLO | Entry::TPRLO => {
                if let Some(session) = self.hbas[index].sessions.remove(&number) {
                    self.end_between(index, session.peer);
                    if entry.flags.get() & Entry::CONDITIONAL == 0 {
                        self.tell_logout(index, session.peer);
                    }
                }
                self.login_done(index, &entry, status::COMPLETE, 0, 0);
            }
            _ => self.login_done(index, &entry, status::COMPLETE, 0, 0),
        }
    }

    /// Runs a link service that a driver has written itself: a logout.
    pub fn link_service(&mut self, index: usize, mut entry: Els) {
        let id = from_id_le(entry.destination);
        let request = entry.flags.get() & Els::ANSWER == 0;
        let peer = self
            .reachable(index, id)
            .filter(|_| self.hbas[index].online());
        self.trace(index, || {
            format!("link service {:#04x} to {id:06x}: {peer:?}", entry.code)
        });
        entry.rest = [0; 32];
        entry.completion = match peer {
            Some(peer) if request && entry.code == els::LOGO => {
                self.end_between(index, peer);
                self.tell_logout(index, peer);
                status::COMPLETE
            }
            Some(_) => status::FAILED,
            None => status::PORT_UNAVAILABLE,
        }
        .into();
        self.post(index, Which::Response, entry);
    }

    /// Logs a port out from all that it is logged in with.
    pub fn log_out(&mut self, index: usize) {
        let peers: Vec<usize> = self.hbas[index]
            .sessions
            .values()
            .map(|session| session.peer)
            .collect();
        for peer in peers {
            self.end_between(index, peer);
            self.tell_logout(index, peer);
        }
    }

    /// Tells PEER that this adapter has logged out.
    fn tell_logout(&mut self, index: usize, peer: usize) {
        let Some(number) = self.hbas[peer].session_with(index) else {
            return;
        };
        if !self.hbas[peer].online() || !self.sees(index, peer) {
            return;
        }
        if self.hbas[peer].serves() {
            let exchange = self.begin(Exchange::Logout {
                initiator: index,
                target: peer,
            });
            self.notify_els(peer, index, els::LOGO, exchange);
        } else {
            self.hbas[peer].sessions.remove(&number);
            self.tell(peer, event::PORT_UPDATE, [number, LOGGED_OUT]);
        }
    }

    fn log_in(&mut self, index: usize, entry: Entry) {
        let (number, flags, id) = (
            entry.nport.get(),
            entry.flags.get(),
            from_id_le(entry.port_id),
        );
        let process = flags & Entry::COMMAND == Entry::PRLI;
        if id & 0xff_0000 == 0xff_0000 {
            return self.login_done(index, &entry, status::COMPLETE, 0, 0); // a server of the fabric
        }
        let Some(peer) = self.reachable(index, id).filter(|_| self.hbas[index].link) else {
            return self.login_refused(index, &entry, reason::NO_PORT, 0);
        };
        let known = self.hbas[index].session_with(peer);
        if let Some(other) = known.filter(|other| *other != number && !process) {
            return self.login_refused(index, &entry, reason::PORT_ID_USED, u32::from(other));
        }
        let complete = Session {
            peer,
            state: LoginState::Process,
        };
        if !process
            && flags & Entry::CONDITIONAL != 0
            && self.hbas[index].sessions.get(&number) == Some(&complete)
        {
            return self.logged_in(index, &entry, peer);
        }
        self.hbas[index].sessions.insert(
            number,
            Session {
                peer,
                state: LoginState::Port,
            },
        );
        if self.hbas[peer].serves() {
            let exchange = self.begin(Exchange::Login(Login {
                initiator: index,
                target: peer,
                entry,
                process,
            }));
            return self.send(Frame::Els(exchange));
        }
        // An initiator: its firmware answers by itself. What it may do as one begins only with a PRLI of its own.
        let theirs = self.number_of(peer, index);
        self.hbas[peer].sessions.entry(theirs).or_insert(Session {
            peer: index,
            state: LoginState::Port,
        });
        if process || flags & Entry::SKIP_PRLI == 0 {
            self.hbas[index].sessions.insert(number, complete);
        }
        self.logged_in(index, &entry, peer);
    }

    /// A PLOGI or PRLI is there.
    pub fn els_arrives(&mut self, exchange: u32) {
        if let Some(Exchange::Login(login)) = self.exchanges.get(&exchange) {
            let (target, initiator) = (login.target, login.initiator);
            let code = if login.process { els::PRLI } else { els::PLOGI };
            self.notify_els(target, initiator, code, exchange);
        }
    }

    fn notify_els(&mut self, target: usize, from: usize, code: u8, exchange: u32) {
        self.notify(target, from, NOTIFY_ELS, code, exchange);
    }

    /// Asks a target for a sequence of an exchange that it does not have, in the name of one that it is logged in with;
    /// false if there is none.
    pub fn request_retransmission(&mut self, target: usize) -> bool {
        let hba = &self.hbas[target];
        let session = hba.sessions.values().next().copied();
        let Some(session) = session.filter(|_| hba.serves()) else {
            return false;
        };
        let exchange = self.begin(Exchange::Retransmission {
            initiator: session.peer,
            target,
        });
        self.notify(target, session.peer, NOTIFY_SRR, 0, exchange);
        true
    }

    fn notify(&mut self, target: usize, from: usize, status: u16, code: u8, exchange: u32) {
        let number = self.number_of(target, from);
        let other = &self.hbas[from];
        let particular = match code {
            // It confirms responses, if asked to; no XFER_RDY for reads.
            els::PRLI => [other.roles() | 0x82, 0, 0, 0, 0, 0, 0, 0],
            _ => other.node_name.to_be_bytes(),
        };
        let notify = ImmediateNotify {
            header: Header::new(kind::IMMEDIATE_NOTIFY, U32::ZERO),
            nport: number.into(),
            reserved: [0; 2],
            flags: 0.into(),
            srr_rx_id: 0.into(),
            status: status.into(),
            code,
            firmware: 0,
            exchange: exchange.into(),
            srr: [0; 8],
            particular,
            port_name: other.port_name.to_be_bytes(),
            reserved_2: [0; 3],
            vp: self.hbas[target].vp,
            reserved_3: [0; 4],
            port_id: id_le(other.id),
            reserved_4: [0; 3],
            ox_id: (exchange as u16).into(),
        };
        self.trace(target, || {
            format!(
                "notify {status:#04x} {code:#04x} from {:06x}",
                self.hbas[from].id
            )
        });
        self.post(target, Which::Atio, notify);
    }

    /// The target's driver has answered an immediate notify.
    pub fn notify_ack(&mut self, index: usize, mut ack: NotifyAck) {
        let exchange = ack.exchange.get();
        ack.status = ACK_SUCCESS.into();
        self.post(index, Which::Response, ack);
        match self.exchanges.get(&exchange) {
            Some(Exchange::Login(login)) if self.chip(login.target) == index => {
                let login = *login;
                self.exchanges.remove(&exchange);
                if ack.flags.get() & ACK_REJECT != 0 {
                    self.login_refused(login.initiator, &login.entry, reason::REJECTED, UNABLE);
                } else {
                    self.accepted(login);
                }
            }
            Some(Exchange::Logout { initiator, target }) if self.chip(*target) == index => {
                let (initiator, target) = (*initiator, *target);
                self.exchanges.remove(&exchange);
                if let Some(number) = self.hbas[target].session_with(initiator) {
                    self.hbas[target].sessions.remove(&number);
                }
            }
            Some(Exchange::Retransmission { target, .. }) if self.chip(*target) == index => {
                let target = *target;
                self.exchanges.remove(&exchange);
                self.hbas[target].counts.refused += u64::from(ack.refuses_retransmission());
            }
            _ => {}
        }
    }

    fn accepted(&mut self, login: Login) {
        let Login {
            initiator,
            target,
            entry,
            process,
        } = login;
        let theirs = self.number_of(target, initiator);
        let state = if process {
            LoginState::Process
        } else {
            LoginState::Port
        };
        self.hbas[target].sessions.insert(
            theirs,
            Session {
                peer: initiator,
                state,
            },
        );
        if process {
            self.hbas[initiator].sessions.insert(
                entry.nport.get(),
                Session {
                    peer: target,
                    state,
                },
            );
            self.logged_in(initiator, &entry, target);
        } else if entry.flags.get() & Entry::SKIP_PRLI == 0 {
            let exchange = self.begin(Exchange::Login(Login {
                process: true,
                ..login
            }));
            self.send(Frame::Els(exchange));
        } else {
            self.login_done(initiator, &entry, status::COMPLETE, 0, 0);
        }
    }

    /// A login or logout that the driver waits for (execute IOCB): those to servers of the fabric.
    pub fn login_at_once(&self, mut entry: Entry) -> Entry {
        entry.completion = status::COMPLETE.into();
        entry.parameters = [U32::ZERO; 11];
        entry.parameters[9] = 1.into();
        entry
    }
}
