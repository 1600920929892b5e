// SPDX-License-Identifier: GPL-2.0

//! The binding to the SCSI midlayer: a SCSI host, and its commands.
//!
//! All of this module's unsafe code is here. `include/scst_local_helpers.c` has
//! the other half, the midlayer's structures taken apart into plain values.
//!
//! # A command's memory
//!
//! The midlayer allocates every command that a host can have outstanding when
//! the host is added, with room for the core's [`Slot`] behind each
//! (`cmd_size`). The slot is initialised then, once; the midlayer gives it to
//! `queuecommand` together with the command, and it is lent to the core from
//! there to [`Cmd::finish`] in [`respond`], after which `scsi_done()` gives
//! both back. Every command that arrives is answered once, also those that task
//! management has aborted: the midlayer itself drops an answer to a command
//! that it has given up (`SCMD_STATE_COMPLETE`).
//!
//! Between `finish` and `scsi_done()` a command is no longer to be seen by task
//! management but still ours. [`respond`] therefore does both inside one RCU
//! read section, and error handling waits for a grace period before it tells
//! the midlayer that we are through with a command.

use crate::session::Port;
use core::{
    mem::{align_of, needs_drop, offset_of, size_of},
    ptr::NonNull,
    slice,
};
use kapi::{
    sg::SgList,
    sysfs::{self, Link},
};
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_void},
    prelude::*,
    sync::{global_lock, new_mutex, rcu, Arc, ArcBorrow, Mutex},
};
use scst::{
    status, Answered, Cmd, Data, Direction, Incoming, Outstanding, SessionRegistration, Slot, Task,
    TaskAttribute, Vacant, MAX_CDB,
};

/// Commands that a disk may have outstanding, unless the administrator changes
/// it.
pub(crate) const QUEUE_DEPTH: u32 = 64;

/// Size of the midlayer's sense buffers.
const SENSE_BUFFER: usize = 96;

/// Host bytes of a result, `include/scsi/scsi_status.h`.
const DID_ERROR: u32 = 0x07 << 16;
const DID_RESET: u32 = 0x08 << 16;

/// Values of `enum dma_data_direction`.
const TO_DEVICE: u16 = 1;
const FROM_DEVICE: u16 = 2;

/// What `queuecommand` was given.
#[repr(C)]
struct Request {
    cdb: *const u8,
    sgl: *mut bindings::scatterlist,
    lun: u64,
    tag: u64,
    length: u32,
    nents: u32,
    cdb_len: u16,
    direction: u16,
}

/// Driver data of a host.
///
/// # Invariants
///
/// From before the host is added to after it is removed, `session` is a
/// reference to its session as [`Arc::into_raw`] makes it, and `port` one to its
/// [`Port`]; before and after that they are null. `port` changes only under
/// [`PORTS`].
#[repr(C)]
struct HostData {
    session: *const SessionRegistration,
    port: *const Port,
}

/// A `struct Scsi_Host`.
#[repr(C)]
struct ScsiHost {
    _opaque: [u8; 0],
}

/// A `struct scsi_device`.
#[repr(C)]
struct ScsiDevice {
    _opaque: [u8; 0],
}

// The C side asserts the same.
const _: () = {
    assert!(size_of::<Request>() == 48);
    assert!(offset_of!(Request, sgl) == 8);
    assert!(offset_of!(Request, lun) == 16);
    assert!(offset_of!(Request, tag) == 24);
    assert!(offset_of!(Request, length) == 32);
    assert!(offset_of!(Request, nents) == 36);
    assert!(offset_of!(Request, cdb_len) == 40);
    assert!(offset_of!(Request, direction) == 42);
    assert!(size_of::<HostData>() == 16);
    // The midlayer's command is a multiple of 8 bytes long and so aligned, and
    // nobody drops what `scst_local_init_slot` puts behind it.
    assert!(align_of::<Slot>() <= 8);
    assert!(!needs_drop::<Task>());
};

