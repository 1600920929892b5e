// SPDX-License-Identifier: GPL-2.0

//! Any bytes as a fetched table of memory descriptors, against the definition.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::srp::descriptors::{DescriptorError, Descriptors};

fuzz_target!(|data: &[u8]| {
    let Some((total, table)) = data.split_first_chunk() else {
        return;
    };
    let total = u32::from_be_bytes(*total);
    let pieces: Vec<(u64, u32, u32)> = table
        .chunks_exact(16)
        .map(|d| {
            (
                u64::from_be_bytes(d[..8].try_into().expect("eight")),
                u32::from_be_bytes(d[8..12].try_into().expect("four")),
                u32::from_be_bytes(d[12..].try_into().expect("four")),
            )
        })
        .collect();
    let sum: u128 = pieces.iter().map(|p| u128::from(p.2)).sum();
    let wraps = |p: &(u64, u32, u32)| p.2 > 0 && u128::from(p.0) + u128::from(p.2) > 1 << 64;
    match Descriptors::parse_table(table, total) {
        Ok(list) => {
            assert!(table.len() % 16 == 0 && sum >= u128::from(total));
            assert!(!pieces.iter().any(wraps));
            let mut left = total;
            let mut got = list.iter();
            for (addr, rkey, len) in pieces {
                let len = len.min(left);
                if len > 0 {
                    let piece = got.next().expect("a piece");
                    assert_eq!((piece.addr, piece.rkey, piece.len), (addr, rkey, len));
                    left -= len;
                }
            }
            assert!(left == 0 && got.next().is_none());
        }
        Err(DescriptorError::AddressWraps) => assert!(pieces.iter().any(wraps)),
        Err(DescriptorError::TableLength) => assert!(table.len() % 16 != 0),
        Err(DescriptorError::ListTooShort) => assert!(sum < u128::from(total)),
        Err(other) => panic!("{other}"),
    }
});
