// SPDX-License-Identifier: GPL-2.0

//! Any bytes as a device management datagram.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::srp::dm::{answer, DmRequest, PortFacts, Status, DATA_LEN};
use scst_proto::srp::PortId;

fuzz_target!(|data: &[u8]| {
    let port = PortFacts {
        target: PortId::new(1, 2),
        service_id: 3,
        vendor_id: 4,
        device_id: 5,
        device_version: 6,
        send_queue_depth: 7,
        rdma_read_depth: 8,
        send_size: 9,
        rdma_size: 10,
        id_string: data,
    };
    let (Some(request), Some(mad)) = (DmRequest::parse(data), answer(data, &port)) else {
        assert!(data.len() < 24 || data[1] != 6 || data[3] & 0x80 != 0);
        assert!(answer(data, &port).is_none());
        return;
    };
    // The answer is itself no request: two targets do not talk to each other.
    assert_eq!(DmRequest::parse(&mad), None);
    assert_eq!(mad[6..24], data[6..24]);
    let mut attribute = [0xee; DATA_LEN];
    let status = request.handle(&port, &mut attribute);
    assert_eq!(mad[4..6], (status as u16).to_be_bytes());
    assert_eq!(mad[64..], attribute);
    if status == Status::Good {
        assert_eq!((data[0], data[2], request.method), (1, 1, 1));
        assert!([0x01, 0x10, 0x11, 0x12].contains(&request.attribute));
        assert_eq!(attribute[191], 0);
    } else {
        assert_eq!(attribute, [0; DATA_LEN]);
    }
});
