// SPDX-License-Identifier: GPL-2.0

//! Tests of `kapi` for what only a running kernel can show: locks, lifetimes, pools.
//!
//! With `CONFIG_KUNIT=y` these are KUnit suites, which run when the module is loaded. On other
//! kernels (`make SCST_KUNIT=1`) the module runs them itself, prints the same KTAP, and fails to
//! load if one of them fails.

use kernel::prelude::*;

mod handover;
mod locks;
mod pools;
mod rcu;
mod small;
mod sysfs;
mod threads;
mod uses;
mod vfs;
mod waits;

module! {
    type: Kunit,
    name: "scst_kunit",
    authors: ["The SCST-rs developers"],
    description: "Tests of the kernel interfaces of SCST",
    license: "GPL",
}

kapi::param! {
    /// For the test of parameters.
    pub(crate) static NUMBER: i32 = 7, name: "number", perm: 0o644, range: 0..=100,
        description: "A number for a test";
    /// For the test of parameters.
    pub(crate) static FLAG: bool = false, name: "flag", perm: 0o644, description: "A flag for a test";
    /// For the test of parameters.
    pub(crate) static TEXT: kapi::param::Text<8> = kapi::param::Text::new("hello"), name: "text",
        perm: 0o644, description: "A text for a test";
}

/// Fails the test, which returns a [`Result`], unless the condition is true.
///
/// Not `assert!`: a failed assertion of KUnit ends the thread without running destructors.
macro_rules! check {
    ($condition:expr) => {
        if !$condition {
            kernel::prelude::pr_err!(
                "{}:{}: not true: {}\n",
                file!(),
                line!(),
                stringify!($condition)
            );
            return Err(kernel::prelude::EINVAL);
        }
    };
}
pub(crate) use check;

/// Declares the suites: what each is called, and its tests.
macro_rules! suites {
    ($($suite:ident: $module:ident { $($test:ident),* $(,)? })*) => {
        $(
            #[cfg(CONFIG_KUNIT = "y")]
            #[kunit_tests($suite)]
            mod $suite {
                use super::*;

                $(
                    #[test]
                    fn $test() -> Result {
                        $module::$test()
                    }
                )*
            }
        )*

        /// Runs everything, where KUnit does not.
        #[cfg(not(CONFIG_KUNIT = "y"))]
        fn run_all() -> Result {
            let mut ok = true;
            $(
                ok &= run_suite(
                    stringify!($suite),
                    &[$((stringify!($test), $module::$test as fn() -> Result)),*],
                );
            )*
            if ok { Ok(()) } else { Err(EINVAL) }
        }
    };
}

/// A test and its name.
#[cfg(not(CONFIG_KUNIT = "y"))]
type Test = (&'static str, fn() -> Result);

/// Runs one suite; whether all its tests passed.
#[cfg(not(CONFIG_KUNIT = "y"))]
fn run_suite(name: &str, tests: &[Test]) -> bool {
    let mut ok = true;
    pr_info!("KTAP version 1\n");
    pr_info!("# Subtest: {}\n", name);
    pr_info!("1..{}\n", tests.len());
    for (i, (test, run)) in tests.iter().enumerate() {
        let start = kapi::time::now_ns();
        let result = run();
        let ms = (kapi::time::now_ns() - start) / 1_000_000;
        ok &= result.is_ok();
        let word = if result.is_ok() { "ok" } else { "not ok" };
        pr_info!("{} {} {}.{} # {} ms\n", word, i + 1, name, test, ms);
    }
    ok
}

suites! {
    kapi_sysfs: sysfs {
        reads_and_writes, refuses_bad_names, any_order_of_removal, store_removes_its_own_directory,
        removal_does_not_wait_for_store, removal_waits_for_show, comes_and_goes_while_read,
    }
    kapi_rcu: rcu {
        readers_see_whole_values, deferred_values_are_freed, shared_values, slots_end_what_they_had,
        set_once,
    }
    kapi_uses: uses { counts_drain, kill_is_final, wait_times_out, many_users }
    kapi_wait: waits { ping_pong, timeouts, all_wake }
    kapi_handover: handover {
        one_thread_keeps_the_order, each_gets_to_one_thread, blocked_threads_hold_up_nobody,
        idle_threads_stop, extracts_what_no_thread_has,
    }
    kapi_lock: locks { excludes, try_lock_fails_when_held }
    kapi_thread: threads { start_and_stop, joins, name_nice_and_cpus, cpus_stay_as_set }
    kapi_pool: pools { copies, hits, limit, limit_of_a_share, segments, shared_by_threads }
    kapi_small: small { percpu_sums, cpu_masks, parameters, work_is_drained, time_goes_on }
}

struct Kunit {
    _barrier: kapi::module::UnloadBarrier,
}

impl kernel::Module for Kunit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let barrier = kapi::module::UnloadBarrier::new();
        #[cfg(not(CONFIG_KUNIT = "y"))]
        run_all()?;
        Ok(Kunit { _barrier: barrier })
    }
}
