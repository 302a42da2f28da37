//! Normalises WhisperX's spelling of the command line before clap parses it: underscores in option names become
//! hyphens, and `--verbose False` becomes `--verbose=false`.

use std::ffi::OsString;

/// Options that WhisperX gives a `True` or `False` after a space. clap is configured to require `=` for them; otherwise
/// it would take a file name after a bare `--verbose` for its value.
pub const BOOLEANS: [&str; 8] = [
    "--condition-on-previous-text",
    "--fp16",
    "--highlight-words",
    "--model-cache-only",
    "--multilingual",
    "--print-progress",
    "--verbose",
    "--without-timestamps",
];

/// Normalises the arguments up to a lone `--`; the arguments after it are file names and stay as they are.
pub fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut after_double_dash = false;
    for arg in args {
        after_double_dash |= arg == "--";
        if !after_double_dash {
            if let (Some(value), Some(option)) = (python_boolean(&arg), out.last_mut().filter(|a| is_boolean_option(a)))
            {
                option.push("=");
                option.push(value);
                continue;
            }
            if let Some(renamed) = hyphenated(&arg) {
                out.push(renamed);
                continue;
            }
        }
        out.push(arg);
    }
    out
}

/// Turns `--batch_size=8` into `--batch-size=8`; `None` if the argument is not a long option with an underscore.
fn hyphenated(arg: &OsString) -> Option<OsString> {
    let text = arg.to_str()?;
    let (name, value) = text.find('=').map_or((text, ""), |at| text.split_at(at));
    let body = name.strip_prefix("--")?;
    let is_name = body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (is_name && body.contains('_')).then(|| format!("--{}{value}", body.replace('_', "-")).into())
}

fn is_boolean_option(arg: &OsString) -> bool {
    BOOLEANS.iter().any(|b| arg == b)
}

fn python_boolean(arg: &OsString) -> Option<&'static str> {
    match arg.to_str()? {
        "True" | "true" => Some("true"),
        "False" | "false" => Some("false"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let out = normalise(input.split(' ').map(OsString::from));
        let out: Vec<&str> = out.iter().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(out.join(" "), expected);
    }

    #[test]
    fn underscores_become_hyphens_in_option_names_only() {
        check("t --batch_size 8 my_file.wav", "t --batch-size 8 my_file.wav");
        check("t --output_dir=my_dir", "t --output-dir=my_dir");
        check("t --vad-method silero -- --odd_name.wav", "t --vad-method silero -- --odd_name.wav");
        check("t -o out_dir", "t -o out_dir");
    }

    #[test]
    fn python_booleans_join_their_option() {
        check("t --verbose False a.wav", "t --verbose=false a.wav");
        check("t --condition_on_previous_text True", "t --condition-on-previous-text=true");
        check("t --verbose a.wav", "t --verbose a.wav");
        check("t --initial-prompt True", "t --initial-prompt True");
        check("t --verbose -- True", "t --verbose -- True");
    }
}
