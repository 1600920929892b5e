// SPDX-License-Identifier: GPL-2.0

//! The decision about a login, row by row.

use scst_proto::srp::login::{
    decide, Accept, LoginRequest, MultiChannelResult, PortFacts, RejectReason,
};
use scst_proto::srp::PortId;

const PORT: PortFacts = PortFacts {
    enabled: true,
    target: PortId::new(1, 2),
    max_it_iu_len: 8276,
    max_ti_iu_len: 256,
    request_limit: 128,
    channels: 0,
    max_channels: 4,
    max_imm_data_offset: Some(80),
    solicited_notification: false,
};

struct Request {
    len: u32,
    formats: u16,
    flags: u8,
    offset: u16,
    target: PortId,
}

const REQUEST: Request = Request {
    len: 8260,
    formats: 6,
    flags: 0,
    offset: 80,
    target: PortId::new(1, 2),
};

fn request(r: &Request) -> LoginRequest {
    let mut iu = [0; 64];
    iu[16..20].copy_from_slice(&r.len.to_be_bytes());
    iu[24..26].copy_from_slice(&r.formats.to_be_bytes());
    iu[26] = r.flags;
    iu[28..30].copy_from_slice(&r.offset.to_be_bytes());
    iu[48..].copy_from_slice(&r.target.0);
    LoginRequest::parse(&iu).unwrap()
}

fn reason(r: Request, port: PortFacts) -> Option<u32> {
    decide(&request(&r), &port).err().map(|e| e as u32)
}

#[test]
fn what_is_refused() {
    let disabled = PortFacts {
        enabled: false,
        ..PORT
    };
    let with = |channels, max_channels| PortFacts {
        channels,
        max_channels,
        ..PORT
    };
    let limit = |request_limit| PortFacts {
        request_limit,
        ..PORT
    };
    let len = |len| Request { len, ..REQUEST };
    let formats = |formats| Request { formats, ..REQUEST };
    let action = |flags| Request { flags, ..REQUEST };
    let target = |ext, guid| Request {
        target: PortId::new(ext, guid),
        ..REQUEST
    };
    for (i, (request, port, expected)) in [
        (REQUEST, PORT, None),
        // Lengths.
        (len(8276), PORT, None),
        (len(8277), PORT, Some(0x10002)),
        (len(u32::MAX), PORT, Some(0x10002)),
        (len(64), PORT, None),
        (len(63), PORT, Some(0x10000)),
        (len(0), PORT, Some(0x10000)),
        // The port.
        (REQUEST, disabled, Some(0x10001)),
        (target(1, 3), PORT, Some(0x10003)),
        (target(2, 1), PORT, Some(0x10003)),
        // Formats.
        (formats(0), PORT, None),
        (formats(2), PORT, None),
        (formats(4), PORT, None),
        (formats(1), PORT, Some(0x10004)),
        (formats(8), PORT, Some(0x10004)),
        (formats(0x0602), PORT, Some(0x10004)),
        // Channels.
        (action(0), with(3, 4), None),
        (action(0), with(4, 4), None),
        (action(1), with(0, 4), None),
        (action(1), with(3, 4), None),
        (action(1), with(4, 4), Some(0x10006)),
        (action(1), with(5, 4), Some(0x10006)),
        (action(1), with(0, 1), None),
        (action(1), with(1, 1), Some(0x10005)),
        (action(2), PORT, Some(0x10005)),
        (action(3), PORT, Some(0x10005)),
        // Resources.
        (REQUEST, limit(2), None),
        (REQUEST, limit(1), Some(0x10001)),
        (REQUEST, limit(0), Some(0x10001)),
        // The first that applies.
        (len(8277), disabled, Some(0x10002)),
        (target(1, 3), disabled, Some(0x10001)),
        (
            Request {
                formats: 8,
                ..target(1, 3)
            },
            PORT,
            Some(0x10003),
        ),
        (
            Request {
                formats: 8,
                ..action(2)
            },
            PORT,
            Some(0x10004),
        ),
        (action(2), limit(0), Some(0x10005)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(reason(request, port), expected, "row {i}");
    }
    assert_eq!(
        decide(&request(&REQUEST), &disabled),
        Err(RejectReason::InsufficientResources)
    );
}

#[test]
fn what_is_granted() {
    let accept = |flags, offset, len, port: PortFacts| {
        let request = request(&Request {
            flags,
            offset,
            len,
            ..REQUEST
        });
        decide(&request, &port).unwrap()
    };
    let plain = Accept {
        max_it_iu_len: 8276,
        max_ti_iu_len: 256,
        request_limit: 128,
        imm_data_offset: None,
        channels: MultiChannelResult::None,
        solicited_notification: false,
    };
    assert_eq!(accept(0, 80, 8260, PORT), plain);
    // Immediate data: asked for, at an offset that both can have, within the longest unit.
    for (flags, offset, len, granted) in [
        (0x80, 80, 8260, true),
        (0x81, 52, 8260, true),
        (0x80, 51, 8260, false),
        (0x80, 0, 8260, false),
        (0x80, 81, 8260, false),
        (0x80, u16::MAX, 8260, false),
        (0x80, 80, 80, false),
        (0x80, 80, 81, true),
        (0x00, 80, 8260, false),
    ] {
        let got = accept(flags, offset, len, PORT).imm_data_offset;
        assert_eq!(got, granted.then_some(offset), "{flags:#x} {offset} {len}");
    }
    let shared = PortFacts {
        max_imm_data_offset: None,
        ..PORT
    };
    assert_eq!(accept(0x80, 80, 8260, shared), plain);
    for (flags, channels, result) in [
        (0, 0, MultiChannelResult::None),
        (1, 0, MultiChannelResult::None),
        (0, 2, MultiChannelResult::Terminated),
        (1, 2, MultiChannelResult::Maintained),
    ] {
        let port = PortFacts { channels, ..PORT };
        assert_eq!(accept(flags, 80, 8260, port).channels, result);
    }
}

#[test]
fn the_response() {
    for (imm, channels, solicited, flags) in [
        (None, MultiChannelResult::None, false, 0x00),
        (Some(80), MultiChannelResult::None, false, 0x80),
        (None, MultiChannelResult::Terminated, false, 0x01),
        (Some(80), MultiChannelResult::Maintained, true, 0x92),
    ] {
        let accept = Accept {
            max_it_iu_len: 8276,
            max_ti_iu_len: 256,
            request_limit: 128,
            imm_data_offset: imm,
            channels,
            solicited_notification: solicited,
        };
        let mut expected = vec![0xc0, 0, 0, 0, 0, 0, 0, 128, 1, 2, 3, 4, 5, 6, 7, 8];
        expected.extend([0, 0, 0x20, 0x54, 0, 0, 1, 0, 0, 6, flags]);
        expected.resize(52, 0);
        assert_eq!(accept.response(0x0102_0304_0506_0708)[..], expected);
    }
}
