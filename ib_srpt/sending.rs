// SPDX-License-Identifier: GPL-2.0

//! What the target sends: responses, and requests of its own.

use crate::{
    channel::Channel,
    params::trace,
    posting::Buffer,
    rdma::{arena::Handle, dma::Toward},
    request::{Pending, Stage},
};
use kapi::counted::InUse;
use kernel::sync::atomic::{Relaxed, Release};
use scst::{status, Answered, Cmd, Direction};
use scst_proto::{
    residual::Residual,
    sense::{Sense, INVALID_FIELD_IN_CDB},
    srp::{
        credit::{Credit, Grant, TargetRequest},
        iu::{self, Outcome, Rsp},
        tsk_mgmt::ResponseCode,
        Consequence, LogoutReason,
    },
};

/// Longest sense data that the core makes.
const MAX_SENSE: usize = 64;

/// The residuals of a command's answer, of data-out and of data-in.
#[inline]
fn residuals(cmd: &Cmd<Answered>) -> (Residual, Residual) {
    let residual = cmd.residual();
    let residual = match (residual.over, residual.under) {
        (0, 0) => Residual::None,
        (0, under) => Residual::Underflow(under),
        (over, _) => Residual::Overflow(over),
    };
    match cmd.direction() {
        Direction::Out => (residual, Residual::None),
        _ => (Residual::None, residual),
    }
}

/// Bytes of data-in that go to the initiator.
#[inline]
fn moved(cmd: &Cmd<Answered>) -> u32 {
    match cmd.direction() {
        Direction::In => cmd.moved(),
        _ => 0,
    }
}

impl Channel {
    /// The core has answered a command.
    #[inline]
    pub(crate) fn respond(this: &InUse<Channel>, mut handle: Handle, cmd: Cmd<Answered>) {
        if cmd.is_aborted() {
            return Self::end_silently(this, handle, cmd);
        }
        let moved = moved(&cmd);
        let code = cmd.status_code();
        let lasting = moved == 0 || cmd.is_void();
        if let Some(qp) = this.qp.as_ref().filter(|_| lasting && code == status::GOOD) {
            let (data_out, data_in) = residuals(&cmd);
            let outcome = Outcome::Command {
                status: code,
                data_out,
                data_in,
                sense: &[],
            };
            if this.send_copied(qp, &handle, outcome, moved) {
                cmd.finish();
                this.returned.push(handle);
                return qp.completions().kick();
            }
        }
        let buffer = Buffer::of(cmd.is_void(), cmd.data());
        let ready = moved == 0 || this.prepare(&mut handle, buffer, moved, Toward::Device);
        match (ready, handle.request.stage) {
            // The answer depends on whether the table can be used.
            (true, Stage::Table) => {
                handle.request.send_len = 0;
                handle.request.posted = 0;
            }
            (true, Stage::Data) => this.write_answer(&mut handle, &cmd),
            (false, _) => this.write_busy(&mut handle),
        }
        handle.request.pending = Pending::Respond(cmd);
        handle.request.channel = Some(this.clone());
        this.submit(handle);
    }

    /// Writes the response that is a command's answer, behind its data-in.
    fn write_answer(&self, handle: &mut Handle, cmd: &Cmd<Answered>) {
        let (data_out, data_in) = residuals(cmd);
        let status = cmd.status_code();
        let mut bytes = [0; MAX_SENSE];
        let sense = match status {
            status::CHECK_CONDITION => {
                let len = cmd.sense(&mut bytes);
                bytes.get(..len).unwrap_or_default()
            }
            _ => &[],
        };
        let outcome = Outcome::Command {
            status,
            data_out,
            data_in,
            sense,
        };
        self.write_response(handle, outcome, status == status::GOOD);
        handle.request.total = moved(cmd);
    }

    /// Writes the response to a command for which there is no memory.
    #[cold]
    fn write_busy(&self, handle: &mut Handle) {
        handle.request.release();
        let outcome = Outcome::Command {
            status: status::BUSY,
            data_out: Residual::None,
            data_in: Residual::None,
            sense: &[],
        };
        self.write_response(handle, outcome, false);
    }

    /// Writes the response to a command that is refused with `sense`, and moves
    /// no data.
    #[cold]
    fn write_sense(&self, handle: &mut Handle, sense: Sense) {
        handle.request.release();
        let mut bytes = [0; MAX_SENSE];
        let len = sense.encode(false, &mut bytes);
        let outcome = Outcome::Command {
            status: status::CHECK_CONDITION,
            data_out: Residual::None,
            data_in: Residual::None,
            sense: bytes.get(..len).unwrap_or_default(),
        };
        self.write_response(handle, outcome, false);
    }

