// SPDX-License-Identifier: GPL-2.0

//! Fibre Channel without hardware.
//!
//! A process that serves any number of emulated QLogic ISP2532 host adapters to virtual machines (vfio-user), and is the
//! switch between them. Drivers for that chip run on it unchanged, as initiator and as target, and what goes wrong in a
//! real fabric can be made to go wrong by command.
//!
//! - [`device`]: the PCI device as QEMU sees it; [`pci`] and [`registers`] are its two regions
//! - [`flash`], [`memory`]: what the adapter reads of its own flash, and the guest's memory
//! - [`wire`]: the structures that driver and firmware exchange
//! - [`hba`]: one adapter: rings, events to the host, sessions
//! - [`mailbox`], [`login`], [`exchange`], [`task`]: what the firmware does when it is told to
//! - [`virtual_ports`]: more ports of one adapter
//! - [`switch`], [`names`]: who sees whom, and the name server
//! - [`faults`], [`control`]: what can be made to go wrong, and the language it is asked for in
//!
//! One lock guards the whole fabric; an adapter's thread holds it while it answers a register access.

pub mod control;
pub mod device;
pub mod exchange;
pub mod faults;
pub mod flash;
pub mod hba;
pub mod login;
pub mod mailbox;
pub mod memory;
pub mod names;
pub mod pci;
pub mod registers;
pub mod switch;
pub mod task;
pub mod virtual_ports;
pub mod wire;
