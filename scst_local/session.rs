// SPDX-License-Identifier: GPL-2.0

//! A session, which is a SCSI host, and how that host's errors are handled.
//!
//! The midlayer's error handling goes from the abort of a command to resets of its
//! LUN, of the target and of the host, and after the last of them it ends the
//! commands that it was about, whatever became of them: their memory and their
//! data are somebody else's from then on. I/O of a backing store cannot be taken
//! back, so the handlers wait for it as long as it takes, and the last of them
//! returns only when no command is left. A single stuck disk is waited for in its
//! commands' aborts, while the host's other disks go on.

use crate::{
    attrs,
    host::{self, Host, Online, QUEUE_DEPTH},
    protection,
    scan::Seen,
    target::{Driver, NameGuard, Versions},
};
use kapi::{sysfs::Link, tracker::Tracker};
use kernel::{
    impl_has_work,
    prelude::*,
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        new_mutex, Arc, Mutex,
    },
    time::{delay::fsleep, Delta},
    workqueue::{new_work, Work, WorkItem},
};
use scst::{
    Answered, Cmd, Held, InTransfer, LunEvent, Outstanding, SessionRegistration,
    TargetRegistration, Transport,
};
use scst_proto::lun::Lun;

/// After how many milliseconds the log says that the end of a session waits.
const REPORT_MS: u32 = 10_000;

/// The initiator's side of a session: its host. The core reaches it by an
/// [`Initiator`], the midlayer by the driver data of the host.
#[pin_data]
pub(crate) struct Port {
    driver: Arc<Driver>,
    target: CString,
    name: CString,
    versions: Arc<Versions>,
    #[pin]
    host: Host,
    /// The way back to the core; `None` before the session is open and when it
    /// is about to close.
    #[pin]
    link: Mutex<Option<Arc<SessionRegistration>>>,
    /// The largest queue depth that a disk of the host has ever had.
    depth: Atomic<u32>,
    /// Who has the session by `link` now.
    users: Tracker,
    /// LUNs that the midlayer knows from us.
    #[pin]
    pub(crate) luns: Mutex<KVVec<Seen>>,
    /// The TransportID, if the administrator has set one.
    #[pin]
    transport_id: Mutex<Option<([u8; 64], usize)>>,
    #[pin]
    scan: Work<Port, 0>,
    #[pin]
    close: Work<Port, 1>,
}

impl_has_work! {
    impl HasWork<Self, 0> for Port { self.scan }
    impl HasWork<Self, 1> for Port { self.close }
}

impl WorkItem<0> for Port {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        crate::scan::run(&this);
    }
}

impl WorkItem<1> for Port {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let (target, name) = (this.target(), this.name());
        match this.driver.del_session(target, name) {
            Ok(()) => pr_info!("Closed session {name} of target {target}\n"),
            Err(e) => pr_err!("Closing session {name} of target {target}: {e:?}\n"),
        }
    }
}

impl Port {
    fn new(
        driver: Arc<Driver>,
        target: &str,
        name: &str,
        versions: Arc<Versions>,
    ) -> Result<Arc<Self>> {
        let target = CString::try_from_fmt(fmt!("{target}"))?;
        let name = CString::try_from_fmt(fmt!("{name}"))?;
        Arc::pin_init(
            try_pin_init!(Self {
                driver,
                target,
                name,
                versions,
                host <- Host::new(),
                link <- new_mutex!(None),
                depth: Atomic::new(QUEUE_DEPTH),
                users: Tracker::new()?,
                luns <- new_mutex!(KVVec::new()),
                transport_id <- new_mutex!(None),
                scan <- new_work!("scst_local scan"),
                close <- new_work!("scst_local close"),
            }? Error),
            GFP_KERNEL,
        )
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or("")
    }

    pub(crate) fn target(&self) -> &str {
        self.target.to_str().unwrap_or("")
    }

    /// Calls `f` with the session, which stays as long as that takes.
    pub(crate) fn with_session<R>(&self, f: impl FnOnce(&SessionRegistration) -> R) -> Option<R> {
        // Goes after `session`, whose last reference this must not be.
        let _user;
        let session = {
            let link = self.link.lock();
            let session = link.clone()?;
            _user = self.users.track();
            session
        };
        Some(f(&session))
    }

    /// Compares the LUNs of session and host soon; asking for it several times
    /// until then costs one scan.
    pub(crate) fn rescan(self: &Arc<Self>) {
        // An error says that it is queued already.
        let _ = self.driver.queue().enqueue::<Arc<Self>, 0>(self.clone());
    }

    /// Aborts the command `tag`. As for all that follows here: sleeps until the
    /// commands have ended, however long the device below takes for that.
    pub(crate) fn abort(&self, tag: u64) {
        self.driver.stats().count_abort();
        self.with_session(|session| session.abort_task(tag, None));
    }

    /// Ends the commands of the LUN field `lun`; true if none is left.
    pub(crate) fn lun_reset(&self, lun: u64) -> bool {
        self.driver.stats().count_lun_reset();
        let Ok(lun) = Lun::decode(lun.to_be_bytes()).map(Lun::get) else {
            return false;
        };
        self.with_session(|session| session.lun_reset(lun, None));
        self.wait_until(|| self.active(Some(lun)) == 0)
    }

    /// Ends the commands of all LUNs; true if none is left.
    pub(crate) fn target_reset(&self) -> bool {
        self.driver.stats().count_target_reset();
        self.with_session(|session| session.target_reset(None));
        self.wait_until(|| self.active(None) == 0)
    }

