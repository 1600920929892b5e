// SPDX-License-Identifier: GPL-2.0

//! Any parameter list to any device; what is accepted can be sensed and selected again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::bytes::Writer;
use scst_proto::mode::{Control, ModeDevice, ModeSense, ModeValues};
use scst_proto::mode_select::{mode_select, ModeSelect};
use scst_proto::opcode::PeripheralDeviceType;
use scst_proto::threshold::Thresholds;

fuzz_target!(|data: &[u8]| {
    let [flags, page, room, list @ ..] = data else {
        return;
    };
    let bit = |n: u8| flags & (1 << n) != 0;
    let values = ModeValues {
        wce: bit(0),
        control: Control::new(u8::from(bit(1))),
        thresholds: Thresholds::NONE,
    };
    let mut device = ModeDevice {
        pdt: if bit(2) {
            PeripheralDeviceType::CDROM
        } else {
            PeripheralDeviceType::DISK
        },
        blocks: if bit(3) { 1 << 40 } else { 1 << 20 },
        block_size: if bit(4) { 4096 } else { 512 },
        write_protected: bit(5),
        dpofua: bit(6),
        wce_changeable: bit(7),
        thresholds: bit(6),
        current: values,
        saved: values,
        default: values,
    };
    let long_header = page & 1 != 0;
    let request = ModeSelect {
        long_header,
        save: false,
    };
    if let Ok(change) = mode_select(list, request, &device) {
        assert_eq!(change.values.control.tst(), values.control.tst());
        assert!(device.wce_changeable || change.values.wce == values.wce);
        device.current = change.values;
    }
    let op = if long_header { 0x5a } else { 0x1a };
    let mut buf = vec![0; usize::from(*room)];
    for all in [*page, 0x3f] {
        let cdb = [op, flags & 0x18, all, list.first().copied().unwrap_or(0)];
        let Some(sense) = ModeSense::decode(&cdb) else {
            continue;
        };
        let mut w = Writer::new(&mut buf);
        if device.mode_sense(&mut w, &sense).is_err() || w.is_truncated() || all != 0x3f {
            continue;
        }
        let mut back = w.as_bytes().to_vec();
        back[0] = 0;
        let change = mode_select(&back, request, &device).expect("its own answer");
        assert!(!change.changes(&device));
    }
});
