// SPDX-License-Identifier: GPL-2.0

//! ALUA: which command is served in which state, both parameter data, and when a medium is closed.

use proptest::prelude::*;
use scst_proto::alua::*;
use scst_proto::bytes::Writer;
use scst_proto::mgmt::Errno;
use scst_proto::opcode::all_rows;
use scst_proto::sense::{
    Sense, ALUA_STANDBY, ALUA_TRANSITION, ALUA_UNAVAILABLE, INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST, PARAMETER_LIST_LENGTH_ERROR,
};
use std::collections::BTreeMap;
use AccessState::*;

/// INQUIRY, REPORT LUNS, REQUEST SENSE, REPORT TARGET PORT GROUPS (SPC-6 5.18.2.10).
const ALWAYS: &[(u8, u16)] = &[(0x03, 0), (0x12, 0), (0xa0, 0), (0xa3, 0x0a)];
/// What SPC-6 5.18.2.7 adds for unavailable: SET TARGET PORT GROUPS, READ and WRITE BUFFER.
const UNAVAILABLE: &[(u8, u16)] = &[(0xa4, 0x0a), (0x3b, 0), (0x3c, 0), (0x9b, 0)];
/// What SPC-6 5.18.2.6 adds for standby, and what initiators look for when they find a disk; of the operation codes
/// that all service actions have, one is as good as another.
const STANDBY: &[u8] = &[
    0x15, 0x55, 0x1a, 0x5a, 0x1c, 0x1d, 0x4c, 0x4d, 0x5e, 0x5f, 0x25,
];
const STANDBY_ACTIONS: &[(u8, u16)] = &[(0x9e, 0x10), (0xa3, 0x0c), (0xa3, 0x0d)];

fn expected(state: AccessState, opcode: u8, action: u16) -> Option<Sense> {
    let command = (opcode, action);
    let always = ALWAYS.contains(&command);
    let unavailable = always || UNAVAILABLE.contains(&command);
    let standby = unavailable || STANDBY.contains(&opcode) || STANDBY_ACTIONS.contains(&command);
    let (served, sense) = match state {
        Optimized | NonOptimized => return None,
        Standby => (standby, ALUA_STANDBY),
        Unavailable | Offline => (unavailable, ALUA_UNAVAILABLE),
        Transitioning => (always, ALUA_TRANSITION),
    };
    (!served).then_some(sense)
}

#[test]
fn what_is_served_in_which_state() {
    for row in all_rows() {
        for state in AccessState::ALL {
            assert_eq!(
                state.refusal(row.flags),
                expected(state, row.opcode, row.service_action.unwrap_or(0)),
                "{} in {state:?}",
                row.name
            );
        }
    }
    let codes = |s: Sense| (s.key as u8, s.asc, s.ascq);
    assert_eq!(codes(ALUA_TRANSITION), (0x02, 0x04, 0x0a));
    assert_eq!(codes(ALUA_STANDBY), (0x02, 0x04, 0x0b));
    assert_eq!(codes(ALUA_UNAVAILABLE), (0x02, 0x04, 0x0c));
}

#[test]
fn names_and_codes() {
    let known = [
        ("active", 0x0),
        ("nonoptimized", 0x1),
        ("standby", 0x2),
        ("unavailable", 0x3),
        ("offline", 0xe),
        ("transitioning", 0xf),
    ];
    for (state, (name, code)) in AccessState::ALL.into_iter().zip(known) {
        assert_eq!((state.name(), state.code()), (name, code));
        assert_eq!(AccessState::parse(name), Ok(state));
        assert_eq!(AccessState::from_code(code), Some(state));
        assert_eq!(state.serves_io(), code <= 1);
        assert_eq!(state.is_announced(), code != 0xf);
    }
    for code in (4..0xe).chain(0x10..=0xff) {
        assert_eq!(AccessState::from_code(code), None);
    }
    for word in [
        "",
        "Active",
        "active ",
        "optimized",
        "lba-dependent",
        "bogus",
    ] {
        let error = AccessState::parse(word).unwrap_err();
        assert_eq!(error.errno(), Errno::Invalid);
        assert!(error.to_string().contains("nonoptimized"), "{error}");
    }
}

fn report(extended: bool, groups: &[(Group, Vec<u16>)], room: usize) -> (Vec<u8>, usize) {
    let mut buf = vec![0xaa; room];
    let mut w = Writer::new(&mut buf);
    let mut report = ReportGroups { extended }.start(&mut w);
    for (group, ports) in groups {
        report.group(group, ports.iter().copied());
    }
    report.finish();
    (w.as_bytes().to_vec(), w.full_len())
}

