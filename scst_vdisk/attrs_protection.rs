// SPDX-License-Identifier: GPL-2.0

//! The attributes of disks with protection information, `dif_*`.

use crate::{
    attrs::{refused, show, text},
    disk::Disk,
    log,
    medium::Medium,
    protected::Protected,
    unit::Unit,
};
use core::fmt;
use kapi::sysfs::{Attr, Group};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{
    number::parse_u64,
    options::{DifMode, VdiskOptions},
    protection::Kind,
};

/// Words of a set, with `|` between; `None` if it is empty.
struct Mode(DifMode);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.0.words();
        f.write_str(words.next().unwrap_or("None"))?;
        words.try_for_each(|word| write!(f, "|{}", word))
    }
}

/// What the log is told of a new device's protection information.
pub(crate) struct Announced<'a>(pub(crate) &'a VdiskOptions<'a>);

impl fmt::Display for Announced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.0;
        if options.dif_mode != DifMode(0) {
            write!(f, ", DIF MODE {:x}", options.dif_mode.0)?;
        }
        if options.dif_type != 0 {
            write!(f, ", DIF TYPE {}", options.dif_type)?;
        }
        if options.dif_static_app_tag != 0 {
            write!(f, ", DIF STATIC APP TAG {:x}", options.dif_static_app_tag)?;
        }
        match options.dif_filename {
            Some(path) => write!(f, ", DIF FILENAME {}", path),
            None => Ok(()),
        }
    }
}

/// As much of `dif_static_app_tag` as the disk's type has.
fn shown_tag(disk: &Disk, tag: u64) -> u64 {
    match disk.protection().map(|p| p.kind) {
        Some(Kind::Type3) => tag & 0xffff_ffff_ffff,
        _ => tag & 0xffff,
    }
}

/// A disk that was added with a `dif_type`.
pub(crate) static DIF: &[Attr<Disk>] = &[
    Attr::ro(
        c"dif_mode",
        |d, p| {
            let mode = d.protection().map_or(DifMode(0), |p| p.mode);
            show(p, Mode(mode), mode != DifMode(0))
        },
        "Who checks protection information (tgt, scst, dev_check), and whether it is stored (dev_store).",
    ),
    Attr::rw(
        c"dif_static_app_tag",
        |d, p| {
            let tag = shown_tag(d, d.dif_tag.load(Relaxed));
            show(p, format_args!("0x{:x}", tag), tag != 0)
        },
        |d, b| {
            let tag = parse_u64(text(d, b)?).map_err(|e| refused(d, e))?;
            let tag = shown_tag(d, tag);
            d.dif_tag.store(tag, Relaxed);
            log::info!("APP TAG for device {} changed to {:x}", d.name(), tag);
            Ok(())
        },
        "Application tag that all blocks have to have, 0 for any; with type 3 bits 16 to 47 are the reference tag. \
         Not for type 2.",
    ),
    Attr::ro(
        c"dif_type",
        |d, p| show(p, d.dif_type, true),
        "Type of protection information, 1 to 3.",
    ),
];

impl<M: Medium> Unit<Protected<M>> {
    const TAG_FILE: &'static [Attr<Self>] = &[Attr::ro(
        c"dif_filename",
        |u, p| show(p, u.store.tag_path(), true),
        "File of the protection information (dif_mode dev_store).",
    )];
}

/// Adds `dif_filename`, if the disk has such a file.
pub(crate) fn add_filename<M: Medium>(
    unit: &Arc<Unit<Protected<M>>>,
    attrs: &mut KVec<Group>,
) -> Result {
    if !unit.store.tag_path().is_empty() {
        let table = Unit::<Protected<M>>::TAG_FILE;
        attrs.push(Group::new(unit.clone(), table)?, GFP_KERNEL)?;
    }
    Ok(())
}
