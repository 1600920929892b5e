// SPDX-License-Identifier: GPL-2.0

//! From an answered command to posted work: where data and response go, in how
//! many batches, and who waits for the send queue.

use crate::{
    channel::Channel,
    rdma::{
        arena::{Body, Handle},
        chain::{Chain, Rdma, Remote},
        dma::{Single, Toward, VOID_LEN},
        queue_pair::More,
    },
    request::{Pending, Stage},
    transfer::{self, Memory, Part},
};
use kapi::sg::{Gfp, SgList};
use kernel::sync::atomic::Acquire;
use scst::{Cmd, DataOut};
use scst_proto::srp::{
    channel::Event,
    cmd as srp_cmd,
    data_buffer::DataBuffer,
    descriptors::{DescriptorError, Descriptors, Pieces},
};

/// The core's buffer of a command.
pub(crate) enum Buffer<'a> {
    /// None is needed.
    Void,
    Memory(Option<SgList<'a>>),
}

impl<'a> Buffer<'a> {
    #[inline]
    pub(crate) fn of(void: bool, sg: Option<SgList<'a>>) -> Self {
        match void {
            true => Self::Void,
            false => Self::Memory(sg),
        }
    }
}

/// What a batch of posted work does.
#[derive(Clone, Copy)]
struct Plan {
    from: u32,
    to: u32,
    /// Work requests for data.
    data: u32,
    /// The unit goes with it.
    send: bool,
}

impl Channel {
    /// The core wants a command's data-out.
    pub(crate) fn fetch(&self, mut handle: Handle, cmd: Cmd<DataOut>) {
        let length = cmd.length();
        handle.request.send_len = 0;
        handle.request.posted = 0;
        if let Some(at) = handle.request.immediate {
            return received(handle, cmd, usize::from(at));
        }
        if length == 0 {
            handle.park_again();
            return cmd.data_received();
        }
        if !self.prepare(
            &mut handle,
            Buffer::of(cmd.is_void(), cmd.data()),
            length,
            Toward::Memory,
        ) {
            handle.park_again();
            return cmd.data_failed(scst_proto::sense::DATA_PHASE_ERROR);
        }
        handle.request.pending = Pending::Fetch(cmd);
        self.submit(handle);
    }

    /// Maps a command's buffer and finds out where the initiator's is.
    #[inline]
    pub(crate) fn prepare(
        &self,
        handle: &mut Handle,
        data: Buffer<'_>,
        total: u32,
        dir: Toward,
    ) -> bool {
        handle.request.total = total;
        handle.request.stage = Stage::Data;
        if let Buffer::Memory(sg) = data {
            let (Some(qp), Some(sg)) = (self.qp.as_ref(), sg) else {
                return false;
            };
            match handle.map(qp.domain(), &sg, dir) {
                Ok(mapped) => handle.request.mapped = Some(mapped),
                Err(_) => return false,
            }
        }
        if handle.request.direct.is_some() || handle.request.table.is_some() {
            return true;
        }
        self.table(handle)
    }

    /// Makes room for the descriptor table, if the unit has only a part of it.
    fn table(&self, handle: &mut Handle) -> bool {
        let buffer = srp_cmd::Cmd::parse(handle.unit()).and_then(|cmd| cmd.data(&self.rules).ok());
        let len = match buffer {
            Some(DataBuffer::Table { at, .. }) => at.len,
            Some(DataBuffer::Remote { .. }) => return true,
            _ => return false,
        };
        let Some(qp) = self.qp.as_ref() else {
            return false;
        };
        match Single::new(qp.domain(), len as usize, Toward::Memory, Gfp::Atomic) {
            Ok(table) => {
                handle.request.table = Some(table);
                handle.request.stage = Stage::Table;
                true
            }
            Err(_) => false,
        }
    }

    /// Posts what the request needs next, or has it wait for places.
    #[inline]
    pub(crate) fn submit(&self, mut handle: Handle) {
        let plan = self.plan(&handle);
        let need = plan.data.saturating_add(u32::from(plan.send));
        handle.request.places = need;
        // Those that wait come first, or large ones would wait for ever.
        if self.someone_waits.load(Acquire) == 0 && self.take_places(need) {
            self.post(handle, plan);
        } else {
            self.wait(handle);
        }
    }

