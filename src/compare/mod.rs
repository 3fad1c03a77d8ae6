//! `undertone partition --compare`: the same graphs under several configurations, beside each other.

pub mod page;
pub mod report;
pub mod stored;
