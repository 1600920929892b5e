// SPDX-License-Identifier: GPL-2.0

//! The events that daemons read from `/dev/scst_event`: their bytes, and which a daemon wants.
//!
//! `struct scst_event` of SCST's `scst_event.h`, in the machine's byte order: the length of the payload, the event's
//! code and number, the issuer's name, and the payload from [`PAYLOAD`] on. In front of it, where the kernel fills it in,
//! is the room that the daemon has for it (`struct scst_event_user`). Strings end in NUL.

use crate::bytes::copy;

/// Where the payload begins.
pub const PAYLOAD: usize = 62;
/// `sizeof(struct scst_event)`: what is copied of an event beside its payload.
pub const SIZE: usize = 64;
/// The most that the payload of a daemon's filter may have.
pub const MAX_FILTER: usize = 3 * 1024;
/// Events that may wait for one daemon, and filters that one may have.
pub const MAX_EVENTS: usize = 2048;
/// Who issues the core's events.
pub const CORE: &str = "SCST core";

/// `struct scst_event_user`: where its event begins.
pub const USER_EVENT: usize = 4;

/// Commands of `ioctl()` (`_IOW` and `_IOWR` of `'u'`).
pub mod ioctl {
    /// Events of this filter are wanted.
    pub const ALLOW: u32 = 0x4040_7501;
    /// Those that the filter names are wanted no more.
    pub const DISALLOW: u32 = 0x4040_7502;
    /// The next event.
    pub const NEXT: u32 = 0xc044_7503;
    /// What was asked is done: number and status, 32 bits each.
    pub const DONE: u32 = 0x4008_7504;
}

/// Codes of the core's events.
pub mod code {
    /// A command to a LUN that the initiator does not see.
    pub const LUN_NOT_FOUND: u32 = 1;
    /// A device is blocked: `block` was written to with 11, and no command is executed any more.
    pub const BLOCKED: u32 = 3;
    /// A task management function was received.
    pub const TM_RECEIVED: u32 = 4;
    /// SET TARGET PORT GROUPS: somebody has to change the states and say when that is done.
    pub const STPG: u32 = 5;
    /// A virtual device was added.
    pub const REGISTERED: u32 = 6;
}

mod field {
    pub(super) const LENGTH: usize = 0;
    pub(super) const CODE: usize = 4;
    pub(super) const ID: usize = 8;
    pub(super) const ISSUER: usize = 12;
    pub(super) const ISSUER_LEN: usize = 50;
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(to) = bytes.get_mut(at..) {
        copy(to, what);
    }
}

/// Copies `text` into `to` with a NUL behind it; false if it does not fit, and is cut.
fn name(to: &mut [u8], text: &str) -> bool {
    let Some(room) = to.len().checked_sub(1) else {
        return false;
    };
    let text = text.as_bytes();
    copy(to.get_mut(..room).unwrap_or(&mut []), text) == text.len()
}

/// A look at the bytes of an event or of a filter.
#[derive(Clone, Copy)]
pub struct Event<'a>(&'a [u8]);

impl<'a> Event<'a> {
    /// `None` if there are fewer bytes than an event has.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let length = usize::try_from(word(bytes, field::LENGTH)?).ok()?;
        let whole = SIZE.checked_add(length)? <= bytes.len();
        whole.then_some(Self(bytes))
    }

    /// What happened.
    pub fn code(self) -> u32 {
        word(self.0, field::CODE).unwrap_or(0)
    }

    /// The number to name it by; 0 for one that nobody waits for.
    pub fn id(self) -> u32 {
        word(self.0, field::ID).unwrap_or(0)
    }

    /// Name of the module that says so, up to its NUL.
    pub fn issuer(self) -> &'a [u8] {
        let whole = self.0.get(field::ISSUER..field::ISSUER + field::ISSUER_LEN);
        let whole = whole.unwrap_or(&[]);
        whole.split(|b| *b == 0).next().unwrap_or(&[])
    }

    /// The payload.
    pub fn payload(self) -> &'a [u8] {
        let length = word(self.0, field::LENGTH).unwrap_or(0) as usize;
        let rest = self.0.get(PAYLOAD..).unwrap_or(&[]);
        rest.get(..length).unwrap_or(rest)
    }

    /// Whether this, a filter, names `event`: code 0 is any, the issuer `*` is any, and no payload is any.
    pub fn names(self, event: Event<'_>) -> bool {
        (self.code() == 0 || self.code() == event.code())
            && (self.issuer() == b"*" || self.issuer() == event.issuer())
            && (self.payload().is_empty() || self.payload() == event.payload())
    }
}

