// SPDX-License-Identifier: GPL-2.0

//! Any private data as a login, at any port.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::srp::login::{decide, reject, LoginRequest, MultiChannelResult, PortFacts};
use scst_proto::srp::PortId;

fuzz_target!(|data: &[u8]| {
    let [flags, limit, channels, max_channels, max_offset, private @ ..] = data else {
        return;
    };
    let bit = |n: u8| flags & (1 << n) != 0;
    let request = if bit(0) {
        LoginRequest::parse(private)
    } else {
        LoginRequest::parse_rdma_cm(private)
    };
    let Ok(request) = request else {
        assert!(private.len() < 64 || private[0] != 0 || private[11] != 0);
        return;
    };
    let port = PortFacts {
        enabled: bit(1),
        target: if bit(2) {
            request.target
        } else {
            PortId::new(1, 2)
        },
        max_it_iu_len: 8276,
        max_ti_iu_len: 256,
        request_limit: u16::from(*limit),
        channels: u32::from(*channels),
        max_channels: u32::from(*max_channels),
        max_imm_data_offset: bit(3).then_some(u16::from(*max_offset)),
        solicited_notification: bit(4),
    };
    match decide(&request, &port) {
        Ok(accept) => {
            assert!(port.enabled && port.target == request.target && *limit >= 2);
            assert!((64..=8276).contains(&request.it_iu_len));
            assert!(request.buffer_formats & !6 == 0);
            if let Some(offset) = accept.imm_data_offset {
                assert!(Some(offset) == request.imm_data_offset());
                assert!(offset >= 52 && offset <= u16::from(*max_offset));
            }
            assert_eq!(accept.channels == MultiChannelResult::None, *channels == 0);
            if accept.channels == MultiChannelResult::Maintained {
                assert!(channels < max_channels);
            }
            let iu = accept.response(request.tag);
            assert_eq!(iu[0], 0xc0);
            assert_eq!(iu[8..16], request.tag.to_be_bytes());
        }
        Err(reason) => {
            let iu = reject(request.tag, reason);
            assert_eq!((iu[0], &iu[4..7]), (0xc2, &[0, 1, 0][..]));
            assert!(iu[7] <= 6);
        }
    }
});
