//! The line on each recording that is done, in plain words, and the one on all of them. What ran where is as the
//! executing code counted it.

use std::time::Duration;

use undertone_runner::language;
use undertone_runner::{Device, RunReport, Transcription};

/// What is said of a recording after its name: how much of it was transcribed, in what time if that is its own, what is
/// spoken, what computed. `None` where a stop came before anything of it was transcribed.
pub fn line(result: &Transcription, own_time: Option<Duration>) -> Option<String> {
    let run = &result.run;
    let seconds = done(result);
    let of = if run.stopped.is_some() { format!(" of {:.1} s", result.duration) } else { String::new() };
    let mut line = format!("{seconds:.1} s{of} of audio");
    // Sound without speech is found without a model, if it is steady.
    let ran = run.encoder_ms > 0.0;
    if let Some(time) = own_time.filter(|_| ran) {
        line += &took(seconds, time, run.device == Device::Sim.word());
    }
    match (run.stopped, result.segments.is_empty()) {
        (Some(_), true) => return None,
        (None, true) => line += ", no speech found",
        (_, false) => line += &format!(", {}", spoken(&result.language)),
    }
    if ran {
        line += &format!(", {} {}", run.device, run.precision);
    }
    Some(line)
}

/// Kernel calls on each device.
pub fn kernel_calls(run: &RunReport) -> String {
    let counts = run.kernel_calls.iter().filter(|(_, count)| **count > 0);
    let calls: Vec<String> = counts.map(|(device, count)| format!("{count} kernel calls on {device}")).collect();
    let together =
        if run.recordings > 1 { format!(" for {} recordings so far", run.recordings) } else { String::new() };
    match (calls.is_empty(), run.windows) {
        (true, 0) => "nothing ran".to_owned(),
        (true, _) => "ONNX Runtime's CPU provider alone".to_owned(),
        (false, _) => format!("{}{together}", calls.join(", ")),
    }
}

/// All recordings of a call.
#[derive(Default)]
pub struct Total {
    recordings: usize,
    seconds: f64,
    wall: Duration,
    together: bool,
    simulated: bool,
}

impl Total {
    /// Adds one; `together`: with others, so that its own line tells no time.
    pub fn add(&mut self, result: &Transcription, together: bool) {
        self.recordings += 1;
        self.seconds += done(result);
        self.together |= together;
        self.simulated |= result.run.device == Device::Sim.word();
    }

    /// Adds the time that a group of them took.
    pub fn took(&mut self, wall: Duration) {
        self.wall += wall;
    }

    /// What is to be said of all, if that is not said of each.
    pub fn line(&self) -> Option<String> {
        let took = took(self.seconds, self.wall, self.simulated);
        self.together.then(|| format!("{} recordings: {:.1} s of audio{took}", self.recordings, self.seconds))
    }
}

/// Seconds of a recording that were transcribed.
fn done(result: &Transcription) -> f64 {
    result.run.stopped.unwrap_or(result.duration)
}

/// ` in 9.8 s (24 times real time)`. What is simulated is no speed.
fn took(seconds: f64, wall: Duration, simulated: bool) -> String {
    let wall = wall.as_secs_f64();
    if simulated {
        return format!(" in {wall:.1} s of simulation");
    }
    let times = seconds / wall.max(1e-9);
    // Two digits tell slow devices apart, and more than that the machine's moods.
    if times < 10.0 {
        format!(" in {wall:.1} s ({times:.1} times real time)")
    } else {
        format!(" in {wall:.1} s ({times:.0} times real time)")
    }
}

/// A language's English name with a capital, or its code.
fn spoken(code: &str) -> String {
    let name = language::name(code).unwrap_or(code);
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use undertone_runner::Segment;

    fn result(text: &str, run: RunReport) -> Transcription {
        let segment = Segment { end: 1.0, text: text.to_owned(), ..Segment::default() };
        let segments = if text.is_empty() { Vec::new() } else { vec![segment] };
        let language = "en".to_owned();
        Transcription { language, duration: 237.0, text: text.to_owned(), segments, run, ..Transcription::default() }
    }

    fn ran(device: &str) -> RunReport {
        let (device, precision) = (device.to_owned(), "int8".to_owned());
        RunReport { device, precision, recordings: 1, windows: 8, encoder_ms: 5.0, ..RunReport::default() }
    }

    #[test]
    fn a_line_says_what_was_done_and_what_computed() {
        let time = Some(Duration::from_millis(9_800));
        let of = |text: &str, run: RunReport| line(&result(text, run), time);
        assert_eq!(
            of("Hello.", ran("host")).unwrap(),
            "237.0 s of audio in 9.8 s (24 times real time), English, host int8"
        );
        assert_eq!(
            of("", ran("host")).unwrap(),
            "237.0 s of audio in 9.8 s (24 times real time), no speech found, host int8"
        );
        assert_eq!(of("Hello.", ran("sim")).unwrap(), "237.0 s of audio in 9.8 s of simulation, English, sim int8");
        assert_eq!(line(&result("Hello.", ran("host")), None).unwrap(), "237.0 s of audio, English, host int8");
    }

    #[test]
    fn where_nothing_ran_no_speed_and_no_device_is_claimed() {
        let nothing = RunReport { windows: 0, encoder_ms: 0.0, ..ran("auto") };
        assert_eq!(
            line(&result("", nothing.clone()), Some(Duration::from_secs(1))).unwrap(),
            "237.0 s of audio, no speech found"
        );
        assert_eq!(kernel_calls(&nothing), "nothing ran");
    }

    #[test]
    fn a_stopped_recording_counts_what_was_done() {
        let stopped = |until: f64| RunReport { stopped: Some(until), ..ran("host") };
        assert_eq!(
            line(&result("Hello.", stopped(49.0)), Some(Duration::from_millis(9_800))).unwrap(),
            "49.0 s of 237.0 s of audio in 9.8 s (5.0 times real time), English, host int8"
        );
        assert_eq!(line(&result("", stopped(0.0)), None), None);
        let mut total = Total::default();
        total.add(&result("Hello.", stopped(49.0)), true);
        total.add(&result("Hello.", ran("host")), true);
        total.took(Duration::from_secs(11));
        assert_eq!(total.line().unwrap(), "2 recordings: 286.0 s of audio in 11.0 s (26 times real time)");
    }
}
