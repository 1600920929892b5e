// SPDX-License-Identifier: GPL-2.0

//! The RDMA verbs as this driver needs them, safe to use.
//!
//! All unsafe code of the driver is in here. What its types promise:
//!
//! - whatever belongs to an RDMA device ([`device`]) keeps that from going away;
//! - memory that the hardware may touch ([`dma`]) is owned by a request
//!   ([`arena`]), and posting a work request ([`queue_pair`]) takes the request away
//!   from its owner until the completion ([`completion`]) gives it back. So
//!   neither can memory be freed nor a unit be changed while work is
//!   outstanding. Work for which nothing has to last but what the queue pair
//!   itself keeps needs no request;
//! - a queue pair owns its completion queue and its shared receive queue, and
//!   they go in that order.

pub(crate) mod arena;
pub(crate) mod chain;
pub(crate) mod cm;
pub(crate) mod completion;
mod connection;
pub(crate) mod device;
pub(crate) mod dma;
pub(crate) mod ib_cm;
pub(crate) mod mad;
pub(crate) mod queue;
pub(crate) mod queue_pair;
pub(crate) mod rdma_cm;
pub(crate) mod receive;
