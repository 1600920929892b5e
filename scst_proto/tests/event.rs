// SPDX-License-Identifier: GPL-2.0

//! The bytes of events, against the layout that a C compiler gives `scst_event.h`, and the filters.

use proptest::prelude::*;
use scst_proto::event::{self, blocked, code, stpg, tm_received, Event};

fn cstr(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|b| *b == 0).expect("a NUL");
    core::str::from_utf8(&bytes[..end]).expect("UTF-8")
}

fn filter(code: u32, issuer: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; event::event_len(payload.len())];
    event::begin(&mut bytes, code, 0).copy_from_slice(payload);
    bytes[12..62].fill(0);
    bytes[12..12 + issuer.len()].copy_from_slice(issuer.as_bytes());
    bytes
}

#[test]
fn ioctl_numbers_hold_direction_size_type_and_number() {
    let number =
        |direction: u32, size: u32, n: u32| (direction << 30) | (size << 16) | (0x75 << 8) | n;
    assert_eq!(event::ioctl::ALLOW, number(1, 64, 1));
    assert_eq!(event::ioctl::DISALLOW, number(1, 64, 2));
    assert_eq!(event::ioctl::NEXT, number(3, 68, 3));
    assert_eq!(event::ioctl::DONE, number(1, 8, 4));
}

#[test]
fn stpg_is_laid_out_as_in_c() {
    let mut bytes = vec![0; event::event_len(stpg::len(2))];
    let payload = event::begin(&mut bytes, code::STPG, 7);
    assert_eq!(payload.len(), 80 + 2 * 194);
    assert!(stpg::begin(payload, 0x1234, "disk1"));
    for (n, target_group) in [(0, "local"), (1, "remote")] {
        let group = stpg::Group {
            id: 100 + n,
            from: "active",
            to: "standby",
            device_group: "dg",
            target_group,
        };
        assert!(stpg::group(payload, n, &group));
    }
    let whole = Event::new(&bytes).expect("an event");
    assert_eq!((whole.code(), whole.id()), (5, 7));
    assert_eq!(whole.issuer(), b"SCST core");
    let p = whole.payload();
    assert_eq!(p[..8], 0x1234u64.to_ne_bytes());
    assert_eq!(cstr(&p[8..72]), "disk1");
    assert_eq!(p[72..74], 2u16.to_ne_bytes());
    let second = &p[74 + 194..];
    assert_eq!(second[..2], 101u16.to_ne_bytes());
    assert_eq!(cstr(&second[2..34]), "active");
    assert_eq!(cstr(&second[34..66]), "standby");
    assert_eq!(cstr(&second[66..130]), "dg");
    assert_eq!(cstr(&second[130..194]), "remote");
}

#[test]
fn names_that_do_not_fit_are_told() {
    let mut payload = vec![0; stpg::len(1)];
    assert!(stpg::begin(&mut payload, 0, &"x".repeat(63)));
    assert!(!stpg::begin(&mut payload, 0, &"x".repeat(64)));
    assert_eq!(payload[71], 0);
}

#[test]
fn a_task_management_function_has_its_names_in_place() {
    let mut payload = vec![0; tm_received::LEN];
    assert_eq!(payload.len(), 1064);
    let function = tm_received::Function {
        function: 4,
        lun: 3,
        device: "d",
        initiator: "i",
        target: "t",
        session: "s",
        tag: 9,
    };
    function.write(&mut payload);
    assert_eq!(payload[..4], 4u32.to_ne_bytes());
    assert_eq!(payload[8..16], 3u64.to_ne_bytes());
    for (at, text) in [(16, "d"), (272, "i"), (528, "t"), (784, "s")] {
        assert_eq!(cstr(&payload[at..]), text);
    }
    assert_eq!(payload[1040..1048], 9u64.to_ne_bytes());
}

#[test]
fn filters_have_wildcards() {
    let event = filter(5, "SCST core", b"abc");
    let event = Event::new(&event).expect("an event");
    let names = |code, issuer, payload: &[u8]| {
        let bytes = filter(code, issuer, payload);
        Event::new(&bytes).expect("a filter").names(event)
    };
    assert!(names(5, "SCST core", b""));
    assert!(names(0, "*", b""));
    assert!(names(5, "*", b"abc"));
    assert!(!names(4, "*", b""));
    assert!(!names(5, "SCST", b""));
    assert!(!names(5, "*", b"abd"));
    assert!(!names(5, "*", b"ab"));
}

#[test]
fn a_filter_cannot_be_larger_than_allowed() {
    assert_eq!(event::filter_len(0), Some(64));
    assert_eq!(event::filter_len(3072), Some(64 + 3072));
    assert_eq!(event::filter_len(3073), None);
    assert_eq!(event::filter_len(u32::MAX), None);
}

proptest! {
    #[test]
    fn any_bytes_can_be_looked_at(a: Vec<u8>, b: Vec<u8>) {
        if let (Some(a), Some(b)) = (Event::new(&a), Event::new(&b)) {
            prop_assert!(a.names(a));
            let _ = (a.names(b), b.names(a), a.id());
        }
    }

    #[test]
    fn whatever_is_written_ends_in_nul(device in ".{0,100}", initiator in ".{0,300}", n in 0u16..80) {
        let mut payload = vec![0; stpg::len(4)];
        let _ = stpg::begin(&mut payload, 1, &device);
        let group = stpg::Group { id: 1, from: &device, to: &device, device_group: &device, target_group: &initiator };
        prop_assert_eq!(stpg::group(&mut payload, n, &group) || n >= 4 || device.len() > 31 || initiator.len() > 63, true);
        prop_assert_eq!(payload[71], 0);
        let mut payload = vec![0; event::lun_not_found::LEN];
        event::lun_not_found::write(&mut payload, 3, &initiator, &device);
        prop_assert_eq!((payload[8 + 255], payload[8 + 511]), (0, 0));
    }
}

#[test]
fn a_device_that_is_blocked_is_told_with_the_words_of_who_blocked_it() {
    let words = "for a snapshot";
    let mut bytes = vec![0; event::event_len(blocked::len(words))];
    blocked::write(event::begin(&mut bytes, code::BLOCKED, 1), "disk1", words);
    let whole = Event::new(&bytes).expect("an event");
    assert_eq!(whole.code(), 3);
    let p = whole.payload();
    assert_eq!(p.len(), 256 + 4 + words.len());
    assert_eq!(cstr(p), "disk1");
    assert_eq!(p[256..260], 14u32.to_ne_bytes());
    assert_eq!(&p[260..], words.as_bytes());
    assert_eq!(blocked::len(&"x".repeat(5000)), 260 + blocked::MAX_WORDS);
}
