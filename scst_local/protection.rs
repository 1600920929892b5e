// SPDX-License-Identifier: GPL-2.0

//! Protection information as the SCSI midlayer has it: in a scatterlist of its
//! own, or behind each block if a command came through `/dev/sg`.
//!
//! The host says that it carries all types and has its checks done (by the logical
//! unit, in its name), so that `sd` makes and checks them at the other end.

use kapi::sg::SgList;
use kernel::bindings;
use scst::{Held, InTransfer, Slot};

/// What the midlayer says of a command's protection information.
#[repr(C)]
struct Protection {
    sgl: *mut bindings::scatterlist,
    nents: u32,
    length: u32,
    operation: u32,
}

/// Values of `enum scsi_prot_operations`: nothing is said, the port strips it, the
/// port makes it. The other ones are those with a list.
const NORMAL: u32 = 0;
const READ_STRIP: u32 = 3;
const WRITE_INSERT: u32 = 4;

// The C side asserts the same.
const _: () = assert!(core::mem::size_of::<Protection>() == 24);

// Of these types only addresses are exchanged.
#[allow(improper_ctypes)]
extern "C" {
    fn scsi_c_protection(slot: *mut Slot, protection: *mut Protection);
}

/// Where the protection information of a command of a host is.
pub(crate) fn of(cmd: Held<'_>) -> InTransfer<'_> {
    let mut found = Protection {
        sgl: core::ptr::null_mut(),
        nents: 0,
        length: 0,
        operation: NORMAL,
    };
    // SAFETY: The slots of this driver's sessions are those behind commands of the
    // midlayer, and this one is in use.
    unsafe { scsi_c_protection(cmd.slot().as_ptr(), &raw mut found) };
    match found.operation {
        NORMAL => InTransfer::Interleaved,
        READ_STRIP | WRITE_INSERT => InTransfer::Absent,
        // SAFETY: The list has so many entries and bytes, and stays until the command
        // is answered, which is later than the core lets go of `cmd`.
        _ => InTransfer::Apart(unsafe { SgList::new(found.sgl, found.nents, found.length) }),
    }
}
