// SPDX-License-Identifier: GPL-2.0

//! The request limit of a channel: how many requests the initiator may send (SRP r16a, REQUEST LIMIT DELTA).
//!
//! Each credit of a channel is in one of three places, and their sum never changes:
//!
//! - `limit`: the initiator has it, and may send a request for it;
//! - `in_progress`: a request is being worked on;
//! - `delta`: its request has ended without a response (it was aborted); the next unit that has a REQUEST LIMIT DELTA
//!   gives it back.
//!
//! A credit stands for a receive buffer, so post the buffer of a request again *before* its credit goes back.
//!
//! A target whose responses fail to appear could leave an initiator without credits for good. [`Credit::ask`] says when
//! to send an SRP_CRED_REQ against that.
//!
//! # Without a lock
//!
//! A [`Credit`] is 64 bits, so that it can live in one atomic word:
//!
//! ```
//! use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! use scst_proto::srp::credit::Credit;
//!
//! fn update<R>(word: &AtomicU64, change: impl Fn(&mut Credit) -> R) -> R {
//!     let mut old = word.load(Relaxed);
//!     loop {
//!         let mut credit = Credit::from_u64(old);
//!         let result = change(&mut credit);
//!         match word.compare_exchange_weak(old, credit.to_u64(), Relaxed, Relaxed) {
//!             Ok(_) => return result,
//!             Err(now) => old = now,
//!         }
//!     }
//! }
//!
//! let word = AtomicU64::new(Credit::new(64).to_u64());
//! update(&word, Credit::receive).unwrap();
//! assert_eq!(update(&word, Credit::respond).delta(), 1);
//! ```

/// How an initiator breaks the rules. The channel is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A request for which it has no credit.
    OverLimit,
    /// An SRP_CRED_RSP or SRP_AER_RSP that nothing was asked for
    /// ([`LogoutReason::UnexpectedResponse`](super::LogoutReason::UnexpectedResponse)).
    UnexpectedResponse,
}

/// A request that the target sends; one of each kind at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TargetRequest {
    /// SRP_CRED_REQ, answered by SRP_CRED_RSP.
    Credit = 1 << 0,
    /// SRP_AER_REQ, answered by SRP_AER_RSP.
    Event = 1 << 1,
}

/// The credits that a unit gives to the initiator. If the unit cannot be sent after all, [`Credit::undo`] takes them
/// back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the credits are counted as sent"]
pub struct Grant {
    delta: u16,
    /// One of them was in progress.
    ended: bool,
    asked: Option<TargetRequest>,
}

impl Grant {
    /// REQUEST LIMIT DELTA of the unit.
    pub fn delta(&self) -> u16 {
        self.delta
    }
}

/// The request limit of one channel.
///
/// # Invariants
///
/// `limit + delta + in_progress` is what [`Credit::new`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    limit: u16,
    delta: u16,
    in_progress: u16,
    /// The [`TargetRequest`]s that are not answered yet.
    asked: u8,
}

impl Credit {
    /// A channel to which the SRP_LOGIN_RSP gave `request_limit` credits.
    pub const fn new(request_limit: u16) -> Self {
        Self {
            limit: request_limit,
            delta: 0,
            in_progress: 0,
            asked: 0,
        }
    }

    /// The credits that the initiator has (`req_lim` of the session).
    pub const fn limit(&self) -> u16 {
        self.limit
    }

    /// Those that wait to be given back (`req_lim_delta`).
    pub const fn delta(&self) -> u16 {
        self.delta
    }

    /// The requests that have not ended.
    pub const fn in_progress(&self) -> u16 {
        self.in_progress
    }

    /// A request has arrived ([`Iu::is_request`](super::iu::Iu::is_request)).
    #[inline]
    pub fn receive(&mut self) -> Result<(), Violation> {
        self.limit = self.limit.checked_sub(1).ok_or(Violation::OverLimit)?;
        self.in_progress = self.in_progress.saturating_add(1);
        Ok(())
    }

    /// A request ends with the response that is about to be sent, which also gives back all that waits.
    #[inline]
    pub fn respond(&mut self) -> Grant {
        let ended = self.end();
        self.grant(ended, None)
    }

    /// A request ends without a response. Afterwards look whether to [`ask`](Self::ask).
    #[inline]
    pub fn end_silently(&mut self) {
        if self.end() {
            self.delta = self.delta.saturating_add(1);
        }
    }

    /// Whether an SRP_CRED_REQ would be sent: no fewer credits wait than the initiator has left, so it may be about to
    /// stop, and no response is bound to come soon.
    #[inline]
    pub fn is_short(&self) -> bool {
        self.delta > 0 && self.delta >= self.limit && !self.has_asked(TargetRequest::Credit)
    }

    /// The target sends a request: an SRP_CRED_REQ, if there is [need](Self::is_short) of one, or an SRP_AER_REQ.
    /// `None` if it is not to be sent (now).
    pub fn ask(&mut self, what: TargetRequest) -> Option<Grant> {
        let send = match what {
            TargetRequest::Credit => self.is_short(),
            TargetRequest::Event => !self.has_asked(what),
        };
        send.then(|| {
            self.asked |= what as u8;
            self.grant(false, Some(what))
        })
    }

    /// The initiator has answered.
    pub fn answered(&mut self, what: TargetRequest) -> Result<(), Violation> {
        if !self.has_asked(what) {
            return Err(Violation::UnexpectedResponse);
        }
        self.asked &= !(what as u8);
        Ok(())
    }

    /// Takes back what a unit would have given that was never sent: all is as before. The initiator cannot have used
    /// those credits unless it does not care for them.
    pub fn undo(&mut self, grant: Grant) -> Result<(), Violation> {
        self.limit = self
            .limit
            .checked_sub(grant.delta)
            .ok_or(Violation::OverLimit)?;
        let ended = u16::from(grant.ended);
        self.in_progress = self.in_progress.saturating_add(ended);
        self.delta = self.delta.saturating_add(grant.delta.saturating_sub(ended));
        if let Some(what) = grant.asked {
            self.asked &= !(what as u8);
        }
        Ok(())
    }

    /// The word for an atomic.
    #[inline]
    pub const fn to_u64(self) -> u64 {
        (self.limit as u64)
            | ((self.delta as u64) << 16)
            | ((self.in_progress as u64) << 32)
            | ((self.asked as u64) << 48)
    }

    /// What [`to_u64`](Self::to_u64) made.
    #[inline]
    pub const fn from_u64(word: u64) -> Self {
        Self {
            limit: word as u16,
            delta: (word >> 16) as u16,
            in_progress: (word >> 32) as u16,
            asked: (word >> 48) as u8,
        }
    }

    fn has_asked(&self, what: TargetRequest) -> bool {
        self.asked & what as u8 != 0
    }

    /// One request fewer in progress; whether there was one.
    #[inline]
    fn end(&mut self) -> bool {
        let left = self.in_progress.checked_sub(1);
        self.in_progress = left.unwrap_or(0);
        left.is_some()
    }

    /// Gives the initiator all that waits, and one more if a request has `ended`.
    #[inline]
    fn grant(&mut self, ended: bool, asked: Option<TargetRequest>) -> Grant {
        let delta = self.delta.saturating_add(ended.into());
        self.delta = 0;
        self.limit = self.limit.saturating_add(delta);
        Grant {
            delta,
            ended,
            asked,
        }
    }
}
