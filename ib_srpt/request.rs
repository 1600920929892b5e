// SPDX-License-Identifier: GPL-2.0
//! x
#[derive(Default)]
pub(crate) struct Request {}
