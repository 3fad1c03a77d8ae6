//! Decoding of windows, several in lock-step: prompts in, tokens and their scores out. `rules` says which tokens are
//! allowed, a `search` which of them comes, a `ranking` which of several sequences is taken, `seek` what they mean in
//! time.

use crate::choice::{Ask, Scores, choices, probability, ranks};
use crate::penalty::Penalty;
use crate::ranking::Ranking;
use crate::rules::{EndInTime, Forbidden, GoOn, Rule};
use crate::search::{Greedy, Proposal, Search, Sequence, Wants};
use crate::speech_model::{RunError, SpeechModel, StartLogits};

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
    /// The text was cut off: no more tokens were allowed.
    pub cut_off: bool,
}

/// Everything that decoding needs besides the model.
pub struct Decoding<'a> {
    /// For each row the tokens before the first written one, all as many:
    /// `[startofprev, previous text …,] sot, [language, task,] [notimestamps,] [beginning of the text …]`.
    pub prompts: &'a [&'a [u32]],
    /// Index of the start-of-transcript token in the prompts.
    pub sot: usize,
    /// The rules.
    pub rules: &'a [Box<dyn Rule>],
    /// A rule of each row's own; none has one where this is empty.
    pub own: &'a [Option<GoOn>],
    /// What makes tokens less likely.
    pub penalties: &'a [Box<dyn Penalty>],
    /// Which of a window's sequences comes first.
    pub ranking: &'a dyn Ranking,
    /// Tokens from here on are timestamps; [`Ask::NO_TIMESTAMPS`] where none are to be written.
    pub first_timestamp: u32,
    /// End of text.
    pub eot: u32,
    /// The token whose probability says that there is no speech.
    pub no_speech: Option<u32>,
    /// Most tokens to write; half of the positions in openai/whisper.
    pub max_new_tokens: usize,
    /// Text that is cut off there ends in a timestamp.
    pub ends_in_time: bool,
    /// Positions of the decoder (448).
    pub positions: usize,
    /// Asked at each step whether the rest is no longer wanted; what was written until then is not whole.
    pub stop: &'a dyn Fn() -> bool,
}

/// A window's sequences that are done.
#[derive(Default)]
struct Done {
    /// By themselves, with the end of text.
    finished: Vec<Sequence>,
    unfinished: Vec<Sequence>,
}

