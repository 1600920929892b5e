// SPDX-License-Identifier: GPL-2.0

//! Login: from a connection request to a channel.

use crate::{
    channel::{Channel, SPARE},
    driver::Driver,
    link::{Lasting, Link},
    nexus::Nexus,
    params,
    port::Port,
    rdma::{
        arena::Requests,
        cm::{self, ConnParams, ConnectRequest, Manager, Pending},
        completion::CompletionQueue,
        queue::{Queue, Stack},
        queue_pair::{Capacity, QueuePair},
        receive::{ReceiveBatch, RECEIVE_BATCH},
    },
};
use core::net::IpAddr;
use kapi::{counted::Counted, lock::new_spinlock_irq};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SetOnce,
    },
};
use scst_proto::srp::{
    channel::Event,
    credit::Credit,
    data_buffer::Rules,
    iu::RSP_LEN,
    limits,
    login::{self, Accept, LoginRequest, MultiChannel, PortFacts, RejectReason},
    names::{self, Source},
    LogoutReason,
};

/// Most channels of an I_T nexus.
const MAX_CHANNELS: u32 = 64;
/// Most requests that an initiator may have outstanding on a channel.
const MAX_LIMIT: u32 = 128;
/// Requests of a channel beside those: for responses to the target's own
/// requests, and for commands that arrive before the buffer of the last one is
/// posted again, which it is with others.
const EXTRA: u32 = 34 + RECEIVE_BATCH as u32;
/// Longest descriptor table that is fetched, in descriptors.
const MAX_DESCRIPTORS: u32 = 4096;

/// Who lets initiators in.
pub(crate) struct Door(pub(crate) Arc<Driver>);

impl cm::Accept for Door {
    fn connect(&self, request: &ConnectRequest<'_>, id: Pending<'_>) {
        let Some(port) = self.0.port(request.device, request.port) else {
            return;
        };
        let parsed = match request.manager {
            Manager::Ib => LoginRequest::parse(request.private_data),
            Manager::Rdma => LoginRequest::parse_rdma_cm(request.private_data),
        };
        match parsed {
            Ok(login) => admit(&port, request, &login, id),
            Err(_) => pr_info!(
                "{}: a connection request that is no SRP login\n",
                port.name()
            ),
        }
    }
}

fn source(request: &ConnectRequest<'_>) -> Source {
    match request.remote_ip {
        Some(IpAddr::V4(ip)) => Source::V4(ip.octets()),
        Some(IpAddr::V6(ip)) => Source::V6(ip.octets()),
        None => Source::Gid(request.remote_gid),
    }
}

/// What the session of a login is called.
fn session_name(
    request: &ConnectRequest<'_>,
    login: &LoginRequest,
    gid: &[u8; 16],
) -> Result<CString> {
    let by_path = params::PORT_GUID_NAMES.get().then_some(gid);
    Ok(match params::ONE_TARGET_PER_PORT.get() {
        true => CString::try_from_fmt(fmt!("{}", names::session(&source(request)).as_str()))?,
        false => CString::try_from_fmt(fmt!(
            "{}",
            names::session_by_ports(&login.initiator, by_path).as_str()
        ))?,
    })
}

fn admit(port: &Arc<Port>, request: &ConnectRequest<'_>, login: &LoginRequest, id: Pending<'_>) {
    let gid = port.hca.device.gid(request.port).unwrap_or_default();
    let name = session_name(request, login, &gid);
    let name = name.as_ref().ok().and_then(|name| name.to_str().ok());
    pr_info!(
        "Received SRP_LOGIN_REQ with i_port_id {}, t_port_id {} and it_iu_len {} on port {} (guid={}); pkey {:#06x}\n",
        names::gid(&login.initiator.0).as_str(),
        names::gid(&login.target.0).as_str(),
        login.it_iu_len,
        request.port,
        names::gid(&gid).as_str(),
        request.pkey
    );
    let result = match name {
        Some(name) => try_admit(port, request, login, name, id),
        None => Err((RejectReason::InsufficientResources, Some(id))),
    };
    if let Err((reason, id)) = result {
        pr_info!(
            "Rejected login of {} to {}: {}\n",
            name.unwrap_or("an initiator"),
            port.name(),
            text(reason)
        );
        if let Some(id) = id {
            id.reject(&login::reject(login.tag, reason));
        }
    }
}

