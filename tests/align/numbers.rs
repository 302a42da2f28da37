//! Numbers are looked for as they are said, and punctuation is not looked for.

use diarist::align::numerals::spoken;
use diarist::align::{Dictionary, LabelPolicy, Labels};

use super::small_vocab;

fn english() -> Dictionary {
    Dictionary::parse(&small_vocab(true), std::path::Path::new("vocab.json"), 0, 29).unwrap()
}

/// Labels as letters: `_` the delimiter, `*` the wildcard.
fn letters(text: &str, language: &str) -> String {
    let spelling = Labels::new(text, language, &english(), LabelPolicy::Spoken);
    let letter = |class: &i32| match class {
        1 => '_',
        28 => '\'',
        29 => '*',
        class => char::from(b'a' + (*class - 2) as u8),
    };
    spelling.labels.iter().map(letter).collect()
}

#[test]
fn numbers_are_read_aloud() {
    for (written, said) in [
        ("42", "forty-two"),
        ("$5.50", "five dollars and fifty cents"),
        ("£3,", "three pounds ,"),
        ("20€", "twenty euros"),
        ("50%", "fifty percent"),
        ("3.5%", "three point five percent"),
        ("1,234,567", "one million two hundred thirty-four thousand five hundred and sixty-seven"),
        ("1984", "nineteen eighty-four"),
        ("1984.", "nineteen eighty-four ."),
        ("2,024", "two thousand and twenty-four"),
        ("21st", "twenty-first"),
        ("3rd", "third"),
        ("5G", "five G"),
        ("mp3", "mp three"),
        ("10-12", "ten - twelve"),
        ("5:30", "five : thirty"),
        ("007", "zero zero seven"),
    ] {
        assert_eq!(spoken(written, "en").as_deref(), Some(said), "{written}");
    }
    assert_eq!(spoken("3,5%", "fr").as_deref(), Some("trois virgule cinq pour cent"));
    assert_eq!(spoken("1er", "fr").as_deref(), Some("premier"));
    assert_eq!(spoken("42", "uk").as_deref(), Some("сорок два"));
    // Longer than any number with a name: digit by digit.
    assert_eq!(spoken(&"9".repeat(40), "en").map(|said| said.matches("nine").count()), Some(40));
    for none in ["", "word", "%", "$", "€€", "½"] {
        assert_eq!(spoken(none, "en"), None, "{none}");
    }
    assert_eq!(spoken("42", "de"), None);
}

#[test]
fn one_written_word_is_several_spoken_ones() {
    assert_eq!(letters("Pay $5.50 now!", "en"), "pay_five_dollars_and_fifty_cents_now");
    let spelling = Labels::new("Pay $5.50 now!", "en", &english(), LabelPolicy::Spoken);
    let words: Vec<_> = spelling.words.iter().map(|word| (word.labels.len(), word.wildcard)).collect();
    assert_eq!(words, [(3, false), (28, false), (3, false)]);
    // No library for German, and letters of a script the network does not know: something is said, nobody knows what.
    assert_eq!(letters("Pay $5.50 now!", "de"), "pay_****_now");
    assert_eq!(letters("дом & garden", "en"), "***_*_garden");
    assert!(Labels::new("дом", "en", &english(), LabelPolicy::Spoken).words[0].wildcard);
}

#[test]
fn a_network_with_digits_is_given_digits() {
    let vocab = r#"{"<pad>": 0, "|": 1, "4": 2, "2": 3, "k": 4}"#;
    let dictionary = Dictionary::parse(vocab, std::path::Path::new("vocab.json"), 0, 5).unwrap();
    assert_eq!(Labels::new("42k", "en", &dictionary, LabelPolicy::Spoken).labels, [2, 3, 4]);
}

#[test]
fn punctuation_is_silent_and_apostrophes_are_alike() {
    assert_eq!(letters("«Well»… it’s — (so) it's", "en"), "well_it's_so_it's");
    let spelling = Labels::new("a — b", "en", &english(), LabelPolicy::Spoken);
    assert!(spelling.words[1].labels.is_empty() && spelling.labels.len() == 3);
    assert_eq!(letters("— a", "en"), "a");
    for silent in ["?!…", "— – ·", "😀 🎉", "  "] {
        assert!(Labels::new(silent, "en", &english(), LabelPolicy::Spoken).is_silent(), "{silent}");
    }
}

#[test]
fn without_a_delimiter_words_follow_each_other() {
    let dictionary = Dictionary::parse(&small_vocab(false), std::path::Path::new("vocab.json"), 0, 29).unwrap();
    let spelling = Labels::new("ab 12 c", "en", &dictionary, LabelPolicy::Spoken);
    assert_eq!(spelling.labels.len(), 2 + "twelve".len() + 1);
    assert_eq!(spelling.words[2].labels, 8..9);
    // Some networks name it by the space.
    let dictionary = Dictionary::parse(r#"{"_": 0, " ": 1, "a": 2}"#, std::path::Path::new("v"), 0, 3).unwrap();
    assert_eq!(Labels::new("a a", "en", &dictionary, LabelPolicy::Spoken).labels, [2, 1, 2]);
}

/// The sentences of a text.
fn sentences(text: &str, language: &str) -> Vec<String> {
    let words = Labels::new(text, language, &english(), LabelPolicy::Spoken).words;
    let found = diarist::align::sentences::sentences(text, language, &words);
    found.into_iter().map(|range| text[words[range.start].text.start..words[range.end - 1].text.end].into()).collect()
}

#[test]
fn sentences_end_where_a_reader_ends_them() {
    let cases: [(&str, &str, &[&str]); 9] = [
        ("en", " Dr. Smith paid 3.5 dollars. He left!", &["Dr. Smith paid 3.5 dollars.", "He left!"]),
        ("en", "Well... maybe. \"Who knows?\" Nobody.", &["Well... maybe.", "\"Who knows?\"", "Nobody."]),
        ("en", "no end at all", &["no end at all"]),
        ("de", "Er kam z.B. gestern. Dann ging er.", &["Er kam z.B. gestern.", "Dann ging er."]),
        ("fr", "M. Dupont est là. Oui !", &["M. Dupont est là.", "Oui !"]),
        ("ja", "これは本です。あれは何？", &["これは本です。", "あれは何？"]),
        ("zh", "你好。你好吗？我很好！", &["你好。", "你好吗？", "我很好！"]),
        ("ar", "كيف حالك؟ أنا بخير.", &["كيف حالك؟", "أنا بخير."]),
        ("hi", "यह एक घर है। वह कौन है?", &["यह एक घर है।", "वह कौन है?"]),
    ];
    for (language, text, want) in cases {
        assert_eq!(sentences(text, language), want, "{language}");
    }
    assert!(sentences("  ", "en").is_empty());
}
