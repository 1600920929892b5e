// SPDX-License-Identifier: GPL-2.0

//! The state machines of an SRP channel, exhaustively: its request limit and its life.

use std::collections::HashSet;

use scst_proto::srp::channel::{step, Actions, Event, State};
use scst_proto::srp::credit::{Credit, TargetRequest, Violation};

const REQUESTS: [TargetRequest; 2] = [TargetRequest::Credit, TargetRequest::Event];

#[test]
fn credit_by_hand() {
    let mut c = Credit::new(3);
    for _ in 0..3 {
        assert_eq!(c.receive(), Ok(()));
    }
    let before = c;
    assert_eq!(c.receive(), Err(Violation::OverLimit));
    assert_eq!(c, before);
    // Aborted: the credit waits for the next response.
    c.end_silently();
    assert_eq!((c.limit(), c.delta(), c.in_progress()), (0, 1, 2));
    let grant = c.respond();
    assert_eq!(grant.delta(), 2);
    assert_eq!((c.limit(), c.delta(), c.in_progress()), (2, 0, 1));
    // It could not be sent.
    assert_eq!(c.undo(grant), Ok(()));
    assert_eq!((c.limit(), c.delta(), c.in_progress()), (0, 1, 2));
    // The initiator is out of credits and none of the commands ends.
    assert!(c.is_short());
    let grant = c.ask(TargetRequest::Credit).unwrap();
    assert_eq!((grant.delta(), c.limit(), c.delta()), (1, 1, 0));
    c.end_silently();
    assert_eq!(c.ask(TargetRequest::Credit), None, "one at a time");
    assert_eq!(c.answered(TargetRequest::Credit), Ok(()));
    assert_eq!(
        c.answered(TargetRequest::Credit),
        Err(Violation::UnexpectedResponse)
    );
    assert!(c.ask(TargetRequest::Credit).is_some());
    // Credits that were taken back, but had been used.
    let mut c = Credit::new(2);
    assert_eq!((c.receive(), c.receive()), (Ok(()), Ok(())));
    let grant = c.respond();
    assert_eq!(c.receive(), Ok(()));
    assert_eq!(c.undo(grant), Err(Violation::OverLimit));
    // An event carries credits as well, even none.
    let mut c = Credit::new(8);
    assert_eq!(c.ask(TargetRequest::Event).unwrap().delta(), 0);
    assert_eq!(c.ask(TargetRequest::Event), None);
    assert_eq!(std::mem::size_of::<Credit>(), 8);
}

#[test]
fn every_credit_is_somewhere() {
    for total in 0..=6u16 {
        let (mut seen, mut todo) = (HashSet::new(), vec![Credit::new(total)]);
        while let Some(c) = todo.pop() {
            if !seen.insert(c.to_u64()) {
                continue;
            }
            assert_eq!(Credit::from_u64(c.to_u64()), c);
            assert_eq!(c.limit() + c.delta() + c.in_progress(), total);
            let mut next = |change: &dyn Fn(&mut Credit)| {
                let mut c = c;
                change(&mut c);
                todo.push(c);
            };
            next(&|c| {
                let had = c.limit() > 0;
                assert_eq!(c.receive().is_ok(), had);
            });
            next(&|c| {
                let before = *c;
                let grant = c.respond();
                assert_eq!(
                    grant.delta(),
                    before.delta() + u16::from(before.in_progress() > 0)
                );
                let mut undone = *c;
                assert_eq!(undone.undo(grant), Ok(()));
                assert_eq!(undone, before);
            });
            next(&|c| c.end_silently());
            for what in REQUESTS {
                next(&|c| {
                    let before = *c;
                    if let Some(grant) = c.ask(what) {
                        assert_eq!((grant.delta(), c.delta()), (before.delta(), 0));
                        let mut undone = *c;
                        assert_eq!(undone.undo(grant), Ok(()));
                        assert_eq!(undone, before);
                    } else {
                        assert_eq!(*c, before);
                    }
                });
                next(&|c| {
                    let _ = c.answered(what);
                });
            }
        }
        assert!(seen.len() > usize::from(total));
    }
}

