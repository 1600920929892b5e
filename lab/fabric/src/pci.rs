// SPDX-License-Identifier: GPL-2.0

//! PCI configuration space: 1077:2532, a QLE2560 of one port, with capabilities for power, PCI Express and MSI-X.

/// Bytes of configuration space.
pub const CONFIG_BYTES: usize = 4096;
/// Bytes of the registers (BAR 1).
pub const BAR_BYTES: u64 = 0x4000;
/// The region of the registers.
pub const BAR: u32 = 1;
/// MSI-X vectors; the driver needs two and uses the first.
pub const VECTORS: u16 = 2;

const TABLE: u32 = 0x2000;
const PENDING: u32 = 0x3000;
const POWER: usize = 0x44;
const EXPRESS: usize = 0x4c;
const MSIX: usize = 0xa0;

/// The image, and which of its bits can be written.
pub struct Config {
    image: Box<[u8; CONFIG_BYTES]>,
    writable: Box<[u8; CONFIG_BYTES]>,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            image: Box::new([0; CONFIG_BYTES]),
            writable: Box::new([0; CONFIG_BYTES]),
        };
        config.put(0x00, &[0x77, 0x10, 0x32, 0x25]);
        config.put(0x06, &[0x10]); // there are capabilities
        config.put(0x08, &[0x02, 0x00, 0x04, 0x0c]); // revision 2, serial bus, Fibre Channel
        config.put(0x2c, &[0x77, 0x10, 0x5c, 0x01]);
        config.put(0x34, &[POWER as u8]);
        config.put(0x3d, &[0x01]); // INTA: the first port
        config.put(POWER, &[0x01, EXPRESS as u8, 0x03]);
        config.put(EXPRESS, &[0x10, MSIX as u8, 0x02, 0x00, 0x03]); // an endpoint, payloads to 1024 bytes
        config.put(EXPRESS + 0x0c, &[0x82]); // eight lanes of 5 GT/s
        config.put(EXPRESS + 0x12, &[0x82]);
        config.put(MSIX, &[0x11, 0x00]);
        config.put(MSIX + 2, &(VECTORS - 1).to_le_bytes());
        config.put(MSIX + 4, &(TABLE | BAR).to_le_bytes());
        config.put(MSIX + 8, &(PENDING | BAR).to_le_bytes());
        for (at, mask) in [
            (0x04, 0xff),
            (0x05, 0x07),
            (0x0c, 0xff),
            (0x0d, 0xff),
            (0x3c, 0xff),
        ] {
            config.writable[at] = mask;
        }
        config.writable[0x10..0x28].fill(0xff); // QEMU knows the size of each BAR
        config.writable[POWER + 4] = 0x03;
        config.writable[EXPRESS + 8..EXPRESS + 10].fill(0xff);
        config.writable[MSIX + 3] = 0xc0;
        config
    }
}

impl Config {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.image[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Reads; all ones beyond the end.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = usize::try_from(at)
                .ok()
                .and_then(|at| self.image.get(at))
                .copied()
                .unwrap_or(u8::MAX);
        }
    }

    /// Writes what can be written.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(offset) = usize::try_from(offset) else {
            return;
        };
        for ((byte, mask), new) in self
            .image
            .iter_mut()
            .zip(self.writable.iter())
            .skip(offset)
            .zip(data)
        {
            *byte = *byte & !mask | new & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(config: &Config, at: u64) -> u16 {
        let mut bytes = [0; 2];
        config.read(at, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    #[test]
    fn capabilities_are_a_chain_that_ends() {
        let config = Config::default();
        let mut at = word(&config, 0x34) & 0xff;
        let mut found = vec![];
        while at != 0 {
            let header = word(&config, u64::from(at));
            found.push(header & 0xff);
            at = header >> 8;
            assert!(found.len() < 10);
        }
        assert_eq!(found, [0x01, 0x10, 0x11]);
    }

    #[test]
    fn identity_cannot_be_written_and_command_can() {
        let mut config = Config::default();
        config.write(0, &[0; 6]);
        assert_eq!(word(&config, 0), 0x1077);
        config.write(4, &[0x06, 0x04]);
        assert_eq!(word(&config, 4), 0x0406);
        config.write(5000, &[1]);
        assert_eq!(word(&config, 5000), 0xffff);
    }
}
