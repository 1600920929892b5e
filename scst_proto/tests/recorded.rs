// SPDX-License-Identifier: GPL-2.0

//! What C SCST 3.11 answered, byte for byte: the hex facts of `abi/tools/sg-scst-*.txt`.

use scst_proto::bytes::Writer;
use scst_proto::capacity::{lb_per_pb_exp, Capacity};
use scst_proto::identity::*;
use scst_proto::inquiry::{self, *};
use scst_proto::lun::{AddressMethod, Lun, ReportLuns};
use scst_proto::mode::{Control, ModeDevice, ModeSense, ModeValues};
use scst_proto::opcode::{self, PeripheralDeviceType};
use scst_proto::rsoc::{report_task_management, Commands, ReportOpcodes};
use scst_proto::threshold::Thresholds;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|b| u8::from_str_radix(b, 16).unwrap())
        .collect()
}

fn written(f: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buf = [0xaa; 4096];
    let mut w = Writer::new(&mut buf);
    f(&mut w);
    assert!(!w.is_truncated());
    w.as_bytes().to_vec()
}

const SAS: &[u16] = &[0, 0x0be0];

/// A device of the recording: vendor, name, its `t10_dev_id` if it was given one.
struct Recorded {
    pdt: PeripheralDeviceType,
    vendor: &'static str,
    name: &'static str,
    usn: &'static str,
    eui: &'static str,
}

const fn disk(
    vendor: &'static str,
    name: &'static str,
    usn: &'static str,
    eui: &'static str,
) -> Recorded {
    Recorded {
        pdt: PeripheralDeviceType::DISK,
        vendor,
        name,
        usn,
        eui,
    }
}

const DEVICES: &[Recorded] = &[
    disk("SCST_FIO", "null0", "c8054713", "63 38 30 35 34 37 31 33"),
    disk("SCST_FIO", "file0", "9f132745", "39 66 31 33 32 37 34 35"),
    disk("SCST_BIO", "blk0", "192e8e20", "31 39 32 65 38 65 32 30"),
    disk("SCST_FIO", "bs4k0", "4ae7e0c6", "34 61 65 37 65 30 63 36"),
    disk("SCST_BIO", "ram0", "179ee149", "31 37 39 65 65 31 34 39"),
    Recorded {
        pdt: PeripheralDeviceType::CDROM,
        vendor: "SCST_FIO",
        name: "cd0",
        usn: "e6100f01",
        eui: "65 36 31 30 30 66 30 31",
    },
];

fn with_identity<T>(d: &Recorded, f: impl FnOnce(&Identity<'_>) -> T) -> T {
    let usn = default_usn(device_id(0, d.name));
    let t10 = default_t10_dev_id(usn.as_str(), d.name);
    f(&Identity {
        pdt: d.pdt,
        removable: d.pdt == PeripheralDeviceType::CDROM,
        vendor: d.vendor.as_bytes(),
        product: d.name.as_bytes(),
        revision: b"3110",
        vendor_specific: b"",
        serial: usn.as_bytes(),
        vendor_specific_id: t10.as_bytes(),
        eui64: &default_eui64(t10.as_bytes()),
        naa: b"",
        scsi_name: b"",
        third_party_copy: true,
        protection: None,
        volatile_cache: true,
    })
}

const PORT: Port<'_> = Port {
    relative_target_port: 0,
    target_port_group: None,
    tpgs: 0,
    transport_versions: SAS,
};

fn block_pages(shift: u32, rotation_rate: u16) -> BlockPages {
    BlockPages {
        limits: Limits::for_block_shift(shift),
        rotation_rate,
        provisioning: None,
        copies: None,
    }
}

#[test]
fn identities() {
    for d in DEVICES {
        assert_eq!(
            default_usn(device_id(0, d.name)).as_str(),
            d.usn,
            "{}",
            d.name
        );
        assert_eq!(default_eui64(d.usn.as_bytes()).to_vec(), hex(d.eui));
    }
    assert_eq!(device_id(0x1234, "blk0"), 0x1234_192e_8e20);
    let long = "aVeryLongDeviceNameThatExceedsTheSixteenCharInquiryField";
    let usn = default_usn(device_id(0, long));
    assert_eq!(
        default_t10_dev_id(usn.as_str(), long).as_str(),
        "2537ffaf-aVeryLongDeviceN"
    );
    assert_eq!(
        default_eui64(b"ThinT10").to_vec(),
        hex("54 68 69 6e 54 31 30 00")
    );
}