/// What the log says to a reason.
fn text(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::InsufficientResources => "the target is not enabled, or short of memory",
        RejectReason::LengthTooLarge => "its information units are too long for srp_max_req_size",
        RejectReason::UnableToAssociate => "there is no target of this identifier",
        RejectReason::UnsupportedFormat => "it wants a buffer format that is not supported",
        RejectReason::MultiChannelUnsupported => "unknown multi-channel action",
        RejectReason::ChannelLimit => "it has too many channels",
        RejectReason::Unspecified => "the request makes no sense",
    }
}

fn facts(port: &Port, enabled: bool, channels: usize) -> PortFacts {
    PortFacts {
        enabled,
        target: port.id(),
        max_it_iu_len: params::req_size(),
        max_ti_iu_len: params::rsp_size(),
        request_limit: request_limit(port),
        channels: u32::try_from(channels).unwrap_or(u32::MAX),
        max_channels: MAX_CHANNELS,
        max_imm_data_offset: u16::try_from(params::req_size() / 2).ok(),
        solicited_notification: true,
    }
}

fn sends(port: &Port) -> u32 {
    params::sq_size(port.hca.limits.queue)
}

/// Requests that an initiator may have outstanding on a channel at most.
pub(crate) fn request_limit(port: &Port) -> u16 {
    let places = port.hca.limits.queue.saturating_sub(SPARE + EXTRA);
    limits::request_limit(places.min(MAX_LIMIT), MAX_LIMIT)
}

type Refusal<'a> = (RejectReason, Option<Pending<'a>>);

fn try_admit<'a>(
    port: &Arc<Port>,
    request: &ConnectRequest<'_>,
    login: &LoginRequest,
    name: &str,
    id: Pending<'a>,
) -> Result<(), Refusal<'a>> {
    let decide = |enabled, channels| login::decide(login, &facts(port, enabled, channels));
    let (nexus, mut accept) = match port.enter(login.initiator, request.port, name, decide) {
        Ok(entered) => entered,
        Err(reason) => return Err((reason, Some(id))),
    };
    if login.multi_channel() == MultiChannel::Single {
        // The new one is not among them yet.
        nexus.close_channels(LogoutReason::MultiChannelAction, "logged in again");
    }
    let poor = RejectReason::InsufficientResources;
    let (link, channel) = match make(port, &nexus, login, &mut accept) {
        Ok(made) => made,
        Err(e) => {
            pr_err!("***ERROR***: {}: no channel: {e:?}\n", port.name());
            if port.leave(&nexus) {
                nexus.end_session();
            }
            port.released();
            return Err((poor, Some(id)));
        }
    };
    let result = connect(port, request, &accept, login, &link, &channel, id);
    if result.is_err() {
        link.event(Event::ConnectFailed);
    }
    result.map_err(|id| (poor, id))
}

/// Makes a channel, known to its nexus, and with nothing posted. Its request limit
/// is no more than what the LUNs take that the initiator sees.
fn make(
    port: &Arc<Port>,
    nexus: &Arc<Nexus>,
    login: &LoginRequest,
    accept: &mut Accept,
) -> Result<(Arc<Link>, Arc<Counted<Channel>>)> {
    let hca = &port.hca;
    let link = Link::new(port.clone())?;
    let session = nexus.session()?;
    accept.request_limit =
        limits::request_limit(accept.request_limit.into(), session.task_set_size());
    let limit = u32::from(accept.request_limit);
    let requests = match &hca.requests {
        Some(requests) => requests.clone(),
        None => Requests::new(
            &hca.pd,
            limit + SPARE + EXTRA,
            params::req_size(),
            params::rsp_size(),
        )?,
    };
    let channel = Counted::new(Channel {
        id: port.driver.number_channel(),
        hca: hca.clone(),
        nexus: nexus.clone(),
        session,
        link: link.clone(),
        requests: requests.clone(),
        shared: hca.requests.is_some(),
        qp: SetOnce::new(),
        rules: Rules {
            imm_data_offset: accept.imm_data_offset,
            max_descriptors: MAX_DESCRIPTORS,
        },
        login: *login,
        max_response: accept.max_ti_iu_len,
        request_limit: limit,
        credit: Atomic::new(Credit::new(accept.request_limit).to_u64()),
        places: Atomic::new(sends(port) as i32),
        half: (sends(port) / 2).max(1) as i32,
        quiet: Atomic::new(0),
        waiting: KBox::pin_init(new_spinlock_irq!(Queue::new()), GFP_KERNEL)?,
        someone_waits: Atomic::new(0),
        spare: KBox::pin_init(new_spinlock_irq!(Queue::new()), GFP_KERNEL)?,
        sending_own: Atomic::new(0),
        returned: Stack::new(),
        vector: Atomic::new(0),
        receiving: Atomic::new(0),
    })?;
    nexus.add(channel.clone())?;
    // Nothing fails any more: they come back by the channel's release.
    *channel.spare.lock() = hca.reserve(SPARE);
    link.attach(channel.clone());
    Ok((link, channel))
}

