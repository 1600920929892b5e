// SPDX-License-Identifier: GPL-2.0

//! INQUIRY: standard data and vital product data pages (SPC-6 6.7, 7.7; SBC-4 6.6).
//!
//! The builders take plain borrowed values and write through a [`Writer`], which cuts at the allocation length. The
//! layout - which designators in which order, which reserved lengths - is what initiators of SCST installations
//! have always seen, so that a disk keeps its identity when modules are swapped.

use crate::atomic;
use crate::bytes::{u8_at, Writer};
use crate::copy;
use crate::opcode::PeripheralDeviceType;
use crate::protection::Format;
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};

/// Who a logical unit is.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// PERIPHERAL DEVICE TYPE.
    pub pdt: PeripheralDeviceType,
    /// RMB: the medium is removable.
    pub removable: bool,
    /// T10 VENDOR IDENTIFICATION, at most 8 bytes of ASCII.
    pub vendor: &'a [u8],
    /// PRODUCT IDENTIFICATION, at most 16 bytes.
    pub product: &'a [u8],
    /// PRODUCT REVISION LEVEL, at most 4 bytes.
    pub revision: &'a [u8],
    /// Vendor specific bytes 36 to 55 of the standard data, at most 20.
    pub vendor_specific: &'a [u8],
    /// Unit serial number (`usn`).
    pub serial: &'a [u8],
    /// What follows the vendor in the T10 vendor ID designator (`vend_specific_id`).
    pub vendor_specific_id: &'a [u8],
    /// EUI-64 based identifier: 8, 12 or 16 bytes; empty for none.
    pub eui64: &'a [u8],
    /// NAA identifier: 8 or 16 bytes; empty for none.
    pub naa: &'a [u8],
    /// SCSI name string (`scsi_device_name`); empty for none.
    pub scsi_name: &'a [u8],
    /// 3PC: EXTENDED COPY is supported.
    pub third_party_copy: bool,
    /// PROTECT and, in VPD page 86h, type and checks of protection information; `None` without.
    pub protection: Option<Format>,
    /// V_SUP: there is a volatile cache, which FUA and SYNCHRONIZE CACHE are about.
    pub volatile_cache: bool,
}

/// Through which port it is seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Port<'a> {
    /// RELATIVE TARGET PORT IDENTIFIER; 0 while none is assigned.
    pub relative_target_port: u16,
    /// TARGET PORT GROUP, if the device is in a device group.
    pub target_port_group: Option<u16>,
    /// TPGS: 0 none, 1 implicit, 2 explicit, 3 both (SPC-6 table 155).
    pub tpgs: u8,
    /// VERSION DESCRIPTORs of the transport (SPC-6 annex D), e.g. 0BE0h SAS; zeros are left out.
    pub transport_versions: &'a [u16],
}

/// VERSION: SPC-4, as SCST has always said.
pub const VERSION_SPC4: u8 = 0x06;
/// VERSION DESCRIPTOR: SAM-4 (T10/1683-D revision 14).
pub const SAM4: u16 = 0x008b;
/// VERSION DESCRIPTOR: SPC-4, revision 23.
pub const SPC4: u16 = 0x0463;
/// VERSION DESCRIPTOR: SBC-3.
pub const SBC3: u16 = 0x04c0;

/// Writes standard INQUIRY data (SPC-6 6.7.2).
pub fn standard(w: &mut Writer<'_>, id: &Identity<'_>, port: &Port<'_>) {
    let start = w.full_len();
    let third_party = if id.third_party_copy { 0x08 } else { 0 };
    let protect = u8::from(id.protection.is_some());
    w.u8(id.pdt.0 & 0x1f)
        .u8(if id.removable { 0x80 } else { 0 })
        .u8(VERSION_SPC4)
        .u8(0x22) // NORMACA, RESPONSE DATA FORMAT 2
        .u8(0) // ADDITIONAL LENGTH, below
        .u8((port.tpgs & 3).wrapping_shl(4) | third_party | protect)
        .u8(0x10) // MULTIP
        .u8(0x02) // CMDQUE
        .padded(id.vendor, 8, b' ')
        .padded(id.product, 16, b' ')
        .padded(id.revision, 4, b' ')
        .padded(id.vendor_specific, 20, 0)
        .zeros(2);
    w.be16(SAM4);
    for version in port.transport_versions.iter().filter(|v| **v != 0).take(4) {
        w.be16(*version);
    }
    w.be16(SPC4);
    if id.pdt == PeripheralDeviceType::DISK {
        w.be16(SBC3);
    }
    // 74 bytes at most.
    let additional = w
        .full_len()
        .saturating_sub(start)
        .saturating_sub(5)
        .min(0xff) as u8;
    w.patch_u8(start.saturating_add(4), additional);
}

