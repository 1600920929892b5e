// SPDX-License-Identifier: GPL-2.0

//! Task sets against a small model of SAM-6 clause 8, which keeps each command and decides for each by itself what it
//! waits for. All sequences of a few events, and long ones at random.

use proptest::prelude::*;
use scst_proto::opcode::PeripheralDeviceType;
use scst_proto::sense::INVALID_MESSAGE;
use scst_proto::task_set::{Arrival, Attribute, Rules, Task, TaskSet};
use std::collections::VecDeque;
use Attribute::{Aca, HeadOfQueue, Ordered, Simple};

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A command arrives.
    Arrive(Task),
    /// One of those that have started, by its place among them, ends: with CHECK CONDITION?
    End(usize, bool),
    /// One of those that wait is aborted.
    Abort(usize),
    /// CLEAR ACA by a nexus.
    ClearAca(u64),
    /// The commands that nobody counted have ended.
    NoneOlder,
    Reset,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Dormant,
    Enabled,
}

/// A command as the model keeps it; its number is its age.
#[derive(Clone, Copy, Debug)]
struct Command {
    number: usize,
    task: Task,
    state: State,
    /// It started when an ACA condition kept others: as if it were older than those.
    passed: bool,
}

/// The standard: all commands of the task set in the order of their arrival.
#[derive(Clone, Default)]
struct Model {
    commands: Vec<Command>,
    /// Commands older than all others, of which only that is known.
    unknown: bool,
    aca: Option<u64>,
}

impl Model {
    /// SAM-6 8.5 and 8.9, word for word.
    fn may_be_enabled(&self, command: &Command, restricted: bool) -> bool {
        let others = || self.commands.iter().filter(|o| o.number != command.number);
        let mut older = others().filter(|o| o.number < command.number || o.passed);
        let head_of_queue = others().any(|o| o.task.attribute == HeadOfQueue);
        if self.aca.is_some() || head_of_queue {
            return false;
        }
        match command.task.attribute {
            Ordered => older.next().is_none() && !self.unknown,
            _ => {
                let conflicts = |o: &Command| {
                    o.task.attribute == Ordered
                        || restricted && (o.task.writes || command.task.writes)
                };
                let unknown = restricted && self.unknown;
                !older.any(conflicts) && !unknown
            }
        }
    }

    fn arrive(&mut self, number: usize, task: Task, rules: Rules) -> Arrival {
        if let Some(faulted) = self.aca {
            if faulted == task.nexus {
                let other = self.commands.iter().any(|c| c.task.attribute == Aca);
                if task.attribute != Aca || rules.tmf_only || other {
                    return Arrival::AcaActive;
                }
            } else if !task.fences {
                return match task.naca {
                    true => Arrival::AcaActive,
                    false => Arrival::Busy,
                };
            }
        } else if task.attribute == Aca {
            return Arrival::Invalid(INVALID_MESSAGE);
        }
        let mut command = Command {
            number,
            task,
            state: State::Dormant,
            passed: self.aca.is_some(),
        };
        let enabled = matches!(task.attribute, HeadOfQueue | Aca)
            || (self.aca.is_some() && task.fences)
            || self.may_be_enabled(&command, rules.restricted);
        if enabled {
            command.state = State::Enabled;
        }
        self.commands.push(command);
        match enabled {
            true => Arrival::Start,
            false => Arrival::Wait,
        }
    }

    fn remove(&mut self, number: usize) {
        self.commands.retain(|c| c.number != number);
    }

    /// Enables what may be; the numbers of those that are enabled, ascending.
    fn settle(&mut self, restricted: bool) -> Vec<usize> {
        loop {
            let next = self
                .commands
                .iter()
                .position(|c| c.state == State::Dormant && self.may_be_enabled(c, restricted));
            match next {
                Some(at) => self.commands[at].state = State::Enabled,
                None => break,
            }
        }
        let enabled = self.commands.iter().filter(|c| c.state == State::Enabled);
        enabled.map(|c| c.number).collect()
    }
}

/// The state machine as the core uses it.
#[derive(Clone)]
struct Real {
    set: TaskSet,
    waiting: VecDeque<(usize, Task)>,
    started: Vec<(usize, Task)>,
}

