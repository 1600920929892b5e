// SPDX-License-Identifier: GPL-2.0

//! The commands beside READ and WRITE: what a disk says of itself, its mode
//! pages, its cache. What the answers look like is `scst_proto`'s matter; this
//! file brings the question and the disk together.

use crate::{blocks, buffers, cdrom, clock, disk::Disk, io::Store, unit::Unit, writes};
use kernel::prelude::*;
use scst::{status, Cmd, Executing};
use scst_proto::{
    bytes::{u8_at, Writer},
    inquiry::{self, BlockPages, Port, NON_ROTATING, ROTATING},
    log_page,
    mode::ModeSense,
    mode_select::{mode_select, ModeSelect},
    opcode::Flags,
    options::Handler,
    protection::format_unit,
    rsoc::{report_task_management, Commands, ReportOpcodes},
    sense::{
        Sense, INVALID_FIELD_IN_CDB, INVALID_OPCODE, MEDIUM_REMOVAL_PREVENTED,
        MODE_PARAMETERS_CHANGED, NOT_READY, NO_SENSE,
    },
    ua,
};

/// Operation codes, SPC-6, SBC-4 and MMC-6.
pub(crate) mod opcode {
    #![allow(missing_docs)]
    pub(crate) const REQUEST_SENSE: u8 = 0x03;
    pub(crate) const FORMAT_UNIT: u8 = 0x04;
    pub(crate) const INQUIRY: u8 = 0x12;
    pub(crate) const MODE_SELECT_6: u8 = 0x15;
    pub(crate) const RESERVE_6: u8 = 0x16;
    pub(crate) const RELEASE_6: u8 = 0x17;
    pub(crate) const MODE_SENSE_6: u8 = 0x1a;
    pub(crate) const START_STOP_UNIT: u8 = 0x1b;
    pub(crate) const SEND_DIAGNOSTIC: u8 = 0x1d;
    pub(crate) const PREVENT_ALLOW: u8 = 0x1e;
    pub(crate) const READ_CAPACITY_10: u8 = 0x25;
    pub(crate) const WRITE_AND_VERIFY_10: u8 = 0x2e;
    pub(crate) const VERIFY_10: u8 = 0x2f;
    pub(crate) const PRE_FETCH_10: u8 = 0x34;
    pub(crate) const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub(crate) const WRITE_BUFFER: u8 = 0x3b;
    pub(crate) const READ_BUFFER_10: u8 = 0x3c;
    pub(crate) const WRITE_SAME_10: u8 = 0x41;
    pub(crate) const UNMAP: u8 = 0x42;
    pub(crate) const LOG_SELECT: u8 = 0x4c;
    pub(crate) const LOG_SENSE: u8 = 0x4d;
    pub(crate) const MODE_SELECT_10: u8 = 0x55;
    pub(crate) const RESERVE_10: u8 = 0x56;
    pub(crate) const RELEASE_10: u8 = 0x57;
    pub(crate) const MODE_SENSE_10: u8 = 0x5a;
    pub(crate) const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub(crate) const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
    pub(crate) const VARIABLE_LENGTH: u8 = 0x7f;
    pub(crate) const COPY_OUT: u8 = 0x83;
    pub(crate) const COPY_IN: u8 = 0x84;
    pub(crate) const COMPARE_AND_WRITE: u8 = 0x89;
    pub(crate) const ORWRITE_16: u8 = 0x8b;
    pub(crate) const WRITE_AND_VERIFY_16: u8 = 0x8e;
    pub(crate) const VERIFY_16: u8 = 0x8f;
    pub(crate) const PRE_FETCH_16: u8 = 0x90;
    pub(crate) const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub(crate) const WRITE_SAME_16: u8 = 0x93;
    pub(crate) const WRITE_ATOMIC_16: u8 = 0x9c;
    pub(crate) const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub(crate) const MAINTENANCE_IN: u8 = 0xa3;
    pub(crate) const MAINTENANCE_OUT: u8 = 0xa4;
    pub(crate) const WRITE_AND_VERIFY_12: u8 = 0xae;
    pub(crate) const VERIFY_12: u8 = 0xaf;