    /// Ends all commands of this host: always true, as it returns only when none
    /// is left.
    pub(crate) fn host_reset(&self) -> bool {
        loop {
            self.with_session(|session| session.nexus_loss(None));
            if self.wait_until(|| self.active(None) == 0) {
                return true;
            }
        }
    }

    /// A disk of the host is about to get the queue depth `depth`. Sleeps.
    pub(crate) fn depth_grows(&self, depth: u32) {
        let mut old = self.depth.load(Relaxed);
        while old < depth {
            match self.depth.cmpxchg(old, depth, Relaxed) {
                Ok(_) => {
                    self.with_session(|session| session.queue_depth_changed());
                    return;
                }
                Err(now) => old = now,
            }
        }
    }

    /// Number of commands that the core has, of one LUN or of all.
    fn active(&self, lun: Option<u16>) -> usize {
        let mut count = 0usize;
        self.host.visit(&mut |task| {
            if lun.is_none_or(|lun| task.lun() == u32::from(lun)) {
                count += 1;
            }
        });
        count
    }

    /// Waits for what is about to come true, such as that a response that was on
    /// its way has arrived; false if it does not within a second.
    pub(crate) fn wait_until(&self, mut condition: impl FnMut() -> bool) -> bool {
        for _ in 0..1000 {
            if condition() {
                return true;
            }
            fsleep(Delta::from_millis(1));
        }
        condition()
    }

    /// The TransportID in force: `id` up to the length that is returned.
    pub(crate) fn read_transport_id(&self, id: &mut [u8; 64]) -> usize {
        match &*self.transport_id.lock() {
            Some((set, len)) => {
                *id = *set;
                *len
            }
            None => self.versions.transport_id(self.host.number(), id),
        }
    }

    /// Replaces the TransportID.
    pub(crate) fn set_transport_id(&self, id: &[u8]) -> Result {
        let mut set = [0; 64];
        let to = set.get_mut(..id.len()).filter(|to| !to.is_empty());
        to.ok_or(EINVAL)?.copy_from_slice(id);
        *self.transport_id.lock() = Some((set, id.len()));
        Ok(())
    }
}

/// A port as the core knows it.
struct Initiator(Arc<Port>);

impl Transport for Initiator {
    #[inline]
    fn send_response(&self, cmd: Cmd<Answered>) {
        host::respond(cmd);
    }

    fn protection<'a>(&self, cmd: Held<'a>) -> InTransfer<'a> {
        protection::of(cmd)
    }

    fn visit_commands(&self, visit: &mut dyn FnMut(Outstanding<'_>)) {
        self.0.host.visit(visit);
    }

    fn announces_luns(&self) -> bool {
        true
    }

    fn queue_depth(&self) -> u32 {
        self.0.depth.load(Relaxed)
    }

    fn luns_changed(&self, _event: Option<LunEvent>) {
        self.0.rescan();
    }

    fn close(&self) -> Result {
        let port = self.0.clone();
        // An error says that it is on its way already.
        let _ = self.0.driver.queue().enqueue::<Arc<Port>, 1>(port);
        Ok(())
    }

    fn transport_id(&self, id: &mut [u8; 64]) -> usize {
        self.0.read_transport_id(id)
    }

    fn version_descriptors(&self) -> [u16; 2] {
        self.0.versions.descriptors()
    }
}

/// An open session. Dropping it removes the host, which waits for commands that
/// still run, and then ends the session.
pub(crate) struct Session {
    /// `host` in the session's directory.
    link: Option<Link>,
    online: Option<Online>,
    port: Arc<Port>,
    /// Last: until then nobody else can take the device's name.
    _name: NameGuard,
}

impl Session {
    /// Opens session `name` of a target and adds its host.
    pub(crate) fn open(
        driver: &Arc<Driver>,
        target: &TargetRegistration,
        target_name: &str,
        name: &str,
        versions: Arc<Versions>,
    ) -> Result<Self> {
        let name_guard = NameGuard::new(driver.clone(), name)?;
        let port = Port::new(driver.clone(), target_name, name, versions)?;
        let transport = Arc::new(Initiator(port.clone()), GFP_KERNEL)?;
        let session = target.open_session(name, transport, attrs::session(&port)?)?;
        let session = Arc::new(session, GFP_KERNEL)?;
        *port.link.lock() = Some(session.clone());
        // From here on `Drop` cleans up.
        let mut this = Self {
            link: None,
            online: None,
            port: port.clone(),
            _name: name_guard,
        };
        let online = Online::new(port.clone(), session.clone(), driver.root(), &port.name)?;
        this.link = Some(online.link(&session)?);
        this.online = Some(online);
        port.rescan();
        Ok(this)
    }

    pub(crate) fn name(&self) -> &str {
        self.port.name()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Before what it points to.
        self.link = None;
        // Task management works until the host is gone: commands may need it.
        self.online = None;
        // The last reference: `Online` had the other one. Not under the lock,
        // as the core's end of the session may ask the transport something.
        let link = self.port.link.lock().take();
        // No command is left that they could wait for, but an administrator's
        // reset may wait for other initiators'.
        while !self.port.users.wait_none(REPORT_MS) {
            log_err!(
                "Session {}: still waiting for the end of a reset",
                self.name()
            );
        }
        drop(link);
    }
}
