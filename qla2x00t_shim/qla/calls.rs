// SPDX-License-Identifier: GPL-2.0

//! What qla2xxx calls.

use super::{
    command::{fetch, finish, respond, take_back, Pending, Request, DATA_PHASE_ERROR},
    raw::*,
    Adapter, FcPort, SessionRef,
};
use crate::{
    port::{Port, Seat},
    session::Session,
    DRIVER,
};
use core::ptr::{self, NonNull};
use kapi::tracker::Tracked;
use kernel::{
    ffi::{c_char, c_int},
    prelude::*,
    sync::{
        atomic::{Acquire, Relaxed, Release},
        Arc, ArcBorrow,
    },
    types::ForeignOwnable,
};
use scst::{Data, Direction, Incoming, Outstanding, TaskAttribute, Vacant, MAX_CDB};

/// A command arrives: memory for it, cleared.
///
/// # Safety
///
/// Called by `get_cmd` only, with a session that qla2xxx knows.
#[no_mangle]
unsafe extern "C" fn qla2x00t_get(session: *const Session) -> *mut Request {
    // SAFETY: By the function's contract.
    let pool = unsafe { &(*session).nexus.pool };
    let number = pool.free.lock().pop();
    let Some(request) = number.and_then(|at| pool.requests.get(at as usize)) else {
        return ptr::null_mut();
    };
    // SAFETY: It was free, so nobody else uses it.
    unsafe { ptr::write_bytes(request.cmd.get(), 0, 1) };
    request.uses.store(1, Release);
    ptr::from_ref(request).cast_mut()
}

/// # Safety
///
/// Called by `get_cmd_ref` only.
#[no_mangle]
unsafe extern "C" fn qla2x00t_ref(cmd: *mut Request) -> bool {
    // SAFETY: A command that exists.
    unsafe { (*cmd).hold() }
}

/// # Safety
///
/// Called by `put_cmd_ref` only.
#[no_mangle]
unsafe extern "C" fn qla2x00t_unref(cmd: *mut Request) {
    if let Some(cmd) = NonNull::new(cmd) {
        // SAFETY: `qla2x00t_ref` has taken the use.
        unsafe { Request::put(cmd) };
    }
}

/// A request is free.
///
/// # Safety
///
/// Called by `rel_cmd` only.
#[no_mangle]
unsafe extern "C" fn qla2x00t_release(session: *const Session, cmd: *mut Request) {
    // SAFETY: The session waits for all its requests before it goes.
    let (pool, request) = unsafe { (&(*session).nexus.pool, &*cmd) };
    request.uses.store(0, Relaxed);
    let number = request.number;
    // There is room for all.
    let _ = pool.free.lock().push_within_capacity(number);
}

/// qla2xxx is through with a command: its response is sent, or cannot be.
///
/// # Safety
///
/// Called by `free_cmd` only, perhaps with locks of qla2xxx held.
#[no_mangle]
unsafe extern "C" fn qla2x00t_done(cmd: *mut Request) {
    let Some(request) = NonNull::new(cmd) else {
        return;
    };
    // SAFETY: By the function's contract.
    match unsafe { take_back(cmd) } {
        // SAFETY: qla2xxx has given it back.
        Pending::Send(cmd) => unsafe { finish(request, cmd) },
        // It never got as far as the core.
        // SAFETY: Nobody else has a use of it.
        Pending::Nothing => unsafe { Request::put(request) },
        pending => {
            // Not to be answered here, as sending takes the locks.
            // SAFETY: qla2xxx has given it back.
            unsafe {
                *(*cmd).pending.get() = pending;
                qla_c_retry_later(cmd);
            }
        }
    }
}

/// A command has arrived.
///
/// # Safety
///
/// Called by `handle_cmd` only.
#[no_mangle]
unsafe extern "C" fn qla2x00t_command(
    session: *const Session,
    cmd: *mut Request,
    incoming: *const RawIncoming,
) {
    // SAFETY: qla2xxx has a use of the session while this runs; the command came
    // from `qla2x00t_get`.
    let (session, request, incoming) = unsafe { (&*session, &*cmd, &*incoming) };
    let mut cdb = [0; MAX_CDB];
    let len = usize::from(incoming.cdb_len).min(MAX_CDB);
    // SAFETY: There are so many bytes.
    let bytes = unsafe { core::slice::from_raw_parts(incoming.cdb, len) };
    if let Some(to) = cdb.get_mut(..len) {
        to.copy_from_slice(bytes);
    }
    request.tag.store(incoming.tag, Relaxed);
    if !session.nexus.confirm() {
        // SAFETY: A command that is being set up.
        unsafe { qla_c_confirm(cmd, false) };
    }
    let incoming = Incoming {
        cdb: &cdb,
        cdb_len: u8::try_from(incoming.cdb_len).unwrap_or(u8::MAX),
        lun: incoming.lun,
        tag: incoming.tag.into(),
        attribute: match incoming.attribute {
            1 => TaskAttribute::HeadOfQueue,
            2 => TaskAttribute::Ordered,
            4 => TaskAttribute::Aca,
            _ => TaskAttribute::Simple,
        },
        direction: match incoming.direction {
            0 => Direction::None,
            2 => Direction::In,
            _ => Direction::Out,
        },
        length: incoming.length,
        data: Data::None,
    };
    // SAFETY: Not null, as it is part of the request; set up with it, idle as the
    // command is new, and there until the request is given back, after `finish`.
    let slot = unsafe {
        let slot = (&raw const request.slot).cast_mut();
        Vacant::new(NonNull::new_unchecked(slot))
    };
    session.core.receive(slot, incoming);
}

