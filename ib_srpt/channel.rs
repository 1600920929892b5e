// SPDX-License-Identifier: GPL-2.0

//! A channel: one RDMA connection of an I_T nexus, and its data path.
//!
//! Everything here runs in softirq context, where completions arrive, or
//! wherever a device handler answers a command. Nothing sleeps or allocates, but
//! for descriptor tables that do not fit into a unit.

use crate::{
    hca::Hca,
    link::Link,
    nexus::Nexus,
    params::trace,
    rdma::{
        arena::{Handle, Requests},
        completion::{Completion, Completions, Poller},
        device::status_text,
        queue::{Queue, Stack},
        queue_pair::{Kind, QueuePair},
        receive::{ReceiveBatch, ReceiveQueue},
    },
    request::{Pending, Stage},
};
use kapi::{
    counted::{Counted, InUse},
    lock::SpinLockIrq,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc, SetOnce,
    },
};
use scst::{Direction, Session};
use scst_proto::srp::{
    channel::{Event, State},
    cmd as srp_cmd,
    credit::{Credit, TargetRequest},
    data_buffer::{DataBuffer, Rules},
    iu,
    login::LoginRequest,
    LogoutReason,
};

/// Requests that a channel keeps for units of its own.
pub(crate) const SPARE: u32 = 3;

/// A channel.
pub(crate) struct Channel {
    /// Its number, which no other channel has or had.
    pub(crate) id: u64,
    pub(crate) hca: Arc<Hca>,
    pub(crate) nexus: Arc<Nexus>,
    /// The core's session of the nexus.
    pub(crate) session: Arc<Session>,
    pub(crate) link: Arc<Link>,
    pub(crate) requests: Arc<Requests>,
    /// Whether `requests` are the device's, and received by a shared queue.
    pub(crate) shared: bool,
    pub(crate) qp: SetOnce<QueuePair>,
    pub(crate) rules: Rules,
    /// How the initiator logged in.
    pub(crate) login: LoginRequest,
    /// Longest unit that the initiator takes.
    pub(crate) max_response: u32,
    /// The request limit that it began with.
    pub(crate) request_limit: u32,
    /// [`Credit`], packed.
    pub(crate) credit: Atomic<u64>,
    /// Free places of the send queue.
    pub(crate) places: Atomic<i32>,
    /// Half of all places.
    pub(crate) half: i32,
    /// Places of work that was posted, and of whose completion nothing is said yet.
    pub(crate) quiet: Atomic<u32>,
    /// Requests that wait for places.
    pub(crate) waiting: Pin<KBox<SpinLockIrq<Queue>>>,
    pub(crate) someone_waits: Atomic<u32>,
    /// Requests for units of the target's own.
    pub(crate) spare: Pin<KBox<SpinLockIrq<Queue>>>,
    /// Units of the target's own that the initiator has not acknowledged.
    pub(crate) sending_own: Atomic<u32>,
    /// Requests that the poller is to take back.
    pub(crate) returned: Stack,
    /// The completion vector.
    pub(crate) vector: Atomic<u32>,
    /// Receives that are posted to the channel's own queue.
    pub(crate) receiving: Atomic<i32>,
}

impl Channel {
    pub(crate) fn state(&self) -> State {
        self.link.state()
    }

    pub(crate) fn update<R>(&self, change: impl Fn(&mut Credit) -> R) -> R {
        let mut old = self.credit.load(Relaxed);
        loop {
            let mut credit = Credit::from_u64(old);
            let result = change(&mut credit);
            match self.credit.cmpxchg(old, credit.to_u64(), Full) {
                Ok(_) => return result,
                Err(now) => old = now,
            }
        }
    }

    /// The request limit as it is now.
    pub(crate) fn credit(&self) -> Credit {
        Credit::from_u64(self.credit.load(Relaxed))
    }

