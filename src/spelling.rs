//! Command lines as they are written for openai/whisper and its relatives, in this command's spelling: underscores in
//! the names of options, switches that are followed by Python's `True` or `False`, and negative numbers, which are an
//! option's value.

use std::ffi::OsString;

use clap::builder::{BoolishValueParser, TypedValueParser};

/// `--word_timestamps True` as `--word-timestamps=True`. What follows `--` is left as it is.
pub fn ours(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut ours: Vec<OsString> = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            ours.push(argument);
            ours.extend(arguments);
            break;
        }
        let is_truth = argument == "True" || argument == "False";
        // A count here, a truth there: what is false is not said.
        if is_truth && ours.last().is_some_and(|last| last == "--verbose") {
            if argument == "False" {
                ours.pop();
            }
            continue;
        }
        let is_value = is_truth || is_negative(&argument);
        match ours.last_mut().filter(|last| is_value && is_bare_option(last)) {
            Some(option) => {
                option.push("=");
                option.push(argument);
            }
            None => ours.push(with_hyphens(argument)),
        }
    }
    ours
}

/// What a switch takes after `=`. A switch with nothing after it is on.
pub fn switch() -> impl TypedValueParser<Value = bool> {
    BoolishValueParser::new()
}

fn is_bare_option(argument: &OsString) -> bool {
    argument.to_str().is_some_and(|text| text.starts_with("--") && !text.contains('='))
}

/// `-3`, `-.5`, `-1,2`: no option is called so. Whether it may be negative, the option says.
fn is_negative(argument: &OsString) -> bool {
    let behind = argument.to_str().and_then(|text| text.strip_prefix('-'));
    behind.is_some_and(|text| text.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit()))
}

fn with_hyphens(argument: OsString) -> OsString {
    match argument.to_str().and_then(|text| text.strip_prefix("--")) {
        Some(option) if option.contains('_') => {
            let (name, value) = option.split_at(option.find('=').unwrap_or(option.len()));
            format!("--{}{value}", name.replace('_', "-")).into()
        }
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_commands_in_our_spelling() {
        let ours = |line: &str| {
            let words = ours(line.split(' ').map(OsString::from));
            words.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        for (theirs, expected) in [
            ("whisper my_file.wav --beam_size 5", "whisper my_file.wav --beam-size 5"),
            ("x --output_dir=a_b -f True", "x --output-dir=a_b -f True"),
            ("x --word_timestamps True a.wav", "x --word-timestamps=True a.wav"),
            ("x --word-timestamps False True", "x --word-timestamps=False True"),
            ("x a_b.wav -- --c_d True", "x a_b.wav -- --c_d True"),
            ("x True", "x True"),
            ("x --clip_timestamps -3,5 a.wav", "x --clip-timestamps=-3,5 a.wav"),
            ("x --beam_size -1 --temperature -.5", "x --beam-size=-1 --temperature=-.5"),
            ("x -3 --quiet -v", "x -3 --quiet -v"),
            ("x --output_dir - a.wav", "x --output-dir - a.wav"),
            ("x --verbose False a.wav", "x a.wav"),
            ("x --verbose True a.wav", "x --verbose a.wav"),
        ] {
            assert_eq!(ours(theirs), expected);
        }
    }
}
