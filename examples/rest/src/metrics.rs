//! What the service tells about itself, in the text format of Prometheus (OpenMetrics).

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds of a whole request, from a short recording on a GPU to a long one on a CPU.
const BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

type Seconds = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Device {
    device: String,
}

/// What is counted. All of it may be written to from anywhere.
pub struct Metrics {
    registry: Registry,
    requests: Family<Code, Counter>,
    latency: Histogram,
    audio: Seconds,
    stage_time: Family<Stage, Seconds>,
    stage_runs: Family<Stage, Counter>,
    /// Connections that are open.
    pub connections: Gauge,
    in_flight: Gauge,
    queue: Gauge,
    held: Gauge,
    resident: Gauge,
    /// Without an entry where nobody counts.
    device_free: Family<Device, Gauge>,
}

/// What is looked up when somebody asks.
pub struct Reading {
    /// Recordings that are worked on.
    pub in_flight: usize,
    /// Requests that were accepted and are being received, or wait.
    pub queue: usize,
    /// Bytes of bodies in memory.
    pub held: usize,
    /// The device, and the bytes of its memory that are free, where somebody counts them.
    pub device_free: Option<(String, u64)>,
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("diarist"),
            requests: Family::default(),
            latency: Histogram::new(BUCKETS),
            audio: Seconds::default(),
            stage_time: Family::default(),
            stage_runs: Family::default(),
            connections: Gauge::default(),
            in_flight: Gauge::default(),
            queue: Gauge::default(),
            held: Gauge::default(),
            resident: Gauge::default(),
            device_free: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests by status; 499: the client went away first", self.requests.clone());
        let help = "Time from a request's first line to its answer, of transcriptions that succeeded";
        registry.register_with_unit("request_duration", help, Unit::Seconds, self.latency.clone());
        registry.register_with_unit("audio", "Length of recordings transcribed", Unit::Seconds, self.audio.clone());
        registry.register_with_unit("stage", "Time spent in stages", Unit::Seconds, self.stage_time.clone());
        registry.register("stage_runs", "Times that stages were finished", self.stage_runs.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("in_flight", "Recordings that are worked on", self.in_flight.clone());
        registry.register("queue", "Requests that are received or wait", self.queue.clone());
        registry.register_with_unit("held", "Bodies of requests in memory", Unit::Bytes, self.held.clone());
        registry.register_with_unit("resident_memory", "Memory of the process", Unit::Bytes, self.resident.clone());
        let help = "Memory of the device that is free";
        registry.register_with_unit("device_free_memory", help, Unit::Bytes, self.device_free.clone());
    }

    /// A request is answered with this status.
    pub fn answered(&self, code: u16) {
        self.requests.get_or_create(&Code { code }).inc();
    }

    /// A recording of this length is transcribed, this long after its request began.
    pub fn transcribed(&self, audio: f64, took: Duration) {
        self.audio.inc_by(audio);
        self.latency.observe(took.as_secs_f64());
    }

    /// A stage is finished.
    pub fn stage(&self, stage: &'static str, took: Duration) {
        self.stage_time.get_or_create(&Stage { stage }).inc_by(took.as_secs_f64());
        self.stage_runs.get_or_create(&Stage { stage }).inc();
    }

    /// All of it as text.
    pub fn render(&self, reading: &Reading) -> String {
        self.in_flight.set(reading.in_flight as i64);
        self.queue.set(reading.queue as i64);
        self.held.set(reading.held as i64);
        self.resident.set(resident().unwrap_or(0) as i64);
        if let Some((device, free)) = &reading.device_free {
            self.device_free.get_or_create(&Device { device: device.clone() }).set(*free as i64);
        }
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Bytes of this process that are in memory, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::new();
        metrics.answered(200);
        metrics.answered(200);
        metrics.answered(429);
        metrics.transcribed(12.5, Duration::from_millis(300));
        metrics.stage("asr", Duration::from_millis(250));
        metrics.connections.inc();
        let text = metrics.render(&Reading { in_flight: 3, queue: 5, held: 70, device_free: None });
        for line in [
            "diarist_requests_total{code=\"200\"} 2",
            "diarist_requests_total{code=\"429\"} 1",
            "diarist_audio_seconds_total 12.5",
            "diarist_stage_seconds_total{stage=\"asr\"} 0.25",
            "diarist_stage_runs_total{stage=\"asr\"} 1",
            "diarist_request_duration_seconds_bucket{le=\"0.25\"} 0",
            "diarist_request_duration_seconds_bucket{le=\"0.5\"} 1",
            "diarist_connections 1",
            "diarist_in_flight 3",
            "diarist_queue 5",
            "diarist_held_bytes 70",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("{device="), "no device counts its memory here:\n{text}");
        let reading = Reading { in_flight: 0, queue: 0, held: 0, device_free: Some(("A10G".into(), 80)) };
        assert!(metrics.render(&reading).contains("diarist_device_free_memory_bytes{device=\"A10G\"} 80"));
    }
}
