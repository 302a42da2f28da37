//! The languages of Whisper: codes and English names.

use crate::error::{Error, Result};

/// `(code, name)` in the order of the language tokens. The last one, Cantonese, was added with large-v3.
///
/// Source: openai/whisper `tokenizer.py::LANGUAGES`.
#[rustfmt::skip]
pub const LANGUAGES: [(&str, &str); 100] = [
    ("en", "English"), ("zh", "Chinese"), ("de", "German"), ("es", "Spanish"), ("ru", "Russian"), ("ko", "Korean"),
    ("fr", "French"), ("ja", "Japanese"), ("pt", "Portuguese"), ("tr", "Turkish"), ("pl", "Polish"), ("ca", "Catalan"),
    ("nl", "Dutch"), ("ar", "Arabic"), ("sv", "Swedish"), ("it", "Italian"), ("id", "Indonesian"), ("hi", "Hindi"),
    ("fi", "Finnish"), ("vi", "Vietnamese"), ("he", "Hebrew"), ("uk", "Ukrainian"), ("el", "Greek"), ("ms", "Malay"),
    ("cs", "Czech"), ("ro", "Romanian"), ("da", "Danish"), ("hu", "Hungarian"), ("ta", "Tamil"), ("no", "Norwegian"),
    ("th", "Thai"), ("ur", "Urdu"), ("hr", "Croatian"), ("bg", "Bulgarian"), ("lt", "Lithuanian"), ("la", "Latin"),
    ("mi", "Maori"), ("ml", "Malayalam"), ("cy", "Welsh"), ("sk", "Slovak"), ("te", "Telugu"), ("fa", "Persian"),
    ("lv", "Latvian"), ("bn", "Bengali"), ("sr", "Serbian"), ("az", "Azerbaijani"), ("sl", "Slovenian"),
    ("kn", "Kannada"), ("et", "Estonian"), ("mk", "Macedonian"), ("br", "Breton"), ("eu", "Basque"),
    ("is", "Icelandic"), ("hy", "Armenian"), ("ne", "Nepali"), ("mn", "Mongolian"), ("bs", "Bosnian"),
    ("kk", "Kazakh"), ("sq", "Albanian"), ("sw", "Swahili"), ("gl", "Galician"), ("mr", "Marathi"), ("pa", "Punjabi"),
    ("si", "Sinhala"), ("km", "Khmer"), ("sn", "Shona"), ("yo", "Yoruba"), ("so", "Somali"), ("af", "Afrikaans"),
    ("oc", "Occitan"), ("ka", "Georgian"), ("be", "Belarusian"), ("tg", "Tajik"), ("sd", "Sindhi"), ("gu", "Gujarati"),
    ("am", "Amharic"), ("yi", "Yiddish"), ("lo", "Lao"), ("uz", "Uzbek"), ("fo", "Faroese"), ("ht", "Haitian Creole"),
    ("ps", "Pashto"), ("tk", "Turkmen"), ("nn", "Nynorsk"), ("mt", "Maltese"), ("sa", "Sanskrit"),
    ("lb", "Luxembourgish"), ("my", "Myanmar"), ("bo", "Tibetan"), ("tl", "Tagalog"), ("mg", "Malagasy"),
    ("as", "Assamese"), ("tt", "Tatar"), ("haw", "Hawaiian"), ("ln", "Lingala"), ("ha", "Hausa"), ("ba", "Bashkir"),
    ("jw", "Javanese"), ("su", "Sundanese"), ("yue", "Cantonese"),
];

/// Other names people use.
///
/// Source: openai/whisper `tokenizer.py::TO_LANGUAGE_CODE`.
#[rustfmt::skip]
const ALIASES: [(&str, &str); 12] = [
    ("Burmese", "my"), ("Valencian", "ca"), ("Flemish", "nl"), ("Haitian", "ht"), ("Letzeburgesch", "lb"),
    ("Pushto", "ps"), ("Panjabi", "pa"), ("Moldavian", "ro"), ("Moldovan", "ro"), ("Sinhalese", "si"),
    ("Castilian", "es"), ("Mandarin", "zh"),
];

/// The name of a language code.
pub fn name(code: &str) -> Option<&'static str> {
    LANGUAGES.iter().find(|(c, _)| *c == code).map(|(_, name)| *name)
}

/// The code of a language given by code or name, in any case.
///
/// # Errors
/// [`Error::Config`] if there is no such language.
pub fn code(language: &str) -> Result<&'static str> {
    let wanted = language.trim();
    let known = LANGUAGES.iter().find(|(c, n)| c.eq_ignore_ascii_case(wanted) || n.eq_ignore_ascii_case(wanted));
    let alias = ALIASES.iter().find(|(n, _)| n.eq_ignore_ascii_case(wanted));
    known
        .map(|(c, _)| *c)
        .or(alias.map(|(_, c)| *c))
        .ok_or_else(|| Error::config("language", language, "expected a code such as `en` or a name such as `German`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_in_any_case() {
        for (given, expected) in [("de", "de"), ("DE", "de"), ("german", "de"), (" Yue ", "yue"), ("Mandarin", "zh")] {
            assert_eq!(code(given).unwrap(), expected);
        }
        assert_eq!(name("ht"), Some("Haitian Creole"));
        assert!(code("klingon").is_err());
        let mut codes: Vec<_> = LANGUAGES.iter().map(|(c, _)| c).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 100);
    }
}
