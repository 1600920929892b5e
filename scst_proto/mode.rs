// SPDX-License-Identifier: GPL-2.0

//! Mode pages and MODE SENSE (SPC-6 6.14, 7.5; SBC-4 6.5; MMC-6 7.2).
//!
//! Only two pages have anything to change, Caching (WCE) and Control; their values are a [`ModeValues`]. The others are
//! fixed, or follow from the capacity. See [`mode_select`](crate::mode_select) for the way back.

use crate::bytes::{u8_at, Writer};
use crate::opcode::PeripheralDeviceType;
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};

/// Mode page codes.
pub mod page {
    /// Read-Write Error Recovery (SBC-4 6.5.10).
    pub const ERROR_RECOVERY: u8 = 0x01;
    /// Disconnect-Reconnect (SPC-6 7.5.12).
    pub const DISCONNECT: u8 = 0x02;
    /// Format (obsolete, SBC-1).
    pub const FORMAT: u8 = 0x03;
    /// Rigid Disk Geometry (obsolete, SBC-1).
    pub const GEOMETRY: u8 = 0x04;
    /// Caching (SBC-4 6.5.6).
    pub const CACHING: u8 = 0x08;
    /// Control (SPC-6 7.5.10).
    pub const CONTROL: u8 = 0x0a;
    /// Informational Exceptions Control (SPC-6 7.5.14).
    pub const EXCEPTIONS: u8 = 0x1c;
    /// All pages.
    pub const ALL: u8 = 0x3f;
}

/// Bytes 2 to 5 of the Control mode page, where everything changeable is (SPC-6 table 449).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Control(pub [u8; 4]);

impl Control {
    /// What MODE SELECT may change: TMF_ONLY, DPICZ, D_SENSE; QUEUE ALGORITHM MODIFIER, QERR; SWP; TAS.
    pub const CHANGEABLE: Self = Self([0x1c, 0xf6, 0x08, 0x40]);

    /// The default: task set type `tst`, unrestricted reordering.
    pub const fn new(tst: u8) -> Self {
        Self([(tst & 7) << 5, 0x10, 0, 0])
    }

    /// The same with ATO, if the application tags of protection information are the initiators' (SBC-4 4.21.3).
    pub const fn with_ato(self, ato: bool) -> Self {
        let [a, b, c, d] = self.0;
        Self([a, b, c, if ato { d | 0x80 } else { d }])
    }

    /// TST: 0 one task set for all I_T nexuses, 1 one for each.
    pub const fn tst(self) -> u8 {
        self.0[0] >> 5
    }

    /// TMF_ONLY: only task management functions clear an ACA condition.
    pub const fn tmf_only(self) -> bool {
        self.0[0] & 0x10 != 0
    }

    /// DPICZ: do not check protection information when the protect field is zero.
    pub const fn dpicz(self) -> bool {
        self.0[0] & 0x08 != 0
    }

    /// D_SENSE: sense data in descriptor format.
    pub const fn d_sense(self) -> bool {
        self.0[0] & 0x04 != 0
    }

    /// QUEUE ALGORITHM MODIFIER: 0 restricted reordering, 1 unrestricted.
    pub const fn queue_algorithm(self) -> u8 {
        self.0[1] >> 4
    }

    /// QERR: what a CHECK CONDITION does to the other commands: 0 nothing, 1 abort all, 3 abort those of the nexus.
    pub const fn qerr(self) -> u8 {
        (self.0[1] >> 1) & 3
    }

    /// SWP: software write protect.
    pub const fn swp(self) -> bool {
        self.0[2] & 0x08 != 0
    }

    /// TAS: a command aborted by another nexus ends with TASK ABORTED instead of silence.
    pub const fn tas(self) -> bool {
        self.0[3] & 0x40 != 0
    }
}

/// The values of the changeable pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeValues {
    /// WCE of the Caching page: there is a volatile write cache.
    pub wce: bool,
    /// The Control page.
    pub control: Control,
}

