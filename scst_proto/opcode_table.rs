// SPDX-License-Identifier: GPL-2.0

//! The table of operation codes, one row a command, sorted by operation code.
//!
//! Columns: operation code, service action, name, CDB length, command sets, direction, LBA field, length field, what
//! it counts, reservation class, flags, and the usage map of the remaining bytes as (offset, bits).
//!
//! Sources: SPC-6 clause 6, SBC-4 clause 5, MMC-6 clause 6. The usage maps of the supported commands are those that
//! SCST has always reported (`abi/tools/sg-scst-*.txt`).

use crate::opcode::Direction::{In, None as No, Out};
use crate::opcode::LengthRule::{self, *};
use crate::opcode::Reservation::{self, *};
use crate::opcode::{CommandSets, Direction, Field, Flags, OpRow};

const A: CommandSets = CommandSets::ALL;
const D: CommandSets = CommandSets::D;
const R: CommandSets = CommandSets::R;
const DR: CommandSets = CommandSets::DR;
/// Every type but CD/DVD, where MMC uses the operation code otherwise.
const DO: CommandSets = CommandSets::NOT_R;

const fn f(at: u8, width: u8) -> Field {
    Field { at, width }
}
/// No field.
const Z: Field = Field::NONE;

// Flag sets of the kinds of command. `S_` is: supported by this release.
const S: Flags = Flags::SUPPORTED;
const N: Flags = Flags::NONE;
const OBS: Flags = Flags::OBSOLETE;
/// Answers in the ALUA state standby.
const SB: Flags = Flags::STANDBY;
const S_SB: Flags = S.with(SB);
/// Answers in the ALUA state unavailable, thus in standby as well.
const UN: Flags = SB.with(Flags::UNAVAILABLE);
/// Answers in any state.
const ANY: Flags = UN.with(Flags::TRANSITION).with(Flags::LEGACY_RESERVED);
/// INQUIRY, REPORT LUNS, REQUEST SENSE.
const BASIC: Flags = S.with(ANY).with(Flags::SKIPS_UA).with(Flags::NO_LUN);
/// Needs the medium.
const M: Flags = Flags::NEEDS_MEDIUM;
const MT: Flags = M.with(Flags::MEDIUM_TIME);
const S_M: Flags = S.with(M);
const S_MT: Flags = S.with(MT);
/// Writes the medium.
const W: Flags = MT.with(Flags::WRITES);
const S_W: Flags = S.with(W);
/// FUA and DPO, and a protect field.
const C: Flags = Flags::CACHE_BITS.with(Flags::PROTECT);
const RD: Flags = MT.with(C);
const WR: Flags = W.with(C);
const S_RD: Flags = S.with(RD);
const S_WR: Flags = S.with(WR);
/// A protect field without the others.
const P: Flags = Flags::PROTECT;
/// Only where data stay.
const K: Flags = Flags::KEEPS_DATA;
/// RESERVE and RELEASE. What a persistent reservation means for them is decided where they are carried out.
const RES: Flags = S;

#[allow(clippy::too_many_arguments)]
const fn op(
    opcode: u8,
    service_action: Option<u16>,
    name: &'static str,
    cdb_len: u8,
    sets: CommandSets,
    direction: Direction,
    lba: Field,
    length: Field,
    rule: LengthRule,
    reservation: Reservation,
    flags: Flags,
    extra: &'static [(u8, u8)],
) -> OpRow {
    OpRow {
        opcode,
        service_action,
        name,
        cdb_len,
        sets,
        direction,
        lba,
        length,
        rule,
        reservation,
        flags,
        extra,
    }
}

/// The number of rows.
const COUNT: usize = 159;

