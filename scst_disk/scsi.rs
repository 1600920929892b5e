// SPDX-License-Identifier: GPL-2.0

//! SCSI devices of this machine: finding one, and sending it a command.
//!
//! C headers: `include/scst_disk_helpers.h`,
//! [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

use core::{mem::size_of, ptr, ptr::NonNull};
use kernel::{bindings, error::to_result, ffi::c_void, prelude::*};
use scst::{status, Cmd, Direction, Executing};
use scst_proto::sense::{Sense, SenseKey};

/// `struct scsi_device`.
#[repr(C)]
struct RawDevice {
    _opaque: [u8; 0],
}

/// `struct scst_c_disk_command`.
#[repr(C)]
struct RawCommand {
    cdb: *const u8,
    sg: *mut bindings::scatterlist,
    done: unsafe extern "C" fn(ctx: *mut c_void, result: *const RawResult),
    ctx: *mut c_void,
    nents: u32,
    length: u32,
    timeout_ms: u32,
    cdb_len: u8,
    write: u8,
}

/// `struct scst_c_disk_result`.
#[repr(C)]
struct RawResult {
    information: u64,
    residual: u32,
    host: u8,
    status: u8,
    has_sense: u8,
    key: u8,
    asc: u8,
    ascq: u8,
    has_information: u8,
}

const _: () = assert!(size_of::<RawCommand>() == 48 && size_of::<RawResult>() == 24);

extern "C" {
    fn scst_c_disk_get(host: u32, channel: u32, id: u32, lun: u64) -> *mut RawDevice;
    fn scst_c_disk_put(device: *mut RawDevice);
    fn scst_c_disk_type(device: *const RawDevice) -> c_int;
    fn scst_c_disk_limits(device: *const RawDevice, sectors: *mut u32, segments: *mut u32);
    fn scst_c_disk_read_now(
        device: *mut RawDevice,
        cdb: *const u8,
        data: *mut c_void,
        length: u32,
    ) -> c_int;
    fn scst_c_disk_send(device: *mut RawDevice, command: *const RawCommand) -> c_int;
}

/// A SCSI device, which stays, as the driver of its host does; commands fail when it has been
/// unplugged.
///
/// # Invariants
///
/// The pointer is valid, and a reference on it is ours.
pub(crate) struct Device(NonNull<RawDevice>);

// SAFETY: A `scsi_device` is used from any context.
unsafe impl Send for Device {}
// SAFETY: As above; commands are sent through a queue that has its own locks.
unsafe impl Sync for Device {}

/// What became of a command.
pub(crate) enum Outcome {
    /// A status other than CHECK CONDITION, and how many of the bytes were not moved.
    Status(u8, u32),
    /// CHECK CONDITION.
    Sense(Sense),
    /// The device was not reached, or gave no answer.
    Lost,
}

impl Device {
    /// The device at this address. Process context. `ENODEV`.
    pub(crate) fn find(host: u32, channel: u32, id: u32, lun: u64) -> Result<Self> {
        // SAFETY: No requirements.
        let device = unsafe { scst_c_disk_get(host, channel, id, lun) };
        // INVARIANT: With a reference.
        NonNull::new(device).map(Self).ok_or(ENODEV)
    }

    /// Peripheral device type.
    pub(crate) fn device_type(&self) -> i32 {
        // SAFETY: By the type invariant.
        unsafe { scst_c_disk_type(self.0.as_ptr()) }
    }

    /// Most bytes of one command, if no two pages of its buffer are beside one another.
    pub(crate) fn largest_transfer(&self) -> u32 {
        let (mut sectors, mut segments) = (0, 0);
        // SAFETY: By the type invariant; both are written before it returns.
        unsafe { scst_c_disk_limits(self.0.as_ptr(), &mut sectors, &mut segments) };
        let memory = segments.saturating_mul(kernel::page::PAGE_SIZE as u32);
        sectors.saturating_mul(512).min(memory)
    }

    /// Sends a command of 16 bytes and waits for the data that it reads. Sleeps. `EIO`.
    pub(crate) fn read_now(&self, cdb: &[u8; 16], data: &mut KVec<u8>) -> Result {
        let length = u32::try_from(data.len()).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariant; the vector is of kmalloc() and has `length` bytes.
        let result = unsafe {
            scst_c_disk_read_now(
                self.0.as_ptr(),
                cdb.as_ptr(),
                data.as_mut_ptr().cast(),
                length,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(EIO),
        }
    }

    /// Sends `cmd` as it is; `end` gets it back with what became of it, in any context. Sleeps. `Err`
    /// gives it back if it could not be sent.
    pub(crate) fn send<F: FnOnce(Cmd<Executing>, Outcome) + Send + 'static>(
        &self,
        cmd: Cmd<Executing>,
        timeout_ms: u32,
        end: F,
    ) -> Result<(), (Cmd<Executing>, Error)> {
        let Ok(room) = KBox::<Sent<F>>::new_uninit(GFP_KERNEL) else {
            return Err((cmd, ENOMEM));
        };
        let sent = KBox::into_raw(room.write(Sent { cmd, end }));
        // SAFETY: Just made; nobody has it before it is sent.
        let cmd = unsafe { &(*sent).cmd };
        let data = cmd.data();
        let length = data.as_ref().map_or(0, |_| cmd.length());
        let command = RawCommand {
            cdb: cmd.raw_cdb().as_ptr(),
            sg: data.as_ref().map_or(ptr::null_mut(), |sg| sg.as_raw()),
            done: done::<F>,
            ctx: sent.cast(),
            nents: data.as_ref().map_or(0, |sg| sg.nents()),
            length,
            timeout_ms,
            cdb_len: cmd.raw_cdb().len() as u8,
            write: u8::from(cmd.direction() == Direction::Out),
        };
        // SAFETY: By the type invariant. CDB and data are the command's, which `sent` keeps until
        // `done` takes it back.
        let result = to_result(unsafe { scst_c_disk_send(self.0.as_ptr(), &command) });
        result.map_err(|error| {
            // SAFETY: It was not sent, so it is still ours.
            let sent = KBox::into_inner(unsafe { KBox::from_raw(sent) });
            (sent.cmd, error)
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the reference is ours.
        unsafe { scst_c_disk_put(self.0.as_ptr()) }
    }
}

/// A command that the device has.
struct Sent<F> {
    cmd: Cmd<Executing>,
    end: F,
}

/// # Safety
///
/// `ctx` is a [`Sent<F>`] of `KBox::into_raw` that the callee gets; `result` is valid.
unsafe extern "C" fn done<F: FnOnce(Cmd<Executing>, Outcome)>(
    ctx: *mut c_void,
    result: *const RawResult,
) {
    // SAFETY: By the requirements of this function.
    let (sent, result) = unsafe { (KBox::from_raw(ctx.cast::<Sent<F>>()), &*result) };
    let sent = KBox::into_inner(sent);
    let outcome = match (result.host, result.status) {
        (0, status::CHECK_CONDITION) if result.has_sense != 0 => Outcome::Sense(sense(result)),
        (0, status::CHECK_CONDITION) => Outcome::Lost,
        (0, status) => Outcome::Status(status, result.residual),
        _ => Outcome::Lost,
    };
    (sent.end)(sent.cmd, outcome);
}

fn sense(result: &RawResult) -> Sense {
    let key = SenseKey::from_code(result.key);
    let sense = Sense::new(key, result.asc, result.ascq);
    match result.has_information {
        0 => sense,
        _ => sense.with_information(result.information),
    }
}