    /// A unit has arrived, with the channel live.
    fn unit(&self, this: InUse<Channel>, poller: &mut Poller, mut handle: Handle) {
        let parsed = iu::Iu::parse(handle.unit());
        let iu = match parsed {
            Ok(iu) => iu,
            Err(e) => {
                let reason = e.consequence();
                self.violation(format_args!("{e}"), reason);
                return self.recycle(poller, handle);
            }
        };
        if iu.is_request() && self.update(Credit::receive).is_err() {
            self.link.close(
                LogoutReason::Unspecified,
                format_args!("request limit ignored"),
            );
            return self.recycle(poller, handle);
        }
        match iu {
            iu::Iu::Cmd(cmd) => {
                let data = match cmd.data(&self.rules) {
                    Ok(data) => data,
                    Err(e) => {
                        let (tag, consequence) = (cmd.tag, e.consequence());
                        handle.request.channel = Some(this);
                        return self.bad_command(
                            poller,
                            handle,
                            tag,
                            consequence,
                            format_args!("{e}"),
                        );
                    }
                };
                let incoming = Incoming::new(&cmd, &data);
                let notify = cmd.notify;
                let direct = match data {
                    DataBuffer::Remote { list, .. } if list.table_entries() == 1 => {
                        list.iter().next()
                    }
                    _ => None,
                };
                handle.request.immediate = match data {
                    DataBuffer::Immediate(_) => self.rules.imm_data_offset,
                    _ => None,
                };
                handle.request.notify = Some(notify);
                handle.request.direct = direct;
                handle.request.tag = incoming.tag;
                handle.request.channel = Some(this);
                self.nexus.command(self, handle, incoming);
            }
            iu::Iu::TskMgmt(function) => {
                handle.request.notify = Some(function.notify);
                handle.request.tag = function.tag;
                handle.request.channel = Some(this);
                self.nexus.manage(handle, function);
            }
            iu::Iu::Logout { .. } => {
                self.link.event(Event::InitiatorLogout);
                self.recycle(poller, handle);
            }
            iu::Iu::CredRsp { .. } => self.answered(poller, handle, TargetRequest::Credit),
            iu::Iu::AerRsp { .. } => self.answered(poller, handle, TargetRequest::Event),
        }
    }

    fn answered(&self, poller: &mut Poller, handle: Handle, what: TargetRequest) {
        if self.update(|credit| credit.answered(what)).is_err() {
            self.link.close(
                LogoutReason::UnexpectedResponse,
                format_args!("a response to nothing"),
            );
        }
        self.recycle(poller, handle);
    }

    fn violation(&self, what: core::fmt::Arguments<'_>, consequence: scst_proto::srp::Consequence) {
        if let scst_proto::srp::Consequence::Close(reason) = consequence {
            self.link.close(reason, what);
        }
    }

    /// A command whose descriptors are wrong: it is answered, or the end.
    #[cold]
    fn bad_command(
        &self,
        poller: &mut Poller,
        mut handle: Handle,
        tag: u64,
        consequence: scst_proto::srp::Consequence,
        what: core::fmt::Arguments<'_>,
    ) {
        match consequence {
            scst_proto::srp::Consequence::Respond(sense) => {
                handle.request.tag = tag;
                self.answer_sense(handle, sense);
            }
            close => {
                self.violation(what, close);
                handle.request.channel = None;
                self.recycle(poller, handle);
            }
        }
    }

    /// The work that was posted for a request is complete.
    #[inline]
    fn complete(&self, poller: &mut Poller, handle: Handle, ok: bool) {
        let places = handle.request.places;
        if !ok {
            self.finish(handle);
            return self.free_places(places);
        }
        if handle.request.stage == Stage::Table {
            self.free_places(places);
            return self.table_fetched(handle);
        }
        if handle.request.posted < handle.request.total {
            self.free_places(places);
            return self.submit(handle);
        }
        self.finish_polled(poller, handle);
        self.free_places(places);
    }

    /// A request is done, well.
    #[inline]
    fn finish_polled(&self, poller: &mut Poller, mut handle: Handle) {
        match core::mem::take(&mut handle.request.pending) {
            Pending::Respond(cmd) => {
                handle.request.release();
                cmd.finish();
                self.recycle_used(poller, handle);
            }
            Pending::Fetch(cmd) => {
                handle.request.release();
                handle.park_again();
                cmd.data_received();
            }
            Pending::Unit | Pending::Nothing => self.recycle_used(poller, handle),
            Pending::Own => self.spared(handle),
        }
    }

