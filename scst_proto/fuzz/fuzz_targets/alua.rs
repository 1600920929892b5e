// SPDX-License-Identifier: GPL-2.0

//! Any SET TARGET PORT GROUPS list; what it asks for can be reported.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::alua::{AccessState, Group, ReportGroups, SetGroups, StatusCode, MAX_SET_LIST};
use scst_proto::bytes::Writer;

fuzz_target!(|data: &[u8]| {
    let [length @ .., flags, room] = data.first_chunk::<4>().copied().unwrap_or_default();
    let list = data.get(4..).unwrap_or_default();
    let length = usize::from(u16::from_be_bytes(length));
    let Ok(asked) = SetGroups::parse(list, length) else {
        return;
    };
    assert!(length <= list.len() && length <= MAX_SET_LIST);
    assert_eq!(asked.iter().count(), length.saturating_sub(4) / 4);
    let mut buf = vec![0; usize::from(room)];
    let mut w = Writer::new(&mut buf);
    let extended = flags & 1 != 0;
    let mut report = ReportGroups { extended }.start(&mut w);
    let ports = usize::from(flags >> 1);
    for one in asked.iter() {
        assert_ne!(one.state, AccessState::Transitioning);
        assert!(usize::from(one.at) < length);
        let group = Group {
            id: one.id,
            preferred: flags & 2 != 0,
            state: one.state,
            status: StatusCode::Explicit,
        };
        report.group(&group, (0..ports as u16).map(|n| n.wrapping_mul(257)));
    }
    report.finish();
    let groups = asked.iter().count();
    assert!(w.full_len() <= ReportGroups::size(groups, groups * ports));
});
