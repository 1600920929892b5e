// SPDX-License-Identifier: GPL-2.0

//! Attributes of sessions, and the counters that targets show as well.

use crate::{
    nexus::{self, Nexus},
    protection,
    session::Session,
    stats::{Count, Kind},
    util::emit,
};
use kapi::{
    counted::Counted,
    sysfs::{Attr, Dir, Group, Page, Parent},
};
use kernel::{prelude::*, str::CString, sync::Arc};

/// One row for each counter file: `<kind>_cmd_count`, `<kind>_io_count_kb` and
/// `<kind>_unaligned_cmd_count`. A write sets the counter back to zero.
macro_rules! counters {
    ($($cmd:literal, $kb:literal, $unaligned:literal => $kind:ident;)*) => {
        &[$(
            Attr::rw(
                $cmd,
                |s, p| show(p, s.count(Kind::$kind, Count::Commands)),
                |s, _| reset(s, Kind::$kind, Count::Commands),
                "Commands of this direction. Write to reset.",
            ),
            Attr::rw(
                $kb,
                |s, p| show(p, s.count(Kind::$kind, Count::Bytes) >> 10),
                |s, _| reset(s, Kind::$kind, Count::Bytes),
                "KiB that commands of this direction moved. Write to reset.",
            ),
            Attr::rw(
                $unaligned,
                |s, p| show(p, s.count(Kind::$kind, Count::Unaligned)),
                |s, _| reset(s, Kind::$kind, Count::Unaligned),
                "Commands of this direction that are not whole, aligned 4 KiB. Write to reset.",
            ),
        )*]
    };
}

fn show(page: &mut Page<'_>, n: u64) -> Result {
    emit!(page, "{}\n", n);
    Ok(())
}

fn reset(session: &Session, kind: Kind, count: Count) -> Result {
    session.reset(kind, count);
    Ok(())
}

static COUNTERS: &[Attr<Session>] = counters! {
    c"read_cmd_count", c"read_io_count_kb", c"read_unaligned_cmd_count" => Read;
    c"write_cmd_count", c"write_io_count_kb", c"write_unaligned_cmd_count" => Write;
    c"bidi_cmd_count", c"bidi_io_count_kb", c"bidi_unaligned_cmd_count" => Bidi;
};

static ATTRS: &[Attr<Session>] = &[
    Attr::ro(
        c"active_commands",
        |s, p| show(p, s.count_active(None) as u64),
        "Commands of the session that the target has now.",
    ),
    Attr::ro(
        c"commands",
        |s, p| show(p, s.count_active(None) as u64),
        "Commands of the session that the target has now.",
    ),
    Attr::ro(
        c"initiator_name",
        |s, p| {
            emit!(p, "{}\n", s.initiator());
            Ok(())
        },
        "Name of the initiator port.",
    ),
    Attr::rw(
        c"none_cmd_count",
        |s, p| show(p, s.count(Kind::None, Count::Commands)),
        |s, _| reset(s, Kind::None, Count::Commands),
        "Commands without data. Write to reset.",
    ),
    Attr::rw(
        c"unknown_cmd_count",
        |s, p| show(p, s.count(Kind::Unknown, Count::Commands)),
        |s, _| reset(s, Kind::Unknown, Count::Commands),
        "Commands of unknown direction. Write to reset.",
    ),
];

static CLOSE: &[Attr<Session>] = &[Attr::wo(
    c"force_close",
    |s, _| s.transport().close(),
    "Any write closes the session.",
)];

/// The session's directory, with the driver's `attrs` in it.
pub(crate) fn publish(sessions: &Dir, session: &Arc<Session>, attrs: KVec<Group>) -> Result<Dir> {
    let mut groups = attrs;
    groups.push(Group::new(session.clone(), ATTRS)?, GFP_KERNEL)?;
    groups.push(Group::new(session.clone(), COUNTERS)?, GFP_KERNEL)?;
    groups.push(
        Group::new(session.clone(), protection::SESSION)?,
        GFP_KERNEL,
    )?;
    if !session.transport().is_internal() {
        groups.push(Group::new(session.clone(), CLOSE)?, GFP_KERNEL)?;
    }
    Dir::create(Parent::Dir(sessions), session.label().as_bytes(), groups)
}

/// The `lun<N>` directory of a nexus in its session's.
pub(crate) fn lun_dir(session: &Dir, nexus: &Arc<Counted<Nexus>>) -> Result<Dir> {
    let name = CString::try_from_fmt(fmt!("lun{}", nexus.lun()))?;
    let mut groups = KVec::new();
    groups.push(Group::new(nexus.clone(), nexus::ATTRS)?, GFP_KERNEL)?;
    if nexus.device.lu.protection().is_some() {
        groups.push(Group::new(nexus.clone(), protection::LUN)?, GFP_KERNEL)?;
    }
    Dir::create(Parent::Dir(session), name.to_bytes(), groups)
}
