//! What travels between the nodes, as whoever sits on their network sees it.
//!
//! May use nothing of this crate.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// All protocols, in the order of bytes that packet sockets want.
const EVERYTHING: u16 = 0x0003;
/// How long a look waits for a packet.
const LOOK: Duration = Duration::from_millis(50);
/// The least that is the first bytes of a record of TLS 1.3.
const TLS_RECORDS: [[u8; 3]; 3] = [[0x16, 3, 1], [0x16, 3, 3], [0x17, 3, 3]];

/// A capture of every packet of this network namespace: the nodes' bridge is in it.
pub struct Capture {
    ending: Arc<AtomicBool>,
    seen: JoinHandle<std::io::Result<Seen>>,
}

/// What was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets that have the text as it is.
    pub plain: u64,
    /// TCP segments from or to the tunnel's port that start with a record of TLS.
    pub tunnelled: u64,
}

impl Capture {
    /// Looks for `text`, and for records of TLS on `port`, until it is ended.
    ///
    /// # Errors
    ///
    /// If a packet socket cannot be had: only root may.
    pub fn start(text: &str, port: u16) -> anyhow::Result<Self> {
        let protocol = Protocol::from(i32::from(EVERYTHING.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol));
        let socket = socket.context("a packet socket (only root may have one)")?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.set_recv_buffer_size(8 << 20)?;
        let ending = Arc::new(AtomicBool::new(false));
        let text = text.as_bytes().to_vec();
        let told = ending.clone();
        let seen = std::thread::spawn(move || watch(socket, &text, port, &told));
        Ok(Self { ending, seen })
    }

    /// What was seen.
    ///
    /// # Errors
    ///
    /// If the socket failed.
    pub fn end(self) -> anyhow::Result<Seen> {
        // What is under way is still to come.
        std::thread::sleep(LOOK * 4);
        self.ending.store(true, Ordering::Relaxed);
        let seen = self.seen.join();
        ensure!(seen.is_ok(), "the capture ended early");
        Ok(seen.unwrap_or_else(|_| Ok(Seen::default()))?)
    }
}

fn watch(mut socket: Socket, text: &[u8], port: u16, ending: &AtomicBool) -> std::io::Result<Seen> {
    let mut seen = Seen::default();
    let mut buffer = vec![0; 1 << 16];
    while !ending.load(Ordering::Relaxed) {
        let count = match socket.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let frame = buffer.get(..count).unwrap_or_default();
        seen.plain += u64::from(has(frame, text));
        let payload = segment(frame, port).unwrap_or_default();
        let record = TLS_RECORDS.iter().any(|start| payload.starts_with(start));
        seen.tunnelled += u64::from(record);
    }
    Ok(seen)
}

fn has(frame: &[u8], text: &[u8]) -> bool {
    frame.windows(text.len()).any(|part| part == text)
}

/// The payload of a TCP segment over IPv4 from or to `port`.
fn segment(frame: &[u8], port: u16) -> Option<&[u8]> {
    let [.., 0x08, 0x00] = frame.get(..14)? else {
        return None;
    };
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let is_tcp = *packet.get(9)? == 6;
    let whole = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let tcp = packet.get(header..whole)?;
    let ports = [tcp.get(..2)?, tcp.get(2..4)?];
    let to = port.to_be_bytes();
    let offset = usize::from(tcp.get(12)? >> 4) * 4;
    (is_tcp && ports.contains(&to.as_slice())).then(|| tcp.get(offset..))?
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn the_payload_of_a_segment_is_found() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[3] = 43;
        packet[9] = 6;
        frame.extend(packet);
        let mut tcp = vec![0; 20];
        tcp[2..4].copy_from_slice(&15008_u16.to_be_bytes());
        tcp[12] = 0x50;
        frame.extend(tcp);
        frame.extend([0x17, 3, 3]);
        assert_eq!(segment(&frame, 15008), Some([0x17, 3, 3].as_slice()));
        assert_eq!(segment(&frame, 80), None);
        assert_eq!(segment(&frame[..20], 15008), None);
    }
}
