//! What every container's reader gives: the tracks, and one track's packets with their places in time.

use std::io;

use symphonia::core::audio::{Channels, Position};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};

use super::pcm::Pcm;

/// Reads a container from front to back.
pub(super) trait Demuxer: Send {
    /// The audio tracks, in the order of the container.
    fn tracks(&self) -> &[Track];
    /// Whether there are pictures beside the sound.
    fn has_video(&self) -> bool {
        false
    }
    /// From now on only the packets of this track come, by its place in [`Self::tracks`].
    fn select(&mut self, _track: usize) {}
    /// What comes next; `None` at the end.
    fn next(&mut self) -> Option<Item>;
    /// The error that ended the reading, if one did.
    fn trouble(&mut self) -> Option<io::Error>;
}

/// An audio track.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) codec: Codec,
    /// Frames a second, of places in time and lengths.
    pub(super) rate: u32,
    /// Frames that the container promises, where its word is worth something.
    pub(super) promised: Option<u64>,
    /// Frames by which the promise may be missed without a loss.
    pub(super) tolerance: u64,
    /// Frames by which a packet may lie after the end of the one before it without a gap.
    pub(super) slack: u64,
    /// The container says that this is the one to play.
    pub(super) default: bool,
}

/// How a track is coded.
#[derive(Debug, Clone)]
pub(super) enum Codec {
    /// Plain samples.
    Pcm(Pcm),
    /// `OpusHead`, as in OGG (RFC 7845, section 5.1).
    Opus(Vec<u8>),
    /// One of symphonia's.
    Symphonia(Box<AudioCodecParameters>),
    /// AAC with an upper band that symphonia does not decode; what is left is the lower one.
    HighEfficiency(Box<AudioCodecParameters>),
    /// No decoder of ours; its name.
    Unknown(String),
}

/// What symphonia makes a decoder by. Of one or two `channels` the places are known; `extra` is the codec's own header.
pub(super) fn parameters(
    id: AudioCodecId,
    rate: u32,
    channels: Option<usize>,
    extra: Option<Vec<u8>>,
) -> Box<AudioCodecParameters> {
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(id).with_sample_rate(rate);
    parameters.channels = channels.map(|channels| match channels {
        1 => Channels::Positioned(Position::FRONT_LEFT),
        _ => Channels::Positioned(Position::FRONT_LEFT | Position::FRONT_RIGHT),
    });
    parameters.extra_data = extra.map(Vec::into_boxed_slice);
    Box::new(parameters)
}

/// What a reader met.
#[derive(Debug)]
pub(super) enum Item {
    Packet(Packet),
    /// Bytes that are no sound were left out here.
    Damage(String),
    /// The bytes end within something; the frames that the container promises in all, where it does.
    Cut(Option<u64>),
    /// Another stream begins, as when files were joined; its times begin at 0 again.
    Track(Box<Track>),
    /// Something that another program found wrong; no more is known about it.
    Complaint(String),
}

/// Coded sound.
#[derive(Debug, Default)]
pub(super) struct Packet {
    pub(super) data: Vec<u8>,
    /// Where its first frame that is kept belongs; `None`: after those before it.
    pub(super) at: Option<u64>,
    /// Frames that come out, trimmed ones among them, where that is known: the silence if it does not decode.
    pub(super) frames: u64,
    /// Frames to drop from the front of what comes out.
    pub(super) trim_start: u64,
    /// Frames to drop from its end.
    pub(super) trim_end: u64,
}
