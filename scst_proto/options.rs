// SPDX-License-Identifier: GPL-2.0

//! Parameters of `add_device` for the virtual disk handlers.
//!
//! One table, a row a parameter: its name, the handlers that take it, and where its value goes. The help texts list the
//! names from the same table.

use crate::identity::T10_DEV_ID_MAX;
use crate::mgmt::{absolute, is, Error, Param, Params, Wrong};
use crate::number::{parse_bool, parse_i64, parse_max, parse_u64};
use crate::protection::Kind;

/// The smallest block size in bytes.
pub const MIN_BLOCK_SIZE: u32 = 512;
/// The largest block size in bytes: it must fit the 16-bit field of the Format mode page.
pub const MAX_BLOCK_SIZE: u32 = 32768;

/// The virtual disk handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `vdisk_blockio`.
    BlockIo,
    /// `vdisk_fileio`.
    FileIo,
    /// `vdisk_nullio`.
    NullIo,
    /// `vcdrom`.
    Cdrom,
}

impl Handler {
    const fn bit(self) -> u8 {
        match self {
            Self::BlockIo => 1,
            Self::FileIo => 2,
            Self::NullIo => 4,
            Self::Cdrom => 8,
        }
    }

    /// The default block size in bytes.
    pub const fn default_block_size(self) -> u32 {
        match self {
            Self::Cdrom => 2048,
            _ => 512,
        }
    }

    /// The names of the parameters, as in the line "The following parameters available: ..." of the help.
    pub const fn parameter_names(self) -> &'static str {
        match self {
            Self::BlockIo => {
                "active, bind_alua_state, blocksize, cluster_mode, dif_filename, dif_mode, dif_static_app_tag, \
                 dif_type, filename, numa_node_id, nv_cache, read_only, removable, rotational, thin_provisioned, \
                 tst, t10_dev_id, write_through"
            }
            Self::FileIo => {
                "active, async, bind_alua_state, blocksize, cluster_mode, dif_filename, dif_mode, \
                 dif_static_app_tag, dif_type, filename, numa_node_id, nv_cache, o_direct, read_only, removable, \
                 rotational, thin_provisioned, tst, t10_dev_id, write_through"
            }
            Self::NullIo => {
                "blocksize, cluster_mode, dif_mode, dif_static_app_tag, dif_type, dummy, numa_node_id, read_only, \
                 removable, rotational, size, size_mb, tst, t10_dev_id"
            }
            Self::Cdrom => "tst",
        }
    }
}

/// DIF modes: who checks and stores protection information; a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DifMode(pub u8);

impl DifMode {
    /// `tgt`: the target's hardware checks.
    pub const TGT: Self = Self(1);
    /// `scst`: the core checks.
    pub const SCST: Self = Self(2);
    /// `dev_check`: the device checks.
    pub const DEV_CHECK: Self = Self(4);
    /// `dev_store`: the device stores.
    pub const DEV_STORE: Self = Self(8);

    /// Whether every mode of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The words of the set, as [`DifMode::parse`] reads them.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let words = [
            (Self::TGT, "tgt"),
            (Self::SCST, "scst"),
            (Self::DEV_CHECK, "dev_check"),
            (Self::DEV_STORE, "dev_store"),
        ];
        let set = words
            .into_iter()
            .filter(move |(mode, _)| self.contains(*mode));
        set.map(|(_, word)| word)
    }

    /// Words separated by `|`.
    pub fn parse(text: &str) -> Result<Self, Error<'_>> {
        let mut set = 0;
        for word in text.split(is('|')) {
            let word = word.trim_ascii();
            set |= match word {
                "tgt" => Self::TGT.0,
                "scst" => Self::SCST.0,
                "dev_check" => Self::DEV_CHECK.0,
                "dev_store" => Self::DEV_STORE.0,
                _ => {
                    return Err(Error::new(
                        Wrong::NotOneOf("tgt, scst, dev_check, dev_store"),
                        word,
                    ))
                }
            };
        }
        Ok(Self(set))
    }
}

