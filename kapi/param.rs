// SPDX-License-Identifier: GPL-2.0

//! Module parameters that users see: in `modinfo`, in
//! `/sys/module/<module>/parameters`, and writable there if their mode says so.
//!
//! `module!` of the `kernel` crate has parameters too, but keeps them out of
//! sysfs. This is [`param!`](crate::param!):
//!
//! ```ignore
//! kapi::param! {
//!     /// Number of threads.
//!     static THREADS: u32 = 8, name: "num_threads", perm: 0o444, range: 1..=256,
//!         description: "Threads for each device (default: 8)";
//!     static VERBOSE: bool = false, name: "verbose", perm: 0o644,
//!         description: "Say more (default: N)";
//! }
//! ```
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::{cell::UnsafeCell, ops::RangeInclusive};
use kernel::{bindings, ffi::*};

/// The value of a parameter, which the kernel writes and anybody reads.
#[repr(transparent)]
pub struct Param<T>(UnsafeCell<T>);

// SAFETY: The kernel writes the value, of a size that is written at once, under
// the parameters' lock; readers read it volatile, and take any of the values.
unsafe impl<T: Send> Sync for Param<T> {}

impl<T: Value> Param<T> {
    #[doc(hidden)]
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value now. Any context.
    pub fn get(&self) -> T {
        // SAFETY: The cell is always initialised; the kernel stores a valid
        // value of the type.
        unsafe { self.0.get().read_volatile() }
    }

    #[doc(hidden)]
    pub const fn as_void_ptr(&self) -> *mut c_void {
        self.0.get().cast()
    }
}

/// Types of parameters.
pub trait Value: Copy + Send + 'static {
    /// What `modinfo` calls the type.
    const NAME: &'static str;

    /// Parses `text` into the parameter `at`, within `range`.
    ///
    /// # Safety
    ///
    /// `text` is a C string or null, `at` a parameter of this type.
    unsafe fn set(
        text: *const c_char,
        at: *const bindings::kernel_param,
        range: &RangeInclusive<u32>,
    ) -> c_int;

    /// Prints the parameter `at` into a page.
    ///
    /// # Safety
    ///
    /// `page` has 4096 bytes, `at` is a parameter of this type.
    unsafe fn get(page: *mut c_char, at: *const bindings::kernel_param) -> c_int;
}

impl Value for u32 {
    const NAME: &'static str = "uint";

    unsafe fn set(
        text: *const c_char,
        at: *const bindings::kernel_param,
        range: &RangeInclusive<u32>,
    ) -> c_int {
        // SAFETY: By the contract of the trait; a `u32` is an `unsigned int`.
        let result =
            unsafe { bindings::param_set_uint_minmax(text, at, *range.start(), *range.end()) };
        if result != 0 {
            kernel::pr_err!(
                "module parameter: a number from {} to {} expected\n",
                range.start(),
                range.end()
            );
        }
        result
    }

    unsafe fn get(page: *mut c_char, at: *const bindings::kernel_param) -> c_int {
        // SAFETY: By the contract of the trait.
        unsafe { bindings::param_get_uint(page, at) }
    }
}

impl Value for bool {
    const NAME: &'static str = "bool";

    unsafe fn set(
        text: *const c_char,
        at: *const bindings::kernel_param,
        _range: &RangeInclusive<u32>,
    ) -> c_int {
        // SAFETY: By the contract of the trait.
        unsafe { bindings::param_set_bool(text, at) }
    }

    unsafe fn get(page: *mut c_char, at: *const bindings::kernel_param) -> c_int {
        // SAFETY: By the contract of the trait.
        unsafe { bindings::param_get_bool(page, at) }
    }
}

/// Allows `sp` and `sp=1` alike for booleans: `KERNEL_PARAM_OPS_FL_NOARG`.
#[doc(hidden)]
pub const FLAG_NO_ARG: c_uint = 1;

/// The bytes of `text` and a zero byte, for the `.modinfo` section.
#[doc(hidden)]
pub const fn modinfo<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    let mut at = 0;
    while at < bytes.len() && at < N {
        out[at] = bytes[at];
        at += 1;
    }
    out
}

/// Declares module parameters; see the [module](crate::param).
#[macro_export]
macro_rules! param {
    () => {};
    (
        $(#[$doc:meta])*
        static $var:ident: $ty:ident = $default:expr, name: $name:literal, perm: $perm:expr,
        description: $description:literal; $($rest:tt)*
    ) => {
        $crate::param! {
            $(#[$doc])*
            static $var: $ty = $default, name: $name, perm: $perm, range: 0..=u32::MAX,
            description: $description;
            $($rest)*
        }
    };
    (
        $(#[$doc:meta])*
        static $var:ident: $ty:ident = $default:expr, name: $name:literal, perm: $perm:expr,
        range: $range:expr, description: $description:literal; $($rest:tt)*
    ) => {
        $(#[$doc])*
        static $var: $crate::param::Param<$ty> = $crate::param::Param::new($default);

        const _: () = {
            use ::kernel::{bindings, ffi::*};

            unsafe extern "C" fn set(
                text: *const c_char,
                at: *const bindings::kernel_param,
            ) -> c_int {
                // SAFETY: Called by the kernel, for the parameter below.
                unsafe { <$ty as $crate::param::Value>::set(text, at, &($range)) }
            }

            unsafe extern "C" fn get(page: *mut c_char, at: *const bindings::kernel_param) -> c_int {
                // SAFETY: Called by the kernel, for the parameter below.
                unsafe { <$ty as $crate::param::Value>::get(page, at) }
            }

            static OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
                flags: $crate::param::no_arg(<$ty as $crate::param::Value>::NAME),
                set: Some(set),
                get: Some(get),
                free: None,
            };

            #[link_section = "__param"]
            #[used(compiler)]
            static PARAM: ::kernel::module_param::KernelParam =
                ::kernel::module_param::KernelParam::new(bindings::kernel_param {
                    name: concat!($name, "\0").as_ptr(),
                    // SAFETY: Only the address of the module's own object is taken.
                    mod_: unsafe { ::core::ptr::from_ref(&bindings::__this_module).cast_mut() },
                    ops: ::core::ptr::from_ref(&OPS),
                    perm: $perm,
                    level: -1,
                    flags: 0,
                    __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                        arg: $var.as_void_ptr(),
                    },
                });

            const DESCRIPTION: &str = concat!("parm=", $name, ":", $description, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static PARM: [u8; DESCRIPTION.len()] = $crate::param::modinfo(DESCRIPTION);

            const TYPE: &str = $crate::param!(@type $name, $ty);
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static PARMTYPE: [u8; TYPE.len()] = $crate::param::modinfo(TYPE);
        };

        $crate::param! { $($rest)* }
    };
    (@type $name:literal, u32) => { concat!("parmtype=", $name, ":uint\0") };
    (@type $name:literal, bool) => { concat!("parmtype=", $name, ":bool\0") };
}

/// The flags of a type's `kernel_param_ops`.
#[doc(hidden)]
pub const fn no_arg(name: &str) -> c_uint {
    match name.as_bytes() {
        b"bool" => FLAG_NO_ARG,
        _ => 0,
    }
}