/// A target and an initiator with the messages between them: none is ever lost, each may be late.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Pair {
    target: u64,
    /// What the initiator believes to have.
    credits: u16,
    requests: u16,
    /// REQUEST LIMIT DELTA of units on their way to the initiator, and whether it has to answer.
    units: Vec<(u16, bool)>,
    answers: u16,
}

impl Pair {
    fn target(&mut self, change: impl FnOnce(&mut Credit)) {
        let mut c = Credit::from_u64(self.target);
        change(&mut c);
        self.target = c.to_u64();
    }
}

/// An initiator that keeps to its credits is never accused. It never starves, though Linux keeps one of them back.
#[test]
fn an_honest_initiator() {
    for total in 2..=5u16 {
        let mut saved = false;
        let first = Pair {
            target: Credit::new(total).to_u64(),
            credits: total,
            requests: 0,
            units: vec![],
            answers: 0,
        };
        let (mut seen, mut todo) = (HashSet::new(), vec![first]);
        while let Some(pair) = todo.pop() {
            if !seen.insert(pair.clone()) {
                continue;
            }
            let c = Credit::from_u64(pair.target);
            let mut next = |change: &dyn Fn(&mut Pair)| {
                let mut pair = pair.clone();
                change(&mut pair);
                todo.push(pair);
            };
            if pair.credits > 0 {
                next(&|p| (p.credits, p.requests) = (p.credits - 1, p.requests + 1));
            }
            if pair.requests > 0 {
                next(&|p| {
                    p.requests -= 1;
                    p.target(|c| assert_eq!(c.receive(), Ok(())));
                });
            }
            if c.in_progress() > 0 {
                next(&|p| {
                    let mut delta = 0;
                    p.target(|c| delta = c.respond().delta());
                    p.units.push((delta, false));
                });
                next(&|p| p.target(Credit::end_silently));
            }
            if c.is_short() {
                next(&|p| {
                    let mut delta = 0;
                    p.target(|c| delta = c.ask(TargetRequest::Credit).unwrap().delta());
                    p.units.push((delta, true));
                });
            }
            if let Some((delta, answer)) = pair.units.first().copied() {
                next(&|p| {
                    p.units.remove(0);
                    p.credits += delta;
                    p.answers += u16::from(answer);
                });
            }
            if pair.answers > 0 {
                next(&|p| {
                    p.answers -= 1;
                    p.target(|c| assert_eq!(c.answered(TargetRequest::Credit), Ok(())));
                });
            }
            let quiet = pair.requests == 0 && pair.units.is_empty() && pair.answers == 0;
            if quiet && c.in_progress() == 0 {
                assert_eq!(pair.credits, c.limit());
                assert!(pair.credits > 1 || c.is_short(), "starved: {c:?}");
                saved |= pair.credits <= 1;
            }
        }
        assert!(saved, "no need of SRP_CRED_REQ was seen");
    }
}

/// The next state of each event in the five states: C(onnecting), L(ive), d(isconnecting), D(raining), X.
const NEXT: [(Event, &str); 16] = [
    (Event::Established, "LLdDX"),
    (Event::CommEstablished, "CLdDX"),
    (Event::IuReceived, "CLdDX"),
    (Event::ConnectFailed, "DDDDX"),
    (Event::Rejected, "DDDDX"),
    (Event::Dreq, "DDDDX"),
    (Event::Drep, "DDDDX"),
    (Event::DreqFailed, "DDDDX"),
    (Event::TimewaitExit, "DDDDX"),
    (Event::DisconnectTimeout, "CLDDX"),
    (Event::InitiatorLogout, "DddDX"),
    (Event::CloseRequested, "DddDX"),
    (Event::QpError, "DDDDX"),
    (Event::LastWqe, "DDDDX"),
    (Event::DeviceRemoved, "DDDDX"),
    (Event::Drained, "CLdXX"),
];

