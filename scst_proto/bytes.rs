// SPDX-License-Identifier: GPL-2.0

//! Big-endian access to byte buffers that cannot panic.
//!
//! SCSI is big-endian throughout (SPC-6 3.5). The readers answer `None` instead of reading past the end; the
//! [`Writer`] never writes past the end but goes on counting, because SPC-6 4.2.5.6 wants the data cut at the
//! ALLOCATION LENGTH while the length fields inside it still tell the full length.

/// The byte at `off`.
#[inline]
pub fn u8_at(buf: &[u8], off: usize) -> Option<u8> {
    buf.get(off).copied()
}

/// The array of `N` bytes at `off`.
#[inline]
fn array<const N: usize>(buf: &[u8], off: usize) -> Option<[u8; N]> {
    buf.get(off..)?.first_chunk::<N>().copied()
}

/// The 16-bit big-endian number at `off`.
#[inline]
pub fn be16(buf: &[u8], off: usize) -> Option<u16> {
    Some(u16::from_be_bytes(array(buf, off)?))
}

/// The 24-bit big-endian number at `off`.
#[inline]
pub fn be24(buf: &[u8], off: usize) -> Option<u32> {
    let [a, b, c] = array(buf, off)?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// The 32-bit big-endian number at `off`.
#[inline]
pub fn be32(buf: &[u8], off: usize) -> Option<u32> {
    Some(u32::from_be_bytes(array(buf, off)?))
}

/// The 64-bit big-endian number at `off`.
#[inline]
pub fn be64(buf: &[u8], off: usize) -> Option<u64> {
    Some(u64::from_be_bytes(array(buf, off)?))
}

/// Copies as much of `src` as `dst` holds; returns how much that was.
#[inline]
pub fn copy(dst: &mut [u8], src: &[u8]) -> usize {
    for (d, s) in dst.iter_mut().zip(src) {
        *d = *s;
    }
    dst.len().min(src.len())
}

/// A cursor that fills a buffer front to back.
///
/// # Invariants
///
/// `buf[..min(pos, buf.len())]` has been written by this writer. `pos` counts every byte that was handed in, also
/// those that did not fit.
pub struct Writer<'a> {
    buf: &'a mut [u8],
    pos: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the start of `buf`. Cut `buf` to the allocation length first.
    #[inline]
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, pos: 0 }
    }

    /// The bytes handed in so far: the length that the data has untruncated.
    #[inline]
    pub fn full_len(&self) -> usize {
        self.pos
    }

    /// The bytes that are in the buffer: what to transfer.
    #[inline]
    pub fn written(&self) -> usize {
        self.pos.min(self.buf.len())
    }

    /// Whether something did not fit.
    #[inline]
    pub fn is_truncated(&self) -> bool {
        self.pos > self.buf.len()
    }

    /// The bytes that are in the buffer.
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.written()).unwrap_or(&[])
    }

    /// Appends `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(rest) = self.buf.get_mut(self.pos..) {
            copy(rest, bytes);
        }
        self.pos = self.pos.saturating_add(bytes.len());
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.bytes(&[v])
    }

    /// Appends a 16-bit number.
    pub fn be16(&mut self, v: u16) -> &mut Self {
        self.bytes(&v.to_be_bytes())
    }

    /// Appends the low 24 bits of `v`.
    pub fn be24(&mut self, v: u32) -> &mut Self {
        let [_, a, b, c] = v.to_be_bytes();
        self.bytes(&[a, b, c])
    }

    /// Appends a 32-bit number.
    pub fn be32(&mut self, v: u32) -> &mut Self {
        self.bytes(&v.to_be_bytes())
    }

    /// Appends a 64-bit number.
    pub fn be64(&mut self, v: u64) -> &mut Self {
        self.bytes(&v.to_be_bytes())
    }

    /// Appends `n` times `v`.
    pub fn fill(&mut self, v: u8, n: usize) -> &mut Self {
        if let Some(rest) = self.buf.get_mut(self.pos..) {
            for b in rest.iter_mut().take(n) {
                *b = v;
            }
        }
        self.pos = self.pos.saturating_add(n);
        self
    }

    /// Appends `n` zero bytes (reserved fields).
    pub fn zeros(&mut self, n: usize) -> &mut Self {
        self.fill(0, n)
    }

    /// Appends exactly `width` bytes: `text` left-aligned, cut or filled up with `fill` (SPC-6 4.3.1 pads ASCII
    /// fields with spaces).
    pub fn padded(&mut self, text: &[u8], width: usize, fill: u8) -> &mut Self {
        let cut = text.get(..width).unwrap_or(text);
        self.bytes(cut).fill(fill, width.saturating_sub(cut.len()))
    }

    /// Overwrites the byte at `at`, as far as the buffer has it.
    pub fn patch_u8(&mut self, at: usize, v: u8) {
        self.patch(at, &[v]);
    }

    /// Overwrites the 16-bit number at `at`, as far as the buffer has it.
    pub fn patch_be16(&mut self, at: usize, v: u16) {
        self.patch(at, &v.to_be_bytes());
    }

    /// Overwrites the 32-bit number at `at`, as far as the buffer has it.
    pub fn patch_be32(&mut self, at: usize, v: u32) {
        self.patch(at, &v.to_be_bytes());
    }

    /// Only what has been written is patched, so the invariant stays.
    fn patch(&mut self, at: usize, bytes: &[u8]) {
        let end = self.written();
        if let Some(place) = self.buf.get_mut(at..end) {
            copy(place, bytes);
        }
    }
}
