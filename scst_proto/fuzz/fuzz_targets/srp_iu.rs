// SPDX-License-Identifier: GPL-2.0

//! Any bytes as an information unit of an SRP initiator, on channels with and without immediate data.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::opcode::Direction;
use scst_proto::srp::data_buffer::{DataBuffer, Rules};
use scst_proto::srp::iu::{Iu, Outcome, Rsp};
use scst_proto::srp::Consequence;

fn within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

fuzz_target!(|data: &[u8]| {
    let [offset, max, room, iu @ ..] = data else {
        return;
    };
    let rules = Rules {
        imm_data_offset: (*offset > 0).then_some(u16::from(*offset)),
        max_descriptors: u32::from(*max),
    };
    let unit = match Iu::parse(iu) {
        Ok(unit) => unit,
        Err(error) => {
            assert!(matches!(error.consequence(), Consequence::Close(_)));
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(unit.tag().to_be_bytes(), iu[8..16]);
    if let Iu::TskMgmt(request) = &unit {
        assert!(request.function().is_some() == [1, 2, 4, 8, 0x40].contains(&request.code));
    }
    let Iu::Cmd(cmd) = unit else { return };
    assert!(within(cmd.cdb, iu) && (16..=268).contains(&cmd.cdb.len()));
    let _ = (cmd.cdb_padded(), cmd.notify.wants(true), cmd.attribute);
    match cmd.data(&rules) {
        Ok(buffer) => {
            assert_eq!(buffer.direction() == Direction::None, buffer.is_empty());
            match buffer {
                DataBuffer::None => {}
                DataBuffer::Remote { list, .. } => {
                    let mut sum = 0u64;
                    for piece in list {
                        assert!(piece.len > 0);
                        assert!(u128::from(piece.addr) + u128::from(piece.len) <= 1 << 64);
                        sum += u64::from(piece.len);
                    }
                    assert_eq!(sum, u64::from(list.total()));
                    assert!(list.table_entries() <= 255);
                }
                DataBuffer::Table { at, .. } => {
                    assert!(at.len > 0 && at.len % 16 == 0);
                    assert!(at.len / 16 <= rules.max_descriptors);
                    assert!(u128::from(at.addr) + u128::from(at.len) <= 1 << 64);
                }
                DataBuffer::Immediate(bytes) => {
                    assert!(within(bytes, iu));
                    let at = bytes.as_ptr() as usize - iu.as_ptr() as usize;
                    assert!(at == usize::from(*offset) && at >= 36 + cmd.cdb.len());
                }
            }
        }
        Err(error) => {
            let _ = (error.consequence(), error.to_string());
        }
    }
    // A response with what came as sense data.
    let rsp = Rsp {
        tag: cmd.tag,
        delta: 1,
        solicited: cmd.notify.wants(false),
        outcome: Outcome::Command {
            status: 2,
            data_out: Default::default(),
            data_in: Default::default(),
            sense: iu,
        },
    };
    let mut buf = vec![0; usize::from(*room)];
    assert_eq!(
        rsp.write(&mut buf),
        (*room >= 36).then(|| usize::from(*room).min(36 + iu.len()))
    );
});
