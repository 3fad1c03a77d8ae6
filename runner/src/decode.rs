//! Greedy decoding of one window: prompt in, tokens and their scores out.
//! Which tokens are allowed is said by `rules`; what the tokens mean for time and text by `seek` and `transcribe`.

use crate::choice::{Ask, probability, scores};
use crate::rules::{Forbidden, Rule};
use crate::speech_model::{RunError, SpeechModel, StartLogits};

/// Most tokens that are written for one window, half of the decoder's positions, as openai/whisper has it.
pub const MAX_NEW_TOKENS: usize = 224;

/// What the decoder wrote for a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The tokens, timestamps included, end of text not.
    pub tokens: Vec<u32>,
    /// Sum of log-probabilities (end of text counted) divided by tokens + 1.
    pub avg_logprob: f64,
    /// Probability of the no-speech token after start-of-transcript, before any rule.
    pub no_speech_prob: f64,
    /// Decoder steps that chose a token, end of text counted.
    pub steps: usize,
}

/// Everything that one decoding needs besides the model.
pub struct Decoding<'a> {
    /// Tokens before the first written one: `[startofprev, previous text …,] sot, [language, task,] [notimestamps]`.
    pub prompt: &'a [u32],
    /// Index of the start-of-transcript token in `prompt`.
    pub sot: usize,
    /// The rules.
    pub rules: &'a [Box<dyn Rule>],
    /// Tokens from here on are timestamps; [`Ask::NO_TIMESTAMPS`] where none are to be written.
    pub first_timestamp: u32,
    /// End of text.
    pub eot: u32,
    /// The token whose probability says that there is no speech.
    pub no_speech: Option<u32>,
    /// Most tokens to write; [`MAX_NEW_TOKENS`] unless a caller wants fewer.
    pub max_new_tokens: usize,
    /// Positions of the decoder (448).
    pub positions: usize,
}

impl Decoding<'_> {
    /// Decodes the window that `model` encoded last, taking the likeliest token at each step.
    ///
    /// # Errors
    /// [`RunError`] where the model fails.
    pub fn greedy(&self, model: &mut dyn SpeechModel) -> Result<Decoded, RunError> {
        let start = model.start(self.prompt, self.sot)?;
        self.greedy_from(model, start)
    }

    /// [`Self::greedy`] where `model` has the prompt behind it already and `start` are its logits.
    ///
    /// # Errors
    /// [`RunError`] where the model fails.
    pub fn greedy_from(&self, model: &mut dyn SpeechModel, start: StartLogits) -> Result<Decoded, RunError> {
        let no_speech_prob = self.no_speech.map_or(0.0, |token| probability(&start.sot, token));
        let mut logits = start.last;
        let mut forbidden = Forbidden::default();
        let mut tokens = Vec::new();
        let mut sum = 0.0;
        let mut steps = 0;
        while steps < self.max_new_tokens && self.prompt.len() + tokens.len() <= self.positions {
            let ask = Ask { forbidden: forbidden.by(self.rules, &tokens), first_timestamp: self.first_timestamp };
            let Some(choice) = scores(&logits, &ask).choose() else { break };
            steps += 1;
            sum += choice.log_probability;
            if choice.token == self.eot {
                break;
            }
            tokens.push(choice.token);
            let full = self.prompt.len() + tokens.len() > self.positions;
            if steps < self.max_new_tokens && !full {
                model.step(choice.token, &mut logits)?;
            }
        }
        let avg_logprob = sum / (tokens.len() + 1) as f64;
        Ok(Decoded { tokens, avg_logprob, no_speech_prob, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::SuppressTokens;

    /// Writes a fixed sequence and then the end of text, whatever it is given.
    struct Script {
        tokens: Vec<u32>,
        at: usize,
        fed: Vec<u32>,
    }

    const EOT: u32 = 9;

    impl Script {
        fn new(tokens: &[u32]) -> Self {
            Self { tokens: tokens.to_vec(), at: 0, fed: Vec::new() }
        }

        fn next(&mut self) -> Vec<f32> {
            let mut logits = vec![0.0; 10];
            logits[*self.tokens.get(self.at).unwrap_or(&EOT) as usize] = 5.0;
            self.at += 1;
            logits
        }
    }

    impl SpeechModel for Script {
        fn encode(&mut self, _features: &[f32]) -> Result<(), RunError> {
            Ok(())
        }
        fn start(&mut self, tokens: &[u32], _sot: usize) -> Result<StartLogits, RunError> {
            self.fed = tokens.to_vec();
            let mut sot = vec![0.0; 10];
            sot[7] = 9.0f32.ln();
            Ok(StartLogits { sot, last: self.next() })
        }
        fn step(&mut self, token: u32, logits: &mut Vec<f32>) -> Result<(), RunError> {
            self.fed.push(token);
            *logits = self.next();
            Ok(())
        }
    }

    fn decoding<'a>(prompt: &'a [u32], rules: &'a [Box<dyn Rule>]) -> Decoding<'a> {
        Decoding {
            prompt,
            sot: 0,
            rules,
            first_timestamp: Ask::NO_TIMESTAMPS,
            eot: EOT,
            no_speech: Some(7),
            max_new_tokens: 224,
            positions: 448,
        }
    }

    #[test]
    fn writes_the_script_and_scores_it() {
        let mut model = Script::new(&[1, 2, 3]);
        let decoded = decoding(&[8], &[]).greedy(&mut model).unwrap();
        assert_eq!(decoded.tokens, [1, 2, 3]);
        assert_eq!(model.fed, [8, 1, 2, 3]);
        assert_eq!(decoded.steps, 4);
        let each = 5.0 - (5f64.exp() + 9.0).ln();
        // Four choices, the end of text among them, over three tokens + 1.
        assert!((decoded.avg_logprob - each).abs() < 1e-6, "{}", decoded.avg_logprob);
        assert!((decoded.no_speech_prob - 0.5).abs() < 1e-6, "{}", decoded.no_speech_prob);
    }

    #[test]
    fn ends_at_the_limits() {
        let endless = vec![1; 1000];
        let mut model = Script::new(&endless);
        assert_eq!(decoding(&[8], &[]).greedy(&mut model).unwrap().tokens.len(), 224);
        let long = vec![8; 440];
        let mut model = Script::new(&endless);
        let decoded = decoding(&long, &[]).greedy(&mut model).unwrap();
        assert_eq!(decoded.tokens.len(), 9, "position 448 is written but not fed");
        assert_eq!(model.fed.len(), 448);
        let none = Decoding { max_new_tokens: 0, ..decoding(&[8], &[]) }.greedy(&mut Script::new(&[1])).unwrap();
        assert_eq!((none.tokens.len(), none.avg_logprob), (0, 0.0));
    }

    #[test]
    fn nothing_allowed_ends_the_window() {
        let all: Vec<Box<dyn Rule>> = vec![Box::new(SuppressTokens { tokens: (0..10).collect() })];
        let decoded = decoding(&[8], &all).greedy(&mut Script::new(&[1])).unwrap();
        assert!(decoded.tokens.is_empty());
    }
}
