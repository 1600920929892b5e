// SPDX-License-Identifier: GPL-2.0

//! REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-6 6.35, 6.36).
//!
//! Both are answered from the tables that the target itself works by.

use crate::bytes::{be16, u8_at, Writer};
use crate::opcode::{self, Flags, OpRow, PeripheralDeviceType};
use crate::sense::{Sense, INVALID_FIELD_IN_CDB};
use crate::task::Function;

/// Which commands a device has beyond those of its type.
#[derive(Clone, Copy, Debug)]
pub struct Commands {
    /// PERIPHERAL DEVICE TYPE.
    pub pdt: PeripheralDeviceType,
    /// It is thin provisioned: GET LBA STATUS and the like.
    pub thin: bool,
    /// It keeps what is written: COMPARE AND WRITE and the like.
    pub keeps_data: bool,
    /// It is in a device group: SET TARGET PORT GROUPS, if that is allowed (`expl_alua`).
    pub explicit_alua: bool,
    /// It is formatted with protection information of type 2: READ(32) and the like.
    pub type2: bool,
    /// It can write atomically: WRITE ATOMIC.
    pub atomic: bool,
}

impl Commands {
    /// Whether the device carries `row` out.
    pub fn has(&self, row: &OpRow) -> bool {
        const WRITE_ATOMIC: u8 = 0x9c;
        const SET_TARGET_PORT_GROUPS: (u8, Option<u16>) = (0xa4, Some(0x0a));

        row.is_supported()
            && row.sets.intersects(self.pdt.command_sets())
            && (self.thin || !row.flags.contains(Flags::THIN))
            && (self.keeps_data || !row.flags.contains(Flags::KEEPS_DATA))
            && (self.type2 || row.opcode != opcode::VARIABLE_LENGTH)
            && (self.atomic || row.opcode != WRITE_ATOMIC)
            && (self.explicit_alua || (row.opcode, row.service_action) != SET_TARGET_PORT_GROUPS)
    }
}

/// NOMINAL COMMAND PROCESSING TIMEOUT in seconds, as SCST has always said.
const NOMINAL_TIMEOUT: u32 = 1;

/// Writes a command timeouts descriptor: 12 bytes (SPC-6 6.35.4).
fn timeouts(w: &mut Writer<'_>, row: &OpRow) {
    w.be16(0x0a)
        .be16(0)
        .be32(NOMINAL_TIMEOUT)
        .be32(row.recommended_timeout());
}

/// REPORTING OPTIONS (SPC-6 table 337).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporting {
    /// 000b: all commands.
    All,
    /// 001b: one operation code that has no service actions.
    Opcode(u8),
    /// 010b: one service action of an operation code that has some.
    ServiceAction(u8, u16),
    /// 011b: either.
    Either(u8, u16),
}

/// A decoded REPORT SUPPORTED OPERATION CODES CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOpcodes {
    /// RCTD: return command timeouts descriptors.
    pub rctd: bool,
    /// What is asked for.
    pub reporting: Reporting,
}