/// What a device has to say in MODE SENSE.
#[derive(Clone, Copy, Debug)]
pub struct ModeDevice {
    /// PERIPHERAL DEVICE TYPE: a CD-ROM has fewer pages.
    pub pdt: PeripheralDeviceType,
    /// Number of logical blocks.
    pub blocks: u64,
    /// Logical block length in bytes.
    pub block_size: u32,
    /// WP: the medium is write-protected, for whatever reason, SWP included.
    pub write_protected: bool,
    /// DPOFUA: the FUA and DPO bits are evaluated.
    pub dpofua: bool,
    /// WCE may be changed (not with `write_through` or `nv_cache`).
    pub wce_changeable: bool,
    /// What is in force.
    pub current: ModeValues,
    /// What a reset restores.
    pub saved: ModeValues,
    /// The defaults.
    pub default: ModeValues,
}

/// PAGE CONTROL (SPC-6 table 192).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageControl {
    /// Values in force.
    Current,
    /// A mask of what can be changed.
    Changeable,
    /// Defaults.
    Default,
    /// What was saved.
    Saved,
}

/// A decoded MODE SENSE CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSense {
    /// MODE SENSE(10): the header has 8 bytes, not 4.
    pub long_header: bool,
    /// DBD: no block descriptor.
    pub dbd: bool,
    /// LLBAA: the block descriptor may be the long one.
    pub llbaa: bool,
    /// PC.
    pub control: PageControl,
    /// PAGE CODE.
    pub page: u8,
    /// SUBPAGE CODE.
    pub subpage: u8,
}

impl ModeSense {
    /// Decodes a MODE SENSE(6) or (10) CDB; `None` for any other.
    pub fn decode(cdb: &[u8]) -> Option<Self> {
        let long_header = match u8_at(cdb, 0)? {
            0x1a => false,
            0x5a => true,
            _ => return None,
        };
        let (flags, page) = (u8_at(cdb, 1)?, u8_at(cdb, 2)?);
        let control = match page >> 6 {
            0 => PageControl::Current,
            1 => PageControl::Changeable,
            2 => PageControl::Default,
            _ => PageControl::Saved,
        };
        Some(Self {
            long_header,
            dbd: flags & 0x08 != 0,
            llbaa: long_header && flags & 0x10 != 0,
            control,
            page: page & 0x3f,
            subpage: u8_at(cdb, 3)?,
        })
    }
}

/// The pages in the order in which they are returned.
const DISK_PAGES: &[u8] = &[
    page::ERROR_RECOVERY,
    page::DISCONNECT,
    page::FORMAT,
    page::CACHING,
    page::CONTROL,
    page::EXCEPTIONS,
    page::GEOMETRY,
];
const CDROM_PAGES: &[u8] = &[page::ERROR_RECOVERY, page::CONTROL, page::EXCEPTIONS];

/// The longest page here.
pub(crate) const MAX_PAGE: usize = 24;