/// Data-out have arrived, or will not.
///
/// # Safety
///
/// Called in process context, after `handle_data`, without locks.
#[no_mangle]
unsafe extern "C" fn qla2x00t_data(_session: *const Session, cmd: *mut Request, good: bool) {
    // SAFETY: By the function's contract.
    match (unsafe { take_back(cmd) }, good) {
        (Pending::Fetch(cmd), true) => cmd.data_received(),
        (Pending::Fetch(cmd), false) => cmd.data_failed(DATA_PHASE_ERROR),
        // SAFETY: qla2xxx has given it back.
        (other, _) => unsafe { *(*cmd).pending.get() = other },
    }
}

/// qla2xxx had no room for a command before.
///
/// # Safety
///
/// Called in process context, after `qla_c_retry_later`.
#[no_mangle]
unsafe extern "C" fn qla2x00t_retry(session: *const Session, cmd: *mut Request) {
    // SAFETY: The command has its session.
    let void = unsafe { &(*session).nexus.port.driver.void };
    // SAFETY: By the function's contract.
    match unsafe { take_back(cmd) } {
        Pending::Fetch(cmd) => fetch(void, cmd),
        Pending::Send(cmd) => respond(void, cmd),
        Pending::Nothing => {}
    }
}

/// The command with a tag, for who aborts it.
///
/// # Safety
///
/// Called by `find_cmd_by_tag` only, with the port that was enabled, if it is. What
/// is found may end at any moment.
#[no_mangle]
unsafe extern "C" fn qla2x00t_find(
    port: *const Port,
    initiator: *mut RawFcPort,
    tag: u32,
) -> *mut Request {
    // SAFETY: The port is disowned before it goes.
    let port = unsafe { port.as_ref() };
    let Some((session, _visit)) = port.and_then(|port| port.visit(FcPort(initiator))) else {
        return ptr::null_mut();
    };
    // SAFETY: It stays for the visit.
    let pool = unsafe { &(*session.0).nexus.pool };
    let found = pool.requests.iter().find(|request| {
        request.tag.load(Relaxed) == tag
            && request.uses.load(Acquire) != 0
            && Outstanding::of(&request.slot, || tag.into()).is_some()
    });
    found.map_or(ptr::null_mut(), |found| ptr::from_ref(found).cast_mut())
}

/// Task management to be carried out.
///
/// # Invariants
///
/// The session stays until `_visit` goes.
struct Errand {
    session: SessionRef,
    mcmd: *mut Mcmd,
    lun: u64,
    function: u16,
    tag: u32,
    _visit: Tracked,
}

// SAFETY: The pointer may be used from every thread.
unsafe impl Send for Errand {}

impl Errand {
    fn run(self) {
        // SAFETY: By the type invariants.
        let answer = unsafe { &*self.session.0 }.manage(self.lun, self.function, self.tag);
        // SAFETY: qla2xxx waits for the answer.
        unsafe { qla_c_managed(self.mcmd, answer) };
    }
}

