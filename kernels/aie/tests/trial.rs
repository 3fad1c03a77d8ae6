//! The trial array's core, as far as its own code goes; what it answers to each question is held against the host's
//! arithmetic by the ladder (`../tests/npu_ladder.rs`).

use undertone_aie::{TRIAL_BYTES, trial_answer};

fn ask(words: &[i32]) -> Vec<i32> {
    let mut question = vec![0; TRIAL_BYTES];
    for (place, word) in question.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let mut answer = vec![0xff; TRIAL_BYTES];
    trial_answer(&question, &mut answer).unwrap();
    answer.chunks_exact(4).map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

#[test]
fn a_question_that_it_does_not_know_is_answered_with_zeros() {
    for asked in [-1, 22, i32::MAX] {
        let answer = ask(&[asked, 3, 5]);
        assert_eq!(answer[..3], [asked, 3, 5]);
        assert!(answer[3..].iter().all(|word| *word == 0), "{asked}");
    }
}

/// However often it is computed; and not at all.
#[test]
fn turns_change_nothing_but_the_time() {
    let mut words = vec![0; 16 + 1024];
    words[0] = 6;
    words[16..].fill(3f32.to_bits() as i32);
    for (turns, product) in [(1, 9f32), (4, 9.0), (0, 0.0), (-1, 0.0)] {
        words[1] = turns;
        let answer = ask(&words);
        assert!(answer[16..16 + 512].iter().all(|word| *word == product.to_bits() as i32), "{turns}");
        assert!(answer[16 + 512..].iter().all(|word| *word == 0), "{turns}");
    }
}

#[test]
fn objects_of_other_lengths_are_refused() {
    let said = trial_answer(&[0; 64], &mut [0; TRIAL_BYTES]).unwrap_err().to_string();
    assert!(said.contains("A has 64 elements"), "{said}");
    let said = trial_answer(&[0; TRIAL_BYTES], &mut [0; 64]).unwrap_err().to_string();
    assert!(said.contains("C has 64 elements"), "{said}");
}
