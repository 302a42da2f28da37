//! Table of Whisper models with a short name (`tiny`, `large-v3`, ...): repositories, file names, vocabularies.

/// A model with a short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The name as given to `--model`.
    pub name: &'static str,
    /// The repository on the hub that is downloaded.
    pub repo: &'static str,
    /// Repositories with the same weights converted for CTranslate2. The first is the one that faster-whisper
    /// downloads.
    pub converted: &'static [&'static str],
    /// NAME in the file names of openai-whisper (`NAME.pt`) and whisper.cpp (`ggml-NAME.bin`). For an alias: that of
    /// the model that it stands for.
    pub file: &'static str,
    /// The vocabulary that it was trained with.
    pub vocabulary: Vocabulary,
    /// Millions of parameters, as published.
    pub megaparams: u32,
    /// Remark for the list of models: languages, restrictions.
    pub note: &'static str,
}

/// Token vocabularies of the published Whisper models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// English-only models, based on GPT-2's vocabulary: 51864 tokens.
    English,
    /// Multilingual models with 99 languages: 51865 tokens.
    Multilingual,
    /// Multilingual models since large-v3, with Cantonese as the 100th language: 51866 tokens.
    Cantonese,
}

impl Vocabulary {
    /// The vocabulary with `tokens` tokens (rows of the token embedding); `None` for other numbers.
    pub fn of_size(tokens: usize) -> Option<Self> {
        match tokens {
            51864 => Some(Vocabulary::English),
            51865 => Some(Vocabulary::Multilingual),
            51866 => Some(Vocabulary::Cantonese),
            _ => None,
        }
    }

    /// The repository of the smallest model with this vocabulary, from which `tokenizer.json` is downloaded.
    pub fn repo(self) -> &'static str {
        match self {
            Vocabulary::English => "openai/whisper-tiny.en",
            Vocabulary::Multilingual => "openai/whisper-tiny",
            Vocabulary::Cantonese => "openai/whisper-large-v3-turbo",
        }
    }

    /// Its file in openai-whisper. All multilingual models share one file, because their text tokens have the same
    /// ranks.
    pub fn tiktoken(self) -> &'static str {
        if self == Vocabulary::English { "gpt2.tiktoken" } else { "multilingual.tiktoken" }
    }
}

const MULTI: &str = "99 languages";
const ENGLISH: &str = "English only";

