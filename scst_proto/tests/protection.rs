// SPDX-License-Identifier: GPL-2.0

//! Protection information against a small model: a CRC bit by bit, and the standard's tables written down once more,
//! as what has to be refused rather than as what is computed.

use proptest::prelude::*;
use scst_proto::cdb::{decode, Cdb};
use scst_proto::opcode::PeripheralDeviceType as Pdt;
use scst_proto::protection::{
    crc_t10dif, expected_bytes, format_unit, guard_anew, join, split, Access, Checks, Format, Kind,
    Tuple, Wrong, TUPLE,
};
use scst_proto::sense::{
    Sense, SenseKey, APP_TAG_CHECK_FAILED, GUARD_CHECK_FAILED, INVALID_FIELD_IN_CDB,
    INVALID_OPCODE, REF_TAG_CHECK_FAILED,
};

const KINDS: [Kind; 3] = [Kind::Type1, Kind::Type2, Kind::Type3];

/// Long division by x^16 + x^15 + x^11 + x^9 + x^8 + x^7 + x^5 + x^4 + x^2 + x + 1.
fn division(data: &[u8]) -> u16 {
    let bits = data
        .iter()
        .flat_map(|b| (0..8).rev().map(move |n| (b >> n) & 1));
    let mut rest = 0u32;
    for bit in bits.chain([0; 16]) {
        rest = (rest << 1) | u32::from(bit);
        if rest & 0x1_0000 != 0 {
            rest ^= 0x1_8bb7;
        }
    }
    rest as u16
}

#[test]
fn guards_of_the_standard() {
    // SBC-4 table 26.
    assert_eq!(crc_t10dif(&[0; 32]), 0);
    assert_eq!(crc_t10dif(&[0xff; 32]), 0xa293);
    let up: Vec<u8> = (0..32).collect();
    assert_eq!(crc_t10dif(&up), 0x0224);
    let mut rest = [0u8; 32];
    rest[0..2].fill(0xff);
    assert_eq!(crc_t10dif(&rest), 0x21b8);
    let down: Vec<u8> = (0..32).map(|n| 0xff - n).collect();
    assert_eq!(crc_t10dif(&down), 0xa0b7);
}

#[test]
fn the_block_of_a_write_same() {
    let (block, lba) = ([0x5a; 512], u64::from(u32::MAX) - 1);
    for kind in KINDS {
        let format = Format {
            kind,
            checks: true,
            stored: true,
            tag: 0x1234_5678_9abc,
        };
        // Type 2 has checks of its own only in CDBs that tell tags.
        let access = Access::plain(&format, lba).checking_all();
        let mut tags = [0; 5 * TUPLE];
        access.generate(0, &block, 512, &mut tags[..TUPLE], crc_t10dif);
        let first = Tuple::from_bytes(tags.first_chunk().unwrap());
        for (index, tuple) in tags.chunks_exact_mut(TUPLE).enumerate() {
            tuple.copy_from_slice(&access.repeat(first, index as u64).to_bytes());
        }
        // Each is what that block would have had by itself, over the end of 32 bits too.
        let mut expected = [0; 5 * TUPLE];
        access.generate(0, &block.repeat(5), 512, &mut expected, crc_t10dif);
        assert_eq!(tags, expected, "{kind:?}");
        assert_eq!(
            access.verify(0, &block.repeat(5), 512, &tags, crc_t10dif),
            Ok(())
        );
        assert_eq!(access.repeat(Tuple::ESCAPE, 3), Tuple::ESCAPE);
    }
}

#[test]
fn guards_of_blocks_that_have_changed() {
    let mut tags = [0x77; 3 * TUPLE];
    guard_anew(&[1; 2 * 512], 512, &mut tags, crc_t10dif);
    let guard = crc_t10dif(&[1; 512]).to_be_bytes();
    for tuple in tags.chunks_exact(TUPLE).take(2) {
        assert_eq!((&tuple[..2], &tuple[2..]), (&guard[..], &[0x77; 6][..]));
    }
    assert_eq!(tags[2 * TUPLE..], [0x77; TUPLE]);
}

fn read(protect: u8, lba: u32) -> (Cdb, Vec<u8>) {
    let mut raw = vec![0x28, protect << 5, 0, 0, 0, 0, 0, 0, 4, 0];
    raw[2..6].copy_from_slice(&lba.to_be_bytes());
    (decode(&raw, Pdt::DISK).unwrap(), raw)
}

