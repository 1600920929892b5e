// SPDX-License-Identifier: GPL-2.0

//! Virtual disks: `vdisk_nullio`, `vdisk_fileio`, `vdisk_blockio`, `vcdrom`.
//!
//! | file | what |
//! |---|---|
//! | `vdisk.rs` | the module: handlers, adding a device |
//! | `disk.rs`, `names.rs` | a disk's configuration and state; its identity |
//! | `unit.rs` | a disk with its store, as the core sees it; the data path |
//! | `commands.rs` | all other commands |
//! | `writes.rs` | UNMAP, WRITE SAME, COMPARE AND WRITE, ORWRITE, VERIFY |
//! | `blocks.rs`, `buffers.rs` | GET LBA STATUS and PRE-FETCH; the echo buffer |
//! | `attrs.rs`, `attrs_protection.rs` | the sysfs attributes |
//! | `thresholds.rs` | thresholds of thin provisioning, with their attributes |
//! | `io.rs` | the trait of stores, errors as sense data |
//! | `medium.rs`, `gate.rs` | stores that open and close while commands run |
//! | `nullio.rs`, `fileio.rs`, `blockio.rs`, `cdrom.rs` | the stores |
//! | `protection.rs`, `transferred.rs`, `protected.rs` | commands of disks with protection information; their buffers, their stores |
//! | `pieces.rs` | parts of a scatterlist |
//! | `vfs.rs`, `block.rs`, `integrity.rs` | the kernel's files and block devices: all `unsafe` code |

#![deny(unsafe_code)]

mod attrs;
mod attrs_protection;
#[allow(unsafe_code)]
mod block;
mod blockio;
mod blocks;
mod buffers;
mod cdrom;
mod clock;
mod commands;
mod disk;
mod fileio;
mod gate;
#[allow(unsafe_code)]
mod integrity;
mod io;
mod log;
mod medium;
mod names;
mod nullio;
mod pieces;
mod protected;
mod protection;
mod thresholds;
mod transferred;
mod unit;
#[allow(unsafe_code)]
mod vfs;
mod writes;

use crate::{
    blockio::BlockStore,
    disk::{Conf, Disk},
    fileio::FileStore,
    io::Store,
    medium::Medium,
    nullio::Null,
    protected::{Protected, ProtectedNull},
    unit::Unit,
};
use kapi::{module::UnloadBarrier, sysfs::Group};
use kernel::{prelude::*, str::CString, sync::Arc};
use scst::{AttachContext, Attached, DeviceHandler, HandlerRegistration};
use scst_proto::{
    mgmt::Params,
    options::{DifMode, Handler, VdiskOptions},
};

module! {
    type: Vdisk,
    name: "scst_vdisk",
    authors: ["The SCST in Rust authors"],
    description: "SCSI disk (type 0) and CDROM (type 5) dev handler for SCST using files on file systems or block devices",
    license: "GPL",
}

/// Default of `num_threads`.
const DEFAULT_THREADS: u32 = 8;

kapi::param! {
    static NUM_THREADS: u32 = DEFAULT_THREADS, name: "num_threads", perm: 0o444, range: 1..=256,
        description: "Threads of a new vdisk_fileio or vcdrom device (default: 8)";
}

fn num_threads() -> u32 {
    NUM_THREADS.get()
}

/// The module: its registrations, in the order of registering.
struct Vdisk {
    _handlers: KVec<HandlerRegistration>,
    /// Last, as it waits for what the others left under way.
    _barrier: UnloadBarrier,
}

impl kernel::Module for Vdisk {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let barrier = UnloadBarrier::new();
        let kinds = [
            Handler::FileIo,
            Handler::BlockIo,
            Handler::NullIo,
            Handler::Cdrom,
        ];
        let mut handlers = KVec::with_capacity(kinds.len(), GFP_KERNEL)?;
        for kind in kinds {
            let handler = Arc::new(VirtualDisks(kind), GFP_KERNEL)?;
            handlers.push(scst::register_handler(handler, module)?, GFP_KERNEL)?;
        }
        Ok(Self {
            _handlers: handlers,
            _barrier: barrier,
        })
    }
}

/// A handler: one kind of virtual disk.
struct VirtualDisks(Handler);

/// Refuses `cluster_mode`: without a distributed lock manager below it, it
/// would promise shared reservations that are not shared.
fn refuse_cluster_mode(name: &str) -> Error {
    log::error!(
        "{}: cluster_mode is not supported, only 0 is possible",
        name
    );
    EINVAL
}