impl ReportOpcodes {
    /// Decodes the CDB.
    pub fn decode(cdb: &[u8]) -> Result<Self, Sense> {
        let (Some(options), Some(op), Some(action)) = (u8_at(cdb, 2), u8_at(cdb, 3), be16(cdb, 4))
        else {
            return Err(INVALID_FIELD_IN_CDB);
        };
        let reporting = match options & 7 {
            0 => Reporting::All,
            1 => Reporting::Opcode(op),
            2 => Reporting::ServiceAction(op, action),
            3 => Reporting::Either(op, action),
            _ => return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 2)),
        };
        Ok(Self {
            rctd: options & 0x80 != 0,
            reporting,
        })
    }

    /// Writes the parameter data.
    pub fn write(&self, w: &mut Writer<'_>, device: &Commands) -> Result<(), Sense> {
        let row = match self.reporting {
            Reporting::All => {
                self.write_all(w, device);
                return Ok(());
            }
            Reporting::Opcode(op) => {
                // Asking without a service action for commands that have one is an error in the CDB (SPC-6 6.35.1).
                if opcode::has_service_actions(op, device.pdt) {
                    return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 2));
                }
                opcode::lookup(op, 0, device.pdt)
            }
            Reporting::ServiceAction(op, action) => {
                let row = opcode::lookup(op, action, device.pdt);
                if row.is_some_and(|r| r.service_action.is_none()) {
                    return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 2));
                }
                row
            }
            Reporting::Either(op, action) => {
                let row = opcode::lookup(op, action, device.pdt);
                row.filter(|r| r.service_action.is_some() || action == 0)
            }
        };
        self.write_one(w, row.filter(|r| device.has(r)));
        Ok(())
    }

    /// The all commands format (SPC-6 6.35.2): 8 bytes a command, 20 with time-outs.
    fn write_all(&self, w: &mut Writer<'_>, device: &Commands) {
        let start = w.full_len();
        w.be32(0);
        for row in opcode::all_rows().iter().filter(|row| device.has(row)) {
            let ctdp = if self.rctd { 0x02 } else { 0 };
            let servactv = u8::from(row.service_action.is_some());
            w.u8(row.opcode)
                .u8(0)
                .be16(row.service_action.unwrap_or(0))
                .u8(0)
                .u8(ctdp | servactv)
                .be16(u16::from(row.cdb_len));
            if self.rctd {
                timeouts(w, row);
            }
        }
        // COMMAND DATA LENGTH.
        let len = w.full_len().saturating_sub(start).saturating_sub(4);
        w.patch_be32(start, u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// The one command format (SPC-6 6.35.3).
    fn write_one(&self, w: &mut Writer<'_>, row: Option<&OpRow>) {
        const NOT_SUPPORTED: u8 = 0x01;
        const AS_STANDARD: u8 = 0x03;

        let Some(row) = row else {
            w.bytes(&[0, NOT_SUPPORTED, 0, 0]);
            return;
        };
        let ctdp = if self.rctd { 0x80 } else { 0 };
        w.u8(0).u8(ctdp | AS_STANDARD).be16(u16::from(row.cdb_len));
        let usage = row.usage();
        w.bytes(usage.get(..usize::from(row.cdb_len)).unwrap_or(&usage));
        if self.rctd {
            timeouts(w, row);
        }
    }
}

/// TASK MANAGEMENT FUNCTION LONG and SHORT TIMEOUT in units of 100 ms.
const TMF_LONG_TIMEOUT: u32 = 300;
const TMF_SHORT_TIMEOUT: u32 = 150;

/// The bits of a function in bytes 0 and 1 (SPC-6 table 343). TRS is obsolete there.
const fn bits(function: Function) -> [u8; 2] {
    match function {
        Function::AbortTask => [0x80, 0],
        Function::AbortTaskSet => [0x40, 0],
        Function::ClearAca => [0x20, 0],
        Function::ClearTaskSet => [0x10, 0],
        Function::LogicalUnitReset => [0x08, 0],
        Function::QueryTask => [0x04, 0],
        Function::TargetReset => [0x02, 0],
        Function::QueryAsyncEvent => [0, 0x04],
        Function::QueryTaskSet => [0, 0x02],
        Function::NexusReset => [0, 0x01],
    }
}

/// Writes the answer to REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS: 4 bytes, or 16 if the CDB's REPD bit is set.
///
/// `has` says which functions can be asked for through the transport that the command came by.
pub fn report_task_management(w: &mut Writer<'_>, cdb: &[u8], has: impl Fn(Function) -> bool) {
    const ATS: u8 = 0x80;
    const CACAS: u8 = 0x20;

    let mut supported = [0u8; 2];
    for function in Function::ALL.into_iter().filter(|f| has(*f)) {
        let [first, second] = bits(function);
        supported[0] |= first;
        supported[1] |= second;
    }
    let extended = u8_at(cdb, 2).is_some_and(|b| b & 0x80 != 0);
    w.bytes(&supported).u8(0).u8(if extended { 12 } else { 0 });
    if extended {
        // TMFTMOV; then which functions go by the short time-out: ABORT TASK and CLEAR ACA.
        w.bytes(&[0x01, 0, ATS | CACAS, 0])
            .be32(TMF_LONG_TIMEOUT)
            .be32(TMF_SHORT_TIMEOUT);
    }
}
