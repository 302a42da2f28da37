//! What all requests share, and the states the service goes through: loading, ready, draining; or broken.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diarist::Engine;

use crate::admission::Admission;
use crate::auth::Tokens;
use crate::errors::Fault;
use crate::metrics::{Metrics, Reading};
use crate::options::Defaults;
use crate::upload::UploadLimits;

/// The engine and what stands in front of it.
pub struct Service {
    /// Who may ask.
    pub tokens: Tokens,
    /// How much at once.
    pub admission: Admission,
    /// How much of each.
    pub upload: UploadLimits,
    /// How long from a body's end to its answer.
    pub request_time: Duration,
    /// What requests need not say.
    pub defaults: Defaults,
    /// What is counted.
    pub metrics: Metrics,
    /// Empty while the models are loaded.
    pub engine: OnceLock<Engine>,
    /// The end has been asked for: nothing new is accepted.
    pub draining: AtomicBool,
    /// The end cannot wait any longer: what is worked on stops.
    pub abandoned: AtomicBool,
    /// The device has failed, which does not recover within a process.
    pub broken: AtomicBool,
}

impl Service {
    /// The engine, if the device has not failed.
    ///
    /// # Errors
    /// 503.
    pub fn working(&self) -> Result<&Engine, Fault> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Fault::unavailable("device", "the device has failed; the service must be started again"));
        }
        self.engine.get().ok_or_else(|| Fault::unavailable("loading", "the models are being loaded"))
    }

    /// The engine, if something new may be started.
    ///
    /// # Errors
    /// 503 while the models are loaded, while the service is about to end, and after the device has failed.
    pub fn ready(&self) -> Result<&Engine, Fault> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Fault::unavailable("draining", "the service is about to end"));
        }
        self.working()
    }

    /// Takes note of an error of the engine.
    pub fn fault(&self, error: diarist::Error) -> Fault {
        if error.kind() == "device" {
            self.broken.store(true, Ordering::Relaxed);
        }
        error.into()
    }

    /// The metrics as text.
    pub fn metrics(&self) -> String {
        let free = |engine: &Engine| Some((engine.device().to_owned(), engine.available_memory().ok()??));
        self.metrics.render(&Reading {
            in_flight: self.admission.in_flight(),
            queue: self.admission.queue(),
            held: self.admission.held(),
            device_free: self.engine.get().and_then(free),
        })
    }
}