fn read_32(protect: u8, lba: u64, reference: u32, app: u16, mask: u16) -> (Cdb, Vec<u8>) {
    let mut raw = vec![0u8; 32];
    (raw[0], raw[7], raw[9], raw[10]) = (0x7f, 0x18, 0x09, protect << 5);
    raw[12..20].copy_from_slice(&lba.to_be_bytes());
    raw[20..24].copy_from_slice(&reference.to_be_bytes());
    raw[24..26].copy_from_slice(&app.to_be_bytes());
    raw[26..28].copy_from_slice(&mask.to_be_bytes());
    raw[31] = 4;
    (decode(&raw, Pdt::DISK).unwrap(), raw)
}

/// SBC-4 table 73, RDPROTECT: guard, application tag, reference tag are checked, if the device can.
fn table(protect: u8) -> Option<(bool, bool, bool)> {
    Some(match protect {
        0b000 | 0b001 | 0b101 => (true, true, true),
        0b010 => (false, true, true),
        0b011 => (false, false, false),
        0b100 => (true, false, false),
        _ => return None,
    })
}

#[test]
fn protect_fields() {
    for kind in KINDS {
        for protect in 0..8 {
            let format = Format {
                kind,
                checks: true,
                stored: true,
                tag: 0x0001_0002_0003,
            };
            let (short, short_raw) = read(protect, 9);
            let (long, long_raw) = read_32(protect, 9, 1, 2, 3);
            let short = Access::of(&format, &short, &short_raw, false);
            let long = Access::of(&format, &long, &long_raw, false);
            let (mine, other) = match kind {
                Kind::Type2 => (long, short),
                _ => (short, long),
            };
            match other {
                // Only type 2, and only without transferred information, has both.
                Ok(access) => assert!(kind == Kind::Type2 && protect == 0 && !access.transferred),
                Err(sense) => assert_eq!(sense, INVALID_OPCODE),
            }
            let byte = if kind == Kind::Type2 { 10 } else { 1 };
            match table(protect) {
                None => assert_eq!(mine, Err(INVALID_FIELD_IN_CDB.in_cdb_bit(byte, 7))),
                Some((guard, app, reference)) => {
                    let access = mine.unwrap();
                    let checks = Checks {
                        guard,
                        app,
                        reference,
                    };
                    assert_eq!((access.checks, access.transferred), (checks, protect != 0));
                }
            }
        }
    }
}

/// SBC-4 table 128: whether guard, application tag and reference tag are compared, of a device with this ATO.
fn compared(kind: Kind, ato: bool, protect: u8) -> (bool, bool, bool) {
    match (protect, kind, ato) {
        (0b000, ..) => (false, false, false),
        (0b010, Kind::Type3, false) => (false, false, false),
        (0b010, _, ato) => (false, ato, true),
        (0b001 | 0b011 | 0b100, Kind::Type3, false) => (true, false, false),
        (0b001 | 0b011 | 0b100, _, ato) => (true, ato, true),
        (_, _, ato) => (true, ato, false),
    }
}

#[test]
fn byte_by_byte() {
    let found = Tuple {
        guard: 1,
        app: 2,
        reference: 3,
    };
    for (kind, ato, protect) in KINDS
        .into_iter()
        .flat_map(|kind| [false, true].map(|ato| (kind, ato)))
        .flat_map(|(kind, ato)| (0..6).map(move |protect| (kind, ato, protect)))
    {
        let format = Format {
            kind,
            checks: true,
            stored: ato,
            tag: 0,
        };
        let (cdb, raw) = match kind {
            Kind::Type2 => read_32(protect, 9, 1, 2, 3),
            _ => read(protect, 9),
        };
        let access = Access::of(&format, &cdb, &raw, false).unwrap();
        let (guard, app, reference) = compared(kind, ato, protect);
        let failed = |failed: Sense| Sense::new(SenseKey::Miscompare, failed.asc, failed.ascq);
        let other = [
            (guard, Tuple { guard: 9, ..found }, GUARD_CHECK_FAILED),
            (app, Tuple { app: 9, ..found }, APP_TAG_CHECK_FAILED),
            (
                reference,
                Tuple {
                    reference: 9,
                    ..found
                },
                REF_TAG_CHECK_FAILED,
            ),
        ];
        assert_eq!(access.compare(found, found), Ok(()));
        for (compared, sent, sense) in other {
            let wanted = if compared { Err(failed(sense)) } else { Ok(()) };
            let what = (kind, ato, protect);
            assert_eq!(access.compare(sent, found), wanted, "{what:?} {sent:?}");
            // What was never written has nothing to be compared with.
            assert_eq!(access.compare(sent, Tuple::ESCAPE), Ok(()));
            assert_eq!(access.compare(Tuple::ESCAPE, sent), Ok(()));
        }
    }
}

