//! A timerfd in the generator's poll: epoll's own timeout counts whole milliseconds, a schedule does not.
//! One shot at a time; it never needs to be read, because every arming is a new edge.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::Result;

/// Ends a poll after a time given in nanoseconds.
pub struct Timer(OwnedFd);

impl Timer {
    /// A disarmed timer that reports to `poll` under `token`.
    pub fn register(poll: &Poll, token: Token) -> Result<Timer> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer(fd))
    }

    /// Fires once after `delay`; an earlier arming is forgotten.
    pub fn arm(&self, delay: Duration) -> Result<()> {
        // Zero would disarm it.
        let it_value = Timespec::try_from(delay.max(Duration::from_nanos(1)))?;
        let it_interval = Timespec::default();
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        Ok(())
    }
}
