// SPDX-License-Identifier: GPL-2.0

//! The way of a command through the core.
//!
//! [`receive`] runs in the context that the transport delivered the command in,
//! and for a handler that does not sleep it runs through to the response there:
//! no lock, no allocation, no hand-over. Every command follows the same steps:
//! find the LUN, decode, check, get the data, execute, answer.

use crate::{
    cmd::{
        counted, status, Cmd, Command, CommandLoan, Data, DataOut, Executing, Incoming, Task,
        TaskAttribute, Vacant,
    },
    handler::Context,
    nexus::{access_of, gate, reserved_of, swallows, Nexus},
    protection, report_luns,
    session::Session,
    task_sets,
};
use core::convert::Infallible;
use kapi::{counted::InUse, loan::LoanQueue, sg::Gfp};
use kernel::{prelude::*, sync::rcu};
use scst_proto::{
    cdb::{self, Cdb},
    opcode::{Direction, Flags, PeripheralDeviceType},
    sense::{Sense, INVALID_MESSAGE, INVALID_OPCODE, WRITE_PROTECTED},
    task::State,
};

/// Why a command is answered before a handler sees it.
pub(crate) enum Refusal {
    Sense(Sense),
    Status(u8),
    /// The core answers it itself, with data.
    Core,
    /// Nobody answers it.
    Swallow,
    /// It waits until the device is unblocked.
    Hold,
    /// The task set says when it starts.
    Order,
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl Command {
    /// A command of `incoming`, not yet looked at, to be made in its slot.
    #[inline(always)]
    fn new(
        incoming: Incoming<'_>,
        nexus: Option<InUse<Nexus>>,
        cdb: Cdb,
    ) -> impl Init<Self, Infallible> + use<'_> {
        init!(Self {
            nexus,
            cdb,
            data: incoming.data,
            sense: None,
            tag: incoming.tag,
            started_ns: kapi::time::clock_ns(),
            fetched_ns: 0,
            answered_ns: 0,
            expected: 0,
            prepared: incoming.length,
            moved: 0,
            attribute: incoming.attribute,
            direction: Direction::None,
            status: status::GOOD,
            aborted: false,
            counted: 0,
            fetched: false,
            raw_len: incoming.cdb_len,
            raw: *incoming.cdb,
        })
    }
}

/// Takes a command of `session` from its transport.
#[inline]
pub(crate) fn receive(session: &Session, slot: Vacant, incoming: Incoming<'_>) {
    let lun = session.decode_lun(incoming.lun);
    // Held to the end: what `found` refers to stays that long, also when the
    // handler has completed the command before it returns.
    let rcu = rcu::read_lock();
    let found = lun.and_then(|lun| session.find(lun, &rcu));
    let nexus = found.and_then(|nexus| nexus.get_rcu(&rcu));
    let pdt = match &nexus {
        Some(nexus) => nexus.device.pdt,
        None => PeripheralDeviceType::NONE,
    };
    let decoded = match incoming.cdb.get(..usize::from(incoming.cdb_len)) {
        Some(cdb) => cdb::decode(cdb, pdt),
        None => Err(INVALID_OPCODE),
    };
    let (cdb, refusal) = match decoded {
        Ok(cdb) => (cdb, None),
        Err(sense) => (Cdb::UNDECODED, Some(sense)),
    };
    let claimed = incoming.direction;
    let mut loan = slot.lend(Command::new(incoming, nexus, cdb));
    loan.shared().begin(lun.map_or(u32::MAX, u32::from));
    kapi::trace::cmd_received(
        loan.tag,
        loan.shared().lun_number(),
        &loan.raw,
        loan.prepared,
    );
    let Some(nexus) = found.filter(|_| loan.nexus.is_some()) else {
        return report_luns::without_lun(session, loan, refusal);
    };
    let checked = match refusal {
        Some(sense) => Err(task_sets::undecoded(&loan, sense)),
        None => check(&mut loan, claimed),
    };
    match checked {
        Ok(()) if loan.direction == Direction::Out && !matches!(loan.data, Data::Lent(_)) => {
            fetch(loan);
        }
        Ok(()) => {
            let lu = &nexus.device.lu;
            match lu.context(&loan.cdb) {
                Context::Inline => {
                    kapi::trace::cmd_executing(loan.tag, loan.shared().lun_number());
                    lu.execute(Cmd::new(loan));
                }
                Context::Thread => queue(loan),
            }
        }
        Err(refusal) => refuse(loan, refusal),
    }
}

/// As [`receive`], for a command of the core's own to a nexus that it has in use.
pub(crate) fn receive_at(nexus: InUse<Nexus>, slot: Vacant, incoming: Incoming<'_>) {
    let lun = nexus.lun();
    let raw = incoming.cdb.get(..usize::from(incoming.cdb_len));
    let decoded = cdb::decode(raw.unwrap_or(&[]), nexus.device.pdt);
    let (cdb, refusal) = match decoded {
        Ok(cdb) => (cdb, None),
        Err(sense) => (Cdb::UNDECODED, Some(sense)),
    };
    let claimed = incoming.direction;
    let mut loan = slot.lend(Command::new(incoming, Some(nexus), cdb));
    loan.shared().begin(u32::from(lun));
    let checked = match refusal {
        Some(sense) => Err(sense.into()),
        None => check(&mut loan, claimed),
    };
    match checked {
        Ok(()) if loan.direction == Direction::Out => fetch(loan),
        Ok(()) => run(loan),
        Err(refusal) => refuse(loan, refusal),
    }
}

