// SPDX-License-Identifier: GPL-2.0

//! Memory that an RDMA device reads and writes.
//!
//! C header: `include/rdma/ib_verbs.h`, the `ib_dma_*` functions.

use super::device::ProtectionDomain;
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
    slice,
};
use kapi::sg::{Gfp, SgList};
use kernel::{bindings, prelude::*, sync::Arc};
use rdma_bindings as ib;

/// Which way data move, as `enum dma_data_direction` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Toward {
    /// The device reads the memory.
    Device = 1,
    /// The device writes the memory.
    Memory = 2,
}

// Of these types only addresses are exchanged.
#[allow(improper_ctypes)]
extern "C" {
    fn ib_c_dma_map_single(dev: *mut ib::ib_device, at: *mut u8, len: usize, dir: u32) -> u64;
    fn ib_c_dma_mapping_error(dev: *mut ib::ib_device, addr: u64) -> bool;
    fn ib_c_dma_unmap_single(dev: *mut ib::ib_device, addr: u64, len: usize, dir: u32);
    fn ib_c_dma_sync_for_cpu(dev: *mut ib::ib_device, addr: u64, len: usize, dir: u32);
    fn ib_c_dma_sync_for_device(dev: *mut ib::ib_device, addr: u64, len: usize, dir: u32);
    fn ib_c_dma_map_sg(
        dev: *mut ib::ib_device,
        sg: *mut bindings::scatterlist,
        nents: u32,
        dir: u32,
    ) -> u32;
    fn ib_c_dma_unmap_sg(
        dev: *mut ib::ib_device,
        sg: *mut bindings::scatterlist,
        nents: u32,
        dir: u32,
    );
    fn ib_c_uses_virt_dma(dev: *mut ib::ib_device) -> bool;
    fn ib_c_sg_dma_next(
        sg: *mut bindings::scatterlist,
        addr: *mut u64,
        len: *mut u32,
    ) -> *mut bindings::scatterlist;
}

/// A piece of this machine's memory, mapped for the device for at least `'t`:
/// what a work request moves to or from.
#[derive(Clone, Copy)]
pub(crate) struct Local<'t> {
    pub(super) addr: u64,
    pub(super) lkey: u32,
    len: u32,
    _mapped: PhantomData<&'t ()>,
}

impl Local<'_> {
    /// Length in bytes.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The first `len` bytes of it, all if it has no more.
    #[inline]
    pub(crate) fn first(self, len: u32) -> Self {
        Self {
            len: len.min(self.len),
            ..self
        }
    }

    /// What is behind the first `count` bytes.
    #[inline]
    pub(crate) fn behind(self, count: u32) -> Self {
        let count = count.min(self.len);
        Self {
            addr: self.addr + u64::from(count),
            len: self.len - count,
            ..self
        }
    }
}

/// Buffers of one size, mapped as long as they exist.
///
/// # Invariants
///
/// Each chunk is an allocation of `chunk_len` bytes, mapped at its address for
/// `dir`; `per_chunk` buffers of `stride` bytes fit into it. Of what they hold,
/// all bytes are initialised.
pub(crate) struct Buffers {
    pd: Arc<ProtectionDomain>,
    chunks: KVec<(NonNull<u8>, u64)>,
    chunk_len: usize,
    stride: usize,
    per_chunk: usize,
    count: usize,
    dir: Toward,
    sync: bool,
}

// SAFETY: It owns its memory; a buffer is reached by its `Buffer`.
unsafe impl Send for Buffers {}
// SAFETY: As above.
unsafe impl Sync for Buffers {}

/// One of [`Buffers`].
///
/// # Invariants
///
/// There is one of each, so that this owns the memory as `Box<[u8]>` would; and
/// who has it keeps the `Buffers` (see [`Buffers::take`]).
pub(crate) struct Buffer {
    at: NonNull<u8>,
    addr: u64,
    len: u32,
    lkey: u32,
}

// SAFETY: It owns bytes.
unsafe impl Send for Buffer {}
// SAFETY: As above.
unsafe impl Sync for Buffer {}

/// Chunks are of this size, or of that of a buffer if it is larger.
const CHUNK: usize = 64 << 10;
/// Buffers do not share cache lines.
const LINE: usize = 64;

