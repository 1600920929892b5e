// SPDX-License-Identifier: GPL-2.0

//! A session: an initiator's port that is logged in to a port of ours.

use crate::{
    port::Port,
    qla::{self, FcPort, Pool, Wwn},
};
use kapi::tracker::{Tracked, Tracker};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
    time::{delay::fsleep, Delta},
};
use scst::{Answered, Cmd, DataOut, Outstanding, SessionRegistration, TmResult, Transport};
use scst_proto::{lun::Lun, task::Function};

/// How long a session may take to end before the log says so, in milliseconds.
const PATIENCE_MS: u32 = 10_000;

/// Task management functions of FCP_CMND (FCP-5 9.1.2.5), and those that qla2xxx
/// has of its own.
mod function {
    pub(super) const QUERY_TASK_SET: u16 = 0x01;
    pub(super) const CLEAR_TASK_SET: u16 = 0x04;
    pub(super) const ABORT_TASK_SET: u16 = 0x02;
    pub(super) const QUERY_ASYNC_EVENT: u16 = 0x08;
    pub(super) const LUN_RESET: u16 = 0x10;
    pub(super) const TARGET_RESET: u16 = 0x20;
    pub(super) const CLEAR_ACA: u16 = 0x40;
    pub(super) const ABTS: u16 = 0xfffb;
    pub(super) const NEXUS_LOSS: u16 = 0xfffc;
    pub(super) const NEXUS_LOSS_SESSION: u16 = 0xfffd;
    pub(super) const ABORT_ALL: u16 = 0xfffe;
    pub(super) const ABORT_ALL_SESSION: u16 = 0xffff;
}

/// Answers to them (FCP-5 9.5.15).
mod response {
    pub(super) const COMPLETE: u8 = 0;
    pub(super) const REJECTED: u8 = 4;
    pub(super) const FAILED: u8 = 5;
    pub(super) const SUCCEEDED: u8 = 8;
    pub(super) const INCORRECT_LUN: u8 = 9;
}

/// The transport's half of a session.
#[pin_data]
pub(crate) struct Nexus {
    pub(crate) port: Arc<Port>,
    initiator: FcPort,
    name: Wwn,
    #[pin]
    pub(crate) pool: Pool,
    /// Those who have come by the session's seat, task management among them.
    pub(crate) visitors: Tracker,
    /// It is about to end.
    closing: Atomic<u32>,
    /// Last: until then it exists.
    _tracked: Tracked,
}

/// An open session, as qla2xxx knows it by address: until the last of its commands
/// has been given back.
#[pin_data]
pub(crate) struct Session {
    pub(crate) core: Arc<scst::Session>,
    pub(crate) nexus: Arc<Nexus>,
    /// `None` when it is ending.
    #[pin]
    registration: Mutex<Option<SessionRegistration>>,
}

impl Session {
    /// Opens the session of a port called `name`. Sleeps.
    pub(crate) fn open(port: &Arc<Port>, initiator: FcPort, name: u64) -> Result<Pin<KBox<Self>>> {
        let name = Wwn(name);
        let nexus = Arc::pin_init(
            try_pin_init!(Nexus {
                port: port.clone(),
                initiator,
                name,
                pool <- Pool::new(port.adapter.depth()),
                visitors: Tracker::new()?,
                closing: Atomic::new(0),
                _tracked: port.sessions.track(),
            }? Error),
            GFP_KERNEL,
        )?;
        let target = port.target()?;
        let registration = target.open_session(name.text().as_str(), nexus.clone(), KVec::new())?;
        KBox::pin_init(
            pin_init!(Self {
                core: registration.session(),
                nexus,
                registration <- new_mutex!(Some(registration)),
            }),
            GFP_KERNEL,
        )
    }