/// Every model with a short name, smallest first. An alias follows the model that it stands for.
///
/// Sources: faster-whisper `utils.py::_MODELS` (`converted`; guillaumekln published the first conversions),
/// openai-whisper `__init__.py::_MODELS` (`file`). `large-v1` is published as `openai/whisper-large`.
pub const KNOWN: &[Known] = &[
    Known {
        name: "tiny",
        repo: "openai/whisper-tiny",
        converted: &["Systran/faster-whisper-tiny", "guillaumekln/faster-whisper-tiny"],
        file: "tiny",
        vocabulary: Vocabulary::Multilingual,
        megaparams: 39,
        note: MULTI,
    },
    Known {
        name: "tiny.en",
        repo: "openai/whisper-tiny.en",
        converted: &["Systran/faster-whisper-tiny.en", "guillaumekln/faster-whisper-tiny.en"],
        file: "tiny.en",
        vocabulary: Vocabulary::English,
        megaparams: 39,
        note: ENGLISH,
    },
    Known {
        name: "base",
        repo: "openai/whisper-base",
        converted: &["Systran/faster-whisper-base", "guillaumekln/faster-whisper-base"],
        file: "base",
        vocabulary: Vocabulary::Multilingual,
        megaparams: 74,
        note: MULTI,
    },
    Known {
        name: "base.en",
        repo: "openai/whisper-base.en",
        converted: &["Systran/faster-whisper-base.en", "guillaumekln/faster-whisper-base.en"],
        file: "base.en",
        vocabulary: Vocabulary::English,
        megaparams: 74,
        note: ENGLISH,
    },
    Known {
        name: "small",
        repo: "openai/whisper-small",
        converted: &["Systran/faster-whisper-small", "guillaumekln/faster-whisper-small"],
        file: "small",
        vocabulary: Vocabulary::Multilingual,
        megaparams: 244,
        note: "99 languages; the default",
    },
    Known {
        name: "small.en",
        repo: "openai/whisper-small.en",
        converted: &["Systran/faster-whisper-small.en", "guillaumekln/faster-whisper-small.en"],
        file: "small.en",
        vocabulary: Vocabulary::English,
        megaparams: 244,
        note: ENGLISH,
    },
    Known {
        name: "distil-small.en",
        repo: "distil-whisper/distil-small.en",
        converted: &["Systran/faster-distil-whisper-small.en"],
        file: "distil-small.en",
        vocabulary: Vocabulary::English,
        megaparams: 166,
        note: ENGLISH,
    },
    Known {
        name: "medium",
        repo: "openai/whisper-medium",
        converted: &["Systran/faster-whisper-medium", "guillaumekln/faster-whisper-medium"],
        file: "medium",
        vocabulary: Vocabulary::Multilingual,
        megaparams: 769,
        note: MULTI,
    },
    Known {
        name: "medium.en",
        repo: "openai/whisper-medium.en",
        converted: &["Systran/faster-whisper-medium.en", "guillaumekln/faster-whisper-medium.en"],
        file: "medium.en",
        vocabulary: Vocabulary::English,
        megaparams: 769,
        note: ENGLISH,
    },
    Known {
        name: "distil-medium.en",
        repo: "distil-whisper/distil-medium.en",
        converted: &["Systran/faster-distil-whisper-medium.en"],
        file: "distil-medium.en",
        vocabulary: Vocabulary::English,
        megaparams: 394,
        note: ENGLISH,
    },
    Known {
        name: "large-v1",
        repo: "openai/whisper-large",
        converted: &["Systran/faster-whisper-large-v1", "guillaumekln/faster-whisper-large-v1"],
        file: "large-v1",
        vocabulary: Vocabulary::Multilingual,
        megaparams: 1550,
        note: MULTI,
    },
    Known {
        name: "large-v2",
        repo: "openai/whisper-large-v2",
        converted: &["Systran/faster-whisper-large-v2", "guillaumekln/faster-whisper-large-v2"],
        file: "large-v2",
        vocabulary: Vocabulary::Multilingual,
        megaparams: 1550,
        note: MULTI,
    },
    Known {
        name: "large-v3",
        repo: "openai/whisper-large-v3",
        converted: &["Systran/faster-whisper-large-v3"],
        file: "large-v3",
        vocabulary: Vocabulary::Cantonese,
        megaparams: 1550,
        note: "100 languages",
    },
    Known {
        name: "large",
        repo: "openai/whisper-large-v3",
        converted: &["Systran/faster-whisper-large-v3"],
        file: "large-v3",
        vocabulary: Vocabulary::Cantonese,
        megaparams: 1550,
        note: "the same as large-v3",
    },
    Known {
        name: "large-v3-turbo",
        repo: "openai/whisper-large-v3-turbo",
        converted: &[
            "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
            "deepdml/faster-whisper-large-v3-turbo-ct2",
            "Systran/faster-whisper-large-v3-turbo",
        ],
        file: "large-v3-turbo",
        vocabulary: Vocabulary::Cantonese,
        megaparams: 809,
        note: "100 languages, no translation",
    },
    Known {
        name: "turbo",
        repo: "openai/whisper-large-v3-turbo",
        converted: &[
            "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
            "deepdml/faster-whisper-large-v3-turbo-ct2",
            "Systran/faster-whisper-large-v3-turbo",
        ],
        file: "large-v3-turbo",
        vocabulary: Vocabulary::Cantonese,
        megaparams: 809,
        note: "the same as large-v3-turbo",
    },
    Known {
        name: "distil-large-v2",
        repo: "distil-whisper/distil-large-v2",
        converted: &["Systran/faster-distil-whisper-large-v2"],
        file: "distil-large-v2",
        vocabulary: Vocabulary::Multilingual,
        megaparams: 756,
        note: ENGLISH,
    },
    Known {
        name: "distil-large-v3",
        repo: "distil-whisper/distil-large-v3",
        converted: &["Systran/faster-distil-whisper-large-v3", "distil-whisper/distil-large-v3-ct2"],
        file: "distil-large-v3",
        vocabulary: Vocabulary::Cantonese,
        megaparams: 756,
        note: ENGLISH,
    },
    Known {
        name: "distil-large-v3.5",
        repo: "distil-whisper/distil-large-v3.5",
        converted: &["distil-whisper/distil-large-v3.5-ct2"],
        file: "distil-large-v3.5",
        vocabulary: Vocabulary::Cantonese,
        megaparams: 756,
        note: ENGLISH,
    },
];

