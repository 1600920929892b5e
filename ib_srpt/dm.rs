// SPDX-License-Identifier: GPL-2.0

//! Discovery: what `srp_daemon` and `ibsrpdm` find out of a port by device
//! management datagrams.

use crate::{
    params,
    port::Port,
    rdma::mad::{DeviceManagement, MadAgent, MAD_LEN},
};
use kernel::{prelude::*, sync::Arc};
use scst_proto::srp::dm::{answer, PortFacts};

/// Answers for one port.
struct Unit(Arc<Port>);

impl DeviceManagement for Unit {
    fn answer(&self, request: &[u8; MAD_LEN], response: &mut [u8; MAD_LEN]) -> bool {
        let port = &self.0;
        let attrs = port.hca.device.attrs();
        let id = port.port_id.lock();
        let facts = PortFacts {
            target: port.id(),
            service_id: port.guid,
            vendor_id: attrs.vendor_id,
            device_id: attrs.vendor_part_id,
            device_version: attrs.hw_ver as u16,
            send_queue_depth: crate::login::request_limit(port),
            rdma_read_depth: port.hca.limits.reads,
            send_size: params::req_size(),
            rdma_size: params::rdma_size(),
            id_string: id.to_bytes(),
        };
        match answer(request, &facts) {
            Some(reply) => {
                *response = reply;
                true
            }
            None => false,
        }
    }
}

/// Has a port answer on the device's port `number`; `None` where it cannot.
pub(crate) fn register(port: &Arc<Port>, number: u32) -> Option<MadAgent> {
    let unit = Arc::new(Unit(port.clone()), GFP_KERNEL).ok()?;
    let device = port.hca.device.clone();
    match MadAgent::register(device, number, unit) {
        Ok(agent) => Some(agent),
        Err(e) => {
            pr_info!(
                "{}: no discovery by device management: {e:?}\n",
                port.name()
            );
            None
        }
    }
}
