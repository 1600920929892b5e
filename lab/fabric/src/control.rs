// SPDX-License-Identifier: GPL-2.0

//! The language that things are asked for in: a line a command, an answer that ends with `ok` or `error: ...`.

use crate::device::lock;
use crate::faults::{Action, Fault, FrameKind};
use crate::hba::event;
use crate::switch::Fabric;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// All commands.
pub const HELP: &str = "\
ports                       the adapters, what they are and what they have done
drop KIND [WHICH]           lose frames: command, data, response, abts, abts-reply, els
delay KIND ms=N [WHICH]     let them come later (not data)
full [WHICH]                answer commands TASK SET FULL
    WHICH is any of port=NAME (sent or received there), every=N (each Nth), count=N (so many; 1)
faults                      what has been asked for, and how often it was done
clear                       forget it
link NAME down|up           pull the cable or put it in
link NAME bounce [ms=N]     pull it and put it in again after a while (500)
hang NAME                   the firmware does nothing until the driver resets it
crash NAME                  the firmware reports a system error
srr NAME                    ask a target for a sequence of an exchange that it does not have
remove NAME, insert NAME    the adapter is not in its slot; it is again
moderate us=N               interrupts for rings may wait so long for more that they are for (0)
zone ZONE NAME...           a zone of these adapters; without zones all of a switch see each other
unzone ZONE                 delete it
zones                       the zones
help                        this";

type Answer = Result<String, String>;

struct Words<'a> {
    plain: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let mut words = Self {
            plain: Vec::new(),
            named: Vec::new(),
        };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(pair) => words.named.push(pair),
                None => words.plain.push(word),
            }
        }
        words
    }

    fn number(&self, name: &str, default: Option<u32>) -> Result<u32, String> {
        match self.named.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => value
                .parse()
                .map_err(|_| format!("{name}={value}: that is no number")),
            None => default.ok_or_else(|| format!("{name}=N is missing")),
        }
    }

    fn only(&self, plain: usize, names: &[&str]) -> Result<(), String> {
        if let Some(word) = self.plain.get(plain) {
            return Err(format!("'{word}' is too much"));
        }
        match self.named.iter().find(|(name, _)| !names.contains(name)) {
            Some((name, _)) => Err(format!("'{name}=' means nothing here")),
            None => Ok(()),
        }
    }
}

fn port(fabric: &Fabric, name: Option<&&str>) -> Result<usize, String> {
    let name = name.ok_or("the name of an adapter is missing")?;
    fabric
        .named(name)
        .filter(|index| fabric.hbas[*index].parent.is_none())
        .ok_or_else(|| format!("no adapter is called '{name}'"))
}

fn ports(fabric: &Fabric) -> String {
    let mut text = String::new();
    for hba in &fabric.hbas {
        let state = match (hba.removed, hba.hung, hba.running, hba.link) {
            (true, ..) => "removed",
            (_, true, ..) => "hung",
            (_, _, false, _) => "idle",
            (.., false) => "link-down",
            _ => "online",
        };
        let role = match (hba.running && hba.target, hba.initiator) {
            (true, true) => "dual",
            (true, false) => "target",
            (false, true) => "initiator",
            (false, false) => "none",
        };
        text += &format!(
            "{} switch={} wwpn={:016x} id={:06x} {state} {role} sessions={} commands={} ctios={} twice={} confirmed={} refused={} resets={} interrupts={}\n",
            hba.name,
            hba.switch,
            hba.port_name,
            hba.id,
            hba.sessions.len(),
            hba.counts.commands,
            hba.counts.ctios,
            hba.counts.twice,
            hba.counts.confirmed,
            hba.counts.refused,
            hba.counts.resets,
            hba.counts.interrupts,
        );
    }
    text
}

