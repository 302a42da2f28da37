//! The command line: parses the arguments, runs one subcommand, prints its error, and returns the exit status.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | all done |
//! | 1 | something failed; the rest was done |
//! | 2 | the command line is invalid; nothing was done |
//! | 130 | stopped by Ctrl-C |

mod align;
mod argv;
mod channels;
mod console;
mod convert;
mod demo;
mod diarize;
mod engine;
mod enrol;
mod files;
mod inputs;
mod interrupt;
mod log;
mod manifest;
mod models;
mod opening;
mod options;
mod progress;
mod results;
mod score;
mod script;
mod speakers;
mod stdin;
mod transcribe;
mod vad;
mod values;
mod whisperx;
mod wording;
mod words;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use diarist::Error;
use diarist::hub::{Hub, Network};

/// Who said what, when: speech to text on this machine.
#[derive(Parser)]
#[command(name = "diarist", version, infer_long_args = true, max_term_width = 110, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "First steps:
  diarist demo                              transcribe the built-in sample, offline
  diarist transcribe talk.mp3               write talk.txt, .srt, .vtt, .tsv and .json here
  diarist transcribe talk.mp3 --diarize     the same, and who says it
  diarist diarize talk.mp3                  who speaks when, as RTTM
  diarist align talk.mp3 words.txt          when each word of a known text was said
  diarist transcribe *.wav -f srt -o subs   subtitles of many files into a folder
  diarist worker                            answer requests, JSON lines on stdin and stdout
Options may be spelled as WhisperX does (--batch_size, --verbose False).";

const AFTERWARDS: &str = "Results are written as each file is finished, and named after it.
Exit status: 0 all done, 1 some files failed and the others are done,
2 the command line cannot be honoured, 130 stopped by Ctrl-C.";

#[derive(Subcommand)]
enum Command {
    /// Transcribe recordings.
    #[command(after_help = AFTERWARDS)]
    Transcribe(Box<options::Transcribe>),
    /// Serve transcription requests: JSON lines on stdin and stdout.
    #[command(after_help = worker::PROTOCOL)]
    Worker(Box<worker::WorkerArgs>),
    /// Align a known text with a recording: word times.
    Align(Box<align::AlignArgs>),
    /// Speaker diarization: print who speaks when in recordings.
    Diarize(Box<diarize::DiarizeArgs>),
    /// Voice activity detection: print where there is speech in a recording, as JSON.
    Vad(vad::VadArgs),
    /// Score a result against a reference: WER, cpWER, DER and errors of word times.
    Score(score::ScoreArgs),
    /// Transcribe the built-in sample with the built-in model.
    Demo(options::Compute),
    /// List the known models, and those on this machine.
    Models(ModelsArgs),
}

#[derive(Args)]
struct ModelsArgs {
    /// A folder with models, searched in addition to the cache.
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// Print the recognisers on this machine as a JSON array.
    #[arg(long)]
    json: bool,
}

/// Why a subcommand failed.
enum Failure {
    /// The whole command failed. The error has not been printed yet.
    Error(Error),
    /// Some files failed. Their errors have been printed.
    Files,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

/// Runs the program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = argv::normalise(args);
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, args.get(1)),
    };
    interrupt::listen();
    let ended = match cli.command {
        Command::Transcribe(args) => {
            log::start(args.output.log_level);
            transcribe::run(&args)
        }
        Command::Worker(parsed) => {
            log::start(parsed.log_level);
            worker::run(&parsed, &args[1..])
        }
        Command::Diarize(args) => {
            log::start(args.log_level);
            diarize::run(&args)
        }
        Command::Align(args) => {
            log::start(args.output.log_level);
            align::run(&args).map_err(Failure::from)
        }
        Command::Vad(args) => {
            log::start(None);
            vad::run(&args).map_err(Failure::from)
        }
        Command::Score(args) => score::run(&args).map_err(Failure::from),
        Command::Demo(args) => {
            log::start(None);
            demo::run(&args).map_err(Failure::from)
        }
        Command::Models(args) => {
            let form = if args.json { models::Form::Json } else { models::Form::Tables };
            models::run(&hub(args.model_dir, false, None), form).map_err(Failure::from)
        }
    };
    match ended {
        _ if interrupt::asked() => ExitCode::from(interrupt::EXIT),
        Ok(()) if console::lost_output() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Files) => ExitCode::FAILURE,
        Err(Failure::Error(error)) => {
            console::error(&wording::error(&error));
            if matches!(error, Error::Config { .. }) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints clap's message, which may be the help or the version (status 0). If the first argument is a file instead of a
/// subcommand, suggests `transcribe`.
fn usage(error: &clap::Error, first: Option<&OsString>) -> ExitCode {
    // A closed pipe (`diarist --help | head -1`) is not a failure.
    let _ = error.print();
    if let (clap::error::ErrorKind::InvalidSubcommand, Some(file)) = (error.kind(), first)
        && std::path::Path::new(file).exists()
    {
        console::error(&format!("to transcribe a file: diarist transcribe {}", file.display()));
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// The hub as configured by environment variables, with the options of the command line applied.
fn hub(model_dir: Option<PathBuf>, cache_only: bool, token: Option<String>) -> Hub {
    let mut hub = Hub::from_env();
    hub.model_dir = model_dir;
    if cache_only {
        hub.network = Network::Forbidden;
    }
    hub.token = token.and_then(|token| diarist::hub::token(&token)).or(hub.token);
    hub
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The arguments of all calls of this program in the code blocks of a Markdown file.
    fn commands(markdown: &str) -> Vec<Vec<&str>> {
        let prefixes = ["diarist ", "cargo run --release -- "];
        let blocks = markdown.split("```").skip(1).step_by(2);
        let lines = blocks.flat_map(str::lines).map(|l| l.strip_prefix("$ ").unwrap_or(l));
        let calls = lines.filter_map(|l| prefixes.iter().find_map(|p| l.strip_prefix(p)));
        calls.map(|call| call.split('#').next().unwrap_or(call).split_whitespace().collect()).collect()
    }

    #[test]
    fn the_commands_in_the_documents_are_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let pages = pages.filter(|path| path.is_file()).chain([root.join("README.md")]);
        let texts: Vec<String> = pages.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let found: Vec<Vec<&str>> = texts.iter().flat_map(|text| commands(text)).collect();
        assert!(found.len() > 10 && found.iter().any(|words| words == &["demo"]), "{found:?}");
        for words in found {
            let line = argv::normalise(["diarist"].iter().chain(&words).map(OsString::from));
            let parsed = Cli::try_parse_from(line).unwrap_or_else(|e| panic!("{words:?}: {e}"));
            if let Command::Transcribe(args) = parsed.command {
                convert::check(&args.work, &args.subtitles).unwrap_or_else(|e| panic!("{words:?}: {e}"));
            }
        }
    }
}
