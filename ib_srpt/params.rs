// SPDX-License-Identifier: GPL-2.0

//! Module parameters, those of SCST's driver.

kapi::param! {
    pub(crate) static RDMA_CM_PORT: u16 = 0, name: "rdma_cm_port", perm: 0o444,
        description: "Port number that the RDMA/CM listens on, for RoCE and iWARP; 0 (default): it does not listen";
}
kapi::param! {
    pub(crate) static MAX_RDMA_SIZE: u32 = 65536, name: "srp_max_rdma_size", perm: 0o644,
        description: "Largest SRP RDMA transfer that new connections announce, in bytes (default 65536)";
}
kapi::param! {
    pub(crate) static MAX_REQ_SIZE: u32 = 8276, name: "srp_max_req_size", perm: 0o444,
        description: "Largest SRP request message in bytes, with immediate data (default 8276)";
}
kapi::param! {
    pub(crate) static MAX_RSP_SIZE: u32 = 256, name: "srp_max_rsp_size", perm: 0o644,
        description: "Largest SRP response message in bytes, for new connections (default 256)";
}
kapi::param! {
    pub(crate) static USE_SRQ: bool = false, name: "use_srq", perm: 0o644,
        description: "Whether channels of RDMA devices that come from now on share one receive queue (default N)";
}
kapi::param! {
    pub(crate) static SRQ_SIZE: u32 = 4095, name: "srpt_srq_size", perm: 0o644,
        description: "Size of a shared receive queue (default 4095)";
}
kapi::param! {
    pub(crate) static SQ_SIZE: u32 = 256, name: "srpt_sq_size", perm: 0o444,
        description: "Size of a channel's send queue (default 256)";
}

/// Bytes of a receive buffer.
pub(crate) fn req_size() -> u32 {
    MAX_REQ_SIZE.get().clamp(64, 65536)
}

/// Bytes of a response buffer.
pub(crate) fn rsp_size() -> u32 {
    MAX_RSP_SIZE.get().clamp(64, 4096)
}
kapi::param! {
    static SERVICE_GUID: kapi::param::Text<20> = kapi::param::Text::new(""), name: "srpt_service_guid", perm: 0o444,
        description: "ioc_guid, id_ext and service ID of all targets, hexadecimal, instead of the node GUID of the first device";
}

/// `srpt_service_guid`; 0 if it is not set.
pub(crate) fn service_guid() -> u64 {
    let text = SERVICE_GUID.get();
    let digits = core::str::from_utf8(text.as_bytes()).unwrap_or("");
    let digits = digits.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16).unwrap_or(0)
}