/// Two groups, as sg_rtpg -d decoded them.
#[test]
fn as_recorded() {
    let group = |id, state| Group {
        id,
        preferred: false,
        state,
        status: StatusCode::Implicit,
    };
    let groups = [
        (group(5, Optimized), vec![0]),
        (group(6, Standby), vec![0x21]),
    ];
    let body = [
        0x00, 0xcf, 0, 5, 0, 2, 0, 1, 0, 0, 0, 0, // group 5
        0x02, 0xcf, 0, 6, 0, 2, 0, 1, 0, 0, 0, 0x21, // group 6
    ];
    let plain = [&[0, 0, 0, 24], &body[..]].concat();
    assert_eq!(report(false, &groups, 100), (plain, 28));
    let extended = [&[0, 0, 0, 28, 0x10, 0, 0, 0], &body[..]].concat();
    assert_eq!(report(true, &groups, 100), (extended, 32));
    assert_eq!(ReportGroups::size(2, 2), 32);
    // A device that is in no device group has no target port group.
    assert_eq!(report(false, &[], 100).0, [0; 4]);
}

#[test]
fn formats() {
    let decode = |byte| ReportGroups::decode(&[0xa3, byte, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0]);
    assert_eq!(decode(0x0a), Ok(ReportGroups { extended: false }));
    assert_eq!(decode(0x2a), Ok(ReportGroups { extended: true }));
    for format in 2..8 {
        let refused = Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 7));
        assert_eq!(decode((format << 5) | 0x0a), refused);
    }
}

#[test]
fn many_ports() {
    let group = Group {
        id: 1,
        preferred: true,
        state: Offline,
        status: StatusCode::Explicit,
    };
    let (data, full) = report(false, &[(group, (0..300).collect())], 4096);
    assert_eq!(full, 4 + 8 + 4 * MAX_PORTS);
    assert_eq!(data[4..12], [0x8e, 0xcf, 0, 1, 0, 1, 0, 255]);
}

#[test]
fn lists_of_the_wrong_length() {
    let list = [0; MAX_SET_LIST + 8];
    for length in [1, 2, 3, 5, 6, 7, 9, MAX_SET_LIST + 4, usize::MAX] {
        let parsed = SetGroups::parse(&list, length);
        assert_eq!(parsed.unwrap_err(), PARAMETER_LIST_LENGTH_ERROR, "{length}");
    }
    // Less than was announced.
    let parsed = SetGroups::parse(&list[..8], 12);
    assert_eq!(parsed.unwrap_err(), PARAMETER_LIST_LENGTH_ERROR);
    // Nothing is asked for.
    assert_eq!(SetGroups::parse(&[], 0).unwrap().iter().count(), 0);
    assert_eq!(SetGroups::parse(&list, 4).unwrap().iter().count(), 0);
    let most = SetGroups::parse(&list, MAX_SET_LIST).unwrap();
    assert_eq!(most.iter().count(), MAX_SET_LIST / 4 - 1);
    let cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0];
    assert_eq!(SetGroups::list_length(&cdb), 0x1234_5678);
}

#[test]
fn unknown_groups_are_pointed_at() {
    let list = [0, 0, 0, 0, 0x01, 0, 0, 5, 0x0e, 0, 0x12, 0x34];
    let asked: Vec<_> = SetGroups::parse(&list, 12).unwrap().iter().collect();
    let ask = |id, state, at| SetGroup { id, state, at };
    assert_eq!(asked, [ask(5, NonOptimized, 6), ask(0x1234, Offline, 10)]);
    let sense = INVALID_FIELD_IN_PARAMETER_LIST.in_data(10);
    assert_eq!(asked[1].unknown(), sense);
}

/// Closed and opened are edges of: one of the groups serves I/O.
#[test]
fn media() {
    let lists = |n: u32| {
        (0..6usize.pow(n)).map(move |number| {
            (0..n)
                .map(|at| AccessState::ALL[number / 6usize.pow(at) % 6])
                .collect::<Vec<_>>()
        })
    };
    for n in 0..=2 {
        for before in lists(n) {
            for after in lists(n) {
                let (was, is) = (in_use(&before), in_use(&after));
                let expected = match (was, is) {
                    (true, false) if n > 0 => Medium::Close,
                    (false, true) => Medium::Open,
                    _ => Medium::Keep,
                };
                assert_eq!(medium(before.clone(), after), expected);
            }
        }
    }
    // Groups that come and go are no reason.
    assert_eq!(medium([], [Standby]), Medium::Keep);
    assert_eq!(medium([Standby], []), Medium::Keep);
}

fn in_use(states: &[AccessState]) -> bool {
    states.contains(&Optimized) || states.contains(&NonOptimized)
}

