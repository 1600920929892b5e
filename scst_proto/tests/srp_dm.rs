// SPDX-License-Identifier: GPL-2.0

//! Device management datagrams of an SRP target port.

use scst_proto::srp::dm::{answer, DmRequest, PortFacts, Status, DATA_LEN};
use scst_proto::srp::PortId;

const GUID: u64 = 0x0002_c903_0005_f34e;

fn facts(id_string: &[u8]) -> PortFacts<'_> {
    PortFacts {
        target: PortId::new(0x1122_3344_5566_7788, GUID),
        service_id: 0x99,
        vendor_id: 0x2c9,
        device_id: 0x673c,
        device_version: 0xb0,
        send_queue_depth: 128,
        rdma_read_depth: 4,
        send_size: 8276,
        rdma_size: 65536,
        id_string,
    }
}

fn mad(method: u8, attribute: u16, modifier: u32) -> [u8; 256] {
    let mut mad = [0x5a; 256];
    mad[..6].copy_from_slice(&[1, 6, 1, method, 0, 0]);
    mad[16..18].copy_from_slice(&attribute.to_be_bytes());
    mad[20..24].copy_from_slice(&modifier.to_be_bytes());
    mad
}

/// Status and attribute of the answer to a Get.
fn get(attribute: u16, modifier: u32) -> (u16, [u8; DATA_LEN]) {
    let request = mad(1, attribute, modifier);
    let response = answer(&request, &facts(b"SCST SRP target")).unwrap();
    // GetResp with the transaction, attribute and modifier of the request.
    assert_eq!(response[..4], [1, 6, 1, 0x81]);
    assert_eq!(response[6..24], request[6..24]);
    assert_eq!(response[24..64], [0; 40]);
    (
        u16::from_be_bytes([response[4], response[5]]),
        *response.last_chunk().unwrap(),
    )
}

#[test]
fn class_port_info() {
    let mut expected = [0; DATA_LEN];
    (expected[0], expected[1], expected[7]) = (1, 1, 20);
    assert_eq!(get(0x0001, 0), (0, expected));
}

#[test]
fn io_unit_info() {
    let mut expected = [0; DATA_LEN];
    expected[..5].copy_from_slice(&[0, 1, 16, 0, 0x10]);
    assert_eq!(get(0x0010, 0), (0, expected));
}

#[test]
fn io_controller_profile() {
    let mut expected = vec![];
    expected.extend(GUID.to_be_bytes());
    expected.extend([0, 0, 0x02, 0xc9, 0, 0, 0x67, 0x3c, 0, 0xb0, 0, 0]);
    expected.extend([0, 0, 0x02, 0xc9, 0, 0, 0, 0]);
    expected.extend([0x01, 0x00, 0x60, 0x9e, 0x01, 0x08, 0x00, 0x01]);
    expected.extend([0, 0, 0, 0, 0, 128, 0, 4]);
    expected.extend([0, 0, 0x20, 0x54, 0, 1, 0, 0]);
    expected.extend([0x2b, 0, 1]);
    expected.extend([0; 9]);
    expected.extend(b"SCST SRP target");
    expected.resize(DATA_LEN, 0);
    let (status, data) = get(0x0011, 1);
    assert_eq!((status, &data[..]), (0, &expected[..]));
    // The ID string ends with a zero byte, whatever it is.
    let long = [b'x'; 70];
    let response = answer(&mad(1, 0x0011, 1), &facts(&long)).unwrap();
    assert_eq!(response[64 + 64..64 + 127], [b'x'; 63]);
    assert_eq!(response[64 + 127], 0);
}

#[test]
fn service_entries() {
    let mut expected = [0; DATA_LEN];
    expected[..24].copy_from_slice(b"SRP.T10:1122334455667788");
    expected[47] = 0x99;
    for last in 0..4 {
        assert_eq!(get(0x0012, 0x0001_0000 | (last << 8)), (0, expected));
    }
}

#[test]
fn statuses() {
    let nothing = [0; DATA_LEN];
    for (attribute, modifier, status) in [
        (0x0011, 0, Status::InvalidField),
        (0x0011, 17, Status::InvalidField),
        (0x0011, u32::MAX, Status::InvalidField),
        (0x0011, 2, Status::NoController),
        (0x0011, 16, Status::NoController),
        (0x0012, 0x0000_0000, Status::InvalidField),
        (0x0012, 0x0011_0000, Status::InvalidField),
        (0x0012, 0x0002_0000, Status::NoController),
        (0x0012, 0x0001_0001, Status::InvalidField),
        (0x0012, 0x0001_0400, Status::InvalidField),
        (0x0002, 0, Status::UnsupportedAttribute),
        (0x0013, 0, Status::UnsupportedAttribute),
        (0xffff, 0, Status::UnsupportedAttribute),
    ] {
        assert_eq!(
            get(attribute, modifier),
            (status as u16, nothing),
            "{attribute:#x} {modifier:#x}"
        );
    }
    let port = facts(b"");
    let status = |mad: &[u8]| {
        let mut data = [1; DATA_LEN];
        let status = DmRequest::parse(mad)?.handle(&port, &mut data);
        assert!(status == Status::Good || data == nothing);
        Some(status)
    };
    for attribute in [0x0001, 0x0010, 0x0011, 0x0012] {
        assert!(status(&mad(1, attribute, 1)).is_some());
        assert_eq!(
            status(&mad(2, attribute, 1)),
            Some(Status::UnsupportedAttribute)
        );
        for method in [0x03, 0x05, 0x12, 0x00] {
            assert_eq!(
                status(&mad(method, attribute, 1)),
                Some(Status::UnsupportedMethod)
            );
        }
        // Responses are not answered, or two targets would never stop talking.
        for method in [0x81, 0x80, 0xff] {
            assert_eq!(status(&mad(method, attribute, 1)), None);
        }
    }
    for at in [0, 2] {
        let mut wrong = mad(1, 0x0001, 0);
        wrong[at] = 2;
        assert_eq!(status(&wrong), Some(Status::BadVersion));
    }
    let mut other = mad(1, 0x0001, 0);
    other[1] = 7;
    assert_eq!(status(&other), None);
    assert!(answer(&other, &port).is_none());
    assert!(answer(&mad(1, 1, 0)[..23], &port).is_none());
    assert!(answer(&mad(1, 1, 0)[..24], &port).is_some());
}
