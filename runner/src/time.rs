//! How a time is written: the one place for subtitles, lyrics and what people see.

/// Which hours are written, and what stands before the fraction of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeStyle {
    /// `00:01:02,345`.
    Srt,
    /// `01:02.345`, with hours from the first hour on.
    Vtt,
    /// `01:02.34`, without hours: `61:02.34`.
    Lrc,
    /// `0:01:02.34`.
    Ass,
}

/// Seconds from the start of the audio as a time. Negative times and what is no number are written as 0.
pub fn format_time(seconds: f64, style: TimeStyle) -> String {
    let parts: u32 = match style {
        TimeStyle::Srt | TimeStyle::Vtt => 1000,
        TimeStyle::Lrc | TimeStyle::Ass => 100,
    };
    // A float that is too large, negative or NaN saturates.
    let total = (seconds * f64::from(parts)).round() as u64;
    let (fraction, total) = (total % u64::from(parts), total / u64::from(parts));
    let (second, minute, hour) = (total % 60, total / 60 % 60, total / 3600);
    match style {
        TimeStyle::Srt => format!("{hour:02}:{minute:02}:{second:02},{fraction:03}"),
        TimeStyle::Vtt if hour == 0 => format!("{minute:02}:{second:02}.{fraction:03}"),
        TimeStyle::Vtt => format!("{hour:02}:{minute:02}:{second:02}.{fraction:03}"),
        TimeStyle::Lrc => format!("{:02}:{second:02}.{fraction:02}", total / 60),
        TimeStyle::Ass => format!("{hour}:{minute:02}:{second:02}.{fraction:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let cases = [
            (0.0, "00:00:00,000", "00:00.000"),
            (0.0004, "00:00:00,000", "00:00.000"),
            (0.0006, "00:00:00,001", "00:00.001"),
            (59.9996, "00:01:00,000", "01:00.000"),
            (3599.9996, "01:00:00,000", "01:00:00.000"),
            (3661.5, "01:01:01,500", "01:01:01.500"),
            (360_000.0, "100:00:00,000", "100:00:00.000"),
            (-1.0, "00:00:00,000", "00:00.000"),
            (f64::NAN, "00:00:00,000", "00:00.000"),
        ];
        for (seconds, srt, vtt) in cases {
            assert_eq!(format_time(seconds, TimeStyle::Srt), srt);
            assert_eq!(format_time(seconds, TimeStyle::Vtt), vtt);
        }
        for (seconds, lrc, ass) in [
            (0.0, "00:00.00", "0:00:00.00"),
            (62.346, "01:02.35", "0:01:02.35"),
            (59.996, "01:00.00", "0:01:00.00"),
            (3661.5, "61:01.50", "1:01:01.50"),
            (36_000.0, "600:00.00", "10:00:00.00"),
            (-1.0, "00:00.00", "0:00:00.00"),
        ] {
            assert_eq!(format_time(seconds, TimeStyle::Lrc), lrc);
            assert_eq!(format_time(seconds, TimeStyle::Ass), ass);
        }
    }
}
