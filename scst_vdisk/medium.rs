// SPDX-License-Identifier: GPL-2.0

//! Backing stores that have a path and can be opened and closed: what an
//! administrator does with them.

use crate::{
    disk::Disk,
    gate::Gate,
    io::{Extent, Store, Synchronous},
    log,
    unit::Unit,
    vfs::{File, OpenMode},
};
use kapi::counted::InUse;
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{Arc, Mutex},
};
use scst_proto::lba_status::Provisioned;
use scst_proto::sense::{CAPACITY_DATA_HAS_CHANGED, MEDIUM_CHANGED};
use scst_proto::threshold::Resources;

/// Name and door of a medium.
#[pin_data]
pub(crate) struct Backing<T> {
    /// Serialises everything that administrators do with the medium, which may take
    /// as long as its commands, or as long as it takes to be opened. Taken before
    /// the other two.
    #[pin]
    changes: Mutex<()>,
    /// Its path; none for an empty drive. Files show it, so nothing is waited for
    /// under this.
    #[pin]
    path: Mutex<Option<Arc<CString>>>,
    #[pin]
    gate: Gate<T>,
}

impl<T> Backing<T> {
    /// A closed medium.
    pub(crate) fn new(path: Option<CString>) -> Result<Pin<KBox<Self>>> {
        let path = path.map(|path| Arc::new(path, GFP_KERNEL)).transpose()?;
        KBox::pin_init(
            pin_init!(Self {
                changes <- new_mutex!((), "scst_vdisk_changes"),
                path <- new_mutex!(path, "scst_vdisk_path"),
                gate <- Gate::new(),
            }),
            GFP_KERNEL,
        )
    }

    fn path(&self) -> Option<Arc<CString>> {
        self.path.lock().clone()
    }

    fn set_path(&self, path: Option<Arc<CString>>) {
        let old = core::mem::replace(&mut *self.path.lock(), path);
        drop(old);
    }

    /// What commands go through.
    #[inline]
    pub(crate) fn gate(&self) -> &Gate<T> {
        &self.gate
    }

    /// Calls `f` with the path, or `none`.
    pub(crate) fn with_path<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        let path = self.path.lock();
        f(path
            .as_ref()
            .and_then(|p| p.to_str().ok())
            .unwrap_or("none"))
    }
}

/// A [`Store`] with a [`Backing`].
pub(crate) trait Medium: Store {
    /// The open medium.
    type Open: Send + Sync + 'static;

    /// Where it is.
    fn backing(&self) -> &Backing<Self::Open>;

    /// Opens `path`. Process context; errors after a log line.
    fn open(&self, disk: &Disk, path: &CStr) -> Result<Self::Open>;

    /// Notes what the disk takes over from the medium: whether it is thin,
    /// its physical block size.
    fn adopt(&self, _disk: &Disk, _path: &CStr, _open: &Self::Open) -> Result {
        Ok(())
    }

    /// Its size in bytes now.
    fn size_of(open: &Self::Open) -> Result<u64>;

    /// Brings all that was written to stable storage.
    fn sync_all(open: &Self::Open) -> Result;

    /// `Err` after a log line unless the medium keeps protection information with its
    /// blocks, of the kind that `disk` has, and [`Medium::read_tagged`] and
    /// [`Medium::write_tagged`] are there.
    fn check_tagged(_open: &Self::Open, disk: &Disk) -> Result {
        log::error!(
            "{}: dif_mode dev_store is not possible without dif_filename",
            disk.name()
        );
        Err(EINVAL)
    }

    /// Fills `data`, whole blocks, from `pos`, and `tags` with their protection
    /// information.
    fn read_tagged(
        _open: &Self::Open,
        _disk: &Disk,
        _pos: u64,
        _data: &mut [u8],
        _tags: &mut [u8],
    ) -> Result {
        Err(ENOTSUPP)
    }

    /// Writes `data`, whole blocks, to `pos`, with their protection information.
    fn write_tagged(
        _open: &Self::Open,
        _disk: &Disk,
        _pos: u64,
        _data: &[u8],
        _tags: &[u8],
    ) -> Result {
        Err(ENOTSUPP)
    }

    /// Fills `buf`, whole blocks, from `pos`.
    fn read_at(open: &Self::Open, pos: u64, buf: &mut [u8]) -> Result;

