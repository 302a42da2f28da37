//! Whisper's features: the [`MelOps`] primitives.

use super::device::Device;
use super::host::{self, HostForm};
use super::shape::check;
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::error::{Error, Result};

/// Features of Whisper. The default bodies run on [`Device::Host`].
pub trait MelOps: Device {
    /// Constants of the log-mel transform (window, twiddles, filterbank).
    type MelPlan: HostForm<<Self::Host as MelOps>::MelPlan>;

    /// Constants for [`log_mel`](Self::log_mel) with `n_mels` bins.
    fn mel_plan(&self, n_mels: usize) -> Result<Self::MelPlan> {
        host::prepared(host::of(self)?.mel_plan(n_mels)?)
    }
    /// Whisper's log-mel spectrogram: `audio` `[B, S]` in `[-1, 1]`, 16 kHz, already padded to the window; `out`
    /// `[B, F, M]`, `F = S / 160` (frames first, so that a convolution reads contiguous memory). Steps: reflect padding
    /// of 200, Hann window of 400, hop of 160, power spectrum, mel filterbank, `log10` of at least 1e-10, lower limit
    /// at the clip's maximum - 8, `(x + 4) / 4`.
    fn log_mel(&self, out: &mut Tensor<Self>, audio: &Tensor<Self, f32>, plan: &Self::MelPlan) -> Result<()> {
        let audio = host::copy(self, audio)?;
        host::update_act(self, out, |host, out| host.log_mel(out, &audio, host::form(plan)?))
    }
}

/// See [`MelOps::log_mel`]. `out` `[B, F, M]`, `audio` `[B, 160 F]`.
pub fn log_mel<B: MelOps>(be: &B, out: &mut Tensor<B>, audio: &Tensor<B, f32>, plan: &B::MelPlan) -> Result<()> {
    let _range = range("log_mel");
    let &[batch, frames, _] = out.shape() else {
        return Err(Error::Shape {
            op: "log_mel",
            what: "out",
            expected: "[B, F, M]".into(),
            got: format!("{:?}", out.shape()),
        });
    };
    check("log_mel", "audio", audio.shape(), &[batch, frames * crate::units::MelFrame::SAMPLES])?;
    be.log_mel(out, audio, plan)
}
