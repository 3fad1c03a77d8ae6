//! How long each step of a run takes and what it must read, as [`crate::exports::PROFILE`] tells it: JSON.

use serde::{Deserialize, Serialize};

/// What was noted since the start, over all runs of all sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Runs of fused nodes.
    pub runs: u64,
    /// Nanoseconds from the beginning of a run's first step to the end of its last.
    pub nanoseconds: u64,
    /// Nanoseconds that went into taking these notes. No step's time has them in it, but the time of a run as its
    /// caller sees it has.
    pub noting: u64,
    /// By kind and shape.
    pub steps: Vec<Part>,
}

/// Steps of a plan that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What they compute.
    pub kind: String,
    /// Their sizes.
    pub shape: String,
    /// Whether they are kernels: arithmetic on tensors, no shapes, views and moves.
    pub kernel: bool,
    /// How many were carried out.
    pub calls: u64,
    /// Nanoseconds of all of them.
    pub nanoseconds: u64,
    /// Bytes of weights, and of cached keys and values, that they had to read.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_what_programs_read() {
        let text = json!({"runs": 1, "nanoseconds": 100, "noting": 5, "steps": [
            {"kind": "linear", "shape": "1x384x1536", "kernel": true, "calls": 4, "nanoseconds": 90, "bytes": 589_824}]});
        let profile: Profile = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(profile).unwrap(), text);
    }
}
