//! Sound to measure with: no speech, but as loud and as uneven.

use undertone_runner::audio::SAMPLE_RATE;

/// A voiced hum with syllables, `seconds` long, the same every time.
pub fn hum(seconds: f64) -> Vec<f32> {
    let rate = f64::from(SAMPLE_RATE);
    let sample = |i: usize| {
        let t = i as f64 / rate;
        let pitch = std::f64::consts::TAU * (110.0 + 15.0 * (2.1 * t).sin()) * t;
        let syllable = (std::f64::consts::TAU * 3.0 * t).sin().max(0.0);
        let voice: f64 = (1..12).map(|k| (pitch * f64::from(k)).sin() / f64::from(k)).sum();
        (0.2 * syllable * voice) as f32
    };
    (0..(seconds * rate).round() as usize).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hum_is_sound_within_bounds() {
        assert_eq!(hum(30.0).len(), undertone_runner::mel::WINDOW_SAMPLES);
        assert_eq!(hum(0.5).len(), 8000);
        assert!(hum(0.0).is_empty());
        let loudest = hum(2.0).iter().fold(0.0f32, |a, x| a.max(x.abs()));
        assert!((0.1..1.0).contains(&loudest), "{loudest}");
    }
}