    /// Writes `buf`, whole blocks, to `pos`.
    fn write_at(open: &Self::Open, pos: u64, buf: &[u8]) -> Result;

    /// Gives up the blocks of `at`.
    fn discard_at(open: &Self::Open, at: Extent) -> Result;

    /// See [`Synchronous::provisioned`].
    fn provisioned_at(_open: &Self::Open, _pos: u64) -> Result<(Provisioned, u64)> {
        Ok((Provisioned::Mapped, u64::MAX))
    }

    /// See [`Synchronous::resources`].
    fn resources_of(_open: &Self::Open) -> Result<Option<Resources>> {
        Ok(None)
    }

    /// See [`Synchronous::prefetch`].
    fn prefetch_at(_open: &Self::Open, _at: Extent) -> Result {
        Ok(())
    }
}

/// The open medium of `store`; `ENODEV` if it is closed.
fn enter<M: Medium>(store: &M) -> Result<InUse<M::Open>> {
    store.backing().gate().enter().ok_or(ENODEV)
}

impl<M: Medium> Synchronous for M {
    fn read_now(&self, pos: u64, buf: &mut [u8]) -> Result {
        M::read_at(&*enter(self)?, pos, buf)
    }

    fn write_now(&self, pos: u64, buf: &[u8]) -> Result {
        M::write_at(&*enter(self)?, pos, buf)
    }

    fn sync_now(&self) -> Result {
        M::sync_all(&*enter(self)?)
    }

    fn discard(&self, at: Extent) -> Result {
        M::discard_at(&*enter(self)?, at)
    }

    fn provisioned(&self, pos: u64) -> Result<(Provisioned, u64)> {
        M::provisioned_at(&*enter(self)?, pos)
    }

    fn resources(&self) -> Result<Option<Resources>> {
        M::resources_of(&*enter(self)?)
    }

    fn prefetch(&self, at: Extent) -> Result {
        M::prefetch_at(&*enter(self)?, at)
    }

    /// The size stays: initiators may ask for it in any case.
    fn suspend(&self, disk: &Disk) {
        let _changes = self.backing().changes.lock();
        if self.backing().gate.is_open() {
            close(self, disk);
            log::info!("{}: closed by its ALUA state", disk.name());
        }
    }

    fn reopen(&self, disk: &Disk) {
        let opened = {
            let _changes = self.backing().changes.lock();
            open(self, disk)
        };
        match opened {
            // Telling takes a lock of the core's; so not under the lock of changes.
            Ok(true) => {
                disk.log_new_size();
                disk.unit_attention(CAPACITY_DATA_HAS_CHANGED);
            }
            Ok(false) => {}
            Err(e) => log::error!(
                "{}: not opened for its ALUA state (error {}): \
                 initiators find it not ready until active is set to 1",
                disk.name(),
                e.to_errno()
            ),
        }
    }

    /// A write to an attribute may still be under way: it comes before this, or
    /// finds that the disk is gone.
    fn close(&self, disk: &Disk) {
        let _changes = self.backing().changes.lock();
        disk.removed.set(true);
        close(self, disk);
    }

    fn describe(&self, f: &mut dyn FnMut(&str)) {
        self.backing().with_path(f);
    }
}

/// Closes `store`: waits for its users, then syncs what they wrote. With the
/// lock of changes held.
fn close<S: Medium>(store: &S, disk: &Disk) {
    disk.ready.set(false);
    let Some(open) = store.backing().gate.close() else {
        return;
    };
    if disk.conf.read_only {
        return;
    }
    if let Err(e) = S::sync_all(&open) {
        log::error!("{}: sync failed: {}", disk.name(), e.to_errno());
    }
}

/// Opens `store`, if it is not open. True if the disk has another size than
/// before. With the lock of changes held.
fn open<S: Medium>(store: &S, disk: &Disk) -> Result<bool> {
    let backing = store.backing();
    if backing.gate.is_open() {
        return Ok(false);
    }
    if disk.removed.get() {
        return Err(ENODEV);
    }
    let path = backing.path().ok_or(ENOENT)?;
    let open = store.open(disk, &path)?;
    let size = S::size_of(&open)?;
    store.adopt(disk, &path, &open)?;
    backing.gate.open(open)?;
    let news = disk.set_size(size);
    disk.ready.set(true);
    Ok(news)
}

