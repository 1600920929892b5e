// SPDX-License-Identifier: GPL-2.0

//! Persistent reservations against a small model of SPC-6 5.14, which knows nexuses by number, and against what was
//! recorded of C SCST.

use proptest::prelude::*;
use scst_proto::bytes::Writer;
use scst_proto::opcode::{self, PeripheralDeviceType};
use scst_proto::pr::access::Access;
use scst_proto::pr::list::OutList;
use scst_proto::pr::state::{access, registrants, Event, Head, Machine, Refusal};
use scst_proto::pr::{report, saved, NexusId, Registrant, TransportId, Type};
use scst_proto::sense::*;
use std::collections::BTreeMap;

const PORTS: [u16; 2] = [1, 2];
const NEXUSES: u8 = 6;

fn initiator(n: u8) -> TransportId {
    let mut id = [0u8; 24];
    (id[0], id[11]) = (6, n);
    TransportId::new(&id).unwrap()
}

/// Nexus `n`: initiator port `n / 2` through target port `n % 2`.
fn nexus(n: u8) -> NexusId {
    NexusId {
        initiator: initiator(n / 2),
        port: PORTS[usize::from(n % 2)],
    }
}

fn number(id: &NexusId) -> u8 {
    (0..NEXUSES).find(|n| nexus(*n) == *id).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Good,
    Conflict,
    Check(u8, u8),
}

#[derive(Clone, Debug)]
enum Op {
    Register {
        key: u64,
        new: u64,
        ignore: bool,
        all: bool,
        spec: Vec<u8>,
    },
    Reserve(u64, Type),
    Release(u64, Type),
    Clear(u64),
    Preempt {
        key: u64,
        new: u64,
        kind: Type,
        abort: bool,
    },
    Move {
        key: u64,
        new: u64,
        to: u8,
        unreg: bool,
    },
}

fn basic(key: u64, new: u64, flags: u8) -> Vec<u8> {
    let mut list = [key.to_be_bytes(), new.to_be_bytes(), [0; 8]].concat();
    list[20] = flags;
    list
}

impl Op {
    /// CDB and parameter list.
    fn wire(&self) -> (Vec<u8>, Vec<u8>) {
        let (action, kind, list) = match self {
            Op::Register {
                key,
                new,
                ignore,
                all,
                spec,
            } => {
                let flags = (u8::from(*all) << 2) | (u8::from(!spec.is_empty()) << 3);
                let mut list = basic(*key, *new, flags);
                if !spec.is_empty() {
                    list.extend((spec.len() as u32 * 24).to_be_bytes());
                    spec.iter()
                        .for_each(|n| list.extend(initiator(*n).as_bytes()));
                }
                (if *ignore { 6 } else { 0 }, 0, list)
            }
            Op::Reserve(key, kind) => (1, *kind as u8, basic(*key, 0, 0)),
            Op::Release(key, kind) => (2, *kind as u8, basic(*key, 0, 0)),
            Op::Clear(key) => (3, 0, basic(*key, 0, 0)),
            Op::Preempt {
                key,
                new,
                kind,
                abort,
            } => (4 + u8::from(*abort), *kind as u8, basic(*key, *new, 0)),
            Op::Move {
                key,
                new,
                to,
                unreg,
            } => {
                let mut list = basic(*key, *new, 0);
                list[17] = u8::from(*unreg) << 1;
                list[18..20].copy_from_slice(&nexus(*to).port.to_be_bytes());
                list[20..24].copy_from_slice(&24u32.to_be_bytes());
                list.extend(nexus(*to).initiator.as_bytes());
                (7, 0, list)
            }
        };
        let len = (list.len() as u32).to_be_bytes();
        let cdb = vec![0x5f, action, kind, 0, 0, len[0], len[1], len[2], len[3], 0];
        (cdb, list)
    }
}

/// Who is registered with which key; the reservation, and its holder if it has only one.
#[derive(Clone, Default, Debug, PartialEq)]
struct Model {
    keys: BTreeMap<u8, u64>,
    reservation: Option<(Type, Option<u8>)>,
    generation: u32,
}

type Said = Vec<(u8, u8, u8)>;
/// What the model says where commands are aborted.
const ABORT: (u8, u8) = (0xff, 0xff);