impl Known {
    /// Its repositories, in search order.
    pub fn repos(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.repo).chain(self.converted.iter().copied())
    }

    /// Whether it is an alias of the model before it in [`KNOWN`].
    pub fn is_alias(&self) -> bool {
        self.name != self.file
    }
}

/// The model with a short name.
pub fn named(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The repository of the model with a short name.
pub fn repo_of(name: &str) -> Option<&'static str> {
    named(name).map(|known| known.repo)
}

/// The model in a repository, in any format.
pub fn of_repo(repo: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.repos().any(|other| other == repo))
}

/// The model in a file of openai-whisper or whisper.cpp, by its file name: `NAME.pt`, `ggml-NAME.bin`, or
/// `ggml-NAME-TYPE.bin` (such as `ggml-NAME-q5_0.bin`) for whisper.cpp's data types.
pub fn of_file(file: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| file.strip_suffix(".pt") == Some(known.file) || ggml_rank(known.file, file).is_some())
}

/// Preference of a ggml file name for the model with [`Known::file`] `name`: 0 is best, more precise data types first.
/// `None` if the file is not that model's.
pub(super) fn ggml_rank(name: &str, file: &str) -> Option<usize> {
    const TYPES: [&str; 8] = ["", "-f32", "-f16", "-q8_0", "-q5_1", "-q5_0", "-q4_1", "-q4_0"];
    let suffix = file.strip_prefix("ggml-")?.strip_suffix(".bin")?.strip_prefix(name)?;
    TYPES.iter().position(|known| *known == suffix)
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
            assert!(model.repos().all(is_repo_id) && !model.converted.is_empty(), "{model:?}");
            assert!(KNOWN[..index].iter().all(|other| other.name != model.name), "{} twice", model.name);
        }
        assert_eq!(repo_of("large"), repo_of("large-v3"));
        assert_eq!(repo_of("huge"), None);
    }

    #[test]
    fn models_are_recognised_by_file_name() {
        for (file, name) in [
            ("large-v3.pt", Some("large-v3")),
            ("large-v3-turbo.pt", Some("large-v3-turbo")),
            ("ggml-large-v3.bin", Some("large-v3")),
            ("ggml-large-v3-turbo-q5_0.bin", Some("large-v3-turbo")),
            ("ggml-base.en-q8_0.bin", Some("base.en")),
            ("ggml-small.en-tdrz.bin", None),
            ("large-v9.pt", None),
        ] {
            assert_eq!(of_file(file).map(|known| known.name), name, "{file}");
        }
        assert_eq!(of_repo("mobiuslabsgmbh/faster-whisper-large-v3-turbo").map(|k| k.name), Some("large-v3-turbo"));
    }

    #[test]
    fn paths_are_not_repository_ids() {
        for path in ["./a", "../a", "/a/b", "a", "a/b/c", "a\\b", "org/", "/name", "org/na me", ""] {
            assert!(!is_repo_id(path), "{path}");
        }
        assert!(is_repo_id("openai/whisper-large-v3") && is_repo_id("a_b/c.d-e"));
    }
}
