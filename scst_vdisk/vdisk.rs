// SPDX-License-Identifier: GPL-2.0
//! placeholder
use kernel::prelude::*;
module! { type: M, name: "scst_vdisk", authors: ["SCST-rs"], description: "x", license: "GPL", }
struct M;
impl kernel::Module for M { fn init(_m: &'static ThisModule) -> Result<Self> {  Ok(M) } }
