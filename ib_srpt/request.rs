// SPDX-License-Identifier: GPL-2.0

//! What this driver keeps of a request, beside its unit and its response.

use crate::{
    channel::Channel,
    rdma::dma::{Mapped, Single},
};
use kapi::counted::InUse;
use scst::{Answered, Cmd, DataOut};
use scst_proto::srp::{cmd::Notify, descriptors::Descriptor};

/// What becomes of a request when the work that is posted for it is complete.
#[derive(Default)]
pub(crate) enum Pending {
    /// Nothing is posted.
    #[default]
    Nothing,
    /// Its data-out has arrived.
    Fetch(Cmd<DataOut>),
    /// Its response is sent.
    Respond(Cmd<Answered>),
    /// A unit that belongs to no command is sent; the request is free.
    Unit,
    /// As [`Pending::Unit`], and the request is one that the channel keeps for
    /// units of its own.
    Own,
}

/// What is being moved.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Data, and the response.
    #[default]
    Data,
    /// The table of descriptors that is too long for the unit.
    Table,
}

/// The driver's part of a request.
///
/// Of the fields with an effect in their `Drop` the mapping comes before the
/// command that has the memory.
#[derive(Default)]
pub(crate) struct Request {
    /// The data buffer's mapping, as long as it is moved.
    pub(crate) mapped: Option<Mapped>,
    /// The fetched descriptor table.
    pub(crate) table: Option<Single>,
    pub(crate) pending: Pending,
    pub(crate) stage: Stage,
    /// Solicited notification, as the initiator asks for it.
    pub(crate) notify: Option<Notify>,
    /// The only descriptor of the data, if there is only one.
    pub(crate) direct: Option<Descriptor>,
    /// Where in the unit immediate data begin.
    pub(crate) immediate: Option<u16>,
    /// The initiator's tag.
    pub(crate) tag: u64,
    /// Bytes of data to move in all.
    pub(crate) total: u32,
    /// Bytes for which work has been posted.
    pub(crate) posted: u32,
    /// Length of the unit to send behind the data, 0 for none.
    pub(crate) send_len: u32,
    /// Whether it is to be sent with solicited notification.
    pub(crate) solicited: bool,
    /// Places of the send queue that the posted work takes.
    pub(crate) places: u32,
    /// The channel; last, as everything else needs it.
    pub(crate) channel: Option<InUse<Channel>>,
}

impl Request {
    /// Lets go of everything but the channel and the command.
    pub(crate) fn release(&mut self) {
        self.mapped = None;
        self.table = None;
        self.stage = Stage::Data;
        self.posted = 0;
    }
}
