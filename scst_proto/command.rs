// SPDX-License-Identifier: GPL-2.0

//! The commands of each `mgmt` file as types.
//!
//! Each `parse` takes the text of one write, as [`mgmt::text`](crate::mgmt::text) gives it.

use crate::lun::{Lun, MAX_LUN};
use crate::mgmt::{Error, Params, Words, Wrong};
use crate::number::{parse_bool, parse_u64};

/// `luns/mgmt`: the LUNs of a target or of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LunsCommand<'a> {
    /// `add NAME LUN [read_only=..]`.
    Add(LunEntry<'a>),
    /// `replace NAME LUN [..]`: initiators are told by a unit attention.
    Replace(LunEntry<'a>),
    /// `replace_no_ua NAME LUN [..]`: initiators are not told.
    ReplaceNoUa(LunEntry<'a>),
    /// `del LUN`.
    Del(Lun),
    /// `clear`: all.
    Clear,
}

/// A device at a LUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LunEntry<'a> {
    /// The device's name, or `H:C:I:L`.
    pub device: &'a str,
    /// The LUN.
    pub lun: Lun,
    /// `read_only`.
    pub read_only: bool,
}

/// A LUN as administrators write it.
pub fn parse_lun(word: &str) -> Result<Lun, Error<'_>> {
    let too_large = Error::new(Wrong::LunTooLarge, word);
    let n = parse_u64(word)?;
    let n = u16::try_from(n)
        .ok()
        .filter(|n| *n <= MAX_LUN)
        .ok_or(too_large)?;
    Lun::new(n).ok_or(too_large)
}

impl<'a> LunEntry<'a> {
    fn parse(mut words: Words<'a>) -> Result<Self, Error<'a>> {
        let device = words.required("device name")?;
        let lun = parse_lun(words.required("LUN")?)?;
        let mut read_only = false;
        for param in Params::new(words.rest()) {
            let param = param?;
            match param.name {
                "read_only" => read_only = parse_bool(param.value)?,
                other => {
                    return Err(Error::new(
                        Wrong::UnknownParameter { known: "read_only" },
                        other,
                    ))
                }
            }
        }
        Ok(Self {
            device,
            lun,
            read_only,
        })
    }
}

impl<'a> LunsCommand<'a> {
    /// Parses one write.
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let mut words = Words::new(line);
        match words.required("action")? {
            "add" => Ok(Self::Add(LunEntry::parse(words)?)),
            "replace" => Ok(Self::Replace(LunEntry::parse(words)?)),
            "replace_no_ua" => Ok(Self::ReplaceNoUa(LunEntry::parse(words)?)),
            "del" => {
                let lun = parse_lun(words.required("LUN")?)?;
                words.end()?;
                Ok(Self::Del(lun))
            }
            "clear" => words.end().map(|()| Self::Clear),
            other => {
                let known = "add, replace, replace_no_ua, del, clear";
                Err(Error::new(Wrong::UnknownCommand { known }, other))
            }
        }
    }
}

/// `ini_groups/mgmt`, `device_groups/mgmt`, `target_groups/mgmt`: groups by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupsCommand<'a> {
    /// `create NAME`.
    Create(&'a str),
    /// `del NAME`.
    Del(&'a str),
}

impl<'a> GroupsCommand<'a> {
    /// Parses one write.
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let mut words = Words::new(line);
        let make = match words.required("action")? {
            // The help has never said so, but scstadmin makes target groups with `add`.
            "create" | "add" => Self::Create,
            "del" => Self::Del,
            other => {
                return Err(Error::new(
                    Wrong::UnknownCommand {
                        known: "create, del",
                    },
                    other,
                ))
            }
        };
        let name = words.name("group name")?;
        words.end()?;
        Ok(make(name))
    }
}

/// `block` of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockCommand<'a> {
    /// `0`: take one block back.
    Unblock,
    /// `1`: block, and wait until no command is executed.
    Sync,
    /// `11 [words]`: block; the words say which block it was when it is complete.
    Async(&'a str),
}

impl<'a> BlockCommand<'a> {
    /// Parses one write.
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let line = line.trim();
        let rest = line.strip_prefix('1').map(str::trim_start);
        match (rest, rest.and_then(|rest| rest.strip_prefix('1'))) {
            (None, _) if line == "0" => Ok(Self::Unblock),
            (Some(""), _) => Ok(Self::Sync),
            (_, Some(words)) => Ok(Self::Async(words.trim_start())),
            _ => Err(Error::new(
                Wrong::UnknownCommand { known: "0, 1, 11" },
                line,
            )),
        }
    }
}

/// `device_groups/NAME/devices/mgmt` and `target_groups/NAME/mgmt`: members by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembersCommand<'a> {
    /// `add NAME`.
    Add(&'a str),
    /// `del NAME`.
    Del(&'a str),
}

impl<'a> MembersCommand<'a> {
    /// Parses one write.
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let mut words = Words::new(line);
        let make = match words.required("action")? {
            "add" => Self::Add,
            "del" => Self::Del,
            other => {
                return Err(Error::new(
                    Wrong::UnknownCommand { known: "add, del" },
                    other,
                ))
            }
        };
        let name = words.name("name")?;
        words.end()?;
        Ok(make(name))
    }
}