#[test]
fn dpicz_is_about_zero_only() {
    let format = Format {
        kind: Kind::Type1,
        checks: true,
        stored: true,
        tag: 0,
    };
    let checks = |protect| {
        let (cdb, raw) = read(protect, 9);
        Access::of(&format, &cdb, &raw, true).unwrap().checks
    };
    assert_eq!(checks(0), Checks::default());
    assert!(checks(1).guard && checks(1).reference && !checks(1).app);
}

#[test]
fn who_does_not_check_says_so() {
    for kind in KINDS {
        let format = Format {
            kind,
            checks: false,
            stored: true,
            tag: u64::MAX,
        };
        assert_eq!(format.checks(), Checks::default());
    }
}

/// What one block's verdict has to be, by what is in it.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    protect: u8,
    tag: u64,
    lba: u64,
    seed: u32,
    app: u16,
    mask: u16,
    index: u64,
    tuple: Tuple,
    byte: u8,
}

fn model(c: &Case, block: &[u8]) -> Option<Sense> {
    let all_ones = (c.tuple.app == 0xffff, c.tuple.reference == 0xffff_ffff);
    match c.kind {
        Kind::Type1 | Kind::Type2 if all_ones.0 => return None,
        Kind::Type3 if all_ones == (true, true) => return None,
        _ => {}
    }
    let (guard, app, reference) = table(c.protect)?;
    let wanted = match c.kind {
        Kind::Type1 => Some(((c.lba + c.index) & 0xffff_ffff) as u32),
        Kind::Type2 => Some(((u64::from(c.seed) + c.index) & 0xffff_ffff) as u32),
        Kind::Type3 if c.tag & 0xffff_ffff_ffff == 0 => None,
        Kind::Type3 => Some(((c.tag >> 16) & 0xffff_ffff) as u32),
    };
    let tag = c.tag as u16;
    let app_wrong = match c.kind {
        Kind::Type1 => tag != 0 && c.tuple.app != tag,
        Kind::Type2 => {
            (0..16).any(|n| (c.mask >> n) & 1 == 1 && ((c.tuple.app ^ c.app) >> n) & 1 == 1)
        }
        Kind::Type3 => wanted.is_some() && c.tuple.app != tag,
    };
    let sense = if guard && c.tuple.guard != division(block) {
        GUARD_CHECK_FAILED
    } else if app && app_wrong {
        APP_TAG_CHECK_FAILED
    } else if reference && wanted.is_some_and(|w| w != c.tuple.reference) {
        REF_TAG_CHECK_FAILED
    } else {
        return None;
    };
    Some(sense.with_information(c.lba + c.index))
}

fn near(n: u32) -> impl Strategy<Value = u32> {
    prop_oneof![Just(n), Just(n ^ 1), Just(u32::MAX), any::<u32>()]
}

fn cases() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![Just(Kind::Type1), Just(Kind::Type2), Just(Kind::Type3)];
    let tag = prop_oneof![
        Just(0u64),
        Just(0x5_0000_1234),
        Just(0x1_0000),
        any::<u64>()
    ];
    let first = (
        kind,
        0u8..6,
        tag,
        0u32..u32::MAX - 8,
        any::<u32>(),
        any::<u16>(),
        any::<u16>(),
    );
    (first, 0u64..4, any::<u8>()).prop_flat_map(|(first, index, byte)| {
        let (kind, protect, tag, lba, seed, app, mask) = first;
        let reference = match kind {
            Kind::Type1 => (u64::from(lba) + index) as u32,
            Kind::Type2 => seed.wrapping_add(index as u32),
            Kind::Type3 => (tag >> 16) as u32,
        };
        let right = division(&[byte; 64]);
        let guards = prop_oneof![Just(right), Just(right), any::<u16>()];
        let known = if kind == Kind::Type2 { app } else { tag as u16 };
        let apps = prop_oneof![Just(known), Just(u16::MAX), any::<u16>()];
        (guards, apps, near(reference)).prop_map(move |(guard, app_tag, reference)| Case {
            kind,
            // With type 2 the long CDB may have a protect field of 0 too.
            protect,
            tag,
            lba: u64::from(lba),
            seed,
            app,
            mask,
            index,
            tuple: Tuple {
                guard,
                app: app_tag,
                reference,
            },
            byte,
        })
    })
}

