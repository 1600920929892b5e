// SPDX-License-Identifier: GPL-2.0

//! How much a channel gets of what its RDMA device has.

use super::login::MIN_REQUEST_LIMIT;

/// Pieces of memory of a work request on a device that says it takes `most`, with the margin `delta` (`max_sge_delta`)
/// for devices that say too much.
///
/// The margin takes at most half: a device with fewer than twice as many pieces keeps `delta`, one with fewer than
/// `delta` keeps all.
pub const fn pieces(most: u32, delta: u32) -> u32 {
    let spare = most.saturating_sub(delta);
    most.saturating_sub(if delta < spare { delta } else { spare })
}

/// The request limit of a channel.
///
/// `places` are the receive buffers that it could have for requests, `task_set` is how many commands a logical unit takes
/// of an initiator (`max_tgt_dev_commands`, of those that the initiator sees the largest): an initiator that keeps to the
/// limit of its only channel is not told TASK SET FULL by that one. 0 if the channel could not work with so few places.
pub fn request_limit(places: u32, task_set: u32) -> u16 {
    let least = u32::from(MIN_REQUEST_LIMIT);
    match places < least {
        true => 0,
        false => u16::try_from(task_set.clamp(least, places)).unwrap_or(u16::MAX),
    }
}
