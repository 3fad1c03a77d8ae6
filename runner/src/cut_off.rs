//! Windows whose text was cut off at the limit of tokens, and what is said of them.

use crate::result::Warning;

/// The windows of a recording that were cut off.
#[derive(Debug, Default)]
pub(crate) struct CutOff {
    /// From where to where each one goes, in seconds, and whether its rest was decoded in another.
    windows: Vec<(f64, f64, bool)>,
}

/// Times that are told one by one.
const TOLD: usize = 5;

impl CutOff {
    /// A window's text was cut off; it `goes_on` in another from `to` on, or is lost until then.
    pub(crate) fn add(&mut self, from: f64, to: f64, goes_on: bool) {
        self.windows.push((from, to, goes_on));
    }

    /// One warning for all of them.
    pub(crate) fn warning(&self) -> Option<Warning> {
        let from = self.windows.iter().map(|window| window.0).fold(f64::INFINITY, f64::min);
        let to = self.windows.iter().map(|window| window.1).fold(from, f64::max);
        let going_on = self.windows.iter().filter(|window| window.2).count();
        let times = |goes_on: bool| {
            let mut times: Vec<f64> =
                self.windows.iter().filter(|w| w.2 == goes_on).map(|w| if goes_on { w.1 } else { w.0 }).collect();
            times.sort_by(f64::total_cmp);
            let told = times.iter().take(TOLD).map(|time| format!("{time:.1} s")).collect::<Vec<_>>().join(", ");
            if times.len() > TOLD { format!("{told}, …") } else { told }
        };
        let count = |count: usize| if count == 1 { "1 window was".to_owned() } else { format!("{count} windows were") };
        let parts = [(going_on, true), (self.windows.len() - going_on, false)];
        let parts = parts.into_iter().filter(|(windows, _)| *windows > 0).map(|(windows, goes_on)| match goes_on {
            true => format!("{} cut off, at {}, where words may be parted", count(windows), times(true)),
            false => {
                format!(
                    "{} cut off, from {} on, and the rest of what is said there is missing",
                    count(windows),
                    times(false)
                )
            }
        });
        let what = parts.collect::<Vec<_>>().join("; ");
        let what = format!("by the limit of tokens (max_new_tokens) {what}");
        (!self.windows.is_empty()).then_some(Warning { from, to, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_tells_of_all() {
        let mut cut_off = CutOff::default();
        assert_eq!(cut_off.warning(), None);
        cut_off.add(30.0, 36.24, true);
        cut_off.add(0.0, 6.2, true);
        let warning = cut_off.warning().unwrap();
        assert_eq!((warning.from, warning.to), (0.0, 36.24));
        assert!(warning.what.ends_with("2 windows were cut off, at 6.2 s, 36.2 s, where words may be parted"));
        cut_off.add(60.0, 90.0, false);
        let warning = cut_off.warning().unwrap();
        assert!(warning.what.contains("; 1 window was cut off, from 60.0 s on, and the rest"), "{}", warning.what);
        (0..9).for_each(|at| cut_off.add(f64::from(at), f64::from(at) + 1.0, true));
        assert!(
            cut_off
                .warning()
                .unwrap()
                .what
                .contains("11 windows were cut off, at 1.0 s, 2.0 s, 3.0 s, 4.0 s, 5.0 s, …")
        );
    }
}
