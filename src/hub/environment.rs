//! [`Hub`] settings from environment variables, with the names and defaults of huggingface_hub and openai-whisper.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Hub, Network};

impl Hub {
    /// Reads the environment variables `HF_HUB_CACHE` (also `HUGGINGFACE_HUB_CACHE`), `HF_HOME`, `XDG_CACHE_HOME`,
    /// `HF_ENDPOINT`, `HF_TOKEN` (also `HUGGING_FACE_HUB_TOKEN`, or the file `HF_TOKEN_PATH` that `hf auth login`
    /// writes) and `HF_HUB_OFFLINE`; for torchaudio's bundles `TORCH_HOME` and `DIARIST_TORCHAUDIO_URL`. A leading `~`
    /// in a path is the home folder.
    ///
    /// Source: huggingface_hub `constants.py`, `utils/_auth.py`; openai-whisper `__init__.py::load_model`.
    pub fn from_env() -> Self {
        Self::from_variables(&|name| std::env::var(name).ok(), std::env::home_dir().as_deref())
    }

    /// [`from_env`](Self::from_env) with the given variables and home folder.
    fn from_variables(variable: &dyn Fn(&str) -> Option<String>, user_home: Option<&Path>) -> Self {
        let var = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let folder = |name: &str| var(name).map(|value| expand(&value, user_home));
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(user_home?.join(".cache")));
        let home = folder("HF_HOME").or_else(|| Some(caches.as_ref()?.join("huggingface")));
        let torch = folder("TORCH_HOME").or_else(|| Some(caches.as_ref()?.join("torch")));
        let token_file = folder("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let address = |name, default: &str| {
            var(name).map_or_else(|| default.to_string(), |v| v.trim().trim_end_matches('/').to_string())
        };
        let offline =
            var("HF_HUB_OFFLINE").is_some_and(|v| !matches!(v.trim().to_lowercase().as_str(), "0" | "false" | "no"));
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        Hub {
            model_dir: None,
            network: if offline { Network::Forbidden } else { Network::Allowed },
            cache: cache.or_else(|| home.map(|home| home.join("hub"))),
            whisper_cache: caches.map(|caches| caches.join("whisper")),
            torch_cache: torch.map(|torch| torch.join("hub").join("checkpoints")),
            bundles: address("DIARIST_TORCHAUDIO_URL", "https://download.pytorch.org/torchaudio/models"),
            endpoint: address("HF_ENDPOINT", "https://huggingface.co"),
            token: ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
                .into_iter()
                .find_map(|name| token(&variable(name)?))
                .or_else(|| token(&std::fs::read_to_string(token_file?).ok()?)),
            stall: Duration::from_secs(60),
            retry_pause: Duration::from_millis(500),
        }
    }
}

/// Trims whitespace around an access token, which token files and copied text contain; `None` for an empty token.
pub fn token(text: &str) -> Option<String> {
    Some(text.trim()).filter(|token| !token.is_empty()).map(str::to_string)
}

/// Replaces a leading `~` with the home folder. `~user` is not expanded.
fn expand(path: &str, user_home: Option<&Path>) -> PathBuf {
    match (Path::new(path).strip_prefix("~"), user_home) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home.to_path_buf(),
        (Ok(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        Hub::from_variables(&find, Some(Path::new("/home/ann")))
    }

    #[test]
    fn caches_are_where_the_python_tools_have_them() {
        for (variables, expected) in [
            (&[][..], "/home/ann/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "~/x")], "/home/ann/x/huggingface/hub"),
            (&[("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/x")], "/hf/hub"),
            (&[("HF_HOME", "~/hf")], "/home/ann/hf/hub"),
            (&[("HF_HOME", "~")], "/home/ann/hub"),
            (&[("HF_HOME", "~bob/hf")], "~bob/hf/hub"),
            (&[("HF_HOME", "  ")], "/home/ann/.cache/huggingface/hub"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/hf")], "/old"),
            (&[("HF_HUB_CACHE", "~/c"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/home/ann/c"),
        ] {
            assert_eq!(hub(variables).cache.as_deref(), Some(Path::new(expected)), "{variables:?}");
        }
        assert_eq!(hub(&[]).whisper_cache.as_deref(), Some(Path::new("/home/ann/.cache/whisper")));
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]).whisper_cache.as_deref(), Some(Path::new("/x/whisper")));
        let nowhere = Hub::from_variables(&|_| None, None);
        assert_eq!((nowhere.cache, nowhere.whisper_cache, nowhere.token), (None, None, None));
    }

    #[test]
    fn tokens_are_found_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let file = folder.path().join("own");
        let file = file.to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_login\n").unwrap();
        std::fs::write(file, " hf_file \n").unwrap();
        for (variables, expected) in [
            (&[("HF_HOME", home)][..], "hf_login"),
            (&[("HF_HOME", home), ("HF_TOKEN_PATH", file)], "hf_file"),
            (&[("HF_HOME", home), ("HUGGING_FACE_HUB_TOKEN", "hf_old ")], "hf_old"),
            (&[("HF_TOKEN", "\thf_new\r\n"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")], "hf_new"),
            (&[("HF_HOME", home), ("HF_TOKEN", " ")], "hf_login"),
        ] {
            assert_eq!(hub(variables).token.as_deref(), Some(expected), "{variables:?}");
        }
        assert_eq!(hub(&[("HF_HOME", "/nowhere")]).token, None);
        assert_eq!(token(" \n"), None);
    }
}
