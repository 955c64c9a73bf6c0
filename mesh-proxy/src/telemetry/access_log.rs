//! The access log: one JSON line per exchange, and one per opaque connection.
//!
//! A worker formats its line and puts it into its own bounded ring; one thread writes. A full ring
//! drops the line and counts it: a slow disk never slows traffic.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::name::ObjectName;

use crate::telemetry::event::{ConnectionEvent, ExchangeEvent};
use crate::telemetry::json::Object;
use crate::telemetry::names::UNKNOWN;

/// Bytes a worker may have waiting.
const RING_BYTES: usize = 512 * 1024;
/// Longest host or path logged, in bytes; the rest is cut.
const MAX_TEXT: usize = 2_048;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(20);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Sink {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file, made with mode 0600.
    File(PathBuf),
}

/// The writer and its rings.
#[derive(Debug)]
pub(super) struct AccessLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    thread: Thread,
}

#[derive(Debug)]
struct Shared {
    rings: Mutex<Vec<Arc<Ring>>>,
    output: Mutex<Output>,
    stop: AtomicBool,
}

#[derive(Debug)]
enum Output {
    Stdout,
    File(File),
}

/// A worker's lines on their way to the writer.
#[derive(Debug)]
pub(super) struct Ring {
    lines: Mutex<Vec<u8>>,
    dropped: AtomicU64,
    writer: Thread,
}

impl AccessLog {
    /// Starts the writer; `None` for [`Sink::Off`].
    pub(super) fn start(sink: &Sink) -> io::Result<Option<Self>> {
        let output = match sink {
            Sink::Off => return Ok(None),
            Sink::Stdout => Output::Stdout,
            Sink::File(path) => Output::File(open(path)?),
        };
        let shared = Arc::new(Shared {
            rings: Mutex::default(),
            output: Mutex::new(output),
            stop: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("access-log".into())
            .spawn(move || own.run())?;
        Ok(Some(Self {
            shared,
            thread: writer.thread().clone(),
            writer: Some(writer),
        }))
    }

    /// A ring for one worker.
    pub(super) fn ring(&self) -> Arc<Ring> {
        let ring = Arc::new(Ring {
            lines: Mutex::default(),
            dropped: AtomicU64::new(0),
            writer: self.thread.clone(),
        });
        lock(&self.shared.rings).push(Arc::clone(&ring));
        ring
    }

    /// Lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        let rings = lock(&self.shared.rings);
        rings
            .iter()
            .map(|ring| ring.dropped.load(Ordering::Relaxed))
            .sum()
    }

    /// Writes what waits, on the caller's thread.
    pub(super) fn flush(&self) {
        self.shared.write_waiting();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the access log's writer failed");
        }
    }
}

impl Ring {
    /// Hands a line over, or drops it where the ring is full.
    pub(super) fn push(&self, line: &[u8]) {
        let mut lines = lock(&self.lines);
        let was_empty = lines.is_empty();
        if lines.len() + line.len() > RING_BYTES {
            drop(lines);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.extend_from_slice(line);
        drop(lines);
        if was_empty {
            self.writer.unpark();
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            thread::park();
            if !self.stop.load(Ordering::Acquire) {
                // Unparked by stop at the latest, so this never holds up the end.
                thread::park_timeout(GATHER);
            }
            self.write_waiting();
        }
        self.write_waiting();
    }

    fn write_waiting(&self) {
        let rings: Vec<Arc<Ring>> = lock(&self.rings).clone();
        let mut output = lock(&self.output);
        for ring in rings {
            let lines = std::mem::take(&mut *lock(&ring.lines));
            if !lines.is_empty()
                && let Err(error) = output.write(&lines)
            {
                ring.dropped.fetch_add(count(&lines), Ordering::Relaxed);
                tracing::warn!(%error, "access log not written");
            }
        }
    }
}

impl Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(lines),
        }
    }
}

/// Appends the line of `event`, with its line feed.
pub(super) fn write_line(
    out: &mut String,
    workload: &ObjectName,
    time: SystemTime,
    event: &ExchangeEvent<'_>,
) {
    let mut line = Object::open(out);
    line.plain("time", Rfc3339(time));
    line.plain("direction", event.direction.as_str());
    line.plain("workload", workload);
    match event.destination {
        Some(destination) => line.plain("destination", destination),
        None => line.plain("destination", UNKNOWN),
    }
    if let Some(backend) = event.backend {
        line.plain("backend", backend);
    }
    if let Some(endpoint) = event.endpoint {
        line.plain("endpoint", endpoint);
    }
    if let Some((route, rule)) = event.route {
        line.plain("route", route);
        line.number("rule", rule);
    }
    if let Some(peer) = event.peer {
        line.plain("peer", peer);
    }
    line.text("method", event.method);
    line.text("host", cut(event.host));
    line.text("path", cut(event.path));
    line.number("status", event.status);
    if let Some(reason) = event.reason {
        line.text("reason", reason);
    }
    if let Some(fault) = event.fault {
        line.text("fault", fault);
    }
    line.number("attempts", event.attempts);
    line.number("bytesIn", event.bytes_in);
    line.number("bytesOut", event.bytes_out);
    let micros = event.duration.as_micros();
    line.number(
        "durationMs",
        format_args!("{}.{:03}", micros / 1_000, micros % 1_000),
    );
    if let Some(id) = event.traceparent.and_then(trace_id) {
        line.plain("traceId", id);
    }
    line.close();
    out.push('\n');
}

/// Appends the line of an opaque connection, with its line feed.
pub(super) fn write_connection(
    out: &mut String,
    workload: &ObjectName,
    time: SystemTime,
    event: &ConnectionEvent<'_>,
) {
    let mut line = Object::open(out);
    line.plain("time", Rfc3339(time));
    line.plain("direction", event.direction.as_str());
    line.plain("workload", workload);
    line.plain("destination", event.destination);
    if let Some(backend) = event.backend {
        line.plain("backend", backend);
    }
    if let Some(endpoint) = event.endpoint {
        line.plain("endpoint", endpoint);
    }
    if let Some((route, rule)) = event.route {
        line.plain("route", route);
        line.number("rule", rule);
    }
    if let Some(peer) = event.peer {
        line.plain("peer", peer);
    }
    line.text("protocol", event.protocol);
    if let Some(name) = event.server_name {
        line.text("serverName", cut(name));
    }
    if let Some(reason) = event.reason {
        line.text("reason", reason);
    }
    line.number("attempts", event.attempts);
    line.number("bytesIn", event.bytes_in);
    line.number("bytesOut", event.bytes_out);
    let micros = event.duration.as_micros();
    line.number(
        "durationMs",
        format_args!("{}.{:03}", micros / 1_000, micros % 1_000),
    );
    line.close();
    out.push('\n');
}

/// The trace id of a `traceparent` (W3C Trace Context section 3.2), if it is well formed.
fn trace_id(field: &[u8]) -> Option<&str> {
    let (version, id, rest) = (field.get(..3)?, field.get(3..35)?, field.get(35..)?);
    let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let good = version.ends_with(b"-") && rest.starts_with(b"-") && id.iter().all(hex);
    good.then(|| std::str::from_utf8(id).ok()).flatten()
}

fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).unwrap_or_default()
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

fn open(path: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A time as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub SystemTime);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, millis) = (since.as_secs(), since.subsec_millis());
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        // Days to a date of the Gregorian calendar: eras of 400 years that start on 1 March.
        let day = days + 719_468;
        let (era, day_of_era) = (day / 146_097, day % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let date = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(
            f,
            "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}
