// SPDX-License-Identifier: GPL-2.0

//! Who a virtual disk says it is: the texts and identifiers of INQUIRY.

use crate::disk::Conf;
use core::fmt::Write as _;
use scst_proto::{
    identity::{default_t10_dev_id, default_usn, device_id, Text},
    options::Handler,
};

/// A text of the device's identity, and whether an administrator chose it.
#[derive(Clone, Copy)]
pub(crate) struct Name<const N: usize> {
    pub(crate) text: Text<N>,
    pub(crate) set: bool,
}

impl<const N: usize> Name<N> {
    fn new(text: &str) -> Self {
        let mut name = Self {
            text: Text::new(),
            set: false,
        };
        // `Text` cuts, and never fails.
        let _ = name.text.write_str(text);
        name
    }

    /// Takes a text that an administrator chose; `Err` with the limit if it is
    /// too long.
    pub(crate) fn choose(&mut self, text: &str) -> core::result::Result<(), usize> {
        if text.len() > N {
            return Err(N);
        }
        *self = Self {
            set: true,
            ..Self::new(text)
        };
        Ok(())
    }
}

/// A binary identifier.
#[derive(Clone, Copy, Default)]
pub(crate) struct BinaryId {
    bytes: [u8; 16],
    len: usize,
}

impl BinaryId {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Reads `0x` and hexadecimal digits, or nothing, for one of `lengths` bytes.
    pub(crate) fn parse(text: &str, lengths: &[usize]) -> Option<Self> {
        let mut id = Self::default();
        if text.is_empty() {
            return Some(id);
        }
        let digits = text
            .strip_prefix("0x")
            .or(text.strip_prefix("0X"))
            .unwrap_or(text);
        id.len = digits.len() / 2;
        if digits.len() % 2 != 0 || !lengths.contains(&id.len) {
            return None;
        }
        let mut chars = digits.chars();
        for byte in id.bytes.iter_mut().take(id.len) {
            let (high, low) = (chars.next()?.to_digit(16)?, chars.next()?.to_digit(16)?);
            *byte = ((high << 4) | low) as u8;
        }
        Some(id)
    }
}

/// Who the device says it is.
pub(crate) struct Names {
    pub(crate) vendor: Name<8>,
    pub(crate) product: Name<16>,
    pub(crate) revision: Name<4>,
    pub(crate) inq_vend_specific: Name<96>,
    pub(crate) usn: Name<20>,
    pub(crate) t10_dev_id: Name<25>,
    pub(crate) vend_specific_id: Name<32>,
    pub(crate) scsi_device_name: Name<247>,
    pub(crate) eui64: BinaryId,
    pub(crate) naa: BinaryId,
}

impl Names {
    pub(crate) fn new(conf: &Conf, name: &str, setup_id: u32, t10_dev_id: Option<&str>) -> Self {
        let usn = default_usn(device_id(setup_id, name));
        let id = default_t10_dev_id(usn.as_str(), name);
        let mut names = Self {
            vendor: Name::new(match conf.handler {
                Handler::BlockIo => "SCST_BIO",
                _ => "SCST_FIO",
            }),
            product: Name::new(name),
            revision: Name::new("3110"),
            inq_vend_specific: Name::new(""),
            usn: Name::new(usn.as_str()),
            t10_dev_id: Name::new(id.as_str()),
            vend_specific_id: Name::new(id.as_str()),
            scsi_device_name: Name::new(""),
            eui64: BinaryId::default(),
            naa: BinaryId::default(),
        };
        if let Some(chosen) = t10_dev_id {
            // The parser has checked the length.
            let _ = names.t10_dev_id.choose(chosen);
        }
        names
    }
}
