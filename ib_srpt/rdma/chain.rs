// SPDX-License-Identifier: GPL-2.0

//! Work requests that are posted at once.
//!
//! C header: `include/rdma/ib_verbs.h`

use super::{dma::Local, queue_pair::Kind};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{self},
};
use kernel::{ffi::c_int, prelude::*};
use rdma_bindings as ib;

/// Work requests of a chain that is posted at once.
pub(crate) const CHAIN_WRS: usize = 8;
/// Pieces of memory of such a chain.
pub(crate) const CHAIN_PIECES: usize = 16;

/// A piece of the initiator's memory.
#[derive(Clone, Copy)]
pub(crate) struct Remote {
    /// Its virtual address there.
    pub(crate) addr: u64,
    /// The key for it.
    pub(crate) rkey: u32,
}

/// Which way a work request moves data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rdma {
    /// From the initiator's memory.
    Read,
    /// To the initiator's memory.
    Write,
}

/// Work requests under construction. The memory that they name is the
/// request's that they are for, whose body is borrowed for `'t`.
pub(crate) struct Chain<'t> {
    wrs: [MaybeUninit<ib::ib_rdma_wr>; CHAIN_WRS],
    sges: [MaybeUninit<ib::ib_sge>; CHAIN_PIECES],
    used_wrs: usize,
    used_sges: usize,
    id: u64,
    _request: PhantomData<&'t ()>,
}

/// There is no room in the chain: it has to be posted first.
pub(crate) struct Full;

impl<'t> Chain<'t> {
    #[inline]
    pub(super) fn new(id: u64) -> Self {
        Self {
            wrs: [const { MaybeUninit::uninit() }; CHAIN_WRS],
            sges: [const { MaybeUninit::uninit() }; CHAIN_PIECES],
            used_wrs: 0,
            used_sges: 0,
            id,
            _request: PhantomData,
        }
    }

    /// Pieces of memory that there is room for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        CHAIN_PIECES.saturating_sub(self.used_sges)
    }

    /// Begins a work request without memory; [`Chain::piece`] adds that.
    #[inline]
    fn begin(
        &mut self,
        opcode: ib::ib_wr_opcode,
        flags: c_int,
        remote: Remote,
    ) -> Result<(), Full> {
        let slot = self.wrs.get_mut(self.used_wrs).ok_or(Full)?;
        let sges = self.sges.get_mut(self.used_sges..).ok_or(Full)?;
        slot.write(ib::ib_rdma_wr {
            wr: ib::ib_send_wr {
                next: ptr::null_mut(),
                __bindgen_anon_1: ib::ib_send_wr__bindgen_ty_1 {
                    wr_id: Kind::Part as u64,
                },
                sg_list: sges.as_mut_ptr().cast(),
                num_sge: 0,
                opcode,
                send_flags: flags,
                ex: ib::ib_send_wr__bindgen_ty_2 { imm_data: 0 },
            },
            remote_addr: remote.addr,
            rkey: remote.rkey,
        });
        self.used_wrs += 1;
        Ok(())
    }

    /// Adds memory of this machine to the last work request.
    #[inline]
    pub(crate) fn piece(&mut self, local: Local<'t>) -> Result<(), Full> {
        let last = self.used_wrs.checked_sub(1).ok_or(Full)?;
        let wr = self.wrs.get_mut(last).ok_or(Full)?;
        let sge = self.sges.get_mut(self.used_sges).ok_or(Full)?;
        sge.write(ib::ib_sge {
            addr: local.addr,
            length: local.len(),
            lkey: local.lkey,
        });
        self.used_sges += 1;
        // SAFETY: The first `used_wrs` work requests were written.
        unsafe { wr.assume_init_mut() }.wr.num_sge += 1;
        Ok(())
    }

    /// Begins to move data between this machine's memory, as [`Chain::piece`]
    /// says, and the initiator's.
    #[inline]
    pub(crate) fn rdma(&mut self, way: Rdma, remote: Remote) -> Result<(), Full> {
        let opcode = match way {
            Rdma::Read => ib::ib_wr_opcode_IB_WR_RDMA_READ,
            Rdma::Write => ib::ib_wr_opcode_IB_WR_RDMA_WRITE,
        };
        self.begin(opcode, 0, remote)
    }

    /// Sends `local` as a unit. With `solicited`, the initiator gets an event
    /// for it where it waits for those only.
    #[inline]
    pub(crate) fn send(&mut self, local: Local<'t>, solicited: bool) -> Result<(), Full> {
        let flags = match solicited {
            true => ib::ib_send_flags_IB_SEND_SOLICITED,
            false => 0,
        };
        let nowhere = Remote { addr: 0, rkey: 0 };
        if self.room() == 0 {
            return Err(Full);
        }
        self.begin(ib::ib_wr_opcode_IB_WR_SEND, flags, nowhere)?;
        self.piece(local)
    }

    /// Links the work requests; with `last`, the last one makes a completion.
    #[inline]
    pub(super) fn finish(&mut self, last: bool) -> Option<*const ib::ib_send_wr> {
        let used = self.wrs.get_mut(..self.used_wrs)?;
        let mut next = ptr::null_mut::<ib::ib_send_wr>();
        for wr in used.iter_mut().rev() {
            let wr = wr.as_mut_ptr();
            // SAFETY: The first `used_wrs` work requests were written.
            unsafe {
                if next.is_null() && last {
                    (*wr).wr.__bindgen_anon_1.wr_id = self.id;
                    (*wr).wr.send_flags |= ib::ib_send_flags_IB_SEND_SIGNALED;
                }
                (*wr).wr.next = next;
                next = ptr::addr_of_mut!((*wr).wr);
            }
        }
        (!next.is_null()).then_some(next.cast_const())
    }
}
