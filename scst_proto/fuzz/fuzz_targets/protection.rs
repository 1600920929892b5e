// SPDX-License-Identifier: GPL-2.0
//! Any CDB, format, data and tags: nothing panics, what is made passes its own check, what is joined comes apart.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::cdb::decode;
use scst_proto::opcode::PeripheralDeviceType as Pdt;
use scst_proto::protection::*;

fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_first_chunk::<44>() else {
        return;
    };
    let [a, b, c, raw @ ..] = head;
    let Some(kind) = Kind::from_number(1 + a % 3) else {
        return;
    };
    let (raw, tag) = raw.split_at(32);
    let format = Format {
        kind,
        checks: a & 4 != 0,
        stored: a & 8 != 0,
        tag: tag.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
    };
    let _ = format_unit(raw, rest);
    let Ok(cdb) = decode(raw, Pdt::DISK) else {
        return;
    };
    let _ = expected_bytes(&cdb, u32::from(*c));
    let Ok(access) = Access::of(&format, &cdb, raw, a & 16 != 0) else {
        return;
    };
    let block = usize::from(*b) % 64;
    let (data, tags) = rest.split_at(rest.len() / 2);
    let _ = access.verify(u64::from(*c), data, block, tags, crc_t10dif);
    let blocks = data.len() / block.max(1);
    let mut made = vec![0; blocks * TUPLE];
    access.generate(u64::from(*c), data, block, &mut made, crc_t10dif);
    access
        .verify(u64::from(*c), data, block, &made, crc_t10dif)
        .unwrap();
    let mut wire = vec![0; blocks * (block.max(1) + TUPLE)];
    join(&mut wire, block, data, &made);
    let (mut user, mut info) = (data.to_vec(), vec![0; made.len()]);
    split(&wire, block, &mut user, &mut info);
    assert!(user == data && info == made);
});
