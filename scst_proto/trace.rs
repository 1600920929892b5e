// SPDX-License-Identifier: GPL-2.0

//! `trace_level`: which messages a module logs.
//!
//! The bits and words are interface: `value N` writes the number itself, and reading gives the words in the order of
//! [`TOKENS`].

use crate::mgmt::{Error, Words, Wrong};
use crate::number::parse_u32;
use core::fmt;

/// One kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its word.
    pub name: &'static str,
    /// Its bit.
    pub bit: u32,
}

const fn t(name: &'static str, bit: u32) -> Token {
    Token { name, bit }
}

/// All kinds, in the order in which they are shown.
pub static TOKENS: [Token; 22] = [
    t("out_of_mem", 0x0000_0100),
    t("minor", 0x0000_0200),
    t("sg", 0x0000_0080),
    t("mem", 0x0000_0040),
    t("buff", 0x0000_0020),
    t("entryexit", 0x0000_0010),
    t("pid", 0x0000_0008),
    t("line", 0x0000_0004),
    t("function", 0x0000_0002),
    t("debug", 0x0000_0001),
    t("special", 0x0000_2000),
    t("scsi", 0x0000_1000),
    t("mgmt", 0x0000_0400),
    t("mgmt_dbg", 0x0000_0800),
    t("flow_control", 0x0000_4000),
    t("pr", 0x0000_8000),
    t("retry", 0x8000_0000),
    t("scsi_serializing", 0x4000_0000),
    t("data_send", 0x2000_0000),
    t("data_received", 0x1000_0000),
    t("block", 0x0800_0000),
    t("order", 0x0100_0000),
];

/// `out_of_mem | pid | special | mgmt`.
pub const DEFAULT: u32 = 0x0000_0100 | 0x0000_0008 | 0x0000_2000 | 0x0000_0400;
/// The `order` kind is a driver's own: `all` in the core does not show it.
const DRIVERS_OWN: u32 = 0x0100_0000;

/// One write to `trace_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceCommand {
    /// `all`.
    All,
    /// `none` (or `null`).
    None,
    /// `default`.
    Default,
    /// `value N`.
    Value(u32),
    /// `add TOKEN`.
    Add(Token),
    /// `del TOKEN`.
    Del(Token),
}

impl TraceCommand {
    /// Parses one write.
    pub fn parse(line: &str) -> Result<Self, Error<'_>> {
        let mut words = Words::new(line);
        let command = match words.required("action")? {
            "all" => Self::All,
            "none" | "null" => Self::None,
            "default" => Self::Default,
            "value" | "set" => Self::Value(parse_u32(words.required("number")?)?),
            "add" => Self::Add(token(words.required("token")?)?),
            "del" => Self::Del(token(words.required("token")?)?),
            other => {
                let known = "all, none, default, value, add, del";
                return Err(Error::new(Wrong::UnknownCommand { known }, other));
            }
        };
        words.end()?;
        Ok(command)
    }

    /// What the level is after this command.
    pub fn apply(self, level: u32) -> u32 {
        match self {
            Self::All => !DRIVERS_OWN,
            Self::None => 0,
            Self::Default => DEFAULT,
            Self::Value(n) => n,
            Self::Add(token) => level | token.bit,
            Self::Del(token) => level & !token.bit,
        }
    }
}

fn token(word: &str) -> Result<Token, Error<'_>> {
    let known =
        "function, line, pid, out_of_mem, special, scsi, mgmt, minor, scsi_serializing, retry, pr";
    let found = TOKENS.iter().find(|t| t.name.eq_ignore_ascii_case(word));
    found
        .copied()
        .ok_or(Error::new(Wrong::NotOneOf(known), word))
}

/// A level as it is read: the words separated by ` | `.
pub struct Level(pub u32);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for token in TOKENS.iter().filter(|t| self.0 & t.bit != 0) {
            f.write_str(separator)?;
            f.write_str(token.name)?;
            separator = " | ";
        }
        Ok(())
    }
}
