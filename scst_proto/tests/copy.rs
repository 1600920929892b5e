// SPDX-License-Identifier: GPL-2.0

//! EXTENDED COPY: what is in a list is what comes out of it, any bytes are taken or refused, and what the copy manager
//! says of itself is what it does.

use proptest::prelude::*;
use scst_proto::bytes::Writer;
use scst_proto::copy::list::{Amount, CopyList, End, CSCD_SELF};
use scst_proto::copy::report::{self, Progress, Status};
use scst_proto::copy::{
    input, out, token, MAX_CSCDS, MAX_DESCRIPTORS, MAX_SEGMENTS, MAX_SEGMENT_BYTES,
};
use scst_proto::opcode::{self, PeripheralDeviceType};
use scst_proto::sense::*;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 1000 },
        failure_persistence: None,
        ..Default::default()
    }
}

fn cscd(designator: &[u8]) -> Vec<u8> {
    let mut d = vec![0xe4, 0, 0, 0, 1, 3, 0, designator.len() as u8];
    d.extend_from_slice(designator);
    d.resize(29, 0);
    d.extend_from_slice(&[0, 2, 0]);
    d
}

/// A segment as the model has it: type, DC, source, destination, count, LBAs.
type Model = (bool, bool, u16, u16, u32, u64, u64);

fn segment(&(bytes, dc, source, destination, count, from, to): &Model) -> Vec<u8> {
    let mut d = vec![if bytes { 0x0a } else { 0x02 }, if dc { 2 } else { 0 }, 0];
    d.push(if bytes { 0x1c } else { 0x18 });
    d.extend_from_slice(&source.to_be_bytes());
    d.extend_from_slice(&destination.to_be_bytes());
    if bytes {
        d.extend_from_slice(&count.to_be_bytes());
    } else {
        d.extend_from_slice(&[0, 0]);
        d.extend_from_slice(&(count as u16).to_be_bytes());
    }
    d.extend_from_slice(&from.to_be_bytes());
    d.extend_from_slice(&to.to_be_bytes());
    if bytes {
        d.extend_from_slice(&[0; 4]);
    }
    d
}

fn list(long: bool, id: u32, usage: u8, cscds: &[Vec<u8>], segments: &[Model]) -> Vec<u8> {
    let cscds = cscds.concat();
    let segments: Vec<u8> = segments.iter().flat_map(segment).collect();
    let mut d = vec![0; if long { 48 } else { 16 }];
    d[1] = usage << 3;
    if long {
        d[0] = 1;
        d[3] = 0x20;
        d[16] = 0xff;
        d[20..24].copy_from_slice(&id.to_be_bytes());
        d[42..44].copy_from_slice(&(cscds.len() as u16).to_be_bytes());
        d[44..46].copy_from_slice(&(segments.len() as u16).to_be_bytes());
    } else {
        d[0] = id as u8;
        d[2..4].copy_from_slice(&(cscds.len() as u16).to_be_bytes());
        d[8..12].copy_from_slice(&(segments.len() as u32).to_be_bytes());
    }
    d.extend(cscds);
    d.extend(segments);
    d
}

fn action(long: bool) -> u16 {
    if long {
        out::EXTENDED_COPY
    } else {
        out::EXTENDED_COPY_LID1
    }
}

fn one() -> Vec<Vec<u8>> {
    vec![cscd(b"12345678")]
}

const PLAIN: Model = (false, false, 0, 0, 8, 0, 100);