    /// A request is done, badly: its data did not arrive, or its response.
    #[cold]
    pub(crate) fn finish(&self, mut handle: Handle) {
        match core::mem::take(&mut handle.request.pending) {
            Pending::Respond(cmd) => {
                handle.request.release();
                cmd.finish();
                self.give_back(handle);
            }
            Pending::Fetch(cmd) => {
                handle.request.release();
                handle.park_again();
                cmd.data_failed(scst_proto::sense::DATA_PHASE_ERROR);
            }
            Pending::Unit | Pending::Nothing => self.give_back(handle),
            Pending::Own => self.spared(handle),
        }
    }

    /// A request that a command had is free; in the poller.
    #[inline]
    fn recycle_used(&self, poller: &mut Poller, mut handle: Handle) {
        // The channel's use: it is not needed any more, as the poller has one.
        let used = handle.request.channel.take();
        self.recycle(poller, handle);
        drop(used);
    }

    /// Posts a free request for receiving again, with others.
    #[inline]
    fn recycle(&self, poller: &mut Poller, mut handle: Handle) {
        handle.request.direct = None;
        if !self.shared && self.state() >= State::Draining {
            return self.requests.retire(handle);
        }
        if poller.receives.push(handle) {
            self.post_receives(poller);
        }
    }

    /// A free request that is not in the poller's hands.
    #[inline]
    pub(crate) fn give_back(&self, mut handle: Handle) {
        handle.request.direct = None;
        let used = handle.request.channel.take();
        self.to_poller(handle);
        drop(used);
    }

    /// Has the poller take care of a request: of what is posted or waits for it,
    /// if there is something, as of a failure.
    #[inline]
    pub(crate) fn to_poller(&self, handle: Handle) {
        self.returned.push(handle);
        if let Some(qp) = self.qp.as_ref() {
            qp.completions().kick();
        }
    }

    /// Posts all requests that wait for it.
    pub(crate) fn post_receives(&self, poller: &mut Poller) {
        if poller.receives.is_empty() {
            return;
        }
        let mut batch = poller.receives.take();
        let count = batch.len() as i32;
        let result = match (&self.hca.srq, self.qp.as_ref()) {
            (Some(srq), _) if self.shared => srq.post_receives(&mut batch),
            (_, Some(qp)) => {
                self.receiving.fetch_add(count, Relaxed);
                qp.post_receives(&mut batch)
            }
            _ => Err(batch),
        };
        if let Err(failed) = result {
            self.receives_failed(failed);
        }
    }

    /// Posts requests for receiving for the first time.
    pub(crate) fn post_batch(&self, qp: &QueuePair, batch: &mut ReceiveBatch) -> Result {
        self.receiving.fetch_add(batch.len() as i32, Relaxed);
        qp.post_receives(batch).map_err(|failed| {
            self.receives_failed(failed);
            EIO
        })
    }

    #[cold]
    fn receives_failed(&self, mut failed: ReceiveBatch) {
        self.receiving.fetch_sub(failed.len() as i32, Relaxed);
        while let Some(handle) = failed.pop() {
            self.requests.retire(handle);
        }
        self.link.event(Event::QpError);
    }

    fn received(&self, this: InUse<Channel>, poller: &mut Poller, mut handle: Handle, len: u32) {
        self.requests.received(&mut handle, len);
        match self.state() {
            State::Live => self.unit(this, poller, handle),
            State::Connecting => {
                poller.held.push(handle);
                self.link.event(Event::IuReceived);
            }
            _ => self.recycle(poller, handle),
        }
    }

    /// Serves, or forgets, units that came too early.
    fn serve_held(&self, this: &Counted<Channel>, poller: &mut Poller) {
        let live = match self.state() {
            State::Connecting => return,
            state => state == State::Live,
        };
        while let Some(handle) = poller.held.pop() {
            match this.get() {
                Some(this) if live => self.unit(this, poller, handle),
                _ => self.recycle(poller, handle),
            }
        }
    }

