//! What a listener can be told.

/// Nothing can be told to a listener: it listens.
#[derive(Debug)]
pub enum ListenerMsg {}