proptest! {
    #[test]
    fn crc_is_division(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(crc_t10dif(&data), division(&data));
    }

    #[test]
    fn checks_as_the_model(case in cases()) {
        let format = Format { kind: case.kind, checks: true, stored: true, tag: case.tag };
        let (cdb, raw) = match case.kind {
            Kind::Type2 => read_32(case.protect, case.lba, case.seed, case.app, case.mask),
            _ => read(case.protect, case.lba as u32),
        };
        let access = Access::of(&format, &cdb, &raw, false).unwrap();
        let block = [case.byte; 64];
        let found = access.verify(case.index, &block, 64, &case.tuple.to_bytes(), crc_t10dif);
        prop_assert_eq!(found.err().map(|f| f.sense()), model(&case, &block));
    }

    #[test]
    fn what_is_made_passes(case in cases(), blocks in 1usize..5) {
        let format = Format { kind: case.kind, checks: true, stored: true, tag: case.tag };
        let (cdb, raw) = match case.kind {
            Kind::Type2 => read_32(1, case.lba, case.seed, case.app, case.mask),
            _ => read(1, case.lba as u32),
        };
        let access = Access::of(&format, &cdb, &raw, false).unwrap();
        let data: Vec<u8> = (0..blocks * 64).map(|n| n as u8 ^ case.byte).collect();
        let mut tags = vec![0; blocks * TUPLE];
        access.generate(case.index, &data, 64, &mut tags, crc_t10dif);
        prop_assert_eq!(access.verify(case.index, &data, 64, &tags, crc_t10dif), Ok(()));
        // One bit of the data is not, unless the tag that was told is the escape.
        let mut bad = data.clone();
        bad[(blocks - 1) * 64] ^= 0x10;
        let found = access.verify(case.index, &bad, 64, &tags, crc_t10dif);
        let told = if case.kind == Kind::Type2 { case.app & case.mask } else { case.tag as u16 };
        let open = told == 0xffff && (case.kind != Kind::Type3 || (case.tag >> 16) & 0xffff_ffff == 0xffff_ffff);
        match found {
            Ok(()) => prop_assert!(open),
            Err(failed) => {
                prop_assert_eq!(failed.wrong, Wrong::Guard);
                prop_assert_eq!(failed.lba, case.lba + case.index + blocks as u64 - 1);
            }
        }
        // And what is put together comes apart.
        let mut wire = vec![0; blocks * (64 + TUPLE)];
        join(&mut wire, 64, &data, &tags);
        let (mut user, mut info) = (vec![0; data.len()], vec![0; tags.len()]);
        split(&wire, 64, &mut user, &mut info);
        prop_assert_eq!((user, info), (data, tags));
    }

    #[test]
    fn lengths(shift in 9u32..16, protect in 0u8..8, blocks in any::<u16>()) {
        let mut raw = vec![0x2a, protect << 5, 0, 0, 0, 0, 0, 0, 0, 0];
        raw[7..9].copy_from_slice(&blocks.to_be_bytes());
        let cdb = decode(&raw, Pdt::DISK).unwrap();
        let each = (1u64 << shift) + if protect == 0 { 0 } else { 8 };
        prop_assert_eq!(expected_bytes(&cdb, shift), Some(each * u64::from(blocks)));
    }
}

#[test]
fn formats() {
    let ask = |byte: u8, list: &[u8]| format_unit(&[0x04, byte, 0, 0, 0, 0], list);
    assert_eq!(ask(0, &[]), Ok(None));
    assert_eq!(ask(0x90, &[0, 0, 0, 0]), Ok(Some(Kind::Type1)));
    assert_eq!(ask(0x80, &[]), Ok(Some(Kind::Type1)));
    assert_eq!(ask(0xd0, &[0, 0, 0, 0]), Ok(Some(Kind::Type2)));
    assert_eq!(ask(0xd0, &[1, 0, 0, 0]), Ok(Some(Kind::Type3)));
    assert!(ask(0x40, &[]).is_err());
    assert!(ask(0xd0, &[2, 0, 0, 0]).is_err());
    assert!(ask(0xd0, &[]).is_err());
}
