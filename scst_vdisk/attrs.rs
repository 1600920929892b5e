// SPDX-License-Identifier: GPL-2.0

//! The sysfs attributes of virtual disks: tables of name, mode, show, store and
//! help. The core adds its own to the same directory.
//!
//! `[key]` below a value means that it is not the default one, so that
//! `scstadmin` saves it.

use crate::{
    disk::{Disk, DEFAULT_NULLIO_BYTES, DEFAULT_OPT_TRANS_LEN, DEFAULT_TST},
    log,
    medium::Medium,
    names::{BinaryId, Name, Names},
    unit::Unit,
};
use core::fmt::{Display, Write as _};
use kapi::sysfs::{Attr, Page};
use kernel::{prelude::*, str::CString, sync::atomic::Relaxed};
use scst_proto::{
    mgmt,
    number::{parse_bool, parse_max, parse_u32},
    options::Handler,
    sense::{CAPACITY_DATA_HAS_CHANGED, INQUIRY_DATA_HAS_CHANGED, THIN_SOFT_THRESHOLD},
};

/// Writes to the page, which cuts what does not fit and never fails.
macro_rules! emit {
    ($page:expr, $($arg:tt)*) => {{
        let _ = write!($page, $($arg)*);
    }};
}

/// Shows a value, and that it is a `key` value.
pub(crate) fn show(page: &mut Page<'_>, value: impl Display, key: bool) -> Result {
    emit!(page, "{}\n", value);
    if key {
        emit!(page, "[key]\n");
    }
    Ok(())
}

/// Shows a switch.
fn show_bool(page: &mut Page<'_>, on: bool, default: bool) -> Result {
    show(page, u8::from(on), on != default)
}

/// The errno of a text that the parser refused, after a log line.
pub(crate) fn refused(disk: &Disk, error: mgmt::Error<'_>) -> Error {
    log::error!("{}: {}", disk.name(), error);
    Error::from_errno(-error.errno().number())
}

pub(crate) fn text<'a>(disk: &Disk, bytes: &'a [u8]) -> Result<&'a str> {
    mgmt::text(bytes).map_err(|e| refused(disk, e))
}

fn switch(disk: &Disk, bytes: &[u8]) -> Result<bool> {
    parse_bool(text(disk, bytes)?).map_err(|e| refused(disk, e))
}

/// Stores a text of the identity and tells the initiators.
fn choose<const N: usize>(
    disk: &Disk,
    bytes: &[u8],
    what: &str,
    field: impl FnOnce(&mut Names) -> &mut Name<N>,
) -> Result {
    let text = text(disk, bytes)?;
    if text.chars().any(char::is_control) {
        log::error!(
            "{}: {} has characters that cannot be printed",
            disk.name(),
            what
        );
        return Err(EINVAL);
    }
    let chosen = field(&mut disk.names.lock()).choose(text);
    if let Err(max) = chosen {
        log::error!("{} is too long (max {} characters)", what, max);
        return Err(EINVAL);
    }
    log::info!("{} for device {} changed to {}", what, disk.name(), text);
    disk.unit_attention(INQUIRY_DATA_HAS_CHANGED);
    Ok(())
}

/// A row for a text of the identity.
macro_rules! name {
    ($name:literal, $field:ident, $what:literal, $help:literal) => {
        Attr::rw(
            $name,
            |d: &Disk, p| {
                let name = d.names.lock().$field;
                show(p, name.text.as_str(), name.set)
            },
            |d: &Disk, b| choose(d, b, $what, |n| &mut n.$field),
            $help,
        )
    };
}

/// Shows a binary identifier in hexadecimal; nothing if there is none.
fn show_id(page: &mut Page<'_>, id: BinaryId) -> Result {
    let bytes = id.as_bytes();
    if !bytes.is_empty() {
        emit!(page, "0x");
        for byte in bytes {
            emit!(page, "{:02x}", byte);
        }
    }
    show(page, "", !bytes.is_empty())
}

