// SPDX-License-Identifier: GPL-2.0

//! Mode pages and MODE SENSE (SPC-6 6.14, 7.5; SBC-4 6.5; MMC-6 7.2).
//!
//! Few pages have anything to change, Caching (WCE), Control and, of thin disks whose space is counted, Logical Block
//! Provisioning with LBPERE of Read-Write Error Recovery; their values are a [`ModeValues`]. The others are fixed, or follow
//! from the capacity. See [`mode_select`](crate::mode_select) for the way back.

use crate::bytes::{be32, u8_at, Writer};
use crate::opcode::PeripheralDeviceType;
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};
use crate::threshold::{Threshold, Thresholds};

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

/// SUBPAGE CODE of Logical Block Provisioning (SBC-4 6.5.9), with [`page::EXCEPTIONS`].
pub const PROVISIONING: u8 = 0x02;
/// All subpages.
const ALL_SUBPAGES: u8 = 0xff;
/// SPF: the page has a subpage code, and a length of two bytes.
pub(crate) const SPF: u8 = 0x40;

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
    /// Thresholds of thin provisioning; without meaning where there are none.
    pub thresholds: Thresholds,
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
    /// There are thresholds of thin provisioning.
    pub thresholds: bool,
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

/// A page: PAGE CODE and SUBPAGE CODE.
pub(crate) type Code = (u8, u8);

/// The pages in the order in which they are returned.
const DISK_PAGES: &[Code] = &[
    (page::ERROR_RECOVERY, 0),
    (page::DISCONNECT, 0),
    (page::FORMAT, 0),
    (page::CACHING, 0),
    (page::CONTROL, 0),
    (page::EXCEPTIONS, 0),
    (page::EXCEPTIONS, PROVISIONING),
    (page::GEOMETRY, 0),
];
const CDROM_PAGES: &[Code] = &[
    (page::ERROR_RECOVERY, 0),
    (page::CONTROL, 0),
    (page::EXCEPTIONS, 0),
];

/// The longest page here.
pub(crate) const MAX_PAGE: usize = 32;
/// THRESHOLD RESOURCE and THRESHOLD ARMING of the two threshold descriptors (SBC-4 tables 202 and 203): log parameter of the
/// resource, and whether the threshold is an increasing one. THRESHOLD TYPE is 0, a number of threshold sets.
const DESCRIPTORS: [(u8, u8); 2] = [(0x01, 0), (0x02, 1)];

const ANY_THRESHOLD: Threshold = Threshold {
    enabled: true,
    count: u32::MAX,
};

/// The Logical Block Provisioning mode page.
fn provisioning_page(w: &mut Writer<'_>, thresholds: &Thresholds, mask: bool) {
    const PS: u8 = 0x80;
    const LENGTH: u16 = 12 + 8 * DESCRIPTORS.len() as u16;

    w.u8(PS | SPF | page::EXCEPTIONS).u8(PROVISIONING);
    w.be16(LENGTH).u8(u8::from(thresholds.situa)).zeros(11);
    let thresholds = [thresholds.available, thresholds.used];
    for (threshold, (resource, arming)) in thresholds.iter().zip(DESCRIPTORS) {
        let (resource, arming) = if mask { (0, 0) } else { (resource, arming) };
        w.u8((u8::from(threshold.enabled) << 7) | arming)
            .u8(resource);
        w.be16(0).be32(threshold.count);
    }
}

/// What a Logical Block Provisioning mode page of the right length says; LBPERE stays.
pub(crate) fn take_provisioning(page: &[u8], values: &mut Thresholds) {
    let byte = |at| u8_at(page, at).unwrap_or(0);
    let threshold = |at: usize| Threshold {
        enabled: byte(at) & 0x80 != 0,
        count: be32(page, at.saturating_add(4)).unwrap_or(0),
    };
    *values = Thresholds {
        report: values.report,
        situa: byte(4) & 1 != 0,
        available: threshold(16),
        used: threshold(24),
    };
}

impl ModeDevice {
    /// The pages that the device has.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Code> {
        let thresholds = self.thresholds;
        let pages = if self.pdt == PeripheralDeviceType::CDROM {
            CDROM_PAGES
        } else {
            DISK_PAGES
        };
        pages
            .iter()
            .copied()
            .filter(move |code| thresholds || *code != (page::EXCEPTIONS, PROVISIONING))
    }

    fn values(&self, control: PageControl) -> ModeValues {
        match control {
            PageControl::Current => self.current,
            PageControl::Default => self.default,
            PageControl::Saved => self.saved,
            PageControl::Changeable => ModeValues {
                wce: self.wce_changeable,
                control: Control::CHANGEABLE,
                thresholds: Thresholds {
                    report: true,
                    situa: true,
                    available: ANY_THRESHOLD,
                    used: ANY_THRESHOLD,
                },
            },
        }
    }

    /// Writes the page `code`; `false` if the device does not have it.
    pub(crate) fn page(&self, w: &mut Writer<'_>, code: Code, control: PageControl) -> bool {
        if !self.pages().any(|page| page == code) {
            return false;
        }
        let values = self.values(control);
        let mask = control == PageControl::Changeable;
        if code.1 != 0 {
            provisioning_page(w, &values.thresholds, mask);
            return true;
        }
        let code = code.0;
        // Pages with PS can be saved.
        let ps = match code {
            page::CONTROL => 0x80,
            page::CACHING if self.wce_changeable => 0x80,
            page::ERROR_RECOVERY if self.thresholds => 0x80,
            _ => 0,
        };
        w.u8(ps | code);
        match code {
            page::ERROR_RECOVERY => {
                let lbpere = u8::from(self.thresholds && values.thresholds.report) << 7;
                // AWRE, ARRE; retry counts 1; RECOVERY TIME LIMIT none.
                let rest: [u8; 10] = match mask {
                    true => [0, 0, 0, 0, 0, lbpere, 0, 0, 0, 0],
                    false => [0xc0, 1, 0, 0, 0, lbpere, 1, 0, 0xff, 0xff],
                };
                w.u8(0x0a).bytes(&rest);
            }
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
    pub fn mode_sense(&self, w: &mut Writer<'_>, request: &ModeSense) -> Result<(), Sense> {
        let of_page = |code: &Code| request.page == page::ALL || code.0 == request.page;
        let of_subpage = |code: &Code| match request.subpage {
            ALL_SUBPAGES => true,
            subpage => code.1 == subpage,
        };
        if !self.pages().any(|code| of_page(&code)) {
            return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5));
        }
        let all =
            request.page == page::ALL && request.subpage != 0 && request.subpage != ALL_SUBPAGES;
        if all || !self.pages().any(|code| of_page(&code) && of_subpage(&code)) {
            return Err(INVALID_FIELD_IN_CDB.in_cdb(3));
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
        for code in self.pages() {
            if of_page(&code) && of_subpage(&code) {
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