impl Buffers {
    /// `count` cleared buffers of `size` bytes or a little more. Sleeps if `gfp`
    /// says so. `ENOMEM`.
    pub(crate) fn new(
        pd: &Arc<ProtectionDomain>,
        count: usize,
        size: usize,
        dir: Toward,
        gfp: Gfp,
    ) -> Result<Self> {
        let stride = size.max(1).checked_next_multiple_of(LINE).ok_or(EINVAL)?;
        let per_chunk = (CHUNK / stride).max(1);
        let chunk_len = stride.checked_mul(per_chunk).ok_or(EINVAL)?;
        // SAFETY: The device is valid.
        let sync = !unsafe { ib_c_uses_virt_dma(pd.device().raw()) };
        let mut this = Self {
            pd: pd.clone(),
            chunks: KVec::new(),
            chunk_len,
            stride,
            per_chunk,
            count,
            dir,
            sync,
        };
        for _ in 0..count.div_ceil(per_chunk) {
            let (flags, raw_flags) = match gfp {
                Gfp::Kernel => (GFP_KERNEL, bindings::GFP_KERNEL),
                Gfp::Atomic => (GFP_ATOMIC, bindings::GFP_ATOMIC | bindings::__GFP_NOWARN),
            };
            this.chunks.reserve(1, flags)?;
            // SAFETY: Any size may be asked for; it is not on the stack.
            let at = unsafe {
                bindings::alloc_pages_exact_noprof(chunk_len, raw_flags | bindings::__GFP_ZERO)
            };
            let at = NonNull::new(at.cast::<u8>()).ok_or(ENOMEM)?;
            let raw = pd.device().raw();
            // SAFETY: The device is valid, and the memory is ours.
            let addr = unsafe { ib_c_dma_map_single(raw, at.as_ptr(), chunk_len, dir as u32) };
            // SAFETY: `addr` is what mapping has returned.
            if unsafe { ib_c_dma_mapping_error(raw, addr) } {
                // SAFETY: Allocated above, and of no use to anybody.
                unsafe { bindings::free_pages_exact(at.as_ptr().cast(), chunk_len) };
                return Err(ENOMEM);
            }
            this.chunks.push((at, addr), flags)?;
        }
        Ok(this)
    }

    /// All buffers, as the items of an iterator, once. The caller keeps `self`
    /// alive, and the buffers out of use, as long as it says in the contract.
    ///
    /// # Safety
    ///
    /// Called once; and none of the buffers is used, by the caller or by the
    /// device, after `self` is dropped.
    pub(super) unsafe fn take(&self) -> impl Iterator<Item = Buffer> + '_ {
        let (stride, lkey) = (self.stride, self.pd.lkey());
        self.chunks
            .iter()
            .flat_map(move |&(at, addr)| {
                (0..self.per_chunk).map(move |n| Buffer {
                    // SAFETY: `per_chunk` strides fit into a chunk.
                    at: unsafe { at.add(n * stride) },
                    addr: addr + (n * stride) as u64,
                    len: stride as u32,
                    lkey,
                })
            })
            .take(self.count)
    }

    /// Lets the device have `len` bytes of `buffer`.
    #[inline]
    pub(super) fn give(&self, buffer: &Buffer, len: u32) {
        if self.sync {
            // SAFETY: The buffer is part of a mapping for `dir`.
            unsafe {
                ib_c_dma_sync_for_device(
                    self.pd.device().raw(),
                    buffer.addr,
                    len as usize,
                    self.dir as u32,
                )
            };
        }
    }

    /// Takes `len` bytes of `buffer` back from the device.
    #[inline]
    pub(super) fn regain(&self, buffer: &Buffer, len: u32) {
        if self.sync {
            // SAFETY: The buffer is part of a mapping for `dir`.
            unsafe {
                ib_c_dma_sync_for_cpu(
                    self.pd.device().raw(),
                    buffer.addr,
                    len as usize,
                    self.dir as u32,
                )
            };
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        for &(at, addr) in &self.chunks {
            // SAFETY: Mapped and allocated in `new`, with these sizes; nobody
            // uses it any more by the contract of `take`.
            unsafe {
                ib_c_dma_unmap_single(
                    self.pd.device().raw(),
                    addr,
                    self.chunk_len,
                    self.dir as u32,
                );
                bindings::free_pages_exact(at.as_ptr().cast(), self.chunk_len);
            }
        }
    }
}

impl Buffer {
    /// Its bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariants, and those of `Buffers`.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len as usize) }
    }

    /// Its bytes.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: As above, and `&mut self` is exclusive.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len as usize) }
    }

    /// Length in bytes.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// For a work request.
    #[inline]
    pub(crate) fn local(&self) -> Local<'_> {
        Local {
            addr: self.addr,
            lkey: self.lkey,
            len: self.len,
            _mapped: PhantomData,
        }
    }
}

/// One buffer by itself.
pub(crate) struct Single {
    /// Declared, and so dropped, before the memory.
    buffer: Buffer,
    memory: Buffers,
}

impl Single {
    /// A cleared buffer of `len` bytes or a little more. `ENOMEM`.
    pub(crate) fn new(
        pd: &Arc<ProtectionDomain>,
        len: usize,
        dir: Toward,
        gfp: Gfp,
    ) -> Result<Self> {
        let memory = Buffers::new(pd, 1, len, dir, gfp)?;
        // SAFETY: Both go together, and work that is posted with the buffer has
        // the request that it is part of.
        let buffer = unsafe { memory.take() }.next().ok_or(ENOMEM)?;
        Ok(Self { buffer, memory })
    }

