//! Aligner models by language, and their lookup and download: wav2vec2 repositories on the hub, and torchaudio's
//! bundles, which are single files.

use std::path::{Path, PathBuf};

use super::layout::{Layout, complete};
use super::{BUILTIN, Hub, Network, OnProgress, fetch, names};
use crate::engine::weights::LAYOUTS;
use crate::error::{Error, Result};
use crate::models::wav2vec2::Bundle;

/// The default aligner of a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    /// Whisper's language code.
    pub code: &'static str,
    /// A bundle of torchaudio, or a repository on the hub.
    pub model: &'static str,
    /// The licence of its weights, if it is certain. Some prohibit commercial use.
    pub licence: Option<&'static str>,
}

const fn licensed(code: &'static str, model: &'static str, licence: &'static str) -> Language {
    Language { code, model, licence: Some(licence) }
}

const fn licence_unknown(code: &'static str, model: &'static str) -> Language {
    Language { code, model, licence: None }
}

const APACHE: &str = "Apache-2.0";
const NON_COMMERCIAL: &str = "CC BY-NC 4.0";

/// Every language that has a default aligner: those of WhisperX 3.8, `alignment.py`. Source of the bundles' licences:
/// torchaudio's documentation.
pub const LANGUAGES: &[Language] = &[
    licensed("en", "WAV2VEC2_ASR_BASE_960H", "MIT"),
    licensed("fr", "VOXPOPULI_ASR_BASE_10K_FR", NON_COMMERCIAL),
    licensed("de", "VOXPOPULI_ASR_BASE_10K_DE", NON_COMMERCIAL),
    licensed("es", "VOXPOPULI_ASR_BASE_10K_ES", NON_COMMERCIAL),
    licensed("it", "VOXPOPULI_ASR_BASE_10K_IT", NON_COMMERCIAL),
    licensed("ja", "jonatasgrosman/wav2vec2-large-xlsr-53-japanese", APACHE),
    licensed("zh", "jonatasgrosman/wav2vec2-large-xlsr-53-chinese-zh-cn", APACHE),
    licensed("nl", "jonatasgrosman/wav2vec2-large-xlsr-53-dutch", APACHE),
    licence_unknown("uk", "Yehor/wav2vec2-xls-r-300m-uk-with-small-lm"),
    licensed("pt", "jonatasgrosman/wav2vec2-large-xlsr-53-portuguese", APACHE),
    licensed("ar", "jonatasgrosman/wav2vec2-large-xlsr-53-arabic", APACHE),
    licence_unknown("cs", "comodoro/wav2vec2-xls-r-300m-cs-250"),
    licensed("ru", "jonatasgrosman/wav2vec2-large-xlsr-53-russian", APACHE),
    licensed("pl", "jonatasgrosman/wav2vec2-large-xlsr-53-polish", APACHE),
    licensed("hu", "jonatasgrosman/wav2vec2-large-xlsr-53-hungarian", APACHE),
    licensed("fi", "jonatasgrosman/wav2vec2-large-xlsr-53-finnish", APACHE),
    licensed("fa", "jonatasgrosman/wav2vec2-large-xlsr-53-persian", APACHE),
    licensed("el", "jonatasgrosman/wav2vec2-large-xlsr-53-greek", APACHE),
    licence_unknown("tr", "mpoyraz/wav2vec2-xls-r-300m-cv7-turkish"),
    licence_unknown("da", "saattrupdan/wav2vec2-xls-r-300m-ftspeech"),
    licence_unknown("he", "imvladikon/wav2vec2-xls-r-300m-hebrew"),
    licence_unknown("vi", "nguyenvulebinh/wav2vec2-base-vi-vlsp2020"),
    licence_unknown("ko", "kresnik/wav2vec2-large-xlsr-korean"),
    licence_unknown("ur", "kingabzpro/wav2vec2-large-xls-r-300m-Urdu"),
    licence_unknown("te", "anuragshas/wav2vec2-large-xlsr-53-telugu"),
    licence_unknown("hi", "theainerd/Wav2Vec2-large-xlsr-hindi"),
    licence_unknown("ca", "softcatala/wav2vec2-large-xlsr-catala"),
    licence_unknown("ml", "gvs/wav2vec2-large-xlsr-malayalam"),
    licence_unknown("no", "NbAiLab/nb-wav2vec2-1b-bokmaal-v2"),
    licence_unknown("nn", "NbAiLab/nb-wav2vec2-1b-nynorsk"),
    licence_unknown("sk", "comodoro/wav2vec2-xls-r-300m-sk-cv8"),
    licence_unknown("sl", "anton-l/wav2vec2-large-xlsr-53-slovenian"),
    licence_unknown("hr", "classla/wav2vec2-xls-r-parlaspeech-hr"),
    licence_unknown("ro", "gigant/romanian-wav2vec2"),
    licence_unknown("eu", "stefan-it/wav2vec2-large-xlsr-53-basque"),
    licence_unknown("gl", "ifrz/wav2vec2-large-xlsr-galician"),
    licence_unknown("ka", "xsway/wav2vec2-large-xlsr-georgian"),
    licence_unknown("lv", "jimregan/wav2vec2-large-xlsr-latvian-cv"),
    licence_unknown("tl", "Khalsuu/filipino-wav2vec2-l-xls-r-300m-official"),
    licensed("sv", "KBLab/wav2vec2-large-voxrex-swedish", "CC0 1.0"),
    licence_unknown("id", "cahya/wav2vec2-large-xlsr-indonesian"),
];