#[test]
fn standard_inquiry() {
    let null0 = "00 00 06 22 3d 08 10 02  53 43 53 54 5f 46 49 4f 6e 75 6c 6c 30 20 20 20  20 20 20 20 20 20 20 20
        33 31 31 30 00 00 00 00  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  00 00 00 8b 0b e0 04 63 04 c0";
    let cd0 = "05 80 06 22 3b 08 10 02  53 43 53 54 5f 46 49 4f 63 64 30 20 20 20 20 20  20 20 20 20 20 20 20 20
        33 31 31 30 00 00 00 00  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  00 00 00 8b 0b e0 04 63";
    for (i, expected) in [(0, null0), (5, cd0)] {
        let got = with_identity(&DEVICES[i], |id| {
            written(|w| inquiry::standard(w, id, &PORT))
        });
        assert_eq!(got, hex(expected));
    }
    // file0 is in a device group.
    let port = Port { tpgs: 1, ..PORT };
    let file0 = with_identity(&DEVICES[1], |id| {
        written(|w| inquiry::standard(w, id, &port))
    });
    assert_eq!(file0[5], 0x18);
}

fn vpd(d: &Recorded, port: &Port<'_>, page: u8, block: Option<&BlockPages>) -> Vec<u8> {
    with_identity(d, |id| {
        written(|w| inquiry::inquiry(w, true, page, id, port, block).unwrap())
    })
}

#[test]
fn vpd_pages() {
    let null0 = &DEVICES[0];
    let plain = block_pages(9, ROTATING);
    let mut thin = plain;
    thin.provisioning = Some(Provisioning::thin(false));
    assert_eq!(
        vpd(null0, &PORT, 0x00, Some(&plain)),
        hex("00 00 00 06 00 80 83 86 b0 b1")
    );
    assert_eq!(
        vpd(null0, &PORT, 0x00, Some(&thin)),
        hex("00 00 00 07 00 80 83 86 b0 b1 b2")
    );
    let copies = BlockPages {
        copies: Some(9),
        ..thin
    };
    assert_eq!(
        vpd(null0, &PORT, 0x00, Some(&copies)),
        hex("00 00 00 08 00 80 83 86 8f b0 b1 b2")
    );
    assert_eq!(
        vpd(&DEVICES[5], &PORT, 0x00, None),
        hex("05 00 00 04 00 80 83 86")
    );
    assert_eq!(vpd(null0, &PORT, 0x80, None), b"\x00\x80\x00\x08c8054713");
    let port = Port {
        target_port_group: Some(5),
        ..PORT
    };
    let expected = [
        &b"\x00\x83\x00\x38"[..],
        b"\x02\x01\x00\x16SCST_FIO9f132745-file0",
        b"\x01\x02\x00\x08\x39\x66\x31\x33\x32\x37\x34\x35",
        b"\x01\x14\x00\x04\x00\x00\x00\x00",
        b"\x01\x15\x00\x04\x00\x00\x00\x05",
    ];
    let mut expected = expected.concat();
    let len = expected.len() as u8 - 4;
    expected[3] = len;
    assert_eq!(vpd(&DEVICES[1], &port, 0x83, None), expected);
    // HEADSUP, ORDSUP, SIMPSUP; V_SUP; LUICLR.
    let extended = vpd(null0, &PORT, 0x86, None);
    assert_eq!(extended[..8], hex("00 86 00 3c 00 07 01 01")[..]);
    assert_eq!(extended.len(), 64);
    assert_eq!(
        vpd(null0, &PORT, 0xb2, Some(&thin)),
        hex("00 b2 00 04 00 e0 02 00")
    );
}

#[test]
fn block_limits() {
    // Granularity, maximum, optimum, UNMAP, WRITE SAME: as sg_vpd printed them.
    let expect = |shift, head: &str, unmap: &str, write_same: &str, limits: Limits| {
        let pages = BlockPages {
            limits,
            ..block_pages(shift, NON_ROTATING)
        };
        let got = vpd(&DEVICES[0], &PORT, 0xb0, Some(&pages));
        let text = format!("00 b0 00 3c 01 ff {head} 00 00 00 00 {unmap} {write_same}");
        let mut expected = hex(&text);
        expected.resize(64, 0);
        assert_eq!(got, expected);
    };
    let none = "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
    let head512 = "00 08 00 00 40 00 00 00 04 00";
    let same512 = "00 00 00 00 00 08 00 00";
    expect(9, head512, none, same512, Limits::for_block_shift(9));
    let head4k = "00 01 00 00 08 00 00 00 00 80";
    expect(
        12,
        head4k,
        none,
        "00 00 00 00 00 01 00 00",
        Limits::for_block_shift(12),
    );
    // The recording says FF FF FF FF descriptors, any number; the parameter list has room for FFFh.
    let thin = "00 08 00 00 00 00 0f ff 00 00 00 01 00 00 00 00";
    expect(9, head512, thin, same512, Limits::thin_file(9));
    let mut ram = Limits::for_block_shift(9);
    ram.unmap = Some(UnmapLimits {
        max_lba_count: u32::MAX,
        max_descriptors: u32::MAX,
        granularity: 8,
        alignment: None,
    });
    expect(
        9,
        head512,
        "ff ff ff ff ff ff ff ff 00 00 00 08 00 00 00 00",
        same512,
        ram,
    );
}