impl Real {
    fn wake(&mut self, rules: Rules) {
        while let Some((number, task)) = self.waiting.front().copied() {
            if !self.set.may_start(&task, rules) {
                break;
            }
            self.waiting.pop_front();
            self.set.start(&task);
            self.started.push((number, task));
        }
    }

    fn enabled(&self) -> Vec<usize> {
        let mut numbers: Vec<_> = self.started.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Both, side by side.
#[derive(Clone)]
struct Pair {
    real: Real,
    model: Model,
    rules: Rules,
    next: usize,
}

impl Pair {
    fn new(rules: Rules, older: bool) -> Self {
        let mut set = TaskSet::new();
        set.set_older(older);
        Self {
            real: Real {
                set,
                waiting: VecDeque::new(),
                started: Vec::new(),
            },
            model: Model {
                unknown: older,
                ..Model::default()
            },
            rules,
            next: 0,
        }
    }

    /// Lets both do it; what they differ in is a failure.
    fn step(&mut self, event: Event) {
        let (real, model, rules) = (&mut self.real, &mut self.model, self.rules);
        match event {
            Event::Arrive(task) => {
                let number = self.next;
                self.next += 1;
                let arrival = real.set.arrive(&task, rules);
                assert_eq!(arrival, model.arrive(number, task, rules), "{task:?}");
                match arrival {
                    Arrival::Start => real.started.push((number, task)),
                    Arrival::Wait => real.waiting.push_back((number, task)),
                    _ => {}
                }
            }
            Event::End(at, check_condition) if at < real.started.len() => {
                let (number, task) = real.started.remove(at);
                if check_condition {
                    let before = real.set.faulted();
                    let new = real.set.check_condition(&task);
                    if task.attribute == Aca && model.aca == Some(task.nexus) {
                        model.aca = None;
                    }
                    if task.naca {
                        model.aca.get_or_insert(task.nexus);
                    }
                    let ended = task.attribute == Aca && before == Some(task.nexus);
                    assert_eq!(new, model.aca.is_some() && (before.is_none() || ended));
                }
                real.set.end(&task);
                model.remove(number);
            }
            Event::Abort(at) if at < real.waiting.len() => {
                let (number, _) = real.waiting.remove(at).unwrap();
                real.set.leave();
                model.remove(number);
            }
            Event::ClearAca(nexus) => {
                assert_eq!(real.set.clear_aca(nexus), model.aca == Some(nexus));
                model.aca = model.aca.filter(|faulted| *faulted != nexus);
            }
            Event::NoneOlder => {
                real.set.set_older(false);
                model.unknown = false;
            }
            Event::Reset => {
                real.set.reset();
                model.aca = None;
            }
            Event::End(..) | Event::Abort(_) => {}
        }
        real.wake(rules);
        assert_eq!(real.enabled(), model.settle(rules.restricted), "{event:?}");
        assert_eq!(real.set.faulted(), model.aca);
        assert_eq!(real.set.has_waiting(), !real.waiting.is_empty());
        let empty = model.commands.is_empty() && model.aca.is_none();
        assert_eq!(real.set.is_quiet(), empty);
    }
}

fn task(attribute: Attribute, naca: bool, writes: bool, nexus: u64) -> Task {
    Task {
        attribute,
        naca,
        writes,
        fences: false,
        nexus,
    }
}

/// Tries all continuations of `pair` of so many events.
fn explore(pair: &Pair, alphabet: &[Event], depth: usize) -> usize {
    if depth == 0 {
        return 1;
    }
    let mut ends = 0;
    for event in alphabet {
        let beyond = match event {
            Event::End(at, _) => *at >= pair.real.started.len(),
            Event::Abort(at) => *at >= pair.real.waiting.len(),
            Event::ClearAca(_) | Event::Reset => pair.real.set.faulted().is_none(),
            Event::NoneOlder => !pair.real.set.has_older(),
            Event::Arrive(_) => false,
        };
        if !beyond {
            let mut next = pair.clone();
            next.step(*event);
            ends += explore(&next, alphabet, depth - 1);
        }
    }
    ends
}

fn all_rules() -> impl Iterator<Item = Rules> {
    [(false, false), (true, false), (false, true)]
        .into_iter()
        .map(|(restricted, tmf_only)| Rules {
            restricted,
            tmf_only,
        })
}

#[test]
fn every_short_history_of_ordering() {
    let alphabet = [
        Event::Arrive(task(Simple, false, false, 1)),
        Event::Arrive(task(Simple, false, true, 1)),
        Event::Arrive(task(Ordered, false, true, 1)),
        Event::Arrive(task(HeadOfQueue, false, false, 1)),
        Event::End(0, false),
        Event::End(1, false),
        Event::Abort(0),
        Event::Abort(1),
        Event::NoneOlder,
    ];
    for rules in all_rules().take(2) {
        for older in [false, true] {
            let ends = explore(&Pair::new(rules, older), &alphabet, 6);
            assert!(ends > 5_000, "{ends} histories");
        }
    }
}

#[test]
fn every_short_history_of_an_aca_condition() {
    let fence = Task {
        fences: true,
        ..task(Simple, false, false, 2)
    };
    let alphabet = [
        Event::Arrive(task(Simple, true, false, 1)),
        Event::Arrive(task(Simple, false, false, 2)),
        Event::Arrive(task(Simple, true, false, 2)),
        Event::Arrive(task(Ordered, false, false, 1)),
        Event::Arrive(task(Aca, false, false, 1)),
        Event::Arrive(task(Aca, true, false, 1)),
        Event::Arrive(fence),
        Event::End(0, true),
        Event::End(0, false),
        Event::End(1, true),
        Event::ClearAca(1),
        Event::ClearAca(2),
    ];
    for rules in all_rules() {
        let ends = explore(&Pair::new(rules, false), &alphabet, 5);
        assert!(ends > 20_000, "{ends} histories");
    }
}

fn any_task() -> impl Strategy<Value = Task> {
    let attribute = prop_oneof![
        6 => Just(Simple), 2 => Just(Ordered), 1 => Just(HeadOfQueue), 1 => Just(Aca)
    ];
    let flags = (
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop::bool::weighted(0.1),
    );
    (attribute, flags, 1..4u64).prop_map(|(attribute, (naca, writes, fences), nexus)| Task {
        attribute,
        naca,
        writes,
        fences,
        nexus,
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => any_task().prop_map(Event::Arrive),
        6 => (0..4usize, prop::bool::weighted(0.3)).prop_map(|(at, bad)| Event::End(at, bad)),
        1 => (0..4usize).prop_map(Event::Abort),
        1 => (1..4u64).prop_map(Event::ClearAca),
        1 => Just(Event::NoneOlder),
        1 => Just(Event::Reset),
    ]
}

proptest! {
    #[test]
    fn long_histories(
        events in prop::collection::vec(any_event(), 1..80),
        restricted: bool,
        tmf_only: bool,
        older: bool,
    ) {
        let mut pair = Pair::new(Rules { restricted, tmf_only }, older);
        for event in events {
            pair.step(event);
        }
        // When all has ended nothing is left.
        pair.step(Event::NoneOlder);
        pair.step(Event::Reset);
        while !pair.real.started.is_empty() {
            pair.step(Event::End(0, false));
        }
        prop_assert!(pair.real.set.is_quiet());
    }
}

#[test]
fn what_a_set_has_to_know_of() {
    for attribute in [Simple, Ordered, HeadOfQueue, Aca] {
        for naca in [false, true] {
            let special = naca || attribute != Simple;
            assert_eq!(task(attribute, naca, false, 1).is_special(), special);
        }
    }
}

#[test]
fn what_a_cdb_tells() {
    let of = |cdb: &[u8]| {
        let cdb = scst_proto::cdb::decode(cdb, PeripheralDeviceType::DISK).unwrap();
        let task = Task::new(&cdb, Ordered, 7);
        assert_eq!((task.attribute, task.nexus), (Ordered, 7));
        (task.naca, task.writes, task.fences)
    };
    assert_eq!(of(&[0; 6]), (false, false, false));
    assert_eq!(of(&[0, 0, 0, 0, 0, 4]), (true, false, false));
    assert_eq!(of(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]), (false, true, false));
    assert_eq!(of(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 4]), (true, false, false));
    for action in 0..8 {
        let fences = action == 5;
        assert_eq!(
            of(&[0x5f, action, 0, 0, 0, 0, 0, 0, 24, 0]),
            (false, false, fences)
        );
    }
}
