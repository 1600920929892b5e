// SPDX-License-Identifier: GPL-2.0

//! What administrators write: `abi/sysfs/20-mgmt-write-results.txt` and beyond.

use scst_proto::command::*;
use scst_proto::glob::{is_pattern, matches};
use scst_proto::mgmt::{self, Errno, Error, Params, Words, Wrong};
use scst_proto::number::*;
use scst_proto::options::{DifMode, Handler, VdiskOptions};
use scst_proto::trace::{self, Level, TraceCommand};

fn vdisk(handler: Handler, params: &str) -> Result<VdiskOptions<'_>, Error<'_>> {
    VdiskOptions::parse(handler, Params::new(params))
}

#[test]
fn blocks() {
    let ok = |s| BlockCommand::parse(s).unwrap();
    assert_eq!(ok("0\n"), BlockCommand::Unblock);
    assert_eq!(ok(" 1 "), BlockCommand::Sync);
    assert_eq!(ok("11"), BlockCommand::Async(""));
    assert_eq!(
        ok("11  for a snapshot \n"),
        BlockCommand::Async("for a snapshot")
    );
    // As recorded.
    assert_eq!(ok("1 11"), BlockCommand::Async("1"));
    for s in ["", "2", "01", "1 x", "block", "0 1", "-1"] {
        assert!(BlockCommand::parse(s).is_err(), "{s}");
    }
}

#[test]
fn paths_and_lines() {
    for s in ["/srv/disk01", "/srv/a disk/\u{e4}", "/"] {
        assert_eq!(mgmt::absolute(s), Ok(s));
    }
    for (s, wrong) in [
        ("", Wrong::NotAbsolute),
        ("srv/disk01", Wrong::NotAbsolute),
        ("\n/srv", Wrong::NotAbsolute),
        ("/srv/disk01\n[key]\n", Wrong::NotOneLine),
        ("/srv/\x7f", Wrong::NotOneLine),
        ("/srv\0/disk01", Wrong::NotOneLine),
    ] {
        assert_eq!(mgmt::absolute(s), Err(Error::new(wrong, s)), "{s:?}");
    }
    assert_eq!(
        mgmt::one_line("kept with its spaces"),
        Ok("kept with its spaces")
    );
    assert!(mgmt::one_line("a\tb").is_err());
    assert!(vdisk(Handler::FileIo, "filename='/a\nb'").is_err());
}

#[test]
fn luns() {
    let ok = |s| LunsCommand::parse(s).unwrap();
    let LunsCommand::Add(e) = ok("add n_def 16383 read_only=1") else {
        panic!()
    };
    assert_eq!((e.device, e.lun.get(), e.read_only), ("n_def", 16383, true));
    assert!(matches!(ok("replace 2:0:0:0 1"), LunsCommand::Replace(e) if e.device == "2:0:0:0"));
    assert!(matches!(ok("replace_no_ua n 0x10"), LunsCommand::ReplaceNoUa(e) if e.lun.get() == 16));
    assert!(matches!(ok("del 77"), LunsCommand::Del(l) if l.get() == 77));
    assert_eq!(ok("clear"), LunsCommand::Clear);
    let wrong = |s| LunsCommand::parse(s).unwrap_err();
    for s in [
        "", "bogus", "add", "add n", "add n -1", "add n x", "clear 1", "del", "del 1 2",
    ] {
        assert_eq!(wrong(s).errno(), Errno::Invalid, "{s}");
    }
    for s in ["add n 16384", "add n 99999", "add n 99999999999999999999"] {
        assert!(
            wrong(s).to_string().contains("at most"),
            "{s}: {}",
            wrong(s)
        );
    }
    assert_eq!(
        wrong("add n 99999").to_string(),
        "too big LUN 99999: at most 16383"
    );
    let unknown = wrong("add n_size 2 bogus=1").to_string();
    assert_eq!(
        unknown,
        "unknown parameter \"bogus\": available are read_only"
    );
    assert_eq!(wrong("add n").to_string(), "LUN required after \"n\"");
}

