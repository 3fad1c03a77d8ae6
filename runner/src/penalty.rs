//! What makes tokens less likely without forbidding them. A penalty changes logits, so that all of them are looked at
//! where one is asked for; what is only forbidden is a [rule](crate::rules)'s.

/// A change of the logits of what may be written next.
pub trait Penalty: Send + Sync {
    /// Changes `logits` `[vocabulary]`, which follow the tokens `written` since the prompt.
    fn apply(&self, written: &[u32], logits: &mut [f32]);
}

/// Each token that was written before is less likely to come again, timestamps too.
///
/// Source: OpenNMT/CTranslate2, `src/decoding_utils.cc` (`RepetitionPenalty`), after
/// [Keskar et al.](https://arxiv.org/abs/1909.05858).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RepetitionPenalty {
    /// Positive logits are divided by it, negative ones multiplied; 1 changes nothing.
    pub penalty: f32,
}

impl Penalty for RepetitionPenalty {
    fn apply(&self, written: &[u32], logits: &mut [f32]) {
        for (at, &token) in written.iter().enumerate() {
            // Once, however often it was written.
            if let Some(logit) = logits.get_mut(token as usize).filter(|_| !written[..at].contains(&token)) {
                *logit = if *logit < 0.0 { *logit * self.penalty } else { *logit / self.penalty };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_less_likely_once() {
        let mut logits = [4.0, -4.0, 0.0, 4.0];
        RepetitionPenalty { penalty: 2.0 }.apply(&[0, 1, 0, 2, 9, 0], &mut logits);
        assert_eq!(logits, [2.0, -8.0, 0.0, 4.0]);
        RepetitionPenalty { penalty: 1.0 }.apply(&[0, 1], &mut logits);
        assert_eq!(logits, [2.0, -8.0, 0.0, 4.0]);
    }
}