fn refused(long: bool, bytes: &[u8]) -> Sense {
    CopyList::decode(action(long), bytes).expect_err("refused")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn round_trip(
        long in any::<bool>(),
        id in any::<u32>(),
        usage in prop_oneof![Just(0u8), Just(2), Just(3)],
        names in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=20), 0..=8),
        segments in prop::collection::vec(
            (any::<bool>(), any::<bool>(), any::<u16>(), any::<u16>(), 0..=MAX_SEGMENT_BYTES, any::<u64>(), any::<u64>()),
            0..20),
    ) {
        let id = match (usage, long) {
            (3, _) => 0,
            (_, true) => id,
            (_, false) => id & 0xff,
        };
        let number = |n: u16| if names.is_empty() { CSCD_SELF } else { n % names.len() as u16 };
        let segments: Vec<Model> = segments
            .into_iter()
            .map(|(bytes, dc, s, d, n, from, to)| {
                (bytes, dc, number(s), number(d), if bytes { n } else { n & 0xffff }, from, to)
            })
            .collect();
        let cscds: Vec<Vec<u8>> = names.iter().map(|name| cscd(name)).collect();
        let bytes = list(long, id, usage, &cscds, &segments);
        let got = CopyList::decode(action(long), &bytes).unwrap().unwrap();
        prop_assert_eq!(got.id, (usage != 3).then_some(id));
        prop_assert!(!got.immediate);
        let found: Vec<_> = got.cscds().collect();
        prop_assert_eq!(found.len(), names.len());
        for (found, name) in found.iter().zip(&names) {
            prop_assert_eq!(found.designator, &name[..]);
            prop_assert_eq!((found.code_set, found.kind, found.block_length), (1, 3, 512));
        }
        let found: Vec<_> = got.segments().collect();
        prop_assert_eq!(found.len(), segments.len());
        for (found, &(bytes, dc, s, d, n, from, to)) in found.iter().zip(&segments) {
            let end = |n| if n == CSCD_SELF { End::Own } else { End::Cscd(n) };
            prop_assert_eq!((found.source, found.destination), (end(s), end(d)));
            prop_assert_eq!((found.source_lba, found.destination_lba), (from, to));
            prop_assert_eq!(found.amount, match (bytes, dc) {
                (true, _) => Amount::Bytes(n),
                (_, false) => Amount::SourceBlocks(n),
                (_, true) => Amount::DestinationBlocks(n),
            });
        }
    }

    #[test]
    fn any_bytes(long in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some(list)) = CopyList::decode(action(long), &bytes) {
            prop_assert!(list.cscds().count() <= usize::from(MAX_CSCDS));
            prop_assert!(list.segments().count() <= usize::from(MAX_SEGMENTS));
        }
    }

    #[test]
    fn one_byte_changed(long in any::<bool>(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = list(long, 1, 0, &one(), &[PLAIN, PLAIN]);
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(Some(list)) = CopyList::decode(action(long), &bytes) {
            for segment in list.segments() {
                let _ = segment.extent(9, 12);
            }
        }
    }

    #[test]
    fn extents(
        dc in any::<bool>(), blocks in any::<u16>(), from in any::<u64>(), to in any::<u64>(),
        source in 9u32..=12, destination in 9u32..=12,
    ) {
        let bytes = list(false, 1, 0, &one(), &[(false, dc, 0, 0, blocks.into(), from, to)]);
        let got = CopyList::decode(0, &bytes).unwrap().unwrap();
        let segment = got.segments().next().unwrap();
        let len = u128::from(blocks) << if dc { destination } else { source };
        let (begin, end) = (u128::from(from) << source, u128::from(to) << destination);
        let fits = begin <= i64::MAX as u128 && end <= i64::MAX as u128;
        let whole = len % (1 << source) == 0 && len % (1 << destination) == 0;
        match segment.extent(source, destination) {
            Ok(got) => {
                prop_assert!(fits && whole);
                prop_assert_eq!((u128::from(got.0), u128::from(got.1), u128::from(got.2)), (begin, end, len));
            }
            Err(sense) if sense.is(&INEXACT_SEGMENT) => prop_assert!(!whole),
            Err(sense) => prop_assert!(sense.is(&COPY_ABORTED) && !fits),
        }
    }
}

