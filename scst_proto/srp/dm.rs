// SPDX-License-Identifier: GPL-2.0

//! The device management datagrams (MADs) by which initiators of an InfiniBand fabric find an SRP target port
//! (IBA vol 1, 16.3; SRP r16a annex B.7).
//!
//! An I/O unit has slots for I/O controllers. This target is one controller, in slot 1, with one service.

use super::{field16, field32, PortId};
use crate::bytes::{copy, Writer};

/// Bytes of a MAD.
pub const MAD_LEN: usize = 256;
/// Bytes of its headers: MAD, RMPP and device management header.
pub const HEADER_LEN: usize = 64;
/// Bytes of the attribute.
pub const DATA_LEN: usize = 192;
/// Bytes of a MAD header, all that is needed of a request.
pub const MAD_HEADER_LEN: usize = 24;
/// Bytes of the ID string of an IOControllerProfile.
pub const ID_STRING_LEN: usize = 64;

/// Management class Device Management.
const CLASS: u8 = 0x06;
/// BaseVersion and ClassVersion.
const VERSION: u8 = 1;
/// The slots of this I/O unit.
const SLOTS: u8 = 16;
/// The one that is taken.
const SLOT: u32 = 1;
/// RespTimeValue: 4.096 us * 2^20, about four seconds.
const RESP_TIME: u32 = 20;

/// Methods (IBA 13.4.5).
mod method {
    pub(super) const GET: u8 = 0x01;
    pub(super) const SET: u8 = 0x02;
    /// The bit of a response.
    pub(super) const RESPONSE: u8 = 0x80;
    pub(super) const GET_RESPONSE: u8 = RESPONSE | GET;
}

/// Attributes (IBA 16.3.3).
mod attribute {
    pub(super) const CLASS_PORT_INFO: u16 = 0x0001;
    pub(super) const IO_UNIT_INFO: u16 = 0x0010;
    pub(super) const IO_CONTROLLER_PROFILE: u16 = 0x0011;
    pub(super) const SERVICE_ENTRIES: u16 = 0x0012;
}

/// Values of an IOControllerProfile that SRP fixes (SRP r16a table B.7).
mod profile {
    /// I/O class of a storage controller that follows r16a.
    pub(super) const IO_CLASS: u16 = 0x0100;
    /// The low half of the T10 organizationally unique identifier.
    pub(super) const IO_SUBCLASS: u16 = 0x609e;
    pub(super) const PROTOCOL: u16 = 0x0108;
    pub(super) const PROTOCOL_VERSION: u16 = 0x0001;
    /// Controller operations: sends to and from the controller, RDMA READ and WRITE from it.
    pub(super) const OPERATIONS: u8 = 0x01 | 0x02 | 0x08 | 0x20;
}

/// Status of a response (IBA 13.4.7 and 16.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// No error.
    Good = 0x0000,
    /// BaseVersion or ClassVersion is not supported.
    BadVersion = 0x0004,
    /// The method is not supported.
    UnsupportedMethod = 0x0008,
    /// The method is not supported for this attribute, or there is no such attribute.
    UnsupportedAttribute = 0x000c,
    /// A field of the attribute or its modifier is invalid.
    InvalidField = 0x001c,
    /// There is no I/O controller in this slot.
    NoController = 0x0100,
}

/// What the target port says of itself.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts<'a> {
    /// The identifier that a login has to name: its GUID is the controller's, its extension is in the service name.
    pub target: PortId,
    /// The service to connect to.
    pub service_id: u64,
    /// Of the HCA; also the subsystem's.
    pub vendor_id: u32,
    /// Of the HCA (`vendor_part_id`).
    pub device_id: u32,
    /// Of the HCA (`hw_ver`).
    pub device_version: u16,
    /// The requests that a channel takes at a time.
    pub send_queue_depth: u16,
    /// RDMA READs that are outstanding at a time.
    pub rdma_read_depth: u8,
    /// The longest message to the controller, bytes (`srp_max_req_size`).
    pub send_size: u32,
    /// The longest RDMA of the controller, bytes (`srp_max_rdma_size`).
    pub rdma_size: u32,
    /// The attribute `port_id`; what is beyond 63 bytes is cut.
    pub id_string: &'a [u8],
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmRequest {
    base_version: u8,
    class_version: u8,
    /// Method.
    pub method: u8,
    /// AttributeID.
    pub attribute: u16,
    /// AttributeModifier.
    pub modifier: u32,
}

impl DmRequest {
    /// Reads a MAD. `None` if it is not for device management or is a response: such a thing is not answered.
    pub fn parse(mad: &[u8]) -> Option<Self> {
        let h: &[u8; MAD_HEADER_LEN] = mad.first_chunk()?;
        let ours = h[1] == CLASS && h[3] & method::RESPONSE == 0;
        ours.then_some(Self {
            base_version: h[0],
            class_version: h[2],
            method: h[3],
            attribute: field16(h, 16),
            modifier: field32(h, 20),
        })
    }