/// What a new virtual disk is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VdiskOptions<'a> {
    /// Open the backing store right away.
    pub active: bool,
    /// Asynchronous I/O on the file.
    pub async_io: bool,
    /// Close the backing store in an ALUA state that does not serve I/O.
    pub bind_alua_state: bool,
    /// Logical block size in bytes; `None` for the handler's default.
    pub block_size: Option<u32>,
    /// Persistent reservations are shared by a cluster.
    pub cluster_mode: bool,
    /// File of the protection information.
    pub dif_filename: Option<&'a str>,
    /// Who handles protection information.
    pub dif_mode: DifMode,
    /// Static application tag.
    pub dif_static_app_tag: u64,
    /// Protection type 0 to 3.
    pub dif_type: u8,
    /// A device without a medium.
    pub dummy: bool,
    /// Backing file or block device.
    pub filename: Option<&'a str>,
    /// NUMA node of the threads and memory; -1 for any.
    pub numa_node_id: i32,
    /// The cache is not volatile: no need to flush.
    pub nv_cache: bool,
    /// Bypass the page cache.
    pub o_direct: bool,
    /// Write-protected.
    pub read_only: bool,
    /// RMB is shown.
    pub removable: bool,
    /// The medium rotates; `None` for the handler's default.
    pub rotational: Option<bool>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// UNMAP works; `None`: as the backing store can.
    pub thin_provisioned: Option<bool>,
    /// Task set type 0 or 1; `None` for the handler's default.
    pub tst: Option<u8>,
    /// T10 vendor specific identifier.
    pub t10_dev_id: Option<&'a str>,
    /// No volatile cache at all.
    pub write_through: bool,
}

impl Default for VdiskOptions<'_> {
    fn default() -> Self {
        Self {
            active: true,
            async_io: false,
            bind_alua_state: true,
            block_size: None,
            cluster_mode: false,
            dif_filename: None,
            dif_mode: DifMode(0),
            dif_static_app_tag: 0,
            dif_type: 0,
            dummy: false,
            filename: None,
            numa_node_id: -1,
            nv_cache: false,
            o_direct: false,
            read_only: false,
            removable: false,
            rotational: None,
            size: None,
            thin_provisioned: None,
            tst: None,
            t10_dev_id: None,
            write_through: false,
        }
    }
}

/// Puts one value where it belongs.
type Set = for<'a> fn(&mut VdiskOptions<'a>, &'a str) -> Result<(), Error<'a>>;

/// A parameter.
struct Row {
    name: &'static str,
    handlers: u8,
    set: Set,
}

const B: u8 = Handler::BlockIo.bit();
const F: u8 = Handler::FileIo.bit();
const BF: u8 = B | F;
const NULL: u8 = Handler::NullIo.bit();
const BFN: u8 = BF | NULL;
const ALL: u8 = BFN | Handler::Cdrom.bit();

const fn row(name: &'static str, handlers: u8, set: Set) -> Row {
    Row {
        name,
        handlers,
        set,
    }
}

/// Rows of switches: `name, handlers, field`.
macro_rules! switch {
    ($name:literal, $handlers:expr, $field:ident) => {
        row($name, $handlers, |o, v| {
            parse_bool(v).map(|b| o.$field = b.into())
        })
    };
}

static ROWS: [Row; 23] = [
    switch!("active", BF, active),
    switch!("async", F, async_io),
    switch!("bind_alua_state", BF, bind_alua_state),
    row("blocksize", BFN, |o, v| {
        block_size(v).map(|n| o.block_size = Some(n))
    }),
    switch!("cluster_mode", BFN, cluster_mode),
    row("dif_filename", BF, |o, v| {
        absolute(v).map(|p| o.dif_filename = Some(p))
    }),
    row("dif_mode", BFN, |o, v| {
        DifMode::parse(v).map(|m| o.dif_mode = m)
    }),
    row("dif_static_app_tag", BFN, |o, v| {
        parse_u64(v).map(|n| o.dif_static_app_tag = n)
    }),
    row("dif_type", BFN, |o, v| {
        parse_max(v, 3).map(|n| o.dif_type = n as u8)
    }),
    switch!("dummy", NULL, dummy),
    row("filename", BF, |o, v| {
        absolute(v).map(|p| o.filename = Some(p))
    }),
    row("numa_node_id", BFN, |o, v| {
        node(v).map(|n| o.numa_node_id = n)
    }),
    switch!("nv_cache", BF, nv_cache),
    switch!("o_direct", F, o_direct),
    switch!("read_only", BFN, read_only),
    switch!("removable", BFN, removable),
    switch!("rotational", BFN, rotational),
    row("size", NULL, |o, v| parse_u64(v).map(|n| o.size = Some(n))),
    row("size_mb", NULL, |o, v| {
        megabytes(v).map(|n| o.size = Some(n))
    }),
    switch!("thin_provisioned", BF, thin_provisioned),
    row("tst", ALL, |o, v| {
        parse_max(v, 1).map(|n| o.tst = Some(n as u8))
    }),
    row("t10_dev_id", BFN, |o, v| {
        t10_dev_id(v).map(|t| o.t10_dev_id = Some(t))
    }),
    switch!("write_through", BF, write_through),
];

