// SPDX-License-Identifier: GPL-2.0

//! What every virtual disk is, whatever keeps its data: its configuration, its
//! state, and who it says it is.
//!
//! Commands read the state without a lock: each piece is one word that may
//! change at any time. What belongs together (the names) is behind a mutex that
//! only commands about names and the administrator take.

use crate::{block::AtomicLimits, clock::Clock, log, names::Names, thresholds::Watched};
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};
use scst::{DeviceHandle, Protection};
use scst_proto::{
    atomic,
    capacity::Capacity,
    identity::default_eui64,
    inquiry::{
        Identity, Limits, Provisioning, UnmapLimits, MAX_TRANSFER_BYTES, MAX_UNMAP_DESCRIPTORS,
    },
    mode::{Control, ModeDevice, ModeValues},
    opcode::PeripheralDeviceType,
    options::{DifMode, Handler, VdiskOptions},
    sense::Sense,
    threshold::{exponent, Thresholds},
};

/// Size of a nullio disk without `size`: 2.5 TiB, as it always was.
pub(crate) const DEFAULT_NULLIO_BYTES: u64 = 2_621_440 << 20;
/// Default of `opt_trans_len`.
pub(crate) const DEFAULT_OPT_TRANS_LEN: u32 = 512 << 10;
/// Default of `tst`: a task set for each nexus.
pub(crate) const DEFAULT_TST: u8 = 1;

/// A yes or no that changes at run time.
pub(crate) struct Switch(Atomic<u32>);

impl Switch {
    pub(crate) fn new(on: bool) -> Self {
        Self(Atomic::new(u32::from(on)))
    }

    #[inline]
    pub(crate) fn get(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    pub(crate) fn set(&self, on: bool) {
        self.0.store(u32::from(on), Relaxed);
    }
}

/// What an administrator fixed when the device was added.
#[derive(Clone, Copy)]
pub(crate) struct Conf {
    pub(crate) handler: Handler,
    pub(crate) block_shift: u32,
    pub(crate) read_only: bool,
    pub(crate) removable: bool,
    pub(crate) rotational: bool,
    pub(crate) nv_cache: bool,
    pub(crate) write_through: bool,
    pub(crate) o_direct: bool,
    pub(crate) dummy: bool,
    pub(crate) tst: u8,
    /// `None`: as the backing store can.
    pub(crate) thin: Option<bool>,
    pub(crate) numa_node: i32,
    /// `None`: the blocks have no protection information.
    pub(crate) protection: Option<Protection>,
}

impl Conf {
    pub(crate) fn new(handler: Handler, options: &VdiskOptions<'_>) -> Self {
        let cdrom = handler == Handler::Cdrom;
        Self {
            handler,
            block_shift: options.block_size_or_default(handler).trailing_zeros(),
            read_only: options.read_only || cdrom,
            removable: options.removable || cdrom,
            rotational: options.rotational.unwrap_or(true),
            nv_cache: options.nv_cache,
            write_through: options.write_through,
            o_direct: options.o_direct,
            dummy: options.dummy,
            tst: options.tst.unwrap_or(DEFAULT_TST),
            thin: options.thin_provisioned,
            numa_node: options.numa_node_id,
            protection: options
                .protection()
                .map(|(kind, mode)| Protection { kind, mode }),
        }
    }

    /// Whether there is a cache that a power failure would empty.
    fn has_volatile_cache(&self) -> bool {
        !self.write_through && !self.nv_cache
    }

    /// ATO: whether initiators' application tags are kept.
    pub(crate) fn keeps_tags(&self) -> bool {
        self.protection
            .is_some_and(|p| p.mode.contains(DifMode::DEV_STORE))
    }

    /// The default of the Control mode page.
    fn control(&self) -> Control {
        Control::new(self.tst).with_ato(self.keeps_tags())
    }

    fn pdt(&self) -> PeripheralDeviceType {
        match self.handler {
            Handler::Cdrom => PeripheralDeviceType::CDROM,
            _ => PeripheralDeviceType::DISK,
        }
    }
}

/// What the backing store can do about unused blocks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Discard {
    /// Unit in blocks.
    pub(crate) granularity: u32,
    /// First unit's begin in blocks, where it is not 0.
    pub(crate) alignment: Option<u32>,
}

/// A size as log lines tell it.
struct Geometry {
    blocks: u64,
    block_size: u32,
}