#[test]
fn read_capacity() {
    let mut c = Capacity::new(0x20000, 512);
    c.lb_per_pb_exp = lb_per_pb_exp(512, 4096);
    let zeros = " 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
    let null0 = "00 00 00 00 00 01 ff ff  00 00 02 00 00 03 00 00".to_owned() + zeros;
    assert_eq!(written(|w| c.read_capacity_16(w)), hex(&null0));
    c.lbpme = true;
    let thin0 = "00 00 00 00 00 01 ff ff  00 00 02 00 00 03 80 00".to_owned() + zeros;
    assert_eq!(written(|w| c.read_capacity_16(w)), hex(&thin0));
    assert_eq!(
        written(|w| c.read_capacity_10(w)),
        hex("00 01 ff ff 00 00 02 00")
    );
    c.blocks = 1 << 32;
    assert_eq!(
        written(|w| c.read_capacity_10(w)),
        hex("ff ff ff ff 00 00 02 00")
    );
    assert_eq!(lb_per_pb_exp(4096, 4096), 0);
}

fn mode_device(blocks: u64, block_size: u32) -> ModeDevice {
    let values = ModeValues {
        wce: true,
        control: Control::new(1),
        thresholds: Thresholds::NONE,
    };
    ModeDevice {
        pdt: PeripheralDeviceType::DISK,
        blocks,
        block_size,
        write_protected: false,
        dpofua: true,
        wce_changeable: true,
        thresholds: false,
        current: values,
        saved: values,
        default: values,
    }
}

fn mode_sense(d: &ModeDevice, cdb: &[u8]) -> Vec<u8> {
    let request = ModeSense::decode(cdb).unwrap();
    written(|w| d.mode_sense(w, &request).unwrap())
}

const NULL0_PAGES: &str = "00 02 00 00 00 00 02 00
    01 0a c0 01 00 00 00 00  01 00 ff ff
    02 0e 80 80 00 0a 00 00  00 00 00 00 00 00 00 00
    03 16 00 00 00 00 00 00  00 00 00 38 02 00 00 00 00 00 00 00 40 00 00 00
    88 12 04 00 00 00 00 00  00 00 00 00 80 14 00 00 00 00 00 00
    8a 0a 20 10 00 00 00 00  00 00 02 4b
    1c 0a 08 00 00 00 00 00  00 00 00 00
    04 16 00 00 0a ff 00 00  00 00 00 00 00 00 00 00 00 00 00 00 3a 98 00 00";

#[test]
fn mode_pages_of_a_disk() {
    let d = mode_device(0x20000, 512);
    let ten = |pc: u8| [0x5a, 0, (pc << 6) | 0x3f, 0, 0, 0, 0, 0xff, 0xff, 0];
    let expected = hex(&format!("00 86 00 10 00 00 00 08 {NULL0_PAGES}"));
    for pc in [0, 2, 3] {
        assert_eq!(mode_sense(&d, &ten(pc)), expected, "page control {pc}");
    }
    let six = [0x1a, 0, 0x3f, 0, 0xff, 0];
    assert_eq!(
        mode_sense(&d, &six),
        hex(&format!("83 00 10 08 {NULL0_PAGES}"))
    );
    let changeable = "00 86 00 10 00 00 00 08 00 02 00 00 00 00 02 00
        01 0a 00 00 00 00 00 00  00 00 00 00
        02 0e 00 00 00 00 00 00  00 00 00 00 00 00 00 00
        03 16 00 00 00 00 00 00  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        88 12 04 00 00 00 00 00  00 00 00 00 00 00 00 00 00 00 00 00
        8a 0a 1c f6 08 40 00 00  00 00 00 00
        1c 0a 00 00 00 00 00 00  00 00 00 00
        04 16 00 00 00 00 00 00  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
    assert_eq!(mode_sense(&d, &ten(1)), hex(changeable));
}

