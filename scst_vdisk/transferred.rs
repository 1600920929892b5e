// SPDX-License-Identifier: GPL-2.0

//! The data buffer of a command that may have protection information in it, or
//! beside it.

use crate::{protection::BUFFER_FLAGS, writes::Failure};
use kernel::prelude::*;
use scst::{Cmd, Executing, InTransfer};
use scst_proto::{
    protection::{join, split, Access, TUPLE},
    sense::PARAMETER_LIST_LENGTH_ERROR,
};

/// The data buffer of a command, and where the information of its blocks is.
pub(crate) struct Buffer<'a> {
    pub(crate) cmd: &'a Cmd<Executing>,
    info: InTransfer<'a>,
    block: usize,
    /// Blocks of the buffer that are passed over.
    pub(crate) skip: usize,
    /// A piece as it is transferred, if the information is in it.
    wire: KVec<u8>,
}

impl<'a> Buffer<'a> {
    pub(crate) fn new(
        cmd: &'a Cmd<Executing>,
        access: &Access,
        block: usize,
        blocks: usize,
    ) -> Result<Self> {
        let info = match access.transferred {
            true => cmd.protection(),
            false => InTransfer::Absent,
        };
        let wire = match info {
            InTransfer::Interleaved => KVec::from_elem(
                0u8,
                blocks.saturating_mul(block.saturating_add(TUPLE)),
                BUFFER_FLAGS,
            )?,
            _ => KVec::new(),
        };
        Ok(Self {
            cmd,
            info,
            block,
            skip: 0,
            wire,
        })
    }

    /// Whether the initiator has sent information, or wants some.
    pub(crate) fn has_info(&self) -> bool {
        !matches!(self.info, InTransfer::Absent)
    }

    /// Bytes of a block in the data buffer.
    pub(crate) fn stride(&self) -> usize {
        match self.info {
            InTransfer::Interleaved => self.block.saturating_add(TUPLE),
            _ => self.block,
        }
    }

    /// Copies blocks from the initiator, the first of them `index` blocks after
    /// that of the command.
    pub(crate) fn fetch(
        &mut self,
        index: usize,
        data: &mut [u8],
        tags: &mut [u8],
    ) -> Result<(), Failure> {
        let index = index.saturating_add(self.skip);
        let at = index.saturating_mul(self.stride());
        let whole = |copied: usize, wanted: usize| match copied == wanted {
            true => Ok(()),
            false => Err(Failure::from(PARAMETER_LIST_LENGTH_ERROR)),
        };
        let memory = self.cmd.data().ok_or(EINVAL)?;
        match &self.info {
            InTransfer::Interleaved => {
                let len = data.len().saturating_add(tags.len());
                let wire = self.wire.get_mut(..len).ok_or(EINVAL)?;
                whole(memory.copy_from(at, wire), len)?;
                split(wire, self.block, data, tags);
                return Ok(());
            }
            InTransfer::Apart(list) => {
                let from = index.saturating_mul(TUPLE);
                whole(list.copy_from(from, tags), tags.len())?;
            }
            InTransfer::Absent => {}
        }
        whole(memory.copy_from(at, data), data.len())
    }

    /// Copies blocks to the initiator; see [`Buffer::fetch`].
    pub(crate) fn put(&mut self, index: usize, data: &[u8], tags: &[u8]) -> Result {
        let at = index.saturating_mul(self.stride());
        let memory = self.cmd.data().ok_or(EINVAL)?;
        match &self.info {
            InTransfer::Interleaved => {
                let len = data.len().saturating_add(tags.len());
                let wire = self.wire.get_mut(..len).ok_or(EINVAL)?;
                join(wire, self.block, data, tags);
                memory.copy_to(at, wire);
                return Ok(());
            }
            InTransfer::Apart(list) => {
                list.copy_to(index.saturating_mul(TUPLE), tags);
            }
            InTransfer::Absent => {}
        }
        memory.copy_to(at, data);
        Ok(())
    }
}
