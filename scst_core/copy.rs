// SPDX-License-Identifier: GPL-2.0

//! EXTENDED COPY and the commands around it (SPC-6 6.4, 6.5, 6.23 to 6.27).
//!
//! The parameter list is looked at in the thread that executes the command; what it
//! asks for is done in a work queue, piece by piece, so that no thread of a device
//! waits for a copy. A piece is read ahead while the one before is written.
//! Between pieces it is looked whether the copy is still wanted: the command may
//! have been aborted, a LUN may be going.

use crate::{
    cmd::{status, Cmd, Data, Executing},
    config::core,
    copy_io::{End, Failure, Initiator, Transfer, Way, PIECE},
    copy_jobs::{Job, Owner},
    copy_manager::CopyManager,
    copy_tokens::{Token, MAX_TOKENS},
    device::Device,
    nexus::{gate, Nexus},
    reservations::id_of,
};
use kapi::counted::InUse;
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use scst_proto::{
    bytes::{be32, u8_at, Writer},
    copy::{
        input,
        list::{self, CopyList, Cscd},
        out, report,
        token::{self, Range},
        MAX_LIST,
    },
    opcode::PeripheralDeviceType,
    sense::{
        Sense, COPY_TARGET_NOT_REACHABLE, INCORRECT_COPY_TARGET_TYPE, INEXACT_SEGMENT,
        INTERNAL_TARGET_FAILURE, INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_PARAMETER_LIST,
        THIRD_PARTY_DEVICE_FAILURE,
    },
};

/// Largest answer of THIRD-PARTY COPY IN.
const LARGEST: usize = 640;