// Of these types only addresses are exchanged.
#[allow(improper_ctypes)]
extern "C" {
    fn scsi_c_done(slot: *mut Slot, result: u32, resid: u32);
    fn scsi_c_sense_buffer(slot: *mut Slot) -> *mut u8;
    fn scsi_c_underflow(slot: *mut Slot) -> u32;

    fn scsi_c_host_alloc(cmd_size: u32) -> *mut ScsiHost;
    fn scsi_c_hostdata(host: *mut ScsiHost) -> *mut HostData;
    fn scsi_c_host_add(host: *mut ScsiHost, parent: *mut bindings::device) -> c_int;
    fn scsi_c_host_remove(host: *mut ScsiHost);
    fn scsi_c_host_put(host: *mut ScsiHost);
    fn scsi_c_host_no(host: *mut ScsiHost) -> u32;
    fn scsi_c_host_kobj(host: *mut ScsiHost) -> *mut bindings::kobject;
    fn scsi_c_host_visit(
        host: *mut ScsiHost,
        visit: unsafe extern "C" fn(arg: *mut c_void, slot: *mut Slot, tag: u64),
        arg: *mut c_void,
    );

    fn scsi_c_lun_add(host: *mut ScsiHost, lun: u64) -> c_int;
    fn scsi_c_lun_remove(host: *mut ScsiHost, lun: u64) -> c_int;
    fn scsi_c_lun_rescan(host: *mut ScsiHost, lun: u64) -> c_int;
    fn scsi_c_set_depth(sdev: *mut ScsiDevice, depth: u32);

    fn scsi_c_root_register() -> *mut bindings::device;
    fn scsi_c_root_unregister(root: *mut bindings::device);
    fn scsi_c_device_add(root: *mut bindings::device, name: *const u8) -> *mut bindings::device;
    fn scsi_c_device_remove(dev: *mut bindings::device);
}

global_lock! {
    // SAFETY: `Root::new` initialises it, before any host can exist.
    unsafe(uninit) static PORTS: Mutex<()> = ();
}

/// `/sys/devices/scst_local`.
///
/// # Invariants
///
/// Points to a registered root device, which this owns.
pub(crate) struct Root(NonNull<bindings::device>);

// SAFETY: A registered device may be used and unregistered from any context
// that can sleep.
unsafe impl Send for Root {}
// SAFETY: As above; `&Root` only gives children a parent.
unsafe impl Sync for Root {}

impl Root {
    /// Makes it. Once in a module's life, before everything else in this file.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Called once, from the module's initialisation.
        unsafe { PORTS.init() };
        // SAFETY: No preconditions.
        let root = from_err_ptr(unsafe { scsi_c_root_register() })?;
        Ok(Self(NonNull::new(root).ok_or(ENOMEM)?))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariants.
        unsafe { scsi_c_root_unregister(self.0.as_ptr()) };
    }
}

/// The device of a session, between the root and its host.
///
/// # Invariants
///
/// Points to a registered device, which this owns.
struct Parent(NonNull<bindings::device>);

// SAFETY: As for `Root`.
unsafe impl Send for Parent {}
// SAFETY: As for `Root`.
unsafe impl Sync for Parent {}

impl Parent {
    fn new(root: &Root, name: &CStr) -> Result<Self> {
        // SAFETY: The root is registered; the name is copied.
        let dev = unsafe { scsi_c_device_add(root.0.as_ptr(), name.as_char_ptr()) };
        Ok(Self(NonNull::new(from_err_ptr(dev)?).ok_or(ENOMEM)?))
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // SAFETY: Registered by the type invariants.
        unsafe { scsi_c_device_remove(self.0.as_ptr()) };
    }
}

/// A SCSI host, perhaps not added yet or already removed again.
///
/// # Invariants
///
/// `host` points to a host that this has a reference to. While `live` is true
/// (the lock held), its tag set is there.
#[pin_data(PinnedDrop)]
pub(crate) struct Host {
    host: NonNull<ScsiHost>,
    #[pin]
    live: Mutex<bool>,
}

// SAFETY: What is done with a host here may be done from every thread.
unsafe impl Send for Host {}
// SAFETY: The midlayer locks its structures itself; `live` is behind a lock.
unsafe impl Sync for Host {}

