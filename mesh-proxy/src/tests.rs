//! Whole proxies, as a user starts them: two sidecars with the last good configuration on disk,
//! real sockets on loopback, and no control plane.

mod authorise;
mod extension;
mod fault;
mod harness;
mod http;
mod http2;
mod messages;
mod mirror;
mod ratelimit;
mod retry;
mod tcp;
mod timeout;
mod upgrade;
