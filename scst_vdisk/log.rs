// SPDX-License-Identifier: GPL-2.0

//! Log lines in SCST's wording. The arguments are `core::fmt`'s, as those of
//! `scst_proto` are.

/// What an administrator did wrong, or what went wrong below.
macro_rules! error {
    ($($arg:tt)*) => {
        kernel::pr_err!("***ERROR***: {}\n", core::format_args!($($arg)*))
    };
}

/// What happened.
macro_rules! info {
    ($($arg:tt)*) => {
        kernel::pr_info!("{}\n", core::format_args!($($arg)*))
    };
}

pub(crate) use {error, info};
