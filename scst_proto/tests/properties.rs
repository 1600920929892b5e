// SPDX-License-Identifier: GPL-2.0

//! Properties that hold for every input: nothing panics, what is encoded decodes, tables agree with plain models.

use proptest::prelude::*;
use scst_proto::bytes::Writer;
use scst_proto::cdb::{decode, TransferLength};
use scst_proto::command::*;
use scst_proto::glob;
use scst_proto::identity::crc32c;
use scst_proto::lun::{AddressMethod, Lun};
use scst_proto::mgmt::{self, Params};
use scst_proto::mode::{Control, ModeDevice, ModeSense, ModeValues};
use scst_proto::mode_select::{mode_select, ModeSelect};
use scst_proto::number::*;
use scst_proto::opcode::{Direction, PeripheralDeviceType};
use scst_proto::options::{Handler, VdiskOptions};
use scst_proto::residual::Residual;
use scst_proto::sense::{self, Sense, SenseKey};
use scst_proto::threshold::Thresholds;
use scst_proto::trace::TraceCommand;
use scst_proto::ua::{UaQueue, CAPACITY};

/// Miri is slow; the cases are what they are for, not their number.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 2000 },
        failure_persistence: None,
        ..Default::default()
    }
}

/// `?` and `*` by the definition, exponential.
fn naive(p: &[u8], n: &[u8]) -> bool {
    match (p, n) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => naive(rest, n) || (!n.is_empty() && naive(p, &n[1..])),
        ([b'?', p @ ..], [_, n @ ..]) => naive(p, n),
        ([a, p @ ..], [b, n @ ..]) => a.eq_ignore_ascii_case(b) && naive(p, n),
        _ => false,
    }
}