/// The length of a daemon's filter with this first word, which is the length of its payload; `None` if that is too
/// large.
pub fn filter_len(payload: u32) -> Option<usize> {
    let payload = usize::try_from(payload).ok()?;
    (payload <= MAX_FILTER).then_some(SIZE + payload)
}

/// Length of an event with a payload of `payload` bytes.
pub const fn event_len(payload: usize) -> usize {
    SIZE.saturating_add(payload)
}

/// Begins an event of the core in `out`, zeroed bytes of [`event_len`]; returns where the payload goes.
pub fn begin(out: &mut [u8], code: u32, id: u32) -> &mut [u8] {
    let payload = out.len().saturating_sub(SIZE);
    let length = u32::try_from(payload).unwrap_or(0);
    put(out, field::LENGTH, &length.to_ne_bytes());
    put(out, field::CODE, &code.to_ne_bytes());
    put(out, field::ID, &id.to_ne_bytes());
    put(out, field::ISSUER, CORE.as_bytes());
    let rest = out.get_mut(PAYLOAD..).unwrap_or(&mut []);
    rest.get_mut(..payload).unwrap_or(&mut [])
}

/// Length of the longest name that other payloads than [`stpg`] have.
const NAME: usize = 256;

/// [`code::LUN_NOT_FOUND`].
pub mod lun_not_found {
    use super::{name, put, NAME};

    /// Length of the payload.
    pub const LEN: usize = 8 + 2 * NAME;

    /// Fills in a payload; names are cut where they are too long.
    pub fn write(payload: &mut [u8], lun: u64, initiator: &str, target: &str) {
        put(payload, 0, &lun.to_ne_bytes());
        for (at, text) in [(8, initiator), (8 + NAME, target)] {
            name(payload.get_mut(at..at + NAME).unwrap_or(&mut []), text);
        }
    }
}

/// [`code::TM_RECEIVED`].
pub mod tm_received {
    use super::{name, put, NAME};

    /// SCST's numbers of the functions.
    pub mod function {
        /// ABORT TASK.
        pub const ABORT_TASK: u32 = 0;
        /// ABORT TASK SET.
        pub const ABORT_TASK_SET: u32 = 1;
        /// CLEAR ACA.
        pub const CLEAR_ACA: u32 = 2;
        /// CLEAR TASK SET.
        pub const CLEAR_TASK_SET: u32 = 3;
        /// LOGICAL UNIT RESET.
        pub const LUN_RESET: u32 = 4;
        /// Reset of the target.
        pub const TARGET_RESET: u32 = 5;
        /// Loss of the I_T nexus.
        pub const NEXUS_LOSS: u32 = 6;
    }

    const TAG: usize = 16 + 4 * NAME;
    /// Length of the payload.
    pub const LEN: usize = TAG + 8 + 16;

