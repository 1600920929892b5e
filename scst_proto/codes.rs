// SPDX-License-Identifier: GPL-2.0

//! The senses that this target returns, named as in SPC-6 annex F (additional sense codes).

use crate::sense::{Sense, SenseKey};

macro_rules! senses {
    ($($(#[$doc:meta])* $name:ident = $key:ident $asc:literal $ascq:literal;)*) => {
        $($(#[$doc])* pub const $name: Sense = Sense::new(SenseKey::$key, $asc, $ascq);)*
    };
}

senses! {
    /// Nothing to report.
    NO_SENSE = NoSense 0x00 0x00;

    /// LOGICAL UNIT COMMUNICATION FAILURE.
    LOGICAL_UNIT_COMMUNICATION_FAILURE = AbortedCommand 0x08 0x00;

    // NOT READY.
    /// LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE.
    NOT_READY = NotReady 0x04 0x00;
    /// LOGICAL UNIT IS IN PROCESS OF BECOMING READY.
    BECOMING_READY = NotReady 0x04 0x01;
    /// LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED (stopped by START STOP UNIT).
    INITIALIZING_COMMAND_REQUIRED = NotReady 0x04 0x02;
    /// LOGICAL UNIT NOT READY, FORMAT IN PROGRESS.
    FORMAT_IN_PROGRESS = NotReady 0x04 0x04;
    /// LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION.
    ALUA_TRANSITION = NotReady 0x04 0x0a;
    /// LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN STANDBY STATE.
    ALUA_STANDBY = NotReady 0x04 0x0b;
    /// LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE.
    ALUA_UNAVAILABLE = NotReady 0x04 0x0c;
    /// LOGICAL UNIT NOT READY, OFFLINE (the ALUA state offline answers `ALUA_UNAVAILABLE`, as SCST always did).
    OFFLINE = NotReady 0x04 0x12;
    /// MEDIUM NOT PRESENT.
    NO_MEDIUM = NotReady 0x3a 0x00;

    // MEDIUM ERROR, HARDWARE ERROR.
    /// WRITE ERROR on the medium.
    WRITE_ERROR = MediumError 0x0c 0x00;
    /// UNRECOVERED READ ERROR on the medium.
    READ_ERROR = MediumError 0x11 0x00;
    /// INTERNAL TARGET FAILURE.
    INTERNAL_TARGET_FAILURE = HardwareError 0x44 0x00;

    // ILLEGAL REQUEST.
    /// PARAMETER LIST LENGTH ERROR.
    PARAMETER_LIST_LENGTH_ERROR = IllegalRequest 0x1a 0x00;
    /// OPERATION IN PROGRESS: a copy operation with that list identifier.
    OPERATION_IN_PROGRESS = IllegalRequest 0x00 0x16;
    /// INVALID COMMAND OPERATION CODE.
    INVALID_OPCODE = IllegalRequest 0x20 0x00;
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE.
    LBA_OUT_OF_RANGE = IllegalRequest 0x21 0x00;
    /// UNSUPPORTED TOKEN TYPE.
    UNSUPPORTED_TOKEN_TYPE = IllegalRequest 0x23 0x01;
    /// TOKEN UNKNOWN.
    TOKEN_UNKNOWN = IllegalRequest 0x23 0x04;
    /// TOKEN CORRUPT.
    TOKEN_CORRUPT = IllegalRequest 0x23 0x05;
    /// TOKEN REVOKED: the blocks that it stood for have changed.
    TOKEN_REVOKED = IllegalRequest 0x23 0x06;
    /// TOKEN EXPIRED.
    TOKEN_EXPIRED = IllegalRequest 0x23 0x07;
    /// TOKEN DELETED.
    TOKEN_DELETED = IllegalRequest 0x23 0x09;
    /// INVALID TOKEN LENGTH.
    INVALID_TOKEN_LENGTH = IllegalRequest 0x23 0x0a;
    /// INVALID FIELD IN CDB.
    INVALID_FIELD_IN_CDB = IllegalRequest 0x24 0x00;
    /// LOGICAL UNIT NOT SUPPORTED.
    LUN_NOT_SUPPORTED = IllegalRequest 0x25 0x00;
    /// INVALID FIELD IN PARAMETER LIST.
    INVALID_FIELD_IN_PARAMETER_LIST = IllegalRequest 0x26 0x00;
    /// PARAMETER VALUE INVALID.
    PARAMETER_VALUE_INVALID = IllegalRequest 0x26 0x02;
    /// INVALID RELEASE OF PERSISTENT RESERVATION.
    INVALID_RELEASE = IllegalRequest 0x26 0x04;
    /// TOO MANY TARGET DESCRIPTORS.
    TOO_MANY_TARGET_DESCRIPTORS = IllegalRequest 0x26 0x06;
    /// UNSUPPORTED TARGET DESCRIPTOR TYPE CODE.
    UNSUPPORTED_TARGET_DESCRIPTOR = IllegalRequest 0x26 0x07;
    /// TOO MANY SEGMENT DESCRIPTORS.
    TOO_MANY_SEGMENT_DESCRIPTORS = IllegalRequest 0x26 0x08;
    /// UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE.
    UNSUPPORTED_SEGMENT_DESCRIPTOR = IllegalRequest 0x26 0x09;
    /// INLINE DATA LENGTH EXCEEDED.
    INLINE_DATA_LENGTH_EXCEEDED = IllegalRequest 0x26 0x0b;
    /// COMMAND SEQUENCE ERROR: what has to come before the command did not.
    COMMAND_SEQUENCE_ERROR = IllegalRequest 0x2c 0x00;
    /// SAVING PARAMETERS NOT SUPPORTED.
    SAVING_NOT_SUPPORTED = IllegalRequest 0x39 0x00;
    /// INVALID MESSAGE ERROR: what the transport says of the command does not fit the CDB.
    INVALID_MESSAGE = IllegalRequest 0x49 0x00;
    /// ILLEGAL MODE FOR THIS TRACK (a data command on an audio track).
    ILLEGAL_MODE_FOR_TRACK = IllegalRequest 0x64 0x00;
    /// MEDIUM REMOVAL PREVENTED.
    MEDIUM_REMOVAL_PREVENTED = IllegalRequest 0x53 0x02;
    /// INSUFFICIENT RESOURCES TO CREATE ROD TOKEN.
    INSUFFICIENT_RESOURCES_FOR_TOKEN = IllegalRequest 0x55 0x0d;
    /// INSUFFICIENT REGISTRATION RESOURCES.
    INSUFFICIENT_REGISTRATION_RESOURCES = IllegalRequest 0x55 0x04;
    /// SET TARGET PORT GROUPS COMMAND FAILED.
    SET_TARGET_PORT_GROUPS_FAILED = HardwareError 0x67 0x0a;

    // DATA PROTECT.
    /// WRITE PROTECTED.
    WRITE_PROTECTED = DataProtect 0x27 0x00;
    /// SPACE ALLOCATION FAILED WRITE PROTECT (a thin disk has no room).
    SPACE_ALLOCATION_FAILED = DataProtect 0x27 0x07;

    // ABORTED COMMAND, MISCOMPARE, COPY ABORTED.
    /// No additional sense: try again.
    ABORTED = AbortedCommand 0x00 0x00;
    /// LOGICAL BLOCK GUARD CHECK FAILED.
    GUARD_CHECK_FAILED = AbortedCommand 0x10 0x01;
    /// LOGICAL BLOCK APPLICATION TAG CHECK FAILED.
    APP_TAG_CHECK_FAILED = AbortedCommand 0x10 0x02;
    /// LOGICAL BLOCK REFERENCE TAG CHECK FAILED.
    REF_TAG_CHECK_FAILED = AbortedCommand 0x10 0x03;
    /// INFORMATION UNIT TOO SHORT: the transport delivered less data than it had announced.
    INFORMATION_UNIT_TOO_SHORT = AbortedCommand 0x0e 0x01;
    /// DATA PHASE ERROR: the transfer between initiator and target failed.
    DATA_PHASE_ERROR = AbortedCommand 0x4b 0x00;
    /// OVERLAPPED COMMANDS ATTEMPTED (a tag in use).
    OVERLAPPED_COMMANDS = AbortedCommand 0x4e 0x00;
    /// COMMAND TIMEOUT DURING PROCESSING DUE TO ERROR RECOVERY: the backing store did not answer.
    COMMAND_TIMEOUT = AbortedCommand 0x2e 0x02;
    /// MISCOMPARE DURING VERIFY OPERATION.
    MISCOMPARE = Miscompare 0x1d 0x00;
    /// COPY TARGET DEVICE NOT REACHABLE.
    COPY_TARGET_NOT_REACHABLE = CopyAborted 0x0d 0x02;
    /// THIRD PARTY DEVICE FAILURE.
    THIRD_PARTY_DEVICE_FAILURE = CopyAborted 0x0d 0x01;
    /// INCORRECT COPY TARGET DEVICE TYPE.
    INCORRECT_COPY_TARGET_TYPE = CopyAborted 0x0d 0x03;
    /// No additional sense: the blocks of a segment are not there.
    COPY_ABORTED = CopyAborted 0x00 0x00;
    /// UNREACHABLE COPY TARGET: there is no such descriptor.
    UNREACHABLE_COPY_TARGET = CopyAborted 0x08 0x04;
    /// UNEXPECTED INEXACT SEGMENT: no whole blocks of the destination.
    INEXACT_SEGMENT = CopyAborted 0x26 0x0a;

    // UNIT ATTENTION.
    /// NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED.
    MEDIUM_CHANGED = UnitAttention 0x28 0x00;
    /// POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
    POWER_ON_OR_RESET = UnitAttention 0x29 0x00;
    /// POWER ON OCCURRED.
    POWER_ON_OCCURRED = UnitAttention 0x29 0x01;
    /// SCSI BUS RESET OCCURRED.
    BUS_RESET_OCCURRED = UnitAttention 0x29 0x02;
    /// BUS DEVICE RESET FUNCTION OCCURRED.
    DEVICE_RESET_OCCURRED = UnitAttention 0x29 0x03;
    /// I_T NEXUS LOSS OCCURRED.
    NEXUS_LOSS_OCCURRED = UnitAttention 0x29 0x07;
    /// MODE PARAMETERS CHANGED.
    MODE_PARAMETERS_CHANGED = UnitAttention 0x2a 0x01;
    /// RESERVATIONS PREEMPTED.
    RESERVATIONS_PREEMPTED = UnitAttention 0x2a 0x03;
    /// RESERVATIONS RELEASED.
    RESERVATIONS_RELEASED = UnitAttention 0x2a 0x04;
    /// REGISTRATIONS PREEMPTED.
    REGISTRATIONS_PREEMPTED = UnitAttention 0x2a 0x05;
    /// ASYMMETRIC ACCESS STATE CHANGED.
    ASYMMETRIC_ACCESS_STATE_CHANGED = UnitAttention 0x2a 0x06;
    /// CAPACITY DATA HAS CHANGED.
    CAPACITY_DATA_HAS_CHANGED = UnitAttention 0x2a 0x09;
    /// TIMESTAMP CHANGED.
    TIMESTAMP_CHANGED = UnitAttention 0x2a 0x10;
    /// COMMANDS CLEARED BY ANOTHER INITIATOR.
    COMMANDS_CLEARED = UnitAttention 0x2f 0x00;
    /// THIN PROVISIONING SOFT THRESHOLD REACHED.
    THIN_SOFT_THRESHOLD = UnitAttention 0x38 0x07;
    /// INQUIRY DATA HAS CHANGED.
    INQUIRY_DATA_HAS_CHANGED = UnitAttention 0x3f 0x03;
    /// REPORTED LUNS DATA HAS CHANGED.
    REPORTED_LUNS_DATA_HAS_CHANGED = UnitAttention 0x3f 0x0e;
}
