// SPDX-License-Identifier: GPL-2.0

//! A model checker for the word of a command: its holder and task management take their steps in every order that there is.
//!
//! A step is one access to the word, as `scst_core/task.rs` makes them: a load, a store, a compare and exchange. The holder
//! answers two commands in the same slot, one after the other; each party of task management aborts whatever it has found there.

use scst_proto::task::{Cause, State};
use scst_proto::task_word::Word;
use std::collections::HashSet;

/// Commands that the slot has, one after the other.
const COMMANDS: usize = 2;
/// Parties of task management.
const ABORTS: usize = 2;

/// Where the holder is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Holder {
    Begins,
    /// It goes on to the state with this place in its way.
    Loads(usize),
    Exchanges(usize, Word),
    /// Response, or what the initiator of an aborted command gets.
    EndLoads,
    EndStores(Word),
    Gone,
}

/// Where a party of task management is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Abort {
    Looks,
    Loads(u32),
    Exchanges(u32, Word),
    /// With what it was told: the mark stands, or not.
    Done(Option<u32>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    word: Word,
    holder: Holder,
    /// What became of each command: answered, or not because it was aborted.
    answered: Vec<bool>,
    aborts: [Abort; ABORTS],
}

/// How the holder's command goes.
struct Way {
    states: &'static [State],
    cause: Cause,
    told: bool,
}

impl World {
    fn new() -> Self {
        Self {
            word: Word::IDLE,
            holder: Holder::Begins,
            answered: vec![],
            aborts: [Abort::Looks; ABORTS],
        }
    }

    /// The commands whose abort has succeeded.
    fn aborted(&self) -> Vec<u32> {
        let told = |a: &Abort| match a {
            Abort::Done(generation) => *generation,
            _ => None,
        };
        self.aborts.iter().filter_map(told).collect()
    }

    /// The holder's next step.
    fn holder_steps(&mut self, way: &Way) {
        self.holder = match self.holder {
            Holder::Begins => {
                assert_eq!(self.word.state(), Some(State::Done));
                self.word = self.word.begin();
                Holder::Loads(0)
            }
            Holder::Loads(at) => match self.word.advance(way.states[at]) {
                Some(_) => Holder::Exchanges(at, self.word),
                None => self.answers(false),
            },
            Holder::Exchanges(at, seen) => {
                let next = seen.advance(way.states[at]).unwrap();
                if self.word != seen {
                    // All that can come between.
                    assert!(self.word.is_aborted());
                    self.answers(false)
                } else {
                    self.word = next;
                    match at + 1 == way.states.len() {
                        true => self.answers(true),
                        false => Holder::Loads(at + 1),
                    }
                }
            }
            Holder::EndLoads => Holder::EndStores(self.word),
            Holder::EndStores(seen) => {
                // What is written over is what was read: no mark is lost.
                assert_eq!(self.word, seen);
                let generation = self.word.generation();
                let answered = *self.answered.last().unwrap();
                assert_eq!(self.word.is_aborted(), !answered);
                assert_eq!(self.word.is_silent(), !answered && !way.told);
                self.word = seen.end();
                assert_eq!(self.word.generation(), generation);
                match self.answered.len() == COMMANDS {
                    true => Holder::Gone,
                    false => Holder::Begins,
                }
            }
            Holder::Gone => unreachable!(),
        };
    }

    fn answers(&mut self, response: bool) -> Holder {
        self.answered.push(response);
        Holder::EndLoads
    }

    fn abort_steps(&mut self, number: usize, way: &Way) {
        let word = self.word;
        let exchanges = |generation: u32, word: Word| {
            let marked = word.abort(generation, way.cause, way.told);
            marked.map_or(Abort::Done(None), |_| Abort::Exchanges(generation, word))
        };
        self.aborts[number] = match self.aborts[number] {
            Abort::Looks if word.state() == Some(State::Done) => Abort::Done(None),
            Abort::Looks => Abort::Loads(word.generation()),
            Abort::Loads(generation) => exchanges(generation, word),
            Abort::Exchanges(generation, seen) if word == seen => {
                self.word = seen.abort(generation, way.cause, way.told).unwrap();
                assert!(self.word.is_aborted() && self.word.state() == seen.state());
                Abort::Done(Some(generation))
            }
            Abort::Exchanges(generation, _) => exchanges(generation, word),
            Abort::Done(_) => unreachable!(),
        };
    }

    /// What has to hold when nobody has a step left.
    fn ended(&self) {
        let aborted = self.aborted();
        let mut word = Word::IDLE;
        for answered in &self.answered {
            word = word.begin();
            // Answered, or aborted by exactly one: no command is lost, none has two ends.
            let times = aborted
                .iter()
                .filter(|generation| **generation == word.generation())
                .count();
            assert_eq!(times, usize::from(!answered), "{self:?}");
        }
        assert_eq!(self.answered.len(), COMMANDS);
        assert_eq!(self.word, word.end());
    }
}

/// All worlds that can be reached; how many, and how many of them are ends.
fn explore(way: &Way) -> (usize, HashSet<Vec<bool>>) {
    let mut seen = HashSet::new();
    let mut ends = HashSet::new();
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        let mut is_end = true;
        if world.holder != Holder::Gone {
            let mut next = world.clone();
            next.holder_steps(way);
            open.push(next);
            is_end = false;
        }
        for number in 0..ABORTS {
            if !matches!(world.aborts[number], Abort::Done(_)) {
                let mut next = world.clone();
                next.abort_steps(number, way);
                open.push(next);
                is_end = false;
            }
        }
        if is_end {
            world.ended();
            ends.insert(world.answered);
        }
    }
    (seen.len(), ends)
}

#[test]
fn every_order_of_steps() {
    let ways: [&[State]; 3] = [
        &[State::Responding],
        &[State::Queued, State::Executing, State::Responding],
        &[
            State::DataOut,
            State::Queued,
            State::Executing,
            State::Responding,
        ],
    ];
    for states in ways {
        for cause in Cause::ALL {
            for told in [false, true] {
                let (worlds, ends) = explore(&Way {
                    states,
                    cause,
                    told,
                });
                assert!(worlds > 100, "{worlds} worlds");
                // Each command may end either way, whatever became of the other one.
                assert_eq!(ends.len(), 1 << COMMANDS, "{ends:?}");
            }
        }
    }
}

#[test]
fn the_numbers_of_commands_go_round() {
    let last = Word(u32::MAX).end();
    let next = last.begin();
    assert_eq!(
        (next.generation(), next.state()),
        (0, Some(State::Executing))
    );
    assert_eq!(next.abort(last.generation(), Cause::LunReset, false), None);
    let counted = Word(next.0 + Word::COUNT);
    assert!(counted.is_counted() && !counted.end().is_counted());
    assert_eq!(
        counted.advance(State::Queued).map(Word::is_counted),
        Some(true)
    );
    assert_eq!(Word(0xff).state(), None);
    assert_eq!(Word(0xff).abort(0, Cause::LunReset, false), None);
}
