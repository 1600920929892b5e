// SPDX-License-Identifier: GPL-2.0

//! `vdisk_blockio`: a disk on a block device, without a page cache between.

use crate::{
    block::{self, BlockDevice, Op},
    disk::{Discard, Disk},
    integrity::Integrity,
    io::{Extent, Pending, Store},
    log,
    medium::{Backing, Medium},
};
use kernel::{prelude::*, str::CString};
use scst::{Cmd, Executing};
use scst_proto::{options::DifMode, protection::Kind, sense::NOT_READY};

/// The store of a disk on a block device.
pub(crate) struct BlockStore {
    backing: Pin<KBox<Backing<BlockDevice>>>,
}

impl BlockStore {
    /// A store that is not open yet.
    pub(crate) fn new(path: Option<CString>) -> Result<Self> {
        Ok(Self {
            backing: Backing::new(path)?,
        })
    }

    /// Starts `op`; the command ends with it.
    fn start(&self, cmd: Cmd<Executing>, op: Op, at: Extent) {
        match self.backing.gate().enter() {
            Some(device) => {
                let len = at.len as usize;
                let pending = Pending::new(cmd, at.len as u32, op != Op::Read);
                block::start(device, op, at.pos, len, pending);
            }
            None => cmd.check_condition(NOT_READY),
        }
    }
}

/// Whether the device below is to check (`dif_mode` dev_check).
fn device_checks(disk: &Disk) -> bool {
    disk.protection()
        .is_some_and(|p| p.mode.contains(DifMode::DEV_CHECK))
}

impl Store for BlockStore {
    const SLEEPS: bool = true;

    fn read(&self, _disk: &Disk, cmd: Cmd<Executing>, at: Extent) {
        self.start(cmd, Op::Read, at);
    }

    fn write(&self, _disk: &Disk, cmd: Cmd<Executing>, at: Extent, stable: bool) {
        self.start(cmd, Op::Write { stable }, at);
    }

    fn write_atomic(&self, _disk: &Disk, cmd: Cmd<Executing>, at: Extent, stable: bool) {
        self.start(cmd, Op::Atomic { stable }, at);
    }

    fn flush(&self, disk: &Disk, cmd: Cmd<Executing>, at: Extent, immed: bool) {
        // A device flushes all or nothing.
        let at = Extent {
            pos: at.pos,
            len: 0,
        };
        if !immed {
            return self.start(cmd, Op::Flush, at);
        }
        cmd.good();
        let flushed = self.backing.gate().enter().map_or(Ok(()), |d| d.flush());
        if let Err(e) = flushed {
            // SBC-4 wants a deferred error; until there is one, the log has it.
            log::error!("{}: flush failed: {}", disk.name(), e.to_errno());
        }
    }
}

impl Medium for BlockStore {
    type Open = BlockDevice;

    fn backing(&self) -> &Backing<BlockDevice> {
        &self.backing
    }

    fn open(&self, disk: &Disk, path: &CStr) -> Result<BlockDevice> {
        let holder: *const Disk = disk;
        BlockDevice::open(path, disk.conf.read_only, holder).inspect_err(|e| {
            log::error!(
                "opening {} failed: {}",
                path.to_str().unwrap_or("?"),
                e.to_errno()
            );
        })
    }

    fn adopt(&self, disk: &Disk, path: &CStr, open: &BlockDevice) -> Result {
        let limits = open.limits();
        let path = path.to_str().unwrap_or("?");
        if disk.block_size() < limits.logical_block {
            log::error!(
                "blocksize {} is smaller than the logical block size {} of {}",
                disk.block_size(),
                limits.logical_block,
                path
            );
            return Err(EINVAL);
        }
        if disk.conf.thin.is_none() && limits.discard {
            log::info!("Auto enable thin provisioning for device {}", path);
        }
        disk.thin
            .set(disk.conf.thin.unwrap_or(limits.discard) && limits.discard);
        let shift = disk.conf.block_shift;
        disk.set_discard(Discard {
            granularity: limits.discard_granularity.wrapping_shr(shift).max(1),
            alignment: match limits.discard_alignment.wrapping_shr(shift) {
                0 => None,
                blocks => Some(blocks),
            },
        });
        disk.set_physical_block(limits.physical_block);
        disk.set_atomic(open.atomic());
        Ok(())
    }

    /// Profiles that disks with 32-byte CDBs could use do not exist: the block layer
    /// counts reference tags by blocks.
    fn check_tagged(open: &BlockDevice, disk: &Disk) -> Result {
        let profile = open.integrity(disk.block_size());
        let kind = disk.protection().map(|p| p.kind);
        let wrong = match (profile, kind) {
            (Integrity { there: false, .. }, _) => {
                "has no integrity profile: dif_mode dev_check is not possible, dev_store with dif_filename"
            }
            (Integrity { fits: false, .. }, _) => {
                "has an integrity profile that is not 8 bytes for each block of this size"
            }
            (Integrity { crc: false, .. }, _) => {
                "has an integrity profile with another guard than the CRC T10-DIF"
            }
            (_, Some(Kind::Type2)) => "cannot keep the tags of dif_type 2",
            (Integrity { counts: true, .. }, Some(Kind::Type3)) => {
                "has an integrity profile of type 1, not dif_type 3"
            }
            (Integrity { counts: false, .. }, Some(Kind::Type1)) => {
                "has an integrity profile of type 3, not dif_type 1"
            }
            _ => return Ok(()),
        };
        log::error!("{}: the block device {}", disk.name(), wrong);
        Err(EINVAL)
    }

    fn read_tagged(
        open: &BlockDevice,
        disk: &Disk,
        pos: u64,
        data: &mut [u8],
        tags: &mut [u8],
    ) -> Result {
        let seed = pos.wrapping_shr(disk.conf.block_shift);
        open.read_tagged(pos, data, tags, seed, device_checks(disk))
    }

    fn write_tagged(open: &BlockDevice, disk: &Disk, pos: u64, data: &[u8], tags: &[u8]) -> Result {
        let mut own = KVec::with_capacity(tags.len(), GFP_NOWAIT)?;
        own.extend_from_slice(tags, GFP_NOWAIT)?;
        let seed = pos.wrapping_shr(disk.conf.block_shift);
        open.write_tagged(pos, data, &mut own, seed, device_checks(disk))
    }

    fn size_of(open: &BlockDevice) -> Result<u64> {
        Ok(open.size())
    }

    fn sync_all(open: &BlockDevice) -> Result {
        open.flush()
    }
    fn read_at(open: &BlockDevice, pos: u64, buf: &mut [u8]) -> Result {
        open.read_now(pos, buf)
    }

    fn write_at(open: &BlockDevice, pos: u64, buf: &[u8]) -> Result {
        open.write_now(pos, buf)
    }

    fn discard_at(open: &BlockDevice, at: Extent) -> Result {
        open.discard(at.pos, at.len)
    }
}