#[test]
fn mode_pages_by_device() {
    // thin0: no volatile cache.
    let mut thin = mode_device(0x20000, 512);
    thin.wce_changeable = false;
    thin.current.wce = false;
    let caching = [0x5a, 0x08, 0x08, 0, 0, 0, 0, 0, 0xff, 0];
    let expected =
        "00 1a 00 10 00 00 00 00 08 12 00 00 00 00 00 00  00 00 00 00 80 14 00 00 00 00 00 00";
    assert_eq!(mode_sense(&thin, &caching), hex(expected));
    // blk0: one GiB; its geometry.
    let blk0 = mode_device(0x20_0000, 512);
    let geometry = mode_sense(&blk0, &[0x1a, 0x08, 0x04, 0, 0xff, 0]);
    assert_eq!(geometry[4..10], hex("04 16 00 00 93 ff")[..]);
    // cd0: three pages, a medium type, no DPOFUA.
    let mut cd = mode_device(175, 2048);
    cd.pdt = PeripheralDeviceType::CDROM;
    cd.write_protected = true;
    cd.dpofua = false;
    let pages = "00 00 00 af 00 00 08 00
        01 0a c0 01 00 00 00 00  01 00 ff ff
        8a 0a 20 10 00 00 00 00  00 00 02 4b
        1c 0a 08 00 00 00 00 00  00 00 00 00";
    let all = [0x5a, 0, 0x3f, 0, 0, 0, 0, 0xff, 0xff, 0];
    assert_eq!(
        mode_sense(&cd, &all),
        hex(&format!("00 32 05 80 00 00 00 08 {pages}"))
    );
    assert_eq!(
        mode_sense(&cd, &[0x1a, 0, 0x3f, 0, 0xff, 0]),
        hex(&format!("2f 05 80 08 {pages}"))
    );
}

#[test]
fn task_management_functions() {
    let of_scst = |f| {
        use scst_proto::task::Function::*;
        matches!(
            f,
            AbortTask | AbortTaskSet | ClearAca | ClearTaskSet | LogicalUnitReset
        )
    };
    let asked =
        |cdb: &str, has: &dyn Fn(_) -> bool| written(|w| report_task_management(w, &hex(cdb), has));
    let short = asked("a3 0d 00 00 00 00 00 00 00 10 00 00", &of_scst);
    assert_eq!(
        asked("a3 0d 00 00 00 00 00 00 00 10 00 00", &|_| true),
        [0xfe, 7, 0, 0]
    );
    assert_eq!(short, hex("f8 00 00 00"));
    let extended = asked("a3 0d 80 00 00 00 00 00 00 10 00 00", &of_scst);
    assert_eq!(
        extended,
        hex("f8 00 00 0c 01 00 a0 00 00 00 01 2c 00 00 00 96")
    );
}

/// CDB usage data as `sg_opcodes -m` printed it, for commands without service actions and those of 9Eh and A3h.
const USAGE: &str = "00 00 00 00 00 04|03 01 00 00 ff 04|04 f0 00 00 00 04|08 1f ff ff ff 04|0a 1f ff ff ff 04|\
12 01 ff ff ff 04|15 11 00 00 ff 04|16 00 00 00 00 04|17 00 00 00 00 04|1a 08 ff ff ff 04|1b 01 00 0f f7 04|\
1d f7 00 ff ff 04|25 00 00 00 00 00 00 00 00 04|28 f8 ff ff ff ff 00 ff ff 04|2a fa ff ff ff ff 00 ff ff 04|\
2e f6 ff ff ff ff 00 ff ff 04|2f f6 ff ff ff ff 00 ff ff 04|35 02 ff ff ff ff 00 ff ff 04|\
41 e8 ff ff ff ff 00 ff ff 04|42 00 00 00 00 00 00 ff ff 04|4c 03 ff ff 00 00 00 ff ff 04|\
4d 01 ff ff 00 ff ff ff ff 04|55 11 00 00 00 00 00 ff ff 04|56 00 00 00 00 00 00 00 00 04|\
57 00 00 00 00 00 00 00 00 04|5a 18 ff ff 00 00 00 ff ff 04|88 f8 ff ff ff ff ff ff ff ff ff ff ff ff 00 04|\
89 f8 ff ff ff ff ff ff ff ff 00 00 00 ff 00 04|8a fa ff ff ff ff ff ff ff ff ff ff ff ff 00 04|\
8e f6 ff ff ff ff ff ff ff ff ff ff ff ff 00 04|8f f6 ff ff ff ff ff ff ff ff ff ff ff ff 00 04|\
91 02 ff ff ff ff ff ff ff ff ff ff ff ff 00 04|93 e8 ff ff ff ff ff ff ff ff ff ff ff ff 00 04|\
9e 10 00 00 00 00 00 00 00 00 ff ff ff ff 00 04|a0 00 ff 00 00 00 ff ff ff ff 00 04|\
a3 ea 00 00 00 00 ff ff ff ff 00 04|a3 0c 87 ff ff ff ff ff ff ff 00 04|a3 0d 80 00 00 00 ff ff ff ff 00 04|\
a8 f8 ff ff ff ff ff ff ff ff 00 04|aa fa ff ff ff ff ff ff ff ff 00 04|ae f6 ff ff ff ff ff ff ff ff 00 04|\
af f6 ff ff ff ff ff ff ff ff 00 04";

