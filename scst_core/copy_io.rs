// SPDX-License-Identifier: GPL-2.0

//! The copy manager's own commands: READ(16) and WRITE(16) to the LUNs of its
//! session, which go through the core as those of any initiator.
//!
//! Whoever had them made is answerable for them: where the initiator sees the
//! device itself, what its own nexus may do decides (reservations, ALUA, a LUN
//! that is mapped read-only), and PREEMPT AND ABORT of it waits for them.

use crate::{
    cmd::{
        status, Answered, Cmd, Command, Data, Direction, Incoming, Outstanding, Task,
        TaskAttribute, MAX_CDB,
    },
    driver::Transport,
    nexus::{access_of, gate, reserved_of, Nexus},
    reservations::id_of,
};
use kapi::{
    counted::{Counted, InUse},
    lock::{new_spinlock_irq, SpinLockIrq},
    slots::Slots,
    wait::{new_wait_queue, WaitQueue},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Release},
        rcu, Arc,
    },
};
use scst_proto::{
    bytes::Writer,
    opcode,
    sense::{
        Sense, COPY_ABORTED, COPY_TARGET_NOT_REACHABLE, INTERNAL_TARGET_FAILURE, LBA_OUT_OF_RANGE,
        THIRD_PARTY_DEVICE_FAILURE, WRITE_PROTECTED,
    },
    task::Cause,
};

/// The copy manager's TransportID; no initiator's can be equal, as SPC-6 7.6.1
/// has no such protocol identifier.
const TRANSPORT_ID: &[u8] = b"\x0f\0COPY_MGR";

/// Most bytes of one command.
pub(crate) const PIECE: u64 = 1 << 20;
/// How often a command is tried again that a reset or a unit attention ended.
const ATTENTIONS: u32 = 16;
/// A device that is busy is asked again after so many milliseconds,
const PAUSE_MS: u32 = 50;
/// and for so many at the most.
const BUSY_MS: u32 = 30_000;
/// After so many milliseconds it is looked whether a copy is still wanted.
const LOOK_MS: u32 = 200;

/// Why a copy ends early.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    Sense(Sense),
    /// A reservation of another.
    Conflict,
    /// There is no memory now, or the device is busy for long.
    Busy,
    /// Nobody wants it any more.
    Aborted,
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Self::Busy
    }
}

impl From<kernel::alloc::AllocError> for Failure {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self::Busy
    }
}

/// A device that is copied from or to.
pub(crate) struct End {
    /// The initiator's own nexus, if it sees the device.
    pub(crate) behalf: Option<InUse<Nexus>>,
    /// The copy manager's.
    pub(crate) own: InUse<Nexus>,
    /// Whatever is reserved: who asks has a token.
    free: bool,
}

impl End {
    /// A device that the initiator sees.
    pub(crate) fn seen(behalf: InUse<Nexus>, own: InUse<Nexus>) -> Self {
        Self {
            behalf: Some(behalf),
            own,
            free: false,
        }
    }

    /// A device that it does not see.
    pub(crate) fn foreign(own: InUse<Nexus>, free: bool) -> Self {
        Self {
            behalf: None,
            own,
            free,
        }
    }

    /// log2 of the logical block length.
    pub(crate) fn shift(&self) -> u32 {
        self.own.device.lu.block_shift()
    }

    /// Most bytes of one command: a power of two.
    pub(crate) fn piece(&self) -> u64 {
        let most = PIECE.min(u64::from(self.own.device.lu.largest_transfer()));
        1u64.wrapping_shl(most.max(1).ilog2())
            .max(1u64.wrapping_shl(self.shift()))
    }

    /// Whether a LUN of it is going.
    pub(crate) fn is_gone(&self) -> bool {
        let gone = |nexus: &InUse<Nexus>| nexus.gate() & gate::GONE != 0;
        gone(&self.own) || self.behalf.as_ref().is_some_and(gone)
    }

    /// Whether the initiator may do this itself. Any context.
    fn check(&self, way: Way, cdb: &[u8]) -> Result<(), Failure> {
        let Some(nexus) = &self.behalf else {
            return Ok(());
        };
        let row = opcode::lookup(way.opcode(), 0, nexus.device.pdt);
        let row = row.ok_or(INTERNAL_TARGET_FAILURE)?;
        let gate = nexus.gate();
        if gate & gate::GONE != 0 {
            return Err(COPY_TARGET_NOT_REACHABLE.into());
        }
        if reserved_of(gate).refuses(row, cdb) {
            return Err(Failure::Conflict);
        }
        if let Some(sense) = access_of(gate).refusal(row.flags) {
            return Err(sense.into());
        }
        match way == Way::Write && gate & gate::READ_ONLY != 0 {
            true => Err(WRITE_PROTECTED.into()),
            false => Ok(()),
        }
    }