impl Host {
    /// Allocates a host, which gets its number here.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            host: {
                // SAFETY: No preconditions.
                let host = unsafe { scsi_c_host_alloc(size_of::<Slot>() as u32) };
                // INVARIANT: A new host comes with a reference.
                NonNull::new(host).ok_or(ENOMEM)?
            },
            live <- new_mutex!(false),
        }? Error)
    }

    fn as_ptr(&self) -> *mut ScsiHost {
        self.host.as_ptr()
    }

    /// N of `hostN`.
    pub(crate) fn number(&self) -> u32 {
        // SAFETY: The host is valid by the type invariants.
        unsafe { scsi_c_host_no(self.as_ptr()) }
    }

    /// Shows all commands that the midlayer has given us. The midlayer keeps
    /// each from being used for something else while `f` looks at it.
    pub(crate) fn visit(&self, mut f: &mut dyn FnMut(Outstanding<'_>)) {
        /// # Safety
        ///
        /// `arg` points to a `&mut dyn FnMut(Outstanding)`, `slot` to a slot.
        unsafe extern "C" fn one(arg: *mut c_void, slot: *mut Slot, tag: u64) {
            // SAFETY: By the function's contract; the slot is not used for
            // another command before this returns.
            let (f, slot) =
                unsafe { (&mut *arg.cast::<&mut dyn FnMut(Outstanding<'_>)>(), &*slot) };
            if let Some(outstanding) = Outstanding::of(slot, || tag) {
                f(outstanding);
            }
        }

        let live = self.live.lock();
        if *live {
            let arg = (&raw mut f).cast();
            // SAFETY: There is a tag set, as the host is live and the lock is
            // held. All slots in it are initialised since it was made.
            unsafe { scsi_c_host_visit(self.as_ptr(), one, arg) };
        }
        drop(live);
    }

    /// Lets the midlayer probe a LUN. Sleeps for as long as that takes.
    pub(crate) fn add_lun(&self, lun: u16) -> Result {
        // SAFETY: The host is valid; the midlayer refuses if it is not added.
        to_result(unsafe { scsi_c_lun_add(self.as_ptr(), lun.into()) })
    }

    /// Takes a LUN's disk away. Sleeps until it is gone.
    pub(crate) fn remove_lun(&self, lun: u16) -> Result {
        // SAFETY: As for `add_lun`.
        to_result(unsafe { scsi_c_lun_remove(self.as_ptr(), lun.into()) })
    }

    /// Lets the midlayer read a LUN's capacity and pages again. Sleeps.
    pub(crate) fn rescan_lun(&self, lun: u16) -> Result {
        // SAFETY: As for `add_lun`.
        to_result(unsafe { scsi_c_lun_rescan(self.as_ptr(), lun.into()) })
    }
}

#[pinned_drop]
impl PinnedDrop for Host {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The reference of the type invariants, given back once.
        unsafe { scsi_c_host_put(self.as_ptr()) };
    }
}

/// A host that is added to the midlayer; dropping this removes it: its disks
/// flush their caches and go, and its commands end.
pub(crate) struct Online {
    port: Arc<Port>,
    parent: Option<Parent>,
}

impl Online {
    /// Adds the host of `port`, below a device `name`. Commands to `session`
    /// arrive from here on.
    pub(crate) fn new(
        port: Arc<Port>,
        session: Arc<SessionRegistration>,
        root: &Root,
        name: &CStr,
    ) -> Result<Self> {
        let parent = Parent::new(root, name)?;
        let dev = parent.0.as_ptr();
        let host = port.host().as_ptr();
        {
            let _guard = PORTS.lock();
            // SAFETY: The host is valid, and nobody uses its data yet.
            let data = unsafe { &mut *scsi_c_hostdata(host) };
            // INVARIANT: Both are references that were just made.
            data.session = Arc::into_raw(session);
            data.port = Arc::into_raw(port.clone());
        }
        // From here on `Drop` cleans up.
        let this = Self {
            port,
            parent: Some(parent),
        };
        // SAFETY: The host is valid and new, the device registered.
        to_result(unsafe { scsi_c_host_add(host, dev) })?;
        // INVARIANT: Added, so the tag set is there; `scst_local_tags_go`
        // undoes this before it goes.
        *this.port.host().live.lock() = true;
        Ok(this)
    }

    /// Makes `host` in the directory of the session a link to the host.
    pub(crate) fn link(&self, session: &SessionRegistration) -> Result<Link> {
        // SAFETY: The host is valid, and so is what is part of it; it was added
        // before this was made and is removed when it goes.
        let host = unsafe { sysfs::Parent::raw(scsi_c_host_kobj(self.port.host().as_ptr())) };
        session.symlink(b"host", &host)
    }
}

impl Drop for Online {
    fn drop(&mut self) {
        let host = self.port.host();
        let was_added = *host.live.lock();
        if was_added {
            // SAFETY: The host was added, and this is the only place that
            // removes it. When this returns the tag set is gone: no command
            // exists, and none will come.
            unsafe { scsi_c_host_remove(host.as_ptr()) };
        }
        let (session, port) = {
            let _guard = PORTS.lock();
            // SAFETY: The host is valid. No command comes any more, and error
            // handling looks at the data only under the lock.
            let data = unsafe { &mut *scsi_c_hostdata(host.as_ptr()) };
            (
                core::mem::replace(&mut data.session, core::ptr::null()),
                core::mem::replace(&mut data.port, core::ptr::null()),
            )
        };
        // SAFETY: Both came from `into_raw` in `new` and were there once.
        drop(unsafe { (Arc::from_raw(session), Arc::from_raw(port)) });
        // The parent goes after its child.
        self.parent = None;
    }
}

/// Answers a command: gives it, and its slot, back to the midlayer.
#[inline]
pub(crate) fn respond(cmd: Cmd<Answered>) {
    let slot = cmd.slot().as_ptr();
    let code = cmd.status_code();
    let resid = cmd.residual().under;
    let result = match code {
        _ if cmd.is_aborted() => DID_RESET,
        status::GOOD if resid != 0 => short(slot, cmd.moved()),
        status::CHECK_CONDITION => {
            // SAFETY: The command has a sense buffer of this size, and is ours
            // until `scsi_c_done`.
            let buf = unsafe { slice::from_raw_parts_mut(scsi_c_sense_buffer(slot), SENSE_BUFFER) };
            cmd.sense(buf);
            code.into()
        }
        _ => code.into(),
    };
    let _guard = rcu::read_lock();
    cmd.finish();
    // SAFETY: The slot came with a command, which has not been answered. The
    // core no longer uses the slot: it may be lent again from here on.
    unsafe { scsi_c_done(slot, result, resid) };
}

/// Result of a command that moved less than was prepared: an error if the
/// upper layer cannot do with that.
#[cold]
fn short(slot: *mut Slot, moved: u32) -> u32 {
    // SAFETY: The slot belongs to a command that is ours.
    match moved < unsafe { scsi_c_underflow(slot) } {
        true => DID_ERROR,
        false => status::GOOD.into(),
    }
}

/// A command of the midlayer.
///
/// # Safety
///
/// Called by `queuecommand` only, with the session of the host's data, the slot
/// of an idle command, and what was read from that.
#[no_mangle]
unsafe extern "C" fn scst_local_queue(
    session: *const SessionRegistration,
    slot: *mut Slot,
    req: *const Request,
) {
    // SAFETY: Commands come only while the host is added, and the host's data
    // have a reference to the session for longer; the request is on the stack.
    let (session, req) = unsafe { (&*session, &*req) };
    // SAFETY: The CDB is part of the command, which has `MAX_COMMAND_SIZE` bytes
    // for it, and does not change.
    let cdb = unsafe { &*req.cdb.cast::<[u8; MAX_CDB]>() };
    let direction = match req.direction {
        TO_DEVICE => Direction::Out,
        FROM_DEVICE => Direction::In,
        _ => Direction::None,
    };
    let data = match req.length {
        0 => Data::None,
        // SAFETY: The list and its pages stay until the command is answered.
        length => Data::Lent(unsafe { SgList::new(req.sgl, req.nents, length) }),
    };
    let incoming = Incoming {
        cdb,
        cdb_len: u8::try_from(req.cdb_len).unwrap_or(u8::MAX),
        lun: req.lun,
        tag: req.tag,
        attribute: TaskAttribute::Simple,
        direction,
        length: req.length,
        data,
    };
    // SAFETY: Not null: it is part of a command. The slot was initialised with
    // its command, is idle as the command is new, and stays until the command
    // is answered, which `respond` does after `finish`.
    let slot = unsafe { Vacant::new(NonNull::new_unchecked(slot)) };
    session.receive(slot, incoming);
}

/// A command was allocated.
///
/// # Safety
///
/// Called by `init_cmd_priv` only, with the memory behind a command.
#[no_mangle]
unsafe extern "C" fn scst_local_init_slot(slot: *mut Slot) {
    // SAFETY: There are `cmd_size` bytes, aligned (asserted above), not in use.
    unsafe { Slot::init(slot, Task::idle()) };
}

/// The tag set is about to be freed.
///
/// # Safety
///
/// Called by `exit_cmd_priv` only, while the host is being removed.
#[no_mangle]
unsafe extern "C" fn scst_local_tags_go(data: *const HostData) {
    // SAFETY: `Online` keeps the port's reference until the host is removed,
    // and removal waits for this.
    let port = unsafe { ArcBorrow::from_raw((*data).port) };
    *port.host().live.lock() = false;
}

/// The port of a host that may be about to go.
///
/// # Safety
///
/// `data` belongs to a host that stays while this runs.
unsafe fn port(data: *const HostData) -> Option<Arc<Port>> {
    let _guard = PORTS.lock();
    // SAFETY: By the function's contract.
    let port = unsafe { (*data).port };
    // SAFETY: By the invariants of `HostData`: if it is there it is a
    // reference, and stays one while the lock is held.
    (!port.is_null()).then(|| unsafe { ArcBorrow::from_raw(port) }.into())
}

/// Has the port of a host recover from an error; what that returns, or false if
/// the host is going. Waits until everybody who has finished a command has also
/// answered it.
///
/// # Safety
///
/// `data` belongs to a host that stays while this runs.
unsafe fn recover(data: *const HostData, by: impl FnOnce(&Port) -> bool) -> bool {
    // SAFETY: By the function's contract.
    let Some(port) = (unsafe { port(data) }) else {
        return false;
    };
    let done = by(&port);
    kapi::rcu::synchronize();
    done
}

/// The midlayer gives up a command. True if we no longer have it.
///
/// # Safety
///
/// Called by `eh_abort_handler` only.
#[no_mangle]
unsafe extern "C" fn scst_local_abort(data: *const HostData, slot: *const Slot, tag: u64) -> bool {
    // SAFETY: The slot of a command that the midlayer has not freed.
    let slot = unsafe { &*slot };
    let abort = |port: &Port| {
        port.abort(tag);
        port.wait_until(|| Outstanding::of(slot, || tag).is_none())
    };
    // SAFETY: Error handling has a reference to the host.
    unsafe { recover(data, abort) }
}

/// The midlayer, or an administrator, resets a LUN. True if none of its
/// commands is left.
///
/// # Safety
///
/// Called by `eh_device_reset_handler` only.
#[no_mangle]
unsafe extern "C" fn scst_local_lun_reset(data: *const HostData, lun: u64) -> bool {
    // SAFETY: Error handling has a reference to the host.
    unsafe { recover(data, |port| port.lun_reset(lun)) }
}

/// As [`scst_local_lun_reset`], for all LUNs.
///
/// # Safety
///
/// Called by `eh_target_reset_handler` only.
#[no_mangle]
unsafe extern "C" fn scst_local_target_reset(data: *const HostData) -> bool {
    // SAFETY: Error handling has a reference to the host.
    unsafe { recover(data, Port::target_reset) }
}

/// As [`scst_local_lun_reset`], for all that the host has, after everything else
/// has failed.
///
/// # Safety
///
/// Called by `eh_host_reset_handler` only.
#[no_mangle]
unsafe extern "C" fn scst_local_host_reset(data: *const HostData) -> bool {
    // SAFETY: Error handling has a reference to the host.
    unsafe { recover(data, Port::host_reset) }
}

/// An administrator gives a disk another queue depth.
///
/// # Safety
///
/// Called by `change_queue_depth` only.
#[no_mangle]
unsafe extern "C" fn scst_local_depth_grows(data: *const HostData, depth: u32) {
    // SAFETY: The disk has a reference to its host.
    if let Some(port) = unsafe { port(data) } {
        port.depth_grows(depth);
    }
}

/// A disk was found.
///
/// # Safety
///
/// Called by `sdev_configure` only, with the device and its name.
#[no_mangle]
unsafe extern "C" fn scst_local_configured(sdev: *mut ScsiDevice, name: *const u8, tagged: bool) {
    // SAFETY: The name of a device ends with a zero byte and stays.
    let name = unsafe { CStr::from_char_ptr(name.cast()) };
    pr_info!(
        "Configuring queue depth {} on sdev {} (tagged supported {})\n",
        QUEUE_DEPTH,
        name.to_str().unwrap_or("?"),
        u8::from(tagged)
    );
    // SAFETY: The device is being configured, which is the time to do this.
    unsafe { scsi_c_set_depth(sdev, QUEUE_DEPTH) };
}