/// The default aligner of a language code.
pub fn of_language(code: &str) -> Option<&'static Language> {
    LANGUAGES.iter().find(|language| language.code == code)
}

/// The files of a folder with an aligner.
pub(super) const LAYOUT: Layout = Layout {
    option: "align-model",
    kind: "wav2vec2 model",
    required: &["config.json", "vocab.json"],
    optional: &["preprocessor_config.json"],
    weights: &LAYOUTS,
    other: None,
    without: "To go on without it: `--align-model builtin` is part of the program (small, English, for trying out). When \
              transcribing, `--align-method dtw` takes word times from the recogniser, `--no-align` does without.",
};

/// Where an aligner's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlignerSource {
    /// A folder in the Hugging Face layout, with `vocab.json`.
    Folder(PathBuf),
    /// A torchaudio bundle and the path of its checkpoint file.
    Bundle(&'static Bundle, PathBuf),
    /// Embedded in the binary, for English.
    Builtin,
}

impl Hub {
    /// The files of an aligner if they are on this machine: a folder, a bundle's file or name, or `organisation/name`.
    /// Never uses the network.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that lacks files and for a file that is no bundle, [`Error::Config`] for an
    /// unknown name.
    pub fn find_aligner(&self, model: &str) -> Result<Option<AlignerSource>> {
        if model == BUILTIN {
            return Ok(Some(AlignerSource::Builtin));
        }
        let path = Path::new(model);
        if path.is_file() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(bundle) = Bundle::named(name) else {
                let why = "is a file, but not of a name that torchaudio publishes its bundles under; other models are folders";
                return Err(Error::model(path, why));
            };
            return Ok(Some(AlignerSource::Bundle(bundle, path.to_path_buf())));
        }
        if path.is_dir() {
            return complete(path, &LAYOUT).map(|folder| Some(AlignerSource::Folder(folder)));
        }
        if let Some(bundle) = Bundle::named(model) {
            let here = self.bundle_places(bundle).find(|file| file.is_file());
            return Ok(here.map(|file| AlignerSource::Bundle(bundle, file)));
        }
        if !names::is_repo_id(model) || path.is_absolute() {
            return Err(unknown(model));
        }
        Ok(self.local(model, model, &LAYOUT)?.map(AlignerSource::Folder))
    }

    /// Like [`find_aligner`](Self::find_aligner), but downloads the model if it is not on this machine and the network
    /// may be used.
    ///
    /// # Errors
    /// As [`find_aligner`](Self::find_aligner); [`Error::Hub`] if the model is not on this machine and cannot be
    /// downloaded; [`Error::Cancelled`].
    pub fn obtain_aligner(&self, model: &str, on_progress: &mut OnProgress<'_>) -> Result<AlignerSource> {
        if let Some(found) = self.find_aligner(model)? {
            return Ok(found);
        }
        match Bundle::named(model) {
            Some(bundle) => self.fetch_bundle(bundle, on_progress),
            None => Ok(AlignerSource::Folder(self.fetch_folder(model, &LAYOUT, on_progress)?)),
        }
    }

    /// The name of the default aligner of a language code, for [`obtain_aligner`](Self::obtain_aligner). Logs a warning
    /// with the licence if the model is not on this machine.
    ///
    /// # Errors
    /// [`Error::Config`] for a language without a default aligner; as [`find_aligner`](Self::find_aligner).
    pub fn aligner_of(&self, language: &str) -> Result<&'static str> {
        let known = of_language(language).ok_or_else(|| {
            let rule = "no model is known that aligns it; give one with --align-model, or see `diarist models`";
            Error::config("language", language, rule)
        })?;
        if self.find_aligner(known.model)?.is_none() {
            let licence = known.licence.unwrap_or("see the model card");
            tracing::warn!(language, model = known.model, licence, "fetching the aligner");
        }
        Ok(known.model)
    }

    /// The paths where a bundle may be on this machine.
    pub(super) fn bundle_places(&self, bundle: &Bundle) -> impl Iterator<Item = PathBuf> {
        self.model_dir.iter().chain(&self.torch_cache).map(|folder| folder.join(bundle.file))
    }

    fn fetch_bundle(&self, bundle: &'static Bundle, on_progress: &mut OnProgress<'_>) -> Result<AlignerSource> {
        let url = format!("{}/{}", self.bundles, bundle.file);
        let refuse = |why: &str| {
            let looked: Vec<String> =
                self.model_dir.iter().chain(&self.torch_cache).map(|place| place.display().to_string()).collect();
            let reason = format!(
                "{} is not on this machine (looked in {}), {why}.\n  \
                 To bring it here by hand, fetch {url} and give `--align-model FILE`.\n  {}",
                bundle.file,
                looked.join(", "),
                LAYOUT.without
            );
            Error::Hub { model: bundle.name.to_string(), reason }
        };
        if self.network == Network::Forbidden {
            return Err(refuse("and downloads are switched off"));
        }
        let Some(folder) = self.model_dir.as_ref().or(self.torch_cache.as_ref()) else {
            return Err(refuse("and there is no home folder to download it to"));
        };
        let target = folder.join(bundle.file);
        fetch::file::fetch(self, &url, &target, on_progress).map_err(|error| match error {
            fetch::Error::Cancelled => Error::Cancelled,
            fetch::Error::Unreachable(why) => refuse(&format!("and it cannot be fetched ({why})")),
            fetch::Error::Refused(reason) | fetch::Error::Other(reason) => {
                Error::Hub { model: bundle.name.to_string(), reason }
            }
        })?;
        Ok(AlignerSource::Bundle(bundle, target))
    }
}

fn unknown(model: &str) -> Error {
    if model.contains(['/', '\\']) || model.starts_with('.') {
        return Error::model(model, format!("no such folder. {}", LAYOUT.holds()));
    }
    let rule = "expected a folder, organisation/name of the hub, a bundle of torchaudio (WAV2VEC2_ASR_BASE_960H; `diarist \
                models` shows one for each language), the file of one, or builtin";
    Error::config("align_model", model, rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_one_model_that_can_be_named() {
        assert_eq!(LANGUAGES.len(), 41);
        for (index, language) in LANGUAGES.iter().enumerate() {
            let (code, model) = (language.code, language.model);
            assert!(names::is_repo_id(model) || Bundle::named(model).is_some(), "{model}");
            assert!(LANGUAGES[..index].iter().all(|other| other.code != code && other.model != model), "{code} twice");
            assert_eq!(crate::asr::language_names::code(code).ok(), Some(code), "{code} is no language of Whisper");
        }
        assert_eq!(of_language("fr").and_then(|l| l.licence), Some(NON_COMMERCIAL));
        assert_eq!(of_language("xx"), None);
    }
}