impl core::fmt::Display for Geometry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Cylinders of 64 heads and 32 sectors.
        let cylinders = self.blocks / (64 * 32);
        let megabytes = self.blocks.saturating_mul(u64::from(self.block_size)) >> 20;
        write!(
            f,
            "fs={}MB, bs={}, nblocks={}, cyln={}{}",
            megabytes,
            self.block_size,
            self.blocks,
            cylinders,
            if cylinders == 0 {
                " !WARNING! cyln less than 1"
            } else {
                ""
            }
        )
    }
}

/// A virtual disk.
#[pin_data]
pub(crate) struct Disk {
    name: CString,
    pub(crate) conf: Conf,
    /// Number of logical blocks.
    blocks: Atomic<u64>,
    /// There is a medium.
    pub(crate) ready: Switch,
    /// The device is gone; what still holds this only lets go of it.
    pub(crate) removed: Switch,
    /// Thin provisioned, as far as it is known now.
    pub(crate) thin: Switch,
    /// WCE: there is a volatile cache.
    pub(crate) write_cache: Switch,
    /// Bytes 2 to 5 of the Control mode page.
    control: Atomic<u32>,
    /// What a reset makes of them: what MODE SELECT with SP has left.
    saved_control: Atomic<u32>,
    saved_cache: Switch,
    /// Log2 of the physical blocks in logical ones.
    physical: Atomic<u32>,
    discard_granularity: Atomic<u32>,
    discard_alignment: Atomic<u32>,
    /// What the store writes atomically, in bytes: unit, most, boundary; 0 is none.
    atomic: [Atomic<u32>; 3],
    /// `dif_type` as it was given.
    pub(crate) dif_type: u8,
    /// `dif_static_app_tag`, in the order of its bytes.
    pub(crate) dif_tag: Atomic<u64>,
    pub(crate) opt_trans_len: Atomic<u32>,
    pub(crate) lb_per_pb_exp: Switch,
    pub(crate) expl_alua: Switch,
    pub(crate) bind_alua_state: Switch,
    pub(crate) async_io: Switch,
    pub(crate) read_zero: Switch,
    pub(crate) clock: Clock,
    #[pin]
    pub(crate) thresholds: Watched,
    /// Held by the COMPARE AND WRITE or ORWRITE that runs.
    #[pin]
    pub(crate) comparing: Mutex<()>,
    /// What WRITE BUFFER left in the echo buffer.
    #[pin]
    pub(crate) echo: Mutex<KVec<u8>>,
    #[pin]
    pub(crate) names: Mutex<Names>,
    #[pin]
    device: Mutex<Option<DeviceHandle>>,
}