fn choose_id(
    disk: &Disk,
    bytes: &[u8],
    lengths: &[usize],
    field: impl FnOnce(&mut Names) -> &mut BinaryId,
) -> Result {
    let text = text(disk, bytes)?;
    let Some(id) = BinaryId::parse(text, lengths) else {
        log::error!(
            "{}: \"{}\" is no identifier: 0x and hexadecimal digits, {:?} bytes",
            disk.name(),
            text,
            lengths
        );
        return Err(EINVAL);
    };
    *field(&mut disk.names.lock()) = id;
    disk.unit_attention(INQUIRY_DATA_HAS_CHANGED);
    Ok(())
}

/// Who the device says it is: every virtual device.
pub(crate) static IDENTITY: &[Attr<Disk>] = &[
    Attr::rw(
        c"eui64_id",
        |d, p| {
            let id = d.names.lock().eui64;
            show_id(p, id)
        },
        |d, b| choose_id(d, b, &[8, 12, 16], |n| &mut n.eui64),
        "EUI-64 based identifier in VPD page 83h: 0x and 16, 24 or 32 hexadecimal digits.",
    ),
    name!(
        c"inq_vend_specific",
        inq_vend_specific,
        "INQUIRY vendor specific field",
        "Vendor specific bytes of the standard INQUIRY data."
    ),
    Attr::rw(
        c"naa_id",
        |d, p| {
            let id = d.names.lock().naa;
            show_id(p, id)
        },
        |d, b| choose_id(d, b, &[8, 16], |n| &mut n.naa),
        "NAA identifier in VPD page 83h: 0x and 16 or 32 hexadecimal digits.",
    ),
    name!(
        c"prod_id",
        product,
        "Product id",
        "PRODUCT IDENTIFICATION of INQUIRY."
    ),
    name!(
        c"prod_rev_lvl",
        revision,
        "Product revision level",
        "PRODUCT REVISION LEVEL of INQUIRY."
    ),
    name!(
        c"scsi_device_name",
        scsi_device_name,
        "SCSI device name",
        "SCSI name string in VPD page 83h."
    ),
    name!(
        c"t10_dev_id",
        t10_dev_id,
        "T10 device id",
        "Identifier of the device; the default EUI-64 begins with it."
    ),
    name!(
        c"t10_vend_id",
        vendor,
        "T10 vendor id",
        "T10 VENDOR IDENTIFICATION of INQUIRY."
    ),
    Attr::ro(
        c"tst",
        |d, p| show(p, d.conf.tst, d.conf.tst != DEFAULT_TST),
        "Task set type: 0 one for all initiators, 1 one for each.",
    ),
    name!(c"usn", usn, "USN", "Unit serial number, VPD page 80h."),
    name!(
        c"vend_specific_id",
        vend_specific_id,
        "Vendor specific id",
        "What follows the vendor in the T10 designator of VPD page 83h."
    ),
];

fn show_size(disk: &Disk, page: &mut Page<'_>) -> Result {
    show(page, disk.size(), !disk.conf.dummy)
}

fn show_size_mb(disk: &Disk, page: &mut Page<'_>) -> Result {
    show(page, disk.size() >> 20, false)
}

const SIZE_HELP: &str = "Size in bytes.";
const SIZE_MB_HELP: &str = "Size in MiB.";

/// The size of a device that cannot change it.
pub(crate) static FIXED_SIZE: &[Attr<Disk>] = &[
    Attr::ro(c"size", show_size, SIZE_HELP),
    Attr::ro(c"size_mb", show_size_mb, SIZE_MB_HELP),
];

/// The new size that was written, in bytes; `unit_shift` is log2 of its unit.
fn parse_size(disk: &Disk, bytes: &[u8], unit_shift: u32) -> Result<u64> {
    let most = u64::MAX >> unit_shift;
    let size = parse_max(text(disk, bytes)?, most).map_err(|e| refused(disk, e))? << unit_shift;
    let block = u64::from(disk.block_size());
    if size % block != 0 {
        log::error!(
            "{}: size {} is no multiple of the block size {}",
            disk.name(),
            size,
            block
        );
        return Err(EINVAL);
    }
    Ok(size)
}

fn store_null_size(disk: &Disk, bytes: &[u8], unit_shift: u32) -> Result {
    let size = match parse_size(disk, bytes, unit_shift)? {
        0 => DEFAULT_NULLIO_BYTES,
        size => size,
    };
    if disk.set_size(size) {
        disk.log_new_size();
        disk.unit_attention(CAPACITY_DATA_HAS_CHANGED);
    }
    Ok(())
}

