// SPDX-License-Identifier: GPL-2.0
//! placeholder
/// x
pub fn resched() -> u32 { extern "C" { fn scst_c_cond_resched(); }
 // SAFETY: ok
 unsafe { scst_c_cond_resched() }; 8 }