/// The table.
#[rustfmt::skip]
pub(crate) static ROWS: [OpRow; COUNT] = [
    op(0x00, None, "TEST UNIT READY", 6, A, No, Z, Z, NoData, Allowed, S_M, &[]),
    op(0x01, None, "REZERO UNIT", 6, A, No, Z, Z, NoData, Conflict, OBS, &[]),
    op(0x03, None, "REQUEST SENSE", 6, A, In, Z, f(4, 1), Bytes, Allowed, BASIC, &[(1, 0x01)]),
    op(0x04, None, "FORMAT UNIT", 6, DR, Out, Z, Z, Transport, Conflict, S_W.with(Flags::LONG_TIME), &[(1, 0xf0)]),
    op(0x07, None, "REASSIGN BLOCKS", 6, D, Out, Z, Z, Transport, Conflict, W, &[(1, 0x03)]),
    op(0x08, None, "READ(6)", 6, DR, In, f(1, 3), f(4, 1), Blocks6, Reads, S_MT, &[]),
    op(0x0a, None, "WRITE(6)", 6, DR, Out, f(1, 3), f(4, 1), Blocks6, Conflict, S_W, &[]),
    op(0x0b, None, "SEEK(6)", 6, DR, No, f(1, 3), Z, NoData, Reads, OBS, &[]),
    op(0x12, None, "INQUIRY", 6, A, In, Z, f(3, 2), Bytes, Allowed, BASIC, &[(1, 0x01), (2, 0xff)]),
    op(0x15, None, "MODE SELECT(6)", 6, A, Out, Z, f(4, 1), Bytes, Conflict, S_SB, &[(1, 0x11)]),
    op(0x16, None, "RESERVE(6)", 6, A, No, Z, Z, NoData, Allowed, RES, &[]),
    op(0x17, None, "RELEASE(6)", 6, A, No, Z, Z, NoData, Allowed, RES.with(Flags::LEGACY_RESERVED), &[]),
    op(0x1a, None, "MODE SENSE(6)", 6, A, In, Z, f(4, 1), Bytes, Reads, S_SB, &[(1, 0x08), (2, 0xff), (3, 0xff)]),
    op(0x1b, None, "START STOP UNIT", 6, DR, No, Z, Z, NoData, ByCdb, S, &[(1, 0x01), (3, 0x0f), (4, 0xf7)]),
    op(0x1c, None, "RECEIVE DIAGNOSTIC RESULTS", 6, A, In, Z, f(3, 2), Bytes, Reads, SB, &[(1, 0x01), (2, 0xff)]),
    op(0x1d, None, "SEND DIAGNOSTIC", 6, A, Out, Z, f(3, 2), Bytes, Conflict, S_SB, &[(1, 0xf7)]),
    op(0x1e, None, "PREVENT ALLOW MEDIUM REMOVAL", 6, DR, No, Z, Z, NoData, ByCdb, S, &[(4, 0x03)]),
    op(0x23, None, "READ FORMAT CAPACITIES", 10, R, In, Z, f(7, 2), Bytes, Allowed, N, &[]),
    op(0x25, None, "READ CAPACITY(10)", 10, D, In, Z, Z, Fixed(8), Allowed, S_M.with(SB), &[]),
    op(0x25, None, "READ CAPACITY", 10, R, In, Z, Z, Fixed(8), Allowed, S_M.with(SB), &[]),
    op(0x28, None, "READ(10)", 10, DR, In, f(2, 4), f(7, 2), Blocks, Reads, S_RD, &[(1, 0xf8)]),
    op(0x2a, None, "WRITE(10)", 10, DR, Out, f(2, 4), f(7, 2), Blocks, Conflict, S_WR, &[(1, 0xfa)]),
    op(0x2b, None, "SEEK(10)", 10, DR, No, f(2, 4), Z, NoData, Reads, M, &[]),
    op(0x2e, None, "WRITE AND VERIFY(10)", 10, DR, Out, f(2, 4), f(7, 2), Blocks, Conflict, S_WR, &[(1, 0xf6)]),
    op(0x2f, None, "VERIFY(10)", 10, DR, Out, f(2, 4), f(7, 2), Verify, Reads, S_RD, &[(1, 0xf6)]),
    op(0x34, None, "PRE-FETCH(10)", 10, D, No, f(2, 4), f(7, 2), Range, Reads, S_MT, &[(1, 0x02)]),
    op(0x35, None, "SYNCHRONIZE CACHE(10)", 10, DR, No, f(2, 4), f(7, 2), Range, Conflict, S_MT, &[(1, 0x02)]),
    op(0x37, None, "READ DEFECT DATA(10)", 10, D, In, Z, f(7, 2), Bytes, Conflict, M, &[(2, 0x1f)]),
    op(0x3b, None, "WRITE BUFFER", 10, D, Out, Z, f(6, 3), Bytes, Conflict, S.with(UN), &[(1, 0x1f), (2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0x3c, None, "READ BUFFER(10)", 10, D, In, Z, f(6, 3), Bytes, Reads, S.with(UN), &[(1, 0x1f), (2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0x3e, None, "READ LONG(10)", 10, D, In, f(2, 4), f(7, 2), Bytes, Conflict, MT, &[(1, 0x06)]),
    op(0x3f, None, "WRITE LONG(10)", 10, D, Out, f(2, 4), f(7, 2), Bytes, Conflict, W, &[(1, 0xe0)]),
    op(0x41, None, "WRITE SAME(10)", 10, D, Out, f(2, 4), f(7, 2), WriteSame, Conflict, S_W.with(P).with(K), &[(1, 0xe8)]),
    op(0x42, None, "UNMAP", 10, D, Out, Z, f(7, 2), Bytes, Conflict, S_W.with(Flags::THIN), &[]),
    op(0x42, None, "READ SUB-CHANNEL", 10, R, In, Z, f(7, 2), Bytes, Allowed, M, &[(1, 0x02), (2, 0x40), (3, 0xff), (6, 0xff)]),
    op(0x43, None, "READ TOC/PMA/ATIP", 10, R, In, Z, f(7, 2), Bytes, Allowed, S_M, &[(1, 0x02), (2, 0x0f), (6, 0xff)]),
    op(0x44, None, "READ HEADER", 10, R, In, f(2, 4), f(7, 2), Bytes, Reads, OBS, &[(1, 0x02)]),
    op(0x46, None, "GET CONFIGURATION", 10, R, In, Z, f(7, 2), Bytes, Allowed, S.with(Flags::SKIPS_UA), &[(1, 0x03), (2, 0xff), (3, 0xff)]),
    op(0x48, Some(0x01), "SANITIZE, OVERWRITE", 10, D, Out, Z, f(7, 2), Bytes, Conflict, W, &[(1, 0xe0)]),
    op(0x48, Some(0x02), "SANITIZE, BLOCK ERASE", 10, D, No, Z, Z, NoData, Conflict, W, &[(1, 0xe0)]),
    op(0x48, Some(0x03), "SANITIZE, CRYPTOGRAPHIC ERASE", 10, D, No, Z, Z, NoData, Conflict, W, &[(1, 0xe0)]),
    op(0x48, Some(0x1f), "SANITIZE, EXIT FAILURE MODE", 10, D, No, Z, Z, NoData, Conflict, W, &[(1, 0xe0)]),
    op(0x4a, None, "GET EVENT STATUS NOTIFICATION", 10, R, In, Z, f(7, 2), Bytes, Allowed, S.with(Flags::SKIPS_UA), &[(1, 0x01), (4, 0xff)]),
    op(0x4c, None, "LOG SELECT", 10, A, Out, Z, f(7, 2), Bytes, Conflict, S_SB, &[(1, 0x03), (2, 0xff), (3, 0xff)]),
    op(0x4d, None, "LOG SENSE", 10, A, In, Z, f(7, 2), Bytes, Allowed, S_SB, &[(1, 0x01), (2, 0xff), (3, 0xff), (5, 0xff), (6, 0xff)]),
    op(0x50, None, "XDWRITE(10)", 10, D, Out, f(2, 4), f(7, 2), Blocks, Conflict, OBS.with(W), &[]),
    op(0x51, None, "XPWRITE(10)", 10, D, Out, f(2, 4), f(7, 2), Blocks, Conflict, WR, &[(1, 0xfa)]),
    op(0x51, None, "READ DISC INFORMATION", 10, R, In, Z, f(7, 2), Bytes, Allowed, S_M, &[(1, 0x07)]),
    op(0x52, None, "XDREAD(10)", 10, D, In, f(2, 4), f(7, 2), Blocks, Reads, OBS, &[]),
    op(0x52, None, "READ TRACK INFORMATION", 10, R, In, f(2, 4), f(7, 2), Bytes, Allowed, M, &[(1, 0x07)]),
    op(0x53, None, "XDWRITEREAD(10)", 10, D, Out, f(2, 4), f(7, 2), Blocks, Conflict, WR, &[(1, 0xfa)]),
    op(0x55, None, "MODE SELECT(10)", 10, A, Out, Z, f(7, 2), Bytes, Conflict, S_SB, &[(1, 0x11)]),
    op(0x56, None, "RESERVE(10)", 10, A, No, Z, Z, NoData, Allowed, RES, &[]),
    op(0x57, None, "RELEASE(10)", 10, A, No, Z, Z, NoData, Allowed, RES.with(Flags::LEGACY_RESERVED), &[]),
    op(0x5a, None, "MODE SENSE(10)", 10, A, In, Z, f(7, 2), Bytes, Reads, S_SB, &[(1, 0x18), (2, 0xff), (3, 0xff)]),
    op(0x5e, Some(0x00), "PERSISTENT RESERVE IN, READ KEYS", 10, A, In, Z, f(7, 2), Bytes, Allowed, S_SB, &[]),
    op(0x5e, Some(0x01), "PERSISTENT RESERVE IN, READ RESERVATION", 10, A, In, Z, f(7, 2), Bytes, Allowed, S_SB, &[]),
    op(0x5e, Some(0x02), "PERSISTENT RESERVE IN, REPORT CAPABILITIES", 10, A, In, Z, f(7, 2), Bytes, Allowed, S_SB, &[]),
    op(0x5e, Some(0x03), "PERSISTENT RESERVE IN, READ FULL STATUS", 10, A, In, Z, f(7, 2), Bytes, Allowed, S_SB, &[]),
    op(0x5f, Some(0x00), "PERSISTENT RESERVE OUT, REGISTER", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x01), "PERSISTENT RESERVE OUT, RESERVE", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x02), "PERSISTENT RESERVE OUT, RELEASE", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x03), "PERSISTENT RESERVE OUT, CLEAR", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x04), "PERSISTENT RESERVE OUT, PREEMPT", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x05), "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x06), "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x07), "PERSISTENT RESERVE OUT, REGISTER AND MOVE", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, S_SB, &[(2, 0xff)]),
    op(0x5f, Some(0x08), "PERSISTENT RESERVE OUT, REPLACE LOST RESERVATION", 10, A, Out, Z, f(5, 4), Bytes, PersistentReserveOut, SB, &[(2, 0xff)]),
    op(0x7f, Some(0x0003), "XDREAD(32)", 32, D, In, f(12, 8), f(28, 4), Blocks, Reads, OBS, &[]),
    op(0x7f, Some(0x0004), "XDWRITE(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, OBS.with(W), &[]),
    op(0x7f, Some(0x0006), "XPWRITE(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, WR, &[(6, 0x1f), (10, 0xfa)]),
    op(0x7f, Some(0x0007), "XDWRITEREAD(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, WR, &[(6, 0x1f), (10, 0xfa)]),
    op(0x7f, Some(0x0009), "READ(32)", 32, D, In, f(12, 8), f(28, 4), Blocks, Reads, S_RD, &[(6, 0x1f), (10, 0xf8), (20, 0xff), (21, 0xff), (22, 0xff), (23, 0xff), (24, 0xff), (25, 0xff), (26, 0xff), (27, 0xff)]),
    op(0x7f, Some(0x000a), "VERIFY(32)", 32, D, Out, f(12, 8), f(28, 4), Verify, Reads, S_RD, &[(6, 0x1f), (10, 0xf6), (20, 0xff), (21, 0xff), (22, 0xff), (23, 0xff), (24, 0xff), (25, 0xff), (26, 0xff), (27, 0xff)]),
    op(0x7f, Some(0x000b), "WRITE(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, S_WR, &[(6, 0x1f), (10, 0xf8), (20, 0xff), (21, 0xff), (22, 0xff), (23, 0xff), (24, 0xff), (25, 0xff), (26, 0xff), (27, 0xff)]),
    op(0x7f, Some(0x000c), "WRITE AND VERIFY(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, S_WR, &[(6, 0x1f), (10, 0xf6), (20, 0xff), (21, 0xff), (22, 0xff), (23, 0xff), (24, 0xff), (25, 0xff), (26, 0xff), (27, 0xff)]),
    op(0x7f, Some(0x000d), "WRITE SAME(32)", 32, D, Out, f(12, 8), f(28, 4), WriteSame, Conflict, W.with(P), &[(6, 0x1f), (10, 0xf9), (20, 0xff), (21, 0xff), (22, 0xff), (23, 0xff), (24, 0xff), (25, 0xff), (26, 0xff), (27, 0xff)]),
    op(0x7f, Some(0x000e), "ORWRITE(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, WR, &[(2, 0x07), (6, 0x1f), (10, 0xf8), (20, 0xff), (21, 0xff), (22, 0xff), (23, 0xff), (24, 0xff), (25, 0xff), (26, 0xff), (27, 0xff)]),
    op(0x7f, Some(0x000f), "WRITE ATOMIC(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, WR, &[(6, 0x1f), (10, 0xf8)]),
    op(0x7f, Some(0x0010), "WRITE STREAM(32)", 32, D, Out, f(12, 8), f(28, 4), Blocks, Conflict, WR, &[(4, 0xff), (5, 0xff), (6, 0x1f), (10, 0xf8)]),
    op(0x7f, Some(0x0011), "WRITE SCATTERED(32)", 32, D, Out, Z, f(28, 4), Blocks, Conflict, WR, &[(6, 0x1f), (10, 0xf8)]),
    op(0x7f, Some(0x0012), "GET LBA STATUS(32)", 32, D, In, f(12, 8), f(28, 4), Bytes, Reads, M, &[(10, 0x0f)]),
    op(0x83, Some(0x00), "EXTENDED COPY(LID1)", 16, D, Out, Z, f(10, 4), Bytes, Conflict, S_MT.with(K), &[]),
    op(0x83, Some(0x01), "EXTENDED COPY", 16, D, Out, Z, f(10, 4), Bytes, Conflict, S_MT.with(K), &[]),
    op(0x83, Some(0x10), "POPULATE TOKEN", 16, D, Out, Z, f(10, 4), Bytes, Reads, S_MT.with(K), &[(6, 0xff), (7, 0xff), (8, 0xff), (9, 0xff)]),
    op(0x83, Some(0x11), "WRITE USING TOKEN", 16, D, Out, Z, f(10, 4), Bytes, Conflict, S_W.with(K), &[(6, 0xff), (7, 0xff), (8, 0xff), (9, 0xff)]),
    op(0x83, Some(0x1c), "COPY OPERATION ABORT", 16, D, No, Z, Z, NoData, Allowed, S.with(K), &[(2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0x84, Some(0x00), "RECEIVE COPY STATUS(LID1)", 16, D, In, Z, f(10, 4), Bytes, Allowed, S.with(K), &[(2, 0xff)]),
    op(0x84, Some(0x01), "RECEIVE COPY DATA(LID1)", 16, D, In, Z, f(10, 4), Bytes, Allowed, N, &[(2, 0xff)]),
    op(0x84, Some(0x03), "RECEIVE COPY OPERATING PARAMETERS", 16, D, In, Z, f(10, 4), Bytes, Allowed, S.with(K), &[]),
    op(0x84, Some(0x04), "RECEIVE COPY FAILURE DETAILS(LID1)", 16, D, In, Z, f(10, 4), Bytes, Allowed, S.with(K), &[(2, 0xff)]),
    op(0x84, Some(0x05), "RECEIVE COPY STATUS", 16, D, In, Z, f(10, 4), Bytes, Allowed, S.with(K), &[(2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0x84, Some(0x07), "RECEIVE ROD TOKEN INFORMATION", 16, D, In, Z, f(10, 4), Bytes, Allowed, S.with(K), &[(2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0x84, Some(0x08), "REPORT ALL ROD TOKENS", 16, D, In, Z, f(10, 4), Bytes, Allowed, S.with(K), &[]),
    op(0x85, None, "ATA PASS-THROUGH(16)", 16, D, No, Z, Z, Transport, Conflict, N, &[]),
    op(0x86, None, "ACCESS CONTROL IN", 16, A, In, Z, f(10, 4), Bytes, Allowed, OBS, &[]),
    op(0x87, None, "ACCESS CONTROL OUT", 16, A, Out, Z, f(10, 4), Bytes, Allowed, OBS, &[]),
    op(0x88, None, "READ(16)", 16, D, In, f(2, 8), f(10, 4), Blocks, Reads, S_RD, &[(1, 0xf8)]),
    op(0x89, None, "COMPARE AND WRITE", 16, D, Out, f(2, 8), f(13, 1), CompareAndWrite, Conflict, S_WR.with(K), &[(1, 0xf8)]),
    op(0x8a, None, "WRITE(16)", 16, D, Out, f(2, 8), f(10, 4), Blocks, Conflict, S_WR, &[(1, 0xfa)]),
    op(0x8b, None, "ORWRITE(16)", 16, D, Out, f(2, 8), f(10, 4), Blocks, Conflict, S_WR.with(K), &[(1, 0xf8)]),
    op(0x8e, None, "WRITE AND VERIFY(16)", 16, D, Out, f(2, 8), f(10, 4), Blocks, Conflict, S_WR, &[(1, 0xf6)]),
    op(0x8f, None, "VERIFY(16)", 16, D, Out, f(2, 8), f(10, 4), Verify, Reads, S_RD, &[(1, 0xf6)]),
    op(0x90, None, "PRE-FETCH(16)", 16, D, No, f(2, 8), f(10, 4), Range, Reads, S_MT, &[(1, 0x02)]),
    op(0x91, None, "SYNCHRONIZE CACHE(16)", 16, D, No, f(2, 8), f(10, 4), Range, Conflict, S_MT, &[(1, 0x02)]),
    op(0x93, None, "WRITE SAME(16)", 16, D, Out, f(2, 8), f(10, 4), WriteSame, Conflict, S_W.with(P).with(K), &[(1, 0xe8)]),
    op(0x94, Some(0x01), "CLOSE ZONE", 16, D, No, f(2, 8), Z, NoData, Conflict, W, &[(14, 0x01)]),
    op(0x94, Some(0x02), "FINISH ZONE", 16, D, No, f(2, 8), Z, NoData, Conflict, W, &[(14, 0x01)]),
    op(0x94, Some(0x03), "OPEN ZONE", 16, D, No, f(2, 8), Z, NoData, Conflict, W, &[(14, 0x01)]),
    op(0x94, Some(0x04), "RESET WRITE POINTER", 16, D, No, f(2, 8), Z, NoData, Conflict, W, &[(14, 0x01)]),
    op(0x95, Some(0x00), "REPORT ZONES", 16, D, In, f(2, 8), f(10, 4), Bytes, Reads, M, &[(14, 0xbf)]),
    op(0x9a, None, "WRITE STREAM(16)", 16, D, Out, f(2, 8), f(12, 2), Blocks, Conflict, WR, &[(1, 0xf8), (10, 0xff), (11, 0xff)]),
    op(0x9b, None, "READ BUFFER(16)", 16, A, In, Z, f(10, 4), Bytes, Reads, UN, &[(1, 0xff), (14, 0xff)]),
    op(0x9c, None, "WRITE ATOMIC(16)", 16, D, Out, f(2, 8), f(12, 2), Blocks, Conflict, S_WR, &[(1, 0xf8), (10, 0xff), (11, 0xff)]),
    op(0x9d, Some(0x0c), "WRITE SCATTERED(16)", 16, D, Out, Z, f(10, 4), Blocks, Conflict, WR, &[(2, 0xf8)]),
    op(0x9e, Some(0x10), "READ CAPACITY(16)", 16, D, In, Z, f(10, 4), Bytes, Allowed, S_M.with(SB), &[]),
    op(0x9e, Some(0x11), "READ LONG(16)", 16, D, In, f(2, 8), f(12, 2), Bytes, Conflict, MT, &[(14, 0x03)]),
    op(0x9e, Some(0x12), "GET LBA STATUS(16)", 16, D, In, f(2, 8), f(10, 4), Bytes, Reads, S_M, &[(14, 0x0f)]),
    op(0x9e, Some(0x13), "REPORT REFERRALS", 16, D, In, f(2, 8), f(10, 4), Bytes, Allowed, M, &[(14, 0x01)]),
    op(0x9e, Some(0x14), "STREAM CONTROL", 16, D, In, Z, f(10, 4), Bytes, Conflict, M, &[(1, 0x60), (4, 0xff), (5, 0xff)]),
    op(0x9e, Some(0x15), "BACKGROUND CONTROL", 16, D, No, Z, Z, NoData, Conflict, M, &[(2, 0xc0), (3, 0xff)]),
    op(0x9e, Some(0x16), "GET STREAM STATUS", 16, D, In, Z, f(10, 4), Bytes, Allowed, M, &[(4, 0xff), (5, 0xff)]),
    op(0x9e, Some(0x17), "GET PHYSICAL ELEMENT STATUS", 16, D, In, Z, f(10, 4), Bytes, Allowed, M, &[(14, 0xcf)]),
    op(0x9f, Some(0x11), "WRITE LONG(16)", 16, D, Out, f(2, 8), f(12, 2), Bytes, Conflict, W, &[(1, 0xe0)]),
    op(0xa0, None, "REPORT LUNS", 12, A, In, Z, f(6, 4), Bytes, Allowed, BASIC, &[(2, 0xff)]),
    op(0xa1, None, "ATA PASS-THROUGH(12)", 12, D, No, Z, Z, Transport, Conflict, N, &[]),
    op(0xa1, None, "BLANK", 12, R, No, f(2, 4), Z, NoData, Conflict, W, &[(1, 0x17)]),
    op(0xa2, None, "SECURITY PROTOCOL IN", 12, A, In, Z, f(6, 4), Bytes, Conflict, N, &[(1, 0xff), (2, 0xff), (3, 0xff), (4, 0x80)]),
    op(0xa3, Some(0x05), "REPORT IDENTIFYING INFORMATION", 12, DO, In, Z, f(6, 4), Bytes, Allowed, N, &[(10, 0xfe)]),
    op(0xa3, Some(0x0a), "REPORT TARGET PORT GROUPS", 12, DO, In, Z, f(6, 4), Bytes, Allowed, S.with(ANY), &[(1, 0xe0)]),
    op(0xa3, Some(0x0b), "REPORT ALIASES", 12, DO, In, Z, f(6, 4), Bytes, Allowed, N, &[]),
    op(0xa3, Some(0x0c), "REPORT SUPPORTED OPERATION CODES", 12, DO, In, Z, f(6, 4), Bytes, Reads, S_SB, &[(2, 0x87), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0xa3, Some(0x0d), "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 12, DO, In, Z, f(6, 4), Bytes, Reads, S_SB, &[(2, 0x80)]),
    op(0xa3, Some(0x0e), "REPORT PRIORITY", 12, DO, In, Z, f(6, 4), Bytes, Allowed, N, &[(2, 0xc0)]),
    op(0xa3, Some(0x0f), "REPORT TIMESTAMP", 12, DO, In, Z, f(6, 4), Bytes, Allowed, S, &[]),
    op(0xa3, Some(0x10), "MANAGEMENT PROTOCOL IN", 12, DO, In, Z, f(6, 4), Bytes, Conflict, N, &[(2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0xa3, None, "SEND KEY", 12, R, Out, Z, f(8, 2), Bytes, Allowed, N, &[(7, 0xff), (10, 0xff)]),
    op(0xa4, Some(0x06), "SET IDENTIFYING INFORMATION", 12, DO, Out, Z, f(6, 4), Bytes, Conflict, N, &[(10, 0xfe)]),
    op(0xa4, Some(0x0a), "SET TARGET PORT GROUPS", 12, DO, Out, Z, f(6, 4), Bytes, Conflict, S.with(UN), &[]),
    op(0xa4, Some(0x0b), "CHANGE ALIASES", 12, DO, Out, Z, f(6, 4), Bytes, Allowed, N, &[]),
    op(0xa4, Some(0x0e), "SET PRIORITY", 12, DO, Out, Z, f(6, 4), Bytes, Conflict, N, &[(2, 0xc0)]),
    op(0xa4, Some(0x0f), "SET TIMESTAMP", 12, DO, Out, Z, f(6, 4), Bytes, Conflict, S, &[]),
    op(0xa4, Some(0x10), "MANAGEMENT PROTOCOL OUT", 12, DO, Out, Z, f(6, 4), Bytes, Conflict, N, &[(2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0xa4, None, "REPORT KEY", 12, R, In, Z, f(8, 2), Bytes, Allowed, N, &[(7, 0xff), (10, 0xff)]),
    op(0xa8, None, "READ(12)", 12, DR, In, f(2, 4), f(6, 4), Blocks, Reads, S_RD, &[(1, 0xf8)]),
    op(0xaa, None, "WRITE(12)", 12, DR, Out, f(2, 4), f(6, 4), Blocks, Conflict, S_WR, &[(1, 0xfa)]),
    op(0xab, Some(0x01), "READ MEDIA SERIAL NUMBER", 12, A, In, Z, f(6, 4), Bytes, Allowed, N, &[]),
    op(0xac, None, "GET PERFORMANCE", 12, R, In, Z, Z, Transport, Allowed, N, &[(1, 0x1f), (10, 0xff)]),
    op(0xad, None, "READ DISC STRUCTURE", 12, R, In, Z, f(8, 2), Bytes, Allowed, M, &[(7, 0xff)]),
    op(0xae, None, "WRITE AND VERIFY(12)", 12, D, Out, f(2, 4), f(6, 4), Blocks, Conflict, S_WR, &[(1, 0xf6)]),
    op(0xaf, None, "VERIFY(12)", 12, D, Out, f(2, 4), f(6, 4), Verify, Reads, S_RD, &[(1, 0xf6)]),
    op(0xb5, None, "SECURITY PROTOCOL OUT", 12, A, Out, Z, f(6, 4), Bytes, Conflict, N, &[(1, 0xff), (2, 0xff), (3, 0xff), (4, 0x80)]),
    op(0xb6, None, "SET STREAMING", 12, R, Out, Z, f(9, 2), Bytes, Conflict, N, &[(8, 0xff)]),
    op(0xb7, None, "READ DEFECT DATA(12)", 12, D, In, Z, f(6, 4), Bytes, Conflict, M, &[(1, 0x1f)]),
    op(0xb9, None, "READ CD MSF", 12, R, In, Z, Z, Transport, Reads, M, &[(1, 0x1f), (9, 0xff)]),
    op(0xbb, None, "SET CD SPEED", 12, R, No, Z, Z, NoData, Conflict, N, &[(2, 0xff), (3, 0xff), (4, 0xff), (5, 0xff)]),
    op(0xbd, None, "MECHANISM STATUS", 12, R, In, Z, f(8, 2), Bytes, Allowed, N, &[]),
    op(0xbe, None, "READ CD", 12, R, In, f(2, 4), f(6, 3), Transport, Reads, M, &[(1, 0x1f), (9, 0xff), (10, 0x07)]),
    op(0xbf, None, "SEND DISC STRUCTURE", 12, R, Out, Z, f(8, 2), Bytes, Conflict, N, &[(7, 0xff)]),
];

/// The rows of each operation code. Made by the compiler; a table out of order does not compile.
pub(crate) static BY_OPCODE: [&[OpRow]; 256] = {
    let mut index: [&[OpRow]; 256] = [&[]; 256];
    let mut rest: &[OpRow] = &ROWS;
    while let [first, ..] = rest {
        let mut n = 0;
        while n < rest.len() && rest[n].opcode == first.opcode {
            n += 1;
        }
        let (rows, after) = rest.split_at(n);
        let slot = first.opcode as usize;
        assert!(
            index[slot].is_empty(),
            "rows of one operation code must stand together"
        );
        index[slot] = rows;
        rest = after;
    }
    index
};
