// SPDX-License-Identifier: GPL-2.0

//! An I_T nexus: an initiator port logged in to a target port, by one channel or
//! several. To the core it is one session, however many channels it has.

use crate::{
    channel::{Channel, Incoming},
    link::Link,
    port::Port,
    rdma::arena::Handle,
};
use kapi::{
    counted::{Counted, InUse},
    lock::{new_spinlock_irq, SpinLockIrq},
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};
use scst::{
    Answered, Cmd, Data, DataOut, LunEvent, Outstanding, Session, SessionRegistration, TmResult,
    Transport,
};
use scst_proto::{
    lun::Lun,
    srp::{
        names,
        tsk_mgmt::{ResponseCode, TskMgmt},
        LogoutReason, PortId,
    },
    task::Function,
};

/// An I_T nexus.
#[pin_data]
pub(crate) struct Nexus {
    pub(crate) port: Arc<Port>,
    pub(crate) initiator: PortId,
    /// The RDMA device's port that it goes through.
    pub(crate) number: u32,
    name: CString,
    /// The core's session; taken out when the last channel goes.
    #[pin]
    session: Mutex<Option<SessionRegistration>>,
    #[pin]
    channels: SpinLockIrq<KVec<Arc<Counted<Channel>>>>,
    /// Commands that the initiator can have outstanding on all channels.
    depth: Atomic<u32>,
}

impl Nexus {
    /// A nexus without session and channels.
    pub(crate) fn new(
        port: Arc<Port>,
        initiator: PortId,
        number: u32,
        name: &str,
    ) -> Result<Arc<Self>> {
        let name = CString::try_from_fmt(fmt!("{name}"))?;
        Arc::pin_init(
            try_pin_init!(Self {
                port,
                initiator,
                number,
                name,
                session <- new_mutex!(None),
                channels <- new_spinlock_irq!(KVec::new()),
                depth: Atomic::new(0),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The initiator's name.
    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or("")
    }

    /// The session, which is opened if this is the first channel. Sleeps.
    pub(crate) fn session(self: &Arc<Self>) -> Result<Arc<Session>> {
        let mut session = self.session.lock();
        if let Some(open) = &*session {
            return Ok(open.session());
        }
        let attrs = crate::attrs::session(self)?;
        let opened = self
            .port
            .target()?
            .open_session(self.name(), self.clone(), attrs)?;
        let handle = opened.session();
        *session = Some(opened);
        Ok(handle)
    }

    /// Adds a channel, which has its first request limit. Sleeps.
    pub(crate) fn add(&self, channel: Arc<Counted<Channel>>) -> Result {
        let (session, limit) = (channel.session.clone(), channel.request_limit);
        loop {
            let want = self.channels.lock().len().saturating_add(1);
            let mut larger = KVec::with_capacity(want, GFP_KERNEL)?;
            let mut channels = self.channels.lock();
            if larger.capacity() <= channels.len() {
                continue;
            }
            for old in channels.drain_all() {
                let _ = larger.push_within_capacity(old);
            }
            let _ = larger.push_within_capacity(channel);
            let empty = core::mem::replace(&mut *channels, larger);
            drop(channels);
            drop(empty);
            self.depth.fetch_add(limit, Relaxed);
            // Before the initiator can send anything.
            session.queue_depth_changed();
            return Ok(());
        }
    }

    /// Takes a channel out; true if it was the last one. Process context.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let (gone, last) = {
            let mut channels = self.channels.lock();
            let at = channels.iter().position(|channel| channel.id == id);
            let gone = at.and_then(|at| channels.remove(at).ok());
            (gone, channels.is_empty())
        };
        if let Some(gone) = &gone {
            self.depth.fetch_sub(gone.request_limit, Relaxed);
            gone.session.queue_depth_changed();
        }
        drop(gone);
        last
    }

    /// Number of channels.
    pub(crate) fn count(&self) -> usize {
        self.channels.lock().len()
    }

    /// Ends the session: its commands, and then its directory. Sleeps.
    pub(crate) fn end_session(&self) {
        let session = self.session.lock().take();
        drop(session);
    }

    /// Calls `f` for the first channel.
    pub(crate) fn with_first<R>(&self, f: impl FnOnce(&Channel) -> R) -> Option<R> {
        self.with_channels(|channels| channels.first().map(|channel| f(channel)))
    }

    /// Calls `f` for all channels; interrupts are off meanwhile.
    pub(crate) fn with_channels<R>(&self, f: impl FnOnce(&[Arc<Counted<Channel>>]) -> R) -> R {
        f(&self.channels.lock())
    }

    /// The links of all channels. Sleeps.
    pub(crate) fn links(&self) -> Result<KVec<Arc<Link>>> {
        loop {
            let mut links = KVec::with_capacity(self.count(), GFP_KERNEL)?;
            let channels = self.channels.lock();
            let all = channels
                .iter()
                .all(|channel| links.push_within_capacity(channel.link.clone()).is_ok());
            drop(channels);
            if all {
                return Ok(links);
            }
        }
    }

    /// Ends all channels, for `reason`. Sleeps.
    pub(crate) fn close_channels(&self, reason: LogoutReason, what: &str) {
        for link in self.links().unwrap_or_default() {
            link.close(reason, format_args!("{what}"));
        }
    }

    /// A command has arrived on channel `channel`.
    #[inline]
    pub(crate) fn command(&self, channel: &Channel, handle: Handle, incoming: Incoming) {
        let slot = handle.park(channel.id, incoming.tag);
        channel.session.receive(
            slot,
            scst::Incoming {
                cdb: &incoming.cdb,
                cdb_len: incoming.cdb_len,
                lun: incoming.lun,
                tag: incoming.tag,
                attribute: incoming.attribute,
                direction: incoming.direction,
                length: incoming.length,
                data: Data::None,
            },
        );
    }

    /// Task management: in the driver's work queue, as it waits for commands.
    pub(crate) fn manage(&self, handle: Handle, request: TskMgmt) {
        let handle = Some(handle);
        if self.port.driver.errand(Errand { handle, request }).is_err() {
            kernel::pr_err_once!("***ERROR***: no memory for task management\n");
        }
    }
}

/// A task management function to be carried out.
pub(crate) struct Errand {
    handle: Option<Handle>,
    request: TskMgmt,
}

impl Errand {
    /// Carries it out, and answers. Sleeps.
    pub(crate) fn run(mut self) {
        if let Some(channel) = self.channel() {
            self.answer(function(&channel.session, &self.request));
        }
    }

