// SPDX-License-Identifier: GPL-2.0

//! ib_srpt: a SCSI RDMA Protocol (SRP r16a) target on every RDMA device.
//!
//! - [`hca`]: devices that come and go, and their shared receive queues;
//! - [`port`]: target ports; [`dm`]: how initiators find them;
//! - [`login`]: from a connection request to a channel;
//! - [`nexus`]: an I_T nexus, the core's session;
//! - [`channel`]: units that arrive, and work that is done; [`sending`]: units
//!   that are sent; [`posting`]: work that
//!   is posted; [`places`]: who may post; [`transfer`]: work requests for data;
//!   [`request`]: what is kept of a request; [`event`]: requests of the target;
//! - [`link`]: the life of a channel's connection;
//! - [`driver`], [`attrs`], [`params`]: the driver to the core and to the
//!   administrator;
//! - [`rdma`]: the verbs and the connection managers, with all unsafe code.
//!
//! Wire formats and state machines are in [`scst_proto::srp`].
//!
//! # Locks
//!
//! In the order in which they are taken; none is held while the core, the verbs
//! or a connection manager is called, unless it says so.
//!
//! 1. `Port::nexuses`: who is logged in, and whether anybody may.
//! 2. `Nexus::session`: opening and closing the core's session is done under it.
//! 3. `Link::channel`, `Link::connection`: disconnecting is done under it.
//! 4. `Nexus::channels`: the core visits commands under it.
//! 5. `Link::control`, `Channel::waiting`, `spare`, `returned`: leaves.

#![deny(unsafe_code)]

mod attrs;
mod channel;
mod dm;
mod driver;
mod event;
mod hca;
mod link;
mod login;
mod nexus;
mod params;
mod places;
mod port;
mod posting;
#[allow(unsafe_code)]
mod rdma;
mod request;
mod sending;
mod transfer;

use driver::Driver;
use kapi::{global::Global, module::UnloadBarrier};
use kernel::{prelude::*, sync::Arc};
use rdma::{device::Registration, rdma_cm};

module! {
    type: IbSrpt,
    name: "ib_srpt",
    authors: ["The SCST in Rust authors"],
    description: "SCSI RDMA Protocol target driver",
    license: "GPL",
}

static DRIVER: Global<Driver> = Global::new();

/// The driver, while the module is loaded.
fn driver() -> Option<Arc<Driver>> {
    DRIVER.get()
}

/// The loaded module. Dropping it ends all sessions, and removes all targets.
struct IbSrpt {
    /// First: nobody connects any more.
    listener: Option<rdma_cm::Listener>,
    devices: Option<Registration>,
    driver: Arc<Driver>,
    /// Last: until then code of this module may still be running.
    _barrier: UnloadBarrier,
}

impl kernel::Module for IbSrpt {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let barrier = UnloadBarrier::new();
        let driver = Driver::new()?;
        DRIVER.set(driver.clone())?;
        // From here on `Drop` cleans up.
        let mut this = Self {
            listener: None,
            devices: None,
            driver,
            _barrier: barrier,
        };
        this.driver.register(module)?;
        this.devices = Some(Registration::new::<hca::Devices>(c"ib_srpt")?);
        let port = params::RDMA_CM_PORT.get();
        if port != 0 {
            let door = Arc::new(login::Door(this.driver.clone()), GFP_KERNEL)?;
            this.listener = Some(rdma_cm::Listener::new(port, door)?);
        }
        Ok(this)
    }
}

impl Drop for IbSrpt {
    fn drop(&mut self) {
        self.listener = None;
        self.devices = None;
        self.driver.shut_down();
        drop(DRIVER.take());
    }
}
