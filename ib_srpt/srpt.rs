// SPDX-License-Identifier: GPL-2.0
//! x
#![deny(unsafe_code)]
use kernel::prelude::*;
#[allow(unsafe_code)]
mod rdma;
mod request;
module! { type: M, name: "ib_srpt", authors: ["x"], description: "x", license: "GPL", }
struct M;
impl kernel::Module for M { fn init(_m: &'static ThisModule) -> Result<Self> { Ok(M) } }