    fn channel(&self) -> Option<InUse<Channel>> {
        self.handle.as_ref()?.request.channel.clone()
    }

    fn answer(&mut self, code: ResponseCode) {
        if let (Some(channel), Some(handle)) = (self.channel(), self.handle.take()) {
            channel.managed(handle, code);
        }
    }
}

impl Drop for Errand {
    /// One that was not carried out, for want of memory, has failed.
    fn drop(&mut self) {
        self.answer(ResponseCode::Failed);
    }
}

fn function(session: &Session, request: &TskMgmt) -> ResponseCode {
    let lun = Lun::decode(request.lun.to_be_bytes()).map(Lun::get);
    let result = match (request.function(), lun) {
        (Some(Function::AbortTask), _) => session.abort_task(request.task_tag, None),
        (Some(_), Err(_)) => TmResult::NoLun,
        (Some(Function::AbortTaskSet), Ok(lun)) => session.abort_task_set(lun, None),
        (Some(Function::ClearTaskSet), Ok(lun)) => session.clear_task_set(lun, None),
        (Some(Function::LogicalUnitReset), Ok(lun)) => session.lun_reset(lun, None),
        (Some(Function::ClearAca), Ok(lun)) => session.clear_aca(lun, None),
        _ => return ResponseCode::NotSupported,
    };
    match result {
        TmResult::Complete | TmResult::Succeeded | TmResult::NoTask => ResponseCode::Complete,
        TmResult::NoLun => ResponseCode::FieldsInvalid,
        TmResult::TimedOut | TmResult::NoMemory => ResponseCode::Failed,
    }
}

impl Transport for Nexus {
    #[inline]
    fn send_response(&self, cmd: Cmd<Answered>) {
        let Some(mut handle) = Handle::of(cmd.slot()) else {
            return;
        };
        match handle.request.channel.take() {
            Some(channel) => Channel::respond(&channel, handle, cmd),
            None => handle.request.release(),
        }
    }

    fn transfer_data(&self, cmd: Cmd<DataOut>) {
        let Some(handle) = Handle::of(cmd.slot()) else {
            return;
        };
        match handle.request.channel.clone() {
            Some(channel) => channel.fetch(handle, cmd),
            None => drop(cmd),
        }
    }

    fn visit_commands(&self, visit: &mut dyn FnMut(Outstanding<'_>)) {
        for channel in self.channels.lock().iter() {
            channel.requests.visit(channel.id, visit);
        }
    }

    /// The channels' request limits together.
    fn queue_depth(&self) -> u32 {
        self.depth.load(Relaxed)
    }

    fn luns_changed(&self, event: Option<LunEvent>) {
        if let Some(event) = event {
            self.report(event);
        }
    }

    fn close(&self) -> Result {
        self.close_channels(LogoutReason::Unspecified, "closed by the administrator");
        Ok(())
    }

    fn transport_id(&self, id: &mut [u8; 64]) -> usize {
        let srp = names::transport_id(&self.initiator);
        scst_proto::bytes::copy(id, &srp)
    }

    /// SRP, and no version of a physical transport.
    fn version_descriptors(&self) -> [u16; 2] {
        [0, 0x0940]
    }
}
