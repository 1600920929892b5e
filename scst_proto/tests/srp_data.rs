// SPDX-License-Identifier: GPL-2.0

//! SRP commands byte by byte, and where their data are.

use scst_proto::opcode::Direction;
use scst_proto::sense::INVALID_FIELD_IN_CDB;
use scst_proto::srp::cmd::{Cmd, TaskAttribute};
use scst_proto::srp::data_buffer::{DataBuffer, Rules};
use scst_proto::srp::descriptors::{Descriptor, DescriptorError, Descriptors};
use scst_proto::srp::iu::{Iu, IuError};
use scst_proto::srp::{Consequence, LogoutReason};

const RULES: Rules = Rules {
    imm_data_offset: Some(80),
    max_descriptors: 64,
};

/// An SRP_CMD: `formats`, the two counts, words of additional CDB, and what follows.
fn cmd(formats: u8, counts: [u8; 2], cdb_words: u8, tail: &[u8]) -> Vec<u8> {
    let mut iu = vec![0x02, 0x06, 0, 0, 0, formats, counts[0], counts[1]];
    iu.extend([1, 2, 3, 4, 5, 6, 7, 8]); // tag
    iu.extend([0; 4]);
    iu.extend([0x40, 0x11, 0, 0, 0, 0, 0, 0]); // LUN
    iu.extend([0, 0xf9, 0, (cdb_words << 2) | 3]); // head of queue; reserved bits set
    iu.extend([0x28, 0, 0, 0, 0, 9, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    iu.extend((0..cdb_words * 4).map(|i| 0xa0 + i));
    iu.extend(tail);
    iu
}

fn piece(addr: u64, rkey: u32, len: u32) -> Vec<u8> {
    [
        &addr.to_be_bytes()[..],
        &rkey.to_be_bytes(),
        &len.to_be_bytes(),
    ]
    .concat()
}

/// An indirect descriptor: table, total length, pieces.
fn indirect(table: (u64, u32, u32), total: u32, pieces: &[(u64, u32, u32)]) -> Vec<u8> {
    let mut bytes = piece(table.0, table.1, table.2);
    bytes.extend(total.to_be_bytes());
    for p in pieces {
        bytes.extend(piece(p.0, p.1, p.2));
    }
    bytes
}

fn data(iu: &[u8]) -> Result<DataBuffer<'_>, DescriptorError> {
    Cmd::parse(iu).expect("a command").data(&RULES)
}

fn pieces(list: Descriptors<'_>) -> Vec<(u64, u32, u32)> {
    list.iter().map(|d| (d.addr, d.rkey, d.len)).collect()
}

#[test]
fn a_command() {
    let iu = cmd(0, [0; 2], 4, &[]);
    let Ok(Iu::Cmd(c)) = Iu::parse(&iu) else {
        panic!("no command");
    };
    assert_eq!(
        (c.tag, c.lun),
        (0x0102_0304_0506_0708, 0x4011_0000_0000_0000)
    );
    assert_eq!(c.attribute, TaskAttribute::HeadOfQueue);
    assert_eq!(c.cdb, &iu[32..64]);
    assert_eq!(c.cdb_padded()[..], iu[32..64]);
    assert!(c.notify.wants(true) && c.notify.wants(false));
    assert_eq!(c.data(&RULES), Ok(DataBuffer::None));
    // The CDB ends where the unit does, or there is no command.
    assert_eq!(Cmd::parse(&iu[..63]), None);
    assert_eq!(Iu::parse(&iu[..63]), Err(IuError::TooShort(2)));
    let iu = cmd(0, [0; 2], 0, &[]);
    let c = Cmd::parse(&iu).unwrap();
    assert_eq!((c.cdb.len(), &c.cdb_padded()[16..]), (16, &[0; 16][..]));
    let mut longest = cmd(0, [0; 2], 0, &[0; 252]);
    longest[31] = 0xfc;
    assert_eq!(Cmd::parse(&longest).unwrap().cdb.len(), 268);
}

#[test]
fn attributes_and_notification() {
    use TaskAttribute::*;
    let expected = [
        Simple,
        HeadOfQueue,
        Ordered,
        Ordered,
        Aca,
        Ordered,
        Ordered,
        Ordered,
    ];
    for byte in 0..=255u8 {
        assert_eq!(
            TaskAttribute::decode(byte),
            expected[usize::from(byte & 7)],
            "{byte:#x}"
        );
    }
    for (sol_not, good, bad) in [
        (0, false, false),
        (2, true, false),
        (4, false, true),
        (1, false, false),
    ] {
        let mut iu = cmd(0, [0; 2], 0, &[]);
        iu[1] = sol_not;
        let notify = Cmd::parse(&iu).unwrap().notify;
        assert_eq!((notify.wants(true), notify.wants(false)), (good, bad));
    }
}

#[test]
fn direct_descriptors() {
    let there = piece(0x1000, 7, 512);
    for (formats, direction) in [(0x01, Direction::In), (0x10, Direction::Out)] {
        for words in [0, 4] {
            // The counts mean nothing here.
            let iu = cmd(formats, [9, 9], words, &there);
            let got = data(&iu).unwrap();
            let DataBuffer::Remote { direction: d, list } = got else {
                panic!("{got:?}");
            };
            assert_eq!((d, got.len(), list.table_entries()), (direction, 512, 1));
            assert_eq!(pieces(list), [(0x1000, 7, 512)]);
            assert_eq!(data(&iu[..iu.len() - 1]), Err(DescriptorError::Truncated));
        }
        assert_eq!(
            data(&cmd(formats, [0; 2], 0, &piece(5, 5, 0))),
            Ok(DataBuffer::None)
        );
        // The last byte of the address space, and one more.
        assert!(data(&cmd(formats, [0; 2], 0, &piece(u64::MAX, 0, 1))).is_ok());
        assert_eq!(
            data(&cmd(formats, [0; 2], 0, &piece(u64::MAX, 0, 2))),
            Err(DescriptorError::AddressWraps)
        );
    }
}

#[test]
fn indirect_descriptors() {
    let three = [(0x1000, 1, 512), (0x5000, 2, 0), (0x9000, 3, 1024)];
    for (formats, counts) in [(0x02, [0, 3]), (0x20, [3, 0])] {
        let whole = |total| cmd(formats, counts, 0, &indirect((8, 9, 48), total, &three));
        let iu = whole(1536);
        let Ok(DataBuffer::Remote { list, .. }) = data(&iu) else {
            panic!("not whole");
        };
        assert_eq!(pieces(list), [three[0], three[2]]);
        assert_eq!((list.table_entries(), list.total()), (3, 1536));
        // More memory than data is not used.
        let iu = whole(600);
        let Ok(DataBuffer::Remote { list, .. }) = data(&iu) else {
            panic!("not whole");
        };
        assert_eq!(pieces(list), [(0x1000, 1, 512), (0x9000, 3, 88)]);
        assert_eq!(data(&whole(1537)), Err(DescriptorError::ListTooShort));
        assert_eq!(data(&whole(0)), Ok(DataBuffer::None));
        for short in [1, 48, 49, 68] {
            let iu = whole(1536);
            assert_eq!(
                data(&iu[..iu.len() - short]),
                Err(DescriptorError::Truncated)
            );
        }
        // Other table lengths with three pieces in the unit.
        let table = |len| {
            data(&cmd(
                formats,
                counts,
                0,
                &indirect((8, 9, len), 1536, &three),
            ))
            .err()
        };
        assert_eq!(table(47), Some(DescriptorError::TableLength));
        assert_eq!(table(32), Some(DescriptorError::InlineCount));
        assert_eq!(table(0), Some(DescriptorError::InlineCount));
        assert_eq!(table(16 * 65), Some(DescriptorError::TooMany));
        assert_eq!(table(u32::MAX - 15), Some(DescriptorError::TooMany));
        let wraps = [(1, 0, 1), (u64::MAX - 5, 0, 7), (1, 0, 1)];
        assert_eq!(
            data(&cmd(formats, counts, 0, &indirect((8, 9, 48), 3, &wraps))),
            Err(DescriptorError::AddressWraps)
        );
    }
    // Pieces of 4 GiB do not overflow the sum.
    let large = [(0, 0, u32::MAX); 4];
    let iu = cmd(0x02, [0, 4], 0, &indirect((0, 0, 64), u32::MAX - 1, &large));
    let Ok(DataBuffer::Remote { list, .. }) = data(&iu) else {
        panic!("refused");
    };
    assert_eq!(pieces(list), [(0, 0, u32::MAX - 1)]);
}

#[test]
fn tables_to_be_fetched() {
    let first = [(0x1000, 1, 512)];
    for (formats, counts, direction) in [
        (0x02, [9, 1], Direction::In),
        (0x20, [1, 9], Direction::Out),
    ] {
        let iu = cmd(formats, counts, 0, &indirect((0xabc0, 5, 32), 1000, &first));
        let at = Descriptor {
            addr: 0xabc0,
            rkey: 5,
            len: 32,
        };
        assert_eq!(
            data(&iu),
            Ok(DataBuffer::Table {
                direction,
                at,
                total: 1000
            })
        );
        let wrapping = indirect((u64::MAX - 30, 5, 32), 1000, &first);
        assert_eq!(
            data(&cmd(formats, counts, 0, &wrapping)),
            Err(DescriptorError::AddressWraps)
        );
        let nothing = indirect((0xabc0, 5, 32), 0, &first);
        assert_eq!(
            data(&cmd(formats, counts, 0, &nothing)),
            Ok(DataBuffer::None)
        );
    }
    // The longest table.
    let longest = cmd(0x02, [0; 2], 0, &indirect((0, 5, 16 * 64), 1, &[]));
    assert!(matches!(data(&longest), Ok(DataBuffer::Table { .. })));
    let table = [piece(0x1000, 1, 512), piece(0x2000, 2, 512)].concat();
    let list = Descriptors::parse_table(&table, 1000).unwrap();
    assert_eq!(pieces(list), [(0x1000, 1, 512), (0x2000, 2, 488)]);
    assert_eq!(
        Descriptors::parse_table(&table[..31], 512),
        Err(DescriptorError::TableLength)
    );
    assert_eq!(
        Descriptors::parse_table(&table, 1025),
        Err(DescriptorError::ListTooShort)
    );
}

#[test]
fn immediate_data() {
    let tail = |len: u32, data: usize| {
        let mut tail = len.to_be_bytes().to_vec();
        tail.extend((0..28 + data).map(|i| i as u8));
        tail
    };
    let iu = cmd(0x30, [0; 2], 0, &tail(5, 8));
    let got = data(&iu).unwrap();
    assert_eq!(got, DataBuffer::Immediate(&iu[80..85]));
    assert_eq!((got.len(), got.direction()), (5, Direction::Out));
    assert_eq!(
        data(&cmd(0x30, [0; 2], 0, &tail(9, 8))),
        Err(DescriptorError::ImmediateTruncated)
    );
    assert_eq!(
        data(&cmd(0x30, [0; 2], 0, &tail(u32::MAX, 8))),
        Err(DescriptorError::ImmediateTruncated)
    );
    assert_eq!(
        data(&cmd(0x30, [0; 2], 0, &tail(0, 0))),
        Ok(DataBuffer::None)
    );
    assert_eq!(
        data(&cmd(0x30, [0; 2], 0, &[0; 3])),
        Err(DescriptorError::Truncated)
    );
    // The descriptor may end at the data, no later: 48 + 28 + 4 = 80.
    assert_eq!(data(&cmd(0x30, [0; 2], 7, &[0; 4])), Ok(DataBuffer::None));
    assert_eq!(
        data(&cmd(0x30, [0; 2], 8, &[0; 4])),
        Err(DescriptorError::ImmediateOverlaps)
    );
    let none = Rules {
        imm_data_offset: None,
        ..RULES
    };
    assert_eq!(
        Cmd::parse(&iu).unwrap().data(&none),
        Err(DescriptorError::OutFormat)
    );
}

#[test]
fn formats() {
    // As an immediate descriptor this says that there are no data.
    let tail = indirect((0, 0, 16), 16, &[(0, 0, 16)]);
    for formats in 0..=255u8 {
        let expected = match (formats >> 4, formats & 15) {
            (0, 0..=2) | (1..=3, 0) => None,
            (0, _) => Some(DescriptorError::InFormat),
            (_, 0) => Some(DescriptorError::OutFormat),
            _ => Some(DescriptorError::Bidirectional),
        };
        assert_eq!(
            data(&cmd(formats, [1, 1], 0, &tail)).err(),
            expected,
            "{formats:#04x}"
        );
    }
}

#[test]
fn what_is_done_about_errors() {
    for (i, error) in DescriptorError::ALL.into_iter().enumerate() {
        assert_eq!(error as usize, i);
        assert!(!error.to_string().is_empty());
        let expected = match error {
            DescriptorError::OutFormat => Consequence::Close(LogoutReason::UnsupportedOutFormat),
            DescriptorError::InFormat => Consequence::Close(LogoutReason::UnsupportedInFormat),
            DescriptorError::Truncated | DescriptorError::ImmediateTruncated => {
                Consequence::Close(LogoutReason::InvalidLength)
            }
            _ => Consequence::Respond(INVALID_FIELD_IN_CDB),
        };
        assert_eq!(error.consequence(), expected);
    }
}
