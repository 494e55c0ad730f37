//! What both roles have of a peer: a port and a session for each connection to it, links to datanodes, dialling, and the questions that
//! every node answers about itself.

pub mod admin;
pub mod dial;
pub mod gate;
pub mod links;
pub mod listener;
pub mod session;
pub mod tree;
