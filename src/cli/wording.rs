//! Error messages of the command line: option names of the library are replaced by command-line flags.
//!
//! The library names its options by their fields, also within the text of an error: `` `beam_size` ``. Here that
//! becomes `--beam-size`. [`OTHERS`] lists the options of the library that have no flag.

use std::path::Path;
use std::sync::LazyLock;

use clap::CommandFactory;
use diarist::Error;

/// The `value` of an [`Error::Config`] about an option that has no value, or whose value is irrelevant.
pub const GIVEN: &str = "given";

/// Options in [`Error::Config`] that have no flag, with the text that replaces them. Where the text is empty, the
/// message starts with the value.
const OTHERS: &[(&str, &str)] = &[
    ("alignment_heads", "`alignment_heads` in generation_config.json"),
    ("audio", ""),
    ("bands", "mel bands"),
    ("batch_seconds", "seconds aligned at once"),
    ("clip_timestamps", "times of clips"),
    ("clips", "clips"),
    ("gain", "gain of the features"),
    ("samples", "rows of features"),
    ("segmentation_threshold", "threshold of the segmentation"),
    ("vad", "--vad-method"),
    ("window", "samples of a window"),
];

/// The long options of all subcommands, without leading dashes.
static OPTIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let command = super::Cli::command();
    let all = command.get_subcommands().flat_map(|subcommand| subcommand.get_arguments());
    all.filter_map(|argument| argument.get_long().map(str::to_string)).collect()
});

/// The message of an error.
pub fn error(error: &Error) -> String {
    match error {
        Error::Config { option, value, rule } => {
            let subject = match (subject(option), value.as_str()) {
                (option, GIVEN) => option,
                (option, value) if option.is_empty() => value.to_string(),
                (option, "") => format!("{option} \"\""),
                (option, value) => format!("{option} {value}"),
            };
            format!("{subject}: {}", dashed(rule))
        }
        Error::Stage { stage, source } => match stage_description(stage) {
            Some(stage_description) => format!("{stage_description}: {}", self::error(source)),
            None => self::error(source),
        },
        other => dashed(&other.to_string()),
    }
}

/// The message of a recording's error. It begins with the recording's name.
pub fn of_recording(file: &Path, error: &Error) -> String {
    let text = self::error(error);
    if begins_with_name(file, error) { text } else { format!("{}: {text}", file.display()) }
}

/// Whether the message of [`error`] begins with the name of this file.
fn begins_with_name(file: &Path, error: &Error) -> bool {
    match error {
        Error::Stage { stage, source } => stage_description(stage).is_none() && begins_with_name(file, source),
        Error::Audio { path, .. } | Error::TooLong { path, .. } | Error::Io { path, .. } => path == file,
        _ => false,
    }
}

/// A description of a pipeline stage for messages; `None` for audio decoding, whose errors need none.
fn stage_description(stage: &str) -> Option<&str> {
    match stage {
        "audio" => None,
        "segmentation" | "vad" => Some("finding speech"),
        "asr" => Some("transcribing"),
        "align" => Some("finding word times"),
        "diarize" => Some("telling speakers apart"),
        "channels" => Some("merging channels"),
        other => Some(other),
    }
}

/// The name of an option in messages.
fn subject(option: &str) -> String {
    match OTHERS.iter().find(|(name, _)| *name == option) {
        Some((_, words)) => (*words).to_string(),
        None => flag(option).unwrap_or_else(|| option.to_string()),
    }
}

/// `--beam-size` for `beam_size`; `None` if there is no such flag.
fn flag(name: &str) -> Option<String> {
    let name = name.replace('_', "-");
    OPTIONS.contains(&name).then(|| format!("--{name}"))
}

