//! A `tracing` layer that prints the library's log events to the console: `diarist: RECORDING: text`.
//!
//! Events of other crates are shown only with `--log-level debug`. At most [`MAX_WARNINGS`] warnings are shown per
//! recording, including the last one, so that a damaged file does not fill the screen.

use std::fmt::{Debug, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, EnteredSpan, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::values::LogLevel;
use super::{console, wording};

/// Maximum number of warnings shown per recording. With the message about the result, that makes five lines.
const MAX_WARNINGS: usize = 4;

/// The name of the span that [`recording`] opens.
const RECORDING: &str = "recording";

/// Installs the subscriber, which prints events of this level and above [default: warning].
pub fn start(level: Option<LogLevel>) {
    let level = match level {
        Some(LogLevel::Debug) => LevelFilter::DEBUG,
        Some(LogLevel::Info) => LevelFilter::INFO,
        Some(LogLevel::Warning) | None => LevelFilter::WARN,
        Some(LogLevel::Error | LogLevel::Critical) => LevelFilter::ERROR,
    };
    // Fails only if a subscriber is installed already; this function is called once per process.
    let _ = tracing_subscriber::registry().with(Messages { level, show: console::error }).try_init();
}

/// Enters a span for a recording: events of this thread are prefixed with its name until the guard is dropped. Then the
/// last suppressed warning is shown.
pub fn recording(file: &Path) -> EnteredSpan {
    // The span has the highest level, so that it is enabled at every log level.
    tracing::error_span!(RECORDING, file = %file.display()).entered()
}

/// Logs the warnings of a result, for the recording whose span is entered.
pub fn warnings(texts: &[String]) {
    texts.iter().for_each(|text| tracing::warn!("{text}"));
}

/// The `tracing` layer that prints events.
struct Messages {
    level: LevelFilter,
    /// Prints a message.
    show: fn(&str),
}

/// The data of a recording's span.
struct Recording {
    name: String,
    warnings: Mutex<Warnings>,
}

/// The warnings of a recording.
#[derive(Default)]
struct Warnings {
    shown: usize,
    /// The last suppressed warning, and the number of suppressed warnings.
    suppressed: Option<(String, usize)>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Messages {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level && (is_ours(metadata) || self.level >= LevelFilter::DEBUG)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != RECORDING || !is_ours(attributes.metadata()) {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(name)) = (context.span(id), fields.file) {
            span.extensions_mut().insert(Recording { name, warnings: Mutex::default() });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut spans = context.event_scope(event).into_iter().flatten();
        let span = spans.find(|span| span.extensions().get::<Recording>().is_some());
        let extensions = span.as_ref().map(|span| span.extensions());
        let recording = extensions.as_ref().and_then(|extensions| extensions.get::<Recording>());
        let text = fields.text(recording, is_ours(event.metadata()));
        match recording {
            Some(recording) if *event.metadata().level() <= Level::WARN && self.level < LevelFilter::INFO => {
                recording.warn(text, self.show);
            }
            _ => (self.show)(&text),
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if let Some(recording) = span.extensions().get::<Recording>() {
            recording.show_suppressed(self.show);
        }
    }
}

/// Whether an event or span comes from this crate. Records of the `log` crate arrive as events with the target `log`.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}

impl Recording {
    /// Shows a warning, or suppresses it if too many were shown.
    fn warn(&self, text: String, show: fn(&str)) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.shown + 1 < MAX_WARNINGS {
            warnings.shown += 1;
            show(&text);
        } else {
            let suppressed = warnings.suppressed.as_ref().map_or(0, |(_, suppressed)| *suppressed);
            warnings.suppressed = Some((text, suppressed + 1));
        }
    }

    /// Shows the last suppressed warning, with the number of those before it.
    fn show_suppressed(&self, show: fn(&str)) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        match warnings.suppressed.take() {
            Some((text, 1)) => show(&text),
            Some((text, suppressed)) => {
                let more = suppressed - 1;
                show(&format!("{text} ({more} more before this one: --log-level info shows all)"));
            }
            None => {}
        }
    }
}

/// The fields of an event or a span.
#[derive(Default)]
struct Fields {
    file: Option<String>,
    message: String,
    /// The other fields as `name value`, separated by commas.
    others: String,
    reason: Option<String>,
    /// The target (module) of a record of the `log` crate.
    target: Option<String>,
}

impl Fields {
    /// `RECORDING: message (name value, ...): reason`. Messages of other crates are prefixed with `[crate]`.
    fn text(&self, recording: Option<&Recording>, ours: bool) -> String {
        let mut out = String::new();
        if let Some(name) = self.file.as_ref().or(recording.map(|recording| &recording.name)) {
            let _ = write!(out, "{name}: ");
        }
        if !ours && let Some(target) = &self.target {
            let _ = write!(out, "[{}] ", target.split("::").next().unwrap_or(target));
        }
        out.push_str(&self.message);
        if !self.others.is_empty() {
            let _ = write!(out, " ({})", self.others);
        }
        if let Some(reason) = &self.reason {
            let _ = write!(out, ": {reason}");
        }
        wording::dashed(&out)
    }

    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            "file" => self.file = Some(value),
            "reason" | "error" => self.reason = Some(value),
            "log.target" => self.target = Some(value),
            name if name.starts_with("log.") => {}
            name => {
                let comma = if self.others.is_empty() { "" } else { ", " };
                let _ = write!(self.others, "{comma}{name} {value}");
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, format!("{value:.2}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages that `work` prints at a log level.
    fn shown(level: LevelFilter, work: impl FnOnce()) -> Vec<String> {
        static SHOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        static TEST_LOCK: Mutex<()> = Mutex::new(());
        let _alone = TEST_LOCK.lock().unwrap();
        let messages = Messages { level, show: |text| SHOWN.lock().unwrap().push(text.to_string()) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(messages), work);
        std::mem::take(&mut SHOWN.lock().unwrap())
    }

    /// Logs this many warnings for a recording.
    fn damaged(warnings: usize) {
        let _about = recording(Path::new("a/talk.wav"));
        for at in 0..warnings {
            tracing::warn!(at = at as f64 / 3.0, reason = "bad; see `max_duration`", "a packet is lost");
        }
    }

    #[test]
    fn warnings_name_the_recording_and_are_few() {
        let line = |at: &str| format!("a/talk.wav: a packet is lost (at {at}): bad; see --max-duration");
        let [first, second, third, fourth] = ["0.00", "0.33", "0.67", "1.00"].map(line);
        let of = |warnings| shown(LevelFilter::WARN, || damaged(warnings));
        assert_eq!(of(3), [first.clone(), second.clone(), third.clone()]);
        assert_eq!(of(4), [first.clone(), second.clone(), third.clone(), fourth]);
        let last = format!("{} (96 more before this one: --log-level info shows all)", line("33.00"));
        assert_eq!(of(100), [first, second, third, last]);
        assert_eq!(shown(LevelFilter::INFO, || damaged(100)).len(), 100);
        assert_eq!(shown(LevelFilter::ERROR, || damaged(100)).len(), 0);
    }

    #[test]
    fn a_file_that_an_event_names_comes_first_and_others_have_none() {
        let events = || {
            tracing::warn!(file = "b.wav", lost = 2, packets = 7, "some packets are lost");
            tracing::warn!("nothing about a recording");
        };
        let want = ["b.wav: some packets are lost (lost 2, packets 7)", "nothing about a recording"];
        assert_eq!(shown(LevelFilter::WARN, events), want);
    }

    #[test]
    fn events_of_other_crates_are_shown_at_debug_only() {
        let event =
            || tracing::warn!(target: "symphonia_core::probe", { log.target = "symphonia_core::probe" }, "junk");
        assert!(shown(LevelFilter::WARN, event).is_empty() && shown(LevelFilter::INFO, event).is_empty());
        assert_eq!(shown(LevelFilter::DEBUG, event), ["[symphonia_core] junk"]);
    }
}
