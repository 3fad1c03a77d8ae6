//! Watches the process that climbs a rung: passes on what it tells, and ends it at the rung's limit.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{self, Led, Tail};
use crate::report::rung_report;
use crate::{Check, Message, Rung, RungReport, Verdict, text};

/// Lines of its standard error that are kept.
const LAST_LINES: usize = 6;
/// A process that was killed is gone at once, unless it hangs in the kernel.
const TO_DIE: Duration = Duration::from_secs(3);
/// One that is asked to end has so long for ending its own programs.
const TO_END: Duration = Duration::from_secs(1);

/// Runs `command`, which climbs `rung`, and tells its checks as they end.
pub fn watch(rung: Rung, mut command: Command, limit: Duration, tell: &mut dyn FnMut(&Check)) -> RungReport {
    let begun = Instant::now();
    let mut report = rung_report(rung, Verdict::Passed, limit.as_secs_f64());
    // It ends when its standard input is closed: see `end_with_parent`.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut led = match Led::apart(&mut command) {
        Ok(led) => led,
        Err(error) => {
            report.verdict = Verdict::Broken { found: format!("this command does not start a second time: {error}") };
            return report;
        }
    };
    let (messages, errors) = (messages(&mut led.0), led.0.stderr.take().map(Tail::of));
    let mut skipped = None;
    let end = loop {
        match messages.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok(Message::Check(check)) => {
                let check = check.plain();
                tell(&check);
                report.checks.push(check);
            }
            Ok(Message::Skipped(why)) => skipped = Some(text::plain(&why)),
            Ok(Message::Done) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // One that told all ends by itself, unless its driver hangs when files are closed.
    let ended = program::ended(
        &mut led.0,
        match end {
            Ok(()) => limit.saturating_sub(begun.elapsed()).max(TO_DIE),
            Err(RecvTimeoutError::Disconnected) => TO_DIE,
            Err(RecvTimeoutError::Timeout) => Duration::ZERO,
        },
    );
    let after = report.checks.last().map_or(String::new(), |check| format!(" after \"{}\"", check.name));
    report.verdict = match end {
        Ok(()) if ended.is_some() => match skipped {
            _ if report.checks.iter().any(Check::is_failure) => Verdict::Failed,
            Some(why) => Verdict::Skipped { why },
            None => Verdict::Passed,
        },
        Err(RecvTimeoutError::Disconnected) => {
            let status = ended.map_or("no end".to_owned(), |status| status.to_string());
            let words = errors.map(|errors| last_lines(&errors.text(TO_END))).unwrap_or_default();
            Verdict::Broken { found: format!("its process broke off{after} ({status}); its last words: {words}") }
        }
        Ok(()) | Err(RecvTimeoutError::Timeout) => {
            drop(led.0.stdin.take());
            if program::ended(&mut led.0, TO_END).is_none() {
                led.end();
            }
            let left = match program::ended(&mut led.0, TO_DIE) {
                Some(_) => "it was ended",
                None => "it can't be ended",
            };
            Verdict::TimedOut { found: format!("no answer within {}{after}; {left}", text::time(limit)) }
        }
    };
    report.seconds = begun.elapsed().as_secs_f64();
    report
}

/// What it tells, until its standard output is closed; other lines are not ours.
fn messages(child: &mut Child) -> Receiver<Message> {
    let (send, receive) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str(&line) else { continue };
                if send.send(message).is_err() {
                    return;
                }
            }
        });
    }
    receive
}

/// The last lines that say something.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let lines = &lines[lines.len().saturating_sub(LAST_LINES)..];
    lines.iter().map(|line| text::cut(line, text::MOST_OF_A_LINE)).collect::<Vec<_>>().join("; ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A rung climbed by a shell script.
    fn rung(script: &str, limit: Duration) -> RungReport {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        watch(Rung::Stream, command, limit, &mut |_| ())
    }

    const LONG: Duration = Duration::from_secs(30);
    const WELL: &str = r#"echo '{"check":{"name":"one","outcome":"passed"}}'; echo noise; "#;
    const DONE: &str = r#"echo '"done"'"#;

    #[test]
    fn checks_are_passed_on_and_judged() {
        let passed = rung(&format!("{WELL} {DONE}"), LONG);
        assert_eq!((&passed.verdict, passed.checks.len()), (&Verdict::Passed, 1));
        let failed = r#"echo '{"check":{"name":"two","outcome":"failed","found":"x","advice":"y"}}'; "#;
        assert_eq!(rung(&format!("{WELL} {failed} {DONE}"), LONG).verdict, Verdict::Failed);
        let skipped = r#"echo '{"skipped":"why"}'; "#;
        assert_eq!(rung(&format!("{skipped} {DONE}"), LONG).verdict, Verdict::Skipped { why: "why".into() });
    }

    #[test]
    fn one_that_hangs_is_ended_at_its_limit() {
        for script in [format!("{WELL} exec sleep 60"), format!("{WELL} {DONE}; exec sleep 60")] {
            let hung = rung(&script, Duration::from_millis(300));
            let Verdict::TimedOut { found } = &hung.verdict else { panic!("{hung:?}") };
            assert!(found.contains("within 300 ms after \"one\"; it was ended"), "{found}");
            assert_eq!(hung.checks.len(), 1);
            assert!(hung.seconds < 20.0, "{hung:?}");
        }
    }

    #[test]
    fn one_that_breaks_off_tells_its_last_words() {
        let broken = rung(&format!("{WELL} echo 'terminate called' >&2; kill -ABRT $$"), LONG);
        let Verdict::Broken { found } = &broken.verdict else { panic!("{broken:?}") };
        assert!(
            found.contains("signal: 6") && found.contains("terminate called") && found.contains("\"one\""),
            "{found}"
        );
        let nowhere = watch(Rung::Stream, Command::new("/no/such"), LONG, &mut |_| ());
        assert!(matches!(nowhere.verdict, Verdict::Broken { .. }));
    }
}