fn block_size(text: &str) -> Result<u32, Error<'_>> {
    let n = parse_max(text, u64::from(u32::MAX))? as u32;
    if !n.is_power_of_two() || !(MIN_BLOCK_SIZE..=MAX_BLOCK_SIZE).contains(&n) {
        return Err(Error::new(Wrong::BlockSize, text));
    }
    Ok(n)
}

fn node(text: &str) -> Result<i32, Error<'_>> {
    let n = parse_i64(text)?;
    if n < -1 {
        return Err(Error::new(Wrong::TooSmall { min: -1 }, text));
    }
    i32::try_from(n).map_err(|_| {
        Error::new(
            Wrong::TooLarge {
                max: i32::MAX as u64,
            },
            text,
        )
    })
}

fn megabytes(text: &str) -> Result<u64, Error<'_>> {
    const MAX: u64 = u64::MAX >> 20;
    Ok(parse_max(text, MAX)?.wrapping_shl(20))
}

fn t10_dev_id(text: &str) -> Result<&str, Error<'_>> {
    if text.len() > T10_DEV_ID_MAX {
        return Err(Error::new(
            Wrong::TooLong {
                max: T10_DEV_ID_MAX,
            },
            text,
        ));
    }
    Ok(text)
}

impl<'a> VdiskOptions<'a> {
    /// Parses and checks the parameters of an `add_device`. A parameter that is given twice counts the second time.
    pub fn parse(handler: Handler, params: Params<'a>) -> Result<Self, Error<'a>> {
        let mut options = Self::default();
        for param in params {
            options.set(handler, param?)?;
        }
        options.check(handler)?;
        Ok(options)
    }

    fn set(&mut self, handler: Handler, param: Param<'a>) -> Result<(), Error<'a>> {
        let known = handler.parameter_names();
        let row = ROWS
            .iter()
            .find(|r| r.name == param.name && r.handlers & handler.bit() != 0);
        let row = row.ok_or(Error::new(Wrong::UnknownParameter { known }, param.name))?;
        if param.value.is_empty() {
            return Err(Error::new(Wrong::NoValue, param.name));
        }
        (row.set)(self, param.value)
    }

    /// The block size in bytes.
    pub fn block_size_or_default(&self, handler: Handler) -> u32 {
        self.block_size.unwrap_or(handler.default_block_size())
    }

    /// How the blocks are protected; `None` if they are not.
    pub fn protection(&self) -> Option<(Kind, DifMode)> {
        let kind = Kind::from_number(self.dif_type)?;
        (self.dif_mode != DifMode(0)).then_some((kind, self.dif_mode))
    }

    /// What one parameter requires of another.
    fn check(&self, handler: Handler) -> Result<(), Error<'a>> {
        let needs = |name, other| Err(Error::new(Wrong::Needs(other), name));
        if matches!(handler, Handler::BlockIo | Handler::FileIo) && self.filename.is_none() {
            return Err(Error::new(Wrong::Missing("filename"), ""));
        }
        if self.o_direct && !self.async_io {
            return needs("o_direct", "async");
        }
        if self.dif_mode.contains(DifMode::DEV_CHECK) && handler != Handler::BlockIo {
            return needs("dif_mode dev_check", "vdisk_blockio");
        }
        let device = DifMode(DifMode::DEV_CHECK.0 | DifMode::DEV_STORE.0);
        if self.dif_mode.contains(DifMode::DEV_CHECK) && !self.dif_mode.contains(device) {
            return needs("dif_mode dev_check", "dif_mode dev_store");
        }
        if self.dif_mode.contains(DifMode::DEV_STORE) && handler == Handler::NullIo {
            return needs("dif_mode dev_store", "vdisk_fileio or vdisk_blockio");
        }
        if self.dif_mode != DifMode(0) && self.dif_type == 0 {
            return needs("dif_mode", "dif_type");
        }
        if self.dif_filename.is_some() && !self.dif_mode.contains(DifMode::DEV_STORE) {
            return needs("dif_filename", "dif_mode dev_store");
        }
        if self.dif_mode.contains(DifMode::DEV_CHECK) && self.dif_filename.is_some() {
            return Err(Error::new(
                Wrong::Excludes("dif_filename"),
                "dif_mode dev_check",
            ));
        }
        let of = self.block_size_or_default(handler);
        // A block size is a power of two.
        if self
            .size
            .is_some_and(|size| size & u64::from(of).wrapping_sub(1) != 0)
        {
            return Err(Error::new(Wrong::NotMultiple { of }, "given"));
        }
        if self.size.is_some() && self.dummy {
            return Err(Error::new(Wrong::Excludes("size"), "dummy"));
        }
        Ok(())
    }
}