/// Reads REPORT TARGET PORT GROUPS data, knowing nothing of how they are written.
fn read_report(data: &[u8], extended: bool) -> Vec<(u16, bool, u8, u8, Vec<u16>)> {
    let mut found = Vec::new();
    let length = u32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
    assert_eq!(length + 4, data.len());
    let mut rest = &data[4..];
    if extended {
        assert_eq!(rest[0] & 0x70, 0x10);
        rest = &rest[4..];
    }
    while !rest.is_empty() {
        let count = usize::from(rest[7]);
        let (head, after) = rest.split_at(8);
        let (ports, next) = after.split_at(4 * count);
        let number = |b: &[u8]| (u16::from(b[0]) << 8) | u16::from(b[1]);
        let ports = ports.chunks(4).map(|p| number(&p[2..])).collect();
        found.push((
            number(&head[2..]),
            head[0] >> 7 != 0,
            head[0] & 15,
            head[5],
            ports,
        ));
        rest = next;
    }
    found
}

fn states() -> impl Strategy<Value = AccessState> {
    prop::sample::select(AccessState::ALL.to_vec())
}

fn groups() -> impl Strategy<Value = Vec<(Group, Vec<u16>)>> {
    let group = (any::<u16>(), any::<bool>(), states(), any::<bool>()).prop_map(
        |(id, preferred, state, explicit)| Group {
            id,
            preferred,
            state,
            status: match explicit {
                true => StatusCode::Explicit,
                false => StatusCode::Implicit,
            },
        },
    );
    prop::collection::vec((group, prop::collection::vec(any::<u16>(), 0..6)), 0..6)
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 2000 },
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn reports_are_read_again(groups in groups(), extended: bool, room in 0usize..200) {
        let (data, full) = report(extended, &groups, 1000);
        prop_assert_eq!(data.len(), full);
        let ports = groups.iter().map(|(_, ports)| ports.len()).sum();
        prop_assert!(full <= ReportGroups::size(groups.len(), ports));
        let expected: Vec<_> = groups.iter().map(|(group, ports)| {
            (group.id, group.preferred, group.state.code(), group.status as u8, ports.clone())
        }).collect();
        prop_assert_eq!(read_report(&data, extended), expected);
        // The allocation length cuts, and changes nothing.
        let (cut, length) = report(extended, &groups, room);
        prop_assert_eq!(length, full);
        prop_assert_eq!(&cut[..], &data[..room.min(full)]);
    }

    #[test]
    fn any_list(list in prop::collection::vec(any::<u8>(), 0..40), length in 0usize..44) {
        let possible = [0, 1, 2, 3, 14];
        let fits = length == 0 || (length >= 4 && length % 4 == 0 && length <= list.len());
        let wrong = (4..length).step_by(4).find(|at| fits && !possible.contains(&(list[*at] & 15)));
        match SetGroups::parse(&list, length) {
            Ok(asked) => {
                prop_assert!(fits && wrong.is_none());
                let asked: Vec<_> = asked.iter().map(|one| (one.id, one.state.code(), one.at)).collect();
                let expected: Vec<_> = (4..length).step_by(4).map(|at| {
                    let id = u16::from_be_bytes([list[at + 2], list[at + 3]]);
                    (id, list[at] & 15, at as u16 + 2)
                }).collect();
                prop_assert_eq!(asked, expected);
            }
            Err(sense) if fits => {
                let at = wrong.expect("a reason") as u16;
                prop_assert_eq!(sense, INVALID_FIELD_IN_PARAMETER_LIST.in_data_bit(at, 3));
            }
            Err(sense) => prop_assert_eq!(sense, PARAMETER_LIST_LENGTH_ERROR),
        }
    }

    /// What was asked for is what is reported, the last word counting.
    #[test]
    fn set_and_reported(
        asked in prop::collection::vec((0u16..5, states()), 0..8),
        start in prop::collection::vec(states(), 5),
    ) {
        let mut list = vec![0; 4];
        let mut model: BTreeMap<u16, AccessState> = (0u16..).zip(start).collect();
        let mut held = model.clone();
        for (id, state) in &asked {
            list.extend([state.code(), 0, (id >> 8) as u8, *id as u8]);
            model.insert(*id, *state);
        }
        let parsed = SetGroups::parse(&list, list.len());
        if asked.iter().any(|(_, state)| *state == Transitioning) {
            prop_assert!(parsed.is_err());
            return Ok(());
        }
        for one in parsed.unwrap().iter() {
            held.insert(one.id, one.state);
        }
        let groups: Vec<_> = held.iter().map(|(id, state)| {
            let status = StatusCode::Explicit;
            (Group { id: *id, preferred: false, state: *state, status }, vec![])
        }).collect();
        let reported = read_report(&report(false, &groups, 1000).0, false);
        let reported: Vec<_> = reported.iter().map(|(id, _, state, _, _)| (*id, *state)).collect();
        let expected: Vec<_> = model.iter().map(|(id, state)| (*id, state.code())).collect();
        prop_assert_eq!(reported, expected);
    }
}