    /// As [`Channel::submit`], for who has taken the places.
    pub(crate) fn post_next(&self, handle: Handle) {
        let plan = self.plan(&handle);
        self.post(handle, plan);
    }

    /// What the next batch for the request does.
    #[inline]
    fn plan(&self, handle: &Handle) -> Plan {
        let request = &handle.request;
        let unit = request.send_len != 0;
        if request.stage == Stage::Table {
            return Plan {
                from: 0,
                to: 0,
                data: 1,
                send: false,
            };
        }
        let (from, total) = (request.posted, request.total);
        if from == total {
            return Plan {
                from,
                to: total,
                data: 0,
                send: unit,
            };
        }
        let mut part = Part {
            from,
            to: total,
            pieces: self.pieces(),
            requests: self.batch(),
        };
        let whole = matches!(request.direct, Some(piece) if piece.len >= total)
            && request.mapped.is_none()
            && total <= VOID_LEN;
        if whole {
            return Plan {
                from,
                to: total,
                data: 1,
                send: unit,
            };
        }
        let (data, to) = match self.memory(handle) {
            Some(memory) => transfer::measure(self.remote(handle), memory, part),
            None => (0, total),
        };
        part.to = to;
        Plan {
            from,
            to,
            data,
            send: unit && to == total,
        }
    }

    /// Pieces of memory that a work request may have.
    fn pieces(&self) -> u32 {
        self.qp.as_ref().map_or(1, |qp| qp.capacity().pieces)
    }

    /// Work requests for data that a batch may have: with them a response always
    /// fits into the send queue.
    fn batch(&self) -> u32 {
        self.qp
            .as_ref()
            .map_or(1, |qp| (qp.capacity().sends / 2).max(1))
    }

    fn remote<'a>(&self, handle: &'a Body) -> Pieces<'a> {
        let request = &handle.request;
        let unit = srp_cmd::Cmd::parse(handle.unit());
        let buffer = unit.and_then(|cmd| cmd.data(&self.rules).ok());
        match (buffer, &request.table) {
            (Some(DataBuffer::Remote { list, .. }), _) => list.iter(),
            (Some(DataBuffer::Table { at, total, .. }), Some(table)) => {
                let bytes = table
                    .get()
                    .bytes()
                    .get(..at.len as usize)
                    .unwrap_or_default();
                Descriptors::parse_table(bytes, total)
                    .map_or_else(|_| no_pieces(), |list| list.iter())
            }
            _ => no_pieces(),
        }
    }

    fn memory<'a>(&'a self, body: &'a Body) -> Option<Memory<'a>> {
        match &body.request.mapped {
            Some(mapped) => Some(Memory::Mapped(mapped.pieces())),
            None => Some(Memory::Void(match body.request.send_len {
                0 => self.hca.void.sink(),
                _ => self.hca.void.zeros(),
            })),
        }
    }

    #[inline]
    fn post(&self, mut handle: Handle, plan: Plan) {
        let Some(qp) = self.qp.as_ref() else {
            return self.unposted(handle);
        };
        handle.request.posted = plan.to;
        let mut at = plan.from;
        let way = match handle.request.send_len {
            0 => Rdma::Read,
            _ => Rdma::Write,
        };
        let pieces = self.pieces();
        let result = qp.post(handle, |body, chain: &mut Chain<'_>| {
            let request = &body.request;
            let Some(channel) = &request.channel else {
                return More::No;
            };
            if request.stage == Stage::Table {
                return fetch_table(channel, body, chain);
            }
            if at < plan.to {
                let part = Part {
                    from: at,
                    to: plan.to,
                    pieces,
                    requests: u32::MAX,
                };
                let Some(memory) = channel.memory(body) else {
                    return More::No;
                };
                let to = match request.direct {
                    Some(piece) => {
                        transfer::fill(chain, way, Some(piece).into_iter(), memory, part)
                    }
                    None => transfer::fill(chain, way, channel.remote(body), memory, part),
                };
                if to == at {
                    // Nothing fits: never for a chain that is empty, as the
                    // list was checked to be as long as the data.
                    return More::No;
                }
                at = to;
                if at < plan.to {
                    return More::Yes;
                }
            }
            match plan.send {
                true => send_unit(body, chain),
                false => More::No,
            }
        });
        match result {
            Ok(()) => (),
            Err(Some(handle)) => self.unposted(handle),
            Err(None) => self.link.event(Event::QpError),
        }
    }

    /// Work could not be posted: the connection is of no use any more.
    ///
    /// What it was for ends in the poller: the end of one may have others posted,
    /// which fails as well, and so on.
    #[cold]
    fn unposted(&self, handle: Handle) {
        self.link.event(Event::QpError);
        if matches!(handle.request.pending, Pending::Own) {
            let places = handle.request.places;
            self.finish(handle);
            return self.free_places(places);
        }
        self.to_poller(handle);
    }

    /// Ends a request whose work has not been posted, or only in part.
    #[cold]
    pub(crate) fn fail(&self, handle: Handle) {
        let places = handle.request.places;
        self.finish(handle);
        self.free_places(places);
    }

    /// Ends the requests of which the queue pair could post a part only. It is
    /// in the error state and flushed. Process context.
    pub(crate) fn fail_stranded(&self) {
        let Some(qp) = self.qp.as_ref() else {
            return;
        };
        let mut stranded = qp.stranded();
        while let Some(handle) = stranded.pop() {
            self.fail(handle);
        }
    }

    /// A descriptor table has arrived: whether it can be used.
    pub(crate) fn check_table(&self, handle: &Handle) -> Result<(), DescriptorError> {
        let missing = DescriptorError::Truncated;
        let cmd = srp_cmd::Cmd::parse(handle.unit()).ok_or(missing)?;
        let DataBuffer::Table { at, total, .. } = cmd.data(&self.rules)? else {
            return Err(missing);
        };
        let table = handle.request.table.as_ref().ok_or(missing)?;
        let list = Descriptors::parse_table(table.written(at.len), total)?;
        match list.total() >= handle.request.total {
            true => Ok(()),
            false => Err(DescriptorError::ListTooShort),
        }
    }
}

