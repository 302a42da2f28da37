//! The models known by a short name, and where they are published.

/// A model with a short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The name as given to `--model`.
    pub name: &'static str,
    /// The repository on the hub.
    pub repo: &'static str,
    /// Parameters, in millions, as published.
    pub megaparams: u32,
    /// What it is for.
    pub note: &'static str,
}

const fn known(name: &'static str, repo: &'static str, megaparams: u32, note: &'static str) -> Known {
    Known { name, repo, megaparams, note }
}

const MULTI: &str = "99 languages";
const ENGLISH: &str = "English only";

/// Every short name, smallest first; aliases stand right after the name they repeat.
///
/// The names are those of openai-whisper and faster-whisper. `large-v1` is published as `openai/whisper-large`.
pub const KNOWN: &[Known] = &[
    known("tiny", "openai/whisper-tiny", 39, MULTI),
    known("tiny.en", "openai/whisper-tiny.en", 39, ENGLISH),
    known("base", "openai/whisper-base", 74, MULTI),
    known("base.en", "openai/whisper-base.en", 74, ENGLISH),
    known("small", "openai/whisper-small", 244, "99 languages; the default"),
    known("small.en", "openai/whisper-small.en", 244, ENGLISH),
    known("distil-small.en", "distil-whisper/distil-small.en", 166, ENGLISH),
    known("medium", "openai/whisper-medium", 769, MULTI),
    known("medium.en", "openai/whisper-medium.en", 769, ENGLISH),
    known("distil-medium.en", "distil-whisper/distil-medium.en", 394, ENGLISH),
    known("large-v1", "openai/whisper-large", 1550, MULTI),
    known("large-v2", "openai/whisper-large-v2", 1550, MULTI),
    known("large-v3", "openai/whisper-large-v3", 1550, "100 languages"),
    known("large", "openai/whisper-large-v3", 1550, "the same as large-v3"),
    known("large-v3-turbo", "openai/whisper-large-v3-turbo", 809, "100 languages, no translation"),
    known("turbo", "openai/whisper-large-v3-turbo", 809, "the same as large-v3-turbo"),
    known("distil-large-v2", "distil-whisper/distil-large-v2", 756, ENGLISH),
    known("distil-large-v3", "distil-whisper/distil-large-v3", 756, ENGLISH),
    known("distil-large-v3.5", "distil-whisper/distil-large-v3.5", 756, ENGLISH),
];

/// The repository of a short name.
pub fn repo_of(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|k| k.name == name).map(|k| k.repo)
}

/// Whether `text` has the form `organisation/name` of a repository on the hub.
pub fn is_repo_id(text: &str) -> bool {
    let legal = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    matches!(text.split_once('/'), Some((org, name)) if legal(org) && legal(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_repositories_well_formed() {
        for (index, model) in KNOWN.iter().enumerate() {
            assert!(is_repo_id(model.repo), "{}", model.repo);
            assert!(KNOWN[..index].iter().all(|other| other.name != model.name), "{} twice", model.name);
        }
        assert_eq!(repo_of("large"), repo_of("large-v3"));
        assert_eq!(repo_of("huge"), None);
    }

    #[test]
    fn paths_are_not_repository_ids() {
        for path in ["./a", "../a", "/a/b", "a", "a/b/c", "a\\b", "org/", "/name", "org/na me", ""] {
            assert!(!is_repo_id(path), "{path}");
        }
        assert!(is_repo_id("openai/whisper-large-v3") && is_repo_id("a_b/c.d-e"));
    }
}
