// SPDX-License-Identifier: GPL-2.0

//! The identity of a virtual disk, by which initiators recognise it.
//!
//! It follows from the name and `setup_id`, and must never change: see `abi/IDENTITY.md`.

use core::fmt::{self, Write};

/// The raw CRC-32C (Castagnoli, reflected, start value 0, no final inversion), a byte at a time.
const TABLE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Continues the raw CRC-32C `crc` over `bytes`.
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let index = (crc as u8) ^ byte;
        (crc >> 8) ^ TABLE.get(usize::from(index)).copied().unwrap_or(0)
    })
}

/// The identity number: `setup_id` above the CRC of the name and its terminating zero byte.
pub fn device_id(setup_id: u32, name: &str) -> u64 {
    let crc = crc32c(crc32c(0, name.as_bytes()), &[0]);
    u64::from(setup_id).wrapping_shl(32) | u64::from(crc)
}

/// A short text of at most `N` bytes; what does not fit is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The text; an identity is made of valid names, and one that was cut within a character ends before it.
    pub fn as_str(&self) -> &str {
        match core::str::from_utf8(self.as_bytes()) {
            Ok(text) => text,
            Err(e) => {
                let valid = self.as_bytes().get(..e.valid_up_to()).unwrap_or(&[]);
                core::str::from_utf8(valid).unwrap_or("")
            }
        }
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if let Some(rest) = self.bytes.get_mut(self.len..) {
            self.len = self
                .len
                .saturating_add(crate::bytes::copy(rest, s.as_bytes()));
        }
        Ok(())
    }
}

/// The most bytes of a `usn`.
pub const USN_MAX: usize = 20;
/// The most bytes of a `t10_dev_id`: a device's default is cut here.
pub const T10_DEV_ID_MAX: usize = 25;

/// The default `usn`: the identity number in lower-case hexadecimal without leading zeros.
pub fn default_usn(id: u64) -> Text<USN_MAX> {
    let mut text = Text::new();
    // Neither the number nor `Text` fails.
    let _ = write!(text, "{id:x}");
    text
}

/// The default `t10_dev_id` and `vend_specific_id`: `usn`-`name`.
pub fn default_t10_dev_id(usn: &str, name: &str) -> Text<T10_DEV_ID_MAX> {
    let mut text = Text::new();
    let _ = write!(text, "{usn}-{name}");
    text
}

/// The default EUI-64, used when neither `eui64_id` nor `naa_id` is set: the first eight bytes of `t10_dev_id`.
pub fn default_eui64(t10_dev_id: &[u8]) -> [u8; 8] {
    let mut eui = [0; 8];
    crate::bytes::copy(&mut eui, t10_dev_id);
    eui
}
