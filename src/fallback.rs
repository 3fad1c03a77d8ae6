//! The options that say when a window's text is not believed, and what is tried then. Their names are those of
//! openai/whisper and faster-whisper.

use std::str::FromStr;

use clap::Args;
use undertone_runner::TranscribeOptions;

/// The heading of these options in the help. Said of each of them: clap's `next_help_heading` would also take what
/// follows.
const HEADING: &str = "Doubtful text";

/// When text is doubtful, and what is done then.
#[derive(Args, Clone)]
pub struct FallbackChoice {
    /// The temperature at which a window is decoded first: at 0 the likeliest words come, above it words drawn by
    /// chance
    #[arg(long, help_heading = HEADING, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f32,
    /// By how much the temperature rises, up to 1, each time that a window's text does not pass the thresholds; `none`
    /// decodes every window once
    #[arg(long, help_heading = HEADING, value_name = "STEP", default_value = "0.2", value_parser = step)]
    temperature_increment_on_fallback: Limit,
    /// Decode every window once, whatever comes: the same as --temperature-increment-on-fallback none
    #[arg(long, help_heading = HEADING)]
    no_fallback: bool,
    /// Texts that are drawn at a temperature above 0, of which the likeliest is taken
    #[arg(long, help_heading = HEADING, value_name = "N", default_value_t = 5,
        value_parser = drawn)]
    best_of: u8,
    /// Text that zlib makes smaller than by this factor repeats itself and does not pass; `none` lets all pass
    #[arg(long, help_heading = HEADING, value_name = "RATIO", default_value = "2.4")]
    compression_ratio_threshold: Limit,
    /// Text whose tokens have a lower mean log-probability does not pass; `none` lets all pass
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "LOGPROB",
        default_value = "-1.0"
    )]
    logprob_threshold: Limit,
    /// A window is silence where the probability of that is above this and its text is doubtful; `none` takes all for
    /// speech
    #[arg(long, help_heading = HEADING, value_name = "P", default_value = "0.6")]
    no_speech_threshold: Limit,
    /// Decode also sound that does not change for seconds (silence, hum, hiss) and what is left of less than a second,
    /// as openai/whisper does
    #[arg(long, help_heading = HEADING)]
    decode_all: bool,
}

impl FallbackChoice {
    /// Puts what was chosen into `options`.
    pub fn apply(&self, options: &mut TranscribeOptions) {
        let step = self.temperature_increment_on_fallback.0.filter(|step| *step > 0.0 && !self.no_fallback);
        options.temperatures = vec![self.temperature];
        // Counted rather than added up, so that 0.2 five times is 1.
        let rising = (1..).map_while(|times| Some(f64::from(self.temperature) + f64::from(times) * step?));
        options.temperatures.extend(rising.take_while(|t| *t <= 1.0 + 1e-6).map(|t| t as f32));
        options.best_of = self.best_of.into();
        options.compression_ratio_threshold = self.compression_ratio_threshold.0;
        options.logprob_threshold = self.logprob_threshold.0;
        options.no_speech_threshold = self.no_speech_threshold.0;
        if self.decode_all {
            (options.shortest_rest, options.skip_steady) = (0.0, false);
        }
    }
}

/// A number, or `none`.
#[derive(Clone, Copy)]
struct Limit(Option<f64>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(None));
        }
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.map(|number| Self(Some(number))).ok_or_else(|| "neither a number nor `none`".to_owned())
    }
}

fn drawn(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|drawn| (1..=32).contains(drawn)).ok_or_else(|| "use a number from 1 to 32".to_owned())
}

fn step(text: &str) -> Result<Limit, String> {
    let step: Limit = text.parse()?;
    if step.0.is_some_and(|step| step < 0.0) { Err("use a number above 0, or `none`".to_owned()) } else { Ok(step) }
}

fn temperature(text: &str) -> Result<f32, String> {
    let temperature = text.parse().ok().filter(|t| (0.0..=2.0).contains(t));
    temperature.ok_or_else(|| "a temperature is a number from 0 to 2".to_owned())
}