impl ModeDevice {
    /// The codes of the pages that the device has.
    pub fn pages(&self) -> &'static [u8] {
        if self.pdt == PeripheralDeviceType::CDROM {
            CDROM_PAGES
        } else {
            DISK_PAGES
        }
    }

    fn values(&self, control: PageControl) -> ModeValues {
        match control {
            PageControl::Current => self.current,
            PageControl::Default => self.default,
            PageControl::Saved => self.saved,
            PageControl::Changeable => ModeValues {
                wce: self.wce_changeable,
                control: Control::CHANGEABLE,
            },
        }
    }

    /// Writes the page `code`; `false` if the device does not have it.
    pub(crate) fn page(&self, w: &mut Writer<'_>, code: u8, control: PageControl) -> bool {
        if !self.pages().contains(&code) {
            return false;
        }
        let values = self.values(control);
        // Pages with PS can be saved.
        let ps = match code {
            page::CONTROL => 0x80,
            page::CACHING if self.wce_changeable => 0x80,
            _ => 0,
        };
        w.u8(ps | code);
        let mask = control == PageControl::Changeable;
        match code {
            page::CACHING => {
                w.u8(0x12).u8(if values.wce { 0x04 } else { 0 }).zeros(9);
                // FSW, NUMBER OF CACHE SEGMENTS.
                w.bytes(if mask { &[0, 0] } else { &[0x80, 20] }).zeros(6);
            }
            page::CONTROL => {
                w.u8(0x0a).bytes(&values.control.0).zeros(4);
                // EXTENDED SELF-TEST COMPLETION TIME, seconds.
                w.be16(if mask { 0 } else { 587 });
            }
            _ => self.fixed_page(w, code, mask),
        }
        true
    }

    /// The pages without a changeable field; as a mask they are all zeros.
    fn fixed_page(&self, w: &mut Writer<'_>, code: u8, mask: bool) {
        const SECTORS_PER_TRACK: u16 = 56;
        const HEADS: u8 = 255;

        let len: u8 = match code {
            page::DISCONNECT => 0x0e,
            page::FORMAT | page::GEOMETRY => 0x16,
            _ => 0x0a,
        };
        w.u8(len);
        if mask {
            w.zeros(usize::from(len));
            return;
        }
        match code {
            // AWRE, ARRE; retry counts 1; RECOVERY TIME LIMIT none.
            page::ERROR_RECOVERY => w.bytes(&[0xc0, 1, 0, 0, 0, 0, 1, 0, 0xff, 0xff]),
            // Buffer full and empty ratio 1/2, bus inactivity 1 ms.
            page::DISCONNECT => w.bytes(&[0x80, 0x80, 0, 10]).zeros(10),
            // HSEC: hard sectors.
            page::FORMAT => w
                .zeros(8)
                .be16(SECTORS_PER_TRACK)
                .be16(self.block_size as u16)
                .zeros(6)
                .u8(0x40)
                .zeros(3),
            page::GEOMETRY => {
                let cylinder = u64::from(SECTORS_PER_TRACK).saturating_mul(u64::from(HEADS));
                let cylinders = self.blocks.div_ceil(cylinder).min(0xff_ffff) as u32;
                w.be24(cylinders).u8(HEADS).zeros(14).be16(15_000).zeros(2)
            }
            // DEXCPT: no exceptions are reported.
            _ => w.u8(0x08).zeros(9),
        };
    }

    /// DEVICE-SPECIFIC PARAMETER (SBC-4 6.5.1).
    fn device_specific(&self) -> u8 {
        let wp = if self.write_protected { 0x80 } else { 0 };
        let dpofua = if self.dpofua { 0x10 } else { 0 };
        wp | dpofua
    }

    /// The block descriptor (SPC-6 7.5.7.1, SBC-4 6.5.2): short, 8 bytes, or long, 16.
    fn block_descriptor(&self, w: &mut Writer<'_>, long: bool) {
        if long {
            w.be64(self.blocks).be32(0).be32(self.block_size);
        } else {
            w.be32(u32::try_from(self.blocks).unwrap_or(u32::MAX))
                .u8(0)
                .be24(self.block_size);
        }
    }

    /// Writes the whole answer to a MODE SENSE.
    ///
    /// Subpages FFh are accepted and add nothing, as there are none.
    pub fn mode_sense(&self, w: &mut Writer<'_>, request: &ModeSense) -> Result<(), Sense> {
        if !matches!(request.subpage, 0x00 | 0xff) {
            return Err(INVALID_FIELD_IN_CDB.in_cdb(3));
        }
        if request.page != page::ALL && !self.pages().contains(&request.page) {
            return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5));
        }
        let disk = self.pdt != PeripheralDeviceType::CDROM;
        let long_descriptor = request.llbaa && disk;
        let descriptor_len: u8 = match (request.dbd, long_descriptor) {
            (true, _) => 0,
            (false, false) => 8,
            (false, true) => 16,
        };
        // MEDIUM TYPE: MMC's 05h, a 120 mm data disc.
        let medium = if disk { 0x00 } else { 0x05 };
        let start = w.full_len();
        if request.long_header {
            let long_lba = u8::from(descriptor_len == 16);
            w.be16(0).u8(medium).u8(self.device_specific());
            w.u8(long_lba).u8(0).be16(u16::from(descriptor_len));
        } else {
            w.u8(0)
                .u8(medium)
                .u8(self.device_specific())
                .u8(descriptor_len);
        }
        if descriptor_len != 0 {
            self.block_descriptor(w, long_descriptor);
        }
        for &code in self.pages() {
            if request.page == page::ALL || request.page == code {
                self.page(w, code, request.control);
            }
        }
        // MODE DATA LENGTH does not count itself.
        let full = w.full_len().saturating_sub(start);
        if request.long_header {
            w.patch_be16(
                start,
                u16::try_from(full.saturating_sub(2)).unwrap_or(u16::MAX),
            );
        } else {
            w.patch_u8(
                start,
                u8::try_from(full.saturating_sub(1)).unwrap_or(u8::MAX),
            );
        }
        Ok(())
    }
}
