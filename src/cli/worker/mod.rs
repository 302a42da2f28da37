//! `diarist worker`: a JSON lines server. Reads requests from stdin and writes answers to stdout as they are finished.
//!
//! | file | contents |
//! |---|---|
//! | `lines.rs` | line reader with a maximum line length |
//! | `request.rs` | parser of a request line |
//! | `defaults.rs` | merges a request's options with those of the worker's command line |
//! | `queue.rs` | job queue: waiting and running requests, cancellation, back-pressure |
//! | `answers.rs` | writer of answer lines to stdout |
//!
//! One thread reads requests. `--max-in-flight` threads process them, and each writes its own answers.

mod answers;
mod defaults;
mod lines;
mod queue;
mod request;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use clap::Args;
use diarist::config::Options;
use diarist::pipeline::Input;
use diarist::types::Transcript;
use diarist::{Engine, Error, output};

use super::opening::Opening;
use super::options::{Subtitles, Work};
use super::progress::Notes;
use super::results::{Line, Refusal};
use super::values::{Device, LogLevel, bytes};
use super::{Failure, console, convert, interrupt, log, wording};
use answers::Answers;
use defaults::Defaults;
use lines::Lines;
use queue::{Admission, Job, Queue};
use request::{Request, Sound};

/// The protocol, shown at the end of the help.
pub const PROTOCOL: &str = r#"Requests:  {"id": 7, "path": "talk.mp3", "options": {"language": "en"}}
           {"id": "a", "audio_file": "<a recording in base64>"}
Answers:   {"id": 7, "text": "[SPEAKER_00]: ...", "result": {the object of transcribe -f json}}
           {"id": "a", "error": {"kind": "audio", "message": "..."}}
Cancel:    {"id": 7, "cancel": true}
The first line is {"ready": true, "version": .., "model": .., "device": ..}, once models are loaded.
Each request has one answer. They come as they are finished, in any order.
Options on the command line hold for every request; a request may say otherwise by their names,
but not about models, the device or the worker. Paths are relative to the working directory.
At the end of stdin, or at SIGTERM, what was taken is finished; a second SIGTERM cancels it.
Read answers while you write requests: a worker whose answers nobody reads stops reading, too."#;

/// Default of `--max-duration` in seconds. It is lower than that of `transcribe`, since a server must bound the work
/// per request.
const MAX_DURATION: f64 = 4.0 * 3600.0;

/// The name of a base64 recording in errors.
const NAMELESS: &str = "audio_file";

/// Standard base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Options of `worker`.
#[derive(Args, Debug)]
pub struct WorkerArgs {
    /// Number of requests processed at once; as many more may wait.
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Requests",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_in_flight: u32,
    /// Maximum length of a request line, for example 64MiB; also the limit of all waiting requests together.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = bytes, help_heading = "Requests")]
    max_request_bytes: u64,
    /// Least severe log messages shown on stderr [default: warning].
    #[arg(long, value_enum, value_name = "LEVEL", hide_short_help = true, help_heading = "Output")]
    pub log_level: Option<LogLevel>,
    #[command(flatten)]
    work: Work,
}

/// Serves requests until stdin ends or a signal arrives. `line` is the command line starting with `worker`.
///
/// # Errors
/// [`Error::Config`] for options that cannot be honoured; errors of loading the models; [`Failure::Files`] if answers
/// could not be written or the device failed.
pub fn run(args: &WorkerArgs, line: &[OsString]) -> Result<(), Failure> {
    convert::check(&args.work, &Subtitles::default())?;
    let defaults = Defaults::new(args, line)?;
    convert::warn(&args.work, &convert::all(&args.work, &Subtitles::default())?);
    let opening = Opening::check(&args.work)?;
    let engine = opening.load()?;
    let limit = usize::try_from(args.max_request_bytes).unwrap_or(usize::MAX);
    let queue = Arc::new(Queue::new(args.max_in_flight as usize, limit));
    let answers = Arc::new(Answers::new());
    let at_first = queue.clone();
    interrupt::be_patient(move || at_first.close());
    if interrupt::asked() {
        return Ok(());
    }
    answers.write(&ready(args, &engine));
    let reader = Reader { queue: queue.clone(), answers: answers.clone(), defaults };
    // The thread is not joined: after SIGTERM it may still block on stdin.
    std::thread::spawn(move || reader.run(limit));
    let dead = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..args.max_in_flight {
            scope.spawn(|| {
                while let Some(job) = queue.next() {
                    serve(&engine, job, &queue, &answers, &dead);
                }
            });
        }
    });
    if answers.gone() || dead.load(Ordering::Relaxed) { Err(Failure::Files) } else { Ok(()) }
}

/// The first line of output: the worker is ready.
fn ready(args: &WorkerArgs, engine: &Engine) -> String {
    let compute = &args.work.model.compute;
    // The device as spelled on the command line, not the description of `Engine::device`.
    let device = match (engine.uses_gpu(), compute.device) {
        (false, _) => "cpu".to_string(),
        (true, Device::Cuda(Some(number))) => format!("cuda:{number}"),
        (true, _) => format!("cuda:{}", compute.device_index),
    };
    let line = Line::new().put("ready", &true).put("version", &env!("CARGO_PKG_VERSION"));
    line.put("model", &args.work.model.model).put("device", &device).end()
}

