// SPDX-License-Identifier: GPL-2.0

//! Module parameters that users see in `/sys/module/NAME/parameters`.
//!
//! The `params` of the kernel's `module!` can only be set when the module is loaded, and cannot be
//! read back; [`param!`] makes the same `struct kernel_param` as C's `module_param()` does.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use crate::sysfs::Page;
use core::{cell::UnsafeCell, fmt::Write, ptr};
use kernel::{bindings, error::to_result, prelude::*};

/// Declares module parameters. In a crate that has a `module!`, anywhere in it.
///
/// ```ignore
/// kapi::param! {
///     /// Number of threads; 0 is one for each CPU.
///     static THREADS: i32 = 0, name: "threads", perm: 0o444, range: 0..=256,
///         description: "Number of threads (0, the default: one for each CPU)";
///     static VERBOSE: bool = false, name: "verbose", perm: 0o644, description: "Say more";
///     static GUID: kapi::param::Text<32> = kapi::param::Text::new("none"), name: "guid",
///         perm: 0o444, description: "Identifier";
/// }
/// // ... THREADS.get() ...
/// ```
///
/// The types are those of [`Value`]. A value that is not in `range` is refused with `EINVAL`, and
/// the kernel log says what is allowed.
///
/// There is a short form for one parameter whose static has the parameter's name:
/// `kapi::param! { verbose: bool = false, 0o644, "Say more" }`.
#[macro_export]
macro_rules! param {
    ($(
        $(#[$attr:meta])*
        $vis:vis static $ident:ident: $ty:ty = $default:expr, name: $name:literal,
        perm: $perm:literal, $(range: $range:expr,)? description: $description:literal;
    )+) => {$(
        $crate::__param_static! {
            [$(#[$attr])*] [$vis] $ident, $ty, $default, $name, $perm, [$($range)?], $description
        }
    )+};
    (
        $(#[$attr:meta])*
        $ident:ident: $ty:ty = $default:expr, $perm:literal, $description:literal $(,)?
    ) => {
        $crate::__param_static! {
            [$(#[$attr])* #[allow(non_upper_case_globals)]] [] $ident, $ty, $default,
            (stringify!($ident)), $perm, [], $description
        }
    };
}
pub use param;

#[doc(hidden)]
#[macro_export]
macro_rules! __param_static {
    (
        [$($attr:tt)*] [$($vis:tt)*] $ident:ident, $ty:ty, $default:expr, $name:tt, $perm:literal,
        [$($range:expr)?], $description:literal
    ) => {
        $($attr)*
        #[doc = concat!("\n\n", $description)]
        $($vis)* static $ident: $crate::param::Param<$ty> = $crate::param::Param::new(
            $name,
            $default,
            $crate::__param_check!($ty, $($range)?),
            &raw const ::kernel::bindings::__this_module,
        );

        const _: () = {
            const NAME: &str = concat!($crate::__param_name!($name), "\0");
            const PARM: &str = concat!("parm=", $crate::__param_name!($name), ":", $description, "\0");
            const TYPE: &[&str] = &[
                "parmtype=",
                $crate::__param_name!($name),
                ":",
                <$ty as $crate::param::Value>::NAME,
                "\0",
            ];

            static REF: $crate::param::Ref = $crate::param::Ref::new(&$ident);

            #[link_section = "__param"]
            #[used(compiler)]
            static ENTRY: $crate::param::Entry =
                $crate::param::Entry::new::<$ty>(NAME, &REF, $perm, &raw const ::kernel::bindings::__this_module);

            #[link_section = ".modinfo"]
            #[used(compiler)]
            static MODINFO_PARM: [u8; PARM.len()] = $crate::param::join(&[PARM]);

            #[link_section = ".modinfo"]
            #[used(compiler)]
            static MODINFO_TYPE: [u8; $crate::param::length(TYPE)] = $crate::param::join(TYPE);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __param_name {
    ($name:literal) => {
        $name
    };
    ((stringify!($ident:ident))) => {
        stringify!($ident)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __param_check {
    ($ty:ty,) => {
        None
    };
    ($ty:ty, $range:expr) => {
        Some($crate::param::Check {
            allowed: stringify!($range),
            ok: |v: &$ty| ($range).contains(v),
        })
    };
}

/// What a parameter may be.
pub trait Value: Copy + Send + Sync + 'static {
    /// The name of the type in modinfo.
    const NAME: &'static str;
    /// Whether the parameter may be given without a value.
    const NO_ARG: bool = false;
    /// Whether the value is read and written as a whole by one instruction.
    const ATOMIC: bool = true;

    /// Reads what a user wrote: `None` if there is no value.
    fn parse(text: Option<&CStr>) -> Result<Self>;
    /// Shows it, without a newline.
    fn show(&self, page: &mut Page<'_>);
}

impl Value for bool {
    const NAME: &'static str = "bool";
    const NO_ARG: bool = true;

    fn parse(text: Option<&CStr>) -> Result<Self> {
        let Some(text) = text else { return Ok(true) };
        let mut value = false;
        // SAFETY: The text ends in NUL.
        to_result(unsafe { bindings::kstrtobool(text.as_char_ptr(), &mut value) })?;
        Ok(value)
    }

    fn show(&self, page: &mut Page<'_>) {
        page.bytes(if *self { b"Y" } else { b"N" });
    }
}

/// Integers: the type, its name in C, and what reads it.
macro_rules! integers {
    ($($ty:ty, $name:literal, $parse:ident;)*) => {$(
        impl Value for $ty {
            const NAME: &'static str = $name;

            fn parse(text: Option<&CStr>) -> Result<Self> {
                let text = text.ok_or(EINVAL)?;
                let mut value = 0;
                // SAFETY: The text ends in NUL.
                to_result(unsafe { bindings::$parse(text.as_char_ptr(), 0, &mut value) })?;
                <$ty>::try_from(value).map_err(|_| ERANGE)
            }

            fn show(&self, page: &mut Page<'_>) {
                let _ = write!(page, "{}", self);
            }
        }
    )*};
}

integers! {
    i16, "short", kstrtoll;
    u16, "ushort", kstrtoull;
    i32, "int", kstrtoll;
    u32, "uint", kstrtoull;
    i64, "long", kstrtoll;
    u64, "ulong", kstrtoull;
}

/// A text of at most `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// This text, or as much of it as there is room for.
    pub const fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let mut bytes = [0; N];
        let mut len = 0;
        while len < text.len() && len < N {
            bytes[len] = text[len];
            len += 1;
        }
        Text { bytes, len }
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl<const N: usize> Value for Text<N> {
    const NAME: &'static str = "string";
    const ATOMIC: bool = false;

    fn parse(text: Option<&CStr>) -> Result<Self> {
        let text = text.ok_or(EINVAL)?.to_bytes();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut bytes = [0; N];
        let room = bytes.get_mut(..text.len()).ok_or(ENOSPC)?;
        for (to, from) in room.iter_mut().zip(text) {
            *to = *from;
        }
        Ok(Text {
            bytes,
            len: text.len(),
        })
    }

    fn show(&self, page: &mut Page<'_>) {
        page.bytes(self.as_bytes());
    }
}

/// A parameter; made by [`param!`].
pub struct Param<T: Value> {
    name: &'static str,
    value: UnsafeCell<T>,
    check: Option<Check<T>>,
    module: *const bindings::module,
}

// SAFETY: The value is accessed by single instructions, or under the module's parameter lock.
unsafe impl<T: Value> Sync for Param<T> {}

/// Which values are allowed.
#[doc(hidden)]
pub struct Check<T> {
    /// For people.
    pub allowed: &'static str,
    /// Whether this value is.
    pub ok: fn(&T) -> bool,
}

impl<T: Value> Param<T> {
    #[doc(hidden)]
    pub const fn new(
        name: &'static str,
        default: T,
        check: Option<Check<T>>,
        module: *const bindings::module,
    ) -> Self {
        Param {
            name,
            value: UnsafeCell::new(default),
            check,
            module,
        }
    }

    /// The value now. Any context for numbers; may sleep for a [`Text`].
    #[inline]
    pub fn get(&self) -> T {
        if T::ATOMIC {
            // SAFETY: The cell is valid, and other accesses are volatile, too: a READ_ONCE().
            unsafe { ptr::read_volatile(self.value.get()) }
        } else {
            let _lock = ParamLock::new(self.module);
            // SAFETY: Whoever writes has the lock.
            unsafe { *self.value.get() }
        }
    }

    /// Replaces the value by what was found to be in effect, without a check. As [`Param::get`].
    pub fn set(&self, value: T) {
        if T::ATOMIC {
            // SAFETY: The cell is valid, and other accesses are volatile, too: a WRITE_ONCE().
            unsafe { ptr::write_volatile(self.value.get(), value) }
        } else {
            let _lock = ParamLock::new(self.module);
            // SAFETY: Whoever reads or writes has the lock.
            unsafe { *self.value.get() = value }
        }
    }
}

/// The lock under which the kernel calls what sets and gets the parameters of a module.
struct ParamLock(*mut bindings::module);

impl ParamLock {
    fn new(module: *const bindings::module) -> Self {
        let module = module.cast_mut();
        // SAFETY: The module is that of the parameter, whose static is in it.
        unsafe { bindings::kernel_param_lock(module) };
        ParamLock(module)
    }
}

impl Drop for ParamLock {
    fn drop(&mut self) {
        // SAFETY: Locked in `new`.
        unsafe { bindings::kernel_param_unlock(self.0) }
    }
}

/// A [`Param`] of any type. The caller of these holds the parameter lock.
trait AnyParam: Sync {
    fn parse(&self, text: Option<&CStr>) -> Result;
    fn show(&self, page: &mut Page<'_>);
}

impl<T: Value> AnyParam for Param<T> {
    fn parse(&self, text: Option<&CStr>) -> Result {
        let value = T::parse(text)
            .inspect_err(|_| pr_err!("parameter {}: this is no valid {}\n", self.name, T::NAME))?;
        if let Some(check) = &self.check {
            if !(check.ok)(&value) {
                pr_err!("parameter {}: must be in {}\n", self.name, check.allowed);
                return Err(EINVAL);
            }
        }
        // SAFETY: The cell is valid; other writers are excluded by the lock, and readers read
        // volatile or have the lock.
        unsafe { ptr::write_volatile(self.value.get(), value) };
        Ok(())
    }

    fn show(&self, page: &mut Page<'_>) {
        // SAFETY: Writers are excluded by the lock, or replace the value by one instruction.
        unsafe { ptr::read_volatile(self.value.get()) }.show(page);
        page.bytes(b"\n");
    }
}

/// What a `kernel_param` points to.
#[doc(hidden)]
pub struct Ref(&'static dyn AnyParam);

impl Ref {
    /// A reference to the parameter.
    pub const fn new<T: Value>(param: &'static Param<T>) -> Ref {
        Ref(param)
    }
}

/// A `struct kernel_param`.
#[doc(hidden)]
#[repr(transparent)]
pub struct Entry(bindings::kernel_param);

// SAFETY: Only the kernel's parameter code uses it.
unsafe impl Sync for Entry {}

impl Entry {
    /// The entry; `name` has to end in NUL.
    pub const fn new<T: Value>(
        name: &'static str,
        param: &'static Ref,
        perm: u16,
        module: *const bindings::module,
    ) -> Entry {
        Entry(bindings::kernel_param {
            name: name.as_ptr().cast(),
            mod_: module.cast_mut(),
            ops: if T::NO_ARG { &OPS_NO_ARG } else { &OPS },
            perm,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: ptr::from_ref(param).cast_mut().cast(),
            },
        })
    }
}

static OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
    flags: 0,
    set: Some(set),
    get: Some(get),
    free: None,
};

static OPS_NO_ARG: bindings::kernel_param_ops = bindings::kernel_param_ops {
    flags: bindings::KERNEL_PARAM_OPS_FL_NOARG,
    set: Some(set),
    get: Some(get),
    free: None,
};

/// # Safety
///
/// `kp` is that of an [`Entry`].
unsafe fn param_of<'a>(kp: *const bindings::kernel_param) -> &'a dyn AnyParam {
    // SAFETY: By the requirements of this function; `Entry::new` put a `&'static Ref` there.
    unsafe { (*(*kp).__bindgen_anon_1.arg.cast::<Ref>()).0 }
}

/// # Safety
///
/// Called by the kernel with the parameter lock held: `kp` is that of an [`Entry`], `val` is null
/// or ends in NUL.
unsafe extern "C" fn set(val: *const c_char, kp: *const bindings::kernel_param) -> c_int {
    let text = if val.is_null() {
        None
    } else {
        // SAFETY: By the requirements of this function.
        Some(unsafe { CStr::from_char_ptr(val) })
    };
    // SAFETY: By the requirements of this function.
    match unsafe { param_of(kp) }.parse(text) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// Called by the kernel with the parameter lock held: `kp` is that of an [`Entry`], `buf` has
/// `PAGE_SIZE` bytes.
unsafe extern "C" fn get(buf: *mut c_char, kp: *const bindings::kernel_param) -> c_int {
    // SAFETY: By the requirements of this function.
    let mut page = unsafe { Page::from_raw(buf) };
    // SAFETY: By the requirements of this function.
    unsafe { param_of(kp) }.show(&mut page);
    // At most a page.
    page.len() as c_int
}

/// The length of all parts together.
#[doc(hidden)]
pub const fn length(parts: &[&str]) -> usize {
    let mut n = 0;
    let mut i = 0;
    while i < parts.len() {
        n += parts[i].len();
        i += 1;
    }
    n
}

/// All parts together; for the `.modinfo` section, at compile time.
#[doc(hidden)]
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut all = [0; N];
    let mut n = 0;
    let mut i = 0;
    while i < parts.len() {
        let part = parts[i].as_bytes();
        let mut k = 0;
        while k < part.len() {
            all[n] = part[k];
            n += 1;
            k += 1;
        }
        i += 1;
    }
    all
}
