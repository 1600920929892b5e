// SPDX-License-Identifier: GPL-2.0

//! Properties of the SRP formats for every input: nothing panics, nothing outside a unit is read, what is built is read
//! back, lists and credits agree with plain models.

use proptest::prelude::*;
use scst_proto::residual::Residual;
use scst_proto::srp::cmd::Cmd;
use scst_proto::srp::credit::{Credit, TargetRequest};
use scst_proto::srp::data_buffer::{DataBuffer, Rules};
use scst_proto::srp::descriptors::Descriptors;
use scst_proto::srp::dm;
use scst_proto::srp::iu::{AerReq, Iu, Outcome, Rsp};
use scst_proto::srp::login::{decide, reject, LoginRequest, PortFacts, RejectReason};
use scst_proto::srp::tsk_mgmt::ResponseCode;
use scst_proto::srp::{names, PortId};

/// Miri is slow; the cases are what they are for, not their number.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 2000 },
        failure_persistence: None,
        ..Default::default()
    }
}

/// Whether `part` is a piece of `whole`, in memory.
fn within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// What holds for the data of any command.
fn check_data(iu: &[u8], rules: &Rules) -> Result<(), TestCaseError> {
    let Ok(Iu::Cmd(cmd)) = Iu::parse(iu) else {
        return Ok(());
    };
    prop_assert!(within(cmd.cdb, iu) && cmd.cdb.len() >= 16 && cmd.cdb.len() % 4 == 0);
    match cmd.data(rules) {
        Ok(DataBuffer::Remote { list, direction }) => {
            prop_assert!(list.total() > 0 && direction as usize > 0);
            check_list(list)?;
        }
        Ok(DataBuffer::Table { at, total, .. }) => {
            prop_assert!(total > 0 && at.len % 16 == 0);
            prop_assert!(at.len > 0 && at.len / 16 <= rules.max_descriptors);
            prop_assert!(at.addr.checked_add(u64::from(at.len) - 1).is_some());
        }
        Ok(DataBuffer::Immediate(data)) => {
            prop_assert!(within(data, iu) && !data.is_empty());
            // Neither the CDB nor the descriptor is data.
            prop_assert!(data.as_ptr() as usize >= cmd.cdb.as_ptr_range().end as usize + 4);
        }
        Ok(DataBuffer::None) | Err(_) => {}
    }
    Ok(())
}

fn check_list(list: Descriptors<'_>) -> Result<(), TestCaseError> {
    let mut sum = 0u64;
    for piece in list {
        prop_assert!(piece.len > 0);
        prop_assert!(piece.addr.checked_add(u64::from(piece.len) - 1).is_some());
        sum += u64::from(piece.len);
    }
    prop_assert_eq!(sum, u64::from(list.total()));
    prop_assert!(list.iter().count() <= list.table_entries());
    Ok(())
}

/// Pieces of memory, small ones mostly, so that lists come out right now and then.
fn any_pieces(max: usize) -> impl Strategy<Value = Vec<(u64, u32, u32)>> {
    let len = prop_oneof![4 => 0u32..9, 1 => any::<u32>()];
    let addr = prop_oneof![4 => 0u64..1 << 40, 1 => (u64::MAX - 16)..=u64::MAX];
    prop::collection::vec((addr, any::<u32>(), len), 0..max)
}

