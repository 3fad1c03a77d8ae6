//! Scores of a decoder's cross-attention that a program asks for ([`undertone_boundary::attention_scores`]): which heads
//! are wanted of a run, and what was kept of them. Who computes them is `plan::cross`.

/// The heads that are asked for, and their scores.
#[derive(Debug, Default)]
pub struct Attended {
    /// Layer and head of each.
    heads: Vec<[u32; 2]>,
    asked: bool,
    /// Scores of one head: batch items × tokens × positions.
    of_head: usize,
    /// `[heads, rows, tokens, positions]`.
    scores: Vec<f32>,
    /// Whether a head's scores were kept.
    kept: Vec<bool>,
}

impl Attended {
    /// The next run is to keep the scores of these heads.
    pub fn ask(&mut self, heads: &[[u32; 2]]) {
        self.heads.clear();
        self.heads.extend_from_slice(heads);
        self.kept.clear();
        self.kept.resize(heads.len(), false);
        (self.of_head, self.asked) = (0, !heads.is_empty());
    }

    /// Whether the run is to keep scores of a layer.
    pub fn wants(&self, layer: u32) -> bool {
        self.asked && self.heads.iter().any(|[of, _]| *of == layer)
    }

    /// Room for `of_head` scores of each head that is asked for of a layer, with its number there. All layers have as
    /// many; where one has not, nothing is kept of it.
    pub fn room(&mut self, layer: u32, of_head: usize) -> impl Iterator<Item = (usize, &mut [f32])> {
        if self.of_head == 0 {
            self.of_head = of_head;
            self.scores.clear();
            self.scores.resize(self.heads.len() * of_head, 0.0);
        }
        let fits = self.of_head == of_head && of_head > 0;
        let places = self.heads.iter().zip(&mut self.kept).zip(self.scores.chunks_exact_mut(of_head.max(1)));
        places.filter(move |(([of, _], _), _)| fits && *of == layer).map(|(([_, head], kept), room)| {
            *kept = true;
            (*head as usize, room)
        })
    }

    /// The run is over: what was asked for it is not asked for the next.
    pub fn end_run(&mut self) {
        self.asked = false;
    }

    /// The scores of all heads that were asked for; none where some were not kept.
    pub fn scores(&self) -> &[f32] {
        let whole = !self.kept.is_empty() && self.kept.iter().all(|kept| *kept);
        if whole { &self.scores } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_given_out_whole_or_not_at_all() {
        let mut attended = Attended::default();
        assert!(attended.scores().is_empty() && !attended.wants(0));
        attended.ask(&[[2, 1], [0, 3], [2, 0]]);
        assert!(attended.wants(0) && attended.wants(2) && !attended.wants(1));
        attended.room(2, 2).for_each(|(head, room)| room.fill(head as f32));
        assert!(attended.scores().is_empty(), "a head of layer 0 is not there yet");
        assert_eq!(attended.room(0, 3).count(), 0, "of another size");
        attended.room(0, 2).for_each(|(head, room)| room.fill(head as f32));
        assert_eq!(attended.scores(), [1.0, 1.0, 3.0, 3.0, 0.0, 0.0]);
        attended.end_run();
        assert!(!attended.wants(2), "asked once");
        attended.ask(&[]);
        assert!(attended.scores().is_empty());
    }
}
