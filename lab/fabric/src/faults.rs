// SPDX-License-Identifier: GPL-2.0

//! What is to go wrong with frames, and how often.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The frames that faults can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// FCP_CMND: a command or task management.
    Command,
    /// FCP_DATA in either direction.
    Data,
    /// FCP_RSP.
    Response,
    /// ABTS.
    Abts,
    /// BA_ACC or BA_RJT.
    AbtsReply,
    /// PLOGI, PRLI.
    Els,
}

const KINDS: [(&str, FrameKind); 6] = [
    ("command", FrameKind::Command),
    ("data", FrameKind::Data),
    ("response", FrameKind::Response),
    ("abts", FrameKind::Abts),
    ("abts-reply", FrameKind::AbtsReply),
    ("els", FrameKind::Els),
];

impl FromStr for FrameKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        KINDS
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, kind)| *kind)
            .ok_or_else(|| {
                let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
                format!(
                    "no frame is called '{text}'; there are {}",
                    known.join(", ")
                )
            })
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            KINDS
                .iter()
                .find(|(_, kind)| kind == self)
                .map_or("", |(name, _)| name),
        )
    }
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is lost.
    Drop,
    /// It comes later.
    Delay(Duration),
    /// It is a command, and is answered TASK SET FULL.
    TaskSetFull,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Delay(time) => write!(f, "delay by {} ms", time.as_millis()),
            Self::TaskSetFull => f.write_str("TASK SET FULL to"),
        }
    }
}

/// A fault that has been asked for.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// To which frames.
    pub kind: FrameKind,
    /// What.
    pub action: Action,
    /// Only to those that this adapter sends or receives.
    pub port: Option<usize>,
    /// Only to each so-manieth.
    pub every: u32,
    /// So often, and then no more.
    pub left: u32,
    /// Frames that it was asked of.
    pub seen: u32,
    /// Frames that it was done to.
    pub done: u32,
}

impl Fault {
    /// Once, to the next such frame of any adapter.
    pub fn new(kind: FrameKind, action: Action) -> Self {
        Self {
            kind,
            action,
            port: None,
            every: 1,
            left: 1,
            seen: 0,
            done: 0,
        }
    }
}

/// All of them, in the order in which they were asked for.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one.
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Those that there are, also the ones that are used up.
    pub fn list(&self) -> &[Fault] {
        &self.0
    }

    /// What is to happen to a frame; None is what frames are for.
    pub fn judge(&mut self, kind: FrameKind, from: usize, to: usize) -> Option<Action> {
        let concerned = |fault: &&mut Fault| {
            fault.kind == kind
                && fault.left > 0
                && fault.port.is_none_or(|port| port == from || port == to)
        };
        for fault in self.0.iter_mut().filter(concerned) {
            fault.seen = fault.seen.wrapping_add(1);
            if fault.seen % fault.every.max(1) == 0 {
                fault.left -= 1;
                fault.done += 1;
                return Some(fault.action);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn happens_as_often_as_asked_and_to_those_asked_for() {
        let mut faults = Faults::default();
        faults.add(Fault {
            every: 3,
            left: 2,
            port: Some(1),
            ..Fault::new(FrameKind::Command, Action::Drop)
        });
        assert_eq!(faults.judge(FrameKind::Response, 0, 1), None);
        assert_eq!(faults.judge(FrameKind::Command, 0, 2), None);
        let hits: Vec<bool> = (0..12)
            .map(|_| faults.judge(FrameKind::Command, 0, 1).is_some())
            .collect();
        assert_eq!(hits.iter().filter(|hit| **hit).count(), 2);
        assert!(hits[2] && hits[5]);
        assert_eq!((faults.list()[0].seen, faults.list()[0].done), (6, 2));
    }

    #[test]
    fn names_of_frames_read_back() {
        for (name, kind) in KINDS {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert!("frame".parse::<FrameKind>().is_err());
    }
}
