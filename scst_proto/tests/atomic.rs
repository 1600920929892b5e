// SPDX-License-Identifier: GPL-2.0

//! WRITE ATOMIC(16): what is refused, against the blocks one by one, and what VPD page B0h and REPORT SUPPORTED OPERATION
//! CODES say.

use proptest::prelude::*;
use scst_proto::atomic::Limits;
use scst_proto::bytes::Writer;
use scst_proto::cdb::decode;
use scst_proto::inquiry;
use scst_proto::opcode::{Direction, PeripheralDeviceType};
use scst_proto::rsoc::{Commands, ReportOpcodes};
use scst_proto::sense::{Sense, INVALID_FIELD_IN_CDB};

fn write(lba: u64, blocks: u16, boundary: u16) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x9c;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..12].copy_from_slice(&boundary.to_be_bytes());
    cdb[12..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn check(limits: &Limits, lba: u64, blocks: u16, boundary: u16) -> Result<(), Sense> {
    let cdb = write(lba, blocks, boundary);
    limits.check(&decode(&cdb, PeripheralDeviceType::DISK).unwrap(), &cdb)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 1000 },
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn what_is_refused(
        max in 1u32..40, granularity in 0u32..9, boundary in 0u32..20, lba in 0u64..50, blocks in 0u16..50,
    ) {
        let limits = Limits { max, granularity, boundary };
        let all: Vec<u64> = (lba..lba + u64::from(blocks)).collect();
        let unit = u64::from(granularity.max(1));
        let part = |lba: &u64| if boundary == 0 { 0 } else { lba / u64::from(boundary) };
        let expected = if all.len() > max as usize || all.len() as u64 % unit != 0 {
            Err(INVALID_FIELD_IN_CDB.in_cdb(12))
        } else if lba % unit != 0 || all.iter().any(|one| part(one) != part(&lba)) {
            Err(INVALID_FIELD_IN_CDB.in_cdb(2))
        } else {
            Ok(())
        };
        prop_assert_eq!(check(&limits, lba, blocks, 0), expected);
    }

    #[test]
    fn never_panics(max: u32, granularity: u32, boundary: u32, lba: u64, blocks: u16, asked: u16) {
        let answer = check(&Limits { max, granularity, boundary }, lba, blocks, asked);
        prop_assert!(asked == 0 || answer == Err(INVALID_FIELD_IN_CDB.in_cdb(10)));
    }
}

#[test]
fn the_command() {
    let cdb = decode(&write(0x1_0000_0000, 7, 0), PeripheralDeviceType::DISK).unwrap();
    assert_eq!(
        (cdb.op.name, cdb.lba, cdb.blocks),
        ("WRITE ATOMIC(16)", 1 << 32, 7)
    );
    assert_eq!(
        (cdb.direction(), cdb.expected_bytes(9)),
        (Direction::Out, Some(7 * 512))
    );
    assert!(cdb.op.writes_medium() && cdb.require_supported().is_ok());
    assert_eq!(check(&Limits::VOID, 3, u16::MAX, 0), Ok(()));
}

#[test]
fn what_is_said_of_it() {
    let limits = |atomic| {
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        let limits = inquiry::Limits {
            atomic,
            ..inquiry::Limits::for_block_shift(9)
        };
        inquiry::limits(&mut w, &limits);
        let (len, atomic): (usize, [u8; 20]) = (w.full_len(), buf[40..60].try_into().unwrap());
        assert_eq!(len, 60);
        atomic
            .chunks(4)
            .map(|b| u32::from_be_bytes(b.try_into().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(limits(None), [0; 5]);
    assert_eq!(
        limits(Some(Limits {
            max: 256,
            granularity: 8,
            boundary: 64
        })),
        [256, 8, 8, 0, 0]
    );
    assert_eq!(limits(Some(Limits::VOID)), [0xffff, 0, 1, 0, 0]);
    for atomic in [false, true] {
        let device = Commands {
            pdt: PeripheralDeviceType::DISK,
            thin: false,
            keeps_data: true,
            explicit_alua: false,
            type2: false,
            atomic,
        };
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        let ask = ReportOpcodes::decode(&[0xa3, 0x0c, 0x03, 0x9c, 0, 0, 0, 0, 1, 0, 0, 0]).unwrap();
        ask.write(&mut w, &device).unwrap();
        assert_eq!(w.as_bytes()[1], if atomic { 3 } else { 1 });
    }
}
