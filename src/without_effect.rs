//! Options of decoding that stand on the command line and change nothing, because of others: one line names each of
//! them. openai/whisper says it of some. Defaults are never told of, and nothing here is an error.

use undertone_runner::TranscribeOptions;

use crate::given::Given;
use crate::output::say;

/// What the options come to, as far as others depend on it.
pub struct Chosen<'a> {
    pub options: &'a TranscribeOptions,
    /// Whether long recordings are cut into chunks.
    pub cuts: bool,
    /// Whether a window is given the text before it.
    pub previous_text: bool,
}

impl Chosen<'_> {
    /// Each option that may be without effect: its field, whether it has one, and why it has none.
    fn all(&self) -> Vec<(&'static str, bool, &'static str)> {
        let Self { options, cuts, previous_text } = *self;
        let temperatures = &options.temperatures;
        let (greedy, draws) = (temperatures.contains(&0.0), temperatures.iter().any(|temperature| *temperature > 0.0));
        let beams = greedy && options.search.beam_size.is_some_and(|size| size > 1);
        let again = temperatures.len() > 1;
        let several = beams || draws && options.best_of > 1;
        let clips = !options.clips.is_empty();
        let filter = options.voice.vad_filter && !clips;
        let (words, known) = (options.words.word_timestamps, options.language.as_deref().is_some_and(|l| l != "auto"));
        let detects = options.multilingual || !known;
        let only_filter = "it is for --vad-filter";
        let listens = filter || cuts;
        vec![
            ("beam_size", greedy, "beams are followed at --temperature 0 alone"),
            ("patience", beams, "it is for a beam search: --beam-size of 2 or more at --temperature 0"),
            ("best_of", draws, "texts are drawn at a temperature above 0 alone, and windows are decoded once at 0"),
            ("length_penalty", several, "there is only one text of each window to choose from"),
            ("temperature_increment_on_fallback", again || draws, "--no-fallback decodes every window once"),
            ("compression_ratio_threshold", again || draws, "every window is decoded once, whatever comes"),
            ("language", !options.multilingual, "--multilingual detects the language of each window"),
            (
                "language_detection_segments",
                !known && !options.multilingual,
                if known { "the language is known" } else { "--multilingual detects the language of each window" },
            ),
            (
                "language_detection_threshold",
                detects && !options.multilingual && options.language_detection_segments > 1,
                "it is for --language-detection-segments of 2 or more, where no language is named",
            ),
            ("carry_initial_prompt", options.prompt.initial_prompt.is_some(), "there is no --initial-prompt"),
            ("prompt_reset_on_temperature", previous_text && !cuts, "no window is given the text before it"),
            ("max_initial_timestamp", !options.without_timestamps, "--no-timestamps writes none"),
            ("prepend_punctuations", words, "it is for --word-timestamps"),
            ("append_punctuations", words, "it is for --word-timestamps"),
            ("vad_filter", !clips, "--clip-timestamps says what is transcribed"),
            ("vad_threshold", listens, "it is for --vad-filter, and for recordings that are cut"),
            ("vad_neg_threshold", listens, "it is for --vad-filter, and for recordings that are cut"),
            ("vad_model", listens, "it is for --vad-filter, and for recordings that are cut"),
            ("vad_min_speech_duration_ms", filter, only_filter),
            ("vad_max_speech_duration_s", filter, only_filter),
            ("vad_min_silence_duration_ms", filter, only_filter),
            ("vad_speech_pad_ms", filter, only_filter),
        ]
    }

    /// Warns of those that were given.
    pub fn warn(&self, given: &Given<'_>) {
        for (option, has_effect, reason) in self.all() {
            if !has_effect && given.on_command_line(option) {
                say(&format!("warning: --{} has no effect: {reason}", option.replace('_', "-")));
            }
        }
    }
}