#[test]
fn empty_lists_copy_nothing() {
    assert!(CopyList::decode(0, &[]).unwrap().is_none());
    let bytes = list(false, 0, 0, &[], &[]);
    let got = CopyList::decode(0, &bytes).unwrap().unwrap();
    assert_eq!((got.cscds().count(), got.segments().count()), (0, 0));
}

#[test]
fn limits() {
    let many = |n: usize| vec![cscd(b"x"); n];
    for long in [false, true] {
        let most = list(
            long,
            1,
            0,
            &many(MAX_CSCDS.into()),
            &vec![PLAIN; MAX_SEGMENTS.into()],
        );
        assert!(CopyList::decode(action(long), &most).is_ok());
        let targets = list(long, 1, 0, &many(usize::from(MAX_CSCDS) + 1), &[PLAIN]);
        assert!(refused(long, &targets).is(&TOO_MANY_TARGET_DESCRIPTORS));
        let segments = list(
            long,
            1,
            0,
            &one(),
            &vec![PLAIN; usize::from(MAX_SEGMENTS) + 1],
        );
        assert!(refused(long, &segments).is(&TOO_MANY_SEGMENT_DESCRIPTORS));
        let longest = vec![PLAIN; MAX_DESCRIPTORS as usize / 28 + 1];
        let both = list(long, 1, 0, &many(usize::from(MAX_CSCDS) + 1), &longest);
        assert!(refused(long, &both).is(&PARAMETER_LIST_LENGTH_ERROR));
    }
}

#[test]
fn what_is_wrong_is_pointed_at() {
    let field = |sense: Sense| sense.field.map(|f| (f.in_cdb, f.byte));
    let good = list(false, 1, 0, &one(), &[PLAIN]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        refused(false, &bytes)
    };
    assert_eq!(
        field(with(16, 0xe0)),
        field(UNSUPPORTED_TARGET_DESCRIPTOR.in_data(16))
    );
    assert!(with(16, 0xe0).is(&UNSUPPORTED_TARGET_DESCRIPTOR));
    assert_eq!(
        with(16 + 7, 21),
        INVALID_FIELD_IN_PARAMETER_LIST.in_data(16 + 7)
    );
    assert_eq!(with(48, 0x03), UNSUPPORTED_SEGMENT_DESCRIPTOR.in_data(48));
    assert_eq!(
        with(48 + 3, 0x19),
        INVALID_FIELD_IN_PARAMETER_LIST.in_data(50)
    );
    assert_eq!(with(48 + 7, 1), UNREACHABLE_COPY_TARGET.in_data(48));
    assert_eq!(with(1, 1 << 3), INVALID_FIELD_IN_PARAMETER_LIST.in_data(1));
    assert_eq!(with(1, 3 << 3), INVALID_FIELD_IN_PARAMETER_LIST.in_data(0));
    assert!(with(15, 1).is(&INLINE_DATA_LENGTH_EXCEEDED));
    for cut in [1, 15, 16, 40, 48, 75] {
        assert!(refused(false, &good[..cut]).is(&PARAMETER_LIST_LENGTH_ERROR));
    }
    let mut later = list(true, 0, 3, &one(), &[PLAIN]);
    later[15] = 2;
    assert_eq!(
        refused(true, &later),
        INVALID_FIELD_IN_PARAMETER_LIST.in_data(15)
    );
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buf = [0; 1024];
    let mut w = Writer::new(&mut buf);
    write(&mut w);
    assert!(!w.is_truncated());
    w.as_bytes().to_vec()
}