#[test]
fn the_table_of_channels() {
    let letter = ['C', 'L', 'd', 'D', 'X'];
    for (row, (event, nexts)) in NEXT.into_iter().enumerate() {
        assert_eq!(Event::ALL[row], event);
        for (state, expected) in State::ALL.into_iter().zip(nexts.chars()) {
            let got = step(state, event);
            assert_eq!(letter[got.next as usize], expected, "{state:?} {event:?}");
            let has = |a| got.actions.contains(a);
            let enters = |s| got.next == s && state != s;
            // One state is never left for an earlier one, and what goes with entering one happens then only.
            assert!(got.next >= state);
            assert_eq!(has(Actions::RELEASE), enters(State::Disconnected));
            assert_eq!(has(Actions::DRAIN), enters(State::Draining));
            assert_eq!(has(Actions::START_TIMER), enters(State::Disconnecting));
            assert_eq!(has(Actions::READY_TO_SEND), enters(State::Live));
            assert_eq!(has(Actions::SERVE_HELD), enters(State::Live));
            let gives_up = state == State::Connecting && enters(State::Draining);
            assert_eq!(has(Actions::DROP_HELD), gives_up);
            // A unit has exactly one fate.
            let fate = match (event, state) {
                (Event::IuReceived, State::Connecting) => Actions::HOLD_IU,
                (Event::IuReceived, State::Live) => Actions::HANDLE_IU,
                (Event::IuReceived, _) => Actions::DROP_IU,
                _ => Actions::NONE,
            };
            for one in [Actions::HOLD_IU, Actions::HANDLE_IU, Actions::DROP_IU] {
                assert_eq!(has(one), fate == one);
            }
            // Whoever asks to disconnect gets an answer while the connection is there.
            let asked = event == Event::Dreq && state != State::Disconnected;
            assert_eq!(has(Actions::SEND_DREP), asked);
            let asks = state == State::Live
                && matches!(
                    event,
                    Event::CloseRequested
                        | Event::InitiatorLogout
                        | Event::QpError
                        | Event::LastWqe
                );
            assert_eq!(has(Actions::SEND_DREQ), asks);
            let says_why = state == State::Live && event == Event::CloseRequested;
            assert_eq!(has(Actions::SEND_LOGOUT), says_why);
            let heard = matches!(event, Event::CommEstablished | Event::IuReceived);
            let notifies = state == State::Connecting && heard;
            assert_eq!(has(Actions::NOTIFY_CM), notifies);
        }
    }
    for (number, state) in State::ALL.into_iter().enumerate() {
        assert_eq!(State::from_u8(number as u8), state);
        assert_eq!(state.name(), format!("{state:?}").to_lowercase());
    }
    assert_eq!(State::from_u8(5), State::Disconnected);
}

/// Every sequence of five events: released at most once, after having been drained.
#[test]
fn every_path_ends_once() {
    fn walk(state: State, drains: usize, releases: usize, left: usize) {
        assert_eq!(releases, usize::from(state == State::Disconnected));
        assert_eq!(drains, usize::from(state >= State::Draining));
        if left > 0 {
            for event in Event::ALL {
                let got = step(state, event);
                let has = |a| usize::from(got.actions.contains(a));
                walk(
                    got.next,
                    drains + has(Actions::DRAIN),
                    releases + has(Actions::RELEASE),
                    left - 1,
                );
            }
        }
    }
    walk(State::Connecting, 0, 0, if cfg!(miri) { 3 } else { 5 });
}

/// From each state there is a way to the end that needs no peer: what the target and its own side see to.
#[test]
fn no_channel_is_stuck() {
    for state in State::ALL {
        let mut now = state;
        for _ in 0..State::ALL.len() {
            now = step(
                now,
                match now {
                    State::Connecting => Event::ConnectFailed,
                    State::Live => Event::CloseRequested,
                    State::Disconnecting => Event::DisconnectTimeout,
                    State::Draining | State::Disconnected => Event::Drained,
                },
            )
            .next;
        }
        assert_eq!(now, State::Disconnected, "from {state:?}");
        // The device may go at any time.
        let removed = step(state, Event::DeviceRemoved).next;
        assert!(removed >= State::Draining);
    }
}
