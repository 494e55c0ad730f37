//! The engine on real files, and on disks that lose power.

mod contract;
mod frozen;
mod power_cut;
mod survival;
