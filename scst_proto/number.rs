// SPDX-License-Identifier: GPL-2.0

//! Numbers, switches and CPU masks as the kernel's attributes take them.
//!
//! The same texts are accepted as by `kstrtoull(text, 0, ..)`: decimal, `0x` hexadecimal, `0` octal.

use crate::mgmt::{is, Errno, Error, Wrong};

/// Decimal, hexadecimal with `0x`, octal with a leading `0`; an optional `+`.
pub fn parse_u64(text: &str) -> Result<u64, Error<'_>> {
    parse_magnitude(text.strip_prefix('+').unwrap_or(text)).map_err(|w| Error::new(w, text))
}

/// A number not larger than `max`.
pub fn parse_max(text: &str, max: u64) -> Result<u64, Error<'_>> {
    let n = parse_u64(text)?;
    if n > max {
        return Err(Error::new(Wrong::TooLarge { max }, text));
    }
    Ok(n)
}

/// A number that fits 32 bits.
pub fn parse_u32(text: &str) -> Result<u32, Error<'_>> {
    let n = parse_max(text, u64::from(u32::MAX))?;
    u32::try_from(n).map_err(|_| Error::new(Wrong::Number, text))
}

/// A number with an optional sign.
pub fn parse_i64(text: &str) -> Result<i64, Error<'_>> {
    let bad = |wrong| Error::new(wrong, text);
    match text.strip_prefix('-') {
        Some(digits) => {
            let n = parse_magnitude(digits).map_err(bad)?;
            0i64.checked_sub_unsigned(n).ok_or(bad(Wrong::Number))
        }
        None => i64::try_from(parse_u64(text)?).map_err(|_| {
            bad(Wrong::TooLarge {
                max: i64::MAX as u64,
            })
        }),
    }
}

fn parse_magnitude(text: &str) -> Result<u64, Wrong> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        (hex, 16)
    } else if let Some(octal) = text.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        (octal, 8)
    } else {
        (text, 10)
    };
    if digits.is_empty() {
        return Err(Wrong::Number);
    }
    let mut n = 0u64;
    for c in digits.chars() {
        let digit = c.to_digit(16).filter(|d| *d < radix).ok_or(Wrong::Number)?;
        n = n
            .checked_mul(u64::from(radix))
            .and_then(|n| n.checked_add(u64::from(digit)))
            .ok_or(Wrong::TooLarge { max: u64::MAX })?;
    }
    Ok(n)
}

/// A switch: `1`, `on`, `yes`, `y`, `true`, or `0`, `off`, `no`, `n`, `false`.
pub fn parse_bool(text: &str) -> Result<bool, Error<'_>> {
    match text {
        "1" | "on" | "yes" | "y" | "true" => Ok(true),
        "0" | "off" | "no" | "n" | "false" => Ok(false),
        _ => Err(Error::new(Wrong::Switch, text)),
    }
}

/// A CPU mask: hexadecimal, groups of up to 32 bits separated by commas, most significant first.
///
/// Sets the bits in `mask` (word 0 has CPUs 0 to 63); a CPU at `nr_cpus` or beyond is EOVERFLOW, as
/// `cpumask_parse()` has it. `mask` is all zeros or half filled when this fails.
pub fn parse_cpu_mask<'a>(
    text: &'a str,
    nr_cpus: usize,
    mask: &mut [u64],
) -> Result<(), Error<'a>> {
    const GROUP_BITS: usize = 32;
    const GROUP_DIGITS: usize = 8;

    mask.fill(0);
    if text.is_empty() {
        return Err(Error::new(Wrong::CpuMask, text));
    }
    let mut base = 0usize;
    for group in text.rsplit(is(',')) {
        if group.is_empty() {
            return Err(Error::new(Wrong::CpuMask, text));
        }
        // A group without commas may be longer than 8 digits; one with others must not.
        let grouped = group.len() != text.len();
        if grouped && group.len() > GROUP_DIGITS {
            return Err(Error::new(Wrong::CpuMask, group));
        }
        let mut cpu = base;
        for c in group.chars().rev() {
            let mut digit = c.to_digit(16).ok_or(Error::new(Wrong::CpuMask, text))?;
            for _ in 0..4 {
                if digit & 1 != 0 {
                    let word = mask.get_mut(cpu >> 6).filter(|_| cpu < nr_cpus);
                    let word = word.ok_or(Error::new(Wrong::NoSuchCpu { cpus: nr_cpus }, text))?;
                    *word |= 1u64.wrapping_shl((cpu & 63) as u32);
                }
                digit >>= 1;
                cpu = cpu.saturating_add(1);
            }
        }
        base = base.saturating_add(GROUP_BITS);
    }
    Ok(())
}

/// The address of a SCSI device of the host, `H:C:I:L`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hctl {
    /// Host number.
    pub host: u32,
    /// Channel.
    pub channel: u32,
    /// Target id.
    pub id: u32,
    /// Logical unit.
    pub lun: u64,
}

impl Hctl {
    /// Four decimal numbers separated by colons; `None` for any other text, such as a virtual device's name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(is(':'));
        let mut next = || {
            let part = parts
                .next()
                .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?;
            part.parse::<u64>().ok()
        };
        let (host, channel, id, lun) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            host: u32::try_from(host).ok()?,
            channel: u32::try_from(channel).ok()?,
            id: u32::try_from(id).ok()?,
            lun,
        })
    }
}

impl Wrong {
    /// The errno class of the mistake.
    pub fn errno(&self) -> Errno {
        match self {
            Wrong::NoSuchCpu { .. } => Errno::Overflow,
            _ => Errno::Invalid,
        }
    }
}
