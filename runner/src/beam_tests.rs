//! Beam search over pretended models of a small vocabulary, against a slow search that looks at everything.

use super::*;
use crate::choice::{Ask, Scores, ranks};
use crate::decode::{Decoded, Decoding};
use crate::ranking::{MaximumLikelihood, Ranking};
use crate::rules::{Rule, SuppressTokens};
use crate::search::Greedy;
use crate::speech_model::{RunError, SpeechModel, StartLogits};
use proptest::prelude::*;

/// Text 0–5, end of text 6, timestamps 7–11.
const SIZE: usize = 12;
const EOT: u32 = 6;
const FIRST: u32 = 7;
const PROMPT: [u32; 1] = [EOT];

/// A model whose every logit is chance, by the window and all tokens before it.
struct Chance {
    seeds: Vec<u64>,
    /// How much likelier the end is than by chance.
    end: f32,
    rows: Vec<(u64, Vec<u32>)>,
}

/// The logits after `written`.
fn logits(seed: u64, end: f32, written: &[u32]) -> Vec<f32> {
    let mixed =
        written.iter().fold(seed, |mixed, &token| (mixed ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut rng = fastrand::Rng::with_seed(mixed);
    let mut logits: Vec<f32> = (0..SIZE).map(|_| 4.0 * rng.f32()).collect();
    logits[EOT as usize] += end;
    logits
}

impl Chance {
    fn next(&self, row: usize) -> Vec<f32> {
        let (seed, fed) = &self.rows[row];
        logits(*seed, self.end, &fed[PROMPT.len()..])
    }
}

impl SpeechModel for Chance {
    fn encode(&mut self, _windows: &[&[f32]]) -> Result<(), RunError> {
        Ok(())
    }
    fn start(&mut self, prompts: &[&[u32]], _sot: usize) -> Result<Vec<StartLogits>, RunError> {
        self.rows = self.seeds.iter().zip(prompts).map(|(&seed, prompt)| (seed, prompt.to_vec())).collect();
        Ok((0..prompts.len()).map(|row| StartLogits { sot: vec![0.0; SIZE], last: self.next(row) }).collect())
    }
    fn step(
        &mut self,
        tokens: &[u32],
        asks: &[Ask<'_>],
        count: usize,
        answers: &mut Vec<Scores>,
    ) -> Result<(), RunError> {
        answers.clear();
        self.step_logits(tokens, &mut |row, logits| ranks(logits, &asks[row], count, answers))
    }
    fn step_logits(&mut self, tokens: &[u32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), RunError> {
        assert_eq!(tokens.len(), self.rows.len());
        self.rows.iter_mut().zip(tokens).for_each(|(row, &token)| row.1.push(token));
        (0..self.rows.len()).for_each(|row| look(row, &self.next(row)));
        Ok(())
    }
    fn keep(&mut self, rows: &[usize]) -> Result<(), RunError> {
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Ok(())
    }
    fn restart(&mut self, _windows: &[usize]) -> Result<(), RunError> {
        unreachable!("nothing is decoded again")
    }
}

/// How is searched.
#[derive(Debug, Clone, Copy)]
struct Case {
    size: usize,
    patience: f64,
    length_penalty: Option<f64>,
    most: usize,
    end: f32,
    first_timestamp: u32,
}

fn search(case: Case, seeds: &[u64], search: &mut dyn Search) -> Vec<Vec<Decoded>> {
    let mut model = Chance { seeds: seeds.to_vec(), end: case.end, rows: Vec::new() };
    let prompts = vec![&PROMPT[..]; seeds.len()];
    let rules: [Box<dyn Rule>; 1] = [Box::new(SuppressTokens { tokens: vec![2] })];
    let decoding = Decoding {
        prompts: &prompts,
        sot: 0,
        rules: &rules,
        own: &[],
        penalties: &[],
        ranking: &MaximumLikelihood { length_penalty: case.length_penalty },
        first_timestamp: case.first_timestamp,
        eot: EOT,
        no_speech: None,
        max_new_tokens: case.most,
        ends_in_time: false,
        positions: 448,
        stop: &|| false,
    };
    let start = model.start(&prompts, 0).unwrap();
    decoding.search(&mut model, search, &start, 1).unwrap()
}

fn beams(case: Case, seeds: &[u64]) -> Vec<Vec<Decoded>> {
    search(case, seeds, &mut Beam::new(case.size, case.patience, EOT, seeds.len()))
}

/// The log-probabilities of all tokens after `written`; those that cannot come have none.
fn log_probabilities(case: Case, seed: u64, written: &[u32]) -> Vec<(u32, f64)> {
    let weights: Vec<f64> = logits(seed, case.end, written).iter().map(|&x| f64::from(x).exp()).collect();
    let is_time = |token: u32| token >= case.first_timestamp;
    let allowed: Vec<u32> = (0..SIZE as u32).filter(|&token| token != 2).collect();
    let weight = |token: u32| weights[token as usize];
    let times: f64 = allowed.iter().filter(|&&t| is_time(t)).map(|&t| weight(t)).sum();
    let text = allowed.iter().filter(|&&t| !is_time(t)).map(|&t| weight(t)).fold(0.0, f64::max);
    let left: Vec<u32> = allowed.into_iter().filter(|&t| is_time(t) || times <= text).collect();
    let all: f64 = left.iter().map(|&t| weight(t)).sum();
    left.into_iter().map(|token| (token, (weight(token) / all).ln())).collect()
}

/// The slow, obvious search of one window: its best text, and the mean log-probability.
fn expected(case: Case, seed: u64) -> (Vec<u32>, f64) {
    let most_ended = (case.size as f64 * case.patience).round_ties_even() as usize;
    let mut beams = vec![(Vec::new(), 0.0)];
    let mut ended: Vec<(Vec<u32>, f64)> = Vec::new();
    for _ in 0..case.most {
        let mut candidates = Vec::new();
        for (written, sum) in &beams {
            let mut ways = log_probabilities(case, seed, written);
            ways.sort_by(|a, b| b.1.total_cmp(&a.1));
            ways.truncate(case.size + 1);
            candidates.extend(ways.into_iter().map(|(token, p)| (written.clone(), token, sum + p)));
        }
        candidates.sort_by(|a, b| b.2.total_cmp(&a.2));
        beams = Vec::new();
        for (mut written, token, sum) in candidates {
            if token != EOT {
                written.push(token);
                beams.push((written, sum));
            } else if ended.len() < most_ended {
                ended.push((written, sum));
            }
            if beams.len() == case.size {
                break;
            }
        }
        if ended.len() >= most_ended {
            break;
        }
    }
    beams.sort_by(|a, b| b.1.total_cmp(&a.1));
    while ended.len() < case.size && !beams.is_empty() {
        ended.push(beams.remove(0));
    }
    let ranking = MaximumLikelihood { length_penalty: case.length_penalty };
    let score = |(written, sum): &(Vec<u32>, f64)| ranking.score(*sum, written.len());
    let best = ended.into_iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
    let mean = best.1 / (best.0.len() + 1) as f64;
    (best.0, mean)
}

fn cases() -> impl Strategy<Value = Case> {
    let patience = prop_oneof![Just(1.0), Just(2.0), 0.6f64..3.0];
    let length_penalty = prop_oneof![Just(None), (0.0f64..1.0).prop_map(Some)];
    let first_timestamp = prop_oneof![Just(FIRST), Just(Ask::NO_TIMESTAMPS)];
    (1usize..7, patience, length_penalty, 0usize..14, -6.0f32..4.0, first_timestamp).prop_map(
        |(size, patience, length_penalty, most, end, first_timestamp)| Case {
            size,
            patience,
            length_penalty,
            most,
            end,
            first_timestamp,
        },
    )
}

proptest! {
    #[test]
    fn finds_what_the_slow_search_finds(case in cases(), seed in any::<u64>()) {
        let found = &beams(case, &[seed])[0];
        let (tokens, mean) = expected(case, seed);
        let best = &found[0];
        prop_assert_eq!(&best.tokens, &tokens);
        prop_assert!((best.avg_logprob - mean).abs() < 1e-5, "{} {}", best.avg_logprob, mean);
        // In the ranking's order, no two alike, and each as long as it may be.
        for (i, one) in found.iter().enumerate() {
            prop_assert!(one.tokens.len() <= case.most);
            prop_assert!(found[..i].iter().all(|other| other.tokens != one.tokens));
        }
    }

    #[test]
    fn one_beam_is_greedy(case in cases(), seeds in prop::collection::vec(any::<u64>(), 1..4)) {
        let one = Case { size: 1, patience: 1.0, ..case };
        let greedy = search(one, &seeds, &mut Greedy);
        let beam = beams(one, &seeds);
        for (greedy, beam) in greedy.iter().zip(&beam) {
            prop_assert_eq!(beam.len(), 1);
            prop_assert_eq!(&greedy[0].tokens, &beam[0].tokens);
            prop_assert!((greedy[0].avg_logprob - beam[0].avg_logprob).abs() < 1e-5);
        }
    }

    #[test]
    fn windows_together_as_each_alone(case in cases(), seeds in prop::collection::vec(any::<u64>(), 1..6)) {
        let together = beams(case, &seeds);
        prop_assert_eq!(together.len(), seeds.len());
        for (together, &seed) in together.iter().zip(&seeds) {
            prop_assert_eq!(together, &beams(case, &[seed])[0]);
        }
    }
}

#[test]
fn a_wide_beam_finds_the_likeliest_of_all_sequences() {
    let ranking = MaximumLikelihood { length_penalty: Some(0.0) };
    for seed in 0..40 {
        let case = Case {
            size: 64,
            patience: 1.0,
            length_penalty: ranking.length_penalty,
            most: 2,
            end: -1.0,
            first_timestamp: Ask::NO_TIMESTAMPS,
        };
        // All sequences of up to two tokens.
        let mut all: Vec<(Vec<u32>, f64)> = Vec::new();
        for (first, p) in log_probabilities(case, seed, &[]) {
            match first {
                EOT => all.push((vec![], p)),
                first => all.extend(
                    log_probabilities(case, seed, &[first])
                        .into_iter()
                        .map(|(second, q)| (if second == EOT { vec![first] } else { vec![first, second] }, p + q)),
                ),
            }
        }
        let best = all.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(beams(case, &[seed])[0][0].tokens, best.0, "{seed}");
    }
}

#[test]
fn halves_are_rounded_to_the_even_number() {
    let rounded = [(5, 0.5), (5, 0.7), (5, 1.0), (3, 0.5), (1, 0.5)].map(|(size, by)| candidates(size, by));
    assert_eq!(rounded, [2, 4, 5, 2, 0]);
}