/// Every disk.
pub(crate) static DISK: &[Attr<Disk>] = &[
    Attr::ro(
        c"blocksize",
        |d, p| {
            let size = d.block_size();
            show(p, size, size != d.conf.handler.default_block_size())
        },
        "Logical block size in bytes.",
    ),
    Attr::rw(
        c"cluster_mode",
        |_, p| show_bool(p, false, false),
        |d, b| match switch(d, b)? {
            false => Ok(()),
            true => Err(crate::refuse_cluster_mode(d.name())),
        },
        "Whether persistent reservations are shared in a cluster; not supported.",
    ),
    Attr::rw(
        c"opt_trans_len",
        |d, p| {
            let len = d.opt_trans_len.load(Relaxed);
            show(p, len, len != DEFAULT_OPT_TRANS_LEN)
        },
        |d, b| {
            let len = parse_u32(text(d, b)?).map_err(|e| refused(d, e))?;
            if len % d.block_size() != 0 {
                log::error!(
                    "{}: opt_trans_len {} is no multiple of the block size",
                    d.name(),
                    len
                );
                return Err(EINVAL);
            }
            d.opt_trans_len.store(len, Relaxed);
            d.unit_attention(INQUIRY_DATA_HAS_CHANGED);
            Ok(())
        },
        "Transfer length in bytes that VPD page B0h recommends.",
    ),
    Attr::ro(
        c"read_only",
        |d, p| show_bool(p, d.conf.read_only, false),
        "Whether writes are refused.",
    ),
    Attr::ro(
        c"removable",
        |d, p| show_bool(p, d.conf.removable, false),
        "Whether INQUIRY calls the medium removable.",
    ),
    Attr::ro(
        c"rotational",
        |d, p| show_bool(p, d.conf.rotational, true),
        "Whether VPD page B1h says that the medium rotates.",
    ),
];

/// A nullio disk.
pub(crate) static NULLIO: &[Attr<Disk>] = &[
    Attr::ro(
        c"dummy",
        |d, p| show_bool(p, d.conf.dummy, false),
        "Whether this is no disk but fills a LUN.",
    ),
    Attr::rw(
        c"read_zero",
        |d, p| show_bool(p, d.read_zero.get(), false),
        |d, b| {
            d.read_zero.set(switch(d, b)?);
            Ok(())
        },
        "Whether reads have to return zeros. They do in any case.",
    ),
    Attr::rw(
        c"size",
        show_size,
        |d, b| store_null_size(d, b, 0),
        SIZE_HELP,
    ),
    Attr::rw(
        c"size_mb",
        show_size_mb,
        |d, b| store_null_size(d, b, 20),
        SIZE_MB_HELP,
    ),
];

/// A disk in a file or on a block device, what does not concern the medium.
pub(crate) static STORED: &[Attr<Disk>] = &[
    Attr::rw(
        c"bind_alua_state",
        |d, p| {
            let default = d.conf.handler == Handler::BlockIo;
            show_bool(p, d.bind_alua_state.get(), default)
        },
        |d, b| {
            d.bind_alua_state.set(switch(d, b)?);
            Ok(())
        },
        "Whether the medium is closed in ALUA states that serve no I/O.",
    ),
    Attr::rw(
        c"expl_alua",
        |d, p| show_bool(p, d.expl_alua.get(), false),
        |d, b| {
            d.expl_alua.set(switch(d, b)?);
            d.unit_attention(INQUIRY_DATA_HAS_CHANGED);
            Ok(())
        },
        "Whether initiators may set ALUA states (SET TARGET PORT GROUPS).",
    ),
    Attr::rw(
        c"lb_per_pb_exp",
        |d, p| show_bool(p, d.lb_per_pb_exp.get(), true),
        |d, b| {
            d.lb_per_pb_exp.set(switch(d, b)?);
            d.unit_attention(CAPACITY_DATA_HAS_CHANGED);
            Ok(())
        },
        "Whether READ CAPACITY(16) tells the physical block size.",
    ),
    Attr::ro(
        c"nv_cache",
        |d, p| show_bool(p, d.conf.nv_cache, false),
        "Whether the cache survives a power failure, so that no flush is needed.",
    ),
    Attr::ro(
        c"thin_provisioned",
        |d, p| {
            // The default of a block device is what it can do.
            let chosen = match d.conf.thin {
                Some(false) => d.conf.handler == Handler::BlockIo,
                chosen => chosen.is_some(),
            };
            show(p, u8::from(d.thin.get()), chosen)
        },
        "Whether unused blocks can be given back (UNMAP).",
    ),
    Attr::ro(
        c"write_through",
        |d, p| show_bool(p, d.conf.write_through, false),
        "Whether each write goes to stable storage.",
    ),
];