impl VirtualDisks {
    /// Refuses what is not supported, saying so.
    fn check(&self, name: &str, options: &VdiskOptions<'_>) -> Result {
        if options.cluster_mode {
            return Err(refuse_cluster_mode(name));
        }
        Ok(())
    }

    /// Tells the log what is about to be added.
    fn announce(&self, name: &str, conf: &Conf, options: &VdiskOptions<'_>) {
        let store = match self.0 {
            Handler::NullIo => "NULLIO",
            Handler::BlockIo => "BLOCKIO",
            Handler::FileIo | Handler::Cdrom => "",
        };
        let tst = if conf.tst == disk::DEFAULT_TST {
            ""
        } else {
            "TST 0"
        };
        let words = [
            (conf.write_through, "WRITE_THROUGH"),
            (conf.read_only, "READ_ONLY"),
            (conf.nv_cache, "NV_CACHE"),
            (conf.o_direct, "O_DIRECT"),
            (!store.is_empty(), store),
            (!options.active, "INACTIVE"),
            (conf.removable, "REMOVABLE"),
            (conf.rotational, "ROTATIONAL"),
            (!tst.is_empty(), tst),
            (conf.thin == Some(true), "THIN_PROVISIONED"),
            (options.async_io, "ASYNC"),
            (conf.dummy, "DUMMY"),
        ];
        let dif = attrs_protection::Announced(options);
        log::info!(
            "Registering virtual {} device {} ({}{})",
            handler_name(self.0).to_str().unwrap_or(""),
            name,
            Words(&words),
            dif
        );
    }
}

/// The words that apply, with commas between.
struct Words<'a>(&'a [(bool, &'a str)]);

impl core::fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let words = self.0.iter().filter(|(applies, _)| *applies);
        for (i, (_, word)) in words.enumerate() {
            if i != 0 {
                f.write_str(", ")?;
            }
            f.write_str(word)?;
        }
        Ok(())
    }
}

const fn handler_name(kind: Handler) -> &'static CStr {
    match kind {
        Handler::BlockIo => c"vdisk_blockio",
        Handler::FileIo => c"vdisk_fileio",
        Handler::NullIo => c"vdisk_nullio",
        Handler::Cdrom => c"vcdrom",
    }
}

