//! Real processes on this machine: what users do with them, and what is done to them.
//!
//! Each file is about one promise, each test's name is the sentence it proves.

mod authority;
mod balance;
mod command_line;
mod corruption;
mod crashes;
mod crowds;
mod descriptors;
mod dev_cluster;
mod drain;
mod events;
mod examples;
mod files;
mod formats;
mod frozen_disk;
mod full_disk;
mod gc;
mod honesty;
mod hostile;
mod life;
mod linearizable;
mod load;
mod local_files;
mod membership;
mod memory;
mod metrics;
mod mistakes;
mod names;
mod old_copies;
mod power_cut;
mod private_files;
mod repair;
mod replication;
mod restored;
mod round_trips;
mod scrub;
mod server_copies;
mod sharing;
mod slow_line;
mod sources;
mod space;
mod stragglers;
mod sync;
mod verbs;
mod words;
