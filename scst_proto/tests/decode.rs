// SPDX-License-Identifier: GPL-2.0

//! CDBs, LUNs, sense: the fixed cases. `properties.rs` has the random ones.

use scst_proto::bytes::Writer;
use scst_proto::cdb::{decode, Cdb, TransferLength};
use scst_proto::lun::{AddressMethod, Lun, ReportLuns, SelectReport, REPORT_LUNS_WLUN};
use scst_proto::opcode::{self, Direction, Flags, PeripheralDeviceType as Pdt};
use scst_proto::sense::{self, Sense};

fn disk(cdb: &[u8]) -> Result<Cdb, Sense> {
    decode(cdb, Pdt::DISK)
}

#[test]
fn read_and_write() {
    let c = disk(&[0x08, 0xff, 0x12, 0x34, 0, 0]).unwrap();
    assert_eq!(
        (c.lba, c.blocks, c.length),
        (0x1f_1234, 256, TransferLength::Blocks(256))
    );
    let c = disk(&[0x2a, 0x78, 1, 2, 3, 4, 0x3f, 0, 5, 0]).unwrap();
    assert_eq!((c.lba, c.length), (0x0102_0304, TransferLength::Blocks(5)));
    assert_eq!(
        (c.protect(), c.dpo(), c.fua(), c.group),
        (3, true, true, 0x1f)
    );
    assert_eq!(c.direction(), Direction::Out);
    assert_eq!(c.expected_bytes(12), Some(5 * 4096));
    let c = disk(&[
        0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xff, 0xff, 0xff, 0, 0,
    ])
    .unwrap();
    assert_eq!(
        (c.lba, c.length),
        (0x0102_0304_0506_0708, TransferLength::Blocks(u32::MAX))
    );
    assert_eq!(c.expected_bytes(12), Some(u64::from(u32::MAX) << 12));
    assert_eq!(c.expected_bytes(32), None);
    let c = disk(&[0xa8, 0, 0, 0, 0, 9, 0, 1, 0, 0, 0, 0]).unwrap();
    assert_eq!((c.lba, c.length), (9, TransferLength::Blocks(0x1_0000)));
    let c = disk(&[0x28, 0, 0, 0, 0, 9, 0, 0, 0, 0]).unwrap();
    assert_eq!(c.direction(), Direction::None);
}

#[test]
fn variable_length() {
    let mut cdb = [0u8; 32];
    (cdb[0], cdb[7], cdb[9], cdb[10]) = (0x7f, 0x18, 0x09, 0x28);
    cdb[19] = 7;
    cdb[31] = 3;
    let c = disk(&cdb).unwrap();
    assert_eq!(
        (c.op.name, c.lba, c.length),
        ("READ(32)", 7, TransferLength::Blocks(3))
    );
    assert_eq!((c.fua(), c.protect(), c.service_action), (true, 1, 9));
    cdb[9] = 0x99;
    assert_eq!(
        disk(&cdb).unwrap_err(),
        sense::INVALID_FIELD_IN_CDB.in_cdb(8)
    );
    assert!(disk(&cdb[..9]).is_err());
}