impl DeviceHandler for VirtualDisks {
    fn name(&self) -> &'static CStr {
        handler_name(self.0)
    }

    fn device_type(&self) -> u8 {
        match self.0 {
            Handler::Cdrom => 5,
            _ => 0,
        }
    }

    fn params(&self) -> &'static [&'static str] {
        const BLOCKIO: &[&str] = &[Handler::BlockIo.parameter_names()];
        const FILEIO: &[&str] = &[Handler::FileIo.parameter_names()];
        const NULLIO: &[&str] = &[Handler::NullIo.parameter_names()];
        const CDROM: &[&str] = &[Handler::Cdrom.parameter_names()];
        match self.0 {
            Handler::BlockIo => BLOCKIO,
            Handler::FileIo => FILEIO,
            Handler::NullIo => NULLIO,
            Handler::Cdrom => CDROM,
        }
    }

    fn attach(&self, name: &str, params: Params<'_>, ctx: AttachContext) -> Result<Attached> {
        let options = VdiskOptions::parse(self.0, params).map_err(|e| {
            log::error!("{} (device {})", e, name);
            Error::from_errno(-e.errno().number())
        })?;
        self.check(name, &options)?;
        let conf = Conf::new(self.0, &options);
        self.announce(name, &conf, &options);
        let disk = Disk::new(name, conf, &options, ctx.setup_id)?;
        let given = |name| params.flatten().any(|param| param.name == name);
        if self.0 != Handler::BlockIo && !given("bind_alua_state") {
            // The default is that of the device that two nodes can share.
            disk.bind_alua_state.set(false);
        }
        let path = match options.filename {
            Some(path) => Some(CString::try_from_fmt(fmt!("{}", path))?),
            None => None,
        };
        let mut attrs = KVec::new();
        add(&mut attrs, &disk, attrs::IDENTITY)?;
        let device: Arc<dyn scst::LogicalUnit> = match self.0 {
            Handler::NullIo if conf.protection.is_some() => {
                let store = ProtectedNull(Null::attach(&disk, &options));
                add(&mut attrs, &disk, attrs::DISK)?;
                add(&mut attrs, &disk, attrs::NULLIO)?;
                disk.log_attached("none");
                unit(disk.clone(), store, 1)?
            }
            Handler::NullIo => {
                let store = Null::attach(&disk, &options);
                add(&mut attrs, &disk, attrs::DISK)?;
                add(&mut attrs, &disk, attrs::NULLIO)?;
                disk.log_attached("none");
                unit(disk.clone(), store, 1)?
            }
            Handler::FileIo if conf.protection.is_some() => {
                let tags = tag_path(name, &options, true)?;
                let store = Protected::new(FileStore::new(None)?, path, tags, &disk)?;
                let unit = unit(disk.clone(), store, num_threads())?;
                stored(&unit, &options, &mut attrs)?;
                attrs_protection::add_filename(&unit, &mut attrs)?;
                add(&mut attrs, &disk, attrs::FILEIO)?;
                add(&mut attrs, &disk, attrs::FIXED_SIZE)?;
                unit
            }
            Handler::BlockIo if conf.protection.is_some() => {
                let tags = tag_path(name, &options, false)?;
                let store = Protected::new(BlockStore::new(None)?, path, tags, &disk)?;
                let unit = unit(disk.clone(), store, num_threads())?;
                stored(&unit, &options, &mut attrs)?;
                attrs_protection::add_filename(&unit, &mut attrs)?;
                add(&mut attrs, &unit, Unit::<Protected<BlockStore>>::SIZE)?;
                unit
            }
            Handler::FileIo => {
                let unit = unit(disk.clone(), FileStore::new(path)?, num_threads())?;
                stored(&unit, &options, &mut attrs)?;
                add(&mut attrs, &disk, attrs::FILEIO)?;
                add(&mut attrs, &disk, attrs::FIXED_SIZE)?;
                unit
            }
            Handler::BlockIo => {
                let unit = unit(disk.clone(), BlockStore::new(path)?, 1)?;
                stored(&unit, &options, &mut attrs)?;
                add(&mut attrs, &unit, Unit::<BlockStore>::SIZE)?;
                unit
            }
            Handler::Cdrom => {
                let unit = unit(disk.clone(), cdrom::store()?, num_threads())?;
                add(&mut attrs, &unit, Unit::<FileStore>::DRIVE)?;
                add(&mut attrs, &disk, attrs::FIXED_SIZE)?;
                log::info!("Attached empty SCSI target virtual cdrom {}", name);
                unit
            }
        };
        if options.dif_type != 0 {
            add(&mut attrs, &disk, attrs_protection::DIF)?;
        }
        Ok(Attached {
            device,
            attrs,
            numa_node: disk.conf.numa_node,
        })
    }
}

fn unit<S: Store>(disk: Arc<Disk>, store: S, threads: u32) -> Result<Arc<Unit<S>>> {
    Ok(Arc::new(
        Unit {
            disk,
            store,
            threads,
        },
        GFP_KERNEL,
    )?)
}

/// The file of a disk's protection information; for one that has to have a file
/// by itself (`default`) there is one.
fn tag_path(name: &str, options: &VdiskOptions<'_>, default: bool) -> Result<Option<CString>> {
    const DIRECTORY: &str = "/var/lib/scst/dif_tags";

    let kept = options.dif_mode.contains(DifMode::DEV_STORE);
    Ok(match options.dif_filename {
        Some(path) => Some(CString::try_from_fmt(fmt!("{}", path))?),
        None if kept && default => Some(CString::try_from_fmt(fmt!("{}/{}.dif", DIRECTORY, name))?),
        None => None,
    })
}

fn add<T: Send + Sync + 'static>(
    attrs: &mut KVec<Group>,
    object: &Arc<T>,
    table: &'static [kapi::sysfs::Attr<T>],
) -> Result {
    attrs.push(Group::new(object.clone(), table)?, GFP_KERNEL)?;
    Ok(())
}

/// Opens the medium of a new disk and lists its attributes.
fn stored<S: Medium>(
    unit: &Arc<Unit<S>>,
    options: &VdiskOptions<'_>,
    attrs: &mut KVec<Group>,
) -> Result {
    let disk = &unit.disk;
    if options.active {
        unit.activate()?;
    } else if disk.bind_alua_state.get() {
        unit.measure();
    }
    unit.store
        .backing()
        .with_path(|path| disk.log_attached(path));
    add(attrs, disk, attrs::DISK)?;
    add(attrs, disk, attrs::STORED)?;
    add(attrs, unit, Unit::<S>::MEDIUM)?;
    if disk.thin.get() {
        add(attrs, disk, attrs::THIN)?;
    }
    if disk.thin.get() && disk.conf.handler == Handler::FileIo {
        add(attrs, disk, thresholds::THRESHOLDS)?;
    }
    Ok(())
}
