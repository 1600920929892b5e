// SPDX-License-Identifier: GPL-2.0

//! `vdisk_nullio`: a disk that keeps nothing. What transports cost is measured
//! with it, so nothing here locks, allocates or waits.

use crate::{
    disk::{Disk, DEFAULT_NULLIO_BYTES},
    io::{Extent, Store, Synchronous},
};
use kernel::prelude::*;
use scst::{Cmd, Executing};
use scst_proto::options::VdiskOptions;

/// The store of a nullio disk.
pub(crate) struct Null;

impl Null {
    /// Gives `disk` its size; a dummy has one, but no medium.
    pub(crate) fn attach(disk: &Disk, options: &VdiskOptions<'_>) -> Self {
        disk.set_size(options.size.unwrap_or(DEFAULT_NULLIO_BYTES));
        disk.ready.set(!disk.conf.dummy);
        Self
    }

    /// What an initiator reads: zeros. The buffer may be memory of the kernel
    /// that held something else before, so it never goes out as it is. Without
    /// a buffer ([`scst::Data::Void`]) the transport sees to it.
    #[inline]
    fn fill(cmd: &Cmd<Executing>, len: usize) {
        if let Some(buffer) = cmd.data() {
            buffer.zero(0, len);
        }
    }
}

impl Store for Null {
    const SLEEPS: bool = false;
    const VOID: bool = true;

    #[inline]
    fn read(&self, _disk: &Disk, cmd: Cmd<Executing>, at: Extent) {
        Self::fill(&cmd, at.len as usize);
        cmd.good_with(at.len as u32);
    }

    #[inline]
    fn write(&self, _disk: &Disk, cmd: Cmd<Executing>, at: Extent, _stable: bool) {
        cmd.good_with(at.len as u32);
    }

    fn write_atomic(&self, _disk: &Disk, cmd: Cmd<Executing>, at: Extent, _stable: bool) {
        cmd.good_with(at.len as u32);
    }

    fn flush(&self, _disk: &Disk, cmd: Cmd<Executing>, _at: Extent, _immed: bool) {
        cmd.good();
    }
}

impl Synchronous for Null {
    fn read_now(&self, _pos: u64, buf: &mut [u8]) -> Result {
        buf.fill(0);
        Ok(())
    }

    fn write_now(&self, _pos: u64, _buf: &[u8]) -> Result {
        Ok(())
    }
}
