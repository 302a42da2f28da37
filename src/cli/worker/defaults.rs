//! Options of a request: those of the worker's command line, overridden by those of the request. Both go through the
//! parser and the checks of `transcribe`, so names and error messages are the same.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, Command, FromArgMatches};
use diarist::config::Options;
use diarist::units::Seconds;
use serde_json::{Map, Value};

use super::super::convert;
use super::super::options::{Model, Subtitles, Work};
use super::super::results::Refusal;
use super::{MAX_DURATION, WorkerArgs};

/// Options that requests cannot override: those of models that are loaded once (in addition to [`Model`]), and of the
/// worker.
const WORKER_OPTIONS: [&str; 10] = [
    "align_model",
    "decoder",
    "diarize_model",
    "log_level",
    "max_duration",
    "max_in_flight",
    "max_request_bytes",
    "speakers",
    "vad_method",
    "vad_model",
];

/// The default options of requests.
pub struct Defaults {
    /// Parses the options of a request.
    command: Command,
    /// The options given on the worker's command line: id, and the option as one argument.
    given: Vec<(String, OsString)>,
    /// The library's options of a request without options of its own.
    options: Options,
    /// Whether a diarization pipeline is loaded.
    diarizes: bool,
    /// Maximum duration of a recording.
    max_duration: Seconds,
}

impl Defaults {
    /// The defaults from a worker's command line. `args` is the parsed form of `line`.
    ///
    /// # Errors
    /// [`diarist::Error::Config`] for options that cannot be honoured.
    pub fn new(args: &WorkerArgs, line: &[OsString]) -> diarist::Result<Self> {
        let worker = WorkerArgs::augment_args(Command::new("worker").infer_long_args(true));
        let matches = worker.clone().try_get_matches_from(line).unwrap_or_default();
        let mut given = Vec::new();
        for arg in worker.get_arguments() {
            let id = arg.get_id().as_str();
            if matches.value_source(id) == Some(ValueSource::CommandLine) {
                let value =
                    if is_switch(arg) { None } else { matches.get_raw(id).and_then(|mut values| values.next()) };
                given.push((id.to_string(), argument(arg, value)));
            }
        }
        // These models are loaded already. Repeating the options for every request would make requests with `diarize`
        // or the alignment switched off invalid.
        let by_diarizer = convert::by_diarizer(&args.work);
        given.retain(|(id, _)| match id.as_str() {
            "align_model" | "diarize_model" | "speakers" => false,
            "vad_method" => !by_diarizer,
            _ => true,
        });
        let max_duration = Seconds(args.work.audio.max_duration.unwrap_or(MAX_DURATION));
        let command = WorkerArgs::augment_args(Command::new("request").no_binary_name(true).disable_help_flag(true));
        let mut options = convert::all(&args.work, &Subtitles::default())?;
        options.audio.max_duration = Some(max_duration);
        Ok(Defaults { command, given, options, diarizes: args.work.speakers.diarize, max_duration })
    }

    /// The options of a request that overrides these defaults.
    ///
    /// # Errors
    /// A refusal of the kind `config` naming the option.
    pub fn with(&self, overrides: &Map<String, Value>) -> Result<Options, Refusal> {
        if overrides.is_empty() {
            return Ok(self.options.clone());
        }
        let mut given = self.given.clone();
        for (name, value) in overrides {
            let Some(arg) = self.find(name) else {
                // The parser's error suggests a similar name.
                self.parse(vec![OsString::from(format!("--{}", name.replace('_', "-")))])?;
                return Err(refuse(name, value, "is no option"));
            };
            let id = arg.get_id().as_str();
            if belongs_to_the_worker(id) {
                return Err(refuse(
                    name,
                    value,
                    "belongs to the command line of the worker, and holds for all requests",
                ));
            }
            if value.is_null() {
                continue;
            }
            given.retain(|(other, _)| other != id);
            given.extend(as_argument(arg, name, value)?.map(|argument| (id.to_string(), argument)));
        }
        let work = self.parse(given.into_iter().map(|(_, argument)| argument).collect())?;
        if work.speakers.diarize && !self.diarizes {
            let rule = "nothing that tells speakers apart was loaded; start the worker with --diarize";
            return Err(refuse("diarize", &Value::Bool(true), rule));
        }
        let subtitles = Subtitles::default();
        let options = convert::check(&work, &subtitles).and_then(|()| convert::all(&work, &subtitles));
        let mut options = options.map_err(|error| Refusal::from(&error))?;
        options.audio.max_duration = Some(self.max_duration);
        Ok(options)
    }

    /// The option of this name, with underscores or hyphens.
    fn find(&self, name: &str) -> Option<&Arg> {
        let name = name.replace('_', "-");
        let is_alias = |arg: &Arg| arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name.as_str()));
        self.command.get_arguments().find(|arg| arg.get_long() == Some(name.as_str()) || is_alias(arg))
    }

    fn parse(&self, arguments: Vec<OsString>) -> Result<Work, Refusal> {
        let matches = self.command.clone().try_get_matches_from(arguments);
        let parsed = matches.and_then(|matches| Work::from_arg_matches(&matches));
        parsed.map_err(|error| Refusal::new("config", shortened(&error.to_string())))
    }
}

fn belongs_to_the_worker(id: &str) -> bool {
    let model = Model::augment_args(Command::new("model"));
    WORKER_OPTIONS.contains(&id) || model.get_arguments().any(|arg| arg.get_id().as_str() == id)
}

/// Whether an option takes no value.
fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue) && !is_boolean(arg)
}

/// Whether an option is given as `--option`, `--option=True` or `--option=False`.
fn is_boolean(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|values| values.min_values() == 0 && values.max_values() == 1)
}

/// The option and its value as one argument, `--option=value`, so that the value may begin with a hyphen.
fn argument(arg: &Arg, value: Option<&std::ffi::OsStr>) -> OsString {
    let mut out = OsString::from(format!("--{}", arg.get_long().unwrap_or_default()));
    if let Some(value) = value {
        out.push("=");
        out.push(value);
    }
    out
}

/// A JSON value as an argument; `None` if the option is to be omitted.
fn as_argument(arg: &Arg, name: &str, value: &Value) -> Result<Option<OsString>, Refusal> {
    let text = match value {
        Value::Bool(true) if is_switch(arg) => return Ok(Some(argument(arg, None))),
        Value::Bool(false) if is_switch(arg) || !is_boolean(arg) => return Ok(None),
        _ if is_switch(arg) => return Err(refuse(name, value, "expected true or false")),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(scalar_text).collect();
            items.map(|items| items.join(","))
        }
        value => scalar_text(value),
    };
    let text = text.ok_or_else(|| refuse(name, value, "expected a number, a text, true, false or null"))?;
    Ok(Some(argument(arg, Some(text.as_ref()))))
}

/// The text of a scalar JSON value; `None` for other values.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A refusal with the wording of [`diarist::Error::Config`].
fn refuse(name: &str, value: &Value, rule: &str) -> Refusal {
    let value = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Refusal::new("config", format!("option `{name}` = `{value}`: {rule}"))
}

/// The parser's message without the usage and the hint, which help only at a terminal.
fn shortened(text: &str) -> String {
    let text = text.split("\n\nUsage:").next().unwrap_or(text).split("\n\nFor more information").next().unwrap_or(text);
    text.trim().trim_start_matches("error: ").to_string()
}
