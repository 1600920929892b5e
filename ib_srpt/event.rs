// SPDX-License-Identifier: GPL-2.0

//! SRP_AER_REQ: initiators are told of what happens to logical units
//! (SRP r16a 6.12).
//!
//! The Linux initiator answers such a request, logs it, and does nothing about it,
//! so a unit attention is established as well ([`scst::Transport::announces_luns`]
//! is false). An event that comes while the last one is not answered, or while the
//! channel has no request left for units of its own, is only a unit attention.

use crate::{channel::Channel, nexus::Nexus, params::trace};
use kapi::counted::InUse;
use scst::LunEvent;
use scst_proto::{
    lun::{AddressMethod, Lun},
    srp::{
        channel::State,
        credit::TargetRequest,
        iu::{AerReq, AER_REQ_LEN},
    },
};

/// Bytes of sense data in fixed format.
const SENSE_LEN: usize = 18;

impl Nexus {
    /// Tells the initiator of an event by the first channel that is live: once, as
    /// all channels are of one initiator port. Process context.
    pub(crate) fn report(&self, event: LunEvent) {
        if let Some(channel) = self.live_channel() {
            Channel::report(&channel, event);
        }
    }

    fn live_channel(&self) -> Option<InUse<Channel>> {
        self.with_channels(|channels| {
            channels
                .iter()
                .find(|channel| channel.state() == State::Live)
                .and_then(|channel| channel.get())
        })
    }
}

impl Channel {
    /// Sends an SRP_AER_REQ, if none is on its way. Any context.
    fn report(this: &InUse<Channel>, event: LunEvent) {
        let Some(lun) = Lun::new(event.lun) else {
            return;
        };
        let Some(handle) = this.spare.lock().pop() else {
            return;
        };
        let Some(grant) = this.update(|credit| credit.ask(TargetRequest::Event)) else {
            return this.spare.lock().push(handle);
        };
        let mut sense = [0; SENSE_LEN];
        let sense_len = event.sense.encode(false, &mut sense);
        let request = AerReq {
            tag: this.id,
            delta: grant.delta(),
            solicited: this.login.event_solicited(),
            lun: lun.encode(AddressMethod::Peripheral),
            sense: sense.get(..sense_len).unwrap_or_default(),
        };
        trace!(
            FLOW_CONTROL,
            "{}: SRP_AER_REQ of {:x}/{:02x}/{:02x} for LUN {}\n",
            this.nexus.name(),
            event.sense.key as u8,
            event.sense.asc,
            event.sense.ascq,
            event.lun
        );
        let mut unit = [0; AER_REQ_LEN + SENSE_LEN];
        let len = request.write(&mut unit).unwrap_or(0);
        let unit = unit.get(..len).unwrap_or_default();
        Self::send_own(this, handle, unit, request.solicited);
    }
}