/// What stands before a step's choice.
enum Behind<'a> {
    /// The prompt, all of which was fed at the start, with these logits.
    Prompt(&'a [StartLogits]),
    /// The last token of each row, or what is left of the prompts; not fed yet.
    Tokens(&'a [u32]),
}

impl Decoding<'_> {
    /// Decodes the windows that `model` encoded last, each as if it were alone, taking the likeliest token at each
    /// step.
    pub fn greedy(&self, model: &mut dyn SpeechModel) -> Result<Vec<Decoded>, RunError> {
        let start = model.start(self.prompts, self.sot)?;
        let fed = self.prompts.first().map_or(0, |prompt| prompt.len());
        // Each window has one sequence.
        Ok(self.search(model, &mut Greedy, &start, fed)?.into_iter().flatten().collect())
    }

    /// Decodes windows where `model` has the first `fed` tokens of the prompts behind it already (more than `sot`) and
    /// `start` are its logits. Returns what each window's sequences wrote, in the order of the ranking. A window whose
    /// sequences were all given up has none.
    ///
    /// A sequence that is finished leaves the batch.
    pub fn search(
        &self,
        model: &mut dyn SpeechModel,
        search: &mut dyn Search,
        start: &[StartLogits],
        fed: usize,
    ) -> Result<Vec<Vec<Decoded>>, RunError> {
        let sequence = |window| Sequence { window, number: 0, tokens: Vec::new(), sum: 0.0 };
        let mut rows: Vec<Sequence> = (0..start.len()).map(sequence).collect();
        let mut done: Vec<Done> = rows.iter().map(|_| Done::default()).collect();
        let mut next: Vec<u32> = self.prompts.iter().flat_map(|prompt| &prompt[fed..]).copied().collect();
        let mut forbidden: Vec<Forbidden> = Vec::new();
        let most = self.most();
        let last = EndInTime { first: self.first_timestamp };
        for step in 0..most {
            let last = (self.ends_in_time && step + 1 == most).then_some(&last as &dyn Rule);
            forbidden.resize_with(rows.len().max(forbidden.len()), Forbidden::default);
            let asks: Vec<Ask<'_>> = rows
                .iter()
                .zip(&mut forbidden)
                .map(|(row, forbidden)| {
                    let own = self.own.get(row.window).and_then(Option::as_ref).map(|own| own as &dyn Rule);
                    let forbidden = match self.begun(row.window) {
                        [] => forbidden.by(self.rules, &[own, last], &row.tokens),
                        begun => forbidden.by(self.rules, &[own, last], &[begun, &row.tokens].concat()),
                    };
                    Ask { forbidden, first_timestamp: self.first_timestamp }
                })
                .collect();
            let behind = if next.is_empty() { Behind::Prompt(start) } else { Behind::Tokens(&next) };
            let proposals = self.propose(model, search, &rows, &asks, behind)?;
            let before = rows.len();
            let kept = self.advance(&mut rows, &proposals, search, &mut done);
            if rows.is_empty() || step + 1 == most || (self.stop)() {
                break;
            }
            if !kept.iter().copied().eq(0..before) {
                model.keep(&kept)?;
            }
            next.clear();
            next.extend(rows.iter().filter_map(|row| row.tokens.last()));
        }
        for sequence in rows {
            done[sequence.window].unfinished.push(sequence);
        }
        let no_speech = |start: &StartLogits| self.no_speech.map_or(0.0, |token| probability(&start.sot, token));
        let decoded = |(done, start)| self.ranked(search, done, no_speech(start));
        Ok(done.into_iter().zip(start).map(decoded).collect())
    }

    /// Most tokens that can be written behind the prompts.
    fn most(&self) -> usize {
        let prompt = self.prompts.first().map_or(0, |prompt| prompt.len());
        self.max_new_tokens.min((self.positions + 1).saturating_sub(prompt))
    }

    /// What a window's text begins with by its prompt: the rules take it for written.
    fn begun(&self, window: usize) -> &[u32] {
        let Some(behind) = self.prompts.get(window).and_then(|prompt| prompt.get(self.sot + 1..)) else { return &[] };
        let is_text = |token: &u32| *token < self.eot || *token >= self.first_timestamp;
        behind.iter().position(is_text).map_or(&[], |at| &behind[at..])
    }

    /// How each of `rows` may go on.
    fn propose(
        &self,
        model: &mut dyn SpeechModel,
        search: &mut dyn Search,
        rows: &[Sequence],
        asks: &[Ask<'_>],
        behind: Behind<'_>,
    ) -> Result<Vec<Proposal>, RunError> {
        let mut proposals = Vec::with_capacity(rows.len());
        let wants = search.wants();
        let mut found: Vec<Scores> = Vec::new();
        if let (Wants::Likeliest(count), Behind::Tokens(next), true) = (wants, &behind, self.penalties.is_empty()) {
            model.step(next, asks, count, &mut found)?;
            for (row, ranks) in found.chunks_exact(count).enumerate() {
                proposals.extend(choices(ranks).map(|choice| Proposal { row, choice }));
            }
            return Ok(proposals);
        }
        let mut lowered = Vec::new();
        let mut look = |row: usize, logits: &[f32]| {
            let mut logits = logits;
            if !self.penalties.is_empty() {
                lowered.clear();
                lowered.extend_from_slice(logits);
                self.penalties.iter().for_each(|penalty| penalty.apply(&rows[row].tokens, &mut lowered));
                logits = &lowered;
            }
            match wants {
                Wants::Logits => search.propose(row, &rows[row], logits, &asks[row], &mut proposals),
                Wants::Likeliest(count) => {
                    found.clear();
                    ranks(logits, &asks[row], count, &mut found);
                    proposals.extend(choices(&found).map(|choice| Proposal { row, choice }));
                }
            }
        };
        match behind {
            Behind::Tokens(next) => model.step_logits(next, &mut look)?,
            Behind::Prompt(start) => start.iter().enumerate().for_each(|(row, start)| look(row, &start.last)),
        }
        Ok(proposals)
    }

    /// Makes of `rows` the sequences of the next step, by what they propose; returns which row each was. Those that end
    /// are added to what is `done` for their window.
    fn advance(
        &self,
        rows: &mut Vec<Sequence>,
        proposals: &[Proposal],
        search: &mut dyn Search,
        done: &mut [Done],
    ) -> Vec<usize> {
        let mut before = std::mem::replace(rows, Vec::with_capacity(rows.len()));
        let mut kept = Vec::with_capacity(before.len());
        for (row, sequence) in before.iter().enumerate() {
            if proposals.iter().all(|proposal| proposal.row != row) {
                done[sequence.window].unfinished.push(sequence.clone()); // Nothing is allowed.
            }
        }
        let of_windows = proposals.chunk_by(|a, b| before[a.row].window == before[b.row].window);
        let mut of_windows: Vec<Vec<Proposal>> = of_windows.map(<[Proposal]>::to_vec).collect();
        of_windows.iter_mut().for_each(|proposals| search.follow(&before, proposals));
        for followed in of_windows {
            let mut free = 1 + followed.iter().map(|p| before[p.row].number).max().unwrap_or(0);
            for (i, &Proposal { row, choice }) in followed.iter().enumerate() {
                let comes_again = followed.get(i + 1).is_some_and(|next| next.row == row);
                let mut sequence = if comes_again { before[row].clone() } else { std::mem::take(&mut before[row]) };
                if i > 0 && followed[i - 1].row == row {
                    sequence.number = free;
                    free += 1;
                }
                sequence.sum += choice.log_probability;
                let done = &mut done[sequence.window];
                if choice.token == self.eot {
                    done.finished.push(sequence);
                    continue;
                }
                sequence.tokens.push(choice.token);
                if search.is_done(sequence.window) {
                    done.unfinished.push(sequence);
                } else if !search.gives_up(&sequence) {
                    kept.push(row);
                    rows.push(sequence);
                }
            }
        }
        kept
    }

    /// A window's results, the first by the ranking first.
    fn ranked(&self, search: &dyn Search, mut done: Done, no_speech_prob: f64) -> Vec<Decoded> {
        search.settle(done.finished.len(), &mut done.unfinished);
        let finished = done.finished.into_iter().map(|sequence| (sequence, 1));
        let mut all: Vec<(Sequence, usize)> =
            finished.chain(done.unfinished.into_iter().map(|sequence| (sequence, 0))).collect();
        let score = |sequence: &Sequence| self.ranking.score(sequence.sum, sequence.tokens.len());
        all.sort_by(|(a, _), (b, _)| score(b).total_cmp(&score(a)));
        let decoded = |(sequence, end): (Sequence, usize)| Decoded {
            avg_logprob: sequence.sum / (sequence.tokens.len() + 1) as f64,
            no_speech_prob,
            steps: sequence.tokens.len() + end,
            cut_off: end == 0 && sequence.tokens.len() >= self.most(),
            tokens: sequence.tokens,
        };
        all.into_iter().map(decoded).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{Choice, scores};
    use crate::ranking::MaximumLikelihood;
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
        fn step(
            &mut self,
            tokens: &[u32],
            asks: &[Ask<'_>],
            count: usize,
            answers: &mut Vec<Scores>,
        ) -> Result<(), RunError> {
            assert_eq!(asks.len(), self.rows.len());
            for (row, tokens) in self.rows.iter_mut().zip(tokens.chunks_exact(tokens.len() / asks.len())) {
                row.1.extend(tokens);
            }
            answers.clear();
            asks.iter().enumerate().for_each(|(row, ask)| ranks(&self.next(row), ask, count, answers));
            Ok(())
        }
        fn step_logits(&mut self, tokens: &[u32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), RunError> {
            assert_eq!(tokens.len(), self.rows.len());
            self.rows.iter_mut().zip(tokens).for_each(|(row, token)| row.1.push(*token));
            (0..self.rows.len()).for_each(|row| look(row, &self.next(row)));
            Ok(())
        }
        fn restart(&mut self, _windows: &[usize]) -> Result<(), RunError> {
            unreachable!("nothing is decoded again")
        }
        fn keep(&mut self, rows: &[usize]) -> Result<(), RunError> {
            let before = std::mem::take(&mut self.rows);
            self.rows = rows.iter().map(|&row| before[row].clone()).collect();
            self.left.extend(before.into_iter().enumerate().filter(|(i, _)| !rows.contains(i)).map(|(_, row)| row));
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
            own: &[],
            penalties: &[],
            ranking: &MaximumLikelihood::default(),
            first_timestamp: Ask::NO_TIMESTAMPS,
            eot: EOT,
            no_speech: Some(7),
            max_new_tokens,
            ends_in_time: false,
            positions: 448,
            stop: &|| false,
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
    fn what_is_cut_off_says_so() {
        let mut model = Script::new(&[&[1, 2, 3], &[4]]);
        let cut_off = greedy(&mut model, &[8], &[], 3).into_iter().map(|decoded| decoded.cut_off).collect::<Vec<_>>();
        assert_eq!(cut_off, [true, false]);
        assert!(!greedy(&mut Script::new(&[&[1, 2, 3]]), &[8], &[], 4)[0].cut_off, "there was room for its end");
    }

    /// Begins in three ways, of which it follows the second and third; gives up what has written a 2 first; else takes
    /// what is likeliest.
    struct Forks;

    impl Search for Forks {
        fn wants(&self) -> Wants {
            Wants::Logits
        }
        fn propose(&mut self, row: usize, of: &Sequence, logits: &[f32], ask: &Ask<'_>, all: &mut Vec<Proposal>) {
            let Some(likeliest) = scores(logits, ask).choose() else { return };
            match of.tokens.is_empty() {
                true => all.extend(
                    [7, likeliest.token, 6, 2]
                        .map(|token| Proposal { row, choice: Choice { token, log_probability: -f64::from(token) } }),
                ),
                false => all.push(Proposal { row, choice: likeliest }),
            }
        }
        fn follow(&mut self, rows: &[Sequence], proposals: &mut Vec<Proposal>) {
            assert!(proposals.iter().all(|p| rows[p.row].window == rows[proposals[0].row].window));
            proposals.retain(|proposal| proposal.choice.token != 7);
        }
        fn gives_up(&self, sequence: &Sequence) -> bool {
            sequence.tokens[0] == 2
        }
    }

    #[test]
    fn a_sequence_goes_on_in_several_ways_and_the_likeliest_comes_first() {
        let mut model = Script::new(&[&[1, 3], &[5], &[2]]);
        let prompts = [&[8][..]; 3];
        model.prompt = 1;
        let decoding = Decoding {
            prompts: &prompts,
            sot: 0,
            rules: &[],
            own: &[],
            penalties: &[],
            ranking: &MaximumLikelihood::default(),
            first_timestamp: Ask::NO_TIMESTAMPS,
            eot: EOT,
            no_speech: None,
            max_new_tokens: 224,
            ends_in_time: false,
            positions: 448,
            stop: &|| false,
        };
        let start = model.start(&prompts, 0).unwrap();
        let found = decoding.search(&mut model, &mut Forks, &start, 1).unwrap();
        let tokens: Vec<Vec<&[u32]>> = found.iter().map(|all| all.iter().map(|d| &d.tokens[..]).collect()).collect();
        assert_eq!(tokens, [vec![&[1, 3][..], &[6, 3]], vec![&[5][..], &[6]], vec![&[6][..]]]);
    }

    #[test]
    fn nothing_allowed_ends_the_window() {
        let all: Vec<Box<dyn Rule>> = vec![Box::new(SuppressTokens { tokens: (0..10).collect() })];
        let decoded = greedy(&mut Script::new(&[&[1], &[2]]), &[8], &all, 224);
        assert!(decoded.iter().all(|d| d.tokens.is_empty() && d.steps == 0));
    }
}