fn faults(fabric: &Fabric) -> String {
    let line = |fault: &Fault| {
        let port = fault.port.map_or(String::new(), |port| {
            format!(" port={}", fabric.hbas[port].name)
        });
        let Fault {
            action,
            kind,
            every,
            left,
            seen,
            done,
            ..
        } = fault;
        format!("{action} {kind}{port} every={every} left={left} seen={seen} done={done}\n")
    };
    fabric.faults.list().iter().map(line).collect()
}

fn add_fault(fabric: &mut Fabric, kind: FrameKind, action: Action, words: &Words<'_>) -> Answer {
    let name = words
        .named
        .iter()
        .find(|(name, _)| *name == "port")
        .map(|(_, value)| value);
    let port = name.map(|name| port(fabric, Some(name))).transpose()?;
    let every = words.number("every", Some(1))?;
    if every == 0 {
        return Err("every=0: each how-manieth?".into());
    }
    fabric.faults.add(Fault {
        port,
        every,
        left: words.number("count", Some(1))?,
        ..Fault::new(kind, action)
    });
    Ok(String::new())
}

fn link(fabric: &mut Fabric, words: &Words<'_>) -> Answer {
    let index = port(fabric, words.plain.get(1))?;
    match words.plain.get(2) {
        Some(&"down") => fabric.link_down(index),
        Some(&"up") => fabric.link_up(index, None),
        Some(&"bounce") => {
            let time = Duration::from_millis(words.number("ms", Some(500))?.into());
            fabric.link_down(index);
            fabric.link_up(index, Some(time));
        }
        _ => return Err("down, up or bounce?".into()),
    }
    Ok(String::new())
}

/// Runs one command; what it has to say, or what is wrong with it.
pub fn run(fabric: &mut Fabric, line: &str) -> Answer {
    const WHICH: [&str; 3] = ["port", "every", "count"];
    let words = Words::new(line);
    let command = words.plain.first().copied().unwrap_or("help");
    let name = words.plain.get(1);
    let kind = || {
        name.ok_or("of which frames?".to_string())?
            .parse::<FrameKind>()
    };
    match command {
        "drop" | "full" | "faults" | "ports" | "clear" | "zones" | "help" => {
            let plain = if command == "drop" { 2 } else { 1 };
            words.only(
                plain,
                if matches!(command, "drop" | "full") {
                    &WHICH
                } else {
                    &[]
                },
            )?;
        }
        "delay" => words.only(2, &["port", "every", "count", "ms"])?,
        "link" => words.only(3, &["ms"])?,
        "moderate" => words.only(1, &["us"])?,
        "zone" => words.only(usize::MAX, &[])?,
        _ => words.only(2, &[])?,
    }
    match command {
        "help" => return Ok(format!("{HELP}\n")),
        "ports" => return Ok(ports(fabric)),
        "faults" => return Ok(faults(fabric)),
        "clear" => fabric.faults.clear(),
        "drop" => return add_fault(fabric, kind()?, Action::Drop, &words),
        "delay" => {
            let kind = kind()?;
            if kind == FrameKind::Data {
                return Err("data cannot be late here, only lost: delay the response".into());
            }
            let time = Duration::from_millis(words.number("ms", None)?.into());
            return add_fault(fabric, kind, Action::Delay(time), &words);
        }
        "full" => return add_fault(fabric, FrameKind::Command, Action::TaskSetFull, &words),
        "link" => return link(fabric, &words),
        "hang" => {
            let index = port(fabric, name)?;
            fabric.hbas[index].hung = true;
        }
        "crash" => {
            let index = port(fabric, name)?;
            // Without an address and a reason the driver takes the chip for broken, and leaves it.
            fabric.hbas[index].notify(event::SYSTEM_ERROR, [0x1000, 1, 0]);
            fabric.hbas[index].hung = true;
        }
        "srr" => {
            let index = port(fabric, name)?;
            if !fabric.request_retransmission(index) {
                return Err("it is no target that somebody is logged in to".into());
            }
        }
        "remove" => {
            let index = port(fabric, name)?;
            fabric.remove(index);
        }
        "insert" => {
            let index = port(fabric, name)?;
            fabric.insert(index);
        }
        "moderate" => {
            let time = Duration::from_micros(words.number("us", None)?.into());
            for hba in &mut fabric.hbas {
                hba.moderation = time;
            }
        }
        "zone" => {
            let name = name.ok_or("the name of a zone is missing")?;
            let members: Result<_, String> = words
                .plain
                .iter()
                .skip(2)
                .map(|name| port(fabric, Some(name)))
                .collect();
            fabric.set_zone(name, Some(members?));
        }
        "unzone" => fabric.set_zone(name.ok_or("the name of a zone is missing")?, None),
        "zones" => {
            return Ok(fabric
                .zones()
                .iter()
                .map(|(name, zone)| format!("{name}: {}\n", zone.join(" ")))
                .collect::<Vec<_>>()
                .concat())
        }
        other => return Err(format!("no command is called '{other}'; try help")),
    }
    Ok(String::new())
}

