// SPDX-License-Identifier: GPL-2.0

//! Attributes of `/sys/kernel/scst_tgt` itself.

use crate::{
    config::core,
    globals::{Globals, DEFAULT_TASKLET_CMD},
    latency,
    threads::{self, ThreadPool, MAX_THREADS},
    util::{emit, flag, log_err, number, parsed, show_flag, show_keyed, store_flag, text, update},
};
use kapi::{
    pool::{ClassStats, SgPool, CLASSES},
    sysfs::{Attr, Dir, Group, Page, Parent},
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use scst_proto::{
    mgmt::one_line,
    trace::{Level, TraceCommand},
};

/// The version of SCST whose interface this is, and what `scstadmin` checks.
pub(crate) const SCST_VERSION: &str = "3.11.0-pre";

/// Largest `poll_us`: a second.
const MAX_POLL_US: u64 = 1_000_000;

/// The global threads with the setting that goes with them.
pub(crate) struct GlobalThreads {
    globals: Arc<Globals>,
    pool: Arc<ThreadPool>,
}

/// A number between 0 and `max`.
fn bounded(bytes: &[u8], max: u64) -> Result<u32> {
    let n = number(bytes)?;
    if n > max {
        log_err!("{} is too large: at most {}", n, max);
        return Err(EINVAL);
    }
    u32::try_from(n).map_err(|_| EINVAL)
}

static ATTRS: &[Attr<Globals>] = &[
    Attr::rw(
        c"async_lun_replace",
        |g, p| show_keyed(p, g.async_lun_replace.load(Relaxed), false),
        |g, b| store_flag(&g.async_lun_replace, b),
        "1: `replace` of a LUN returns before the old device's commands have ended.",
    ),
    Attr::rw(
        c"cluster_name",
        |g, p| {
            g.with_cluster_name(|name| match name {
                "" => Ok(()),
                name => show_keyed(p, name, true),
            })
        },
        |g, b| g.set_cluster_name(parsed(one_line(text(b)?))?),
        "Name of the cluster that shares persistent reservations.",
    ),
    Attr::rw(
        c"force_global_sgv_pool",
        |g, p| show_flag(p, &g.force_global_sgv_pool),
        |g, b| store_flag(&g.force_global_sgv_pool, b),
        "Kept for configurations that set it: data buffers of all CPUs come from one pool.",
    ),
    Attr::ro(
        c"last_sysfs_mgmt_res",
        |g, p| {
            emit!(p, "{}\n", g.last_result.load(Relaxed));
            Ok(())
        },
        "Result (0 or a negative errno) of the last management command.",
    ),
    Attr::rw(
        c"max_tasklet_cmd",
        |g, p| {
            let n = g.max_tasklet_cmd.load(Relaxed);
            show_keyed(p, n, n != DEFAULT_TASKLET_CMD)
        },
        |g, b| {
            g.max_tasklet_cmd.store(bounded(b, u64::from(u16::MAX))?, Relaxed);
            Ok(())
        },
        "Kept for configurations that set it: commands run where they arrive, without tasklets.",
    ),
    Attr::rw(
        c"measure_latency",
        |_, p| show_keyed(p, u8::from(latency::measuring()), false),
        store_measure_latency,
        "1: the files in the `latency` directories of sessions say how long commands take in each part of the target. \
         The histograms of LUNs (lun<N>/latency) are always on.",
    ),
    Attr::rw(
        c"poll_us",
        |_, p| {
            let n = threads::poll_us();
            show_keyed(p, n, n != 0)
        },
        |_, b| {
            threads::set_poll_us(bounded(b, MAX_POLL_US)?);
            Ok(())
        },
        "Microseconds that a thread polls for commands before it sleeps, unless somebody else wants its CPU.",
    ),
    Attr::rw(
        c"setup_id",
        |g, p| {
            let id = g.setup_id.load(Relaxed);
            show_keyed(p, format_args!("{:#x}", id), id != 0)
        },
        |g, b| {
            g.setup_id.store(bounded(b, u64::from(u32::MAX))?, Relaxed);
            Ok(())
        },
        "Number of this installation, part of the default identities of devices added from now on.",
    ),
    Attr::rw(
        c"suspend",
        |g, p| show_keyed(p, g.suspend.load(Relaxed), false),
        store_suspend,
        "Depth of suspends. Accepted for clients that bracket changes with it; I/O is never suspended.",
    ),
    Attr::ro(c"trace_cmds", |_, _| Ok(()), "Commands being executed, with the reason that each waits for."),
    Attr::rw(
        c"trace_level",
        |g, p| show_trace_level(&g.trace_level, "", p),
        |g, b| store_trace_level(&g.trace_level, b),
        "What is logged.",
    ),
    Attr::ro(c"trace_mcmds", |_, _| Ok(()), "Task management functions being executed."),
    Attr::ro(c"version", show_version, "Version of the interface and of the modules."),
];

static THREAD_ATTRS: &[Attr<GlobalThreads>] = &[Attr::rw(
    c"threads",
    |t, p| {
        let n = t.pool.count();
        show_keyed(p, n, n != t.globals.default_threads)
    },
    |t, b| {
        let count = bounded(b, u64::from(MAX_THREADS))?;
        if count == 0 {
            log_err!("threads: 0 is too small: at least 1");
            return Err(EINVAL);
        }
        t.pool.resize(count)
    },
    "Number of threads for devices without threads of their own (threads_num 0).",
)];

fn store_measure_latency(_: &Globals, bytes: &[u8]) -> Result {
    let on = flag(bytes)?;
    let core = core()?;
    let config = core.config.lock();
    if on && !latency::measuring() {
        for session in &config.sessions()? {
            session.latency.make_room()?;
        }
    }
    latency::set_measuring(on);
    Ok(())
}

fn store_suspend(globals: &Globals, bytes: &[u8]) -> Result {
    let depth = parsed(scst_proto::number::parse_i64(text(bytes)?))?;
    if depth < -1 {
        log_err!(
            "suspend {}: -1 to resume, 0 or more to suspend expected",
            depth
        );
        return Err(EINVAL);
    }
    // -1 takes one level back; any other number (seconds to wait for commands) adds one.
    update(&globals.suspend, |now| match depth {
        -1 => now.saturating_sub(1),
        _ => now.saturating_add(1),
    });
    Ok(())
}

fn show_version(_: &Globals, page: &mut Page<'_>) -> Result {
    emit!(page, "SCST version: {}\n", SCST_VERSION);
    emit!(page, "SCST build date: {}\n", "n/a");
    emit!(page, "SCST build number: 0\n");
    emit!(page, "SCST git commit sha1: \n");
    emit!(page, "SCST kver: {}\n", kapi::module::kernel_release());
    emit!(page, "SCST arch type: x86_64\n");
    emit!(page, "SCST config: RUST\n");
    Ok(())
}

/// Shows a `trace_level`, and how to write it; `more` tokens are those of some
/// modules only.
pub(crate) fn show_trace_level(level: &Atomic<u32>, more: &str, page: &mut Page<'_>) -> Result {
    emit!(page, "{}\n\n\n", Level(level.load(Relaxed)));
    emit!(
        page,
        "Usage:\n\techo \"all|none|default\" >trace_level\n\techo \"value DEC|0xHEX|0OCT\" >trace_level\n\
         \techo \"add|del TOKEN\" >trace_level\n\nwhere TOKEN is one of [function, line, pid, out_of_mem, \
         special, scsi, mgmt, minor, scsi_serializing, retry, pr{}]\n",
        more
    );
    Ok(())
}

/// Sets a `trace_level`.
pub(crate) fn store_trace_level(level: &Atomic<u32>, bytes: &[u8]) -> Result {
    let command = parsed(TraceCommand::parse(text(bytes)?))?;
    update(level, |now| command.apply(now));
    Ok(())
}

/// Makes the root directory.
pub(crate) fn publish(
    parent: Parent<'_>,
    globals: &Arc<Globals>,
    pool: &Arc<ThreadPool>,
) -> Result<Dir> {
    let threads = Arc::new(
        GlobalThreads {
            globals: globals.clone(),
            pool: pool.clone(),
        },
        GFP_KERNEL,
    )?;
    let mut groups = KVec::new();
    groups.push(Group::new(globals.clone(), ATTRS)?, GFP_KERNEL)?;
    groups.push(Group::new(threads, THREAD_ATTRS)?, GFP_KERNEL)?;
    Dir::create(parent, b"scst_tgt", groups)
}

/// A directory without attributes.
pub(crate) fn plain(parent: &Dir, name: &[u8]) -> Result<Dir> {
    Dir::create(Parent::Dir(parent), name, KVec::new())
}

static SGV_ATTRS: &[Attr<SgPool>] = &[Attr::rw(
    c"global_stats",
    |pool, p| {
        emit!(
            p,
            "Inactive pages                             {}\n",
            pool.cached_pages()
        );
        Ok(())
    },
    |pool, _| {
        pool.reset_stats();
        Ok(())
    },
    "Pages that the data-buffer pool holds and no command uses. Write to set the counters of the pool to zero.",
)];

static POOL_ATTRS: &[Attr<SgPool>] = &[Attr::rw(
    c"stats",
    show_pool,
    |pool, _| {
        pool.reset_stats();
        Ok(())
    },
    "By size: how many buffers were wanted (Total) and how many of those the pool had (Hit); pages that it keeps, \
     pages that no command uses, and buffers that these are (P/I/O); buffers larger than all kept sizes. Write to \
     reset.",
)];

fn show_pool(pool: &SgPool, page: &mut Page<'_>) -> Result {
    let mut all = ClassStats::default();
    let mut buffers = 0;
    for n in 0..CLASSES {
        let class = pool.stats(n);
        all.hits = all.hits.wrapping_add(class.hits);
        all.total = all.total.wrapping_add(class.total);
        all.pages = all.pages.wrapping_add(class.pages);
        buffers += class.pages >> n;
    }
    emit!(
        page,
        "{:<30} {:<11} {:<11} {:<11} Cached (P/I/O)\n",
        "Name",
        "Hit",
        "Total",
        "% merged"
    );
    emit!(
        page,
        "{:<30} {:<11} {:<11} {:<11} {}/{}/{}\n",
        "sgv",
        all.hits,
        all.total,
        0,
        all.pages,
        all.pages,
        buffers
    );
    for n in 0..CLASSES {
        let class = pool.stats(n);
        emit!(
            page,
            "  sgv-{:<24} {:<11} {:<11} {}\n",
            Kib(4 << n),
            class.hits,
            class.total,
            0
        );
    }
    emit!(page, "  {:<40} {}/{:<9} 0/0\n", "big/other", pool.big(), 0);
    Ok(())
}

/// A size, as the rows are called.
struct Kib(usize);

impl ::core::fmt::Display for Kib {
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
        match CString::try_from_fmt(fmt!("{}K", self.0)) {
            Ok(text) => f.pad(text.to_str().unwrap_or("")),
            Err(_) => Err(::core::fmt::Error),
        }
    }
}

/// `sgv`: the data-buffer pool; the directory, and the one in it.
pub(crate) fn sgv(root: &Dir, pool: &Arc<SgPool>) -> Result<(Dir, Dir)> {
    let mut groups = KVec::new();
    groups.push(Group::new(pool.clone(), SGV_ATTRS)?, GFP_KERNEL)?;
    let dir = Dir::create(Parent::Dir(root), b"sgv", groups)?;
    let mut groups = KVec::new();
    groups.push(Group::new(pool.clone(), POOL_ATTRS)?, GFP_KERNEL)?;
    let own = Dir::create(Parent::Dir(&dir), b"sgv", groups)?;
    Ok((dir, own))
}
