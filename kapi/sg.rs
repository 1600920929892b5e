// SPDX-License-Identifier: GPL-2.0

//! Scatterlists: views of foreign ones, and ones with pages of their own.
//!
//! C header: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use core::{marker::PhantomData, ptr};
use kernel::{bindings, page::PAGE_SIZE, prelude::*};

// bindgen gives types of C an empty struct here and there, which is no reason to worry.
#[allow(improper_ctypes)]
extern "C" {
    fn scst_c_sg_zero(
        sg: *mut bindings::scatterlist,
        nents: c_uint,
        skip: usize,
        len: usize,
    ) -> usize;
    fn scst_c_sg_segment(
        sg: *mut bindings::scatterlist,
        segment: *mut Segment,
    ) -> *mut bindings::scatterlist;
}

/// One piece of memory of a scatterlist.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Segment {
    /// First page. Not counted; valid as long as the list's memory.
    pub page: *mut bindings::page,
    /// Offset in bytes from the start of `page`; may exceed a page.
    pub offset: c_uint,
    /// Length in bytes.
    pub len: c_uint,
}

/// A borrowed scatterlist, as far as `nents` and `len` reach.
///
/// # Invariants
///
/// `sg` is the first of a chain of at least `nents` initialised entries, whose
/// memory is `len` bytes or more and may be read and written for `'a`.
pub struct SgList<'a> {
    sg: *mut bindings::scatterlist,
    nents: u32,
    len: u32,
    _memory: PhantomData<&'a mut [u8]>,
}

// SAFETY: A scatterlist is plain memory.
unsafe impl Send for SgList<'_> {}
// SAFETY: Its memory is that of an I/O in flight: bytes that others may change,
// and that are only ever copied.
unsafe impl Sync for SgList<'_> {}

impl<'a> SgList<'a> {
    /// A view of `nents` entries with `len` bytes.
    ///
    /// # Safety
    ///
    /// As the type invariants say.
    #[inline]
    pub unsafe fn new(sg: *mut bindings::scatterlist, nents: u32, len: u32) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            sg,
            nents,
            len,
            _memory: PhantomData,
        }
    }

    /// The same view for a shorter time.
    #[inline]
    pub fn reborrow(&self) -> SgList<'_> {
        // INVARIANT: Those of `self`.
        SgList {
            sg: self.sg,
            nents: self.nents,
            len: self.len,
            _memory: PhantomData,
        }
    }

    /// The first entry.
    pub fn as_raw(&self) -> *mut bindings::scatterlist {
        self.sg
    }

    /// Number of entries.
    pub fn nents(&self) -> u32 {
        self.nents
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// `count`, cut so that it fits behind `offset`.
    fn clamp(&self, offset: usize, count: usize) -> usize {
        count.min(self.len().saturating_sub(offset))
    }

    fn copy(&self, offset: usize, buf: *mut u8, count: usize, to_buffer: bool) -> usize {
        let count = self.clamp(offset, count);
        if count == 0 {
            return 0;
        }
        // SAFETY: The list is valid by the type invariants; the callers vouch
        // for `count` bytes at `buf`.
        unsafe {
            bindings::sg_copy_buffer(
                self.sg,
                self.nents,
                buf.cast(),
                count,
                offset as isize,
                to_buffer,
            )
        }
    }

    /// Copies from the list, `offset` bytes after its start, to `buf`. Returns
    /// how many bytes. Any context.
    pub fn copy_from(&self, offset: usize, buf: &mut [u8]) -> usize {
        self.copy(offset, buf.as_mut_ptr(), buf.len(), true)
    }

    /// Copies `buf` to the list, `offset` bytes after its start. Returns how
    /// many bytes. Any context.
    pub fn copy_to(&self, offset: usize, buf: &[u8]) -> usize {
        // `sg_copy_buffer` only reads `buf` in this direction.
        self.copy(offset, buf.as_ptr().cast_mut(), buf.len(), false)
    }

    /// Clears `count` bytes, `offset` bytes after the start. Returns how many.
    /// Any context.
    #[inline]
    pub fn zero(&self, offset: usize, count: usize) -> usize {
        let count = self.clamp(offset, count);
        // SAFETY: The list is valid by the type invariants.
        unsafe { scst_c_sg_zero(self.sg, self.nents, offset, count) }
    }

    /// The pieces of the list, `len()` bytes in all.
    pub fn segments(&self) -> Segments<'_> {
        Segments {
            sg: self.sg,
            entries: self.nents,
            bytes: self.len,
            _list: PhantomData,
        }
    }
}

