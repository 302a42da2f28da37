//! Checks at the end of a stream: truncation, lost packets, no audio, duration limit.

use super::super::container::Length;
use super::Decoder;
use crate::error::{Error, Result};

/// If more than one in this many packets is lost, the recording is rejected, because too many words would be missing.
const PACKETS_PER_LOST: u64 = 10;

impl Decoder<'_> {
    /// At the end of the stream: flushes the resampler and checks that the recording is complete.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.ended = true;
        if let Some(resampler) = self.resampler.take() {
            self.heard += resampler.finish(&mut self.block).map_err(|reason| Error::audio(&self.name, reason))?;
        }
        if self.heard == 0 || !self.has_samples {
            return Err(self.error(self.no_samples_reason()));
        }
        let (gaps, seconds) = self.playing.timeline.gaps;
        if gaps > 0 {
            tracing::info!(file = %self.name.display(), gaps, seconds, "gaps in its time stamps became silence");
        }
        let reasons: Vec<String> = [self.loss_reason(), self.cut_off_reason()].into_iter().flatten().collect();
        if !reasons.is_empty() && !self.options.allow_truncated {
            let cure = "get the file whole, or pass `allow_truncated` to transcribe what is there";
            return Err(self.error(format!("{}; {cure}", reasons.join(", and "))));
        }
        self.mixer.energy().warn_if_cancelled(&self.name);
        // At most two lines in the log, whatever the damage.
        if self.lost > 0 {
            let (lost, packets, reason) = (self.lost, self.packets, self.fault.as_deref().unwrap_or_default());
            tracing::warn!(
                file = %self.name.display(), lost, packets, first_at = self.first_lost, reason,
                "some packets cannot be decoded; silence in their place"
            );
        }
        if let Some(reason) = self.cut_off_reason() {
            tracing::warn!(file = %self.name.display(), reason, "going on with what is there");
        }
        Ok(())
    }

    /// Why no sample was decoded.
    fn no_samples_reason(&self) -> String {
        match &self.fault {
            Some(reason) if self.lost > 0 => {
                format!("none of its {} packets can be decoded ({reason}); the file is damaged", self.packets)
            }
            Some(reason) => format!("it cannot be read beyond its header ({reason}); the file is damaged"),
            None if self.seconds > 0.0 => "it is shorter than one sample at 16 kHz; there is nothing to hear".into(),
            None => "there is no audio in it: the header is there, the samples are not; record or copy it again".into(),
        }
    }

    /// The reason for rejection if too many packets were lost, which were replaced by silence.
    fn loss_reason(&self) -> Option<String> {
        let (lost, packets) = (self.lost, self.packets);
        let reason = self.fault.as_deref().unwrap_or_default();
        (lost.saturating_mul(PACKETS_PER_LOST) > packets)
            .then(|| format!("it is damaged: {lost} of its {packets} packets cannot be decoded ({reason})"))
    }

    /// Why the decoded audio is incomplete; `None` if it is complete.
    fn cut_off_reason(&self) -> Option<String> {
        let seconds = self.seconds;
        if self.broken_off {
            let fault = self.fault.as_deref().unwrap_or_default();
            return Some(format!("it is damaged after {seconds:.1} seconds ({fault})"));
        }
        let Length::Stated(stated) = self.playing.length else { return None };
        // Some encoders include their delay in the length and others do not: ignore small differences.
        let slack = (stated * 0.01).clamp(0.1, 1.0);
        (seconds + self.playing.timeline.unheard() < stated - slack)
            .then(|| format!("it is cut off: its header promises {stated:.1} seconds, but only {seconds:.1} are there"))
    }

    /// Checks the length that the container states against the duration limit. Estimated lengths are ignored. With
    /// `allow_truncated` stated lengths are, too, because the recording may be much shorter.
    pub(super) fn check_length(&self) -> Result<()> {
        match self.playing.length {
            Length::Stated(stated) if !self.options.allow_truncated => self.check(stated),
            _ => Ok(()),
        }
    }

    /// Checks a duration against the limit.
    pub(super) fn check(&self, seconds: f64) -> Result<()> {
        match self.options.max_duration {
            Some(limit) if !(seconds <= limit.0) => Err(Error::TooLong { path: self.name.clone(), limit }),
            _ => Ok(()),
        }
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::audio(&self.name, reason)
    }
}