/// The standard data of a LUN without a logical unit: PERIPHERAL QUALIFIER 011b, type 1Fh (SPC-6 table 156).
pub fn no_logical_unit(w: &mut Writer<'_>) {
    w.bytes(&[0x7f, 0, VERSION_SPC4, 0x22, 31, 0, 0, 0])
        .padded(b"SCST", 8, b' ')
        .fill(b' ', 16 + 4);
}

/// Transfer limits, VPD page B0h (SBC-4 6.6.4). Lengths are in logical blocks; 0 is: not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// WSNZ: WRITE SAME of zero blocks is refused.
    pub wsnz: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH.
    pub max_compare_and_write: u8,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY.
    pub granularity: u16,
    /// MAXIMUM TRANSFER LENGTH.
    pub max_transfer: u32,
    /// OPTIMAL TRANSFER LENGTH.
    pub optimal_transfer: u32,
    /// MAXIMUM WRITE SAME LENGTH.
    pub max_write_same: u64,
    /// What UNMAP can do; `None` when the device is not thin.
    pub unmap: Option<UnmapLimits>,
    /// What WRITE ATOMIC can do; `None` when there is none.
    pub atomic: Option<atomic::Limits>,
}

/// Limits of UNMAP in logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapLimits {
    /// MAXIMUM UNMAP LBA COUNT; FFFF_FFFFh: no limit.
    pub max_lba_count: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT; FFFF_FFFFh: no limit.
    pub max_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY.
    pub granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT, when it is known (31 bits).
    pub alignment: Option<u32>,
}

/// The largest transfer in bytes that a virtual disk announces.
pub const MAX_TRANSFER_BYTES: u64 = 8 << 20;
/// The transfer in bytes that a virtual disk likes best.
pub const OPTIMAL_TRANSFER_BYTES: u64 = 512 << 10;
/// The largest WRITE SAME, and UNMAP of a file, in bytes.
pub const MAX_WRITE_SAME_BYTES: u64 = 256 << 20;
/// The most UNMAP block descriptors that a parameter list can hold: its length has 16 bits (SBC-4 5.35.2).
pub const MAX_UNMAP_DESCRIPTORS: u32 = (u16::MAX as u32 - 8) / 16;
/// The transfer granularity in bytes: a page.
const GRANULARITY_BYTES: u64 = 4096;

impl Limits {
    /// The limits of a virtual disk with blocks of `1 << block_shift` bytes.
    pub fn for_block_shift(block_shift: u32) -> Self {
        let blocks = |bytes: u64| {
            u32::try_from(bytes.checked_shr(block_shift).unwrap_or(0)).unwrap_or(u32::MAX)
        };
        Self {
            wsnz: true,
            max_compare_and_write: 255,
            granularity: u16::try_from(blocks(GRANULARITY_BYTES).max(1)).unwrap_or(1),
            max_transfer: blocks(MAX_TRANSFER_BYTES),
            optimal_transfer: blocks(OPTIMAL_TRANSFER_BYTES),
            max_write_same: u64::from(blocks(MAX_WRITE_SAME_BYTES)),
            unmap: None,
            atomic: None,
        }
    }

    /// The same for a disk that keeps nothing and has no COMPARE AND WRITE and no WRITE SAME.
    pub fn void(block_shift: u32) -> Self {
        Self {
            max_compare_and_write: 0,
            max_write_same: 0,
            ..Self::for_block_shift(block_shift)
        }
    }

    /// The same with the UNMAP limits of a file: as much as WRITE SAME.
    pub fn thin_file(block_shift: u32) -> Self {
        let plain = Self::for_block_shift(block_shift);
        Self {
            unmap: Some(UnmapLimits {
                max_lba_count: u32::try_from(plain.max_write_same).unwrap_or(u32::MAX),
                max_descriptors: MAX_UNMAP_DESCRIPTORS,
                granularity: 1,
                alignment: None,
            }),
            ..plain
        }
    }
}

/// What else VPD pages tell about a block device; a CD-ROM has none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPages {
    /// Page B0h.
    pub limits: Limits,
    /// MEDIUM ROTATION RATE of page B1h: [`NON_ROTATING`], or revolutions a minute.
    pub rotation_rate: u16,
    /// Page B2h, when the device is thin provisioned.
    pub provisioning: Option<Provisioning>,
    /// Page 8Fh, when third-party copy commands are carried out: log2 of the logical block length.
    pub copies: Option<u32>,
}