/// Iterator over the pieces of a list.
pub struct Segments<'a> {
    sg: *mut bindings::scatterlist,
    entries: u32,
    bytes: u32,
    _list: PhantomData<&'a ()>,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        if self.entries == 0 || self.bytes == 0 || self.sg.is_null() {
            return None;
        }
        let mut segment = Segment {
            page: ptr::null_mut(),
            offset: 0,
            len: 0,
        };
        // SAFETY: `sg` is an entry of the list: the first, or what the function
        // gave as the next of one that was not the last.
        self.sg = unsafe { scst_c_sg_segment(self.sg, &raw mut segment) };
        self.entries -= 1;
        segment.len = segment.len.min(self.bytes);
        self.bytes -= segment.len;
        Some(segment)
    }
}

/// A scatterlist with pages of its own.
///
/// # Invariants
///
/// `sg` came from `sgl_alloc_order` with `ORDER`, has `nents` entries and at
/// least `len` bytes.
pub struct OwnedSg {
    sg: *mut bindings::scatterlist,
    nents: u32,
    len: u32,
}

/// How memory may be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gfp {
    /// Process context: may sleep (`GFP_KERNEL`).
    Kernel,
    /// Any context (`GFP_ATOMIC`).
    Atomic,
}

impl Gfp {
    fn as_raw(self) -> bindings::gfp_t {
        match self {
            Self::Kernel => bindings::GFP_KERNEL,
            Self::Atomic => bindings::GFP_ATOMIC,
        }
    }
}

/// Pages are taken in pieces of 2^0: single pages, which always can be had.
const ORDER: c_uint = 0;

// SAFETY: It owns its memory.
unsafe impl Send for OwnedSg {}
// SAFETY: As for `SgList`.
unsafe impl Sync for OwnedSg {}

impl OwnedSg {
    /// Allocates `len` bytes, rounded up to pages. Not cleared. `ENOMEM`.
    pub fn alloc(len: usize, gfp: Gfp) -> Result<Self> {
        Self::alloc_flags(len, gfp.as_raw())
    }

    /// As [`OwnedSg::alloc`], for who does I/O: may sleep, but starts none to
    /// find memory (`GFP_NOIO`).
    pub fn alloc_no_io(len: usize) -> Result<Self> {
        let io = (1 << bindings::___GFP_IO_BIT) | (1 << bindings::___GFP_FS_BIT);
        Self::alloc_flags(len, bindings::GFP_KERNEL & !io)
    }

    fn alloc_flags(len: usize, flags: bindings::gfp_t) -> Result<Self> {
        let len = len
            .max(1)
            .checked_next_multiple_of(PAGE_SIZE)
            .ok_or(ENOMEM)?;
        let bytes = u32::try_from(len).map_err(|_| ENOMEM)?;
        let mut nents: c_uint = 0;
        // SAFETY: No requirements.
        let sg =
            unsafe { bindings::sgl_alloc_order(len as u64, ORDER, false, flags, &raw mut nents) };
        if sg.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self {
            sg,
            nents,
            len: bytes,
        })
    }

    /// All of it.
    pub fn list(&self) -> SgList<'_> {
        // SAFETY: By the type invariants, for as long as `self` is borrowed.
        unsafe { SgList::new(self.sg, self.nents, self.len) }
    }

    /// Its first `len` bytes.
    pub fn list_of(&self, len: usize) -> SgList<'_> {
        let len = self.len.min(u32::try_from(len).unwrap_or(u32::MAX));
        // SAFETY: As for `list`.
        unsafe { SgList::new(self.sg, self.nents, len) }
    }

    /// Copies the first `len` bytes of `from` to the start. Returns how many.
    /// Any context.
    pub fn fill(&mut self, from: &SgList<'_>, len: usize) -> usize {
        self.exchange(from, len, true)
    }

    /// Copies the first `len` bytes to the start of `to`. Returns how many. Any
    /// context.
    pub fn pour(&self, to: &SgList<'_>, len: usize) -> usize {
        self.exchange(to, len, false)
    }

    fn exchange(&self, other: &SgList<'_>, len: usize, fill: bool) -> usize {
        let mut done = 0usize;
        for piece in self.list_of(len).segments() {
            let want = piece.len as usize;
            // SAFETY: The page is ours, and mapped as long as its address is
            // used. By `ORDER` the piece is not longer than that.
            let moved = unsafe {
                let page = bindings::kmap_local_page(piece.page);
                let moved = other.copy(done, page.cast(), want, fill);
                bindings::kunmap_local(page);
                moved
            };
            done = done.saturating_add(moved);
            if moved < want {
                break;
            }
        }
        done
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len as usize
    }
}

impl Drop for OwnedSg {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and not used after this.
        unsafe { bindings::sgl_free_order(self.sg, ORDER as c_int) };
    }
}
