// SPDX-License-Identifier: GPL-2.0

//! The SCSI wire formats and state machines of the SCST target.
//!
//! This crate knows no kernel. It turns bytes that strangers sent into small values and values into bytes, and holds
//! the decisions that can be written down as a table: what an operation code is, what an abort may do to a command,
//! which unit attention displaces which. The kernel modules do the rest.
//!
//! # Rules
//!
//! - **Nothing panics.** Bytes come from initiators, strings from administrators. Readers answer `Option`, indexing
//!   is `get`, arithmetic on foreign values is checked, saturating or wrapping on purpose. `tests/no_panic.sh` looks at
//!   the object: no symbol of the panic machinery is left.
//! - **Nothing allocates.** Output goes through a [`bytes::Writer`] over the caller's buffer, lists through iterators.
//! - **No `unsafe`**, no dependency; the fields carry the names of the standards, and each item names the clause.
//! - All numbers on the wire are big-endian; lengths are bytes unless the name says `blocks`.
//!
//! # Rooms
//!
//! | module | what |
//! |---|---|
//! | [`bytes`] | big-endian readers, the truncating writer |
//! | [`sense`] | sense values and their two encodings |
//! | [`opcode`] | one table, one row a command |
//! | [`cdb`] | CDB decoding: the data path's first step |
//! | [`inquiry`], [`capacity`], [`mode`], [`mode_select`], [`rsoc`], [`lun`] | parameter data of the commands |
//! | [`lba_status`], [`log_page`], [`buffer`], [`timestamp`] | the same of GET LBA STATUS, LOG SENSE, READ BUFFER, REPORT TIMESTAMP |
//! | [`copy`] | third-party copy: EXTENDED COPY, ROD tokens, and what the copy manager reports |
//! | [`ua`], [`task`], [`task_word`], [`task_set`], [`residual`] | unit attention queue, abort table, who wins a race of both, task sets, residual counts |
//! | [`atomic`] | what WRITE ATOMIC may write |
//! | [`threshold`] | thresholds of thin provisioning |
//! | [`pr`] | reservations: state machine, table of conflicts, APTPL file |
//! | [`protection`] | protection information: tags, checks, what protect fields mean |
//! | [`alua`] | asymmetric access: what each state serves, target port groups |
//! | [`mgmt`], [`number`], [`command`], [`trace`], [`options`] | what administrators write into sysfs |
//! | [`event`] | what daemons read from `/dev/scst_event` |
//! | [`srp`] | SRP, the SCSI RDMA Protocol |
//! | [`glob`], [`identity`] | initiator name patterns, a virtual disk's identity |
//!
//! # Standards
//!
//! SAM-6 (architecture), SPC-6 (commands of all types), SBC-4 (block devices), MMC-6 (CD/DVD), SRP r16a (the
//! transport). Where the virtual disks of C SCST have always answered in a particular way that an initiator may have
//! stored, the recorded bytes decide and are test vectors in `tests/recorded.rs`.

// kbuild passes this one itself.
#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod alua;
pub mod atomic;
pub mod buffer;
pub mod bytes;
pub mod capacity;
pub mod cdb;
mod codes;
pub mod command;
pub mod copy;
pub mod event;
pub mod glob;
pub mod identity;
pub mod inquiry;
pub mod lba_status;
pub mod log_page;
pub mod lun;
pub mod mgmt;
pub mod mode;
pub mod mode_select;
pub mod number;
pub mod opcode;
mod opcode_table;
pub mod options;
pub mod pr;
pub mod protection;
pub mod residual;
pub mod rsoc;
pub mod sense;
pub mod srp;
pub mod task;
pub mod task_set;
pub mod task_word;
pub mod threshold;
pub mod timestamp;
pub mod trace;
pub mod ua;