/// MEDIUM ROTATION RATE of a solid state medium.
pub const NON_ROTATING: u16 = 1;
/// MEDIUM ROTATION RATE of a `rotational` virtual disk.
pub const ROTATING: u16 = 15_000;

/// Logical block provisioning, VPD page B2h (SBC-4 6.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provisioning {
    /// LBPU: UNMAP is supported.
    pub lbpu: bool,
    /// LBPWS: WRITE SAME(16) with UNMAP is supported.
    pub lbpws: bool,
    /// LBPWS10: WRITE SAME(10) with UNMAP is supported.
    pub lbpws10: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub lbprz: bool,
    /// THRESHOLD EXPONENT: log2 of a threshold set in logical blocks; 0 without thresholds.
    pub exponent: u8,
}

impl Provisioning {
    /// A thin virtual disk.
    pub const fn thin(lbprz: bool) -> Self {
        Self {
            lbpu: true,
            lbpws: true,
            lbpws10: true,
            lbprz,
            exponent: 0,
        }
    }
}

/// VPD PAGE CODEs.
pub mod page {
    /// Supported VPD pages (SPC-6 7.7.16).
    pub const SUPPORTED: u8 = 0x00;
    /// Unit serial number (SPC-6 7.7.19).
    pub const SERIAL: u8 = 0x80;
    /// Device identification (SPC-6 7.7.6).
    pub const IDENTIFICATION: u8 = 0x83;
    /// Extended INQUIRY data (SPC-6 7.7.7).
    pub const EXTENDED: u8 = 0x86;
    /// Third-party copy (SPC-6 7.7.18).
    pub const COPY: u8 = 0x8f;
    /// Block limits (SBC-4 6.6.4).
    pub const LIMITS: u8 = 0xb0;
    /// Block device characteristics (SBC-4 6.6.2).
    pub const CHARACTERISTICS: u8 = 0xb1;
    /// Logical block provisioning (SBC-4 6.6.7).
    pub const PROVISIONING: u8 = 0xb2;
}

/// Answers an INQUIRY: standard data or the VPD page that byte 1 and 2 of the CDB ask for.
///
/// `block` is `None` for a CD-ROM.
pub fn inquiry(
    w: &mut Writer<'_>,
    evpd: bool,
    page_code: u8,
    id: &Identity<'_>,
    port: &Port<'_>,
    block: Option<&BlockPages>,
) -> Result<(), Sense> {
    if !evpd {
        if page_code != 0 {
            return Err(INVALID_FIELD_IN_CDB.in_cdb(2));
        }
        standard(w, id, port);
        return Ok(());
    }
    let provisioning = block.and_then(|b| b.provisioning.as_ref());
    let copies = block.and_then(|b| b.copies);
    if let (page::COPY, Some(shift)) = (page_code, copies) {
        third_party_copy(w, id.pdt.0, shift);
        return Ok(());
    }
    let start = w.full_len();
    w.u8(id.pdt.0 & 0x1f).u8(page_code).be16(0);
    match (page_code, block, provisioning) {
        (page::SUPPORTED, _, _) => {
            w.bytes(&[
                page::SUPPORTED,
                page::SERIAL,
                page::IDENTIFICATION,
                page::EXTENDED,
            ]);
            if copies.is_some() {
                w.u8(page::COPY);
            }
            if block.is_some() {
                w.bytes(&[page::LIMITS, page::CHARACTERISTICS]);
            }
            if provisioning.is_some() {
                w.u8(page::PROVISIONING);
            }
        }
        (page::SERIAL, _, _) => {
            w.bytes(id.serial);
        }
        (page::IDENTIFICATION, _, _) => identification(w, id, port),
        (page::EXTENDED, _, _) => extended(w, id),
        (page::LIMITS, Some(b), _) => limits(w, &b.limits),
        (page::CHARACTERISTICS, Some(b), _) => {
            w.be16(b.rotation_rate).zeros(58);
        }
        (page::PROVISIONING, _, Some(p)) => {
            let bits = [
                (p.lbpu, 0x80),
                (p.lbpws, 0x40),
                (p.lbpws10, 0x20),
                (p.lbprz, 0x04),
            ];
            let byte = bits.iter().filter(|b| b.0).fold(0, |acc, b| acc | b.1);
            // PROVISIONING TYPE 2: thin; no percentages.
            w.bytes(&[p.exponent, byte, 0x02, 0]);
        }
        _ => return Err(INVALID_FIELD_IN_CDB.in_cdb(2)),
    }
    patch_length(w, start);
    Ok(())
}

