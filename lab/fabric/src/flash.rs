// SPDX-License-Identifier: GPL-2.0

//! The adapter's flash, as far as a driver reads it: NVRAM, and two firmware segments that it may load.
//!
//! Addresses are in words of 32 bits. What is not there reads as all ones, which a driver takes for "use the default".

use std::collections::BTreeMap;

/// Where the flash is in the address space that the driver's flash register takes.
const BASE: u32 = 0x7ff0_0000;
const END: u32 = 0x7ffd_0000;
const NVRAM: u32 = 0x4_8080;
const FIRMWARE: u32 = 0x2_0000;
/// Words of a firmware segment: nothing but its header.
const FIRMWARE_WORDS: u32 = 16;
/// Where the two segments go.
const LOAD_ADDRESSES: [u32; 2] = [0x10_0000, 0x20_0000];
/// The version that the dummy firmware claims, as the mailbox says it too.
pub const FIRMWARE_VERSION: [u16; 3] = [8, 8, 207];
const NVRAM_BYTES: usize = 512;

/// The words that are not all ones.
#[derive(Debug)]
pub struct Flash(BTreeMap<u32, u32>);

impl Flash {
    /// The flash of an adapter with these names.
    pub fn new(port_name: u64, node_name: u64) -> Self {
        let mut words = BTreeMap::new();
        for (at, word) in (NVRAM..).zip(nvram(port_name, node_name).chunks_exact(4)) {
            words.insert(at, little(word));
        }
        let mut at = FIRMWARE;
        for address in LOAD_ADDRESSES {
            let version = FIRMWARE_VERSION.map(u32::from);
            let header = [
                0,
                0,
                address,
                FIRMWARE_WORDS,
                version[0],
                version[1],
                version[2],
            ];
            for index in 0..FIRMWARE_WORDS {
                let word = header.get(index as usize).copied().unwrap_or(0);
                words.insert(at + index, word.swap_bytes());
            }
            at += FIRMWARE_WORDS;
        }
        Self(words)
    }

    /// Whether the address is one of the flash, and not of the chip's memory.
    pub fn holds(address: u32) -> bool {
        address >= BASE
    }

    /// The word at an address.
    pub fn read(&self, address: u32) -> u32 {
        match address {
            BASE..END => self.0.get(&(address - BASE)).copied().unwrap_or(u32::MAX),
            _ => 0,
        }
    }
}

fn little(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// NVRAM (`struct nvram_24xx` of the driver): names, defaults, and a checksum that makes the sum of all words zero.
fn nvram(port_name: u64, node_name: u64) -> [u8; NVRAM_BYTES] {
    let mut image = [0; NVRAM_BYTES];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"ISP ");
    put(4, &1u16.to_le_bytes()); // version of the NVRAM
    put(8, &1u16.to_le_bytes()); // version of the initialisation block
    put(12, &2048u16.to_le_bytes()); // bytes of a frame
    put(14, &u16::MAX.to_le_bytes()); // commands at a time
    put(18, &124u16.to_le_bytes()); // hard address
    put(20, &port_name.to_be_bytes());
    put(28, &node_name.to_be_bytes());
    put(36, &8u16.to_le_bytes()); // login retries
    put(
        44,
        &((1u32 << 14) | (1 << 13) | (1 << 2) | (1 << 1)).to_le_bytes(),
    ); // node name, full login, full duplex, fairness
    put(48, &((2u32 << 4) | (1 << 12)).to_le_bytes()); // loop preferred, FC tape
    put(52, &(2u32 << 13).to_le_bytes()); // rate by negotiation
    put(256, &((1u32 << 11) | (1 << 10)).to_le_bytes()); // LIP reset, full LIP login
    put(328, &[5]); // seconds after a reset
    put(336, &128u16.to_le_bytes()); // LUNs
    put(340, &30u16.to_le_bytes()); // port down retries
    put(342, &30u16.to_le_bytes()); // link down seconds
    put(480, b"QLE2560");
    let sum = image.chunks_exact(4).map(little).fold(0, u32::wrapping_add);
    image[NVRAM_BYTES - 4..].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvram_sums_to_zero_and_holds_the_names() {
        let flash = Flash::new(0x2100_0000_fc00_0001, 0x2000_0000_fc00_0001);
        let words: Vec<u32> = (0..128).map(|at| flash.read(BASE + NVRAM + at)).collect();
        assert_eq!(words.iter().copied().fold(0, u32::wrapping_add), 0);
        assert_eq!(words[0].to_le_bytes(), *b"ISP ");
        assert_eq!(words[5].to_le_bytes(), [0x21, 0, 0, 0]);
    }

    #[test]
    fn firmware_says_where_it_goes_and_is_not_blank() {
        let flash = Flash::new(1, 2);
        let word = |at| flash.read(BASE + FIRMWARE + at).swap_bytes();
        assert_eq!(word(2), 0x10_0000);
        assert_eq!(word(FIRMWARE_WORDS + 2), 0x20_0000);
        assert_eq!(word(3), FIRMWARE_WORDS);
        assert!((4..8).any(|at| word(at) != 0));
    }

    #[test]
    fn what_is_not_there_is_all_ones() {
        let flash = Flash::new(1, 2);
        assert_eq!(flash.read(BASE), u32::MAX);
        assert_eq!(flash.read(0x1234), 0);
        assert!(Flash::holds(BASE) && !Flash::holds(0x10_0000));
    }
}
