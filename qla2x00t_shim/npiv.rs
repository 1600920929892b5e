// SPDX-License-Identifier: GPL-2.0

//! Virtual ports (NPIV): targets that come by `add_target`, on a port of an adapter.
//!
//! A virtual port is on the fabric while its target is enabled, which it can be
//! while the target of the port that it is on is: qla2xxx has one target driver an
//! adapter, and ends target mode for all of its ports.

use crate::{
    port::Port,
    qla::{Adapter, VirtualPort, Wwn},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
};
use scst_proto::{identity::Text, mgmt::Params};

/// Parameters of `add_target`.
pub(crate) const PARAMS: [&str; 2] = ["node_name", "parent_host"];

/// What a virtual port has and a port of an adapter has not.
#[pin_data]
pub(crate) struct Virtual {
    /// The port that it is on.
    pub(crate) parent: Arc<Port>,
    port_name: Wwn,
    /// WWNN, for the next time that the port is enabled.
    pub(crate) node_name: Atomic<u64>,
    /// While it is enabled.
    #[pin]
    on: Mutex<Option<Arc<VirtualPort>>>,
}

impl Virtual {
    /// Nothing is on the fabric yet. `ENOMEM`.
    pub(crate) fn new(parent: Arc<Port>, port_name: Wwn, node_name: Wwn) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                parent,
                port_name,
                node_name: Atomic::new(node_name.0),
                on <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Puts it on the fabric, as the target `port`. Sleeps.
    pub(crate) fn take(&self, port: &Port) -> Result {
        if !self.parent.is_enabled() {
            log_err!(
                "{}: enable the target of the port that it is on first: {}",
                port.name(),
                self.parent.name()
            );
            return Err(EPERM);
        }
        let node = Wwn(self.node_name.load(Relaxed));
        let made = VirtualPort::create(&self.parent.adapter, self.port_name, node);
        let on = made.inspect_err(|_| {
            log_err!(
                "{}: qla2xxx does not make the virtual port: the log says why; the switch and the firmware have to know NPIV, and the name has to be new",
                port.name()
            );
        })?;
        let on = Arc::new(on, GFP_KERNEL)?;
        on.enable(port);
        *self.on.lock() = Some(on);
        pr_info!("Target {} enabled\n", port.name());
        Ok(())
    }

    /// Name of the target.
    pub(crate) fn name(&self) -> Text<23> {
        self.port_name.text()
    }

    /// What is on the fabric now.
    pub(crate) fn on(&self) -> Option<Arc<VirtualPort>> {
        self.on.lock().clone()
    }

    /// Takes it off the fabric; no session is left. Sleeps.
    pub(crate) fn give_back(&self) {
        let on = self.on.lock().take();
        if let Some(on) = on {
            on.disown();
        }
    }
}

/// The two names that `add_target` has to be told: WWNN, and the WWPN of the port
/// that the target is on.
pub(crate) fn names(target: &str, params: Params<'_>) -> Result<(Wwn, Wwn)> {
    let (mut node, mut parent) = (None, None);
    for param in params {
        let param = param.map_err(|e| {
            log_err!("Target {target}: {e}");
            EINVAL
        })?;
        let place = match param.name {
            "node_name" => &mut node,
            "parent_host" => &mut parent,
            other => {
                log_err!("Target {target}: unknown parameter {other}: available are node_name and parent_host");
                return Err(EINVAL);
            }
        };
        *place = Some(name(target, param.value)?);
    }
    match (node, parent) {
        (Some(node), Some(parent)) => Ok((node, parent)),
        _ => {
            log_err!("Target {target}: node_name=WWNN; parent_host=WWPN are needed: a target on a port of an adapter is there by itself");
            Err(EINVAL)
        }
    }
}

/// A World Wide Name as users write it.
pub(crate) fn name(target: &str, text: &str) -> Result<Wwn> {
    Wwn::parse(text).ok_or_else(|| {
        log_err!("Target {target}: '{text}' is no World Wide Name: eight bytes in hexadecimal, with colons");
        EINVAL
    })
}

/// Whether a port is on this adapter's own one.
pub(crate) fn is_on(port: &Port, adapter: &Adapter) -> bool {
    port.npiv
        .as_ref()
        .is_some_and(|npiv| npiv.parent.adapter.is(adapter))
}