/// Sets the PAGE LENGTH of the page that begins at `start`.
fn patch_length(w: &mut Writer<'_>, start: usize) {
    let length = w.full_len().saturating_sub(start).saturating_sub(4);
    w.patch_be16(
        start.saturating_add(2),
        u16::try_from(length).unwrap_or(u16::MAX),
    );
}

/// Appends a designation descriptor (SPC-6 7.7.6.1).
fn designator(w: &mut Writer<'_>, code_set: u8, association_and_type: u8, parts: &[&[u8]]) {
    let length = parts
        .iter()
        .fold(0usize, |sum, p| sum.saturating_add(p.len()));
    w.bytes(&[
        code_set,
        association_and_type,
        0,
        u8::try_from(length).unwrap_or(u8::MAX),
    ]);
    for part in parts {
        w.bytes(part);
    }
}

/// Largest page 83h.
const MAX_IDENTIFICATION: usize = 704;

/// Whether `designator` is one of those of page 83h that are the logical unit's own, as copy sources and destinations
/// are told (SPC-6 6.5.6.5).
pub fn is_designated(id: &Identity<'_>, code_set: u8, kind: u8, designator: &[u8]) -> bool {
    let mut buf = [0; MAX_IDENTIFICATION];
    let mut w = Writer::new(&mut buf);
    identification(&mut w, id, &Port::default());
    designates(w.as_bytes(), code_set, kind, designator)
}

/// Designation descriptors (SPC-6 7.7.6.1), what follows the header of page 83h: code set, association and type, designator.
fn designators(page: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    let mut rest = page;
    core::iter::from_fn(move || {
        let (set, what, len) = (u8_at(rest, 0)?, u8_at(rest, 1)?, u8_at(rest, 3)?);
        let end = usize::from(len).saturating_add(4);
        let name = rest.get(4..end)?;
        rest = rest.get(end..).unwrap_or(&[]);
        Some((set & 0x0f, what & 0x3f, name))
    })
}

/// Whether a designator is one of a logical unit's own in `page`, what follows the header of its page 83h.
pub fn designates(page: &[u8], code_set: u8, kind: u8, designator: &[u8]) -> bool {
    // Association 0: the logical unit.
    kind & 0x30 == 0 && designators(page).any(|found| found == (code_set, kind, designator))
}

/// NAA and EUI-64 designator types.
const NAA: u8 = 3;
const EUI64: u8 = 2;

/// The logical unit as an Identification Descriptor CSCD descriptor, by its shortest binary designator (SPC-6 6.5.6.5).
pub fn cscd(id: &Identity<'_>, block_length: u32) -> [u8; 32] {
    let (kind, name) = match (id.naa, id.eui64) {
        ([], eui64) => (EUI64, eui64),
        (naa, _) => (NAA, naa),
    };
    cscd_of(id.pdt.0, (1, kind, name), block_length)
}

/// The same of another logical unit, by what follows the header of its page 83h; `None` if no designator is its own and fits.
pub fn cscd_of_page(page: &[u8], pdt: u8, block_length: u32) -> Option<[u8; 32]> {
    let own = |wanted: u8| {
        designators(page).find(|(_, kind, name)| *kind == wanted && name.len() <= CSCD_DESIGNATOR)
    };
    let best = own(NAA).or_else(|| own(EUI64)).or_else(|| own(1))?;
    Some(cscd_of(pdt, best, block_length))
}

/// Longest designator of a CSCD descriptor.
const CSCD_DESIGNATOR: usize = 20;

fn cscd_of(pdt: u8, (code_set, kind, name): (u8, u8, &[u8]), block_length: u32) -> [u8; 32] {
    let name = name.get(..CSCD_DESIGNATOR).unwrap_or(name);
    let mut descriptor = [0; 32];
    Writer::new(&mut descriptor)
        .bytes(&[copy::list::CSCD_IDENTIFICATION, pdt & 0x1f, 0, 0])
        .bytes(&[code_set, kind, 0, name.len() as u8])
        .padded(name, CSCD_DESIGNATOR, 0)
        .u8(0)
        .be24(block_length);
    descriptor
}

/// Page 8Fh (SPC-6 7.7.18) of a logical unit with blocks of `1 << block_shift` bytes.
pub fn third_party_copy(w: &mut Writer<'_>, pdt: u8, block_shift: u32) {
    let start = w.full_len();
    w.u8(pdt & 0x1f).u8(page::COPY).be16(0);
    copy::report::vpd(w, block_shift);
    patch_length(w, start);
}

