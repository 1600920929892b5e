// SPDX-License-Identifier: GPL-2.0

//! How SRP ports and sessions are called, as text and as TransportID.
//!
//! Targets and sessions of an existing configuration are found by these names, so they never change: a target is
//! called by the GID of its port, a session by where the initiator connects from.

use core::fmt::Write;

use super::PortId;
use crate::bytes::copy;
use crate::identity::Text;

/// Bytes of the text of a GID.
pub const GID_TEXT_LEN: usize = 39;
/// Bytes of the text of a GUID.
pub const GUID_TEXT_LEN: usize = 19;
/// Bytes of the text of a port identifier.
pub const PORT_ID_TEXT_LEN: usize = 34;
/// Bytes of the attribute `login_info`.
pub const LOGIN_INFO_LEN: usize = 127;
/// Bytes of a service name.
pub const SERVICE_NAME_LEN: usize = 24;
/// Bytes of a TransportID of SRP.
pub const TRANSPORT_ID_LEN: usize = 24;

/// Four hexadecimal digits for each two bytes, with a colon in between.
fn colons<const N: usize>(bytes: &[u8]) -> Text<N> {
    let (mut text, mut colon) = (Text::new(), "");
    for pair in bytes.chunks(2) {
        // A `Text` does not fail; the lengths are those of what is written.
        let _ = text.write_str(colon);
        for byte in pair {
            let _ = write!(text, "{byte:02x}");
        }
        colon = ":";
    }
    text
}

/// A GID, as `fe80:0000:0000:0000:0000:00ff:fe00:0001`: the name of a target, and of the sessions that an IB/CM login
/// from such a port opens.
pub fn gid(gid: &[u8; 16]) -> Text<GID_TEXT_LEN> {
    colons(gid)
}

/// A port GUID, the lower half of a GID, as `0000:00ff:fe00:0001`.
pub fn guid(guid: u64) -> Text<GUID_TEXT_LEN> {
    colons(&guid.to_be_bytes())
}

/// A port identifier, as `0x` and 32 hexadecimal digits.
pub fn port_id(id: &PortId) -> Text<PORT_ID_TEXT_LEN> {
    let mut text = Text::new();
    let _ = write!(text, "{:#018x}{:016x}", id.id_extension(), id.guid());
    text
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// IB/CM: the GID of the initiator's port.
    Gid([u8; 16]),
    /// RDMA/CM over IPv4.
    V4([u8; 4]),
    /// RDMA/CM over IPv6.
    V6([u8; 16]),
}

/// The name of a session: the GID or IP address that it comes from, IPv6 with all its digits.
pub fn session(source: &Source) -> Text<GID_TEXT_LEN> {
    match source {
        Source::Gid(bytes) | Source::V6(bytes) => colons(bytes),
        Source::V4([a, b, c, d]) => {
            let mut text = Text::new();
            let _ = write!(text, "{a}.{b}.{c}.{d}");
            text
        }
    }
}

/// The name of a session where a target is a whole RDMA device (`one_target_per_port=N`): the initiator's port
/// identifier, or (`use_port_guid_in_session_name`) the GUID of the target's port, whose GID this is, and that of the
/// initiator's.
pub fn session_by_ports(initiator: &PortId, target: Option<&[u8; 16]>) -> Text<PORT_ID_TEXT_LEN> {
    match target {
        None => port_id(initiator),
        Some(gid) => port_id(&PortId::new(PortId(*gid).guid(), initiator.guid())),
    }
}

/// The service name of a target port (SRP r16a table B.8): `SRP.T10:` and its identifier extension.
pub fn service_name(id_extension: u64) -> Text<SERVICE_NAME_LEN> {
    let mut text = Text::new();
    let _ = write!(text, "SRP.T10:{id_extension:016x}");
    text
}

/// The attribute `login_info`: what to write into `add_target` of the Linux initiator, with `tid_ext` for `id_ext`.
/// `service_guid` stands for identifier extension, controller GUID and service at once. It ends with a newline.
pub fn login_info(service_guid: u64, gid: &[u8; 16]) -> Text<LOGIN_INFO_LEN> {
    let gid = u128::from_be_bytes(*gid);
    let mut text = Text::new();
    let _ = writeln!(
        text,
        "tid_ext={service_guid:016x},ioc_guid={service_guid:016x},pkey=ffff,dgid={:016x}{:016x},\
         service_id={service_guid:016x}",
        (gid >> 64) as u64,
        gid as u64,
    );
    text
}

/// The TransportID of an initiator port (SPC-6 7.6.4, PROTOCOL IDENTIFIER 4h).
pub fn transport_id(initiator: &PortId) -> [u8; TRANSPORT_ID_LEN] {
    let mut id = [0; TRANSPORT_ID_LEN];
    let [protocol, _, _, _, _, _, _, _, port @ ..] = &mut id;
    *protocol = 0x04;
    copy(port, &initiator.0);
    id
}
