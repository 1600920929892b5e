// SPDX-License-Identifier: GPL-2.0

//! Any parameter list of EXTENDED COPY, POPULATE TOKEN and WRITE USING TOKEN; what is accepted keeps to the limits, and
//! reads the same twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::copy::list::CopyList;
use scst_proto::copy::token::{Populate, WriteUsing, MAX_BYTES, MAX_RANGES};
use scst_proto::copy::{MAX_CSCDS, MAX_SEGMENTS, MAX_SEGMENT_BYTES};

fuzz_target!(|data: &[u8]| {
    let [action, shifts, list @ ..] = data else {
        return;
    };
    for ranges in [
        Populate::decode(list, 1 << 30, 9).map(|list| list.ranges),
        WriteUsing::decode(list, 1 << 30, 9).map(|list| list.ranges),
    ]
    .into_iter()
    .flatten()
    {
        assert!(ranges.count() <= usize::from(MAX_RANGES) && ranges.blocks() <= MAX_BYTES >> 9);
        assert!(ranges
            .iter()
            .all(|r| r.lba + u64::from(r.blocks) <= 1 << 30));
    }
    let (source, destination) = (u32::from(shifts & 0xf), u32::from(shifts >> 4));
    let Ok(Some(list)) = CopyList::decode(u16::from(action & 1), list) else {
        return;
    };
    assert!(list.cscds().count() <= usize::from(MAX_CSCDS));
    assert!(list.cscds().all(|c| (1..=20).contains(&c.designator.len())));
    assert!(list.segments().count() <= usize::from(MAX_SEGMENTS));
    assert!(list.segments().eq(list.segments()));
    for segment in list.segments() {
        if let Ok((from, to, len)) = segment.extent(source, destination) {
            assert!(len <= u64::from(MAX_SEGMENT_BYTES).max(65535 << 15));
            assert!(from.checked_add(len).is_some() && to.checked_add(len).is_some());
        }
    }
});