    /// Service actions of variable length CDBs.
    pub(crate) const READ_32: u16 = 0x09;
    pub(crate) const VERIFY_32: u16 = 0x0a;
    pub(crate) const WRITE_32: u16 = 0x0b;
    pub(crate) const WRITE_AND_VERIFY_32: u16 = 0x0c;
    /// Service actions of SERVICE ACTION IN(16).
    pub(crate) const READ_CAPACITY_16: u16 = 0x10;
    pub(crate) const GET_LBA_STATUS: u16 = 0x12;
    /// Service action of MAINTENANCE IN, and of MAINTENANCE OUT.
    pub(crate) const TARGET_PORT_GROUPS: u16 = 0x0a;
    /// Service actions of MAINTENANCE IN.
    pub(crate) const REPORT_OPCODES: u16 = 0x0c;
    pub(crate) const REPORT_TASK_MANAGEMENT: u16 = 0x0d;
    /// Service action of MAINTENANCE IN, and of MAINTENANCE OUT.
    pub(crate) const TIMESTAMP: u16 = 0x0f;
}

/// Whether a command may run where it arrived, on a store that `sleeps`.
#[inline]
pub(crate) fn is_inline(op: u8, sleeps: bool) -> bool {
    use opcode::*;
    match op {
        // TEST UNIT READY.
        0x00 => true,
        // These take a mutex, allocate, or have much to do.
        INQUIRY
        | MODE_SELECT_6
        | MODE_SELECT_10
        | MAINTENANCE_IN
        | MAINTENANCE_OUT
        | FORMAT_UNIT
        | UNMAP
        | WRITE_SAME_10
        | WRITE_SAME_16
        | COPY_OUT
        | COPY_IN
        | COMPARE_AND_WRITE
        | ORWRITE_16
        | VERIFY_10
        | VERIFY_12
        | VERIFY_16
        | READ_BUFFER_10
        | WRITE_BUFFER
        | RESERVE_6
        | RESERVE_10
        | RELEASE_6
        | RELEASE_10
        | PERSISTENT_RESERVE_IN
        | PERSISTENT_RESERVE_OUT => false,
        _ => !sleeps,
    }
}

/// Largest parameter data but those of REPORT SUPPORTED OPERATION CODES.
const SMALL: usize = 704;
/// Largest parameter list of MODE SELECT: the 16-bit fields allow more, the
/// pages do not.
const MODE_LIST: usize = 256;