/// Sizes the transfer and decides whether the command may run. The initiator has
/// `claimed` which way its data go.
#[inline]
fn check(loan: &mut CommandLoan, claimed: Direction) -> Result<(), Refusal> {
    let gate = loan.nexus.as_ref().map_or(0, |nexus| nexus.gate());
    if gate & gate::LIMITED != 0 {
        admit(loan)?;
    }
    let Some(nexus) = &loan.nexus else {
        return Err(Refusal::Status(status::BUSY));
    };
    let device = &nexus.device;
    let cdb = loan.cdb;
    let flags = cdb.op.flags;
    let direction = cdb.direction();
    if claimed != direction {
        compare(claimed, direction)?;
    }
    let bytes = match gate & gate::PROTECTED {
        0 => cdb.expected_bytes(device.lu.block_shift()),
        _ => protection::expected(loan, nexus),
    };
    let expected = match bytes {
        Some(bytes) => u32::try_from(bytes).unwrap_or(u32::MAX),
        None => loan.prepared,
    };
    if gate != 0 {
        task_sets::check_aca(nexus, gate, loan)?;
        let raw = loan.raw.get(..usize::from(loan.raw_len)).unwrap_or(&[]);
        check_gate(nexus, gate, &cdb, raw)?;
    }
    cdb.require_supported()?;
    if flags.contains(Flags::WRITES) && (gate & gate::READ_ONLY != 0 || device.lu.read_only()) {
        return Err(WRITE_PROTECTED.into());
    }
    let answered_here = flags.contains(Flags::NO_LUN) && report_luns::is_ours(&cdb);
    loan.expected = expected;
    loan.direction = direction;
    provide_buffer(loan)?;
    let special = loan.attribute != TaskAttribute::Simple || cdb.naca();
    if special || gate & (gate::BLOCKED | gate::TASKS | gate::BLACK_HOLE) != 0 {
        later(loan, gate, special && !answered_here)?;
    }
    if answered_here {
        return Err(Refusal::Core);
    }
    Ok(())
}

/// Why a command that nothing is wrong with does not start at once. What the core
/// answers itself is of no task set.
#[cold]
fn later(cmd: &Command, gate: u32, special: bool) -> Result<(), Refusal> {
    let ours = report_luns::is_ours(&cmd.cdb);
    if special || (gate & gate::TASKS != 0 && !ours) {
        return Err(Refusal::Order);
    }
    if vanishes(cmd) {
        return Err(Refusal::Swallow);
    }
    match gate & gate::BLOCKED != 0 && !ours {
        true => Err(Refusal::Hold),
        false => Ok(()),
    }
}

/// Whether a test wants this command to vanish.
pub(crate) fn vanishes(cmd: &Command) -> bool {
    let moves_data = !matches!(cmd.cdb.direction(), Direction::None);
    cmd.nexus.as_ref().is_some_and(|nexus| {
        nexus.gate() & gate::BLACK_HOLE != 0 && swallows(nexus.session().black_hole(), moves_data)
    })
}

/// Refuses a command whose data go the other way than its initiator prepared
/// for: memory that it lets be read is not for writing.
#[cold]
fn compare(claimed: Direction, direction: Direction) -> Result<(), Refusal> {
    match (claimed, direction) {
        (Direction::In, Direction::Out) | (Direction::Out, Direction::In) => {
            Err(INVALID_MESSAGE.into())
        }
        _ => Ok(()),
    }
}

/// Takes a place in the task set of an initiator that may have only so many.
#[cold]
fn admit(loan: &mut CommandLoan) -> Result<(), Refusal> {
    match loan.nexus.as_ref().is_some_and(|nexus| nexus.admit()) {
        true => {
            loan.counted |= counted::ADMITTED;
            Ok(())
        }
        false => Err(Refusal::Status(status::TASK_SET_FULL)),
    }
}

/// Sees to it that a command that moves data has a buffer for them.
#[inline]
pub(crate) fn provide_buffer(loan: &mut CommandLoan) -> Result<(), Refusal> {
    let length = loan.expected.min(loan.prepared);
    if loan.direction == Direction::None || length == 0 || !matches!(loan.data, Data::None) {
        return Ok(());
    }
    let void = loan
        .nexus
        .as_ref()
        .is_some_and(|n| n.device.lu.void(&loan.cdb));
    if void {
        loan.data = Data::Void;
        return Ok(());
    }
    let length = length as usize;
    let buffer = match &loan.nexus {
        Some(nexus) => nexus.device.buffers.get(length, Gfp::Atomic),
        None => crate::config::buffer(length),
    };
    loan.data = Data::Pooled(buffer.map_err(|_| Refusal::Status(status::BUSY))?);
    Ok(())
}

