//! The engine from outside, over the shipped packs.

mod evasion;
mod packs;
mod properties;
mod stories;
mod support;