impl Model {
    fn others(&self, who: u8, sense: (u8, u8)) -> Said {
        let all = self.keys.keys().filter(|n| **n != who);
        all.map(|n| (*n, sense.0, sense.1)).collect()
    }

    fn full(&self, n: u8) -> bool {
        match self.reservation {
            None => true,
            Some((_, Some(holder))) if holder == n => true,
            Some((kind, _)) => (kind as u8) >= 5 && self.keys.contains_key(&n),
        }
    }

    fn remove(&mut self, n: u8, said: &mut Said) {
        if self.keys.remove(&n).is_none() {
            return;
        }
        match self.reservation {
            Some((kind, Some(holder))) if holder == n => {
                self.reservation = None;
                if kind as u8 >= 5 {
                    said.extend(self.others(n, (0x2a, 0x04)));
                }
            }
            Some((_, None)) if self.keys.is_empty() => self.reservation = None,
            _ => {}
        }
    }

    fn apply(&mut self, who: u8, op: &Op) -> (Status, Said) {
        let before = self.clone();
        let mut said = Said::new();
        let status = self.carry_out(who, op, &mut said);
        if status != Status::Good {
            *self = before;
            said.clear();
        }
        (status, said)
    }

    fn carry_out(&mut self, who: u8, op: &Op, said: &mut Said) -> Status {
        let own = self.keys.get(&who).copied();
        if let Op::Register {
            key,
            new,
            ignore,
            all,
            spec,
        } = op
        {
            if !ignore && *key != own.unwrap_or(0) {
                return Status::Conflict;
            }
            if own.is_some() && !spec.is_empty() {
                return Status::Check(0x24, 0);
            }
            if own.is_none() && *new == 0 {
                return Status::Good;
            }
            let same_port = |n: &u8| *all || n % 2 == who % 2;
            let mine = (0..NEXUSES).filter(|n| n / 2 == who / 2).filter(same_port);
            let named = (0..NEXUSES)
                .filter(|n| spec.contains(&(n / 2)))
                .filter(same_port);
            for n in mine.clone().chain(named) {
                let strange = self
                    .keys
                    .get(&n)
                    .is_some_and(|k| k != new && Some(*k) != own);
                if *new != 0 && n != who && !(*ignore && n / 2 == who / 2) && strange {
                    return Status::Conflict;
                }
                match *new {
                    0 => self.remove(n, said),
                    new => drop(self.keys.insert(n, new)),
                }
            }
            self.generation += 1;
            return Status::Good;
        }
        let key = match op {
            Op::Reserve(key, _) | Op::Release(key, _) | Op::Clear(key) => key,
            Op::Preempt { key, .. } | Op::Move { key, .. } | Op::Register { key, .. } => key,
        };
        if own != Some(*key) {
            return Status::Conflict;
        }
        let holds = match self.reservation {
            Some((_, Some(holder))) => holder == who,
            other => other.is_some(),
        };
        match op {
            Op::Reserve(_, kind) => match self.reservation {
                None => {
                    self.reservation = Some((*kind, ((*kind as u8) < 7).then_some(who)));
                    Status::Good
                }
                Some((there, _)) if there == *kind && holds => Status::Good,
                Some(_) => Status::Conflict,
            },
            Op::Release(_, kind) => match self.reservation {
                Some((there, _)) if holds && there != *kind => Status::Check(0x26, 0x04),
                Some((there, _)) if holds => {
                    self.reservation = None;
                    if there as u8 >= 5 {
                        said.extend(self.others(who, (0x2a, 0x04)));
                    }
                    Status::Good
                }
                _ => Status::Good,
            },
            Op::Clear(_) => {
                said.extend(self.others(who, (0x2a, 0x03)));
                self.keys.clear();
                self.reservation = None;
                self.generation += 1;
                Status::Good
            }
            Op::Preempt {
                new, kind, abort, ..
            } => self.preempt(who, *new, *kind, *abort, said),
            Op::Move { new, to, unreg, .. } => {
                let Some((kind, Some(holder))) = self.reservation else {
                    return Status::Conflict;
                };
                match () {
                    () if holder != who => Status::Conflict,
                    () if *new == 0 || *to == who => Status::Check(0x26, 0),
                    () => {
                        self.keys.insert(*to, *new);
                        self.reservation = Some((kind, Some(*to)));
                        if *unreg {
                            self.keys.remove(&who);
                        }
                        self.generation += 1;
                        Status::Good
                    }
                }
            }
            Op::Register { .. } => unreachable!(),
        }
    }