/// The checks of a nexus that is not in its plain state.
#[cold]
fn check_gate(nexus: &Nexus, gate: u32, cdb: &Cdb, raw: &[u8]) -> Result<(), Refusal> {
    let reports = !cdb.op.flags.contains(Flags::SKIPS_UA);
    if gate & gate::UNIT_ATTENTION != 0 && reports {
        if let Some(sense) = nexus.take_attention() {
            return Err(sense.into());
        }
    }
    if gate & gate::ACCESS != 0 {
        if let Some(sense) = access_of(gate).refusal(cdb.op.flags) {
            return Err(sense.into());
        }
    }
    if reserved_of(gate).refuses(cdb.op, raw) {
        return Err(Refusal::Status(status::RESERVATION_CONFLICT));
    }
    if gate & gate::WATCHED != 0 {
        nexus.device.watch.command(nexus, cdb);
    }
    Ok(())
}

#[cold]
pub(crate) fn refuse(loan: CommandLoan, refusal: Refusal) {
    match (&refusal, loan.nexus.clone()) {
        (Refusal::Swallow, Some(nexus)) => return nexus.swallow(loan),
        (Refusal::Hold, Some(nexus)) => return nexus.hold(loan),
        (Refusal::Order, Some(nexus)) => return task_sets::enter(&nexus, loan),
        _ => {}
    }
    let cmd = Cmd::<Executing>::new(loan);
    match refusal {
        Refusal::Sense(sense) => cmd.check_condition(sense),
        Refusal::Status(status) => cmd.status(status),
        Refusal::Core => report_luns::execute(cmd),
        Refusal::Swallow | Refusal::Hold | Refusal::Order => drop(cmd),
    }
}

/// Goes on with a command that was held before it was executed. What keeps
/// commands from a handler may have changed meanwhile.
pub(crate) fn resume(loan: CommandLoan) {
    let checked = match &loan.nexus {
        Some(nexus) => {
            let raw = loan.raw.get(..usize::from(loan.raw_len)).unwrap_or(&[]);
            check_gate(nexus, nexus.gate(), &loan.cdb, raw)
        }
        None => Ok(()),
    };
    match checked {
        Err(refusal) => refuse(loan, refusal),
        Ok(()) => start(loan),
    }
}

/// Lets a command begin that did not have to wait or has waited long enough.
pub(crate) fn start(loan: CommandLoan) {
    if loan.counted & counted::VANISHES != 0 || vanishes(&loan) {
        return refuse(loan, Refusal::Swallow);
    }
    let lent = matches!(loan.data, Data::Lent(_));
    match loan.direction == Direction::Out && !lent && !loan.fetched {
        true => fetch(loan),
        false => run(loan),
    }
}

/// Lets the transport fetch the data-out.
#[inline]
fn fetch(loan: CommandLoan) {
    if !loan.shared().advance_to(State::DataOut) {
        return execute(loan);
    }
    // A use of its own: the transport may finish the command, and with it the
    // command's use of the nexus, before the call returns.
    match loan.nexus.clone() {
        Some(nexus) => nexus
            .session()
            .transport()
            .transfer_data(Cmd::<DataOut>::new(loan)),
        None => drop(Cmd::<DataOut>::new(loan)),
    }
}

/// Executes the command here, or has a thread do it.
#[inline]
pub(crate) fn run(loan: CommandLoan) {
    let Some(nexus) = &loan.nexus else {
        return drop(Cmd::<Executing>::new(loan));
    };
    match nexus.device.lu.context(&loan.cdb) {
        Context::Inline => execute(loan),
        Context::Thread => queue(loan),
    }
}

/// Hands the command to a thread.
fn queue(loan: CommandLoan) {
    match loan.shared().advance_to(State::Queued) {
        true => crate::device::enqueue(loan),
        false => execute(loan),
    }
}

/// Ends commands that nobody works on, without executing them.
pub(crate) fn end_aborted(mut queue: LoanQueue<Task, Command>) {
    while let Some(loan) = queue.pop_front() {
        Cmd::<Executing>::new(loan).status(status::TASK_ABORTED);
    }
}

/// Executes the command, unless it was aborted. A thread of a pool, or the
/// transport's context if the handler does not sleep.
#[inline]
pub(crate) fn execute(loan: CommandLoan) {
    if !loan.shared().advance_to(State::Executing) {
        return Cmd::<Executing>::new(loan).status(status::TASK_ABORTED);
    }
    // After the state: who blocks the device sees that, or this sees the gate.
    let blocked = |nexus: &&InUse<Nexus>| nexus.gate() & gate::BLOCKED != 0;
    if let Some(nexus) = loan.nexus.as_ref().filter(blocked).cloned() {
        return nexus.hold(loan);
    }
    kapi::trace::cmd_executing(loan.tag, loan.shared().lun_number());
    let cmd = Cmd::<Executing>::new(loan);
    // A use of its own, so that the device outlives the call even where the
    // handler has long completed the command.
    match cmd.nexus_in_use() {
        Some(nexus) => nexus.device.lu.execute(cmd),
        None => drop(cmd),
    }
}
