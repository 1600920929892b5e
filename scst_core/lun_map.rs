// SPDX-License-Identifier: GPL-2.0

//! The map from LUN to nexus that every command of a session goes through.
//!
//! Pages of places, made when the first LUN of a page is mapped, and there as long as the session.
//! A place is changed by itself under RCU: that costs the same whatever else is mapped, and who
//! looks up another LUN does not notice. Two look-ups at different times may see different maps, so
//! who reports all LUNs while some change may report a mixture; the initiator is told of the change
//! after it.

use crate::nexus::Nexus;
use kapi::{
    counted::Counted,
    once::Once,
    rcu::{RcuArc, RetiredArc},
};
use kernel::{
    prelude::*,
    sync::{rcu, Arc, ArcBorrow},
};

/// LUNs of a page.
const PAGE: usize = 128;
/// Enough for all LUNs that there can be ([`scst_proto::lun::MAX_LUN`]).
const PAGES: usize = 128;

struct Page([RcuArc<Counted<Nexus>>; PAGE]);

/// All LUNs that a session sees.
pub(crate) struct LunMap {
    pages: [Once<Page>; PAGES],
}

impl LunMap {
    /// No LUN.
    pub(crate) const fn new() -> Self {
        Self {
            pages: [const { Once::new() }; PAGES],
        }
    }

    #[inline(always)]
    fn place(&self, lun: u16) -> Option<&RcuArc<Counted<Nexus>>> {
        let lun = usize::from(lun);
        let page = self.pages.get(lun / PAGE)?.get()?;
        page.0.get(lun % PAGE)
    }

    /// The nexus of `lun`. Any context.
    #[inline(always)]
    pub(crate) fn find<'g>(
        &self,
        lun: u16,
        rcu: &'g rcu::Guard,
    ) -> Option<ArcBorrow<'g, Counted<Nexus>>> {
        self.place(lun)?.load(rcu)
    }

    /// Calls `f` for each mapped LUN, in ascending order; `f` must not sleep. Any context.
    pub(crate) fn for_each<'g>(
        &self,
        rcu: &'g rcu::Guard,
        mut f: impl FnMut(ArcBorrow<'g, Counted<Nexus>>),
    ) {
        for page in self.pages.iter().filter_map(Once::get) {
            for nexus in page.0.iter().filter_map(|place| place.load(rcu)) {
                f(nexus);
            }
        }
    }

    /// Sees to it that [`LunMap::set`] has a place for `lun`. Sleeps. `ENOMEM`; `EINVAL` for what
    /// is no LUN.
    pub(crate) fn reserve(&self, lun: u16) -> Result {
        let page = self.pages.get(usize::from(lun) / PAGE).ok_or(EINVAL)?;
        if page.get().is_none() {
            let new = KBox::new(Page([const { RcuArc::null() }; PAGE]), GFP_KERNEL)?;
            // An error says that somebody else was first.
            let _ = page.set(new);
        }
        Ok(())
    }

    /// Maps `nexus` at `lun`, or nothing; returns what was mapped there. Any context.
    pub(crate) fn set(
        &self,
        lun: u16,
        nexus: Option<Arc<Counted<Nexus>>>,
    ) -> Option<RetiredArc<Counted<Nexus>>> {
        self.place(lun).map(|place| place.replace(nexus))
    }
}
