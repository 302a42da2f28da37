//! The service as its clients meet it: a process of its own, spoken to over a socket, byte by byte where that matters.

mod connections;
mod contract;
mod harness;
mod limits;
mod recordings;
mod shutdown;
mod tokens;