/// What another device has answered to INQUIRY, standard data or, with `evpd`, page 00h, with third-party copy in it: 3PC, or
/// page 8Fh in the list.
pub fn with_third_party_copy(w: &mut Writer<'_>, evpd: bool, answer: &[u8]) {
    if !evpd {
        for (at, byte) in answer.iter().enumerate() {
            w.u8(if at == 5 { byte | 0x08 } else { *byte });
        }
        return;
    }
    let start = w.full_len();
    let (head, pages) = answer.split_at_checked(4).unwrap_or((answer, &[]));
    w.bytes(head);
    let copied = |pages: &mut Writer<'_>, wanted: fn(&u8) -> bool, all: &[u8]| {
        for page in all.iter().filter(|page| wanted(page)) {
            pages.u8(*page);
        }
    };
    copied(w, |page| *page < page::COPY, pages);
    w.u8(page::COPY);
    copied(w, |page| *page > page::COPY, pages);
    patch_length(w, start);
}

/// Page 83h: T10 vendor ID, NAA and EUI-64 of the logical unit, then the target port's designators.
fn identification(w: &mut Writer<'_>, id: &Identity<'_>, port: &Port<'_>) {
    const BINARY: u8 = 1;
    const ASCII: u8 = 2;
    const UTF8: u8 = 3;
    const TARGET_PORT: u8 = 0x10;

    let mut vendor = [b' '; 8];
    crate::bytes::copy(&mut vendor, id.vendor);
    let specific = id.vendor_specific_id;
    designator(
        w,
        ASCII,
        0x01,
        &[&vendor, specific.get(..247).unwrap_or(specific)],
    );
    if !id.naa.is_empty() {
        designator(w, BINARY, 0x03, &[id.naa.get(..16).unwrap_or(id.naa)]);
    }
    if !id.eui64.is_empty() {
        designator(w, BINARY, 0x02, &[id.eui64.get(..16).unwrap_or(id.eui64)]);
    }
    if !id.scsi_name.is_empty() {
        // Null-terminated and padded to a multiple of four (SPC-6 7.7.6.11).
        let name = id.scsi_name.get(..247).unwrap_or(id.scsi_name);
        let pad = 4usize.saturating_sub(name.len() & 3);
        designator(w, UTF8, 0x08, &[name, [0u8; 4].get(..pad).unwrap_or(&[0])]);
    }
    let [hi, lo] = port.relative_target_port.to_be_bytes();
    designator(w, BINARY, TARGET_PORT | 0x04, &[&[0, 0, hi, lo]]);
    if let Some(group) = port.target_port_group {
        let [hi, lo] = group.to_be_bytes();
        designator(w, BINARY, TARGET_PORT | 0x05, &[&[0, 0, hi, lo]]);
    }
}

/// Page 86h: 64 bytes.
fn extended(w: &mut Writer<'_>, id: &Identity<'_>) {
    let checks = id.protection.map_or(0, |format| {
        let checks = format.checks();
        let bits = [(checks.guard, 4), (checks.app, 2), (checks.reference, 1)];
        let bits = bits.iter().filter(|b| b.0).fold(0, |acc, b| acc | b.1);
        format.kind.spt().wrapping_shl(3) | bits
    });
    w.u8(checks)
        .u8(0x07) // HEADSUP, ORDSUP, SIMPSUP
        .u8(if id.volatile_cache { 0x01 } else { 0 }) // V_SUP
        .u8(0x01) // LUICLR
        .zeros(56);
}

/// What follows the header of page B0h: 60 bytes.
pub fn limits(w: &mut Writer<'_>, l: &Limits) {
    w.u8(u8::from(l.wsnz))
        .u8(l.max_compare_and_write)
        .be16(l.granularity)
        .be32(l.max_transfer)
        .be32(l.optimal_transfer)
        .be32(0); // MAXIMUM PREFETCH LENGTH
    match &l.unmap {
        Some(u) => {
            let alignment = u.alignment.map_or(0, |a| 0x8000_0000 | (a & 0x7fff_ffff));
            w.be32(u.max_lba_count)
                .be32(u.max_descriptors)
                .be32(u.granularity)
                .be32(alignment);
        }
        None => {
            w.zeros(16);
        }
    }
    w.be64(l.max_write_same);
    match &l.atomic {
        Some(a) => {
            // ATOMIC ALIGNMENT: 0 is any. ATOMIC TRANSFER LENGTH GRANULARITY: where it is 0 Linux computes with the physical
            // block, which it does not know when a logical unit goes while it looks. No ATOMIC BOUNDARY.
            let unit = a.granularity.max(1);
            let alignment = if unit > 1 { unit } else { 0 };
            w.be32(a.max).be32(alignment).be32(unit).zeros(8);
        }
        None => {
            w.zeros(20);
        }
    }
}