fn no_pieces<'a>() -> Pieces<'a> {
    match Descriptors::parse_table(&[], 0) {
        Ok(list) => list.iter(),
        Err(_) => no_pieces(),
    }
}

/// Copies data that came with the command. They are not used where they are: the
/// initiator chooses where that is, and a block device wants them aligned.
fn received(handle: Handle, cmd: Cmd<DataOut>, at: usize) {
    let length = cmd.length() as usize;
    let bytes = handle.unit().get(at..).unwrap_or_default();
    let whole = match (cmd.data(), bytes.get(..length)) {
        (Some(sg), Some(bytes)) => sg.copy_to(0, bytes) == length,
        // A command that has no buffer, as it moves no data or keeps none.
        (None, Some(_)) => true,
        _ => false,
    };
    handle.park_again();
    match whole {
        true => cmd.data_received(),
        false => cmd.data_failed(scst_proto::sense::DATA_PHASE_ERROR),
    }
}

/// The unit in the response buffer.
#[inline]
fn send_unit<'t>(body: &'t Body, chain: &mut Chain<'t>) -> More {
    let unit = body.send().local().first(body.request.send_len);
    match chain.send(unit, body.request.solicited) {
        Ok(()) => More::No,
        // Into the next chain.
        Err(_) => More::Yes,
    }
}

/// The table of descriptors that the unit points to.
fn fetch_table<'t>(channel: &Channel, body: &'t Body, chain: &mut Chain<'t>) -> More {
    let cmd = srp_cmd::Cmd::parse(body.unit());
    let buffer = cmd.and_then(|cmd| cmd.data(&channel.rules).ok());
    if let (Some(DataBuffer::Table { at, .. }), Some(table)) = (buffer, &body.request.table) {
        let from = Remote {
            addr: at.addr,
            rkey: at.rkey,
        };
        // An empty chain is refused, and that ends the connection.
        let _ = chain
            .rdma(Rdma::Read, from)
            .and_then(|()| chain.piece(table.get().local().first(at.len)));
    }
    More::No
}