    /// The same where the initiator has no nexus: it is nobody's registrant. Sleeps.
    fn check_foreign(&self, way: Way, cdb: &[u8]) -> Result<(), Failure> {
        if self.free || self.behalf.is_some() {
            return Ok(());
        }
        let device = &self.own.device;
        let row = opcode::lookup(way.opcode(), 0, device.pdt).ok_or(INTERNAL_TARGET_FAILURE)?;
        let access = device.reservations.access(&id_of(&self.own));
        match access.refuses(row, cdb) {
            true => Err(Failure::Conflict),
            false => Ok(()),
        }
    }
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

impl Way {
    const fn opcode(self) -> u8 {
        match self {
            Self::Read => 0x88,
            Self::Write => 0x8a,
        }
    }

    const fn direction(self) -> Direction {
        match self {
            Self::Read => Direction::In,
            Self::Write => Direction::Out,
        }
    }
}

/// What became of a command.
struct Answer {
    status: u8,
    sense: Option<Sense>,
    aborted: bool,
    moved: u32,
    data: Data,
}

/// A command of the copy manager, as who waits for it sees it.
#[pin_data]
struct Request {
    done: Atomic<u32>,
    #[pin]
    answer: SpinLockIrq<Option<Answer>>,
    #[pin]
    wait: WaitQueue,
}

/// A command that is under way.
struct Running {
    tag: u64,
    /// Address of the initiator's nexus, 0 for none.
    behalf: usize,
    own: InUse<Nexus>,
    request: Arc<Request>,
}

/// A read or a write that was begun.
pub(crate) struct Transfer<'a> {
    end: &'a End,
    way: Way,
    pos: u64,
    len: u32,
    tag: u64,
    request: Arc<Request>,
}

/// The copy manager as an initiator: the transport of its session.
#[pin_data]
pub(crate) struct Initiator {
    slots: Slots<Task, Command>,
    #[pin]
    running: SpinLockIrq<KVec<Running>>,
    /// Woken when a command has ended.
    #[pin]
    ended: WaitQueue,
}

impl Initiator {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let slots = Slots::new()?;
        Arc::pin_init(
            pin_init!(Self {
                slots,
                running <- new_spinlock_irq!(KVec::new()),
                ended <- new_wait_queue!(),
            }),
            GFP_KERNEL,
        )
    }

    /// Begins to read or write `len` bytes, whole blocks, at `pos`. Data that are
    /// not given for a read are in a buffer of the core's. Sleeps.
    pub(crate) fn begin<'a>(
        &self,
        end: &'a End,
        way: Way,
        pos: u64,
        len: u32,
        data: Data,
    ) -> Result<Transfer<'a>, Failure> {
        let mut cdb = [0; MAX_CDB];
        Writer::new(&mut cdb)
            .u8(way.opcode())
            .u8(0)
            .be64(pos.wrapping_shr(end.shift()))
            .be32(len.wrapping_shr(end.shift()));
        end.check_foreign(way, &cdb)?;
        let request = Arc::pin_init(
            pin_init!(Request {
                done: Atomic::new(0),
                answer <- new_spinlock_irq!(None),
                wait <- new_wait_queue!(),
            }),
            GFP_KERNEL,
        )?;
        let slot = self.slots.make(Task::idle())?;
        let tag = slot.addr() as u64;
        if let Err(failure) = self.announce(end, way, &cdb, tag, &request) {
            drop(self.take_running(tag));
            self.slots.take_back(slot);
            return Err(failure);
        }
        let incoming = Incoming {
            cdb: &cdb,
            cdb_len: 16,
            lun: 0,
            tag,
            attribute: TaskAttribute::Simple,
            direction: way.direction(),
            length: len,
            data,
        };
        // Not by its LUN, which may be another device by now.
        crate::pipeline::receive_at(end.own.clone(), slot, incoming);
        Ok(Transfer {
            end,
            way,
            pos,
            len,
            tag,
            request,
        })
    }

    /// Puts a command into the list and looks whether it may be: in a read-side
    /// section, so that who changes a reservation finds it in the list after a grace
    /// period, or it is refused.
    fn announce(
        &self,
        end: &End,
        way: Way,
        cdb: &[u8],
        tag: u64,
        request: &Arc<Request>,
    ) -> Result<(), Failure> {
        let _rcu = rcu::read_lock();
        let running = Running {
            tag,
            behalf: end.behalf.as_deref().map_or(0, address),
            own: end.own.clone(),
            request: request.clone(),
        };
        self.running.lock().push(running, GFP_ATOMIC)?;
        end.check(way, cdb)
    }

    /// Waits for a transfer; tries again what is worth it. Returns its buffer.
    /// `stop` says that nobody wants it any more. Sleeps.
    pub(crate) fn finish(
        &self,
        mut transfer: Transfer<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Data, Failure> {
        let (mut attentions, mut waited) = (0u32, 0u32);
        loop {
            let answer = self.wait(&transfer, stop)?;
            if stop() {
                return Err(Failure::Aborted);
            }
            match answer.verdict(&transfer)? {
                Verdict::Good => return Ok(answer.data),
                Verdict::Attention if attentions < ATTENTIONS => {
                    attentions = attentions.saturating_add(1);
                }
                Verdict::Busy if waited < BUSY_MS => {
                    kapi::time::sleep_ms(PAUSE_MS);
                    waited = waited.saturating_add(PAUSE_MS);
                }
                _ => return Err(Failure::Busy),
            }
            let data = match transfer.way {
                Way::Read => Data::None,
                Way::Write => answer.data,
            };
            transfer = self.begin(transfer.end, transfer.way, transfer.pos, transfer.len, data)?;
        }
    }

    fn wait(&self, transfer: &Transfer<'_>, stop: &dyn Fn() -> bool) -> Result<Answer, Failure> {
        let request = &transfer.request;
        let done = || request.done.load(Acquire) != 0;
        while !request.wait.wait_until_timeout(LOOK_MS, done) {
            if stop() {
                self.abort(transfer.tag, &transfer.end.own);
            }
        }
        let answer = request.answer.lock().take();
        Ok(answer.ok_or(INTERNAL_TARGET_FAILURE)?)
    }

    /// Aborts a command of the copy manager's nexus `own`, and ends it if nobody works on it.
    fn abort(&self, tag: u64, own: &Nexus) {
        self.visit_commands(&mut |task| {
            if task.tag == tag {
                task.abort(Cause::NexusLoss, false);
            }
        });
        own.end_idle_aborted();
        crate::config::end_aborted_global();
    }

    fn take_running(&self, tag: u64) -> Option<Running> {
        let mut running = self.running.lock();
        let at = running.iter().position(|r| r.tag == tag)?;
        running.remove(at).ok()
    }

    /// Ends the commands that are under way on behalf of `nexuses`, after a grace
    /// period since they were kept from making new ones. Sleeps.
    pub(crate) fn end_for(&self, nexuses: &[Arc<Counted<Nexus>>]) {
        let theirs = |running: &&Running| {
            let its = |nexus: &Arc<Counted<Nexus>>| address(nexus) == running.behalf;
            nexuses.iter().any(its)
        };
        loop {
            let found = {
                let running = self.running.lock();
                running.iter().find(theirs).map(|r| (r.tag, r.own.clone()))
            };
            let Some((tag, own)) = found else { return };
            self.abort(tag, &own);
            let same = |running: &Running| running.tag == tag;
            self.ended
                .wait_until(|| !self.running.lock().iter().any(same));
        }
    }
}

