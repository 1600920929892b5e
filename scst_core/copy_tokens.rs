// SPDX-License-Identifier: GPL-2.0

//! The tokens that the copy manager has given out (SPC-6 5.19.6).
//!
//! Most stand for blocks as they were. A device that has such tokens says so in the
//! gates of its nexuses, and each command that writes is compared with them before it
//! is executed; a device without any pays nothing. Tokens end when nobody uses them for
//! as long as their initiator asked for.

use crate::{copy_io::Failure, device::Device, nexus::Nexus};
use kapi::lock::{new_spinlock_irq, SpinLockIrq};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        new_mutex, Arc, Mutex,
    },
};
use scst_proto::{
    bytes::Writer,
    cdb::Cdb,
    copy::token::{self, Created, Kind, Populate, Range, LEN, SECRET},
    opcode::Flags,
    sense::{
        Sense, INSUFFICIENT_RESOURCES_FOR_TOKEN, TOKEN_CORRUPT, TOKEN_DELETED, TOKEN_EXPIRED,
        TOKEN_REVOKED, TOKEN_UNKNOWN,
    },
};

/// Most tokens of all devices.
pub(crate) const MAX_TOKENS: usize = 512;

/// THIRD-PARTY COPY OUT.
const COPY_OUT: u8 = 0x83;

/// States of a token.
const LIVE: u32 = 0;
const REVOKED: u32 = 1;
const DELETED: u32 = 2;

/// A token.
pub(crate) struct Token {
    pub(crate) bytes: [u8; LEN],
    /// Number of the device whose blocks it stands for.
    pub(crate) device: u32,
    kind: Kind,
    shift: u32,
    ranges: KVec<Range>,
    timeout_ns: u64,
    until_ns: Atomic<u64>,
    state: Atomic<u32>,
}

impl Token {
    /// `Err` if it stands for nothing any more. Any context.
    pub(crate) fn check(&self) -> Result<(), Sense> {
        match self.state.load(Acquire) {
            LIVE if kapi::time::now_ns() < self.until_ns.load(Relaxed) => Ok(()),
            LIVE => Err(TOKEN_EXPIRED),
            REVOKED => Err(TOKEN_REVOKED),
            _ => Err(TOKEN_DELETED),
        }
    }

    /// It is used: it lives on for as long as it was to in the beginning.
    pub(crate) fn touch(&self) {
        let until = kapi::time::now_ns().saturating_add(self.timeout_ns);
        self.until_ns.store(until, Relaxed);
    }

    /// It is not wanted any more.
    pub(crate) fn delete(&self) {
        self.state.store(DELETED, Release);
    }

    /// Bytes that it stands for.
    pub(crate) fn len(&self) -> u64 {
        let blocks = |sum: u64, r: &Range| sum.saturating_add(u64::from(r.blocks));
        self.ranges.iter().fold(0, blocks).wrapping_shl(self.shift)
    }

    /// Where on the device its byte `at` is, and how many follow there.
    pub(crate) fn locate(&self, at: u64) -> Option<(u64, u64)> {
        let mut left = at;
        for range in &self.ranges {
            let len = u64::from(range.blocks).wrapping_shl(self.shift);
            if left < len {
                let pos = range.lba.wrapping_shl(self.shift).saturating_add(left);
                return Some((pos, len - left));
            }
            left -= len;
        }
        None
    }

    /// Whether a command that writes may change what it stands for. One that says
    /// where in its data may change everything.
    fn is_changed_by(&self, cdb: &Cdb) -> bool {
        let blocks = match cdb.blocks {
            0 => u64::MAX,
            n => u64::from(n),
        };
        let mut ranges = self.ranges.iter();
        cdb.op.lba.width == 0 || ranges.any(|range| range.overlaps(cdb.lba, blocks))
    }
}

/// The tokens of a device that its writes are compared with.
#[pin_data]
pub(crate) struct Watch {
    #[pin]
    tokens: SpinLockIrq<KVec<Arc<Token>>>,
}