    /// A command's descriptor table has arrived.
    #[cold]
    pub(crate) fn table_fetched(&self, mut handle: Handle) {
        handle.request.stage = Stage::Data;
        let checked = self.check_table(&handle);
        let pending = core::mem::take(&mut handle.request.pending);
        match (pending, checked) {
            (Pending::Respond(cmd), checked) => {
                match checked.map_err(|e| e.consequence()) {
                    Ok(()) => self.write_answer(&mut handle, &cmd),
                    Err(Consequence::Respond(sense)) => self.write_sense(&mut handle, sense),
                    Err(_) => self.write_sense(&mut handle, INVALID_FIELD_IN_CDB),
                }
                handle.request.pending = Pending::Respond(cmd);
                self.submit(handle);
            }
            (pending, Ok(())) => {
                handle.request.pending = pending;
                self.submit(handle);
            }
            (pending, Err(_)) => {
                handle.request.pending = pending;
                self.finish(handle);
            }
        }
    }

    /// Answers a command that the core does not know with `sense`.
    #[cold]
    pub(crate) fn answer_sense(&self, mut handle: Handle, sense: Sense) {
        self.write_sense(&mut handle, sense);
        handle.request.pending = Pending::Unit;
        self.submit(handle);
    }

    /// The end of a task management function.
    pub(crate) fn managed(&self, mut handle: Handle, code: ResponseCode) {
        let good = code == ResponseCode::Complete;
        self.write_response(&mut handle, Outcome::TaskManagement(code), good);
        handle.request.pending = Pending::Unit;
        self.submit(handle);
    }

    /// Writes the SRP_RSP, which gives credits back.
    #[inline]
    fn write_response(&self, handle: &mut Handle, outcome: Outcome<'_>, good: bool) {
        let grant = self.update(Credit::respond);
        let max = self.max_response as usize;
        let (_, send, request) = handle.parts();
        request.solicited = request.notify.is_some_and(|notify| notify.wants(good));
        let rsp = Rsp {
            tag: request.tag,
            delta: grant.delta(),
            solicited: request.solicited,
            outcome,
        };
        let buffer = send.bytes_mut();
        let room = max.min(buffer.len());
        let len = buffer.get_mut(..room).and_then(|buffer| rsp.write(buffer));
        request.send_len = len.unwrap_or(0) as u32;
        request.total = 0;
        request.posted = 0;
        self.requests.to_send(handle, len.unwrap_or(0) as u32);
    }

    /// A command that is not answered: aborted, or impossible.
    #[cold]
    pub(crate) fn end_silently(this: &InUse<Channel>, mut handle: Handle, cmd: Cmd<Answered>) {
        this.update(Credit::end_silently);
        handle.request.release();
        cmd.finish();
        this.give_back(handle);
        Self::ask_credit(this);
    }

    /// Gives credits back without a response, if the initiator is short of them.
    #[cold]
    fn ask_credit(this: &InUse<Channel>) {
        if !this.credit().is_short() {
            return;
        }
        let Some(handle) = this.spare.lock().pop() else {
            return;
        };
        let grant: Option<Grant> = this.update(|credit| credit.ask(TargetRequest::Credit));
        let Some(grant) = grant else {
            this.spare.lock().push(handle);
            return;
        };
        trace!(
            FLOW_CONTROL,
            "{}: SRP_CRED_REQ, {} requests\n",
            this.nexus.name(),
            grant.delta()
        );
        let solicited = this.login.credit_solicited();
        let unit = iu::cred_req(this.id, grant.delta(), solicited);
        Self::send_own(this, handle, &unit, solicited);
    }

    /// Says why the target ends the channel.
    pub(crate) fn send_logout(this: &InUse<Channel>, reason: LogoutReason) {
        if let Some(handle) = this.spare.lock().pop() {
            let solicited = this.login.logout_solicited();
            let unit = iu::t_logout(this.id, reason, solicited);
            Self::send_own(this, handle, &unit, solicited);
        }
    }

    /// Sends a unit of the target's own, with a request that is kept for that.
    pub(crate) fn send_own(
        this: &InUse<Channel>,
        mut handle: Handle,
        unit: &[u8],
        solicited: bool,
    ) {
        let (_, send, request) = handle.parts();
        scst_proto::bytes::copy(send.bytes_mut(), unit);
        request.send_len = unit.len() as u32;
        request.total = 0;
        request.posted = 0;
        request.solicited = solicited;
        request.pending = Pending::Own;
        let _ = this.sending_own.fetch_add(1, Relaxed);
        request.channel = Some(this.clone());
        this.requests.to_send(&handle, unit.len() as u32);
        this.submit(handle);
    }

    /// A request that was kept for units of the target's own is free again.
    pub(crate) fn spared(&self, mut handle: Handle) {
        let used = handle.request.channel.take();
        self.spare.lock().push(handle);
        let _ = self.sending_own.fetch_sub(1, Release);
        self.link.progressed();
        drop(used);
    }
}
