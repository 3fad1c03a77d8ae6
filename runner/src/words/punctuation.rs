//! Marks that are written as part of the word beside them.

use super::align::Aligned;

/// Puts marks of `prepended` before the word that follows and those of `appended` behind the word before; what they
/// were stays in its place, empty.
///
/// Source: openai/whisper, `whisper/timing.py` (`merge_punctuations`). A word is a mark where it is a part of the list,
/// as there.
pub(super) fn merge(words: &mut [Aligned], prepended: &str, appended: &str) {
    let mut following = words.len().saturating_sub(1);
    for at in (0..following).rev() {
        let [previous, .., next] = &mut words[at..=following] else { continue };
        if previous.word.starts_with(' ') && prepended.contains(previous.word.trim()) {
            next.word.insert_str(0, &previous.word);
            next.tokens += previous.tokens;
            previous.word.clear();
            previous.tokens = 0;
        } else {
            following = at;
        }
    }
    let mut last = 0;
    for at in 1..words.len() {
        let [previous, .., next] = &mut words[last..=at] else { continue };
        if !previous.word.ends_with(' ') && appended.contains(next.word.as_str()) {
            previous.word.push_str(&next.word);
            previous.tokens += next.tokens;
            next.word.clear();
            next.tokens = 0;
        } else {
            last = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(words: &[&str]) -> Vec<(String, usize)> {
        let mut words: Vec<Aligned> =
            words.iter().map(|word| Aligned { word: (*word).to_owned(), tokens: 1, ..Aligned::default() }).collect();
        merge(&mut words, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、");
        words.into_iter().filter(|word| !word.word.is_empty()).map(|word| (word.word, word.tokens)).collect()
    }

    fn texts(words: &[&str]) -> Vec<String> {
        merged(words).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn marks_join_the_words_that_they_belong_to() {
        assert_eq!(merged(&[" Hello", ",", " world", "!"]), [(" Hello,".into(), 2), (" world!".into(), 2)]);
        assert_eq!(texts(&[" \"", "Yes", ",", "\"", " he"]), [" \"Yes,\"", " he"]);
        assert_eq!(texts(&[" ¿", "Qué", "?", " -", " no"]), [" ¿Qué?", " - no"]);
        // Several in a row, before and behind.
        assert_eq!(texts(&[" (", " [", "a", ")", "]", "."]), [" ( [a)]."]);
        assert_eq!(texts(&["你", "好", "。"]), ["你", "好。"]);
    }

    #[test]
    fn marks_without_a_word_stay() {
        assert_eq!(texts(&[]), Vec::<String>::new());
        assert_eq!(texts(&["."]), ["."]);
        assert_eq!(texts(&[" \""]), [" \""]);
        // A mark without a blank before it is no opening one, and a word that ends in a blank takes none.
        assert_eq!(texts(&["(", "a"]), ["(", "a"]);
        assert_eq!(texts(&["a ", "."]), ["a ", "."]);
    }
}
