// SPDX-License-Identifier: GPL-2.0

//! Residual counts, computed once for every transport (SAM-6 5.1; SRP-2 6.7; FCP-5 9.5.8; iSCSI RFC 7143 11.4.5).

/// What was left over, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Residual {
    /// Exactly what the initiator expected.
    #[default]
    None,
    /// So much less than the initiator's buffer.
    Underflow(u32),
    /// So much more than the initiator's buffer would have held.
    Overflow(u32),
}

impl Residual {
    /// Compares what the initiator's buffer holds with what the command came to.
    ///
    /// - `by_cdb`: what the CDB asks for, if it tells; for ALLOCATION LENGTH the length of the data if that is less.
    /// - `by_transport`: the initiator's buffer (the transport's data length).
    /// - `transferred`: what went over the wire; never more than `by_transport`.
    ///
    /// A CDB that asks for more than the buffer holds is an overflow by the difference, provided that the buffer was
    /// filled: a command that failed half-way has an underflow.
    pub fn compute(by_cdb: Option<u64>, by_transport: u64, transferred: u64) -> Self {
        let wanted = by_cdb.unwrap_or(transferred);
        if wanted > by_transport && transferred >= by_transport {
            Self::Overflow(clamp(wanted.saturating_sub(by_transport)))
        } else if transferred < by_transport {
            Self::Underflow(clamp(by_transport.saturating_sub(transferred)))
        } else {
            Self::None
        }
    }

    /// The count, negative for an overflow: the kernel's `resid` of a local SCSI host takes it as it is.
    pub fn signed(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Underflow(n) => i64::from(n),
            Self::Overflow(n) => 0i64.saturating_sub(i64::from(n)),
        }
    }
}

/// The wire has 32 bits.
fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