fn table(pieces: &[(u64, u32, u32)]) -> Vec<u8> {
    let bytes = pieces.iter().flat_map(|(addr, rkey, len)| {
        let mut bytes = addr.to_be_bytes().to_vec();
        bytes.extend(rkey.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes
    });
    bytes.collect()
}

/// The bytes `0..total` of the memory that `pieces` list, byte by byte; `None` where they may not be used.
fn model(pieces: &[(u64, u32, u32)], total: u32) -> Option<Vec<(u64, u32)>> {
    let fits = |(addr, _, len): &(u64, u32, u32)| {
        u128::from(*addr) + u128::from(*len) <= 1 << 64 || *len == 0
    };
    let sum: u64 = pieces.iter().map(|p| u64::from(p.2)).sum();
    (pieces.iter().all(fits) && sum >= u64::from(total)).then(|| {
        let bytes = pieces
            .iter()
            .flat_map(|p| (0..p.2).map(|i| (p.0 + u64::from(i), p.1)));
        bytes.take(total as usize).collect()
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_as_a_unit(bytes in prop::collection::vec(any::<u8>(), 0..200), iu_type in prop::sample::select(vec![0x01u8, 0x02, 0x02, 0x02, 0x03, 0x41, 0x42]), offset: Option<u8>, max in 0u32..300) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = iu_type;
        }
        if let Some(formats) = bytes.get_mut(5) {
            *formats &= 0x33;
        }
        if let Some(words) = bytes.get_mut(31) {
            *words &= 0x1f;
        }
        let rules = Rules { imm_data_offset: offset.map(u16::from), max_descriptors: max };
        check_data(&bytes, &rules)?;
        if let Ok(unit) = Iu::parse(&bytes) {
            prop_assert_eq!(unit.tag().to_be_bytes(), &bytes[8..16]);
        }
    }

    #[test]
    fn lists_are_what_they_say(pieces in any_pieces(6), total in 0u32..40) {
        let bytes = table(&pieces);
        let list = Descriptors::parse_table(&bytes, total);
        let Some(expected) = model(&pieces, total) else {
            prop_assert!(list.is_err());
            return Ok(());
        };
        let list = list.unwrap();
        check_list(list)?;
        let got: Vec<_> = list.iter().flat_map(|p| (0..p.len).map(move |i| (p.addr + u64::from(i), p.rkey))).collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn commands_round_trip(
        tag: u64, lun: u64, cdb in prop::collection::vec(any::<u8>(), 16..17), words in 0usize..64,
        out: bool, pieces in any_pieces(6), unlisted in 0usize..3, total in 0u32..40, cut in 0usize..40,
    ) {
        let entries = pieces.len() + unlisted;
        let count = pieces.len() as u8;
        let mut iu = vec![0x02, 0, 0, 0, 0, if out { 0x20 } else { 0x02 }];
        iu.extend(if out { [count, 0] } else { [0, count] });
        iu.extend(tag.to_be_bytes());
        iu.extend([0; 4]);
        iu.extend(lun.to_be_bytes());
        iu.extend([0, 0, 0, (words << 2) as u8]);
        iu.extend(&cdb);
        iu.extend(vec![0xcd; words * 4]);
        iu.extend(table(&[(0x4000, 7, entries as u32 * 16)]));
        iu.extend(total.to_be_bytes());
        iu.extend(table(&pieces));
        let rules = Rules { imm_data_offset: None, max_descriptors: 8 };
        check_data(&iu, &rules)?;
        let cmd = Cmd::parse(&iu).unwrap();
        prop_assert_eq!((cmd.tag, cmd.lun, &cmd.cdb[..16], cmd.cdb.len()), (tag, lun, &cdb[..], 16 + words * 4));
        match cmd.data(&rules) {
            Ok(DataBuffer::Remote { list, .. }) => {
                prop_assert!(unlisted == 0 && total > 0);
                let listed = table(&pieces);
                prop_assert_eq!(Ok(list), Descriptors::parse_table(&listed, total));
            }
            Ok(DataBuffer::Table { at, total: t, .. }) => {
                prop_assert_eq!((at.addr, at.rkey, at.len as usize, t), (0x4000, 7, entries * 16, total));
                prop_assert!(unlisted > 0);
            }
            Ok(DataBuffer::None) => prop_assert_eq!(total, 0),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(_) => prop_assert!(entries > 8 || model(&pieces, total).is_none()),
        }
        // A unit that ends early is never good for the same data.
        let short = &iu[..iu.len() - cut.min(iu.len())];
        if cut > 0 {
            prop_assert!(Cmd::parse(short).is_none_or(|cmd| cmd.data(&rules).is_err()));
        }
    }

    #[test]
    fn responses_fit(room in 0usize..120, sense in prop::collection::vec(any::<u8>(), 0..60), n: u32, code in 0u8..4, kind in 0u8..4, tag: u64, delta: u16) {
        let residual = match kind { 0 => Residual::None, 1 => Residual::Underflow(n), _ => Residual::Overflow(n) };
        let outcome = if kind == 3 {
            Outcome::TaskManagement([ResponseCode::Complete, ResponseCode::FieldsInvalid, ResponseCode::NotSupported, ResponseCode::Failed][usize::from(code)])
        } else {
            Outcome::Command { status: 2, data_out: residual, data_in: Residual::None, sense: &sense }
        };
        let mut buf = vec![0; room];
        let rsp = Rsp { tag, delta, solicited: false, outcome };
        match rsp.write(&mut buf) {
            None => prop_assert!(room < 40),
            Some(len) => {
                // As the initiator reads it: response data, then sense data, all within the unit.
                let at = |i: usize| u32::from_be_bytes(buf[i..i + 4].try_into().unwrap()) as usize;
                prop_assert_eq!(36 + at(28) + at(32), len);
                prop_assert_eq!((at(4), &buf[8..16]), (usize::from(delta), &tag.to_be_bytes()[..]));
                prop_assert_eq!(buf[18] & 1 != 0, at(32) == 4);
                prop_assert_eq!(buf[18] & 2 != 0, at(28) > 0);
                prop_assert!(kind == 3 || buf[36..len] == sense[..(room - 36).min(sense.len())]);
            }
        }
        let aer = AerReq { tag, delta, solicited: true, lun: [0; 8], sense: &sense };
        prop_assert_eq!(aer.write(&mut buf), (room >= 36).then(|| room.min(36 + sense.len())));
    }

    #[test]
    fn logins_are_decided(bytes in prop::collection::vec(any::<u8>(), 50..100), enabled: bool, channels in 0u32..3, limit in 0u16..4, plain: bool) {
        let mut bytes = bytes;
        if plain {
            for i in [0, 11, 16, 17, 24] {
                bytes[i] = 0;
            }
            bytes[25] &= 6;
        }
        for request in [LoginRequest::parse(&bytes), LoginRequest::parse_rdma_cm(&bytes)].into_iter().flatten() {
            let port = PortFacts {
                enabled, target: request.target, max_it_iu_len: 65536, max_ti_iu_len: 256, request_limit: limit,
                channels, max_channels: 2, max_imm_data_offset: Some(80), solicited_notification: true,
            };
            match decide(&request, &port) {
                Ok(accept) => {
                    prop_assert!(enabled && limit >= 2 && (64..=65536).contains(&request.it_iu_len));
                    prop_assert!(accept.imm_data_offset.is_none_or(|o| (52..=80).contains(&o)));
                    prop_assert_eq!(&accept.response(request.tag)[8..16], &request.tag.to_be_bytes()[..]);
                }
                Err(reason) => prop_assert_eq!(&reject(request.tag, reason)[4..8], &(reason as u32).to_be_bytes()[..]),
            }
            let elsewhere = PortFacts { enabled: true, target: PortId([!request.target.0[0]; 16]), ..port };
            let not_here = decide(&request, &elsewhere) == Err(RejectReason::UnableToAssociate);
            prop_assert!(not_here || !(64..=65536).contains(&request.it_iu_len));
        }
    }

    #[test]
    fn datagrams_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..256), slot: u32, known: bool) {
        let mut bytes = bytes;
        if known && bytes.len() >= 24 {
            bytes[..4].copy_from_slice(&[1, 6, 1, 1]);
            bytes[16..18].copy_from_slice(&[0, 0x11]);
            bytes[20..24].copy_from_slice(&slot.to_be_bytes());
        }
        let port = dm::PortFacts {
            target: PortId::new(1, 2), service_id: 3, vendor_id: 4, device_id: 5, device_version: 6,
            send_queue_depth: 7, rdma_read_depth: 8, send_size: 9, rdma_size: 10, id_string: &bytes,
        };
        let answer = dm::answer(&bytes, &port);
        prop_assert!(answer.is_some() || !known || bytes.len() < 24);
        if let Some(answer) = answer {
            prop_assert_eq!(&answer[6..24], &bytes[6..24]);
            prop_assert!(answer[4..6] == [0, 0] || answer[24..].iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn names_have_their_lengths(bytes: [u8; 16], ext: u64, guid: u64) {
        let id = PortId::new(ext, guid);
        prop_assert_eq!((id.id_extension(), id.guid()), (ext, guid));
        let groups: Vec<_> = bytes.chunks(2).map(|p| format!("{:02x}{:02x}", p[0], p[1])).collect();
        let (gid, port_id) = (names::gid(&bytes), names::port_id(&id));
        prop_assert_eq!(gid.as_str(), groups.join(":"));
        prop_assert_eq!(port_id.as_str(), format!("0x{ext:016x}{guid:016x}"));
        prop_assert_eq!(names::service_name(ext).as_str().len(), names::SERVICE_NAME_LEN);
        prop_assert_eq!(names::login_info(guid, &bytes).as_str().len(), names::LOGIN_INFO_LEN);
        prop_assert_eq!(&names::transport_id(&id)[8..], &id.0[..]);
        prop_assert!(names::session(&names::Source::V4([bytes[0], bytes[1], bytes[2], bytes[3]])).as_str().parse::<std::net::Ipv4Addr>().is_ok());
    }

    #[test]
    fn credits_of_any_word(word: u64, steps in prop::collection::vec(0u8..6, 0..40)) {
        // Whatever the word, nothing overflows; one that a channel can have keeps its sum.
        let mut c = Credit::from_u64(word);
        let sum = |c: &Credit| u32::from(c.limit()) + u32::from(c.delta()) + u32::from(c.in_progress());
        let total = sum(&c);
        for step in steps {
            match step {
                0 => { let _ = c.receive(); }
                1 => { let _ = c.respond(); }
                2 => c.end_silently(),
                3 => { let _ = c.ask(TargetRequest::Credit); }
                4 => { let _ = c.answered(TargetRequest::Event); }
                _ => { let grant = c.respond(); prop_assert!(c.undo(grant).is_ok()); }
            }
            prop_assert!(total > u32::from(u16::MAX) || sum(&c) == total);
            prop_assert_eq!(Credit::from_u64(c.to_u64()), c);
        }
    }
}
