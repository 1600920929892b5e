// SPDX-License-Identifier: GPL-2.0

//! What the core answers itself: REPORT LUNS, REQUEST SENSE with a unit
//! attention pending, and anything sent to a LUN that does not exist.

use crate::{
    cmd::{status, Answered, Cmd, CommandLoan, Executing},
    config::core,
    pipeline::{provide_buffer, Refusal},
    session::Session,
};
use kapi::sg::SgList;
use kernel::prelude::*;
use scst_proto::{
    bytes::Writer,
    cdb::Cdb,
    event::{code, lun_not_found},
    lun::{Lun, ReportLuns},
    opcode::Direction,
    sense::{self, Sense, INVALID_FIELD_IN_CDB, LUN_NOT_SUPPORTED},
    task::State,
    ua,
};

const INQUIRY: u8 = 0x12;
const REQUEST_SENSE: u8 = 0x03;
const REPORT_LUNS: u8 = 0xa0;

/// Whether the core answers the command even for a LUN that exists.
pub(crate) fn is_ours(cdb: &Cdb) -> bool {
    cdb.op.opcode == REPORT_LUNS
}

/// Answers a command of [`is_ours`].
pub(crate) fn execute(mut cmd: Cmd<Executing>) {
    let Some(nexus) = cmd.nexus_in_use() else {
        return;
    };
    match luns_data(nexus.session(), cmd.raw_cdb(), cmd.length()) {
        Ok(data) => {
            cmd.put(&data);
            nexus.answered(ua::Answered::ReportLuns);
            cmd.good();
        }
        Err(Refusal::Sense(sense)) => cmd.check_condition(sense),
        Err(Refusal::Status(status)) => cmd.status(status),
        Err(Refusal::Core | Refusal::Swallow | Refusal::Hold | Refusal::Order) => drop(cmd),
    }
}

/// The parameter data of REPORT LUNS, as much of it as `length` bytes hold.
fn luns_data(session: &Session, cdb: &[u8], length: u32) -> Result<KVec<u8>, Refusal> {
    let select = cdb.get(2).copied().unwrap_or(0);
    let mut count = 0usize;
    session.for_each_nexus(|_| count = count.saturating_add(1));
    let room = count
        .saturating_add(1)
        .saturating_mul(8)
        .min(length as usize);
    let mut data =
        KVec::from_elem(0u8, room, GFP_ATOMIC).map_err(|_| Refusal::Status(status::BUSY))?;
    let mut writer = Writer::new(&mut data);
    let mut report = ReportLuns::start(&mut writer, select, session.group_addr_method())?;
    session.for_each_nexus(|nexus| {
        if let Some(lun) = Lun::new(nexus.lun()) {
            report.lun(lun);
        }
    });
    let used = report.finish().min(room);
    data.truncate(used);
    Ok(data)
}

/// Answers a command to a LUN that the session does not see (SPC-6 5.14 and
/// 6.7: INQUIRY, REPORT LUNS and REQUEST SENSE work even there).
#[cold]
pub(crate) fn without_lun(session: &Session, mut loan: CommandLoan, refusal: Option<Sense>) {
    let _ = loan.shared().advance_to(State::Responding);
    let opcode = loan.raw.first().copied().unwrap_or(0);
    let outcome = match (opcode, refusal) {
        (INQUIRY, None) => inquiry(&loan),
        (REQUEST_SENSE, None) => {
            let mut data = [0; sense::MAX_LEN];
            let descriptor = loan.raw.get(1).is_some_and(|b| b & 1 != 0);
            let len = LUN_NOT_SUPPORTED.encode(descriptor, &mut data);
            copied(data.get(..len).unwrap_or(&[]))
        }
        (REPORT_LUNS, None) => luns_data(session, &loan.raw, loan.prepared),
        _ => Err(LUN_NOT_SUPPORTED.into()),
    };
    if let Ok(core) = core() {
        let lun = loan.shared().lun_number();
        core.events
            .send(code::LUN_NOT_FOUND, lun_not_found::LEN, |payload| {
                let (initiator, target) = (session.initiator(), session.target.name());
                lun_not_found::write(payload, lun.into(), initiator, target);
            });
    }
    match outcome {
        Ok(data) => give(&mut loan, &data),
        Err(refusal) => note(&mut loan, refusal),
    }
    session
        .transport()
        .send_response(Cmd::<Answered>::new(loan));
}

fn inquiry(loan: &CommandLoan) -> Result<KVec<u8>, Refusal> {
    let evpd = loan.raw.get(1).is_some_and(|b| b & 1 != 0);
    if evpd {
        return Err(INVALID_FIELD_IN_CDB.in_cdb(1).into());
    }
    // Peripheral qualifier 011b, device type 1Fh: nothing here, nothing can be.
    let mut data = [0u8; 36];
    data[0] = 0x7f;
    data[2] = 0x06;
    data[3] = 0x02;
    data[4] = 31;
    copied(&data)
}

fn copied(bytes: &[u8]) -> Result<KVec<u8>, Refusal> {
    let mut data = KVec::new();
    match data.extend_from_slice(bytes, GFP_ATOMIC) {
        Ok(()) => Ok(data),
        Err(_) => Err(Refusal::Status(status::BUSY)),
    }
}

fn note(loan: &mut CommandLoan, refusal: Refusal) {
    match refusal {
        Refusal::Sense(sense) => {
            loan.status = status::CHECK_CONDITION;
            loan.sense = Some(sense);
        }
        Refusal::Status(status) => loan.status = status,
        Refusal::Core | Refusal::Swallow | Refusal::Hold | Refusal::Order => {
            loan.status = status::BUSY
        }
    }
}

/// Puts data-in into the initiator's buffer, up to the allocation length.
fn give(loan: &mut CommandLoan, data: &[u8]) {
    loan.direction = Direction::In;
    loan.expected = match loan.cdb.expected_bytes(0) {
        Some(bytes) => u32::try_from(bytes).unwrap_or(u32::MAX),
        None => loan.prepared,
    };
    let length = loan.expected.min(loan.prepared) as usize;
    if let Err(refusal) = provide_buffer(loan) {
        return note(loan, refusal);
    }
    let bytes = data.get(..length).unwrap_or(data);
    let moved = crate::cmd::buffer(&loan.data).map_or(0, |sg: SgList<'_>| sg.copy_to(0, bytes));
    loan.moved = moved as u32;
}