impl Disk {
    /// The disk `name` without a medium. May sleep.
    pub(crate) fn new(
        name: &str,
        conf: Conf,
        options: &VdiskOptions<'_>,
        setup_id: u32,
    ) -> Result<Arc<Self>> {
        let names = Names::new(&conf, name, setup_id, options.t10_dev_id);
        let name = CString::try_from_fmt(fmt!("{}", name))?;
        let physical = 4096u32.trailing_zeros().saturating_sub(conf.block_shift);
        Arc::pin_init(
            pin_init!(Self {
                name,
                conf,
                blocks: Atomic::new(0),
                ready: Switch::new(false),
                removed: Switch::new(false),
                thin: Switch::new(conf.thin == Some(true)),
                write_cache: Switch::new(conf.has_volatile_cache()),
                control: Atomic::new(u32::from_be_bytes(conf.control().0)),
                saved_control: Atomic::new(u32::from_be_bytes(conf.control().0)),
                saved_cache: Switch::new(conf.has_volatile_cache()),
                physical: Atomic::new(physical),
                discard_granularity: Atomic::new(1),
                discard_alignment: Atomic::new(u32::MAX),
                atomic: [const { Atomic::new(0) }; 3],
                dif_type: options.dif_type,
                dif_tag: Atomic::new(options.dif_static_app_tag),
                opt_trans_len: Atomic::new(DEFAULT_OPT_TRANS_LEN),
                lb_per_pb_exp: Switch::new(true),
                expl_alua: Switch::new(false),
                bind_alua_state: Switch::new(options.bind_alua_state),
                async_io: Switch::new(options.async_io),
                read_zero: Switch::new(false),
                clock: Clock::new(),
                thresholds <- Watched::new(),
                comparing <- new_mutex!(()),
                echo <- new_mutex!(KVec::new()),
                names <- new_mutex!(names),
                device <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or("")
    }

    /// Number of logical blocks now; 0 without a medium.
    #[inline]
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Relaxed)
    }

    pub(crate) fn block_size(&self) -> u32 {
        1u32.checked_shl(self.conf.block_shift).unwrap_or(512)
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.blocks().wrapping_shl(self.conf.block_shift)
    }

    /// Makes the disk `bytes` long, in whole blocks. True if that is news.
    pub(crate) fn set_size(&self, bytes: u64) -> bool {
        let blocks = bytes.wrapping_shr(self.conf.block_shift);
        self.blocks.xchg(blocks, kernel::sync::atomic::Full) != blocks
    }

    /// Sets what is known of the store's physical blocks, in bytes.
    pub(crate) fn set_physical_block(&self, bytes: u32) {
        let exp = scst_proto::capacity::lb_per_pb_exp(self.block_size(), bytes);
        self.physical.store(u32::from(exp), Relaxed);
    }

    /// Sets how the store discards.
    pub(crate) fn set_discard(&self, discard: Discard) {
        self.discard_granularity.store(discard.granularity, Relaxed);
        self.discard_alignment
            .store(discard.alignment.unwrap_or(u32::MAX), Relaxed);
    }

    /// Sets what the store writes atomically.
    pub(crate) fn set_atomic(&self, limits: Option<AtomicLimits>) {
        let words = limits.map_or([0; 3], |l| [l.min, l.max, l.boundary]);
        for (word, new) in self.atomic.iter().zip(words) {
            word.store(new, Relaxed);
        }
    }

    /// What WRITE ATOMIC may write, if there is one. Blocks with protection information
    /// are written piece by piece.
    pub(crate) fn atomic(&self) -> Option<atomic::Limits> {
        if self.conf.protection.is_some() {
            return None;
        }
        let shift = self.conf.block_shift;
        let [unit, most, boundary] = &self.atomic;
        let blocks = |word: &Atomic<u32>| word.load(Relaxed).wrapping_shr(shift);
        let limits = match self.conf.handler {
            Handler::NullIo => atomic::Limits::VOID,
            _ => atomic::Limits {
                max: blocks(most),
                granularity: blocks(unit).max(1),
                boundary: blocks(boundary),
            },
        };
        // Not more than any command should have (MAXIMUM TRANSFER LENGTH).
        let room = MAX_TRANSFER_BYTES.wrapping_shr(shift) as u32;
        let max = limits.max.min(room);
        (max != 0).then_some(atomic::Limits { max, ..limits })
    }

    /// The Control mode page.
    #[inline]
    pub(crate) fn control(&self) -> Control {
        Control(self.control.load(Relaxed).to_be_bytes())
    }

    /// Whether writes are refused.
    #[inline]
    pub(crate) fn write_protected(&self) -> bool {
        self.conf.read_only || self.control().swp()
    }

    /// Whether a write has to be on stable storage when it ends. A cache that is
    /// not volatile is as good as that.
    #[inline]
    pub(crate) fn must_be_stable(&self, fua: bool) -> bool {
        (fua || !self.write_cache.get()) && !self.conf.nv_cache
    }

    /// What log lines tell of the size.
    fn geometry(&self) -> Geometry {
        Geometry {
            blocks: self.blocks(),
            block_size: self.block_size(),
        }
    }

    /// Tells the log of a new device.
    pub(crate) fn log_attached(&self, file: &str) {
        log::info!(
            "Attached SCSI target virtual disk {} (file=\"{}\", {})",
            self.name(),
            file,
            self.geometry()
        );
    }

    /// Tells the log that the size is another one.
    pub(crate) fn log_new_size(&self) {
        log::info!(
            "New size of SCSI target virtual disk {} ({})",
            self.name(),
            self.geometry()
        );
    }

    /// Tells the log of another medium in a drive.
    pub(crate) fn log_medium(&self, file: &str) {
        log::info!(
            "Changed SCSI target virtual cdrom {} (file=\"{}\", {})",
            self.name(),
            file,
            self.geometry()
        );
    }

    /// Keeps the core's handle of the device.
    pub(crate) fn set_device(&self, device: Option<DeviceHandle>) {
        *self.device.lock() = device;
    }

    /// Whether an initiator prevents the removal of the medium. Process context.
    pub(crate) fn removal_prevented(&self) -> bool {
        let device = self.device.lock().clone();
        device.is_some_and(|device| device.removal_prevented())
    }

    /// Tells all initiators. Process context; not in a command's thread, as the
    /// core may wait for that with the lock that this takes.
    pub(crate) fn unit_attention(&self, sense: Sense) {
        let device = self.device.lock().clone();
        if let Some(device) = device {
            device.unit_attention(sense);
        }
    }

    /// What INQUIRY tells of the identity. May sleep.
    pub(crate) fn with_identity<R>(&self, f: impl FnOnce(&Identity<'_>) -> R) -> R {
        let names = self.names.lock();
        let default_eui = default_eui64(names.t10_dev_id.text.as_bytes());
        let eui64 = match (names.eui64.as_bytes(), names.naa.as_bytes()) {
            ([], []) => &default_eui,
            (eui64, _) => eui64,
        };
        f(&Identity {
            pdt: self.conf.pdt(),
            removable: self.conf.removable,
            vendor: names.vendor.text.as_bytes(),
            product: names.product.text.as_bytes(),
            revision: names.revision.text.as_bytes(),
            vendor_specific: names.inq_vend_specific.text.as_bytes(),
            serial: names.usn.text.as_bytes(),
            vendor_specific_id: names.vend_specific_id.text.as_bytes(),
            eui64,
            naa: names.naa.as_bytes(),
            scsi_name: names.scsi_device_name.text.as_bytes(),
            third_party_copy: true,
            protection: self.format(),
            volatile_cache: self.conf.has_volatile_cache(),
        })
    }

    /// VPD page B0h.
    pub(crate) fn limits(&self) -> Limits {
        let shift = self.conf.block_shift;
        let mut limits = match (self.thin.get(), self.conf.handler) {
            (true, Handler::FileIo) => Limits::thin_file(shift),
            (_, Handler::NullIo) => Limits::void(shift),
            (thin, _) => Limits {
                unmap: thin.then(|| UnmapLimits {
                    max_lba_count: u32::MAX,
                    max_descriptors: MAX_UNMAP_DESCRIPTORS,
                    granularity: self.discard_granularity.load(Relaxed),
                    alignment: match self.discard_alignment.load(Relaxed) {
                        u32::MAX => None,
                        alignment => Some(alignment),
                    },
                }),
                ..Limits::for_block_shift(shift)
            },
        };
        limits.atomic = self.atomic();
        limits.optimal_transfer = self.opt_trans_len.load(Relaxed).wrapping_shr(shift);
        limits
    }

    /// VPD page B2h.
    pub(crate) fn provisioning(&self) -> Option<Provisioning> {
        let exponent = match self.thresholds.there() {
            true => exponent(self.conf.block_shift),
            false => 0,
        };
        self.thin.get().then(|| Provisioning {
            exponent,
            ..Provisioning::thin(false)
        })
    }

    /// READ CAPACITY.
    pub(crate) fn capacity(&self) -> Capacity {
        let exp = match self.lb_per_pb_exp.get() {
            true => self.physical.load(Relaxed).min(15) as u8,
            false => 0,
        };
        Capacity {
            lb_per_pb_exp: exp,
            lbpme: self.thin.get(),
            protection_type: self.conf.protection.map(|p| p.kind.number()),
            ..Capacity::new(self.blocks(), self.block_size())
        }
    }

    /// MODE SENSE and MODE SELECT.
    pub(crate) fn mode(&self) -> ModeDevice {
        let current = ModeValues {
            wce: self.write_cache.get(),
            control: self.control(),
            thresholds: self.thresholds.values().0,
        };
        let default = ModeValues {
            wce: self.conf.has_volatile_cache(),
            control: self.conf.control(),
            thresholds: Thresholds::NONE,
        };
        ModeDevice {
            pdt: self.conf.pdt(),
            blocks: self.blocks(),
            block_size: self.block_size(),
            write_protected: self.write_protected(),
            dpofua: self.conf.handler != Handler::Cdrom,
            wce_changeable: default.wce,
            thresholds: self.thresholds.there(),
            current,
            saved: self.saved_mode(),
            default,
        }
    }

    /// Puts new mode page values into force. Sleeps only where there are thresholds.
    pub(crate) fn set_mode(&self, values: &ModeValues) {
        self.control
            .store(u32::from_be_bytes(values.control.0), Relaxed);
        self.write_cache.set(values.wce);
        self.thresholds.set(values.thresholds);
    }

    /// What is in force after a reset.
    pub(crate) fn saved_mode(&self) -> ModeValues {
        ModeValues {
            wce: self.saved_cache.get(),
            control: Control(self.saved_control.load(Relaxed).to_be_bytes()),
            thresholds: self.thresholds.values().1,
        }
    }

    /// Has a reset restore `values`, as long as the device is there.
    pub(crate) fn save_mode(&self, values: &ModeValues) {
        self.saved_control
            .store(u32::from_be_bytes(values.control.0), Relaxed);
        self.saved_cache.set(values.wce);
        self.thresholds.save(values.thresholds);
    }

    /// The peripheral device type.
    pub(crate) fn pdt(&self) -> PeripheralDeviceType {
        self.conf.pdt()
    }
}