#[test]
fn lengths_that_are_no_transfer_length() {
    let sync = disk(&[0x35, 2, 0, 0, 0, 1, 0, 0, 9, 0]).unwrap();
    assert_eq!(
        (sync.lba, sync.blocks, sync.length),
        (1, 9, TransferLength::None)
    );
    assert!(sync.immed());
    let verify = |bytchk: u8| disk(&[0x2f, bytchk << 1, 0, 0, 0, 1, 0, 0, 9, 0]).unwrap();
    assert_eq!(verify(0).length, TransferLength::None);
    assert_eq!(verify(0).direction(), Direction::None);
    assert_eq!(verify(1).length, TransferLength::Blocks(9));
    assert_eq!(
        (verify(3).length, verify(3).blocks),
        (TransferLength::Blocks(1), 9)
    );
    let same = |flags: u8| disk(&[0x93, flags, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0]).unwrap();
    assert_eq!(
        (same(0).length, same(0).blocks),
        (TransferLength::Blocks(1), 9)
    );
    assert_eq!(same(1).length, TransferLength::None);
    assert!(same(9).unmap() && same(9).ndob() && !same(9).fua());
    let caw = disk(&[0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0]).unwrap();
    assert_eq!((caw.blocks, caw.length), (255, TransferLength::Blocks(510)));
    let inquiry = disk(&[0x12, 1, 0x83, 1, 2, 0]).unwrap();
    assert_eq!(
        (inquiry.length, inquiry.direction()),
        (TransferLength::Bytes(0x102), Direction::In)
    );
    let format = disk(&[0x04, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(format.expected_bytes(9), None);
}

#[test]
fn what_is_wrong_with_a_cdb() {
    assert_eq!(disk(&[]).unwrap_err(), sense::INVALID_OPCODE);
    assert_eq!(
        disk(&[0xff, 0, 0, 0, 0, 0]).unwrap_err(),
        sense::INVALID_OPCODE
    );
    assert_eq!(disk(&[0x60; 16]).unwrap_err(), sense::INVALID_OPCODE);
    assert_eq!(
        disk(&[0x28, 0, 0, 0]).unwrap_err(),
        sense::INVALID_FIELD_IN_CDB.in_cdb(4)
    );
    let link = disk(&[0x00, 0, 0, 0, 0, 1]).unwrap_err();
    assert_eq!(link, sense::INVALID_FIELD_IN_CDB.in_cdb_bit(5, 0));
    let action = disk(&[0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(action, sense::INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4));
    let naca = disk(&[0x00, 0, 0, 0, 0, 4]).unwrap();
    assert!(naca.naca());
    assert_eq!(
        naca.refuse_naca(),
        Err(sense::INVALID_FIELD_IN_CDB.in_cdb_bit(5, 2))
    );
    // Known, not carried out: an operation code of its own, and one among supported service actions.
    let seek = disk(&[0x2b, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(seek.require_supported(), Err(sense::INVALID_OPCODE));
    let mut referrals = [0u8; 16];
    (referrals[0], referrals[1]) = (0x9e, 0x13);
    let wrong = disk(&referrals).unwrap().require_supported();
    assert_eq!(wrong, Err(sense::INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4)));
}

#[test]
fn the_same_operation_code_on_disk_and_cdrom() {
    let cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    assert_eq!(disk(&cdb).unwrap().op.name, "UNMAP");
    assert_eq!(
        decode(&cdb, Pdt::CDROM).unwrap().op.name,
        "READ SUB-CHANNEL"
    );
    assert_eq!(
        decode(&[0x43; 10], Pdt::DISK).unwrap_err(),
        sense::INVALID_OPCODE
    );
    assert_eq!(
        decode(&[0x9e; 16], Pdt::CDROM).unwrap_err(),
        sense::INVALID_OPCODE
    );
    assert_eq!(
        decode(&[0x12, 0, 0, 0, 36, 0], Pdt::WELL_KNOWN)
            .unwrap()
            .op
            .name,
        "INQUIRY"
    );
}

#[test]
fn range() {
    let at = |lba: u8, n: u8| disk(&[0x28, 0, 0, 0, 0, lba, 0, 0, n, 0]).unwrap();
    assert!(at(8, 2).check_range(10).is_ok());
    assert!(at(10, 0).check_range(10).is_ok());
    assert!(at(9, 2)
        .check_range(10)
        .unwrap_err()
        .is(&sense::LBA_OUT_OF_RANGE));
    let end = disk(&[
        0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1, 0, 0,
    ])
    .unwrap();
    assert_eq!(
        end.check_range(u64::MAX),
        Err(sense::LBA_OUT_OF_RANGE.with_information(u64::MAX))
    );
}

#[test]
fn the_table_is_consistent() {
    let mut last = 0;
    for row in opcode::all_rows() {
        assert!(row.opcode >= last, "{} is out of order", row.name);
        last = row.opcode;
        let group_len = match row.opcode >> 5 {
            0 => Some(6),
            1 | 2 => Some(10),
            4 => Some(16),
            5 => Some(12),
            _ => None,
        };
        if row.opcode != opcode::VARIABLE_LENGTH {
            assert_eq!(Some(row.cdb_len), group_len, "{}", row.name);
        }
        for field in [row.lba, row.length] {
            assert!(field.at + field.width <= row.cdb_len, "{}", row.name);
            let control = row.control_at() as u8;
            assert!(
                !(field.at..field.at + field.width).contains(&control),
                "{}",
                row.name
            );
        }
        assert!(!row.name.is_empty() && row.name.is_ascii());
        // What the table says of a row is found again by decoding it.
        let mut cdb = row.usage();
        cdb[row.control_at()] = 0;
        if row.opcode != opcode::VARIABLE_LENGTH && row.service_action.is_some() {
            cdb[1] = row.service_action.unwrap() as u8;
        }
        for pdt in [Pdt::DISK, Pdt::CDROM] {
            if row.sets.intersects(pdt.command_sets()) {
                assert!(
                    std::ptr::eq(decode(&cdb, pdt).unwrap().op, row),
                    "{}",
                    row.name
                );
            }
        }
        if row.flags.contains(Flags::UNAVAILABLE) {
            assert!(row.flags.contains(Flags::STANDBY), "{}", row.name);
        }
        if row.writes_medium() {
            assert_eq!(
                row.reservation,
                opcode::Reservation::Conflict,
                "{}",
                row.name
            );
        }
    }
}

#[test]
fn luns() {
    let ok = |b: [u8; 8]| Lun::decode(b).map(Lun::get).ok();
    assert_eq!(ok([0; 8]), Some(0));
    assert_eq!(ok([0, 255, 0, 0, 0, 0, 0, 0]), Some(255));
    assert_eq!(ok([0x41, 0x2c, 0, 0, 0, 0, 0, 0]), Some(300));
    assert_eq!(ok([0x7f, 0xff, 0, 0, 0, 0, 0, 0]), Some(16383));
    assert_eq!(ok([0x80, 0x1f, 0, 0, 0, 0, 0, 0]), Some(31));
    assert_eq!(ok([0xd2, 0, 1, 0x2c, 0, 0, 0, 0]), Some(300));
    assert_eq!(ok([0xd2, 0, 0x40, 0, 0, 0, 0, 0]), None);
    assert_eq!(ok(REPORT_LUNS_WLUN), None);
    assert_eq!(ok([1, 0, 0, 0, 0, 0, 0, 0]), Some(256));
    assert_eq!(ok([0x3f, 0xff, 0, 0, 0, 0, 0, 0]), Some(16383));
    assert_eq!(ok([0, 0, 0, 1, 0, 0, 0, 0]), None);
    assert_eq!(ok([0, 0, 0, 0, 0, 0, 0, 1]), None);
    let e = |n, how| Lun::new(n).unwrap().encode(how)[..2].to_vec();
    assert_eq!(e(255, AddressMethod::Peripheral), [0, 255]);
    assert_eq!(e(300, AddressMethod::Peripheral), [1, 0x2c]);
    assert_eq!(e(1, AddressMethod::Flat), [0x40, 1]);
    assert_eq!(e(31, AddressMethod::Lun), [0x80, 31]);
    assert_eq!(e(32, AddressMethod::Lun), [0x40, 32]);
    assert_eq!(Lun::new(16384), None);
    for how in ["PERIPHERAL", "FLAT", "LUN"] {
        assert_eq!(AddressMethod::parse(how).unwrap().name(), how);
    }
}

#[test]
fn report_luns_cut_and_selected() {
    let mut buf = [0u8; 20];
    let mut w = Writer::new(&mut buf);
    let mut r = ReportLuns::start(&mut w, 2, AddressMethod::Flat).unwrap();
    r.lun(Lun::ZERO);
    r.lun(Lun::new(5).unwrap());
    assert_eq!(r.finish(), 24);
    assert_eq!((w.written(), w.full_len()), (20, 24));
    assert_eq!(buf[..4], [0, 0, 0, 16]);
    let mut w = Writer::new(&mut buf);
    let mut r = ReportLuns::start(&mut w, 1, AddressMethod::Flat).unwrap();
    r.lun(Lun::ZERO);
    assert_eq!(r.finish(), 8);
    assert_eq!(
        SelectReport::decode(3),
        Err(sense::INVALID_FIELD_IN_CDB.in_cdb(2))
    );
}

#[test]
fn sense_formats() {
    let mut buf = [0u8; 64];
    let s = sense::INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5);
    assert_eq!(s.encode(false, &mut buf), 18);
    assert_eq!(
        buf[..18],
        [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcd, 0, 2]
    );
    assert_eq!(s.encode(true, &mut buf), 16);
    assert_eq!(
        buf[..16],
        [0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xcd, 0, 2, 0]
    );
    let s = sense::READ_ERROR.with_information(0x1_0000_0000);
    assert_eq!(s.encode(false, &mut buf), 18);
    assert_eq!(buf[0], 0x70, "does not fit, not valid");
    assert_eq!(s.encode(true, &mut buf), 20);
    assert_eq!(buf[7..20], [12, 0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(
        sense::READ_ERROR
            .with_information(7)
            .encode(false, &mut buf),
        18
    );
    assert_eq!(buf[..7], [0xf0, 0, 3, 0, 0, 0, 7]);
    assert_eq!(s.in_data(3).encode(true, &mut buf), sense::MAX_LEN);
    assert_eq!(s.encode(true, &mut buf[..5]), 5);
    assert!(std::mem::size_of::<Sense>() <= 32);
}