/// Connects the channel; on failure it has to be torn down.
fn connect<'a>(
    port: &Arc<Port>,
    request: &ConnectRequest<'_>,
    accept: &Accept,
    login: &LoginRequest,
    link: &Arc<Link>,
    channel: &Arc<Counted<Channel>>,
    id: Pending<'a>,
) -> Result<(), Option<Pending<'a>>> {
    if let Err(e) = prepare(port, link, channel, &id) {
        pr_err!("***ERROR***: {}: no queue pair: {e:?}\n", port.name());
        return Err(Some(id));
    }
    let Some(qp) = channel.qp.as_ref() else {
        return Err(Some(id));
    };
    let terms = ConnParams {
        responder_resources: request.responder_resources.min(port.hca.limits.reads),
        initiator_depth: request.initiator_depth.min(port.hca.limits.reads),
        rnr_retry_count: 7,
        flow_control: true,
        srq: channel.shared,
    };
    let Ok(events) = Arc::new(Lasting(link.clone()), GFP_KERNEL) else {
        return Err(Some(id));
    };
    match id.accept(qp, &accept.response(login.tag), &terms, events) {
        Ok(connection) => {
            link.connected(connection);
            Ok(())
        }
        Err((e, id)) => {
            pr_err!("***ERROR***: {}: login not accepted: {e:?}\n", port.name());
            Err(Some(id))
        }
    }
}

fn prepare(
    port: &Arc<Port>,
    link: &Arc<Link>,
    channel: &Arc<Counted<Channel>>,
    id: &Pending<'_>,
) -> Result {
    let hca = &port.hca;
    let capacity = Capacity {
        sends: sends(port),
        receives: channel.requests.count(),
        pieces: hca.limits.pieces,
        copied: RSP_LEN as u32,
    };
    let receives = match channel.shared {
        // No more than the request limit, unless the initiator ignores it.
        true => 4 * MAX_LIMIT,
        false => channel.requests.count(),
    };
    let entries = (capacity.sends + receives).min(hca.limits.completions);
    let vector = port.next_vector();
    channel.vector.store(vector, Relaxed);
    let cq = CompletionQueue::new(&hca.device, &hca.turns, entries, vector, channel.clone())?;
    let events = Arc::new(Lasting(link.clone()), GFP_KERNEL)?;
    let qp = QueuePair::new(&hca.void, cq, hca.srq.clone(), capacity, events)?;
    id.init_qp(&qp)?;
    if !channel.qp.populate(qp) {
        return Err(EBUSY);
    }
    if channel.shared {
        return Ok(());
    }
    let qp = channel.qp.as_ref().ok_or(EINVAL)?;
    let mut batch = ReceiveBatch::new();
    for index in 0..channel.requests.count() {
        let Some(handle) = channel.requests.take(index) else {
            continue;
        };
        if index < SPARE {
            channel.spare.lock().push(handle);
            continue;
        }
        let full = batch.push(handle);
        if full || index + 1 == channel.requests.count() {
            channel.post_batch(qp, &mut batch)?;
        }
    }
    Ok(())
}
