//! A whole cluster in one thread and in virtual time: the same seed gives the same run, and the trees of actors are those
//! that are drawn.

mod crashes;
mod program;
mod replay;
mod trees;
