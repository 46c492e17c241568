//! RESP: the wire protocol, both ways.
//!
//! Lives here: the incremental request parser and the reply writer. May not: commands, clients, config.

pub mod parser;
pub mod writer;

pub use parser::{ArgPos, Args, Limits, OwnedArgs, Parsed, Parser, ProtocolError};
pub use writer::Reply;