fn device(wce: bool, control: [u8; 4]) -> ModeDevice {
    let values = ModeValues {
        wce,
        control: Control(control),
        thresholds: Thresholds::NONE,
    };
    ModeDevice {
        pdt: PeripheralDeviceType::DISK,
        blocks: 12345,
        block_size: 4096,
        write_protected: true,
        dpofua: true,
        wce_changeable: true,
        thresholds: true,
        current: values,
        saved: values,
        default: values,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn cdb_never_panics(cdb in prop::collection::vec(any::<u8>(), 0..40), pdt in 0u8..32, shift in 0u32..40) {
        if let Ok(c) = decode(&cdb, PeripheralDeviceType(pdt)) {
            prop_assert!(cdb.len() >= usize::from(c.op.cdb_len));
            prop_assert_eq!(c.op.opcode, cdb[0]);
            if let Some(bytes) = c.expected_bytes(shift) {
                prop_assert_eq!(c.direction() == Direction::None, bytes == 0);
            }
            let _ = (c.fua(), c.dpo(), c.protect(), c.bytchk(), c.ndob(), c.unmap(), c.immed());
            let _ = (c.refuse_naca(), c.require_supported());
            let _ = c.check_range(1 << 30);
        }
    }

    #[test]
    fn read_write_round_trip(lba: u32, blocks: u16, flags: u8, write: bool) {
        let mut cdb = [0; 10];
        cdb[0] = if write { 0x2a } else { 0x28 };
        cdb[1] = flags & 0xf8;
        cdb[2..6].copy_from_slice(&lba.to_be_bytes());
        cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
        let c = decode(&cdb, PeripheralDeviceType::DISK).unwrap();
        prop_assert_eq!((c.lba, c.blocks), (u64::from(lba), u32::from(blocks)));
        prop_assert_eq!(c.length, TransferLength::Blocks(blocks.into()));
        prop_assert_eq!((c.protect(), c.dpo(), c.fua()), (flags >> 5, flags & 0x10 != 0, flags & 8 != 0));
    }

    #[test]
    fn lun_round_trip(n in 0u16..=16383) {
        for how in [AddressMethod::Peripheral, AddressMethod::Flat, AddressMethod::Lun] {
            let lun = Lun::new(n).unwrap();
            prop_assert_eq!(Lun::decode(lun.encode(how)), Ok(lun));
        }
    }

    #[test]
    fn lun_decodes_in_range(bytes: [u8; 8]) {
        if let Ok(lun) = Lun::decode(bytes) {
            prop_assert!(lun.get() <= 16383);
        }
    }

    #[test]
    fn glob_is_the_definition(pattern in "!?[ab*?A]{0,8}", name in "[abAB]{0,10}") {
        let expected = match pattern.strip_prefix('!') {
            Some(rest) => !naive(rest.as_bytes(), name.as_bytes()),
            None => naive(pattern.as_bytes(), name.as_bytes()),
        };
        prop_assert_eq!(glob::matches(&pattern, &name), expected);
    }

    #[test]
    fn writer_counts_and_cuts(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
                              room in 0usize..40) {
        let all = parts.concat();
        let mut buf = vec![0; room];
        let mut w = Writer::new(&mut buf);
        for part in &parts {
            w.bytes(part);
        }
        prop_assert_eq!(w.full_len(), all.len());
        prop_assert_eq!(w.written(), all.len().min(room));
        prop_assert_eq!(w.as_bytes(), &all[..all.len().min(room)]);
        w.patch_be32(room.saturating_sub(2), 1);
    }

    #[test]
    fn sense_says_its_codes(asc: u8, ascq: u8, information: Option<u64>, byte: u16, field: bool, descriptor: bool) {
        let mut s = Sense::new(SenseKey::IllegalRequest, asc, ascq);
        s.information = information;
        if field {
            s = s.in_cdb_bit(byte, 7);
        }
        let mut buf = [0; 64];
        let len = s.encode(descriptor, &mut buf);
        prop_assert!(len <= sense::MAX_LEN);
        // ADDITIONAL SENSE LENGTH counts what follows it.
        prop_assert_eq!(usize::from(buf[7]) + 8, len);
        let codes = if descriptor { (buf[1], buf[2], buf[3]) } else { (buf[2], buf[12], buf[13]) };
        prop_assert_eq!(codes, (5, asc, ascq));
    }

    #[test]
    fn management_never_panics(line in "(?s).{0,60}", cpus in 0usize..200) {
        let words = ["add ", "del ", "replace ", "move ", "create ", "value ", "add_device ", "add_target_attribute "];
        for line in words.iter().map(|w| format!("{w}{line}")).chain([line.clone()]) {
            let line = mgmt::text(line.as_bytes()).unwrap();
            // An error must print.
            let _ = LunsCommand::parse(line).map_err(|e| e.to_string());
            let _ = GroupsCommand::parse(line).map_err(|e| e.to_string());
            let _ = MembersCommand::parse(line).map_err(|e| e.to_string());
            let _ = InitiatorsCommand::parse(line).map_err(|e| e.to_string());
            let _ = HandlerCommand::parse(line).map_err(|e| e.to_string());
            let _ = DriverCommand::parse(line).map_err(|e| e.to_string());
            let _ = TraceCommand::parse(line).map_err(|e| e.to_string());
            let _ = parse_cpu_mask(line, cpus, &mut [0; 3]).map_err(|e| e.to_string());
            let _ = (parse_i64(line), Hctl::parse(line));
        }
    }

    #[test]
    fn options_never_panic(text in "(filename=/[a-z]*|size=[0-9]{0,22}|blocksize=[0-9x]{0,6}|tst=.|dif_type=[0-9]|;| |=|\"|.){0,8}") {
        for handler in [Handler::BlockIo, Handler::FileIo, Handler::NullIo, Handler::Cdrom] {
            if let Ok(o) = VdiskOptions::parse(handler, Params::new(&text)) {
                let block = o.block_size_or_default(handler);
                prop_assert!(block.is_power_of_two() && block >= 512);
                prop_assert_eq!(o.size.unwrap_or(0) % u64::from(block), 0);
            }
        }
    }

    #[test]
    fn numbers_are_those_of_the_standard_library(n: u64, i: i64) {
        for text in [n.to_string(), format!("{n:#x}"), format!("0{n:o}")] {
            prop_assert!(parse_u64(&text) == Ok(n));
        }
        let text = i.to_string();
        prop_assert!(parse_i64(&text) == Ok(i));
    }

    #[test]
    fn parameters_round_trip(params in prop::collection::vec(("[a-z_]{1,8}", "[^\"'; =\t\r\n\u{b}\u{c}]{1,8}"), 0..5)) {
        let plain: Vec<_> = params.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let quoted: Vec<_> = params.iter().map(|(n, v)| format!(" {n} = \"{v}\" ")).collect();
        for text in [plain.join(";"), quoted.join(" ; ")] {
            let back: Vec<_> = Params::new(&text).map(|p| p.unwrap()).map(|p| (p.name, p.value)).collect();
            let expected: Vec<_> = params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assert_eq!(back, expected);
        }
    }

    #[test]
    fn crc_is_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..40), start: u32) {
        let bitwise = bytes.iter().fold(start, |crc, b| {
            (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 != 0 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 })
        });
        prop_assert_eq!(crc32c(start, &bytes), bitwise);
    }

    #[test]
    fn mode_select_never_panics(list in prop::collection::vec(any::<u8>(), 0..64), long_header: bool, page: bool) {
        let d = device(true, [0x20, 0x10, 0, 0]);
        let mut list = list;
        if page && list.len() > 6 {
            list[..6].copy_from_slice(&[0, 0, 0, 0, 0x0a, 0x0a]);
        }
        if let Ok(change) = mode_select(&list, ModeSelect { long_header, save: false }, &d) {
            // Nothing unchangeable has changed.
            let mask = Control::CHANGEABLE.0;
            for ((new, old), mask) in change.values.control.0.iter().zip(d.current.control.0).zip(mask) {
                prop_assert_eq!((new ^ old) & !mask, 0);
            }
        }
    }

    #[test]
    fn mode_select_round_trip(wce: bool, bits in (0u8..2, 0u8..2, 0u8..4)) {
        // What one device says of itself, another of its kind takes over.
        let control = [0x20 | (bits.0 << 2), bits.1 << 4, 0x08 * bits.0, 0x40 * bits.1];
        let (from, to) = (device(wce, control), device(!wce, [0x20, 0x10, 0, 0]));
        let mut buf = [0; 256];
        let mut w = Writer::new(&mut buf);
        let cdb = [0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0, 0];
        from.mode_sense(&mut w, &ModeSense::decode(&cdb).unwrap()).unwrap();
        let change = mode_select(w.as_bytes(), ModeSelect { long_header: true, save: false }, &to).unwrap();
        prop_assert_eq!(change.values, from.current);
    }

    #[test]
    fn ua_queue_keeps_its_invariants(steps in prop::collection::vec((0u8..4, 0usize..14), 0..40)) {
        let kinds = [
            sense::POWER_ON_OCCURRED, sense::POWER_ON_OR_RESET, sense::BUS_RESET_OCCURRED,
            sense::DEVICE_RESET_OCCURRED, sense::NEXUS_LOSS_OCCURRED, sense::CAPACITY_DATA_HAS_CHANGED,
            sense::REPORTED_LUNS_DATA_HAS_CHANGED, sense::INQUIRY_DATA_HAS_CHANGED, sense::MEDIUM_CHANGED,
            sense::MODE_PARAMETERS_CHANGED, sense::RESERVATIONS_RELEASED, sense::RESERVATIONS_PREEMPTED,
            sense::REGISTRATIONS_PREEMPTED, sense::COMMANDS_CLEARED,
        ];
        let mut q = UaQueue::new();
        for (what, which) in steps {
            match what {
                0 | 1 => { q.push(kinds[which]); }
                2 => { if let Some(s) = q.pop() { prop_assert!(!q.contains(&s)); } }
                _ => { q.unpop(kinds[which]); }
            }
            let all: Vec<_> = q.iter().collect();
            prop_assert!(all.len() == q.len() && q.len() <= CAPACITY);
            for (i, s) in all.iter().enumerate() {
                prop_assert!(!all[..i].contains(s), "twice: {:?}", s);
                prop_assert!(i == 0 || s.asc != 0x29, "a reset that is not the first");
            }
        }
    }

    #[test]
    fn residual_is_within_the_buffer(cdb: Option<u64>, transport in 0u64..1 << 32, part in 0u64..1 << 32) {
        let transferred = part.min(transport);
        match Residual::compute(cdb, transport, transferred) {
            Residual::Underflow(n) => prop_assert_eq!(transferred + u64::from(n), transport),
            Residual::Overflow(_) => prop_assert!(cdb.unwrap() > transport && transferred == transport),
            Residual::None => prop_assert_eq!(transferred, transport),
        }
    }
}