#[test]
fn groups_and_initiators() {
    assert_eq!(
        GroupsCommand::parse("create g1"),
        Ok(GroupsCommand::Create("g1"))
    );
    assert_eq!(
        GroupsCommand::parse("add g1"),
        Ok(GroupsCommand::Create("g1"))
    );
    assert_eq!(GroupsCommand::parse("del g1"), Ok(GroupsCommand::Del("g1")));
    assert!(GroupsCommand::parse("create a/b").is_err());
    assert!(GroupsCommand::parse("create a b").is_err());
    assert_eq!(
        MembersCommand::parse("add disk01"),
        Ok(MembersCommand::Add("disk01"))
    );
    assert_eq!(
        InitiatorsCommand::parse("add h?st*"),
        Ok(InitiatorsCommand::Add("h?st*"))
    );
    let moved = InitiatorsCommand::Move {
        pattern: "host1",
        group: "g2",
    };
    assert_eq!(InitiatorsCommand::parse("move host1 g2"), Ok(moved));
    assert!(InitiatorsCommand::parse("move host1").is_err());
    assert_eq!(
        InitiatorsCommand::parse("clear"),
        Ok(InitiatorsCommand::Clear)
    );
}

#[test]
fn handlers_and_drivers() {
    let HandlerCommand::AddDevice { name, mut params } =
        HandlerCommand::parse("add_device d1 filename=/a; x = 'y;z'").unwrap()
    else {
        panic!()
    };
    assert_eq!(name, "d1");
    assert_eq!(params.next().unwrap().unwrap().value, "/a");
    assert_eq!(params.next().unwrap().unwrap().value, "y;z");
    assert!(params.next().is_none());
    for s in [
        "add_device",
        "bogus_cmd x",
        "add_device name/with/slash size_mb=8",
        "del_device",
        "del_device a b",
    ] {
        assert_eq!(
            HandlerCommand::parse(s).unwrap_err().errno(),
            Errno::Invalid,
            "{s}"
        );
    }
    let DriverCommand::AddTargetAttribute(target, a) = DriverCommand::parse(
        "add_target_attribute iqn.2026-11.org.lab:t1 IncomingUser joe 12charsecret1",
    )
    .unwrap() else {
        panic!()
    };
    assert_eq!(
        (target, a.name, a.value),
        (
            "iqn.2026-11.org.lab:t1",
            "IncomingUser",
            "joe 12charsecret1"
        )
    );
    let session = DriverCommand::parse("add_session t1 s1").unwrap();
    assert!(matches!(
        session,
        DriverCommand::AddSession {
            target: "t1",
            session: "s1"
        }
    ));
    assert!(matches!(
        DriverCommand::parse("add_target t2 session_name=s2").unwrap(),
        DriverCommand::AddTarget { name: "t2", .. }
    ));
}

