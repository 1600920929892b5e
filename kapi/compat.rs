// SPDX-License-Identifier: GPL-2.0

//! All that differs between the kernel versions that this tree builds against.

/// Expands to the `&'static ThisModule` of the module that it is used in.
///
/// To be used in the crate root's scope of a crate that has a `module!`: 7.2 has a static named
/// `THIS_MODULE` there, later kernels a type named `LocalModule`.
#[cfg(not(KERNEL_7_3))]
#[macro_export]
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
macro_rules! this_module {
    () => {
        ::kernel::module::this_module::<crate::LocalModule>()
    };
}