/// By what commands that are made on behalf of a nexus know it.
fn address(nexus: &Nexus) -> usize {
    core::ptr::from_ref(nexus).addr()
}

/// What is to be done about an answer.
enum Verdict {
    Good,
    /// Try again: the device had something to tell.
    Attention,
    /// Try again later.
    Busy,
}

impl Answer {
    fn verdict(&self, transfer: &Transfer<'_>) -> Result<Verdict, Failure> {
        match (self.status, &self.sense) {
            _ if self.aborted => Ok(Verdict::Attention),
            (status::TASK_ABORTED, _) => Ok(Verdict::Attention),
            (status::GOOD, _) if self.moved == transfer.len => Ok(Verdict::Good),
            (status::BUSY | status::TASK_SET_FULL | status::ACA_ACTIVE, _) => Ok(Verdict::Busy),
            (status::RESERVATION_CONFLICT, _) => Err(Failure::Conflict),
            (_, Some(sense)) if sense.is_unit_attention() => Ok(Verdict::Attention),
            (_, Some(sense)) if sense.is(&LBA_OUT_OF_RANGE) => Err(COPY_ABORTED.into()),
            (_, Some(sense)) if sense.is(&WRITE_PROTECTED) => Err(WRITE_PROTECTED.into()),
            _ => Err(THIRD_PARTY_DEVICE_FAILURE.into()),
        }
    }
}

impl Transport for Initiator {
    fn send_response(&self, mut cmd: Cmd<Answered>) {
        let running = self.take_running(cmd.tag());
        let answer = Answer {
            status: cmd.status_code(),
            sense: cmd.sense_value(),
            aborted: cmd.is_aborted(),
            moved: cmd.moved(),
            data: cmd.take_data(),
        };
        cmd.finish_by(|loan| self.slots.end(loan));
        if let Some(running) = running {
            *running.request.answer.lock() = Some(answer);
            running.request.done.store(1, Release);
            running.request.wait.wake_all();
        }
        self.ended.wake_all();
    }

    fn visit_commands(&self, visit: &mut dyn FnMut(Outstanding<'_>)) {
        self.slots.visit(&mut |tag, slot| {
            if let Some(task) = Outstanding::of(slot, || tag as u64) {
                visit(task);
            }
        });
    }

    fn is_internal(&self) -> bool {
        true
    }

    fn transport_id(&self, id: &mut [u8; 64]) -> usize {
        *id = [0; 64];
        for (to, from) in id.iter_mut().zip(TRANSPORT_ID) {
            *to = *from;
        }
        24
    }
}
