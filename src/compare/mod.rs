//! `undertone partition --compare`: the same graphs under several configurations, beside each other.

pub mod report;