fn be32(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn operating_parameters() {
    let got = written(report::parameters);
    assert_eq!(be32(&got, 0), got.len() - 4);
    assert_eq!(got[4], 1);
    assert_eq!(got[8..12], [0, MAX_CSCDS as u8, 1, 0]);
    assert_eq!(be32(&got, 12), MAX_DESCRIPTORS as usize);
    assert_eq!(be32(&got, 16), MAX_SEGMENT_BYTES as usize);
    assert_eq!(got[43..], [3, 0x02, 0x0a, 0xe4]);
}

/// Every command that page 8Fh lists is one that is carried out, and the other way round.
#[test]
fn page_8f() {
    let got = written(|w| report::vpd(w, 9));
    let (mut kinds, mut rest) = (Vec::new(), &got[..]);
    while let [a, b, hi, lo, ..] = *rest {
        let len = usize::from(u16::from_be_bytes([hi, lo]));
        assert_eq!(len % 4, 0);
        kinds.push((u16::from_be_bytes([a, b]), rest[4..4 + len].to_vec()));
        rest = &rest[4 + len..];
    }
    assert!(rest.is_empty() && kinds.is_sorted_by_key(|k| k.0));
    let commands = &kinds.iter().find(|k| k.0 == 1).unwrap().1;
    let (mut list, mut listed) = (&commands[1..=usize::from(commands[0])], Vec::new());
    while let [code, count, ..] = *list {
        let end = 2 + usize::from(count);
        listed.extend(list[2..end].iter().map(|sa| (code, Some(u16::from(*sa)))));
        list = &list[end..];
    }
    let supported: Vec<_> = opcode::all_rows()
        .iter()
        .filter(|row| matches!(row.opcode, 0x83 | 0x84) && row.is_supported())
        .map(|row| (row.opcode, row.service_action))
        .collect();
    assert_eq!(listed, supported);
    assert!(opcode::lookup(0x84, input::STATUS, PeripheralDeviceType::DISK).is_some());
}

#[test]
fn all_tokens() {
    let mut tokens = [[0u8; token::LEN]; 2];
    for (n, bytes) in (1u64..).zip(&mut tokens) {
        let what = token::Created {
            kind: token::Kind::ChangeVulnerable,
            id: n,
            creator: &[7; 32],
            bytes: 512,
            block_length: 512,
            secret: &[0xee; token::SECRET],
        };
        token::make(bytes, &what);
    }
    let got = written(|w| token::all(w, tokens.iter()));
    assert_eq!(
        (got.len(), be32(&got, 0)),
        (token::all_len(2), token::all_len(2) - 4)
    );
    for (found, bytes) in got[8..].chunks(token::MANAGEMENT).zip(&tokens) {
        assert_eq!(found, &bytes[..token::MANAGEMENT]);
    }
    assert!(!got.contains(&0xee), "what nobody is to guess");
    let mut few = [0; 20];
    let mut w = Writer::new(&mut few);
    token::all(&mut w, tokens.iter());
    assert_eq!(
        (be32(&few, 0), &few[8..]),
        (token::all_len(2) - 4, &tokens[0][..12])
    );
    assert_eq!(
        written(|w| token::all(w, std::iter::empty())),
        [0, 0, 0, 4, 0, 0, 0, 0]
    );
}

#[test]
fn status_of_copies() {
    let mut copy = Status {
        progress: Progress::Background,
        action: out::EXTENDED_COPY,
        segments: 3,
        bytes: 0x1_0000_0000,
        block_shift: None,
        status: 0,
        sense: None,
    };
    assert_eq!(
        written(|w| report::status_lid1(w, &copy)),
        [0, 0, 0, 8, 0, 0, 3, 1, 0, 0x40, 0, 0]
    );
    let got = written(|w| report::status(w, &copy));
    assert_eq!((got.len(), be32(&got, 0)), (32, 28));
    assert_eq!((got[4], got[5], got[15]), (1, 0x12, 0));
    assert_eq!(got[16..24], 0x1_0000_0000u64.to_be_bytes());
    assert_eq!(written(|w| report::failure_lid1(w, &copy)), [0; 4]);
    copy.block_shift = Some(9);
    let got = written(|w| report::status(w, &copy));
    assert_eq!(
        (got[15], &got[16..24]),
        (0xf1, &0x80_0000u64.to_be_bytes()[..])
    );
    copy.progress = Progress::Failed;
    copy.status = 2;
    copy.sense = Some(COPY_TARGET_NOT_REACHABLE.in_data(48));
    let got = written(|w| report::status(w, &copy));
    assert_eq!((got[5], got[12], be32(&got, 0)), (2, 2, got.len() - 4));
    assert_eq!((got[13], got[14]), (16, 16));
    assert_eq!(got[32..36], [0x72, 0x0a, 0x0d, 0x02]);
    let got = written(|w| report::failure_lid1(w, &copy));
    assert_eq!((be32(&got, 0), got[56], got[59]), (got.len() - 4, 2, 16));
    assert_eq!(got[60..64], [0x72, 0x0a, 0x0d, 0x02]);
}

mod tokens {
    use super::*;
    use scst_proto::copy::token::{
        id, is_zero, make, Created, Kind, Populate, WriteUsing, DEFAULT_TIMEOUT, LEN, MAX_BYTES,
        MAX_RANGES, SECRET,
    };

    fn descriptors(ranges: &[(u64, u32)]) -> Vec<u8> {
        let mut d = ((ranges.len() * 16) as u16).to_be_bytes().to_vec();
        for (lba, blocks) in ranges {
            d.extend_from_slice(&lba.to_be_bytes());
            d.extend_from_slice(&blocks.to_be_bytes());
            d.extend_from_slice(&[0; 4]);
        }
        d
    }

    fn counted(mut d: Vec<u8>) -> Vec<u8> {
        let len = (d.len() as u16).to_be_bytes();
        d.splice(0..0, len);
        d
    }

    fn populate(flags: u8, timeout: u32, kind: u32, ranges: &[(u64, u32)]) -> Vec<u8> {
        let mut d = vec![flags, 0];
        d.extend_from_slice(&timeout.to_be_bytes());
        d.extend_from_slice(&kind.to_be_bytes());
        d.extend_from_slice(&[0; 2]);
        d.extend(descriptors(ranges));
        counted(d)
    }

    fn write_using(flags: u8, offset: u64, token: &[u8; LEN], ranges: &[(u64, u32)]) -> Vec<u8> {
        let mut d = vec![flags, 0, 0, 0, 0, 0];
        d.extend_from_slice(&offset.to_be_bytes());
        d.extend_from_slice(token);
        d.extend_from_slice(&[0; 6]);
        d.extend(descriptors(ranges));
        counted(d)
    }

    fn some_token(id: u64) -> [u8; LEN] {
        let mut token = [0xff; LEN];
        let what = Created {
            kind: Kind::ChangeVulnerable,
            id,
            creator: &[0xe4; 32],
            bytes: 4096,
            block_length: 512,
            secret: &[7; SECRET],
        };
        make(&mut token, &what);
        token
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn ranges_are_what_was_sent(
            mut lbas in prop::collection::btree_set(0u64..1 << 20, 1..=64),
            blocks in 0u32..=1,
            immediate in any::<bool>(),
        ) {
            let ranges: Vec<(u64, u32)> = core::mem::take(&mut lbas).into_iter().map(|lba| (lba, blocks)).collect();
            let list = populate(u8::from(immediate), 7, 0, &ranges);
            let got = Populate::decode(&list, 1 << 20, 9).unwrap();
            let found: Vec<_> = got.ranges.iter().map(|r| (r.lba, r.blocks)).collect();
            prop_assert_eq!((got.immediate, got.timeout, found), (immediate, 7, ranges.clone()));
            let token = some_token(3);
            let list = write_using(2 | u8::from(immediate), 9, &token, &ranges);
            let got = WriteUsing::decode(&list, 1 << 20, 9).unwrap();
            prop_assert_eq!((got.immediate, got.delete, got.offset, got.token), (immediate, true, 9, &token));
            prop_assert_eq!(got.ranges.blocks(), u64::from(blocks) * ranges.len() as u64);
        }

        #[test]
        fn overlaps_are_found(a in 0u64..64, an in 0u32..64, b in 0u64..64, bn in 0u32..64) {
            let shared = (a..a + u64::from(an)).any(|n| (b..b + u64::from(bn)).contains(&n));
            let list = populate(0, 0, 0, &[(a, an), (b, bn)]);
            prop_assert_eq!(Populate::decode(&list, 256, 9).is_err(), shared);
        }

        #[test]
        fn any_list(bytes in prop::collection::vec(any::<u8>(), 0..700), capacity in any::<u64>(), shift in 9u32..13) {
            for ranges in [
                Populate::decode(&bytes, capacity, shift).map(|p| p.ranges),
                WriteUsing::decode(&bytes, capacity, shift).map(|w| w.ranges),
            ].into_iter().flatten() {
                prop_assert!(ranges.count() <= usize::from(MAX_RANGES));
                prop_assert!(ranges.blocks() << shift <= MAX_BYTES);
                prop_assert!(ranges.iter().all(|r| r.lba + u64::from(r.blocks) <= capacity));
            }
        }
    }

    #[test]
    fn lists_are_checked() {
        let refused = |list: &[u8]| Populate::decode(list, 1000, 9).expect_err("refused");
        assert!(refused(&populate(0, 0, 0, &[(999, 2)])).is(&LBA_OUT_OF_RANGE));
        assert!(refused(&populate(0, 0, 0, &[(u64::MAX, 2)])).is(&LBA_OUT_OF_RANGE));
        assert!(refused(&populate(0, 3601, 0, &[(0, 1)])).is(&INVALID_FIELD_IN_PARAMETER_LIST));
        assert!(refused(&populate(2, 0, 2, &[(0, 1)])).is(&UNSUPPORTED_TOKEN_TYPE));
        assert!(refused(&populate(0, 0, 0, &[(0, 0); 65])).is(&TOO_MANY_SEGMENT_DESCRIPTORS));
        let good = populate(0, 0, 0, &[(0, 1), (1, 1)]);
        assert!(refused(&good[..good.len() - 1]).is(&PARAMETER_LIST_LENGTH_ERROR));
        assert_eq!(
            Populate::decode(&good, 2, 9).unwrap().timeout,
            DEFAULT_TIMEOUT
        );
        for (field, kind) in [
            (0x0001_0000, Kind::AccessUponReference),
            (0x0080_0000, Kind::ChangeVulnerable),
            (0x0080_0001, Kind::ChangeVulnerable),
            (0x0080_ffff, Kind::ChangeVulnerable),
        ] {
            let list = populate(2, 0, field, &[(0, 1)]);
            assert_eq!(Populate::decode(&list, 2, 9).unwrap().kind, kind);
        }
        let mut token = some_token(1);
        token[7] = 0;
        let list = write_using(0, 0, &token, &[(0, 1)]);
        assert!(WriteUsing::decode(&list, 2, 9).is_err_and(|s| s.is(&INVALID_TOKEN_LENGTH)));
    }

    #[test]
    fn a_token() {
        let token = some_token(0x1122);
        assert_eq!(token[..8], [0, 0x80, 0, 1, 0, 0, 1, 0xf8]);
        assert_eq!((id(&token), is_zero(&token)), (0x1122, false));
        assert_eq!(token[16..48], [0xe4; 32]);
        assert_eq!(token[48..64], 4096u128.to_be_bytes());
        assert_eq!(token[96..100], 512u32.to_be_bytes());
        assert_eq!(token[128..160], [7; SECRET]);
        assert!(token[160..].iter().all(|b| *b == 0));
        let got = written(|w| descriptors_of(w, Some(&token)));
        assert_eq!((be32(&got, 0), &got[6..]), (514, &token[..]));
        assert_eq!(written(|w| descriptors_of(w, None)), [0; 4]);
    }

    fn descriptors_of(w: &mut Writer<'_>, token: Option<&[u8; LEN]>) {
        scst_proto::copy::token::descriptors(w, token);
    }
}
