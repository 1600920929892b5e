// SPDX-License-Identifier: GPL-2.0
//! x
use kernel::prelude::*;
use rdma_bindings as ib;
module! { type: M, name: "ib_srpt", authors: ["x"], description: "x", license: "GPL", }
struct M;
impl kernel::Module for M { fn init(_m: &'static ThisModule) -> Result<Self> { pr_info!("{}\n", core::mem::size_of::<ib::ib_send_wr>()); Ok(M) } }
