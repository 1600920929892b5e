// SPDX-License-Identifier: GPL-2.0

//! Names, and what every attribute does with its text.

use core::fmt;
use kapi::sysfs::Page;
use kernel::{
    prelude::*,
    str::CString,
    sync::atomic::{Atomic, Relaxed},
};

/// An owned name of an object of the tree.
pub(crate) struct Name(CString);

impl Name {
    /// Copies `name`; `EINVAL` if it contains a zero byte.
    pub(crate) fn new(name: &str) -> Result<Self> {
        if name.bytes().any(|b| b == 0) {
            return Err(EINVAL);
        }
        Ok(Self(CString::try_from_fmt(fmt!("{}", name))?))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

/// Writes to an attribute's page, which cuts off what does not fit.
macro_rules! emit {
    ($page:expr, $($arg:tt)*) => {{
        let _ = core::fmt::Write::write_fmt($page, core::format_args!($($arg)*));
    }};
}
pub(crate) use emit;

/// Shows a value, and `[key]` below it where it is not the default one: that is
/// what `scstadmin` saves.
pub(crate) fn show_keyed(page: &mut Page<'_>, value: impl fmt::Display, key: bool) -> Result {
    emit!(page, "{}\n", value);
    if key {
        emit!(page, "[key]\n");
    }
    Ok(())
}

/// The text that was written to an attribute, without the line's end.
pub(crate) fn text(bytes: &[u8]) -> Result<&str> {
    let text = core::str::from_utf8(bytes).map_err(|_| {
        log_err!("What was written is no UTF-8 text");
        EINVAL
    })?;
    Ok(text.trim_end_matches(['\n', '\0']).trim())
}

/// A decimal, hexadecimal (0x) or octal (0) number, as `kstrtoull()` reads it.
pub(crate) fn number(bytes: &[u8]) -> Result<u64> {
    parsed(scst_proto::number::parse_u64(text(bytes)?))
}

/// `0` or `1`.
pub(crate) fn flag(bytes: &[u8]) -> Result<bool> {
    match number(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        n => {
            log_err!("{} is no switch: 0 or 1 expected", n);
            Err(EINVAL)
        }
    }
}

/// Shows a switch of an object, whose default is off.
pub(crate) fn show_flag(page: &mut Page<'_>, at: &Atomic<u32>) -> Result {
    let on = at.load(Relaxed);
    show_keyed(page, on, on != 0)
}

/// Sets a switch of an object.
pub(crate) fn store_flag(at: &Atomic<u32>, bytes: &[u8]) -> Result {
    at.store(u32::from(flag(bytes)?), Relaxed);
    Ok(())
}

/// Makes a number of what it is, which others may do at the same time.
pub(crate) fn update(at: &Atomic<u32>, change: impl Fn(u32) -> u32) {
    let mut now = at.load(Relaxed);
    while let Err(other) = at.cmpxchg(now, change(now), Relaxed) {
        now = other;
    }
}

/// Logs an error in SCST's wording.
macro_rules! log_err {
    ($($arg:tt)*) => {
        kernel::pr_err!("***ERROR***: {}\n", core::format_args!($($arg)*))
    };
}
pub(crate) use log_err;

/// The result of a parser, its error logged: what is wrong and what would be
/// right.
pub(crate) fn parsed<T>(result: Result<T, scst_proto::mgmt::Error<'_>>) -> Result<T> {
    result.map_err(|error| {
        log_err!("{}", error);
        match error.errno() {
            scst_proto::mgmt::Errno::Invalid => EINVAL,
            scst_proto::mgmt::Errno::Overflow => EOVERFLOW,
        }
    })
}