/// Executes a command that is none of the data path.
#[cold]
pub(crate) fn execute<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    use opcode::*;
    let disk = &unit.disk;
    let cdb = *cmd.cdb();
    if S::VOID && cdb.op.flags.contains(Flags::KEEPS_DATA) {
        return cmd.check_condition(INVALID_OPCODE);
    }
    match (cdb.op.opcode, cdb.service_action) {
        (REQUEST_SENSE, _) => data(cmd, |cmd, w| {
            let descriptor = byte(cmd, 1) & 1 != 0;
            let mut sense = [0; 32];
            let pending = cmd.nexus().and_then(|nexus| nexus.request_sense());
            let len = pending.unwrap_or(NO_SENSE).encode(descriptor, &mut sense);
            w.bytes(sense.get(..len).unwrap_or(&[]));
            Ok(())
        }),
        (INQUIRY, _) => data(cmd, |cmd, w| answer_inquiry(disk, cmd, w)),
        (MODE_SENSE_6 | MODE_SENSE_10, _) => data(cmd, |cmd, w| {
            let request = ModeSense::decode(cmd.raw_cdb()).ok_or(INVALID_FIELD_IN_CDB)?;
            let mut mode = disk.mode();
            mode.write_protected |= cmd.nexus().is_some_and(|nexus| nexus.read_only());
            mode.mode_sense(w, &request)
        }),
        (MODE_SELECT_6 | MODE_SELECT_10, _) => select_mode(unit, cmd),
        (READ_CAPACITY_10, _) => data(cmd, |_, w| {
            unit.check_size()?;
            disk.capacity().read_capacity_10(w);
            Ok(())
        }),
        (SERVICE_ACTION_IN_16, READ_CAPACITY_16) => data(cmd, |_, w| {
            unit.check_size()?;
            disk.capacity().read_capacity_16(w);
            Ok(())
        }),
        (MAINTENANCE_IN, TARGET_PORT_GROUPS) => cmd.report_target_port_groups(),
        (MAINTENANCE_OUT, TARGET_PORT_GROUPS) => cmd.set_target_port_groups(disk.expl_alua.get()),
        (MAINTENANCE_IN, REPORT_OPCODES) => report_opcodes(disk, cmd),
        (MAINTENANCE_IN, REPORT_TASK_MANAGEMENT) => data(cmd, |cmd, w| {
            let has = |f| cmd.nexus().is_some_and(|nexus| nexus.has_function(f));
            report_task_management(w, cmd.raw_cdb(), has);
            Ok(())
        }),
        (MAINTENANCE_IN, TIMESTAMP) => clock::report(disk, cmd),
        (MAINTENANCE_OUT, TIMESTAMP) => clock::set(disk, cmd),
        (COPY_OUT, _) => cmd.third_party_copy_out(),
        (COPY_IN, _) => cmd.third_party_copy_in(),
        (PERSISTENT_RESERVE_IN, _) => cmd.persistent_reserve_in(),
        (PERSISTENT_RESERVE_OUT, _) => cmd.persistent_reserve_out(),
        (RESERVE_6 | RESERVE_10, _) => cmd.reserve_unit(),
        (RELEASE_6 | RELEASE_10, _) => cmd.release_unit(),
        (SYNCHRONIZE_CACHE_10 | SYNCHRONIZE_CACHE_16, _) => synchronize(unit, cmd),
        (VERIFY_10 | VERIFY_12 | VERIFY_16, _) => writes::verify(unit, cmd),
        (VARIABLE_LENGTH, action) if disk.has_type2() => match action {
            READ_32 => unit.read(cmd),
            WRITE_32 => {
                let fua = cdb.fua();
                unit.write(cmd, fua);
            }
            VERIFY_32 => writes::verify(unit, cmd),
            WRITE_AND_VERIFY_32 => writes::write_and_verify(unit, cmd),
            _ => cmd.check_condition(INVALID_OPCODE),
        },
        (UNMAP, _) if disk.conf.handler != Handler::Cdrom => writes::unmap(unit, cmd),
        (WRITE_SAME_10 | WRITE_SAME_16, _) => writes::write_same(unit, cmd),
        (COMPARE_AND_WRITE, _) => writes::compare_and_write(unit, cmd),
        (ORWRITE_16, _) => writes::or_write(unit, cmd),
        (WRITE_ATOMIC_16, _) => writes::write_atomic(unit, cmd),
        (PRE_FETCH_10 | PRE_FETCH_16, _) => blocks::prefetch(unit, cmd),
        (SERVICE_ACTION_IN_16, GET_LBA_STATUS) => blocks::lba_status(unit, cmd),
        (READ_BUFFER_10, _) => buffers::read(disk, cmd),
        (WRITE_BUFFER, _) => buffers::write(disk, cmd),
        (WRITE_AND_VERIFY_10 | WRITE_AND_VERIFY_12 | WRITE_AND_VERIFY_16, _) => {
            writes::write_and_verify(unit, cmd)
        }
        (START_STOP_UNIT, _) => start_stop(cmd),
        (PREVENT_ALLOW, _) => {
            if let Some(nexus) = cmd.nexus() {
                nexus.prevent_removal(byte(&cmd, 4) & 1 != 0);
            }
            cmd.good();
        }
        // The self-test of a disk without moving parts succeeds.
        (SEND_DIAGNOSTIC, _) => cmd.good(),
        (FORMAT_UNIT, _) => format(unit, cmd),
        (LOG_SENSE, _) => data(cmd, |cmd, w| {
            let counted = disk.thresholds.there();
            let now = counted.then(|| unit.store.resources()).transpose();
            log_page::log_sense(w, cmd.raw_cdb(), now.map_err(|_| NOT_READY)?.flatten())
        }),
        // There is nothing to set in a log page.
        (LOG_SELECT, _) => cmd.check_condition(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5)),
        (op, _) if disk.conf.handler == Handler::Cdrom && cdrom::has(op) => {
            data(cmd, |cmd, w| cdrom::answer(disk, cmd.raw_cdb(), w))
        }
        _ => cmd.check_condition(INVALID_OPCODE),
    }
}

