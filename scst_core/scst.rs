// SPDX-License-Identifier: GPL-2.0
//! placeholder
use kernel::prelude::*;
module! { type: M, name: "scst", authors: ["SCST-rs"], description: "SCSI target core", license: "GPL", }
struct M;
impl kernel::Module for M { fn init(_m: &'static ThisModule) -> Result<Self> { pr_info!("hi {}\n", scst_proto::seven() + kapi::resched()); Ok(M) } }
/// x
pub fn nine() -> u32 { pr_info!("nine"); 9 }
