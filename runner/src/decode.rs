//! Greedy decoding of windows, several in lock-step: prompts in, tokens and their scores out.
//! Which tokens are allowed is said by `rules`, which of them comes by `choice`; what they mean for time and text by `seek`
//! and `transcribe`.

use crate::choice::{Ask, Scores, probability, scores};
use crate::rules::{Forbidden, Rule};
use crate::speech_model::{RunError, SpeechModel, StartLogits};

/// Most tokens that are written for one window, half of the decoder's positions, as openai/whisper has it.
pub const MAX_NEW_TOKENS: usize = 224;

/// What the decoder wrote for a window.
#[derive(Debug, Clone, Default, PartialEq)]
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

/// Everything that decoding needs besides the model.
pub struct Decoding<'a> {
    /// For each row the tokens before the first written one, all as many:
    /// `[startofprev, previous text …,] sot, [language, task,] [notimestamps]`.
    pub prompts: &'a [&'a [u32]],
    /// Index of the start-of-transcript token in the prompts.
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

/// A row that is not finished.
struct Row {
    /// Its place among the prompts.
    index: usize,
    forbidden: Forbidden,
    /// The token that it wrote last; `None` if it ended.
    token: Option<u32>,
    sum: f64,
}

impl Decoding<'_> {
    /// Decodes the windows that `model` encoded last, each as if it were alone, taking the likeliest token at each step.
    /// A row that is finished leaves the batch.
    ///
    /// # Errors
    /// [`RunError`] where the model fails.
    pub fn greedy(&self, model: &mut dyn SpeechModel) -> Result<Vec<Decoded>, RunError> {
        let start = model.start(self.prompts, self.sot)?;
        self.greedy_from(model, &start, self.prompts.first().map_or(0, |prompt| prompt.len()))
    }

    /// [`Self::greedy`] where `model` has the first `fed` tokens of the prompts behind it already (more than `sot`) and
    /// `start` are its logits.
    ///
    /// # Errors
    /// [`RunError`] where the model fails.
    pub fn greedy_from(
        &self,
        model: &mut dyn SpeechModel,
        start: &[StartLogits],
        fed: usize,
    ) -> Result<Vec<Decoded>, RunError> {
        let no_speech = |start: &StartLogits| self.no_speech.map_or(0.0, |token| probability(&start.sot, token));
        let mut done: Vec<Decoded> =
            start.iter().map(|s| Decoded { no_speech_prob: no_speech(s), ..Decoded::default() }).collect();
        let row = |index| Row { index, forbidden: Forbidden::default(), token: None, sum: 0.0 };
        let mut rows: Vec<Row> = (0..done.len()).map(row).collect();
        let mut next: Vec<u32> = self.prompts.iter().flat_map(|prompt| &prompt[fed..]).copied().collect();
        let mut answers: Vec<Scores> = Vec::with_capacity(rows.len());
        let mut kept = Vec::with_capacity(rows.len());
        let prompt = self.prompts.first().map_or(0, |prompt| prompt.len());
        let most = self.max_new_tokens.min((self.positions + 1).saturating_sub(prompt));
        for step in 0..most {
            let asks = rows.iter_mut().map(|row| Ask {
                forbidden: row.forbidden.by(self.rules, &done[row.index].tokens),
                first_timestamp: self.first_timestamp,
            });
            if next.is_empty() {
                // The whole prompt was fed at the start.
                answers.extend(start.iter().zip(asks).map(|(start, ask)| scores(&start.last, &ask)));
            } else {
                model.step(&next, &asks.collect::<Vec<_>>(), &mut answers)?;
            }
            for (row, answer) in rows.iter_mut().zip(&answers) {
                row.token = None;
                let Some(choice) = answer.choose() else { continue };
                let decoded = &mut done[row.index];
                decoded.steps += 1;
                row.sum += choice.log_probability;
                if choice.token != self.eot {
                    decoded.tokens.push(choice.token);
                    row.token = Some(choice.token);
                }
                decoded.avg_logprob = row.sum / (decoded.tokens.len() + 1) as f64;
            }
            kept.clear();
            kept.extend((0..rows.len()).filter(|&position| rows[position].token.is_some()));
            if kept.is_empty() || step + 1 == most {
                break;
            }
            if kept.len() < rows.len() {
                model.keep(&kept)?;
                rows.retain(|row| row.token.is_some());
            }
            next.clear();
            next.extend(rows.iter().filter_map(|row| row.token));
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::SuppressTokens;

    /// Writes a fixed sequence for each row and then the end of text, whatever it is given.
    struct Script {
        texts: Vec<Vec<u32>>,
        /// The rows that go on: which text, and what was fed.
        rows: Vec<(usize, Vec<u32>)>,
        /// What was fed to rows that have left.
        left: Vec<(usize, Vec<u32>)>,
        prompt: usize,
    }

    const EOT: u32 = 9;

    impl Script {
        fn new(texts: &[&[u32]]) -> Self {
            let texts: Vec<Vec<u32>> = texts.iter().map(|text| text.to_vec()).collect();
            Self { texts, rows: Vec::new(), left: Vec::new(), prompt: 0 }
        }

        /// What was fed for `text`.
        fn fed(&self, text: usize) -> &[u32] {
            &self.rows.iter().chain(&self.left).find(|row| row.0 == text).unwrap().1
        }

        fn next(&self, row: usize) -> Vec<f32> {
            let (text, fed) = &self.rows[row];
            let mut logits = vec![0.0; 10];
            logits[*self.texts[*text].get(fed.len() - self.prompt).unwrap_or(&EOT) as usize] = 5.0;
            logits
        }
    }

    impl SpeechModel for Script {
        fn encode(&mut self, _windows: &[&[f32]]) -> Result<(), RunError> {
            Ok(())
        }
        fn start(&mut self, prompts: &[&[u32]], _sot: usize) -> Result<Vec<StartLogits>, RunError> {
            self.rows = prompts.iter().map(|prompt| prompt.to_vec()).enumerate().collect();
            let mut sot = vec![0.0; 10];
            sot[7] = 9.0f32.ln();
            Ok((0..prompts.len()).map(|row| StartLogits { sot: sot.clone(), last: self.next(row) }).collect())
        }
        fn step(&mut self, tokens: &[u32], asks: &[Ask<'_>], answers: &mut Vec<Scores>) -> Result<(), RunError> {
            assert_eq!(asks.len(), self.rows.len());
            let count = tokens.len() / asks.len();
            for (row, tokens) in self.rows.iter_mut().zip(tokens.chunks_exact(count)) {
                row.1.extend(tokens);
            }
            *answers = asks.iter().enumerate().map(|(row, ask)| scores(&self.next(row), ask)).collect();
            Ok(())
        }
        fn keep(&mut self, rows: &[usize]) -> Result<(), RunError> {
            let (kept, left) =
                std::mem::take(&mut self.rows).into_iter().enumerate().partition(|(i, _)| rows.contains(i));
            let rows = |rows: Vec<(usize, (usize, Vec<u32>))>| rows.into_iter().map(|(_, row)| row);
            self.rows = rows(kept).collect();
            self.left.extend(rows(left));
            Ok(())
        }
    }

    fn greedy(model: &mut Script, prompt: &[u32], rules: &[Box<dyn Rule>], max_new_tokens: usize) -> Vec<Decoded> {
        let prompts = vec![prompt; model.texts.len()];
        model.prompt = prompt.len();
        let decoding = Decoding {
            prompts: &prompts,
            sot: 0,
            rules,
            first_timestamp: Ask::NO_TIMESTAMPS,
            eot: EOT,
            no_speech: Some(7),
            max_new_tokens,
            positions: 448,
        };
        decoding.greedy(model).unwrap()
    }

    #[test]
    fn writes_the_script_and_scores_it() {
        let mut model = Script::new(&[&[1, 2, 3]]);
        let decoded = &greedy(&mut model, &[8], &[], 224)[0];
        assert_eq!(decoded.tokens, [1, 2, 3]);
        assert_eq!(model.fed(0), [8, 1, 2, 3]);
        assert_eq!(decoded.steps, 4);
        let each = 5.0 - (5f64.exp() + 9.0).ln();
        // Four choices, the end of text among them, over three tokens + 1.
        assert!((decoded.avg_logprob - each).abs() < 1e-6, "{}", decoded.avg_logprob);
        assert!((decoded.no_speech_prob - 0.5).abs() < 1e-6, "{}", decoded.no_speech_prob);
    }

    #[test]
    fn rows_that_end_leave_the_others_as_they_were() {
        let texts: [&[u32]; 5] = [&[1, 2, 3], &[], &[4], &[5, 6, 5, 6, 5], &[2]];
        let mut model = Script::new(&texts);
        let decoded = greedy(&mut model, &[8, 8], &[], 224);
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(decoded[i], greedy(&mut Script::new(&[text]), &[8, 8], &[], 224)[0], "row {i}");
            assert_eq!(model.fed(i), [&[8, 8], *text].concat(), "row {i} was fed after its end or not to it");
        }
    }

    #[test]
    fn ends_at_the_limits() {
        let endless = vec![1; 1000];
        let most = |prompt: &[u32], max_new_tokens| {
            let mut model = Script::new(&[&endless, &[1, 2]]);
            let decoded = greedy(&mut model, prompt, &[], max_new_tokens);
            (decoded[0].tokens.len(), model.fed(0).len(), decoded[1].tokens.len())
        };
        assert_eq!(most(&[8], 224), (224, 224, 2));
        assert_eq!(most(&[8; 440], 224), (9, 448, 2), "position 448 is written but not fed");
        assert_eq!(most(&[8], 1), (1, 1, 1));
        assert_eq!(most(&[8; 449], 224), (0, 449, 0));
        let none = &greedy(&mut Script::new(&[&[1]]), &[8], &[], 0)[0];
        assert_eq!((none.tokens.len(), none.avg_logprob), (0, 0.0));
    }

    #[test]
    fn nothing_allowed_ends_the_window() {
        let all: Vec<Box<dyn Rule>> = vec![Box::new(SuppressTokens { tokens: (0..10).collect() })];
        let decoded = greedy(&mut Script::new(&[&[1], &[2]]), &[8], &all, 224);
        assert!(decoded.iter().all(|d| d.tokens.is_empty() && d.steps == 0));
    }
}