    /// Carries the request out: writes the attribute to `data`, which is all zeros if the status is not `Good`.
    pub fn handle(&self, port: &PortFacts<'_>, data: &mut [u8; DATA_LEN]) -> Status {
        *data = [0; DATA_LEN];
        if self.base_version != VERSION || self.class_version != VERSION {
            return Status::BadVersion;
        }
        match (self.method, self.attribute) {
            (method::GET, attribute::CLASS_PORT_INFO) => class_port_info(data),
            (method::GET, attribute::IO_UNIT_INFO) => io_unit_info(data),
            (method::GET, attribute::IO_CONTROLLER_PROFILE) => match slot(self.modifier) {
                Status::Good => port.profile(data),
                wrong => return wrong,
            },
            (method::GET, attribute::SERVICE_ENTRIES) => {
                let [s0, s1, last, first] = self.modifier.to_be_bytes();
                match slot(u16::from_be_bytes([s0, s1]).into()) {
                    // A MAD has room for four entries; there is one, with the number 0.
                    Status::Good if first > 0 || last > 3 => return Status::InvalidField,
                    Status::Good => port.service_entries(data),
                    wrong => return wrong,
                }
            }
            (method::GET | method::SET, _) => return Status::UnsupportedAttribute,
            _ => return Status::UnsupportedMethod,
        }
        Status::Good
    }
}

/// Answers a MAD: the whole response, to be sent back to where the request came from. `None` as with
/// [`DmRequest::parse`].
pub fn answer(mad: &[u8], port: &PortFacts<'_>) -> Option<[u8; MAD_LEN]> {
    let request = DmRequest::parse(mad)?;
    let mut data = [0; DATA_LEN];
    let status = request.handle(port, &mut data);
    let mut response = [0; MAD_LEN];
    let mut w = Writer::new(&mut response);
    w.bytes(&[VERSION, CLASS, VERSION, method::GET_RESPONSE])
        .be16(status as u16)
        // Class specific, TransactionID, AttributeID, AttributeModifier: as they came.
        .bytes(mad.get(6..MAD_HEADER_LEN)?)
        .zeros(HEADER_LEN - MAD_HEADER_LEN)
        .bytes(&data);
    Some(response)
}

/// Whether an I/O controller is in this slot.
fn slot(slot: u32) -> Status {
    match slot {
        SLOT => Status::Good,
        n if n == 0 || n > SLOTS.into() => Status::InvalidField,
        _ => Status::NoController,
    }
}

/// IBA 16.3.3.1.
fn class_port_info(data: &mut [u8; DATA_LEN]) {
    Writer::new(data)
        .bytes(&[VERSION, VERSION])
        .be16(0) // CapabilityMask
        .be32(RESP_TIME);
}

/// IBA 16.3.3.3: four bits for each slot, 1 for a controller, 0 for none; the first in the upper half.
fn io_unit_info(data: &mut [u8; DATA_LEN]) {
    Writer::new(data)
        .be16(1) // Change_ID: this never changes
        .u8(SLOTS)
        .u8(0) // no option ROM
        .u8(0x10);
}

impl PortFacts<'_> {
    /// IOControllerProfile, IBA 16.3.3.4.
    fn profile(&self, data: &mut [u8; DATA_LEN]) {
        let mut id_string = [0; ID_STRING_LEN];
        if let Some((_zero, text)) = id_string.split_last_mut() {
            copy(text, self.id_string);
        }
        Writer::new(data)
            .be64(self.target.guid())
            .be32(self.vendor_id)
            .be32(self.device_id)
            .be16(self.device_version)
            .be16(0)
            .be32(self.vendor_id)
            .be32(0) // subsystem ID
            .be16(profile::IO_CLASS)
            .be16(profile::IO_SUBCLASS)
            .be16(profile::PROTOCOL)
            .be16(profile::PROTOCOL_VERSION)
            .be16(0) // service connections: not limited
            .be16(0) // initiators: not limited
            .be16(self.send_queue_depth)
            .u8(0)
            .u8(self.rdma_read_depth)
            .be32(self.send_size)
            .be32(self.rdma_size)
            .u8(profile::OPERATIONS)
            .u8(0) // controller services
            .u8(1) // service entries
            .zeros(9)
            .bytes(&id_string);
    }

    /// ServiceEntries, IBA 16.3.3.5: 40 bytes of name and the service ID (SRP r16a table B.8).
    fn service_entries(&self, data: &mut [u8; DATA_LEN]) {
        Writer::new(data)
            .padded(
                super::names::service_name(self.target.id_extension())
                    .as_str()
                    .as_bytes(),
                40,
                0,
            )
            .be64(self.service_id);
    }
}