/// The reader thread.
struct Reader {
    queue: Arc<Queue>,
    answers: Arc<Answers>,
    defaults: Defaults,
}

impl Reader {
    /// Reads requests until stdin ends or the queue is closed.
    fn run(self, limit: usize) {
        let mut lines = Lines::new(std::io::stdin().lock(), limit);
        while self.queue.has_room() {
            match lines.next() {
                Ok(Some(lines::Line::Whole(line))) => {
                    if let Err((id, refusal)) = self.take(&line) {
                        self.answers.refuse(id.as_ref(), &refusal);
                    }
                }
                Ok(Some(lines::Line::TooLong)) => {
                    let rule = format!(
                        "the line has more than {limit} bytes and was skipped; send a `path`, or raise --max-request-bytes"
                    );
                    self.answers.refuse(None, &Refusal::new("too_large", rule));
                }
                Ok(None) => break,
                Err(reason) => {
                    console::error(&format!("requests cannot be read any more: {reason}"));
                    break;
                }
            }
            if self.answers.gone() {
                break;
            }
        }
        self.queue.close();
    }

    /// Handles a request line: queues a transcription, or cancels one.
    fn take(&self, line: &[u8]) -> Result<(), request::Refused> {
        let (id, sound, options) = match request::parse(line)? {
            None => return Ok(()),
            Some(Request::Cancel(id)) => {
                if self.queue.cancel(&id) {
                    self.answers.refuse(Some(&id), &Refusal::from(&Error::Cancelled));
                }
                return Ok(());
            }
            Some(Request::Transcribe { id, sound, options }) => (id, sound, options),
        };
        let options = self.defaults.with(&options).map_err(|refusal| (Some(id.clone()), refusal))?;
        match self.queue.take(Job::new(id.clone(), sound, options, line.len())) {
            Admission::Yes | Admission::Closed => Ok(()),
            Admission::SameId => {
                let rule = "a request with this id is in flight, and goes on; give each its own";
                Err((Some(id), Refusal::new("duplicate_id", rule)))
            }
        }
    }
}

/// Processes one request and writes its answer.
fn serve(engine: &Engine, mut job: Job, queue: &Queue, answers: &Answers, dead: &AtomicBool) {
    let (cancelled, id) = (job.cancelled.clone(), job.id.clone());
    let mut notes = Notes::new(|| cancelled.load(Ordering::Relaxed) || answers.gone() || interrupt::asked());
    let sound = std::mem::replace(&mut job.sound, Sound::Base64(String::new()));
    let found = catch_unwind(AssertUnwindSafe(|| process(engine, sound, &job.options, &mut notes, dead)));
    // A panic must also be answered; otherwise the client would wait for ever.
    let found =
        found.unwrap_or_else(|_| Err(Refusal::new("internal", "a bug in diarist; stderr has more, please report it")));
    let line = found.and_then(|transcript| {
        let line = Line::new().put("id", &id).put("text", &output::text::txt(&transcript));
        let line = line.put_transcript("result", &transcript).map_err(|error| Refusal::from(&error))?;
        Ok(line.put_warnings(&notes.warnings).end())
    });
    // Released before the answer is written, so that a client may reuse the id as soon as it reads the answer.
    queue.done(&id);
    match line {
        Ok(line) => answers.write(&line),
        Err(refusal) => answers.refuse(Some(&id), &refusal),
    }
    if answers.gone() || dead.load(Ordering::Relaxed) {
        queue.close();
    }
}

/// Transcribes a recording. Sets `dead` if the device fails, since it does not recover within the process.
fn process<S: Fn() -> bool>(
    engine: &Engine,
    sound: Sound,
    options: &Options,
    notes: &mut Notes<S>,
    dead: &AtomicBool,
) -> Result<Transcript, Refusal> {
    let name = match &sound {
        Sound::File(path) => path.clone(),
        Sound::Base64(_) => PathBuf::from(NAMELESS),
    };
    let _about = log::recording(&name);
    let prepared = match sound {
        // Paths such as /dev/stdin name the worker's own stdin, which carries requests.
        Sound::File(path) if path.exists() && !path.is_file() => {
            Err(Error::audio(path, "is no file; a worker reads recordings from files only"))
        }
        Sound::File(path) => engine.prepare(Input::Path(&path), options, notes),
        Sound::Base64(text) => {
            let sound = BASE64.decode(&text).map_err(|reason| {
                Refusal::new("request", format!("audio_file is not base64 ({reason}); send the file's bytes in base64"))
            })?;
            // Freed early: the base64 text is not needed once it is decoded.
            drop(text);
            engine.prepare(Input::Bytes(&sound, NAMELESS), options, notes)
        }
    };
    let finished = prepared.and_then(|prepared| engine.finish(&prepared, options, notes));
    finished.inspect(|transcript| notes.of_result(&name, transcript)).map_err(|error| {
        if error.is_of_device() && !dead.swap(true, Ordering::Relaxed) {
            console::error(&format!(
                "the device has failed, and no more requests are taken: {}",
                wording::error(&error)
            ));
        }
        Refusal::from(&error)
    })
}
