//! CONNECT streams over one connection: our own HTTP/2 (RFC 9113) that carries nothing else.
//!
//! [`state`] is the connection without I/O, [`receive`] and [`control`] what a peer may do to it,
//! [`send`] what goes out, [`driver`] reads and writes it. Streams put their frames into one queue,
//! so that a turn of the worker is one TLS record and one write, however many streams had something
//! to say. May use `buffer` and `h2`.

mod control;
mod driver;
mod fault;
mod frame;
mod head;
mod hpack;
mod huffman;
mod receive;
mod send;
mod state;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod turn;
mod unread;

pub(super) use self::driver::Driver;
pub(super) use self::frame::Code;
pub(super) use self::head::{Head, answer, connect};
pub(super) use self::state::{Role, State};
pub(super) use self::stream::Reset;
