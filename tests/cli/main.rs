//! The program as its users meet it: command lines in, exit status, text and files out.

mod hub; // fetching models, from good and bad servers
mod server; // those servers
