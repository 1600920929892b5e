// SPDX-License-Identifier: GPL-2.0

//! What is shared with `include/qla2x00t_helpers.c`: structures and functions.

use super::command::Request;
use crate::port::Port;
use core::mem::{offset_of, size_of};
use kernel::{
    bindings,
    ffi::{c_int, c_void},
};

/// Room for a `struct qla_tgt_cmd`; a kernel that checks locks has larger ones.
pub(super) const CMD_BYTES: usize = if cfg!(CONFIG_DEBUG_SPINLOCK) {
    2048
} else {
    928
};
pub(super) const SENSE_BYTES: usize = 96;
#[repr(C)]
pub(super) struct RawIncoming {
    pub(super) cdb: *const u8,
    pub(super) lun: u64,
    pub(super) tag: u32,
    pub(super) length: u32,
    pub(super) cdb_len: u16,
    pub(super) attribute: u8,
    pub(super) direction: u8,
}

#[repr(C)]
pub(super) struct RawLogin {
    pub(super) port_name: u64,
    pub(super) port_id: u32,
    pub(super) loop_id: u16,
}

#[repr(C)]
pub(super) struct RawAnswer {
    pub(super) sg: *mut bindings::scatterlist,
    pub(super) nents: u32,
    pub(super) length: u32,
    pub(super) under: u32,
    pub(super) over: u32,
    pub(super) status: u8,
}

/// How a port stands.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct State {
    pub(super) port_name: u64,
    pub(super) node_name: u64,
    host_no: u32,
    pub(super) ini_mode: u8,
    pub(super) target: bool,
    pub(super) claimed: bool,
    pub(super) online: bool,
}

// The C side asserts the same.
const _: () = {
    assert!(size_of::<RawIncoming>() == 32);
    assert!(offset_of!(RawIncoming, lun) == 8);
    assert!(offset_of!(RawIncoming, tag) == 16);
    assert!(offset_of!(RawIncoming, length) == 20);
    assert!(offset_of!(RawIncoming, cdb_len) == 24);
    assert!(offset_of!(RawIncoming, attribute) == 26);
    assert!(offset_of!(RawIncoming, direction) == 27);
    assert!(size_of::<RawLogin>() == 16);
    assert!(size_of::<RawAnswer>() == 32);
    assert!(offset_of!(RawAnswer, under) == 16);
    assert!(offset_of!(RawAnswer, status) == 24);
    assert!(size_of::<State>() == 24);
    assert!(offset_of!(State, ini_mode) == 20);
};

/// A `struct scsi_qla_host`.
#[repr(C)]
pub(super) struct Vha {
    _opaque: [u8; 0],
}

/// A `struct qla_tgt_mgmt_cmd`.
#[repr(C)]
pub(super) struct Mcmd {
    _opaque: [u8; 0],
}

/// A `struct fc_port`.
#[repr(C)]
pub(super) struct RawFcPort {
    _opaque: [u8; 0],
}

// Of these types only addresses are exchanged.
#[allow(improper_ctypes)]
extern "C" {
    pub(super) fn qla_c_send(cmd: *mut Request, answer: *const RawAnswer) -> c_int;
    pub(super) fn qla_c_fetch(
        cmd: *mut Request,
        sg: *mut bindings::scatterlist,
        nents: u32,
        length: u32,
    ) -> c_int;
    pub(super) fn qla_c_sense_buffer(cmd: *mut Request) -> *mut u8;
    pub(super) fn qla_c_abort(cmd: *mut Request);
    pub(super) fn qla_c_wants_data(cmd: *const Request) -> bool;
    pub(super) fn qla_c_free(cmd: *mut Request);
    pub(super) fn qla_c_retry_later(cmd: *mut Request);
    pub(super) fn qla_c_confirm(cmd: *mut Request, explicit: bool);
    pub(super) fn qla_c_managed(mcmd: *mut Mcmd, response: u8);
    pub(super) fn qla_c_close(port: *mut RawFcPort);
    pub(super) fn qla_c_fill(
        sg: *mut bindings::scatterlist,
        nents: u32,
        memory: *const c_void,
        chunk: u32,
        length: u32,
    );

    pub(super) fn qla_c_hold(vha: *mut Vha);
    pub(super) fn qla_c_put(vha: *mut Vha);
    pub(super) fn qla_c_state(vha: *mut Vha, state: *mut State);
    pub(super) fn qla_c_kobj(vha: *mut Vha) -> *mut bindings::kobject;
    pub(super) fn qla_c_depth(vha: *mut Vha) -> u32;
    pub(super) fn qla_c_segments(vha: *mut Vha) -> u32;
    pub(super) fn qla_c_enable(vha: *mut Vha, port: *const Port) -> c_int;
    pub(super) fn qla_c_stop(vha: *mut Vha);
    pub(super) fn qla_c_reclaim(vha: *mut Vha);
    pub(super) fn qla_c_renounce(vha: *mut Vha);
    pub(super) fn qla_c_disown(vha: *mut Vha);
    pub(super) fn qla_c_reset(vha: *mut Vha);
    pub(super) fn qla_c_create(parent: *mut Vha, port_name: u64, node_name: u64) -> *mut Vha;
    pub(super) fn qla_c_delete(vha: *mut Vha);
    pub(super) fn qla_c_enable_virtual(vha: *mut Vha, port: *const Port);
    pub(super) fn qla_c_disown_virtual(vha: *mut Vha);
    pub(super) fn qla_c_watch(queue: *mut bindings::workqueue_struct) -> c_int;
    pub(super) fn qla_c_unwatch();
    pub(super) fn qla_c_scan();
}