    fn preempt(&mut self, who: u8, new: u64, kind: Type, abort: bool, said: &mut Said) -> Status {
        let everybody = matches!(self.reservation, Some((_, None))) && new == 0;
        if new == 0 && !everybody {
            return Status::Check(0x26, 0);
        }
        let takes_over = match self.reservation {
            Some((_, Some(holder))) => self.keys[&holder] == new,
            _ => everybody,
        };
        let victims: Vec<u8> = (0..NEXUSES)
            .filter(|n| self.keys.get(n).is_some_and(|k| everybody || *k == new))
            .filter(|n| !(takes_over && *n == who))
            .collect();
        if victims.is_empty() && !takes_over {
            return Status::Conflict;
        }
        for victim in victims {
            self.keys.remove(&victim);
            if victim != who {
                said.push((victim, 0x2a, 0x05));
                if abort {
                    said.push((victim, ABORT.0, ABORT.1));
                }
            }
        }
        if takes_over {
            let old = self.reservation.map(|r| r.0);
            self.reservation = Some((kind, ((kind as u8) < 7).then_some(who)));
            if old != Some(kind) {
                said.extend(self.others(who, (0x2a, 0x04)));
            }
        } else if self.keys.is_empty() {
            self.reservation = None;
        }
        self.generation += 1;
        Status::Good
    }
}

fn kind() -> impl Strategy<Value = Type> {
    proptest::sample::select(Type::ALL.to_vec())
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0u64..4;
    prop_oneof![
        4 => (key(), key(), any::<bool>(), any::<bool>()).prop_map(|(key, new, ignore, all)| {
            Op::Register { key, new, ignore, all, spec: Vec::new() }
        }),
        1 => (key(), key(), any::<bool>(), prop::collection::vec(0u8..3, 1..3))
            .prop_map(|(key, new, all, spec)| Op::Register { key, new, ignore: false, all, spec }),
        3 => (key(), kind()).prop_map(|(key, kind)| Op::Reserve(key, kind)),
        2 => (key(), kind()).prop_map(|(key, kind)| Op::Release(key, kind)),
        1 => key().prop_map(Op::Clear),
        3 => (key(), key(), kind(), any::<bool>())
            .prop_map(|(key, new, kind, abort)| Op::Preempt { key, new, kind, abort }),
        2 => (key(), key(), 0..NEXUSES, any::<bool>())
            .prop_map(|(key, new, to, unreg)| Op::Move { key, new, to, unreg }),
    ]
}

struct Subject {
    head: Head,
    places: Vec<Option<Registrant>>,
}

impl Subject {
    fn new() -> Self {
        Self {
            head: Head::default(),
            places: vec![None; usize::from(NEXUSES)],
        }
    }

    fn apply(&mut self, who: u8, op: &Op) -> (Status, Said) {
        let (cdb, list) = op.wire();
        let (mut head, mut places) = (self.head, self.places.clone());
        let mut said = Said::new();
        let mut tell = |event| {
            said.push(match event {
                Event::Attention(whose, sense) => (number(&whose), sense.asc, sense.ascq),
                Event::Abort(whose) => (number(&whose), ABORT.0, ABORT.1),
            })
        };
        let result = OutList::decode(&cdb, &list)
            .map_err(Refusal::Sense)
            .and_then(|list| {
                Machine::new(&mut head, &mut places, &mut tell).apply(&nexus(who), &list, &PORTS)
            });
        match result {
            Ok(changed) => {
                assert_eq!(changed, (head, &places) != (self.head, &self.places));
                (self.head, self.places) = (head, places);
                (Status::Good, said)
            }
            Err(Refusal::Conflict) => (Status::Conflict, Said::new()),
            Err(Refusal::Sense(sense)) => {
                assert_eq!(sense.key, SenseKey::IllegalRequest);
                (Status::Check(sense.asc, sense.ascq), Said::new())
            }
        }
    }

    fn as_model(&self) -> Model {
        let keys = registrants(&self.places).map(|r| (number(&r.nexus), r.key));
        let holders: Vec<u8> = registrants(&self.places)
            .filter(|r| r.holder)
            .map(|r| number(&r.nexus))
            .collect();
        assert!(holders.len() <= 1);
        Model {
            keys: keys.collect(),
            reservation: self.head.kind.map(|kind| (kind, holders.first().copied())),
            generation: self.head.generation,
        }
    }
}