/// # Safety
///
/// Called by `handle_tmr` only, with the port that was enabled, if it is. Nothing
/// is answered if it returns an error.
#[no_mangle]
unsafe extern "C" fn qla2x00t_manage(
    port: *const Port,
    initiator: *mut RawFcPort,
    mcmd: *mut Mcmd,
    lun: u64,
    function: u16,
    tag: u32,
) -> c_int {
    // SAFETY: The port is disowned before it goes.
    let Some(port) = (unsafe { port.as_ref() }) else {
        return ENODEV.to_errno();
    };
    let Some((session, visit)) = port.visit(FcPort(initiator)) else {
        return ENODEV.to_errno();
    };
    let errand = Errand {
        session,
        mcmd,
        lun,
        function,
        tag,
        _visit: visit,
    };
    match port.driver.errands().queue_atomic(move || errand.run()) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// An initiator has logged in.
///
/// # Safety
///
/// Called by `check_initiator_node_acl` only, with the port that was enabled.
#[no_mangle]
unsafe extern "C" fn qla2x00t_login(
    port: *const Port,
    initiator: *mut RawFcPort,
    login: *const RawLogin,
    session: *mut *const Session,
) -> c_int {
    // SAFETY: The port is disowned before it goes, and is in an `Arc`.
    let port: Arc<Port> = unsafe { ArcBorrow::from_raw(port) }.into();
    let initiator = FcPort(initiator);
    // SAFETY: On the caller's stack.
    let login = unsafe { &*login };
    let opened = port.login(initiator, login.port_name);
    let seated = opened.and_then(|opened| {
        let raw = opened.into_foreign().cast::<Session>();
        // SAFETY: On the caller's stack. It is set before the session is found.
        unsafe { *session = raw };
        // SAFETY: Just made.
        let visitors = unsafe { (*raw).nexus.visitors.clone() };
        let seat = Seat {
            id: login.port_id,
            loop_id: login.loop_id,
            port: initiator,
            session: SessionRef(raw),
            visitors,
        };
        port.seat(seat).inspect_err(|_| {
            // SAFETY: Just made, and nobody has found it.
            unsafe { end(raw) };
        })
    });
    match seated {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// `session` came from `into_foreign`, and no command comes to it any more.
unsafe fn end(session: *mut Session) {
    // SAFETY: It is there, and goes only below.
    unsafe { &*session }.end();
    // SAFETY: By the function's contract. Its commands have been given back, so
    // nobody has its address any more.
    drop(unsafe { Pin::<KBox<Session>>::from_foreign(session.cast()) });
}

/// # Safety
///
/// Called by `find_sess_by_s_id` only.
#[no_mangle]
unsafe extern "C" fn qla2x00t_by_id(port: *const Port, id: u32) -> *mut RawFcPort {
    // SAFETY: The port is disowned before it goes.
    let port = unsafe { port.as_ref() };
    port.and_then(|port| port.by_id(id))
        .map_or(ptr::null_mut(), |found| found.0)
}

/// # Safety
///
/// Called by `find_sess_by_loop_id` only.
#[no_mangle]
unsafe extern "C" fn qla2x00t_by_loop(port: *const Port, loop_id: u16) -> *mut RawFcPort {
    // SAFETY: The port is disowned before it goes.
    let port = unsafe { port.as_ref() };
    port.and_then(|port| port.by_loop(loop_id))
        .map_or(ptr::null_mut(), |found| found.0)
}

/// # Safety
///
/// Called by `clear_nacl_from_fcport_map` only, with the port that was enabled, if
/// it is.
#[no_mangle]
unsafe extern "C" fn qla2x00t_forget(port: *const Port, initiator: *mut RawFcPort) {
    // SAFETY: The port is disowned before it goes.
    if let Some(port) = unsafe { port.as_ref() } {
        port.unseat(FcPort(initiator));
    }
}

/// # Safety
///
/// Called by `free_session` only: qla2xxx does not find the session any more.
#[no_mangle]
unsafe extern "C" fn qla2x00t_logout(session: *mut Session) {
    // SAFETY: It came from `qla2x00t_login`, and this is its end.
    unsafe { end(session) };
}

/// # Safety
///
/// Called with the lock of a device that is bound to qla2xxx.
#[no_mangle]
unsafe extern "C" fn qla2x00t_appeared(vha: *mut Vha) {
    // SAFETY: By the function's contract.
    let adapter = unsafe { Adapter::new(vha) };
    if let (Some(adapter), Some(driver)) = (adapter, DRIVER.get()) {
        driver.appeared(adapter);
    }
}

/// # Safety
///
/// Called with the name of an adapter that qla2xxx is not the driver of.
#[no_mangle]
unsafe extern "C" fn qla2x00t_without(name: *const c_char) {
    // SAFETY: By the function's contract; a string.
    let name = unsafe { CStr::from_char_ptr(name) };
    pr_warn!(
        "Adapter {name}: it is no target, as qla2xxx does not drive it: the log says why, perhaps it has no firmware (package firmware-qlogic)\n"
    );
}

/// # Safety
///
/// Called with the lock of a device that is still bound to qla2xxx.
#[no_mangle]
unsafe extern "C" fn qla2x00t_gone(vha: *mut Vha) {
    // SAFETY: By the function's contract.
    let adapter = unsafe { Adapter::new(vha) };
    if let (Some(adapter), Some(driver)) = (adapter, DRIVER.get()) {
        driver.gone(&adapter);
    }
}
