// SPDX-License-Identifier: GPL-2.0

//! POPULATE TOKEN and WRITE USING TOKEN (SBC-4 5.9, 5.53), which initiators call
//! offloaded data transfer.

use crate::{
    cmd::{Cmd, Executing},
    copy::{owner, Copy, Task},
    copy_io::Failure,
    copy_manager::CopyManager,
    nexus::Nexus,
};
use kernel::prelude::*;
use scst_proto::{
    bytes::be32,
    copy::{
        out,
        token::{self, Populate, WriteUsing, MAX_LIST},
    },
    sense::{COPY_TARGET_NOT_REACHABLE, INVALID_FIELD_IN_PARAMETER_LIST, TOKEN_REVOKED},
};

impl Cmd<Executing> {
    /// LIST IDENTIFIER of both commands.
    fn list_id(&self) -> Option<u32> {
        be32(self.raw_cdb(), 6)
    }

    /// Carries out POPULATE TOKEN: nothing is moved. An empty list is no error.
    pub(crate) fn populate_token(&self, manager: &CopyManager) -> Result<(), Failure> {
        let bytes = self.parameter_list::<Failure>(MAX_LIST)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let home = self.home()?;
        let lu = &home.device.lu;
        let what = Populate::decode(&bytes, lu.capacity(), lu.block_shift())?;
        // Who uses the token does so through the copy manager.
        own(manager, &home)?;
        let token = manager.tokens.make(&home.device, &what)?;
        let job = manager.jobs.begin(
            owner(&home),
            self.list_id(),
            (out::POPULATE_TOKEN, Some(lu.block_shift())),
            what.immediate,
            Some(token.clone()),
        );
        let job = job.inspect_err(|_| token.delete())?;
        job.bytes.store(token.len(), kernel::sync::atomic::Relaxed);
        job.end(Ok(()), 0, None);
        Ok(())
    }

    /// Looks at the list of WRITE USING TOKEN; `None` if there is nothing to do.
    pub(crate) fn plan_write(&self, manager: &CopyManager) -> Result<Option<Copy>, Failure> {
        let bytes = self.parameter_list::<Failure>(MAX_LIST)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let home = self.home()?;
        let (shift, capacity) = (home.device.lu.block_shift(), home.device.lu.capacity());
        let what = WriteUsing::decode(&bytes, capacity, shift)?;
        let mut ranges = KVec::with_capacity(what.ranges.count(), GFP_KERNEL)?;
        for range in what.ranges.iter() {
            ranges.push(range, GFP_KERNEL)?;
        }
        let mut ends = KVec::new();
        let token = match token::is_zero(what.token) {
            true => None,
            false => {
                let token = manager.tokens.find(what.token)?;
                let source = manager.by_number(token.device)?.ok_or(TOKEN_REVOKED)?;
                ends.push(source, GFP_KERNEL)?;
                Some(token)
            }
        };
        let offset = what.offset.checked_shl(shift).unwrap_or(u64::MAX);
        let beyond = offset.wrapping_shr(shift) != what.offset
            || token.as_ref().is_some_and(|token| offset >= token.len());
        if beyond {
            return Err(INVALID_FIELD_IN_PARAMETER_LIST.in_data(8).into());
        }
        let own = Some(own(manager, &home)?);
        let job = manager.jobs.begin(
            owner(&home),
            self.list_id(),
            (out::WRITE_USING_TOKEN, Some(shift)),
            what.immediate,
            None,
        )?;
        let task = Task::Token {
            token,
            ranges,
            offset,
            delete: what.delete,
        };
        Ok(Some(Copy::new(job, manager, ends, own, home, task)))
    }
}

/// The device that the command was sent to, as the copy manager has it.
fn own(manager: &CopyManager, home: &Nexus) -> Result<crate::copy_io::End, Failure> {
    let itself = |device: &crate::device::Device| core::ptr::eq(device, &*home.device);
    Ok(manager
        .find(home, &itself)?
        .ok_or(COPY_TARGET_NOT_REACHABLE)?)
}