    /// Carries out a task management function; the answer to it. Sleeps until
    /// the commands that it is about have ended.
    pub(crate) fn manage(&self, lun: u64, code: u16, tag: u32) -> u8 {
        let field = Lun::decode(lun.to_be_bytes()).map(Lun::get);
        // Commands that wait for data are not to wait on for those.
        match (code, field) {
            (function::ABTS, _) => self.nexus.pool.cancel(|_, other| other == tag),
            (
                function::CLEAR_TASK_SET | function::ABORT_TASK_SET | function::LUN_RESET,
                Ok(lun),
            ) => {
                self.nexus
                    .pool
                    .cancel_fetching(|other| other == u32::from(lun));
            }
            (function::QUERY_TASK_SET | function::QUERY_ASYNC_EVENT | function::CLEAR_ACA, _) => {}
            _ => self.nexus.pool.cancel_fetching(|_| true),
        }
        let session = &self.core;
        let result = match (code, field) {
            (function::ABTS, _) => session.abort_task(tag.into(), None),
            (function::TARGET_RESET | function::ABORT_ALL, _) => session.target_reset(None),
            (
                function::NEXUS_LOSS | function::NEXUS_LOSS_SESSION | function::ABORT_ALL_SESSION,
                _,
            ) => session.nexus_loss(None),
            (_, Err(_)) => TmResult::NoLun,
            (function::ABORT_TASK_SET, Ok(lun)) => session.abort_task_set(lun, None),
            (function::CLEAR_TASK_SET, Ok(lun)) => session.clear_task_set(lun, None),
            (function::LUN_RESET, Ok(lun)) => session.lun_reset(lun, None),
            (function::CLEAR_ACA, Ok(lun)) => session.clear_aca(lun, None),
            (function::QUERY_TASK_SET, Ok(lun)) => session.query_task_set(lun),
            (function::QUERY_ASYNC_EVENT, Ok(lun)) => session.query_async_event(lun),
            _ => return response::REJECTED,
        };
        match result {
            TmResult::Complete | TmResult::NoTask => response::COMPLETE,
            TmResult::Succeeded => response::SUCCEEDED,
            TmResult::NoLun => response::INCORRECT_LUN,
            TmResult::TimedOut | TmResult::NoMemory => response::FAILED,
        }
    }

    /// The initiator is gone: no command comes any more. Sleeps until those that
    /// are there have been given back; they come to the session till then.
    pub(crate) fn end(&self) {
        let nexus = &self.nexus;
        nexus.closing.store(1, Relaxed);
        // Nobody else comes to it from here on.
        nexus.port.unseat(nexus.initiator);
        // No command is to wait for data any more.
        nexus.pool.cancel_fetching(|_| true);
        let mut seconds = 0u32;
        while !nexus.visitors.wait_none(PATIENCE_MS) {
            seconds = seconds.saturating_add(PATIENCE_MS / 1000);
            log_err!(
                "Session {}: still waiting for task management after {seconds} s",
                nexus.name.text().as_str()
            );
        }
        let registration = self.registration.lock().take();
        drop(registration);
        // The core has none of the commands any more; qla2xxx may just be giving
        // the last back.
        while !nexus.pool.is_idle() {
            fsleep(Delta::from_millis(1));
        }
    }
}

impl Nexus {
    /// Whether responses are to be confirmed.
    #[inline]
    pub(crate) fn confirm(&self) -> bool {
        self.port.confirm.load(Relaxed) != 0
    }
}

impl Transport for Nexus {
    #[inline]
    fn send_response(&self, cmd: Cmd<Answered>) {
        qla::respond(&self.port.driver.void, cmd);
    }

    #[inline]
    fn transfer_data(&self, cmd: Cmd<DataOut>) {
        qla::fetch(&self.port.driver.void, cmd);
    }

    fn visit_commands(&self, visit: &mut dyn FnMut(Outstanding<'_>)) {
        self.pool.visit(visit);
    }

    fn queue_depth(&self) -> u32 {
        self.pool.len()
    }

    fn close(&self) -> Result {
        if self.closing.load(Relaxed) == 0 {
            self.initiator.close();
        }
        Ok(())
    }

    /// FCP: the initiator's port name, SPC-6 7.6.4.2.
    fn transport_id(&self, id: &mut [u8; 64]) -> usize {
        let mut fcp = [0u8; 24];
        let name = fcp.get_mut(8..16);
        if let Some(to) = name {
            to.copy_from_slice(&self.name.0.to_be_bytes());
        }
        scst_proto::bytes::copy(id, &fcp)
    }

    /// Those of FCP_CMND, and ABTS.
    fn has_function(&self, function: Function) -> bool {
        !matches!(function, Function::NexusReset | Function::QueryTask)
    }

    /// FC-FS, FCP-2.
    fn version_descriptors(&self) -> [u16; 2] {
        [0x0da0, 0x0900]
    }
}
