// SPDX-License-Identifier: GPL-2.0

//! The places of a send queue: who may post, and who waits for that.
//!
//! A place is taken before a work request is posted, and free when it is known to
//! be complete. Of most responses nobody needs to know: one in several makes a
//! completion, and frees the places of those before it.

use crate::{
    channel::Channel,
    rdma::{arena::Handle, chain::Remote, dma::VOID_LEN, queue::Queue, queue_pair::QueuePair},
};
use kernel::sync::atomic::{Acquire, Full, Relaxed, Release};
use scst_proto::srp::{
    channel::{Event, State},
    credit::Credit,
    iu::{Outcome, Rsp, RSP_LEN},
};

/// Places of which at most nothing is said.
const QUIET: u32 = 64;

/// Places that were taken for work which is copied when it is posted.
struct Taken {
    /// How many.
    places: u32,
    /// How many are free when it is complete, if it is to make a completion.
    freed: Option<u32>,
}

impl Channel {
    /// Takes places for work that is about to be posted.
    #[inline]
    pub(crate) fn take_places(&self, need: u32) -> bool {
        let need = need as i32;
        if self.places.fetch_sub(need, Full) >= need {
            return true;
        }
        self.places.fetch_add(need, Full);
        false
    }

    /// Gives places back, to those that wait first.
    #[inline]
    pub(crate) fn free_places(&self, count: u32) {
        self.places.fetch_add(count as i32, Full);
        if self.someone_waits.load(Acquire) != 0 {
            self.serve_waiting();
        }
    }

    /// Has a request wait for its places.
    #[cold]
    pub(crate) fn wait(&self, handle: Handle) {
        self.waiting.lock().push(handle);
        self.someone_waits.store(1, Release);
        self.serve_waiting();
        if self.state() >= State::Draining {
            self.fail_waiting();
        }
    }

    /// Ends the requests that wait: the connection is of no use any more, and
    /// nobody may free places. Any context.
    #[cold]
    pub(crate) fn fail_waiting(&self) {
        let mut waiting = core::mem::replace(&mut *self.waiting.lock(), Queue::new());
        while let Some(mut handle) = waiting.pop() {
            handle.request.places = 0;
            self.to_poller(handle);
        }
    }

    /// Posts for requests that wait, as far as there are places.
    #[cold]
    fn serve_waiting(&self) {
        loop {
            let handle = {
                let mut waiting = self.waiting.lock();
                let Some(first) = waiting.first() else {
                    self.someone_waits.store(0, Release);
                    return;
                };
                if !self.take_places(first.request.places) {
                    return;
                }
                waiting.pop()
            };
            if let Some(handle) = handle {
                self.post_next(handle);
            }
        }
    }

    /// Takes places for work of which nobody has to know when it is complete.
    ///
    /// It is said nevertheless if much has been quiet, and if no more than half
    /// of the places are free: what waits never needs more than half of them
    /// ([`Channel::batch`]), so that quiet places alone keep nobody waiting.
    #[inline]
    fn take_quietly(&self, places: u32) -> Option<Taken> {
        if self.someone_waits.load(Acquire) != 0 {
            return None;
        }
        let need = places as i32;
        let before = self.places.fetch_sub(need, Full);
        if before < need {
            self.places.fetch_add(need, Full);
            return None;
        }
        let enough = self.quiet.load(Relaxed).saturating_add(places) >= QUIET;
        let scarce = before.wrapping_sub(need) <= self.half;
        let freed = match enough || scarce {
            true => Some(self.quiet.xchg(0, Full).saturating_add(places)),
            false => None,
        };
        Some(Taken { places, freed })
    }

    /// Sends a good response, copied, and before it `zeros` bytes of zeros, if no
    /// memory has to last for that and there is room now. False if not:
    /// nothing was done.
    #[inline]
    pub(crate) fn send_copied(
        &self,
        qp: &QueuePair,
        handle: &Handle,
        outcome: Outcome<'_>,
        zeros: u32,
    ) -> bool {
        let request = &handle.request;
        let data = match (zeros, request.direct) {
            (0, _) => None,
            (len, Some(piece)) if len <= piece.len.min(VOID_LEN) => {
                let (addr, rkey) = (piece.addr, piece.rkey);
                Some((Remote { addr, rkey }, len))
            }
            _ => return false,
        };
        if (qp.capacity().copied as usize) < RSP_LEN {
            return false;
        }
        let Some(taken) = self.take_quietly(1 + u32::from(data.is_some())) else {
            return false;
        };
        let solicited = request.notify.is_some_and(|notify| notify.wants(true));
        let rsp = Rsp {
            tag: request.tag,
            delta: self.update(Credit::respond).delta(),
            solicited,
            outcome,
        };
        let mut unit = [0; RSP_LEN];
        let written = rsp.write(&mut unit).is_some();
        if !written || qp.post_copied(&unit, solicited, data, taken.freed).is_err() {
            self.link.event(Event::QpError);
        } else if taken.freed.is_none() {
            self.quiet.fetch_add(taken.places, Relaxed);
        }
        true
    }
}
