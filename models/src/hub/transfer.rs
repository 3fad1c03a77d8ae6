//! A file's bytes from an address, behind those that came before: what breaks off is taken up again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use super::client::{Client, Failure};

/// Breaks in a row, without a byte between them, after which a download is given up.
const BREAKS: u32 = 3;

/// What is to come.
pub(crate) struct Transfer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) url: &'a str,
    /// What it is called in what is logged.
    pub(crate) name: &'a str,
    pub(crate) size: u64,
}

/// Why it did not come.
pub(crate) enum Stopped {
    Write(io::Error),
    /// More bytes than there should be, or fewer promised.
    Length(u64),
    Refused(Failure),
    /// It broke off again and again.
    BrokenOff {
        done: u64,
        reason: String,
    },
}

impl Transfer<'_> {
    /// Appends to `partial` until it is as long as it should be; `tell` is told how long it is.
    pub(crate) fn run(&self, partial: &Path, tell: &mut dyn FnMut(u64)) -> Result<(), Stopped> {
        let mut out = OpenOptions::new().create(true).append(true).open(partial).map_err(Stopped::Write)?;
        let mut present = out.metadata().map_err(Stopped::Write)?.len();
        if present > self.size {
            out.set_len(0).map_err(Stopped::Write)?;
            present = 0;
        }
        if present > 0 {
            tracing::info!("{} goes on from byte {present}", self.name);
        }
        let mut breaks = 0;
        while present < self.size {
            tell(present);
            let before = present;
            let failure = match self.connection(&mut out, &mut present, tell) {
                Ok(()) if present == self.size => break,
                Ok(()) => Failure::Network("the connection was closed".into()),
                Err(Broken::Write(error)) => return Err(Stopped::Write(error)),
                Err(Broken::Length(length)) => {
                    drop(out);
                    let _ = fs::remove_file(partial);
                    return Err(Stopped::Length(length));
                }
                Err(Broken::Failed(failure)) => failure,
            };
            let reason = match failure {
                Failure::Network(reason) => reason,
                Failure::Status { status, .. } if status.is_server_error() || status.as_u16() == 429 => {
                    format!("the server answers {status}")
                }
                refusal => return Err(Stopped::Refused(refusal)),
            };
            breaks = if present > before { 1 } else { breaks + 1 };
            tracing::debug!("{} broke off at byte {present}: {reason}", self.name);
            if breaks >= BREAKS {
                return Err(Stopped::BrokenOff { done: present, reason });
            }
            std::thread::sleep(Duration::from_millis(200 << breaks));
        }
        out.sync_all().map_err(Stopped::Write)
    }

    /// One connection's share of the bytes.
    fn connection(&self, out: &mut File, present: &mut u64, tell: &mut dyn FnMut(u64)) -> Result<(), Broken> {
        let response = match self.client.get(self.url, (*present > 0).then_some(*present)) {
            // There is nothing from there on: what is here is of something else.
            Err(Failure::Status { status, .. }) if status.as_u16() == 416 => {
                out.set_len(0).map_err(Broken::Write)?;
                *present = 0;
                self.client.get(self.url, None).map_err(Broken::Failed)?
            }
            other => other.map_err(Broken::Failed)?,
        };
        let starts_there = response.status().as_u16() == 206;
        if !starts_there && *present > 0 {
            // The server knows no ranges.
            out.set_len(0).map_err(Broken::Write)?;
            *present = 0;
        }
        let length = response.headers().get("content-length").and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
        if let Some(length) = length.map(|length| length.saturating_add(*present)).filter(|length| *length != self.size)
        {
            return Err(Broken::Length(length));
        }
        out.seek(SeekFrom::End(0)).map_err(Broken::Write)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = body.read(&mut buffer).map_err(broken_read)?;
            if count == 0 {
                return Ok(());
            }
            if *present + count as u64 > self.size {
                return Err(Broken::Length(*present + count as u64));
            }
            out.write_all(&buffer[..count]).map_err(Broken::Write)?;
            *present += count as u64;
            tell(*present);
        }
    }
}

/// Why a connection's share ended early.
enum Broken {
    Failed(Failure),
    Write(io::Error),
    Length(u64),
}

fn broken_read(error: io::Error) -> Broken {
    // ureq wraps its own errors into those of reading.
    Broken::Failed(ureq::Error::from(error).into())
}
