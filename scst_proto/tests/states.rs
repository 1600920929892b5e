// SPDX-License-Identifier: GPL-2.0

//! The small state machines, exhaustively where that is possible: aborts, unit attentions, residuals, MODE SELECT.

use scst_proto::bytes::Writer;
use scst_proto::mode::{Control, ModeDevice, ModeSense, ModeValues};
use scst_proto::mode_select::{mode_select, ModeSelect};
use scst_proto::opcode::PeripheralDeviceType;
use scst_proto::residual::Residual;
use scst_proto::sense::*;
use scst_proto::task::{answer, effect, Answer, Cause, Effect, Function, Response, State};
use scst_proto::threshold::Thresholds;
use scst_proto::ua::{Answered, UaQueue, CAPACITY};

#[test]
fn what_an_abort_does() {
    for state in State::ALL {
        for cause in Cause::ALL {
            let e = effect(state, cause);
            match state {
                // Nobody works on it.
                State::Received | State::Queued => assert_eq!(e, Effect::DropSilently),
                // The transport must stop first.
                State::DataOut => assert_eq!(e, Effect::CancelThenWait),
                // The backing store cannot be called back: it is always waited for.
                State::Executing => assert_eq!(e, Effect::Wait),
                // A response is only recalled when nobody is there to get it, only waited for by what ends them all.
                State::Responding => match cause {
                    Cause::NexusLoss => assert_eq!(e, Effect::CancelThenWait),
                    Cause::TargetReset => assert_eq!(e, Effect::Wait),
                    _ => assert_eq!(e, Effect::TooLate),
                },
                State::Done => assert_eq!(e, Effect::TooLate),
            }
        }
    }
}

#[test]
fn what_the_initiator_of_an_aborted_command_gets() {
    for cause in Cause::ALL {
        for tas in [false, true] {
            // What an initiator does to its own commands it need not be told.
            assert_eq!(answer(cause, false, tas), Answer::Silence);
            let told = answer(cause, true, tas);
            match cause {
                Cause::ClearTaskSet if tas => assert_eq!(told, Answer::TaskAborted),
                Cause::LunReset if tas => assert_eq!(told, Answer::TaskAborted),
                Cause::ClearTaskSet => assert_eq!(told, Answer::CommandsCleared),
                _ => assert_eq!(told, Answer::Silence),
            }
        }
        let others = [Cause::ClearTaskSet, Cause::LunReset, Cause::TargetReset].contains(&cause);
        assert_eq!(cause.reaches_other_nexuses(), others);
    }
    for f in Function::ALL {
        let query = [
            Function::QueryTask,
            Function::QueryTaskSet,
            Function::QueryAsyncEvent,
            Function::ClearAca,
        ];
        assert_eq!(f.cause().is_none(), query.contains(&f));
    }
    assert_eq!(
        Response::NoSuchTask.fcp_code(),
        Response::Complete.fcp_code()
    );
    assert_ne!(
        Response::NoSuchTask.iscsi_code(),
        Response::Complete.iscsi_code()
    );
}

#[test]
fn unit_attentions() {
    let mut q = UaQueue::new();
    assert!(q.push(CAPACITY_DATA_HAS_CHANGED) && !q.push(CAPACITY_DATA_HAS_CHANGED));
    assert!(q.push(REPORTED_LUNS_DATA_HAS_CHANGED));
    assert!(!q.push(INVALID_OPCODE));
    // Nexus loss goes first and leaves the others.
    assert!(q.push(NEXUS_LOSS_OCCURRED));
    assert_eq!(q.first(), Some(NEXUS_LOSS_OCCURRED));
    assert_eq!(q.len(), 3);
    // A reset clears all; a lesser one beside it is nothing new; power on beats it.
    assert!(q.push(DEVICE_RESET_OCCURRED));
    assert_eq!(q.iter().collect::<Vec<_>>(), [DEVICE_RESET_OCCURRED]);
    assert!(!q.push(NEXUS_LOSS_OCCURRED));
    assert!(q.push(POWER_ON_OCCURRED) && !q.push(POWER_ON_OR_RESET));
    assert!(q.push(INQUIRY_DATA_HAS_CHANGED));
    q.answered(Answered::Inquiry);
    assert_eq!(q.len(), 1);
    assert!(q.push(MODE_PARAMETERS_CHANGED));
    assert_eq!(q.pop(), Some(POWER_ON_OCCURRED));
    assert!(
        q.unpop(POWER_ON_OCCURRED) && q.len() == 1,
        "a reset put back clears again"
    );
    assert_eq!(q.pop(), Some(POWER_ON_OCCURRED));
    assert_eq!(q.pop(), None);
    // An aborted report comes back first, behind a reset.
    q.push(CAPACITY_DATA_HAS_CHANGED);
    q.push(MEDIUM_CHANGED);
    let taken = q.pop().unwrap();
    q.push(NEXUS_LOSS_OCCURRED);
    assert!(q.unpop(taken));
    let all: Vec<_> = q.iter().collect();
    assert_eq!(
        all,
        [
            NEXUS_LOSS_OCCURRED,
            CAPACITY_DATA_HAS_CHANGED,
            MEDIUM_CHANGED
        ]
    );
    assert_eq!(std::mem::size_of::<UaQueue>(), 2 * CAPACITY + 1);
}

#[test]
fn residuals() {
    use Residual::*;
    for (cdb, transport, transferred, expected) in [
        (Some(512), 512, 512, None),
        (Some(512), 1024, 512, Underflow(512)),
        (Some(1024), 512, 512, Overflow(512)),
        (Some(1024), 512, 0, Underflow(512)),
        (Option::None, 100, 36, Underflow(64)),
        (Option::None, 0, 0, None),
        (Some(36), 0, 0, Overflow(36)),
        (Some(u64::MAX), 0, 0, Overflow(u32::MAX)),
    ] {
        assert_eq!(
            Residual::compute(cdb, transport, transferred),
            expected,
            "{cdb:?} {transport} {transferred}"
        );
    }
    assert_eq!(
        (Underflow(5).signed(), Overflow(5).signed(), None.signed()),
        (5, -5, 0)
    );
}