#[test]
fn usage_maps() {
    let device = Commands {
        pdt: PeripheralDeviceType::DISK,
        thin: true,
        keeps_data: true,
        explicit_alua: false,
        type2: false,
        atomic: false,
    };
    for line in USAGE.split('|') {
        let usage = hex(line);
        let action = if matches!(usage[0], 0x9e | 0xa3) {
            usage[1] & 0x1f
        } else {
            0
        };
        let row = opcode::lookup(usage[0], action.into(), PeripheralDeviceType::DISK).unwrap();
        assert_eq!(row.usage()[..usage.len()], usage[..], "{line}");
        let cdb = [0xa3, 0x0c, 0x03, usage[0], 0, action, 0, 0, 1, 0, 0, 0];
        let report = ReportOpcodes::decode(&cdb).unwrap();
        let got = written(|w| report.write(w, &device).unwrap());
        assert_eq!(got[..4], [0, 3, 0, usage.len() as u8], "{line}");
        assert_eq!(got[4..], usage[..], "{line}");
    }
}

#[test]
fn opcodes_that_are_not_there() {
    let device = Commands {
        pdt: PeripheralDeviceType::DISK,
        thin: true,
        keeps_data: true,
        explicit_alua: false,
        type2: false,
        atomic: false,
    };
    for (op, action) in [(0x9c, 0), (0x84, 0x01), (0xa4, 0x0a), (0xc0, 0)] {
        let report =
            ReportOpcodes::decode(&[0xa3, 0x0c, 0x03, op, 0, action, 0, 0, 1, 0, 0, 0]).unwrap();
        assert_eq!(
            written(|w| report.write(w, &device).unwrap())[1] & 7,
            1,
            "{op:02x}"
        );
    }
}

#[test]
fn all_opcodes_with_timeouts() {
    let device = Commands {
        pdt: PeripheralDeviceType::DISK,
        thin: true,
        keeps_data: true,
        explicit_alua: false,
        type2: false,
        atomic: false,
    };
    let report = ReportOpcodes::decode(&hex("a3 0c 80 00 00 00 00 00 20 00 00 00")).unwrap();
    let got = written(|w| report.write(w, &device).unwrap());
    let (header, rows) = got.split_at(4);
    assert_eq!(
        u32::from_be_bytes(header.try_into().unwrap()) as usize,
        rows.len()
    );
    // Recommended time-outs: READ(10) 60 s, FORMAT UNIT an hour, TEST UNIT READY 10 s.
    for (op, seconds) in [
        (0x28, 60),
        (0x04, 3600),
        (0x00, 10),
        (0x1b, 10),
        (0xa0, 10),
        (0x42, 60),
    ] {
        let row = rows.chunks(20).find(|r| r[0] == op).unwrap();
        assert_eq!(
            row[8..],
            [
                &hex("00 0a 00 00 00 00 00 01")[..],
                &u32::to_be_bytes(seconds)
            ]
            .concat()
        );
    }
}

#[test]
fn report_luns() {
    let expected = "00 00 00 38 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00
        00 03 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 05 00 00 00 00 00 00 00 07 00 00 00 00 00 00";
    let got = written(|w| {
        let mut report = ReportLuns::start(w, 0, AddressMethod::Peripheral).unwrap();
        for n in [0, 1, 2, 3, 4, 5, 7] {
            report.lun(Lun::new(n).unwrap());
        }
        assert_eq!(report.finish(), 64);
    });
    assert_eq!(got, hex(expected));
}