/// FORMAT UNIT, SBC-4 5.4: there is nothing to format but protection information,
/// of the type that the administrator has chosen.
fn format<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    let mut list = [0; 8];
    let len = cmd.get(&mut list);
    let asked = format_unit(cmd.raw_cdb(), list.get(..len).unwrap_or(&[]));
    let result = unit.check_ready().and(asked).and_then(|kind| {
        match kind == unit.disk.protection().map(|p| p.kind) {
            true => Ok(()),
            false => Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 7)),
        }
    });
    match result.map(|()| unit.store.format(&unit.disk)) {
        Ok(Ok(())) => cmd.good_with(len as u32),
        Ok(Err(e)) => crate::io::end(cmd, Err(e), 0, true),
        Err(sense) => cmd.check_condition(sense),
    }
}

fn byte(cmd: &Cmd<Executing>, at: usize) -> u8 {
    u8_at(cmd.raw_cdb(), at).unwrap_or(0)
}

/// Ends a command without data.
pub(crate) fn finish(cmd: Cmd<Executing>, result: Result<(), Sense>) {
    match result {
        Ok(()) => cmd.good(),
        Err(sense) => cmd.check_condition(sense),
    }
}

/// Answers with the parameter data that `write` makes.
pub(crate) fn data(
    mut cmd: Cmd<Executing>,
    write: impl FnOnce(&Cmd<Executing>, &mut Writer<'_>) -> Result<(), Sense>,
) {
    let mut buf = [0; SMALL];
    let mut w = Writer::new(&mut buf);
    match write(&cmd, &mut w) {
        Ok(()) => {
            cmd.put(w.as_bytes());
            cmd.good();
        }
        Err(sense) => cmd.check_condition(sense),
    }
}

fn answer_inquiry(disk: &Disk, cmd: &Cmd<Executing>, w: &mut Writer<'_>) -> Result<(), Sense> {
    // Byte 0 of all INQUIRY data: PERIPHERAL QUALIFIER 001b (supported, but not
    // connected), PERIPHERAL DEVICE TYPE 1Fh.
    const NOT_CONNECTED: u8 = 0x3f;

    let flags = byte(cmd, 1);
    if flags & 0x02 != 0 {
        // CMDDT, long obsolete.
        return Err(INVALID_FIELD_IN_CDB.in_cdb_bit(1, 1));
    }
    let block = match disk.conf.handler {
        Handler::Cdrom => None,
        _ => Some(BlockPages {
            limits: disk.limits(),
            rotation_rate: match disk.conf.rotational {
                true => ROTATING,
                false => NON_ROTATING,
            },
            provisioning: disk.provisioning(),
            copies: (disk.conf.handler != Handler::NullIo).then_some(disk.conf.block_shift),
        }),
    };
    let nexus = cmd.nexus();
    let versions = nexus.map_or([0, 0], |n| n.version_descriptors());
    let port = Port {
        relative_target_port: nexus.map_or(0, |n| n.relative_target_port()),
        target_port_group: nexus.and_then(|n| n.target_port_group()),
        tpgs: tpgs(disk, cmd),
        transport_versions: &versions,
    };
    disk.with_identity(|id| {
        inquiry::inquiry(w, flags & 1 != 0, byte(cmd, 2), id, &port, block.as_ref())
    })?;
    if disk.conf.dummy {
        w.patch_u8(0, NOT_CONNECTED);
    }
    if let Some(nexus) = nexus {
        nexus.answered(ua::Answered::Inquiry);
    }
    Ok(())
}

/// Whether initiators may set the states of target port groups.
fn explicit_alua(disk: &Disk, cmd: &Cmd<Executing>) -> bool {
    disk.expl_alua.get() && cmd.nexus().is_some_and(|n| n.has_target_port_groups())
}

/// TPGS of standard INQUIRY data (SPC-6 6.7.2): implicit, explicit or both. The
/// commands that tell more are not those of a CD-ROM.
fn tpgs(disk: &Disk, cmd: &Cmd<Executing>) -> u8 {
    const IMPLICIT: u8 = 1;
    const EXPLICIT: u8 = 2;

    let grouped = cmd.nexus().is_some_and(|n| n.has_target_port_groups());
    match (disk.conf.handler, grouped) {
        (Handler::Cdrom, _) | (_, false) => 0,
        _ if explicit_alua(disk, cmd) => IMPLICIT | EXPLICIT,
        _ => IMPLICIT,
    }
}

/// REPORT SUPPORTED OPERATION CODES: a long table, so it has its own memory.
fn report_opcodes(disk: &Disk, mut cmd: Cmd<Executing>) {
    const LARGE: usize = 4096;
    let Ok(mut buf) = KVec::from_elem(0u8, LARGE, GFP_KERNEL) else {
        return cmd.status(status::BUSY);
    };
    let mut w = Writer::new(&mut buf);
    let device = Commands {
        pdt: disk.pdt(),
        thin: disk.thin.get(),
        keeps_data: disk.conf.handler != Handler::NullIo,
        explicit_alua: explicit_alua(disk, &cmd),
        type2: disk.has_type2(),
        atomic: disk.atomic().is_some(),
    };
    let written = ReportOpcodes::decode(cmd.raw_cdb()).and_then(|r| r.write(&mut w, &device));
    match written {
        Ok(()) => {
            cmd.put(w.as_bytes());
            cmd.good();
        }
        Err(sense) => cmd.check_condition(sense),
    }
}

fn select_mode<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    let disk = &unit.disk;
    let mut list = [0; MODE_LIST];
    let len = cmd.get(&mut list);
    let list = list.get(..len).unwrap_or(&[]);
    let device = disk.mode();
    let change = ModeSelect::decode(cmd.raw_cdb()).and_then(|r| mode_select(list, r, &device));
    match change {
        Ok(change) => {
            if let (true, Some(nexus)) = (change.changes(&device), cmd.nexus()) {
                nexus.unit_attention_others(MODE_PARAMETERS_CHANGED);
            }
            let cache_off = device.current.wce && !change.values.wce;
            disk.set_mode(&change.values);
            if change.save {
                disk.save_mode(&change.values);
            }
            let reordered = change.values.control != device.current.control;
            if let (true, Some(nexus)) = (reordered, cmd.nexus()) {
                nexus.control_changed();
            }
            // What is in the cache was written with the promise of a later
            // SYNCHRONIZE CACHE, which need not come any more.
            if let (true, Err(e)) = (cache_off, unit.store.sync_now()) {
                return crate::io::end(cmd, Err(e), 0, true);
            }
            cmd.good_with(len as u32);
        }
        Err(sense) => cmd.check_condition(sense),
    }
}

fn synchronize<S: Store>(unit: &Unit<S>, cmd: Cmd<Executing>) {
    let cdb = cmd.cdb();
    match unit.extent(cdb) {
        Ok(_) if unit.disk.conf.nv_cache => cmd.good(),
        Ok(mut at) => {
            if cdb.blocks == 0 {
                at.len = unit.disk.size().saturating_sub(at.pos);
            }
            let immed = cdb.immed();
            unit.store.flush(&unit.disk, cmd, at, immed);
        }
        Err(sense) => cmd.check_condition(sense),
    }
}

/// START STOP UNIT: a virtual disk always runs; LOEJ takes the medium out of a
/// drive.
fn start_stop(cmd: Cmd<Executing>) {
    let eject = byte(&cmd, 4) & 0x03 == 0x02;
    let prevented = cmd.nexus().is_some_and(|n| n.removal_prevented());
    let result = match eject && prevented {
        true => Err(MEDIUM_REMOVAL_PREVENTED),
        false => Ok(()),
    };
    finish(cmd, result);
}
