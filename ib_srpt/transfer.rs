// SPDX-License-Identifier: GPL-2.0

//! Work requests for the data of a command: the initiator's pieces of memory
//! and ours, of which neither knows where the other has its borders.

use crate::rdma::{
    chain::{Chain, Full, Rdma, Remote, CHAIN_PIECES, CHAIN_WRS},
    dma::{Local, Pieces},
};
use scst_proto::srp::descriptors::Descriptor;

/// Whoever takes work requests one by one.
trait Sink<'t> {
    /// Whether it takes another work request, of one piece at least.
    fn open(&mut self) -> bool;
    /// Pieces that it takes now.
    fn room(&self) -> usize;
    /// Begins a work request.
    fn begin(&mut self, remote: Remote) -> Result<(), Full>;
    /// Adds to it.
    fn add(&mut self, local: Local<'t>) -> Result<(), Full>;
}

/// A chain, and which way its data go.
struct Into<'a, 't>(&'a mut Chain<'t>, Rdma);

impl<'t> Sink<'t> for Into<'_, 't> {
    #[inline]
    fn open(&mut self) -> bool {
        self.0.room() > 0
    }

    #[inline]
    fn room(&self) -> usize {
        self.0.room()
    }

    #[inline]
    fn begin(&mut self, remote: Remote) -> Result<(), Full> {
        self.0.rdma(self.1, remote)
    }

    #[inline]
    fn add(&mut self, local: Local<'t>) -> Result<(), Full> {
        self.0.piece(local)
    }
}

/// Only counts work requests, in as many chains as it takes: one that does not
/// fit into the rest of a chain is two.
#[derive(Default)]
struct Count {
    requests: u32,
    /// Of the last chain.
    wrs: usize,
    pieces: usize,
}

impl<'t> Sink<'t> for Count {
    fn open(&mut self) -> bool {
        if self.wrs >= CHAIN_WRS || self.pieces >= CHAIN_PIECES {
            (self.wrs, self.pieces) = (0, 0);
        }
        true
    }

    fn room(&self) -> usize {
        CHAIN_PIECES.saturating_sub(self.pieces)
    }

    fn begin(&mut self, _remote: Remote) -> Result<(), Full> {
        self.requests = self.requests.saturating_add(1);
        self.wrs += 1;
        Ok(())
    }

    fn add(&mut self, _local: Local<'t>) -> Result<(), Full> {
        self.pieces += 1;
        Ok(())
    }
}

/// This machine's side of a transfer.
#[derive(Clone)]
pub(crate) enum Memory<'t> {
    /// A mapped buffer.
    Mapped(Pieces<'t>),
    /// The same memory again and again.
    Void(Local<'t>),
}

impl<'t> Iterator for Memory<'t> {
    type Item = Local<'t>;

    #[inline]
    fn next(&mut self) -> Option<Local<'t>> {
        match self {
            Self::Mapped(pieces) => pieces.next(),
            Self::Void(region) => Some(*region),
        }
    }
}

/// A part of a transfer, in bytes from its start, and what a work request and a
/// batch of them may have.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Pieces of memory of a work request.
    pub(crate) pieces: u32,
    /// Work requests.
    pub(crate) requests: u32,
}

/// Makes work requests for `part`, as far as the sink takes them; how far.
#[inline]
fn run<'t>(
    sink: &mut impl Sink<'t>,
    mut remote: impl Iterator<Item = Descriptor>,
    mut local: impl Iterator<Item = Local<'t>>,
    part: Part,
) -> u32 {
    let mut there = remote.next();
    let mut here = local.next();
    // Where a batch ended, the next one begins: within a piece on either side.
    let mut skip = part.from;
    while let Some(piece) = there.as_mut().filter(|_| skip > 0) {
        let count = piece.len.min(skip);
        advance(piece, count);
        skip -= count;
        if piece.len == 0 {
            there = remote.next();
        }
    }
    let mut skip = part.from;
    while let Some(piece) = here.filter(|_| skip > 0) {
        let count = piece.len().min(skip);
        skip -= count;
        here = match count == piece.len() {
            true => local.next(),
            false => Some(piece.behind(count)),
        };
    }
    let mut at = part.from;
    let mut requests = part.requests;
    while at < part.to && requests > 0 && sink.open() {
        let (Some(piece), Some(_)) = (there.as_mut(), here) else {
            break;
        };
        let at_remote = Remote {
            addr: piece.addr,
            rkey: piece.rkey,
        };
        if sink.begin(at_remote).is_err() {
            break;
        }
        requests -= 1;
        let mut pieces = part.pieces;
        while let Some(mine) = here {
            let count = mine.len().min(piece.len).min(part.to - at);
            if count == 0 || pieces == 0 || sink.room() == 0 || sink.add(mine.first(count)).is_err()
            {
                break;
            }
            pieces -= 1;
            at += count;
            advance(piece, count);
            here = match count == mine.len() {
                true => local.next(),
                false => Some(mine.behind(count)),
            };
        }
        if piece.len == 0 {
            there = remote.next();
        }
    }
    at
}

#[inline]
fn advance(piece: &mut Descriptor, count: u32) {
    // Checked when the list was parsed: no piece wraps around.
    piece.addr = piece.addr.wrapping_add(count.into());
    piece.len -= count.min(piece.len);
}

/// How many work requests `part` takes, no more than it allows, and how far they
/// reach.
pub(crate) fn measure<'t>(
    remote: impl Iterator<Item = Descriptor>,
    local: Memory<'t>,
    part: Part,
) -> (u32, u32) {
    let mut count = Count::default();
    let to = run(&mut count, remote, local, part);
    (count.requests, to)
}

/// Makes work requests for `part` as far as there is room in the chain; how far.
#[inline]
pub(crate) fn fill<'t>(
    chain: &mut Chain<'t>,
    way: Rdma,
    remote: impl Iterator<Item = Descriptor>,
    local: Memory<'t>,
    part: Part,
) -> u32 {
    run(&mut Into(chain, way), remote, local, part)
}
