// SPDX-License-Identifier: GPL-2.0

//! LUN addresses, and REPORT LUNS into buffers of any size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::bytes::Writer;
use scst_proto::lun::{AddressMethod, Lun, ReportLuns};

fuzz_target!(|data: &[u8]| {
    let [select, how, room, luns @ ..] = data else {
        return;
    };
    let how = [
        AddressMethod::Peripheral,
        AddressMethod::Flat,
        AddressMethod::Lun,
    ][usize::from(how % 3)];
    let mut buf = vec![0; usize::from(*room)];
    let mut w = Writer::new(&mut buf);
    let mut listed = 0;
    let Ok(mut report) = ReportLuns::start(&mut w, *select, how) else {
        return;
    };
    for bytes in luns.chunks_exact(8) {
        let Ok(lun) = Lun::decode(bytes.try_into().expect("eight")) else {
            continue;
        };
        assert!(lun.get() <= 16383);
        assert_eq!(Lun::decode(lun.encode(how)), Ok(lun));
        report.lun(lun);
        listed += 1;
    }
    let full = report.finish();
    assert!(full == 8 || full == 8 + 8 * listed);
    let data = w.as_bytes();
    if let Some(header) = data.first_chunk::<4>() {
        assert_eq!(u32::from_be_bytes(*header) as usize + 8, full);
    }
    for entry in data.get(8..).unwrap_or(&[]).chunks_exact(8) {
        assert!(Lun::decode(entry.try_into().expect("eight")).is_ok());
    }
});