#[test]
fn parameters() {
    let all = |s| {
        Params::new(s)
            .map(|p| p.map(|p| (p.name, p.value)))
            .collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(all("a=1;b=2;"), Ok(vec![("a", "1"), ("b", "2")]));
    assert_eq!(
        all(" ; a = 1 ; ; b=\"two words\" ; c="),
        Ok(vec![("a", "1"), ("b", "two words"), ("c", "")])
    );
    assert_eq!(all("a"), Err(Error::new(Wrong::NoValue, "a")));
    assert_eq!(all("a; b=1"), Err(Error::new(Wrong::NoValue, "a")));
    assert_eq!(all("a=1 2"), Err(Error::new(Wrong::Surplus, "2")));
    assert_eq!(all("a=\"1\" 2; b=1"), Err(Error::new(Wrong::Surplus, "2")));
    assert_eq!(all("a='1"), Err(Error::new(Wrong::OpenQuote, "'1")));
    assert_eq!(
        all("=1").unwrap_err().to_string(),
        "parameter name required"
    );
    assert_eq!(mgmt::text(b" add x 1\n\0"), Ok("add x 1"));
    assert_eq!(mgmt::text(b"\xff").unwrap_err().errno().number(), 22);
    assert_eq!(Words::new("  a  b ").collect::<Vec<_>>(), ["a", "b"]);
    assert!(mgmt::valid_name(&"x".repeat(256)).is_err());
    assert!(mgmt::valid_name("..").is_err());
}

#[test]
fn numbers() {
    for (text, n) in [
        ("0", 0),
        ("10", 10),
        ("0x1f", 31),
        ("0X1F", 31),
        ("010", 8),
        ("+5", 5),
    ] {
        assert_eq!(parse_u64(text), Ok(n), "{text}");
    }
    assert_eq!(parse_u64("18446744073709551615"), Ok(u64::MAX));
    for text in [
        "",
        "x",
        "0x",
        "08",
        "1 ",
        "-1",
        "0xHEX",
        "18446744073709551616",
        "+",
        "++1",
        "+-1",
    ] {
        assert!(parse_u64(text).is_err(), "{text}");
    }
    assert_eq!(parse_i64("-0x10"), Ok(-16));
    assert_eq!(parse_i64("-9223372036854775808"), Ok(i64::MIN));
    assert!(
        parse_i64("-9223372036854775809").is_err() && parse_i64("9223372036854775808").is_err()
    );
    assert_eq!(parse_bool("1"), Ok(true));
    assert!(parse_bool("2").is_err());
    assert_eq!(
        Hctl::parse("2:0:1:5"),
        Some(Hctl {
            host: 2,
            channel: 0,
            id: 1,
            lun: 5
        })
    );
    for text in ["2:0:1", "2:0:1:5:6", "a:0:0:0", ":::", "disk01", "+1:0:0:0"] {
        assert_eq!(Hctl::parse(text), None, "{text}");
    }
}

#[test]
fn cpu_masks() {
    let parse = |text, cpus| {
        let mut mask = [0u64; 2];
        parse_cpu_mask(text, cpus, &mut mask)
            .map(|()| mask)
            .map_err(|e| e.errno())
    };
    assert_eq!(parse("3", 2), Ok([3, 0]));
    assert_eq!(parse("0", 2), Ok([0, 0]));
    assert_eq!(parse("ffff", 2), Err(Errno::Overflow));
    assert_eq!(parse("0000,00000003", 2), Ok([3, 0]));
    assert_eq!(parse("1,00000000,80000001", 128), Ok([0x8000_0001, 1]));
    assert_eq!(parse("10000000000000000", 128), Ok([0, 1]));
    for text in ["", ",", "1,", "g", "123456789,0", "-1"] {
        assert_eq!(parse(text, 128), Err(Errno::Invalid), "{text}");
    }
    assert_eq!(Errno::Overflow.number(), 75);
}

#[test]
fn trace_levels() {
    let apply = |s, level| TraceCommand::parse(s).unwrap().apply(level);
    assert_eq!(
        Level(trace::DEFAULT).to_string(),
        "out_of_mem | pid | special | mgmt"
    );
    let with_scsi = apply("add scsi", trace::DEFAULT);
    assert_eq!(
        Level(with_scsi).to_string(),
        "out_of_mem | pid | special | scsi | mgmt"
    );
    assert_eq!(apply("del scsi", with_scsi), trace::DEFAULT);
    assert_eq!(Level(apply("value 0x1", 0)).to_string(), "debug");
    assert_eq!(Level(apply("none", 7)).to_string(), "");
    let all = "out_of_mem | minor | sg | mem | buff | entryexit | pid | line | function | debug | special | scsi | \
               mgmt | mgmt_dbg | flow_control | pr | retry | scsi_serializing | data_send | data_received | block";
    assert_eq!(Level(apply("all", 0)).to_string(), all);
    for s in ["value 0xHEX", "add nothing", "add", "bogus", "all 1"] {
        assert_eq!(
            TraceCommand::parse(s).unwrap_err().errno(),
            Errno::Invalid,
            "{s}"
        );
    }
}

#[test]
fn vdisk_options() {
    let f = vdisk(
        Handler::FileIo,
        "filename=/tmp/b; async=1; o_direct=1; numa_node_id=0; rotational=0",
    )
    .unwrap();
    assert_eq!(
        (f.filename, f.async_io, f.o_direct, f.numa_node_id),
        (Some("/tmp/b"), true, true, 0)
    );
    assert_eq!(f.rotational, Some(false));
    let b = vdisk(
        Handler::BlockIo,
        "filename=/dev/ram0; active=0; bind_alua_state=0",
    )
    .unwrap();
    assert!(!b.active && !b.bind_alua_state);
    let n = vdisk(Handler::NullIo, "size_mb=16; dif_mode=tgt; dif_type=3").unwrap();
    assert_eq!(
        (n.size, n.dif_mode, n.dif_type),
        (Some(16 << 20), DifMode::TGT, 3)
    );
    let d = vdisk(
        Handler::FileIo,
        "filename=/a; dif_mode=dev_store|scst; dif_type=1; dif_filename=/a.dif",
    )
    .unwrap();
    assert!(d.dif_mode.contains(DifMode::DEV_STORE) && d.dif_mode.contains(DifMode::SCST));
    assert!(vdisk(Handler::NullIo, "").is_ok() && vdisk(Handler::Cdrom, "tst=0").is_ok());
    let wrong = [
        (Handler::FileIo, "filename=/tmp/a; o_direct=1"),
        (Handler::FileIo, ""),
        (Handler::FileIo, "filename=tmp"),
        (
            Handler::NullIo,
            "size_mb=16; dif_mode=dev_check; dif_type=1",
        ),
        (
            Handler::NullIo,
            "size_mb=16; dif_mode=scst|dev_check; dif_type=1; dif_static_app_tag=0x1234",
        ),
        (Handler::NullIo, "size_mb=abc"),
        (Handler::NullIo, "size_mb=18446744073709551615"),
        (Handler::NullIo, "blocksize=100"),
        (Handler::NullIo, "blocksize=256"),
        (Handler::NullIo, "blocksize=65536"),
        (Handler::NullIo, "blocksize=1000"),
        (Handler::NullIo, "size=1000"),
        (Handler::NullIo, "size=512; blocksize=4096"),
        (Handler::NullIo, "filename=/tmp/a"),
        (Handler::NullIo, "numa_node_id=-2"),
        (Handler::NullIo, "tst=2"),
        (Handler::NullIo, "read_only"),
        (Handler::NullIo, "read_only="),
        (Handler::NullIo, "t10_dev_id=abcdefghijklmnopqrstuvwxyz"),
        (Handler::Cdrom, "blocksize=512"),
        (Handler::BlockIo, "filename=/a; async=1"),
    ];
    for (handler, params) in wrong {
        let e = vdisk(handler, params).unwrap_err();
        assert_eq!(e.errno(), Errno::Invalid, "{params}");
        assert!(!e.to_string().is_empty());
    }
    let e = vdisk(Handler::NullIo, "blocksize=100")
        .unwrap_err()
        .to_string();
    assert_eq!(
        e,
        "blocksize 100 is not possible: a power of two from 512 to 32768 expected"
    );
}

#[test]
fn every_parameter_that_the_help_names_is_known() {
    for handler in [
        Handler::BlockIo,
        Handler::FileIo,
        Handler::NullIo,
        Handler::Cdrom,
    ] {
        for name in handler.parameter_names().split(", ") {
            let text = format!("{name}=@");
            let unknown = vdisk(handler, &text)
                .is_err_and(|e| matches!(e.wrong, Wrong::UnknownParameter { .. }));
            assert!(!unknown, "{name} of {handler:?}");
        }
    }
}

#[test]
fn patterns() {
    for (pattern, name, expected) in [
        ("host1", "host1", true),
        ("host1", "host2", false),
        ("h?st*", "host1", true),
        ("h?st*", "hst1", false),
        ("*", "", true),
        ("?", "", false),
        ("!neg", "host1", true),
        ("!neg", "neg", false),
        ("!*", "anything", false),
        ("50:01:*:AB", "50:01:02:03:ab", true),
        ("a*b*c", "aXbXbXc", true),
        ("a*b*c", "aXbXbX", false),
        ("**", "x", true),
        ("", "", true),
        ("", "x", false),
        ("!!a", "!a", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
    assert!(is_pattern("a*") && is_pattern("!a") && !is_pattern("a"));
    // Would take forever with naive backtracking.
    assert!(!matches(&"a*".repeat(64), &"a".repeat(63)));
}

#[test]
fn addresses_have_one_spelling() {
    use scst_proto::mgmt::Address;
    let address = Address {
        host: 2,
        channel: 0,
        id: 10,
        lun: 49152,
    };
    assert_eq!(Address::parse("2:0:10:49152"), Some(address));
    for text in [
        "",
        ":::",
        "2:0:0",
        "2:0:0:0:0",
        "02:0:0:0",
        "+2:0:0:0",
        "-2:0:0:0",
        " 2:0:0:0",
        "2:0:0:0 ",
        "2:0:0:x",
        "4294967296:0:0:0",
        "0:0:0:18446744073709551616",
    ] {
        assert_eq!(Address::parse(text), None, "{text:?}");
    }
}