impl Cmd<Executing> {
    /// Carries out THIRD-PARTY COPY OUT, operation code 83h. Process context; sleeps
    /// for a short time, copies go on elsewhere.
    pub fn third_party_copy_out(self) {
        let result = match self.cdb().service_action {
            out::EXTENDED_COPY_LID1 | out::EXTENDED_COPY | out::WRITE_USING_TOKEN => {
                return self.copy();
            }
            out::POPULATE_TOKEN => manager().and_then(|m| self.populate_token(&m)),
            out::ABORT => self.abort_copy(),
            _ => Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4).into()),
        };
        self.end_copy(result);
    }

    /// Carries out THIRD-PARTY COPY IN, operation code 84h. Process context, sleeps.
    pub fn third_party_copy_in(mut self) {
        if self.cdb().service_action == input::ALL_TOKENS {
            let result = self.report_tokens();
            return match result {
                Ok(()) => self.good(),
                Err(failure) => self.end_copy(Err(failure)),
            };
        }
        let mut data = [0; LARGEST];
        let mut w = Writer::new(&mut data);
        match self.report_copy(&mut w) {
            Ok(()) => {
                self.put(w.as_bytes());
                self.good();
            }
            Err(failure) => self.end_copy(Err(failure)),
        }
    }

    /// Whether the copy manager may copy from and to the device: it is one of its LUNs.
    /// Process context, sleeps.
    pub fn may_be_copied(&self) -> bool {
        let (Ok(manager), Some(nexus)) = (manager(), self.nexus()) else {
            return false;
        };
        manager.has(&nexus.device)
    }

    fn end_copy(self, result: Result<(), Failure>) {
        let moved = self.length();
        match result {
            Ok(()) => self.good_with(moved),
            Err(Failure::Sense(sense)) => self.check_condition(sense),
            Err(Failure::Conflict) => self.status(status::RESERVATION_CONFLICT),
            Err(Failure::Busy) => self.status(status::BUSY),
            Err(Failure::Aborted) => self.status(status::TASK_ABORTED),
        }
    }

    pub(crate) fn home(&self) -> Result<InUse<Nexus>, Failure> {
        Ok(self.nexus_in_use().ok_or(INTERNAL_TARGET_FAILURE)?)
    }

    fn abort_copy(&self) -> Result<(), Failure> {
        let id = be32(self.raw_cdb(), 2).unwrap_or(0);
        let job = manager()?.jobs.find(owner(&*self.home()?), id);
        let running = job.filter(|job| job.status().progress.is_running());
        running.ok_or(INVALID_FIELD_IN_CDB.in_cdb(2))?.cancel();
        Ok(())
    }

    /// REPORT ALL ROD TOKENS, SPC-6 6.34: as many as there is room for.
    fn report_tokens(&mut self) -> Result<(), Failure> {
        let most = (self.length() as usize).min(token::all_len(MAX_TOKENS));
        let mut data = KVec::from_elem(0u8, most, GFP_KERNEL)?;
        let mut w = Writer::new(&mut data);
        manager()?.tokens.report(&mut w);
        self.put(w.as_bytes());
        Ok(())
    }

    fn report_copy(&self, w: &mut Writer<'_>) -> Result<(), Failure> {
        let action = self.cdb().service_action;
        let raw = self.raw_cdb();
        let id = match action {
            input::PARAMETERS => {
                report::parameters(w);
                return Ok(());
            }
            input::STATUS_LID1 | input::FAILURE_LID1 => u8_at(raw, 2).map(u32::from),
            input::STATUS | input::TOKEN => be32(raw, 2),
            _ => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 4).into()),
        };
        let owner = owner(&*self.home()?);
        let job = manager()?.jobs.find(owner, id.unwrap_or(0));
        let job = job.ok_or(INVALID_FIELD_IN_CDB.in_cdb(2))?;
        let copy = job.status();
        match action {
            input::STATUS_LID1 => report::status_lid1(w, &copy),
            input::FAILURE_LID1 => report::failure_lid1(w, &copy),
            input::TOKEN => {
                report::status(w, &copy);
                token::descriptors(w, job.token.as_ref().map(|token| &token.bytes));
                // AVAILABLE DATA is of all.
                let len = w.full_len().saturating_sub(4);
                w.patch_be32(0, u32::try_from(len).unwrap_or(u32::MAX));
            }
            _ => report::status(w, &copy),
        }
        Ok(())
    }

    fn copy(self) {
        // While this is in use, the copy manager does not go.
        let home = self.nexus_in_use();
        let (mut copy, manager) = match manager().and_then(|m| Ok((self.plan_any(&m)?, m))) {
            Ok((Some(copy), manager)) => (copy, manager),
            Ok((None, _)) => return self.end_copy(Ok(())),
            Err(failure) => return self.end_copy(Err(failure)),
        };
        match copy.job.status().progress {
            report::Progress::Background => self.end_copy(Ok(())),
            _ => copy.cmd = Some(self),
        }
        // One that there is no memory for ends by being dropped.
        let _ = manager.run(move || copy.run());
        drop(manager);
        drop(home);
    }

    fn plan_any(&self, manager: &CopyManager) -> Result<Option<Copy>, Failure> {
        match self.cdb().service_action {
            out::WRITE_USING_TOKEN => self.plan_write(manager),
            _ => self.plan(manager),
        }
    }

    /// Looks at the parameter list, and finds the devices; `None` if there is nothing
    /// to do.
    fn plan(&self, manager: &CopyManager) -> Result<Option<Copy>, Failure> {
        let bytes = self.parameter_list::<Failure>(MAX_LIST)?;
        let action = self.cdb().service_action;
        let Some(list) = CopyList::decode(action, &bytes)? else {
            return Ok(None);
        };
        let (id, background) = (list.id, list.immediate);
        let home = self.home()?;
        let mut ends = KVec::new();
        for cscd in list.cscds() {
            ends.push(resolve(manager, &home, &cscd)?, GFP_KERNEL)?;
        }
        let itself = |device: &Device| core::ptr::eq(device, &*home.device);
        let own = manager.find(&home, &itself)?;
        let job = manager
            .jobs
            .begin(owner(&home), id, (action, None), background, None)?;
        let task = Task::List { action, bytes };
        Ok(Some(Copy::new(job, manager, ends, own, home, task)))
    }
}

fn manager() -> Result<Arc<CopyManager>, Failure> {
    let manager = core()?.copy_manager();
    Ok(manager.ok_or(INTERNAL_TARGET_FAILURE)?)
}

pub(crate) fn owner(home: &Nexus) -> Owner {
    Owner {
        nexus: id_of(home),
        device: home.device.id,
    }
}

fn at(sense: Sense, at: usize) -> Sense {
    // Lists are shorter than a field pointer reaches.
    u16::try_from(at).map_or(sense, |at| sense.in_data(at))
}

