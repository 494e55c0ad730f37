//! Patterns on remote paths: `*` and `?` within a name, `[]` sets, `{}` alternatives, `**` any number of names.
//!
//! They work on characters, not bytes (which the usual crates do): `?` is one `é`. A leading dot is nothing special;
//! a backslash takes the next character as it is. `syntax` reads and matches them, `search` finds what matches in the
//! cluster.

mod search;
mod syntax;

pub(crate) use self::syntax::{NamePattern, Pattern, is_pattern};