fn talk(fabric: &Mutex<Fabric>, stream: UnixStream) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut held = lock(fabric);
        let answer = match run(&mut held, line.trim()) {
            Ok(text) => format!("{text}ok\n"),
            Err(why) => format!("error: {why}\n"),
        };
        held.set_timers();
        drop(held);
        out.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Serves a control socket: a thread for each that connects.
pub fn serve(listener: &UnixListener, fabric: &Arc<Mutex<Fabric>>) {
    for stream in listener.incoming() {
        let fabric = fabric.clone();
        match stream {
            Ok(stream) => {
                // One that goes away in the middle of an answer is nobody's trouble.
                std::thread::spawn(move || drop(talk(&fabric, stream)));
            }
            Err(error) => eprintln!("fabric: control: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::tests::fabric;

    #[test]
    fn faults_are_taken_and_listed() {
        let mut fabric = fabric(2);
        assert_eq!(
            run(&mut fabric, "drop response port=b count=3 every=2"),
            Ok(String::new())
        );
        assert_eq!(run(&mut fabric, "delay abts ms=20"), Ok(String::new()));
        assert_eq!(run(&mut fabric, "full"), Ok(String::new()));
        let list = run(&mut fabric, "faults").expect("list");
        assert!(
            list.starts_with("drop response port=b every=2 left=3 seen=0 done=0\n"),
            "{list}"
        );
        assert!(
            list.contains("delay by 20 ms abts every=1 left=1"),
            "{list}"
        );
        assert!(list.contains("TASK SET FULL to command"), "{list}");
        assert_eq!(run(&mut fabric, "clear"), Ok(String::new()));
        assert_eq!(run(&mut fabric, "faults"), Ok(String::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut fabric = fabric(1);
        for line in [
            "drop",
            "drop cake",
            "drop command port=z",
            "drop command every=0",
            "drop command often=2",
            "delay command",
            "delay data ms=1",
            "link a",
            "link a sideways",
            "hang",
            "ports a",
            "hang a b",
            "srr a",
            "zone",
            "zone z nobody",
            "moderate",
            "moderate us=soon",
            "dance",
        ] {
            assert!(run(&mut fabric, line).is_err(), "{line}");
        }
    }

    #[test]
    fn adapters_can_be_taken_away_and_brought_back() {
        let mut fabric = fabric(2);
        run(&mut fabric, "link b down").expect("down");
        assert!(run(&mut fabric, "ports")
            .expect("ports")
            .contains("link-down target"));
        run(&mut fabric, "link b up").expect("up");
        run(&mut fabric, "remove b").expect("remove");
        assert!(run(&mut fabric, "ports")
            .expect("ports")
            .contains("removed"));
        run(&mut fabric, "insert b").expect("insert");
        run(&mut fabric, "zone z a b").expect("zone");
        assert_eq!(run(&mut fabric, "zones"), Ok("z: a b\n".into()));
    }
}