/// The device that a CSCD descriptor tells.
fn resolve(manager: &CopyManager, home: &Nexus, cscd: &Cscd<'_>) -> Result<End, Failure> {
    let told = |device: &Device| {
        device
            .lu
            .is_designated(cscd.code_set, cscd.kind, cscd.designator)
    };
    let end = manager.find(home, &told)?;
    let end = end.ok_or(at(COPY_TARGET_NOT_REACHABLE, cscd.at))?;
    if end.own.device.pdt != PeripheralDeviceType::DISK || cscd.pdt != PeripheralDeviceType::DISK {
        return Err(at(INCORRECT_COPY_TARGET_TYPE, cscd.at.saturating_add(1)).into());
    }
    let length = 1u32.checked_shl(end.shift()).unwrap_or(0);
    match cscd.block_length == 0 || cscd.block_length == length {
        true => Ok(end),
        false => Err(at(INVALID_FIELD_IN_PARAMETER_LIST, cscd.at.saturating_add(29)).into()),
    }
}

/// What is to be copied.
pub(crate) enum Task {
    /// What a parameter list of EXTENDED COPY says.
    List { action: u16, bytes: KVec<u8> },
    /// What a token stands for, or zeros, from a byte of it on.
    Token {
        token: Option<Arc<Token>>,
        ranges: KVec<Range>,
        offset: u64,
        delete: bool,
    },
}

/// A copy that is to be made. One that is dropped before it has ended is answered
/// BUSY.
pub(crate) struct Copy {
    job: Arc<Job>,
    io: Arc<Initiator>,
    /// What the CSCD descriptors tell, in their order; for a token, what it stands
    /// for.
    ends: KVec<End>,
    /// The logical unit that the command was sent to, if it may be copied.
    own: Option<End>,
    home: InUse<Nexus>,
    task: Task,
    /// The command, unless it ends before the copy.
    cmd: Option<Cmd<Executing>>,
    result: Result<(), Failure>,
}

impl Copy {
    pub(crate) fn new(
        job: Arc<Job>,
        manager: &CopyManager,
        ends: KVec<End>,
        own: Option<End>,
        home: InUse<Nexus>,
        task: Task,
    ) -> Self {
        Self {
            job,
            io: manager.io.clone(),
            ends,
            own,
            home,
            task,
            cmd: None,
            result: Err(Failure::Busy),
        }
    }

    /// Makes the copy.
    fn run(mut self) {
        let result = match &self.task {
            Task::List { action, bytes } => match CopyList::decode(*action, bytes) {
                Ok(Some(list)) => self.segments(&list),
                Ok(None) => Ok(()),
                Err(sense) => Err(sense.into()),
            },
            Task::Token {
                token,
                ranges,
                offset,
                delete,
            } => self.ranges(token.as_deref(), ranges, *offset, *delete),
        };
        self.result = result;
    }

    /// Writes what a token stands for, or zeros. A token that ends before the blocks do
    /// leaves the others as they are.
    fn ranges(
        &self,
        token: Option<&Token>,
        ranges: &[Range],
        offset: u64,
        delete: bool,
    ) -> Result<(), Failure> {
        let destination = self.end(list::End::Own)?;
        let shift = destination.shift();
        let mut at = offset;
        for range in ranges {
            let len = u64::from(range.blocks).wrapping_shl(shift);
            let to = range.lba.wrapping_shl(shift);
            let mut done = 0u64;
            while done < len {
                let (source, part) = match token {
                    None => (None, len),
                    Some(token) => {
                        let Some((from, left)) = token.locate(at) else {
                            return Ok(());
                        };
                        let source = self.end(list::End::Cscd(0))?;
                        let part = left.min(len.saturating_sub(done));
                        whole(part, shift)?;
                        whole(from | part, source.shift())?;
                        (Some((source, from, Some(token))), part)
                    }
                };
                self.pieces(source, (destination, to.saturating_add(done)), part)?;
                done = done.saturating_add(part);
                at = at.saturating_add(part);
            }
        }
        if let Some(token) = token {
            match delete {
                true => token.delete(),
                false => token.touch(),
            }
        }
        Ok(())
    }

    /// Whether nobody wants it any more. Any context.
    fn is_over(&self) -> bool {
        self.job.is_cancelled()
            || self.cmd.as_ref().is_some_and(Cmd::is_aborted)
            || self.home.gate() & gate::GONE != 0
            || self.ends.iter().any(End::is_gone)
            || self.own.as_ref().is_some_and(End::is_gone)
    }

    fn end(&self, end: list::End) -> Result<&End, Failure> {
        let end = match end {
            list::End::Cscd(n) => self.ends.get(usize::from(n)),
            list::End::Own => self.own.as_ref(),
        };
        Ok(end.ok_or(COPY_TARGET_NOT_REACHABLE)?)
    }

