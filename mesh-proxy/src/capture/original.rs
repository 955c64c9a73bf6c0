//! Captured connections: the system redirected them here, and knows where they were going.
//!
//! May use nothing of this crate.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Where `stream` was going before the system redirected it.
///
/// # Errors
/// It was not redirected: somebody dialled the capturing listener itself, and going on would lead
/// back here.
pub fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let own = stream.local_addr()?;
    let original = redirected_from(stream, own)?;
    if original == own {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "dialled the capturing listener itself",
        ));
    }
    Ok(original)
}

#[cfg(target_os = "linux")]
fn redirected_from(stream: &TcpStream, own: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let original = match own {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let original = original?.as_socket();
    original.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(not(target_os = "linux"))]
fn redirected_from(_stream: &TcpStream, _own: SocketAddr) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
