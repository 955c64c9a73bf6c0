//! Open loop: requests have their times, whether or not earlier ones were answered, and each takes
//! from its time on: a proxy that stalls pays for what waited.
//!
//! A thread per connection: timers of the runtime are a thousand times too coarse. May use `message`
//! and `closed`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::closed::Shared;
use crate::message;

/// The system wakes a thread this much late; the rest is spent looking at the clock.
const LATE: Duration = Duration::from_micros(100);
/// An answer that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// The times of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Of the first request.
    pub(crate) first: Instant,
    /// Between two.
    pub(crate) interval: Duration,
}

/// One connection's requests to the end of the run; the time that each counted one took.
pub(crate) fn run(
    to: SocketAddr,
    size: usize,
    schedule: Schedule,
    shared: &Arc<Shared>,
) -> Vec<u32> {
    let mut times = Vec::new();
    let mut due = schedule.first;
    while shared.goes_on() {
        if let Err(error) = connection(to, size, schedule.interval, &mut due, shared, &mut times) {
            if shared.failed.fetch_add(1, Ordering::Relaxed) < 3 {
                crate::voice::tell(format!("open loop: {error:#}"));
            }
            due += schedule.interval;
        }
    }
    times
}

#[allow(clippy::too_many_arguments, reason = "one loop, split from its retry")]
fn connection(
    to: SocketAddr,
    size: usize,
    interval: Duration,
    due: &mut Instant,
    shared: &Shared,
    times: &mut Vec<u32>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    while shared.goes_on() {
        wait(*due);
        exchange(&mut stream, size, shared.number())?;
        shared.answered(*due, times);
        *due += interval;
    }
    Ok(())
}

fn wait(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > LATE {
        std::thread::sleep(left.saturating_sub(LATE));
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

fn exchange(stream: &mut TcpStream, size: usize, number: u64) -> anyhow::Result<()> {
    let mut output = Vec::with_capacity(256);
    message::request(&mut output, size, number, false);
    stream.write_all(&output)?;
    let mut input = Vec::with_capacity(16 * 1024);
    let mut chunk = [0; 4096];
    let mut whole = None;
    while whole.is_none_or(|whole| input.len() < whole) {
        let length = stream.read(&mut chunk)?;
        ensure!(length > 0, "closed before the end of an answer");
        input.extend_from_slice(chunk.get(..length).unwrap_or_default());
        if whole.is_none()
            && let Some(head) = message::head_length(&input)
        {
            let told = message::read_answer(input.get(..head).unwrap_or_default())?;
            ensure!(told.number == number && told.size == size, "{told:?}");
            whole = Some(head + size);
        }
    }
    Ok(())
}
