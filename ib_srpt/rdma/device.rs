// SPDX-License-Identifier: GPL-2.0

//! RDMA devices, which come and go.
//!
//! C header: `include/rdma/ib_verbs.h`

use core::{
    ops::Deref,
    ptr::{self, NonNull},
};
use kapi::wait::{new_wait_queue, WaitQueue};
use kernel::{
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_void},
    prelude::*,
    str::CStrExt,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed, Release},
        Arc,
    },
    types::Opaque,
};
use rdma_bindings as ib;

// Of these types only addresses are exchanged.
#[allow(improper_ctypes)]
extern "C" {
    fn ib_c_query_gid(
        dev: *mut ib::ib_device,
        port: u32,
        index: c_int,
        gid: *mut ib::ib_gid,
    ) -> c_int;
}

/// An RDMA device.
///
/// # Invariants
///
/// `raw` is valid as long as this exists: [`Client::remove`]'s caller, the verbs
/// core, waits in [`remove`] until the last reference is gone.
pub(crate) struct Device {
    raw: NonNull<ib::ib_device>,
    uses: Arc<Uses>,
}

/// How many [`Device`]s there are of one `struct ib_device`.
#[pin_data]
struct Uses {
    gone: Atomic<u32>,
    #[pin]
    wait: WaitQueue,
}

// SAFETY: The verbs may be called from any task; what this hands out of the
// device is constant after it was registered.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Drop for Device {
    fn drop(&mut self) {
        self.uses.gone.store(1, Release);
        self.uses.wait.wake_all();
    }
}

// SAFETY: The device is valid as long as this exists, by the type invariants.
unsafe impl super::cm::DeviceHold for Device {
    fn as_raw(&self) -> NonNull<ib::ib_device> {
        self.raw
    }
}

impl Device {
    /// The C structure, for the other modules of this room.
    pub(super) fn raw(&self) -> *mut ib::ib_device {
        self.raw.as_ptr()
    }

    fn get(&self) -> &ib::ib_device {
        // SAFETY: Valid by the type invariants. Only members that do not change
        // after registration are read below.
        unsafe { self.raw.as_ref() }
    }

    /// Whether `other` is this device.
    pub(crate) fn is(&self, other: NonNull<ib::ib_device>) -> bool {
        self.raw == other
    }

    /// Its name, such as `mlx5_0`.
    pub(crate) fn name(&self) -> &str {
        let name = &self.get().name;
        // SAFETY: `name` is an array of 64 characters with a terminating zero.
        let text = unsafe { CStr::from_char_ptr(name.as_ptr()) };
        text.to_str().unwrap_or("")
    }

    /// Number of ports, which have the numbers from 1.
    pub(crate) fn ports(&self) -> u32 {
        self.get().phys_port_cnt
    }

    /// EUI-64 of the device, big-endian.
    pub(crate) fn node_guid(&self) -> u64 {
        u64::from_be(self.get().node_guid)
    }

    /// Number of completion vectors (interrupts), at least 1.
    pub(crate) fn completion_vectors(&self) -> u32 {
        u32::try_from(self.get().num_comp_vectors)
            .unwrap_or(1)
            .max(1)
    }

    /// What the device can do.
    pub(crate) fn attrs(&self) -> &ib::ib_device_attr {
        &self.get().attrs
    }

    /// Whether a port is Ethernet (RoCE) rather than InfiniBand.
    pub(crate) fn is_ethernet(&self, port: u32) -> bool {
        // SAFETY: The device is valid, and the C function checks the port.
        let layer = unsafe { ib::rdma_port_get_link_layer(self.raw(), port) };
        layer == ib::rdma_link_layer_IB_LINK_LAYER_ETHERNET
    }

    /// The first entry of the GID table of a port. Sleeps.
    pub(crate) fn gid(&self, port: u32) -> Result<[u8; 16]> {
        let gid = Opaque::<ib::ib_gid>::zeroed();
        // SAFETY: The device is valid; `gid` is memory for the answer.
        to_result(unsafe { ib_c_query_gid(self.raw(), port, 0, gid.get()) })?;
        // SAFETY: It was filled in, and any bytes are a GID.
        Ok(unsafe { (*gid.get()).raw })
    }
}

/// A protection domain: what may touch which memory.
///
/// # Invariants
///
/// `raw` is valid and ours.
pub(crate) struct ProtectionDomain {
    raw: NonNull<ib::ib_pd>,
    device: Arc<Device>,
}

// SAFETY: Domains may be used from any task.
unsafe impl Send for ProtectionDomain {}
// SAFETY: As above.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    /// Makes a domain. Sleeps.
    pub(crate) fn new(device: &Arc<Device>) -> Result<Arc<Self>> {
        let name = c"ib_srpt".as_char_ptr();
        // SAFETY: The device is valid.
        let pd = from_err_ptr(unsafe { ib::__ib_alloc_pd(device.raw(), 0, name) })?;
        // INVARIANT: Just made.
        let pd = Self {
            raw: NonNull::new(pd).ok_or(ENOMEM)?,
            device: device.clone(),
        };
        Ok(Arc::new(pd, GFP_KERNEL)?)
    }

    pub(super) fn raw(&self) -> *mut ib::ib_pd {
        self.raw.as_ptr()
    }

    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The key with which the device reaches all mapped memory.
    pub(super) fn lkey(&self) -> u32 {
        // SAFETY: Valid by the type invariants; the key is constant.
        unsafe { self.raw.as_ref().local_dma_lkey }
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: Ours, and everything made from it holds a reference to this.
        unsafe { ib::ib_dealloc_pd_user(self.raw.as_ptr(), ptr::null_mut()) };
    }
}