/// A thin disk.
pub(crate) static THIN: &[Attr<Disk>] = &[Attr::wo(
    c"gen_tp_soft_threshold_reached_UA",
    |d, _| {
        d.unit_attention(THIN_SOFT_THRESHOLD);
        Ok(())
    },
    "A write tells all initiators that the space is running out.",
)];

/// A disk in a file.
pub(crate) static FILEIO: &[Attr<Disk>] = &[
    Attr::rw(
        c"async",
        |d, p| show_bool(p, d.async_io.get(), false),
        |d, b| {
            let on = switch(d, b)?;
            if !on && d.conf.o_direct {
                log::error!("{}: o_direct is not possible without async", d.name());
                return Err(EINVAL);
            }
            d.async_io.set(on);
            Ok(())
        },
        "Whether a thread goes on before a transfer has ended.",
    ),
    Attr::ro(
        c"o_direct",
        |d, p| show_bool(p, d.conf.o_direct, false),
        "Whether transfers go past the page cache.",
    ),
];

/// Shows where the medium is. Clients expect an empty line below it.
fn show_filename<S: Medium>(unit: &Unit<S>, page: &mut Page<'_>) -> Result {
    let show_path = |path: &str| show(page, path, path != "none");
    unit.store.backing().with_path(show_path)?;
    emit!(page, "\n");
    Ok(())
}

fn path(disk: &Disk, bytes: &[u8]) -> Result<CString> {
    let path = mgmt::absolute(text(disk, bytes)?).map_err(|e| refused(disk, e))?;
    CString::try_from_fmt(fmt!("{}", path))
}

const FILENAME_HELP: &str = "Path of the medium.";

impl<S: Medium> Unit<S> {
    /// The medium of a disk.
    pub(crate) const MEDIUM: &'static [Attr<Self>] = &[
        Attr::rw(
            c"active",
            |u, p| show_bool(p, u.disk.ready.get(), true),
            |u, b| {
                match switch(&u.disk, b)? {
                    true => u.activate()?,
                    false => u.deactivate(),
                }
                Ok(())
            },
            "Whether the medium is open; an inactive disk serves no I/O.",
        ),
        Attr::rw(
            c"filename",
            show_filename,
            |u, b| u.rename(path(&u.disk, b)?),
            FILENAME_HELP,
        ),
        Attr::wo(
            c"resync_size",
            |u, _| u.resync_size(),
            "A write reads the medium's size again.",
        ),
        Attr::wo(
            c"sync",
            |u, _| u.sync(),
            "A write brings all data to stable storage.",
        ),
    ];

    /// The size of a disk that need not be as long as its medium.
    pub(crate) const SIZE: &'static [Attr<Self>] = &[
        Attr::rw(
            c"size",
            |u, p| show_size(&u.disk, p),
            |u, b| u.shrink(parse_size(&u.disk, b, 0)?),
            SIZE_HELP,
        ),
        Attr::rw(
            c"size_mb",
            |u, p| show_size_mb(&u.disk, p),
            |u, b| u.shrink(parse_size(&u.disk, b, 20)?),
            SIZE_MB_HELP,
        ),
    ];

    /// The medium of a drive.
    pub(crate) const DRIVE: &'static [Attr<Self>] = &[Attr::rw(
        c"filename",
        show_filename,
        |u, b| crate::cdrom::change(u, text(&u.disk, b)?),
        "Path of the disc's image; an empty line takes the disc out.",
    )];
}
