//! The command line: parses, runs one subcommand, tells what went wrong, and gives the exit status.
//!
//! Status 0: all done. 1: something failed, the rest was done. 2: the command line cannot be understood or honoured;
//! nothing was done. 130: stopped by Ctrl-C.

mod align;
mod argv;
mod channels;
mod console;
mod convert;
mod demo;
mod diarize;
mod engine;
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
  diarist align talk.mp3 talk.txt           when each word of a known text was said
  diarist transcribe *.wav -f srt -o subs   subtitles of many files into a folder
  diarist worker                            answer requests, JSON lines on stdin and stdout
Options may be spelled as WhisperX does (--batch_size, --verbose False).";

const AFTERWARDS: &str = "Results are written as each file is finished, and named after it.
Exit status: 0 all done, 1 some files failed and the others are done,
2 the command line cannot be honoured, 130 stopped by Ctrl-C.";

#[derive(Subcommand)]
enum Command {
    /// Write down what is said in recordings.
    #[command(after_help = AFTERWARDS)]
    Transcribe(Box<options::Transcribe>),
    /// Answer requests until there are no more: JSON lines on stdin and stdout.
    #[command(after_help = worker::PROTOCOL)]
    Worker(Box<worker::WorkerArgs>),
    /// Find out when the words of a text were said in a recording.
    Align(Box<align::AlignArgs>),
    /// Find out who speaks when in recordings.
    Diarize(Box<diarize::DiarizeArgs>),
    /// Print where somebody speaks in a recording, as JSON.
    Vad(vad::VadArgs),
    /// Judge a result: WER, cpWER, DER and the times of words against what is right.
    Score(score::ScoreArgs),
    /// Transcribe the built-in sample with the built-in model.
    Demo(options::Compute),
    /// List the models that can be named, and which are on this machine.
    Models(ModelsArgs),
}

#[derive(Args)]
struct ModelsArgs {
    /// A folder with models, looked in besides the cache.
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// Print the recognisers on this machine as a JSON array.
    #[arg(long)]
    json: bool,
}

/// How a subcommand ended.
enum Failure {
    /// Nothing could be done, for this reason.
    Error(Error),
    /// Some files failed; they have been told about.
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

/// Prints clap's text. Help and version are no errors, and somebody who named a file first is told how to go on.
fn usage(error: &clap::Error, first: Option<&OsString>) -> ExitCode {
    // A reader that went away (`diarist --help | head -1`) is no failure either.
    let _ = error.print();
    if let (clap::error::ErrorKind::InvalidSubcommand, Some(file)) = (error.kind(), first)
        && std::path::Path::new(file).exists()
    {
        console::error(&format!("to transcribe a file: diarist transcribe {}", file.display()));
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// The hub of the environment, with what the command line says about it.
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

    /// The commands in the code blocks of a Markdown file that call this program, without its name.
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