/// What a module does with RDMA devices.
pub(crate) trait Client: Send + Sync + 'static {
    /// What it has of a device. Dropping it lets go of the [`Device`] soon.
    type Data: Send + Sync;

    /// A device has come. Process context.
    fn add(device: Arc<Device>) -> Result<Self::Data>;
}

/// A registered [`Client`]; dropping it lets go of all devices.
pub(crate) struct Registration {
    client: Pin<KBox<Opaque<ib::ib_client>>>,
}

// SAFETY: It is only made and dropped.
unsafe impl Send for Registration {}
// SAFETY: As above.
unsafe impl Sync for Registration {}

/// The one client of this module, which the callbacks need to know.
static CLIENT: Atomic<*mut ib::ib_client> = Atomic::new(ptr::null_mut());

struct Held<D> {
    data: Option<D>,
    uses: Arc<Uses>,
}

impl Registration {
    /// Registers `C`; it gets to know all devices before this returns. One
    /// registration per module. Sleeps.
    pub(crate) fn new<C: Client>(name: &'static CStr) -> Result<Self> {
        let client = KBox::pin_init(
            Opaque::<ib::ib_client>::ffi_init(|slot: *mut ib::ib_client| {
                // SAFETY: `slot` is valid for writes; all zeros is a client without callbacks.
                unsafe {
                    ptr::write_bytes(slot, 0, 1);
                    (*slot).name = name.as_char_ptr();
                    (*slot).add = Some(add::<C>);
                    (*slot).remove = Some(remove::<C>);
                }
            }),
            GFP_KERNEL,
        )?;
        if CLIENT.cmpxchg(ptr::null_mut(), client.get(), Full).is_err() {
            return Err(EBUSY);
        }
        let this = Self { client };
        // SAFETY: The client is pinned and stays until `Drop`.
        let result = to_result(unsafe { ib::ib_register_client(this.client.get()) });
        if let Err(e) = result {
            CLIENT.store(ptr::null_mut(), Relaxed);
            core::mem::forget(this);
            return Err(e);
        }
        Ok(this)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It is registered.
        unsafe { ib::ib_unregister_client(self.client.get()) };
        CLIENT.store(ptr::null_mut(), Relaxed);
    }
}

fn try_add<C: Client>(raw: NonNull<ib::ib_device>) -> Result {
    let uses = Arc::pin_init(
        pin_init!(Uses {
            gone: Atomic::new(0),
            wait <- new_wait_queue!(),
        }),
        GFP_KERNEL,
    )?;
    let mut held = KBox::new(
        Held::<C::Data> {
            data: None,
            uses: uses.clone(),
        },
        GFP_KERNEL,
    )?;
    // INVARIANT: `remove`, or this function, waits for the device's last use.
    let device = Arc::new(
        Device {
            raw,
            uses: uses.clone(),
        },
        GFP_KERNEL,
    )?;
    match C::add(device) {
        Ok(data) => held.data = Some(data),
        Err(e) => {
            wait_gone(&uses);
            return Err(e);
        }
    }
    let client = CLIENT.load(Acquire);
    // SAFETY: Device and client are valid; the data are taken back in `remove`.
    unsafe { ib::ib_set_client_data(raw.as_ptr(), client, KBox::into_raw(held).cast()) };
    Ok(())
}

fn wait_gone(uses: &Uses) {
    let mut seconds = 0u32;
    while !uses
        .wait
        .wait_until_timeout(10_000, || uses.gone.load(Acquire) != 0)
    {
        seconds = seconds.saturating_add(10);
        kernel::pr_err!(
            "***ERROR***: an RDMA device has been in use for {seconds} s since it was to go\n"
        );
    }
}

/// A device has come.
///
/// # Safety
///
/// The verbs core calls it, with a device that stays until [`remove`] or the
/// failure of this has returned.
unsafe extern "C" fn add<C: Client>(device: *mut ib::ib_device) -> c_int {
    match NonNull::new(device).ok_or(EINVAL).and_then(try_add::<C>) {
        Ok(()) => 0,
        Err(e) => {
            // SAFETY: The device is valid during the callback.
            let name = unsafe { CStr::from_char_ptr((*device).name.as_ptr()) };
            kernel::pr_err!(
                "***ERROR***: no targets on RDMA device {}: {e:?}\n",
                name.to_str().unwrap_or("")
            );
            // Not ours: the core does not call `remove` for it.
            e.to_errno()
        }
    }
}

/// A device goes.
///
/// # Safety
///
/// The verbs core calls it, once, with what [`add`] left.
unsafe extern "C" fn remove<C: Client>(_device: *mut ib::ib_device, data: *mut c_void) {
    let data = data.cast::<Held<C::Data>>();
    if data.is_null() {
        return;
    }
    // SAFETY: `try_add` gave it away, and this is called once.
    let held = unsafe { KBox::from_raw(data) };
    let Held { data, uses } = KBox::into_inner(held);
    drop(data);
    wait_gone(&uses);
}

/// The text of a completion status, for log lines.
pub(crate) fn status_text(status: u32) -> &'static str {
    // SAFETY: The function takes any number, and returns a constant.
    let text = unsafe { CStr::from_char_ptr(ib::ib_wc_status_msg(status)) };
    text.to_str().unwrap_or("")
}

impl Deref for ProtectionDomain {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}