impl Watch {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            tokens <- new_spinlock_irq!(KVec::new()),
        })
    }

    /// Whether there are any. Any context.
    pub(crate) fn is_on(&self) -> bool {
        !self.tokens.lock().is_empty()
    }

    /// A command is about to be executed: what it changes is not what tokens stand
    /// for. Without any the nexus need not ask again. Any context.
    #[cold]
    pub(crate) fn command(&self, nexus: &Nexus, cdb: &Cdb) {
        // What the copy manager writes it writes by commands of its own.
        let writes = cdb.op.flags.contains(Flags::WRITES) && cdb.op.opcode != COPY_OUT;
        let mut tokens = self.tokens.lock();
        tokens.retain(|token| {
            if writes && token.is_changed_by(cdb) {
                let _ = token.state.cmpxchg(LIVE, REVOKED, Release);
            }
            token.check().is_ok()
        });
        if tokens.is_empty() {
            nexus.set_watched(false);
        }
    }
}

/// All tokens.
#[pin_data]
pub(crate) struct Tokens {
    /// The oldest first.
    #[pin]
    all: Mutex<KVec<Arc<Token>>>,
    last: Atomic<u64>,
}

impl Tokens {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            all <- new_mutex!(KVec::new(), "scst_tokens"),
            last <- Atomic::new(0),
        })
    }

    /// Makes a token for blocks of `device`. Takes the configuration's lock; sleeps.
    pub(crate) fn make(
        &self,
        device: &Arc<Device>,
        what: &Populate<'_>,
    ) -> Result<Arc<Token>, Failure> {
        let mut ranges = KVec::with_capacity(what.ranges.count(), GFP_KERNEL)?;
        for range in what.ranges.iter() {
            ranges.push(range, GFP_KERNEL)?;
        }
        let shift = device.lu.block_shift();
        let mut secret = [0; SECRET];
        kapi::system::random(&mut secret);
        let mut bytes = [0; LEN];
        let created = Created {
            kind: what.kind,
            id: self.last.fetch_add(1, Relaxed).wrapping_add(1),
            creator: &device.lu.cscd(),
            bytes: what.ranges.blocks().wrapping_shl(shift),
            block_length: 1u32.checked_shl(shift).unwrap_or(0),
            secret: &secret,
        };
        token::make(&mut bytes, &created);
        let token = Arc::new(
            Token {
                bytes,
                device: device.id,
                kind: what.kind,
                shift,
                ranges,
                timeout_ns: u64::from(what.timeout).saturating_mul(1_000_000_000),
                until_ns: Atomic::new(0),
                state: Atomic::new(LIVE),
            },
            GFP_KERNEL,
        )?;
        token.touch();
        self.keep(token.clone())?;
        if token.kind == Kind::ChangeVulnerable {
            watch(device, token.clone()).inspect_err(|_| token.delete())?;
        }
        Ok(token)
    }

    /// Those that stand for nothing are kept as long as there is room, to say why.
    fn keep(&self, token: Arc<Token>) -> Result<(), Failure> {
        let mut all = self.all.lock();
        if all.len() >= MAX_TOKENS {
            let dead = all.iter().position(|old| old.check().is_err());
            drop(all.remove(dead.ok_or(INSUFFICIENT_RESOURCES_FOR_TOKEN)?));
        }
        all.push(token, GFP_KERNEL)?;
        Ok(())
    }

    /// Writes the answer to REPORT ALL ROD TOKENS: those that stand for something.
    pub(crate) fn report(&self, w: &mut Writer<'_>) {
        let all = self.all.lock();
        let live = all.iter().filter(|token| token.check().is_ok());
        token::all(w, live.map(|token| &token.bytes));
    }

    /// The token with these bytes.
    pub(crate) fn find(&self, bytes: &[u8; LEN]) -> Result<Arc<Token>, Sense> {
        let id = token::id(bytes);
        let all = self.all.lock();
        let found = all.iter().find(|token| token::id(&token.bytes) == id);
        let found = found.ok_or(TOKEN_UNKNOWN)?;
        if found.bytes != *bytes {
            return Err(TOKEN_CORRUPT);
        }
        found.check()?;
        Ok(found.clone())
    }
}

/// From here on what writes to `device` is compared with `token`. Takes the
/// configuration's lock.
fn watch(device: &Arc<Device>, token: Arc<Token>) -> Result {
    device.watch.tokens.lock().push(token, GFP_ATOMIC)?;
    // Nexuses that are made from here on look for themselves.
    for nexus in &crate::config::core()?.nexuses_of(device)? {
        nexus.set_watched(true);
    }
    // Who has not seen that has gone through before the token is given out.
    kapi::rcu::synchronize();
    Ok(())
}