fn device() -> ModeDevice {
    let values = ModeValues {
        wce: true,
        control: Control::new(1),
        thresholds: Thresholds::NONE,
    };
    ModeDevice {
        pdt: PeripheralDeviceType::DISK,
        blocks: 1 << 20,
        block_size: 512,
        write_protected: false,
        dpofua: true,
        wce_changeable: true,
        thresholds: false,
        current: values,
        saved: values,
        default: values,
    }
}

/// What MODE SENSE gives for `page`, as a parameter list: MODE DATA LENGTH is reserved there.
fn list(d: &ModeDevice, page: u8, long: bool, llbaa: bool) -> Vec<u8> {
    let cdb = if long {
        vec![
            0x5a,
            if llbaa { 0x10 } else { 0 },
            page,
            0,
            0,
            0,
            0,
            1,
            0,
            0,
        ]
    } else {
        vec![0x1a, 0, page, 0, 255, 0]
    };
    let mut buf = [0; 512];
    let mut w = Writer::new(&mut buf);
    d.mode_sense(&mut w, &ModeSense::decode(&cdb).unwrap())
        .unwrap();
    let mut list = w.as_bytes().to_vec();
    list[0] = 0;
    if long {
        list[1] = 0;
    }
    list
}

const SHORT: ModeSelect = ModeSelect {
    long_header: false,
    save: false,
};
const LONG: ModeSelect = ModeSelect {
    long_header: true,
    save: true,
};

#[test]
fn mode_select_takes_what_mode_sense_gave() {
    let d = device();
    for (request, long, llbaa) in [
        (SHORT, false, false),
        (LONG, true, false),
        (LONG, true, true),
    ] {
        let change = mode_select(&list(&d, 0x3f, long, llbaa), request, &d).unwrap();
        assert!(!change.changes(&d));
        assert_eq!(change.save, request.save);
    }
    assert!(!mode_select(&[], SHORT, &d).unwrap().changes(&d));
    assert!(!mode_select(&[0; 4], SHORT, &d).unwrap().changes(&d));
}

#[test]
fn mode_select_changes() {
    let d = device();
    let mut l = list(&d, 0x08, false, false);
    l[12 + 2] &= !0x04;
    assert!(!mode_select(&l, SHORT, &d).unwrap().values.wce);
    let mut l = list(&d, 0x0a, false, false);
    l[12 + 2] |= 0x04;
    l[12 + 4] |= 0x08;
    l[12 + 5] |= 0x40;
    let control = mode_select(&l, SHORT, &d).unwrap().values.control;
    assert!(control.d_sense() && control.swp() && control.tas());
    assert_eq!(
        (control.tst(), control.queue_algorithm(), control.qerr()),
        (1, 1, 0)
    );
}

#[test]
fn mode_select_refuses() {
    let d = device();
    let wrong = |l: &[u8]| mode_select(l, SHORT, &d).unwrap_err();
    let at = |byte| INVALID_FIELD_IN_PARAMETER_LIST.in_data(byte);
    assert_eq!(wrong(&[0; 3]), PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(wrong(&[0, 0, 0, 8, 0, 0]), PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(wrong(&[0, 0, 0, 1, 0]), at(3));
    assert_eq!(wrong(&[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 2, 0]), at(4));
    assert_eq!(wrong(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 16, 0]), at(9));
    assert_eq!(wrong(&[0, 0, 0, 0, 0x3e, 0]), at(4));
    assert_eq!(wrong(&[0, 0, 0, 0, 0x4a, 0]), at(4));
    assert_eq!(wrong(&[0, 0, 0, 0, 0x0a, 9]), at(5));
    assert_eq!(wrong(&[0, 0, 0, 0, 0x0a]), PARAMETER_LIST_LENGTH_ERROR);
    let mut tst = list(&d, 0x0a, false, false);
    tst[12 + 2] ^= 0x20;
    assert_eq!(wrong(&tst), at(14));
    for bad in [0x04, 0x20, 0xf0] {
        let mut queue = list(&d, 0x0a, false, false);
        queue[12 + 3] = bad;
        assert_eq!(wrong(&queue), at(15), "{bad:02x}");
    }
    let mut fixed = d;
    fixed.wce_changeable = false;
    let mut wce = list(&fixed, 0x08, false, false);
    wce[12 + 2] ^= 0x04;
    assert_eq!(mode_select(&wce, SHORT, &fixed).unwrap_err(), at(14));
    assert_eq!(
        ModeSelect::decode(&[0x15, 0]),
        Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4))
    );
    assert_eq!(ModeSelect::decode(&[0x55, 0x11]), Ok(LONG));
}

#[test]
fn mode_sense_refuses() {
    let d = device();
    let ask =
        |cdb: &[u8]| d.mode_sense(&mut Writer::new(&mut []), &ModeSense::decode(cdb).unwrap());
    assert_eq!(
        ask(&[0x1a, 0, 0x3e, 0, 4, 0]),
        Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5))
    );
    assert_eq!(
        ask(&[0x1a, 0, 0x0a, 1, 4, 0]),
        Err(INVALID_FIELD_IN_CDB.in_cdb(3))
    );
    assert_eq!(ask(&[0x1a, 0, 0x3f, 0xff, 4, 0]), Ok(()));
    assert_eq!(ModeSense::decode(&[0x28; 10]), None);
}