    fn segments(&self, list: &CopyList<'_>) -> Result<(), Failure> {
        for segment in list.segments() {
            let located = |failure| match failure {
                Failure::Sense(sense) if sense.field.is_none() => at(sense, segment.at).into(),
                other => other,
            };
            let source = self.end(segment.source).map_err(located)?;
            let destination = self.end(segment.destination).map_err(located)?;
            let (from, to, len) = segment.extent(source.shift(), destination.shift())?;
            self.pieces(Some((source, from, None)), (destination, to), len)
                .map_err(located)?;
            self.job.segments.add(1, Relaxed);
        }
        Ok(())
    }

    /// Copies `len` bytes, or writes zeros.
    fn pieces(
        &self,
        source: Option<Source<'_>>,
        (destination, to): (&End, u64),
        len: u64,
    ) -> Result<(), Failure> {
        let stop = || self.is_over();
        let piece = source.as_ref().map_or(PIECE, |(end, ..)| end.piece());
        let piece = piece.min(destination.piece());
        let read = |done: u64| -> Result<Option<(Read<'_>, u32)>, Failure> {
            // At most a piece, which 32 bits hold.
            let size = len.saturating_sub(done).min(piece) as u32;
            let read = match &source {
                _ if size == 0 => return Ok(None),
                None => Read::Zeros,
                Some((end, from, _)) => {
                    let pos = from.saturating_add(done);
                    Read::Begun(self.io.begin(end, Way::Read, pos, size, Data::None)?)
                }
            };
            Ok(Some((read, size)))
        };
        let mut done = 0u64;
        let mut ahead = read(done)?;
        while let Some((now, size)) = ahead {
            let data = match now {
                Read::Begun(transfer) => self.io.finish(transfer, &stop)?,
                Read::Zeros => Data::Void,
            };
            if let Some((_, _, Some(token))) = &source {
                // What was read is what it stands for.
                token.check()?;
            }
            let data = for_writing(data, size)?;
            let pos = to.saturating_add(done);
            done = done.saturating_add(u64::from(size));
            ahead = read(done)?;
            let transfer = self.io.begin(destination, Way::Write, pos, size, data)?;
            drop(self.io.finish(transfer, &stop)?);
            self.job.bytes.add(u64::from(size), Relaxed);
        }
        Ok(())
    }
}

/// Where is copied from: a device, a byte of it, and the token that gives a right to that.
type Source<'a> = (&'a End, u64, Option<&'a Token>);

/// What will be written.
enum Read<'a> {
    Begun(Transfer<'a>),
    Zeros,
}

/// `Err` unless `bytes` are whole blocks.
fn whole(bytes: u64, shift: u32) -> Result<(), Failure> {
    let mask = 1u64.checked_shl(shift).unwrap_or(0).wrapping_sub(1);
    match bytes & mask {
        0 => Ok(()),
        _ => Err(INEXACT_SEGMENT.into()),
    }
}

/// What was read of a device that keeps nothing is in no memory; zeros are to be
/// written for it.
fn for_writing(data: Data, size: u32) -> Result<Data, Failure> {
    match data {
        Data::Void => {
            let zeros = crate::config::buffer(size as usize)?;
            zeros.list().zero(0, size as usize);
            Ok(Data::Pooled(zeros))
        }
        data => Ok(data),
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // After something was copied the initiator has to be told by sense data.
        let begun = self.job.bytes.load(Relaxed) != 0;
        let result = match self.result {
            Err(Failure::Conflict | Failure::Busy) if begun => {
                Err(THIRD_PARTY_DEVICE_FAILURE.into())
            }
            result => result,
        };
        let (status, sense) = match result {
            Ok(()) => (status::GOOD, None),
            Err(Failure::Sense(sense)) => (status::CHECK_CONDITION, Some(sense)),
            Err(Failure::Conflict) => (status::RESERVATION_CONFLICT, None),
            Err(Failure::Busy) => (status::BUSY, None),
            Err(Failure::Aborted) => (status::TASK_ABORTED, None),
        };
        // Nothing is in use any more when the initiator is told.
        self.ends.clear();
        self.own = None;
        self.job.end(result, status, sense);
        if let Some(cmd) = self.cmd.take() {
            cmd.end_copy(result);
        }
    }
}
