// SPDX-License-Identifier: GPL-2.0

//! Module parameters, those of SCST's driver. Where that refuses to load with a
//! value, or to be given one, so does this.

use core::fmt::Write;
use kapi::{param::Value, sysfs::Page};
use kernel::prelude::*;

kapi::param! {
    pub(crate) static RDMA_CM_PORT: u16 = 0, name: "rdma_cm_port", perm: 0o444,
        description: "Port number that the RDMA/CM listens on, for RoCE and iWARP; 0 (default): it does not listen";
}
kapi::param! {
    static MAX_RDMA_SIZE: u32 = 65536, name: "srp_max_rdma_size", perm: 0o644,
        description: "Largest RDMA transfer that initiators are told of, in bytes (default 65536; 256 to 16777216 are in effect)";
}
kapi::param! {
    static MAX_REQ_SIZE: u32 = 8276, name: "srp_max_req_size", perm: 0o444, range: 996..=65536,
        description: "Largest SRP request message in bytes, with descriptors or immediate data (default 8276, at least 996)";
}
kapi::param! {
    static MAX_RSP_SIZE: u32 = 256, name: "srp_max_rsp_size", perm: 0o644, range: 40..=4096,
        description: "Largest SRP response message in bytes, for new connections (default 256, at least 40; below 64 is as 64)";
}
kapi::param! {
    pub(crate) static USE_SRQ: bool = false, name: "use_srq", perm: 0o644,
        description: "Whether channels of RDMA devices that come from now on share one receive queue (default N)";
}
kapi::param! {
    static SRQ_SIZE: u32 = 4095, name: "srpt_srq_size", perm: 0o644, range: 4..=65535,
        description: "Size of a shared receive queue (default 4095, at least 4; below 64 is as 64; what the device has bounds it)";
}
kapi::param! {
    static SQ_SIZE: u32 = 256, name: "srpt_sq_size", perm: 0o444, range: 16..=65536,
        description: "Size of a channel's send queue (default 256, at least 16; what the device has bounds it)";
}
kapi::param! {
    static SERVICE_GUID: Guid = Guid(0), name: "srpt_service_guid", perm: 0o444,
        description: "ioc_guid, id_ext and service ID of all targets, hexadecimal, instead of the node GUID of the first device";
}
kapi::param! {
    pub(crate) static ONE_TARGET_PER_PORT: bool = true, name: "one_target_per_port", perm: 0o444,
        description: "A target for each port of an RDMA device, called by its GID (default Y), or one for each device";
}
kapi::param! {
    pub(crate) static NODE_GUID_NAMES: bool = false, name: "use_node_guid_in_target_name", perm: 0o444,
        description: "With one_target_per_port=N: call a target by the device's node GUID and not ib_srpt_target_N (default N)";
}
kapi::param! {
    pub(crate) static PORT_GUID_NAMES: bool = false, name: "use_port_guid_in_session_name", perm: 0o444,
        description: "With one_target_per_port=N: begin a session's name with the GUID of the target's port, so that LUNs can be masked by path (default N)";
}
kapi::param! {
    pub(crate) static MAX_SGE_DELTA: u32 = 3, name: "max_sge_delta", perm: 0o444,
        description: "How many fewer pieces of memory a work request gets than the RDMA device says it takes (default 3)";
}
kapi::param! {
    static TRACE_FLAG: i64 = 0x2700, name: "trace_flag", perm: 0o644,
        description: "What is logged, a sum of 512: what fails, 1024: channels that are closed, 2048: events of connections, 16384: requests of the target's own (default 9984)";
}

/// Least that a shared receive queue has, in requests.
const MIN_SRQ_SIZE: u32 = 64;

/// Bytes of a receive buffer.
pub(crate) fn req_size() -> u32 {
    MAX_REQ_SIZE.get()
}

/// Bytes of a response buffer.
pub(crate) fn rsp_size() -> u32 {
    MAX_RSP_SIZE
        .get()
        .max(scst_proto::srp::login::MIN_TI_IU_LEN)
}

/// Bytes of an RDMA transfer, as discovery has it.
pub(crate) fn rdma_size() -> u32 {
    MAX_RDMA_SIZE.get().clamp(256, 1 << 24)
}

/// Requests of a shared receive queue on a device that can have `most`.
pub(crate) fn srq_size(most: u32) -> u32 {
    SRQ_SIZE.get().max(MIN_SRQ_SIZE).min(most)
}

/// Work requests of a send queue on a device that can have `most`.
pub(crate) fn sq_size(most: u32) -> u32 {
    SQ_SIZE.get().min(most)
}

/// `srpt_service_guid`; 0 before there is one. Process context.
pub(crate) fn service_guid() -> u64 {
    SERVICE_GUID.get().0
}

/// Shows the GUID that has been chosen in the parameter.
pub(crate) fn show_service_guid(guid: u64) {
    SERVICE_GUID.set(Guid(guid));
}

/// A GUID: 16 hexadecimal digits, or fewer.
#[derive(Clone, Copy)]
struct Guid(u64);

impl Value for Guid {
    const NAME: &'static str = "hexadecimal GUID";

    fn parse(text: Option<&CStr>) -> Result<Self> {
        let text = text.and_then(|text| text.to_str().ok()).ok_or(EINVAL)?;
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        // A sign would be taken for a part of the number.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(EINVAL);
        }
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| EINVAL)
    }

    fn show(&self, page: &mut Page<'_>) {
        let _ = write!(page, "{:#018x}", self.0);
    }
}

/// Kinds of log messages that `trace_flag` has bits for.
pub(crate) mod kind {
    /// Something failed, and that is dealt with.
    pub(crate) const MINOR: i64 = 0x200;
    /// A channel is closed.
    pub(crate) const MGMT: i64 = 0x400;
    /// What happens to connections.
    pub(crate) const MGMT_DEBUG: i64 = 0x800;
    /// Requests of the target's own.
    pub(crate) const FLOW_CONTROL: i64 = 0x4000;
}

/// Whether messages of a [`kind`] are to be logged. Any context.
pub(crate) fn traced(kind: i64) -> bool {
    TRACE_FLAG.get() & kind != 0
}

/// Logs a message of a [`kind`] if `trace_flag` has its bit. Any context.
macro_rules! trace {
    ($kind:ident, $($message:tt)*) => {
        if $crate::params::traced($crate::params::kind::$kind) {
            kernel::prelude::pr_info!($($message)*);
        }
    };
}
pub(crate) use trace;
