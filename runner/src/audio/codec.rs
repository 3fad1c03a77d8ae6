//! Packets to samples: one front for the decoders behind it.

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::demux::{Codec, Packet};
use super::pcm::Pcm;
use super::{mix, opus};

/// What comes out of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) rate: u32,
    /// What each channel counts in the mix.
    pub(super) weights: Vec<f32>,
}

/// Decodes one track.
pub(super) struct Decoder {
    inner: Inner,
    spec: Option<Spec>,
}

enum Inner {
    Pcm(Pcm),
    Opus(Box<opus::Decoder>),
    Symphonia(Box<dyn AudioDecoder>),
}

impl Decoder {
    /// `Err` is the name of what cannot be decoded. High-efficiency AAC is decoded without its upper band: the caller
    /// knows.
    pub(super) fn new(codec: &Codec) -> Result<Self, String> {
        Ok(match codec {
            Codec::Pcm(pcm) => {
                let spec = Spec { rate: pcm.rate, weights: pcm.weights.clone() };
                Self { inner: Inner::Pcm(pcm.clone()), spec: Some(spec) }
            }
            Codec::Opus(head) => {
                let head = opus::Head::read(head).ok_or("Opus with a header of another kind")?;
                let spec = Spec { rate: opus::RATE, weights: head.weights() };
                let decoder = opus::Decoder::new(head).map_err(|error| format!("Opus ({error})"))?;
                Self { inner: Inner::Opus(Box::new(decoder)), spec: Some(spec) }
            }
            Codec::Symphonia(parameters) | Codec::HighEfficiency(parameters) => {
                let decoder = symphonia::default::get_codecs()
                    .make_audio_decoder(parameters, &AudioDecoderOptions::default())
                    .map_err(|error| match error {
                        Error::Unsupported(what) | Error::DecodeError(what) => what.to_owned(),
                        error => error.to_string(),
                    })?;
                Self { inner: Inner::Symphonia(decoder), spec: None }
            }
            Codec::Unknown(name) => return Err(name.clone()),
        })
    }

    /// The packet's samples, interleaved and not trimmed, in place of what `out` holds.
    pub(super) fn decode(&mut self, packet: &Packet, out: &mut Vec<f32>) -> Result<&Spec, String> {
        out.clear();
        match &mut self.inner {
            Inner::Pcm(pcm) => pcm.decode(&packet.data, out),
            Inner::Opus(opus) => opus.decode(&packet.data, out)?,
            Inner::Symphonia(decoder) => {
                let packet = PacketRef::new(0, Timestamp::ZERO, Duration::from(packet.frames), &packet.data);
                let decoded = decoder.decode_ref(&packet).map_err(|error| match error {
                    Error::DecodeError(what) | Error::Unsupported(what) => what.to_owned(),
                    error => error.to_string(),
                })?;
                decoded.copy_to_vec_interleaved(out);
                let (rate, channels) = (decoded.spec().rate(), decoded.spec().channels());
                let known =
                    self.spec.as_ref().is_some_and(|spec| spec.rate == rate && spec.weights.len() == channels.count());
                if !known {
                    self.spec = Some(Spec { rate, weights: mix::weights(channels) });
                }
            }
        }
        self.spec.as_ref().ok_or_else(|| "no samples".to_owned())
    }

    /// Forgets what came before: what comes next does not join it.
    pub(super) fn reset(&mut self) {
        if let Inner::Symphonia(decoder) = &mut self.inner {
            decoder.reset();
        }
    }

    /// What came out last; `None` before the first packet that could be decoded.
    pub(super) fn spec(&self) -> Option<&Spec> {
        self.spec.as_ref()
    }
}