/// `initiators/mgmt`: the name patterns of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitiatorsCommand<'a> {
    /// `add PATTERN`.
    Add(&'a str),
    /// `del PATTERN`.
    Del(&'a str),
    /// `move PATTERN GROUP`.
    Move {
        /// The pattern, as it was added.
        pattern: &'a str,
        /// The group that it goes to.
        group: &'a str,
    },
    /// `clear`: all.
    Clear,
}

impl<'a> InitiatorsCommand<'a> {
    /// Parses one write.
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let mut words = Words::new(line);
        let command = match words.required("action")? {
            "add" => Self::Add(words.name("initiator name")?),
            "del" => Self::Del(words.name("initiator name")?),
            "move" => Self::Move {
                pattern: words.name("initiator name")?,
                group: words.name("destination group name")?,
            },
            "clear" => Self::Clear,
            other => {
                let known = "add, del, move, clear";
                return Err(Error::new(Wrong::UnknownCommand { known }, other));
            }
        };
        words.end()?;
        Ok(command)
    }
}

/// An attribute and its value: `IncomingUser joe secret`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name.
    pub name: &'a str,
    /// All that follows.
    pub value: &'a str,
}

impl<'a> Attribute<'a> {
    fn parse(mut words: Words<'a>) -> Result<Self, Error<'a>> {
        let name = words.required("attribute name")?;
        match words.rest() {
            "" => Err(Error::new(Wrong::Missing("attribute value"), name)),
            value => Ok(Self { name, value }),
        }
    }
}

/// `handlers/NAME/mgmt`.
#[derive(Clone, Copy, Debug)]
pub enum HandlerCommand<'a> {
    /// `add_device NAME [parameters]`.
    AddDevice {
        /// The device's name, or `H:C:I:L`.
        name: &'a str,
        /// The parameters.
        params: Params<'a>,
    },
    /// `del_device NAME`.
    DelDevice(&'a str),
    /// `add_attribute NAME VALUE`.
    AddAttribute(Attribute<'a>),
    /// `del_attribute NAME VALUE`.
    DelAttribute(Attribute<'a>),
    /// `add_device_attribute DEVICE NAME VALUE`.
    AddDeviceAttribute(&'a str, Attribute<'a>),
    /// `del_device_attribute DEVICE NAME VALUE`.
    DelDeviceAttribute(&'a str, Attribute<'a>),
}

impl<'a> HandlerCommand<'a> {
    /// Parses one write.
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let mut words = Words::new(line);
        match words.required("action")? {
            "add_device" => Ok(Self::AddDevice {
                name: words.name("device name")?,
                params: Params::new(words.rest()),
            }),
            "del_device" => {
                let name = words.name("device name")?;
                words.end()?;
                Ok(Self::DelDevice(name))
            }
            "add_attribute" => Attribute::parse(words).map(Self::AddAttribute),
            "del_attribute" => Attribute::parse(words).map(Self::DelAttribute),
            "add_device_attribute" => {
                let device = words.name("device name")?;
                Ok(Self::AddDeviceAttribute(device, Attribute::parse(words)?))
            }
            "del_device_attribute" => {
                let device = words.name("device name")?;
                Ok(Self::DelDeviceAttribute(device, Attribute::parse(words)?))
            }
            other => {
                let known = "add_device, del_device";
                Err(Error::new(Wrong::UnknownCommand { known }, other))
            }
        }
    }
}

/// `targets/DRIVER/mgmt`.
#[derive(Clone, Copy, Debug)]
pub enum DriverCommand<'a> {
    /// `add_target NAME [parameters]`.
    AddTarget {
        /// The target's name.
        name: &'a str,
        /// The parameters.
        params: Params<'a>,
    },
    /// `del_target NAME`.
    DelTarget(&'a str),
    /// `add_session TARGET SESSION`.
    AddSession {
        /// The target's name.
        target: &'a str,
        /// The session's name.
        session: &'a str,
    },
    /// `del_session TARGET SESSION`.
    DelSession {
        /// The target's name.
        target: &'a str,
        /// The session's name.
        session: &'a str,
    },
    /// `add_attribute NAME VALUE`.
    AddAttribute(Attribute<'a>),
    /// `del_attribute NAME VALUE`.
    DelAttribute(Attribute<'a>),
    /// `add_target_attribute TARGET NAME VALUE`.
    AddTargetAttribute(&'a str, Attribute<'a>),
    /// `del_target_attribute TARGET NAME VALUE`.
    DelTargetAttribute(&'a str, Attribute<'a>),
}

impl<'a> DriverCommand<'a> {
    /// Parses one write.
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let mut words = Words::new(line);
        match words.required("action")? {
            "add_target" => Ok(Self::AddTarget {
                name: words.name("target name")?,
                params: Params::new(words.rest()),
            }),
            "del_target" => {
                let name = words.name("target name")?;
                words.end()?;
                Ok(Self::DelTarget(name))
            }
            "add_session" => {
                let (target, session) = Self::session(words)?;
                Ok(Self::AddSession { target, session })
            }
            "del_session" => {
                let (target, session) = Self::session(words)?;
                Ok(Self::DelSession { target, session })
            }
            "add_attribute" => Attribute::parse(words).map(Self::AddAttribute),
            "del_attribute" => Attribute::parse(words).map(Self::DelAttribute),
            "add_target_attribute" => {
                let target = words.name("target name")?;
                Ok(Self::AddTargetAttribute(target, Attribute::parse(words)?))
            }
            "del_target_attribute" => {
                let target = words.name("target name")?;
                Ok(Self::DelTargetAttribute(target, Attribute::parse(words)?))
            }
            other => {
                let known =
                    "add_target, del_target, add_session, del_session, add_target_attribute, \
                             del_target_attribute";
                Err(Error::new(Wrong::UnknownCommand { known }, other))
            }
        }
    }

    fn session(mut words: Words<'a>) -> Result<(&'a str, &'a str), Error<'a>> {
        let target = words.name("target name")?;
        let session = words.name("session name")?;
        words.end()?;
        Ok((target, session))
    }
}
