// SPDX-License-Identifier: GPL-2.0

//! `COMMANDS.md`: who may do what when, for reading beside SPC-6 tables 76 and 77, SBC-4 table 13 and SPC-6 5.18.2. It is
//! made by asking the code about every command that the target has; `WRITE_COMMANDS=1 cargo test` writes it anew.

use scst_proto::alua::AccessState;
use scst_proto::opcode::{all_rows, CommandSets, OpRow, Reservation};
use scst_proto::pr::access::Access;
use scst_proto::pr::Type;
use scst_proto::sense::Sense;
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "\
<!-- SPDX-License-Identifier: GPL-2.0 -->
<!-- Made by `WRITE_COMMANDS=1 cargo test` in scst_proto from the tables that the target works by. Do not edit. -->

# Commands, reservations and ALUA states

What a command meets that comes through a nexus to a logical unit that is reserved, or through a port in an ALUA state. `yes`: it
is carried out. `no`: RESERVATION CONFLICT; in an ALUA state NOT READY with the additional sense at its column's head. `cdb`: `no` if
it would change something (START STOP UNIT but for START, PREVENT ALLOW MEDIUM REMOVAL but for allowing), else `yes`. `pr`: the
state machine of persistent reservations says.

Reservation types: WE Write Exclusive, EA Exclusive Access, WERO and EARO Registrants Only, WEAR and EAAR All Registrants. Of all
types the holder may do everything; with All Registrants each registrant is a holder. *reg* is who is registered and does not hold
the reservation, *other* who is not registered. R6/10 is who did not send the RESERVE(6) or (10) that is in force.

Set D is disks, R CD-ROM drives, A all.
";

const TYPES: [(&str, Type); 6] = [
    ("WE", Type::WriteExclusive),
    ("EA", Type::ExclusiveAccess),
    ("WERO", Type::WriteExclusiveRegistrants),
    ("EARO", Type::ExclusiveAccessRegistrants),
    ("WEAR", Type::WriteExclusiveAll),
    ("EAAR", Type::ExclusiveAccessAll),
];

/// Whether one who has `access` may send the command: the code's answers to all values of the byte that may matter.
fn may(access: Access, row: &OpRow) -> &'static str {
    let answers: Vec<bool> = (0..=255u8)
        .map(|byte| !access.refuses(row, &[row.opcode, 0, 0, 0, byte, 0]))
        .collect();
    match (answers.contains(&true), answers.contains(&false)) {
        (true, true) => "cdb",
        (false, _) => "no",
        _ if row.reservation == Reservation::PersistentReserveOut && access != Access::Full => "pr",
        _ => "yes",
    }
}

fn set(row: &OpRow) -> &'static str {
    let of = |sets: CommandSets| row.sets.intersects(sets);
    match (of(CommandSets::D), of(CommandSets::R)) {
        (true, true) => "A",
        (true, false) => "D",
        _ => "R",
    }
}

fn told(sense: Option<Sense>) -> String {
    sense.map_or(String::new(), |s| format!(" {:02x}/{:02x}", s.asc, s.ascq))
}

fn table() -> String {
    let mut text = String::from(HEAD);
    let states: Vec<AccessState> = AccessState::ALL.into_iter().skip(1).collect();
    text.push_str("\n| code | command | set |");
    for (name, _) in TYPES {
        let _ = write!(text, " {name} reg | {name} other |");
    }
    text.push_str(" R6/10 |");
    for state in &states {
        let refusal = state.refusal(scst_proto::opcode::Flags::NONE);
        let _ = write!(text, " {}{} |", state.name(), told(refusal));
    }
    let columns = 3 + 2 * TYPES.len() + 1 + states.len();
    let _ = writeln!(text, "\n|{}", "---|".repeat(columns));
    for row in all_rows().iter().filter(|row| row.is_supported()) {
        let action = row
            .service_action
            .map_or(String::new(), |sa| format!("/{sa:02x}"));
        let _ = write!(
            text,
            "| {:02x}{action} | {} | {} |",
            row.opcode,
            row.name,
            set(row)
        );
        for (_, kind) in TYPES {
            for registered in [true, false] {
                // With All Registrants, who is registered holds it.
                let access = Access::under(kind, false, registered);
                let _ = write!(text, " {} |", may(access, row));
            }
        }
        let _ = write!(text, " {} |", may(Access::Reserved, row));
        for state in &states {
            let served = state.refusal(row.flags).is_none();
            let _ = write!(text, " {} |", if served { "yes" } else { "no" });
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_document_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("COMMANDS.md");
    let now = table();
    if std::env::var_os("WRITE_COMMANDS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (is, should)) in written.lines().zip(now.lines()).enumerate() {
        assert_eq!(
            is,
            should,
            "line {} of COMMANDS.md; to write it anew: WRITE_COMMANDS=1 cargo test",
            number + 1
        );
    }
    assert_eq!(written.lines().count(), now.lines().count());
}

#[test]
fn the_holder_may_do_everything() {
    for row in all_rows() {
        for (_, kind) in TYPES {
            assert_eq!(may(Access::under(kind, true, true), row), "yes");
        }
    }
}
