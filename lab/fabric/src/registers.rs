// SPDX-License-Identifier: GPL-2.0

//! The registers of the chip (BAR 1), decoded.

use crate::hba::{Hba, Mailbox, MAILBOXES};

const MAILBOX: u64 = 0x80;
const MAILBOX_END: u64 = 0xc0;

/// The registers that only remember.
#[derive(Debug, Default)]
pub struct Registers {
    /// Address of a flash access; bit 31 says that it is done.
    flash_address: u32,
    flash_data: u32,
    interrupt_control: u32,
    /// What the driver has written.
    pub mailbox_in: Mailbox,
    /// What it reads.
    pub mailbox_out: Mailbox,
}

impl Registers {
    /// Whether the driver wants interrupts.
    pub fn interrupts_enabled(&self) -> bool {
        self.interrupt_control & 0x8 != 0
    }
}

/// What a write asks the firmware for, beyond remembering it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Reset the chip.
    Reset,
    /// Look at the request ring.
    Requests,
    /// Run the mailbox command.
    Mailbox,
}

fn pair(mailbox: &Mailbox, index: usize, width: usize) -> u32 {
    let get = |at: usize| u32::from(mailbox.get(at).copied().unwrap_or(0));
    get(index) | if width == 4 { get(index + 1) << 16 } else { 0 }
}

fn index(offset: u64) -> usize {
    usize::try_from((offset - MAILBOX) / 2).unwrap_or(MAILBOXES)
}

/// Reads the register at OFFSET, WIDTH bytes wide.
pub fn read(hba: &Hba, offset: u64, width: usize) -> u32 {
    let registers = &hba.registers;
    match offset {
        0x00 => registers.flash_address,
        0x04 => registers.flash_data,
        0x08 => 0x30, // a PCIe bus; soft reset is done at once
        0x0c => registers.interrupt_control,
        0x10 => (hba.host_status() != 0) as u32 * 0x8,
        0x1c => hba.request.input,
        0x20 => hba.request.output,
        0x24 => hba.response.input,
        0x28 => hba.response.output,
        0x3c => hba.atio.input,
        0x40 => hba.atio.output,
        0x44 => hba.host_status(),
        MAILBOX..MAILBOX_END => pair(&registers.mailbox_out, index(offset), width),
        _ => 0,
    }
}

/// Writes VALUE, WIDTH bytes wide, to the register at OFFSET.
pub fn write(hba: &mut Hba, offset: u64, width: usize, value: u32) -> Effect {
    match offset {
        0x00 if value & (1 << 31) != 0 => hba.registers.flash_address = value & !(1 << 31),
        0x00 => {
            hba.registers.flash_data = hba.flash.read(value);
            hba.registers.flash_address = value | (1 << 31);
        }
        0x04 => hba.registers.flash_data = value,
        0x08 if value & 1 != 0 => return Effect::Reset,
        0x0c => {
            hba.registers.interrupt_control = value;
            hba.raise();
        }
        0x1c => {
            hba.request.input = value;
            return Effect::Requests;
        }
        0x20 => hba.request.output = value,
        0x24 => hba.response.input = value,
        0x28 => {
            hba.response.output = value;
            hba.flush();
        }
        0x3c => hba.atio.input = value,
        0x40 => {
            hba.atio.output = value;
            hba.flush();
        }
        0x48 => match value >> 28 {
            0x1 => return Effect::Reset,
            0x5 => return Effect::Mailbox,
            0xa => hba.cleared(),
            _ => {}
        },
        MAILBOX..MAILBOX_END => {
            let [low, high] = [value as u16, (value >> 16) as u16];
            let at = index(offset);
            for (to, half) in [(at, Some(low)), (at + 1, (width == 4).then_some(high))] {
                if let (Some(register), Some(half)) = (hba.registers.mailbox_in.get_mut(to), half) {
                    *register = half;
                }
            }
        }
        _ => {}
    }
    Effect::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flash_is_read_through_two_registers() {
        let mut hba = Hba::new("a", "one", 1, 2);
        write(&mut hba, 0, 4, 0x7ff4_8080);
        assert_eq!(read(&hba, 0, 4), 0xfff4_8080);
        assert_eq!(read(&hba, 4, 4).to_le_bytes(), *b"ISP ");
    }

    #[test]
    fn mailboxes_are_halves_and_pairs() {
        let mut hba = Hba::new("a", "one", 1, 2);
        write(&mut hba, 0x80, 2, 0x69);
        write(&mut hba, 0xbc, 4, 0x1234_5678);
        assert_eq!(
            (
                hba.registers.mailbox_in[0],
                hba.registers.mailbox_in[30..].to_vec()
            ),
            (0x69, vec![0x5678, 0x1234])
        );
        hba.registers.mailbox_out[1] = 7;
        assert_eq!((read(&hba, 0x80, 4), read(&hba, 0x82, 2)), (7 << 16, 7));
    }

    #[test]
    fn writes_ask_for_what_they_mean() {
        let mut hba = Hba::new("a", "one", 1, 2);
        assert_eq!(write(&mut hba, 0x08, 4, 1), Effect::Reset);
        assert_eq!(write(&mut hba, 0x48, 4, 0x5000_0000), Effect::Mailbox);
        assert_eq!(write(&mut hba, 0x1c, 4, 3), Effect::Requests);
        assert_eq!(hba.request.input, 3);
        assert_eq!(write(&mut hba, 0xff, 4, 3), Effect::None);
    }
}
