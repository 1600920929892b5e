// SPDX-License-Identifier: GPL-2.0

//! Owned sets of CPUs, as users write and read them.
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)

use crate::c;
use core::fmt;
use kernel::{bindings, error::to_result, prelude::*, types::Opaque};

/// A set of CPUs.
///
/// Bits from `nr_cpu_ids` on are always clear.
pub struct CpuMask(KBox<Opaque<bindings::cpumask>>);

// SAFETY: A bitmap that is written only by its owner.
unsafe impl Send for CpuMask {}
// SAFETY: As above.
unsafe impl Sync for CpuMask {}

impl CpuMask {
    /// The empty set. May sleep.
    pub fn empty() -> Result<Self> {
        Ok(CpuMask(KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?))
    }

    /// All CPUs that the machine may have. May sleep.
    pub fn all() -> Result<Self> {
        let mask = CpuMask::empty()?;
        // Not `cpumask_setall()`, which sets the bits beyond the last CPU, too.
        // SAFETY: The bitmap is valid, and not shared yet.
        let words = unsafe { &mut (*mask.as_raw()).bits };
        let mut left = nr_cpu_ids();
        for word in words {
            *word = match left {
                0 => 0,
                n if n < c_ulong::BITS as usize => (1 << n) - 1,
                _ => c_ulong::MAX,
            };
            left = left.saturating_sub(c_ulong::BITS as usize);
        }
        Ok(mask)
    }

    /// Reads what users write: hexadecimal digits, groups of 32 bits separated by commas.
    ///
    /// White space around it is allowed. May sleep. `EOVERFLOW` if there is a bit for a CPU that
    /// the machine cannot have, or more than 32 bits between commas; `EINVAL` for other characters.
    pub fn parse(text: &[u8]) -> Result<Self> {
        // `bitmap_parse()` takes a string that ends in NUL.
        if text.contains(&0) {
            return Err(EINVAL);
        }
        let mut buf = KVec::with_capacity(text.len().saturating_add(1), GFP_KERNEL)?;
        buf.extend_from_slice(text, GFP_KERNEL)?;
        buf.push(0u8, GFP_KERNEL)?;

        let mask = CpuMask::empty()?;
        // SAFETY: `buf` ends in NUL; the bitmap is valid, and not shared yet.
        let ret = unsafe { c::scst_c_cpumask_parse(buf.as_ptr().cast(), mask.as_raw()) };
        to_result(ret)?;
        Ok(mask)
    }

    /// A copy. May sleep.
    pub fn try_clone(&self) -> Result<Self> {
        let mask = CpuMask::empty()?;
        // SAFETY: Both are valid, and the new one is not shared yet.
        unsafe { (*mask.as_raw()).bits = (*self.as_raw()).bits };
        Ok(mask)
    }

    /// Whether no CPU is in it.
    pub fn is_empty(&self) -> bool {
        self.words().iter().all(|w| *w == 0)
    }

    /// Whether this CPU is in it.
    pub fn contains(&self, cpu: u32) -> bool {
        let word = self.words().get((cpu / c_ulong::BITS) as usize);
        word.is_some_and(|w| w & (1 << (cpu % c_ulong::BITS)) != 0)
    }

    /// The C object.
    pub fn as_raw(&self) -> *mut bindings::cpumask {
        self.0.get()
    }

    fn words(&self) -> &[c_ulong] {
        // SAFETY: The bitmap is valid, and is written only before it is shared.
        unsafe { &(*self.as_raw()).bits }
    }
}

/// One more than the highest number that a CPU can have.
fn nr_cpu_ids() -> usize {
    // SAFETY: Set once at boot.
    unsafe { bindings::nr_cpu_ids as usize }
}

impl PartialEq for CpuMask {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl Eq for CpuMask {}

/// As the kernel's `%*pb` does: `nr_cpu_ids` bits, groups of eight digits separated by commas.
impl fmt::Display for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = nr_cpu_ids();
        let groups = bits.div_ceil(32);
        for group in (0..groups).rev() {
            let at = group * 32;
            let word = self.words().get(at / c_ulong::BITS as usize).copied();
            let value = (word.unwrap_or(0) >> (at % c_ulong::BITS as usize)) as u32;
            let width = (bits - at).min(32).div_ceil(4);
            write!(f, "{value:0width$x}")?;
            if group != 0 {
                f.write_str(",")?;
            }
        }
        Ok(())
    }
}

impl kernel::fmt::Display for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