    /// What was received.
    pub struct Function<'a> {
        /// The function, as SCST numbers them.
        pub function: u32,
        /// The LUN that it is for.
        pub lun: u64,
        /// The device there, if there is one.
        pub device: &'a str,
        /// Names of the ports.
        pub initiator: &'a str,
        /// See [`Function::initiator`].
        pub target: &'a str,
        /// Name of the session's directory.
        pub session: &'a str,
        /// Tag of the command that ABORT TASK is for.
        pub tag: u64,
    }

    impl Function<'_> {
        /// Fills in a payload; names are cut where they are too long.
        pub fn write(&self, payload: &mut [u8]) {
            put(payload, 0, &self.function.to_ne_bytes());
            put(payload, 8, &self.lun.to_ne_bytes());
            let names = [self.device, self.initiator, self.target, self.session];
            for (n, text) in names.iter().enumerate() {
                let field = payload.get_mut(16 + n * NAME..).unwrap_or(&mut []);
                name(field.get_mut(..NAME).unwrap_or(&mut []), text);
            }
            put(payload, TAG, &self.tag.to_ne_bytes());
        }
    }
}

/// [`code::BLOCKED`].
pub mod blocked {
    use super::{name, put, NAME};

    /// The longest text that an administrator's words are told of.
    pub const MAX_WORDS: usize = 1024;

    /// Length of the payload with these words.
    pub fn len(words: &str) -> usize {
        NAME + 4 + words.len().min(MAX_WORDS)
    }

    /// Fills in a payload.
    pub fn write(payload: &mut [u8], device: &str, words: &str) {
        name(payload.get_mut(..NAME).unwrap_or(&mut []), device);
        let words = words.as_bytes();
        let words = words.get(..MAX_WORDS).unwrap_or(words);
        put(payload, NAME, &(words.len() as u32).to_ne_bytes());
        put(payload, NAME + 4, words);
    }
}

/// [`code::REGISTERED`].
pub mod registered {
    use super::name;

    /// Length of the payload.
    pub const LEN: usize = 60;

    /// Fills in a payload.
    pub fn write(payload: &mut [u8], device: &str) {
        name(payload, device);
    }
}

/// [`code::STPG`].
pub mod stpg {
    use super::{name, put};

    /// The longest name that there is room for.
    pub const MAX_NAME: usize = 63;
    const DEVICE: usize = 8;
    const COUNT: usize = DEVICE + 64;
    const GROUPS: usize = COUNT + 2;
    /// Length of a group's descriptor.
    const GROUP: usize = 2 + 2 * 32 + 2 * 64;
    /// What is before the descriptors, padding behind them included.
    const FIXED: usize = 80;

    /// Length of the payload for `groups` target port groups.
    pub const fn len(groups: usize) -> usize {
        FIXED.saturating_add(groups.saturating_mul(GROUP))
    }

    /// One target port group whose state is to change.
    pub struct Group<'a> {
        /// Its number.
        pub id: u16,
        /// Its state as `state` shows it.
        pub from: &'a str,
        /// What that is to be.
        pub to: &'a str,
        /// The device group.
        pub device_group: &'a str,
        /// The target group.
        pub target_group: &'a str,
    }

    /// Begins a payload of [`len`]: the tag of the command, and the device that it was sent to. False if a name is too
    /// long.
    pub fn begin(payload: &mut [u8], tag: u64, device: &str) -> bool {
        put(payload, 0, &tag.to_ne_bytes());
        name(payload.get_mut(DEVICE..COUNT).unwrap_or(&mut []), device)
    }

    /// Fills in descriptor `n`, after those before it. False if a name is too long.
    pub fn group(payload: &mut [u8], n: u16, group: &Group<'_>) -> bool {
        put(payload, COUNT, &n.saturating_add(1).to_ne_bytes());
        let at = GROUPS + usize::from(n) * GROUP;
        let Some(out) = payload.get_mut(at..at + GROUP) else {
            return false;
        };
        put(out, 0, &group.id.to_ne_bytes());
        let mut fits = true;
        let fields = [
            (2, 32, group.from),
            (34, 32, group.to),
            (66, 64, group.device_group),
            (130, 64, group.target_group),
        ];
        for (at, len, text) in fields {
            fits &= name(out.get_mut(at..at + len).unwrap_or(&mut []), text);
        }
        fits
    }
}