/// Replaces option names in backquotes by their flags.
pub fn dashed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        out.push_str(before);
        match after.split_once('`') {
            Some((name, behind)) => {
                match flag(name).filter(|_| name.contains('_') || SINGLE_WORD_OPTIONS.contains(&name)) {
                    Some(flag) => {
                        out.push_str(&flag);
                        rest = behind;
                    }
                    None => {
                        out.push('`');
                        out.push_str(name);
                        out.push('`');
                        rest = behind;
                    }
                }
            }
            None => {
                out.push('`');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Options without an underscore that messages name in backquotes. Other single words in backquotes may be values given
/// by the user.
const SINGLE_WORD_OPTIONS: [&str; 8] =
    ["channel", "decoder", "device", "diarize", "jsonl", "manifest", "speakers", "vad"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_spelled_as_on_the_command_line() {
        for (option, value, rule, want) in [
            ("beam_size", "0", "expected 1 to 100", "--beam-size 0: expected 1 to 100"),
            ("align_method", GIVEN, "`no_align` asks for none", "--align-method: --no-align asks for none"),
            ("audio", "a/talk.wav", "leave one out", "a/talk.wav: leave one out"),
            ("hotwords", "", "is empty, as `x`", "--hotwords \"\": is empty, as `x`"),
            ("vad", "energy", "`language` and `no_such_thing`", "--vad-method energy: `language` and `no_such_thing`"),
        ] {
            assert_eq!(error(&Error::config(option, value, rule)), want);
            let staged = error(&Error::config(option, value, rule).in_stage("audio"));
            assert_eq!(staged, want, "of a stage");
        }
        assert_eq!(dashed("an odd ` and `beam_size"), "an odd ` and `beam_size");
    }

    #[test]
    fn a_recording_is_named_once() {
        let file = Path::new("audio");
        let audio = Error::audio(file, "is damaged").in_stage("audio");
        assert_eq!(of_recording(file, &audio), "audio: is damaged");
        let memory = Error::OutOfMemory { wanted: 2, free: 1, during: "work".into() }.in_stage("asr");
        let want = "audio: transcribing: out of device memory during work: wanted 2 bytes, 1 free";
        assert_eq!(of_recording(file, &memory), want);
        assert_eq!(of_recording(Path::new("talk.wav"), &Error::audio(file, "x")), "talk.wav: audio: x");
    }

    /// Every option in an [`Error::Config`] of the sources is a flag or is listed in [`OTHERS`].
    #[test]
    fn every_option_of_an_error_can_be_spelled() {
        let mut found = Vec::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.extend((!path.ends_with("diarist-bench")).then_some(path));
                } else {
                    names(&std::fs::read_to_string(&path).unwrap(), &mut found);
                }
            }
        }
        assert!(found.len() > 60, "only {found:?}");
        for name in ["beam_size", "num_speakers", "max_cps", "alignment_heads", "align_model"] {
            assert!(found.iter().any(|other| other == name), "{name} is not in {found:?}");
        }
        let unknown = |name: &&String| flag(name).is_none() && !OTHERS.iter().any(|(other, _)| other == name);
        let unknown: Vec<&String> = found.iter().filter(unknown).collect();
        assert!(unknown.is_empty(), "neither an option nor in OTHERS: {unknown:?}");
        let unused: Vec<_> = OTHERS.iter().filter(|(name, _)| !found.iter().any(|other| other == name)).collect();
        assert!(unused.is_empty(), "in OTHERS and nowhere else: {unused:?}");
    }

    /// The option names in a source file: the literal first arguments of `Error::config(...)`. If a call has a variable
    /// there, also the names in pairs such as `("max_cps", self.max_cps...`.
    fn names(text: &str, found: &mut Vec<String>) {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let calls: Vec<&str> = text.split("Error::config(").skip(1).map(str::trim_start).collect();
        let mut put = |rest: &str| found.extend(rest.split('"').next().map(str::to_string));
        calls.iter().filter_map(|call| call.strip_prefix('"')).for_each(&mut put);
        if calls.iter().any(|call| !call.starts_with('"') && !call.starts_with("option: &'static str")) {
            let pairs = text.split("(\"").skip(1);
            let pairs = pairs.filter(|rest| {
                let name = rest.split('"').next().unwrap_or_default();
                let next = rest[name.len()..].trim_start_matches(['"', ',']).trim_start();
                let is_name =
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'));
                is_name && ["self.", "many.", "voices.", "options."].iter().any(|start| next.starts_with(start))
            });
            pairs.for_each(&mut put);
        }
    }
}