impl<S: Medium> Unit<S> {
    /// Opens the medium, if it is not open.
    pub(crate) fn activate(&self) -> Result {
        let _changes = self.store.backing().changes.lock();
        open(&self.store, &self.disk).map(drop)
    }

    /// Learns how long a medium is that is not opened yet: initiators ask for
    /// that in standby too (READ CAPACITY, SPC-6 5.18.2.4.4), and most do not ask
    /// again when it is. Where it cannot be read here, as of a replica that only
    /// another node may open, it stays unknown until then.
    pub(crate) fn measure(&self) {
        const LOOK: OpenMode = OpenMode {
            read_only: true,
            direct: false,
        };
        let _changes = self.store.backing().changes.lock();
        let size = match self.store.backing().path() {
            Some(path) => File::open(&path, LOOK).and_then(|file| file.size()),
            None => return,
        };
        match size {
            Ok(size) => {
                self.disk.set_size(size);
            }
            Err(e) => log::info!(
                "{}: its size is not known until it is opened (error {})",
                self.disk.name(),
                e.to_errno()
            ),
        }
    }

    /// Closes the medium: commands that use it end first, later ones find the
    /// device not ready. Sleeps as long as that takes.
    pub(crate) fn deactivate(&self) {
        let _changes = self.store.backing().changes.lock();
        self.close_medium();
    }

    fn close_medium(&self) {
        self.disk.set_size(0);
        close(&self.store, &self.disk);
    }

    /// Reads the medium's size again and tells the initiators if it is new.
    pub(crate) fn resync_size(&self) -> Result {
        self.change_size(Ok)
    }

    /// Makes the disk `bytes` long, which its medium has to have.
    pub(crate) fn shrink(&self, bytes: u64) -> Result {
        self.change_size(|most| {
            if bytes == 0 || bytes > most {
                log::error!(
                    "{}: size {} is not possible, the medium has {} bytes",
                    self.disk.name(),
                    bytes,
                    most
                );
                return Err(EINVAL);
            }
            Ok(bytes)
        })
    }

    /// Puts the size into force that `choose` finds good for a medium of so many
    /// bytes.
    fn change_size(&self, choose: impl FnOnce(u64) -> Result<u64>) -> Result {
        let changes = self.store.backing().changes.lock();
        let open = self.store.backing().gate.enter().ok_or(EINVAL)?;
        let news = self.disk.set_size(choose(S::size_of(&open)?)?);
        drop(open);
        // Telling takes a lock of the core's; so not under the lock of changes.
        drop(changes);
        if news {
            self.disk.log_new_size();
            self.disk.unit_attention(CAPACITY_DATA_HAS_CHANGED);
        }
        Ok(())
    }

    /// Brings all that was written to stable storage.
    pub(crate) fn sync(&self) -> Result {
        match self.store.backing().gate.enter() {
            Some(open) => S::sync_all(&open),
            None => Ok(()),
        }
    }

    /// Names another medium for an inactive disk.
    pub(crate) fn rename(&self, new: CString) -> Result {
        let backing = self.store.backing();
        let new = Arc::new(new, GFP_KERNEL)?;
        let _changes = backing.changes.lock();
        if backing.gate.is_open() {
            log::error!(
                "vdev {}: can't change the filename because the device is still active",
                self.disk.name()
            );
            return Err(EINVAL);
        }
        backing.set_path(Some(new));
        Ok(())
    }

    /// Puts another medium (or none) into a drive. If it cannot be opened, the
    /// drive keeps what it has.
    pub(crate) fn change_medium(&self, new: Option<CString>) -> Result {
        let backing = self.store.backing();
        let new = new.map(|new| Arc::new(new, GFP_KERNEL)).transpose()?;
        let changes = backing.changes.lock();
        if let Some(new) = &new {
            // Tried before the old one is given up.
            drop(self.store.open(&self.disk, new)?);
        }
        self.close_medium();
        let some = new.is_some();
        backing.set_path(new);
        let result = match some {
            true => open(&self.store, &self.disk).map(drop),
            false => Ok(()),
        };
        if result.is_err() {
            backing.set_path(None);
        }
        drop(changes);
        if self.disk.ready.get() {
            self.disk.unit_attention(MEDIUM_CHANGED);
        }
        result
    }
}
