// SPDX-License-Identifier: GPL-2.0

//! All that differs between the kernel versions that this tree builds against.

/// Expands to the `&'static ThisModule` of the module that it is used in.
///
/// To be used in the crate root's scope of a crate that has a `module!`: 7.2 has a static named
/// `THIS_MODULE` there, later kernels a type named `LocalModule`.
#[cfg(not(KERNEL_7_3))]
#[macro_export]
#[allow(clippy::crate_in_macro_def)] // The using crate's, not this one's.
macro_rules! this_module {
    () => {
        &crate::THIS_MODULE
    };
}

/// Expands to the `&'static ThisModule` of the module that it is used in.
///
/// To be used in the crate root's scope of a crate that has a `module!`: 7.2 has a static named
/// `THIS_MODULE` there, later kernels a type named `LocalModule`.
#[cfg(KERNEL_7_3)]
#[macro_export]
#[allow(clippy::crate_in_macro_def)] // The using crate's, not this one's.
macro_rules! this_module {
    () => {
        ::kernel::module::this_module::<crate::LocalModule>()
    };
}

use core::convert::Infallible;
use kernel::prelude::Init;

/// Runs an initialiser that cannot fail.
///
/// # Safety
///
/// `at` is valid for writes of a `T`, and holds nothing that has to be dropped.
#[cfg(not(KERNEL_7_3))]
#[inline(always)]
pub(crate) unsafe fn init_at<T>(at: *mut T, init: impl Init<T, Infallible>) {
    // SAFETY: By the function's contract; the error type has no value.
    let Ok(()) = unsafe { init.__init(at) };
}

/// Runs an initialiser that cannot fail.
///
/// # Safety
///
/// `at` is valid for writes of a `T`, and holds nothing that has to be dropped.
#[cfg(KERNEL_7_3)]
#[inline(always)]
pub(crate) unsafe fn init_at<T>(at: *mut T, init: impl Init<T, Infallible>) {
    // SAFETY: By the function's contract; the error type has no value.
    let Ok(()) = unsafe { pin_init::raw_try_init(at, init) };
}
