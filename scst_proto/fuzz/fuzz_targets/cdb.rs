// SPDX-License-Identifier: GPL-2.0

//! Any bytes as a CDB on any device type, and what is answered from it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::bytes::Writer;
use scst_proto::cdb::decode;
use scst_proto::opcode::{Direction, PeripheralDeviceType};
use scst_proto::rsoc::{report_task_management, Commands, ReportOpcodes};

fuzz_target!(|data: &[u8]| {
    let [pdt, shift, room, cdb @ ..] = data else {
        return;
    };
    let pdt = PeripheralDeviceType(pdt & 0x1f);
    match decode(cdb, pdt) {
        Ok(c) => {
            assert!(cdb.len() >= usize::from(c.op.cdb_len));
            if let Some(bytes) = c.expected_bytes(u32::from(shift & 31)) {
                assert_eq!(c.direction() == Direction::None, bytes == 0);
            }
            let _ = (
                c.fua(),
                c.dpo(),
                c.protect(),
                c.bytchk(),
                c.ndob(),
                c.unmap(),
                c.anchor(),
                c.immed(),
            );
            let _ = c.refuse_naca();
            let _ = c.require_supported();
            if c.check_range(1 << 20).is_ok() {
                assert!(c.lba <= 1 << 20 && u64::from(c.blocks) <= 1 << 20);
            }
        }
        Err(sense) => {
            let mut buf = [0; 32];
            assert!(sense.encode(shift & 0x80 != 0, &mut buf) >= 8);
            if let Some(field) = sense.field {
                assert!(field.in_cdb && usize::from(field.byte) <= cdb.len().max(32));
            }
        }
    }
    let mut buf = vec![0; usize::from(*room) * 8];
    let mut w = Writer::new(&mut buf);
    if let Ok(report) = ReportOpcodes::decode(cdb) {
        let device = Commands {
            pdt,
            thin: shift & 1 != 0,
            keeps_data: shift & 2 != 0,
            explicit_alua: shift & 2 != 0,
            type2: shift & 4 != 0,
            atomic: shift & 8 != 0,
        };
        let _ = report.write(&mut w, &device);
    }
    report_task_management(&mut w, cdb, |_| true);
    assert!(w.written() <= w.full_len());
});
