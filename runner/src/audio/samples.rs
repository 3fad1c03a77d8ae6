//! Samples that a program has already: from a microphone, a game, a library of its own.

use super::mix::Mixer;
use super::resample::Resampler;
use super::{Audio, AudioError, MAX_RATE, MAX_SECONDS, MIN_RATE, SAMPLE_RATE};

impl Audio {
    /// Samples of any rate in Hz and any number of channels, nominally in −1…1: `[frame, channel]`, which is one after
    /// another where there is one channel. The channels are averaged, and what is no number is silence.
    ///
    /// # Errors
    /// [`AudioError::Samples`]: no channels, frames that are not whole, a rate or a length that is not taken.
    ///
    /// # Example
    /// ```
    /// use undertone_runner::Audio;
    ///
    /// let second_of_stereo = vec![0.0; 2 * 44_100];
    /// let audio = Audio::from_interleaved(&second_of_stereo, 44_100, 2)?;
    /// assert_eq!((audio.duration(), audio.samples.len()), (1.0, 16_000));
    /// # Ok::<(), undertone_runner::audio::AudioError>(())
    /// ```
    pub fn from_interleaved(samples: &[f32], rate: u32, channels: usize) -> Result<Self, AudioError> {
        let refuse = |what: String| Err(AudioError::Samples { what });
        if !(MIN_RATE..=MAX_RATE).contains(&rate) {
            return refuse(format!("a rate of {rate} Hz is none of {MIN_RATE} to {MAX_RATE}"));
        }
        if channels == 0 || !samples.len().is_multiple_of(channels) {
            return refuse(format!("{} of them do not make whole frames of {channels} channels", samples.len()));
        }
        if (samples.len() / channels) as u64 > MAX_SECONDS * u64::from(rate) {
            return refuse(format!("they are longer than {} hours", MAX_SECONDS / 3600));
        }
        let mut mixer = Mixer::new(&vec![1.0; channels], rate);
        let mut mono = Vec::with_capacity(samples.len() / channels);
        mixer.push(samples, &mut mono);
        mixer.finish(&mut mono);
        let mut ready = Vec::new();
        let resampled = Resampler::new(rate, SAMPLE_RATE).and_then(|mut resampler| {
            resampler.push(&mono, &mut ready)?;
            resampler.finish(&mut ready)
        });
        match resampled {
            Ok(()) => Ok(Self { source_rate: rate, channels, ..Self::from_samples(ready) }),
            Err(what) => refuse(format!("their rate of {rate} Hz cannot be changed ({what})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of 440 Hz at −6 dB.
    fn tone(rate: u32, seconds: f64) -> Vec<f32> {
        let step = 440.0 * std::f64::consts::TAU / f64::from(rate);
        (0..(f64::from(rate) * seconds) as usize).map(|i| 0.5 * (i as f64 * step).sin() as f32).collect()
    }

    #[test]
    fn any_rate_and_channels_give_the_same_sound() {
        let expected = tone(16_000, 1.0);
        for rate in [8_000, 16_000, 44_100, 48_000] {
            for channels in [1, 2, 6] {
                let samples: Vec<f32> =
                    tone(rate, 1.0).into_iter().flat_map(|s| std::iter::repeat_n(s, channels)).collect();
                let audio = Audio::from_interleaved(&samples, rate, channels).unwrap();
                assert_eq!((audio.samples.len(), audio.source_rate, audio.channels), (16_000, rate, channels));
                // Not at the ends, where the band-limited filter rings.
                let worst = (1000..15_000).map(|i| (audio.samples[i] - expected[i]).abs()).fold(0.0, f32::max);
                assert!(worst < 2e-3, "{rate} Hz, {channels} channels: {worst}");
            }
        }
        assert_eq!(Audio::from_interleaved(&expected, 16_000, 1).unwrap(), Audio::from_samples(expected));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let refused =
            |samples: &[f32], rate, channels| Audio::from_interleaved(samples, rate, channels).unwrap_err().to_string();
        assert!(refused(&[0.0; 4], 16_000, 0).contains("4 of them do not make whole frames of 0 channels"));
        assert!(refused(&[0.0; 3], 16_000, 2).contains("whole frames of 2 channels"));
        assert!(refused(&[0.0; 4], 100, 1).contains("100 Hz is none of 2000 to 768000"));
        let finite = Audio::from_interleaved(&[f32::NAN, f32::INFINITY, 0.5], 16_000, 1).unwrap();
        assert_eq!(finite.samples, [0.0, 0.0, 0.5]);
        assert!(Audio::from_interleaved(&[], 44_100, 2).unwrap().samples.is_empty());
    }
}