fn sorted(mut said: Said) -> Said {
    said.sort_unstable();
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn service_actions_are_those_of_the_model(ops in prop::collection::vec((0..NEXUSES, op()), 1..40)) {
        let (mut model, mut subject) = (Model::default(), Subject::new());
        for (who, op) in ops {
            let (want, said) = model.apply(who, &op);
            let (got, heard) = subject.apply(who, &op);
            prop_assert_eq!(got, want, "{} {:?}", who, &op);
            prop_assert_eq!(sorted(heard), sorted(said), "{} {:?}", who, &op);
            prop_assert_eq!(&subject.as_model(), &model, "{} {:?}", who, &op);
            for n in 0..NEXUSES {
                let left = access(&subject.head, &subject.places, &nexus(n));
                let reads = model.reservation.is_none_or(|(kind, _)| matches!(kind as u8, 1 | 5 | 7));
                let want = match (model.full(n), reads) {
                    (true, _) => Access::Full,
                    (false, true) => Access::Reads,
                    (false, false) => Access::Nothing,
                };
                prop_assert_eq!(left, want, "nexus {}", n);
            }
            // What is saved is what was.
            let mut file = vec![0; saved::file_len(&subject.places)];
            let mut w = Writer::new(&mut file);
            saved::write_file(&mut w, &subject.head, &subject.places);
            prop_assert!(!w.is_truncated());
            let mut read = Vec::new();
            let head = saved::read_file(&file, |r| read.push(Some(r)));
            prop_assert_eq!(head, Some(Head { generation: 0, ..subject.head }));
            let there: Vec<_> = subject.places.iter().filter(|p| p.is_some()).copied().collect();
            prop_assert_eq!(&read, &there);
            let mut text = String::new();
            saved::write_text(&mut text, &subject.head, &subject.places).unwrap();
            let mut read = Vec::new();
            let head = saved::read_text(&text, |r| read.push(Some(r)));
            prop_assert_eq!(head, Some(Head { aptpl: false, ..subject.head }));
            prop_assert_eq!(&read, &there);
        }
    }

    #[test]
    fn no_list_file_or_text_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..120), action in 0u8..32) {
        let len = (bytes.len() as u32).to_be_bytes();
        let cdb = [0x5f, action, 1, 0, 0, len[0], len[1], len[2], len[3], 0];
        if let Ok(list) = OutList::decode(&cdb, &bytes) {
            prop_assert!(list.initiators().count() <= 5);
        }
        let _ = saved::read_file(&bytes, |_| ());
        let _ = saved::read_text(&String::from_utf8_lossy(&bytes), |_| ());
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

/// `sg_persist -o -G -S 0x123 -Z`, and the file that C SCST made of it.
#[test]
fn recorded_file() {
    let file = hex(
        "77ddbbeeaaeeeebb0100000000000000 0100ff0000060000005feede401fade0 50000000000000000000000000000000 00000001230000",
    );
    let mut read = Vec::new();
    let head = saved::read_file(&file, |r| read.push(Some(r))).unwrap();
    assert_eq!((head.kind, head.aptpl), (None, true));
    let one = read[0].unwrap();
    assert_eq!((one.key, one.nexus.port, one.holder), (0x123, 0, false));
    assert_eq!(
        one.nexus.initiator.as_bytes(),
        hex("06000000 5feede401fade050 000000000000000000000000")
    );
    let mut again = vec![0; saved::file_len(&read)];
    saved::write_file(&mut Writer::new(&mut again), &head, &read);
    assert_eq!(again, file);
    for cut in 0..file.len() {
        if cut != 20 {
            assert_eq!(saved::read_file(&file[..cut], |_| ()), None, "{cut}");
        }
    }
}

/// What `sg_persist -c`, `-k`, `-r` and `-s` were told.
#[test]
fn reports() {
    let mut subject = Subject::new();
    let mut buf = [0xee; 64];
    let mut w = Writer::new(&mut buf);
    report::capabilities(&mut w, &subject.head);
    assert_eq!(w.as_bytes(), hex("0008 1d c0 ea 01 0000"));
    let register = Op::Register {
        key: 0,
        new: 0xabc,
        ignore: false,
        all: false,
        spec: Vec::new(),
    };
    assert_eq!(subject.apply(0, &register).0, Status::Good);
    assert_eq!(
        subject
            .apply(0, &Op::Reserve(0xabc, Type::WriteExclusive))
            .0,
        Status::Good
    );
    let mut data = |f: &dyn Fn(&mut Writer<'_>)| {
        let mut w = Writer::new(&mut buf);
        f(&mut w);
        w.as_bytes().to_vec()
    };
    let (head, places) = (&subject.head, &subject.places);
    assert_eq!(
        data(&|w| report::keys(w, head, places)),
        hex("00000001 00000008 0000000000000abc")
    );
    assert_eq!(
        data(&|w| report::reservation(w, head, places)),
        hex("00000001 00000010 0000000000000abc 00000000 00 01 0000")
    );
    let mut full = hex("00000001 00000030 0000000000000abc 00000000 01 01 00000000 0001 00000018");
    full.extend(nexus(0).initiator.as_bytes());
    assert_eq!(data(&|w| report::full_status(w, head, places)), full);
    let mut text = String::new();
    saved::write_text(&mut text, head, places).unwrap();
    let id = "06000000000000000000000000000000000000000000000000";
    assert_eq!(
        text,
        format!(
            "version 1\ngeneration 1\nreservation 01 00\nregistrant 1 0000000000000abc 1 24 {}\n",
            &id[..48]
        )
    );
}

/// SPC-6 table 76 and SBC-4 table 13, for commands that stand for their kind.
#[test]
fn conflicts() {
    let row = |op: u8, action: u16| opcode::lookup(op, action, PeripheralDeviceType::DISK).unwrap();
    let six = |op: u8, byte4: u8| [op, 0, 0, 0, byte4, 0];
    // Operation code, service action, CDB; refused when reading is left, when nothing is, when another has RESERVE.
    type Row = (u8, u16, [u8; 6], bool, bool, bool);
    let table: &[Row] = &[
        (0x00, 0, six(0x00, 0), false, false, true),
        (0x12, 0, six(0x12, 0), false, false, false),
        (0x03, 0, six(0x03, 0), false, false, false),
        (0xa0, 0, six(0xa0, 0), false, false, false),
        (0x28, 0, six(0x28, 0), false, true, true),
        (0x2a, 0, six(0x2a, 0), true, true, true),
        (0x41, 0, six(0x41, 0), true, true, true),
        (0x42, 0, six(0x42, 0), true, true, true),
        (0x89, 0, six(0x89, 0), true, true, true),
        (0x2f, 0, six(0x2f, 0), false, true, true),
        (0x35, 0, six(0x35, 0), true, true, true),
        (0x1a, 0, six(0x1a, 0), false, true, true),
        (0x15, 0, six(0x15, 0), true, true, true),
        (0x4d, 0, six(0x4d, 0), false, false, true),
        (0x25, 0, six(0x25, 0), false, false, true),
        (0x9e, 0x10, six(0x9e, 0), false, false, true),
        (0x9e, 0x12, six(0x9e, 0), false, true, true),
        (0x5e, 0, six(0x5e, 0), false, false, true),
        (0x5f, 1, six(0x5f, 0), false, false, true),
        (0x16, 0, six(0x16, 0), false, false, true),
        (0x17, 0, six(0x17, 0), false, false, false),
        (0x1b, 0, six(0x1b, 0x01), false, false, false),
        (0x1b, 0, six(0x1b, 0x00), true, true, true),
        (0x1b, 0, six(0x1b, 0x31), true, true, true),
        (0x1e, 0, six(0x1e, 0x00), false, false, false),
        (0x1e, 0, six(0x1e, 0x01), true, true, true),
    ];
    for (op, action, cdb, reads, nothing, reserved) in table {
        let row = row(*op, *action);
        assert!(!Access::Full.refuses(row, cdb), "{}", row.name);
        assert_eq!(Access::Reads.refuses(row, cdb), *reads, "{}", row.name);
        assert_eq!(Access::Nothing.refuses(row, cdb), *nothing, "{}", row.name);
        assert_eq!(
            Access::Reserved.refuses(row, cdb),
            *reserved,
            "{}",
            row.name
        );
    }
}