    #[cold]
    fn failed(&self, kind: Kind, status: u32) {
        if self.state() == State::Live && status != FLUSHED {
            trace!(
                MINOR,
                "{}: {} failed: {}\n",
                self.nexus.name(),
                match kind {
                    Kind::Receive => "receiving",
                    Kind::Chain | Kind::Part | Kind::Freed => "sending",
                },
                status_text(status)
            );
        }
        self.link.event(Event::QpError);
    }
}

/// `IB_WC_WR_FLUSH_ERR`.
const FLUSHED: u32 = 5;

impl Completions for Counted<Channel> {
    #[inline]
    fn completed(&self, poller: &mut Poller, completion: Completion) {
        let Some((kind, index)) = Kind::decode(completion.id) else {
            return;
        };
        let ok = completion.status == 0;
        if !ok {
            self.failed(kind, completion.status);
        }
        match kind {
            Kind::Part => return,
            Kind::Freed => return self.free_places(index),
            Kind::Chain | Kind::Receive => (),
        }
        let Some(handle) = self.requests.completed(index) else {
            return;
        };
        match kind {
            Kind::Chain => self.complete(poller, handle, ok),
            _ => {
                if !self.shared {
                    self.receiving.fetch_sub(1, Relaxed);
                }
                if !poller.held.is_empty() {
                    // They came before this one.
                    self.serve_held(self, poller);
                }
                match self.get() {
                    Some(this) if ok => self.received(this, poller, handle, completion.len),
                    _ => self.recycle(poller, handle),
                }
            }
        }
    }

    fn batch_done(&self, poller: &mut Poller) {
        if !poller.held.is_empty() {
            self.serve_held(self, poller);
        }
        let mut returned = self.returned.take();
        while let Some(handle) = returned.pop() {
            match handle.request.pending {
                Pending::Nothing => self.recycle(poller, handle),
                _ => self.fail(handle),
            }
        }
        // A queue of the channel's own has buffers to spare: they wait until they
        // are a full batch.
        if self.shared {
            self.post_receives(poller);
        }
        if self.state() >= State::Draining {
            self.link.progressed();
        }
    }
}

/// What the core is to be told of a command, without the unit.
pub(crate) struct Incoming {
    pub(crate) cdb: [u8; scst::MAX_CDB],
    pub(crate) cdb_len: u8,
    pub(crate) lun: u64,
    pub(crate) tag: u64,
    pub(crate) attribute: scst::TaskAttribute,
    pub(crate) direction: Direction,
    pub(crate) length: u32,
}

impl Incoming {
    #[inline]
    fn new(cmd: &srp_cmd::Cmd<'_>, data: &DataBuffer<'_>) -> Self {
        use srp_cmd::TaskAttribute as Srp;
        Self {
            cdb: cmd.cdb_padded(),
            cdb_len: u8::try_from(cmd.cdb.len()).unwrap_or(u8::MAX),
            lun: cmd.lun,
            tag: cmd.tag,
            attribute: match cmd.attribute {
                Srp::Simple => scst::TaskAttribute::Simple,
                Srp::HeadOfQueue => scst::TaskAttribute::HeadOfQueue,
                Srp::Ordered => scst::TaskAttribute::Ordered,
                Srp::Aca => scst::TaskAttribute::Aca,
            },
            direction: data.direction(),
            length: data.len(),
        }
    }
}

/// Gives requests back to the shared queue that they are of.
pub(crate) fn back_to(srq: &impl ReceiveQueue, requests: &Requests, mut left: Queue) {
    let mut batch = ReceiveBatch::new();
    loop {
        let handle = left.pop();
        let full = match handle {
            Some(handle) => batch.push(handle),
            None if batch.is_empty() => return,
            None => true,
        };
        if !full {
            continue;
        }
        if let Err(mut failed) = srq.post_receives(&mut batch) {
            while let Some(handle) = failed.pop() {
                requests.retire(handle);
            }
        }
    }
}