    /// The buffer.
    #[inline]
    pub(crate) fn get(&self) -> &Buffer {
        &self.buffer
    }

    /// Its first `len` bytes, after the device has written them.
    pub(crate) fn written(&self, len: u32) -> &[u8] {
        self.memory.regain(&self.buffer, len);
        self.buffer.bytes().get(..len as usize).unwrap_or_default()
    }
}

/// Memory that has no content: what it is read for are zeros, and what is written
/// to it nobody wants.
pub(crate) struct Void {
    zeros: Single,
    sink: Single,
    pd: Arc<ProtectionDomain>,
}

/// Bytes of it.
pub(crate) const VOID_LEN: u32 = 64 << 10;

impl Void {
    /// Sleeps. `ENOMEM`.
    pub(crate) fn new(pd: &Arc<ProtectionDomain>) -> Result<Arc<Self>> {
        let region = |dir| Single::new(pd, VOID_LEN as usize, dir, Gfp::Kernel);
        let this = Self {
            zeros: region(Toward::Device)?,
            sink: region(Toward::Memory)?,
            pd: pd.clone(),
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// To read from.
    #[inline]
    pub(crate) fn zeros(&self) -> Local<'_> {
        self.zeros.get().local()
    }

    /// To write to.
    #[inline]
    pub(crate) fn sink(&self) -> Local<'_> {
        self.sink.get().local()
    }

    /// The domain in which it is mapped.
    #[inline]
    pub(crate) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.pd
    }
}

/// The data buffer of a command, mapped for the device until this is dropped.
///
/// # Invariants
///
/// `sg` is the first of `nents` entries that are mapped for `dir`, and they and
/// their memory stay as long as this exists ([`Mapped::new`]).
pub(crate) struct Mapped {
    pd: Arc<ProtectionDomain>,
    sg: NonNull<bindings::scatterlist>,
    /// Entries of the list.
    nents: u32,
    /// Entries that the mapping has, no more than `nents`.
    mapped: u32,
    dir: Toward,
}

// SAFETY: Mappings are not tied to a task.
unsafe impl Send for Mapped {}
// SAFETY: As above; through `&self` they are only read.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the memory of `sg`. Any context. `ENOMEM`.
    ///
    /// # Safety
    ///
    /// `sg`'s entries and memory outlive the mapping.
    pub(super) unsafe fn new(
        pd: &Arc<ProtectionDomain>,
        sg: &SgList<'_>,
        dir: Toward,
    ) -> Result<Self> {
        let (raw, nents) = (sg.as_raw(), sg.nents());
        // SAFETY: The list has `nents` entries.
        let mapped = unsafe { ib_c_dma_map_sg(pd.device().raw(), raw, nents, dir as u32) };
        if mapped == 0 {
            return Err(ENOMEM);
        }
        // INVARIANT: Just mapped; the rest is the caller's contract.
        Ok(Self {
            pd: pd.clone(),
            sg: NonNull::new(raw).ok_or(EINVAL)?,
            nents,
            mapped,
            dir,
        })
    }

    /// The pieces, in the order of the data.
    pub(crate) fn pieces(&self) -> Pieces<'_> {
        Pieces {
            sg: self.sg.as_ptr(),
            left: self.mapped,
            lkey: self.pd.lkey(),
            _mapped: PhantomData,
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: Mapped in `new` with these values.
        unsafe {
            ib_c_dma_unmap_sg(
                self.pd.device().raw(),
                self.sg.as_ptr(),
                self.nents,
                self.dir as u32,
            )
        };
    }
}

/// Iterator over mapped pieces of memory; [`Pieces::default`] has none.
#[derive(Clone)]
pub(crate) struct Pieces<'t> {
    sg: *mut bindings::scatterlist,
    left: u32,
    lkey: u32,
    _mapped: PhantomData<&'t ()>,
}

impl Default for Pieces<'_> {
    fn default() -> Self {
        Self {
            sg: ptr::null_mut(),
            left: 0,
            lkey: 0,
            _mapped: PhantomData,
        }
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = Local<'t>;

    #[inline]
    fn next(&mut self) -> Option<Local<'t>> {
        self.left = self.left.checked_sub(1)?;
        let (mut addr, mut len) = (0, 0);
        // SAFETY: `sg` is one of the mapped entries: `left` counts them.
        self.sg = unsafe { ib_c_sg_dma_next(self.sg, &mut addr, &mut len) };
        Some(Local {
            addr,
            len,
            lkey: self.lkey,
            _mapped: PhantomData,
        })
    }
}
