// SPDX-License-Identifier: GPL-2.0

//! References to modules, and what has to be over before a module's code goes away.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use crate::{c, rcu, sysfs};
use kernel::{bindings, prelude::*};

/// A reference to a loaded module: while it lives, the module does not unload.
///
/// # Invariants
///
/// `0` is a module that `try_module_get()` succeeded for, and that reference is ours.
pub struct ModuleRef(*mut bindings::module);

// SAFETY: A module reference is a per-CPU count that any context may take and give back.
unsafe impl Send for ModuleRef {}
// SAFETY: There is nothing to do with a `&ModuleRef`.
unsafe impl Sync for ModuleRef {}

impl ModuleRef {
    /// Takes a reference; `ENODEV` if the module is on its way out.
    ///
    /// Any context.
    pub fn get(module: &'static ThisModule) -> Result<ModuleRef> {
        // SAFETY: A `ThisModule` is the `THIS_MODULE` of a module whose code is there, as it is
        // running or is referenced by somebody who does.
        unsafe { ModuleRef::from_raw(module.as_ptr()) }
    }

    /// Takes a reference; `ENODEV` if the module is on its way out.
    ///
    /// # Safety
    ///
    /// `module` is null (built-in code: always succeeds) or a module that is not freed meanwhile.
    pub(crate) unsafe fn from_raw(module: *mut bindings::module) -> Result<ModuleRef> {
        // SAFETY: By the requirements of this function.
        if unsafe { bindings::try_module_get(module) } {
            // INVARIANT: Just taken.
            Ok(ModuleRef(module))
        } else {
            Err(ENODEV)
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this gives back our own reference.
        unsafe { bindings::module_put(self.0) }
    }
}

/// The `struct module` of the code that this function gets inlined into.
///
/// Always inlined, so that a generic function of this crate which another module instantiates
/// names that module.
#[inline(always)]
pub(crate) fn this_module_raw() -> *mut bindings::module {
    // Every loadable module has this object; only its address is taken.
    &raw mut bindings::__this_module
}

/// Waits, when dropped, until nothing of the kernel is going to call or return into the module.
///
/// Keep one as the *last* field of the module type (fields drop in order of declaration), and make
/// it first in `init`, so that a failing `init` waits too. It covers callbacks of `call_rcu()`
/// ([`rcu::Retired::defer`]), released kobjects of [`crate::sysfs`], and tasks that have left the
/// module for good except for their last few instructions (the tail of a sysfs `store` that has
/// already given back its module reference).
///
/// `Drop` sleeps, typically for tens of milliseconds.
pub struct UnloadBarrier(*mut bindings::module);

// SAFETY: The pointer is only compared.
unsafe impl Send for UnloadBarrier {}
// SAFETY: As above.
unsafe impl Sync for UnloadBarrier {}

impl UnloadBarrier {
    /// A barrier for the module that this is compiled into. Costs nothing until it is dropped.
    #[allow(clippy::new_without_default)]
    #[inline(always)]
    pub fn new() -> Self {
        UnloadBarrier(this_module_raw())
    }
}

impl Drop for UnloadBarrier {
    fn drop(&mut self) {
        // The code that kobjects call is this crate's, so only its own module waits for them.
        if self.0 == this_module_raw() {
            sysfs::drain();
        }
        rcu::barrier();
        // SAFETY: Waits until every task was seen outside of the kernel or in a voluntary
        // schedule(); requires only a context that may sleep, as the drop of a module is.
        unsafe { c::scst_c_synchronize_rcu_tasks() };
    }
}

/// The version of the running kernel, as `uname -r` prints it. Any context.
pub fn kernel_release() -> &'static str {
    // SAFETY: The initial UTS namespace exists for ever, its release ends in NUL and never changes.
    let release = unsafe { CStr::from_char_ptr(c::scst_c_init_utsname_release()) };
    release.to_str().unwrap_or("unknown")
}
