//! Labels of text: numbers in spoken form, punctuation without labels, sentence splitting.

use diarist::align::numerals::spoken;
use diarist::align::{Dictionary, LabelPolicy, Labels};

use super::small_vocab;

fn english() -> Dictionary {
    Dictionary::parse(&small_vocab(true), std::path::Path::new("vocab.json"), 0, 29).unwrap()
}

/// The labels of a text as letters; `_` is the delimiter, `*` the wildcard.
fn letters(text: &str, language: &str) -> String {
    let labels = Labels::new(text, language, &english(), LabelPolicy::Spoken);
    let letter = |class: &i32| match class {
        1 => '_',
        28 => '\'',
        29 => '*',
        class => char::from(b'a' + (*class - 2) as u8),
    };
    labels.labels.iter().map(letter).collect()
}

#[test]
fn numbers_have_a_spoken_form() {
    for (written, words) in [
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
        assert_eq!(spoken(written, "en").as_deref(), Some(words), "{written}");
    }
    assert_eq!(spoken("3,5%", "fr").as_deref(), Some("trois virgule cinq pour cent"));
    assert_eq!(spoken("1er", "fr").as_deref(), Some("premier"));
    assert_eq!(spoken("42", "uk").as_deref(), Some("сорок два"));
    // Too long to be read as one number: digit by digit.
    assert_eq!(spoken(&"9".repeat(40), "en").map(|words| words.matches("nine").count()), Some(40));
    for none in ["", "word", "%", "$", "€€", "½"] {
        assert_eq!(spoken(none, "en"), None, "{none}");
    }
    assert_eq!(spoken("42", "de"), None);
}

#[test]
fn a_number_of_several_spoken_words_is_one_word() {
    assert_eq!(letters("Pay $5.50 now!", "en"), "pay_five_dollars_and_fifty_cents_now");
    let labels = Labels::new("Pay $5.50 now!", "en", &english(), LabelPolicy::Spoken);
    let words: Vec<_> = labels.words.iter().map(|word| (word.labels.len(), word.wildcard)).collect();
    assert_eq!(words, [(3, false), (28, false), (3, false)]);
    // Wildcards: digits in German, which num2words does not support, and letters of a script without classes.
    assert_eq!(letters("Pay $5.50 now!", "de"), "pay_****_now");
    assert_eq!(letters("дом & garden", "en"), "***_*_garden");
    assert!(Labels::new("дом", "en", &english(), LabelPolicy::Spoken).words[0].wildcard);
}

#[test]
fn digits_with_classes_are_not_spelled_out() {
    let vocab = r#"{"<pad>": 0, "|": 1, "4": 2, "2": 3, "k": 4}"#;
    let dictionary = Dictionary::parse(vocab, std::path::Path::new("vocab.json"), 0, 5).unwrap();
    assert_eq!(Labels::new("42k", "en", &dictionary, LabelPolicy::Spoken).labels, [2, 3, 4]);
}

#[test]
fn punctuation_has_no_labels_and_apostrophes_are_equal() {
    assert_eq!(letters("«Well»… it’s — (so) it's", "en"), "well_it's_so_it's");
    let labels = Labels::new("a — b", "en", &english(), LabelPolicy::Spoken);
    assert!(labels.words[1].labels.is_empty() && labels.labels.len() == 3);
    assert_eq!(letters("— a", "en"), "a");
    for silent in ["?!…", "— – ·", "😀 🎉", "  "] {
        assert!(Labels::new(silent, "en", &english(), LabelPolicy::Spoken).is_silent(), "{silent}");
    }
}

#[test]
fn without_a_delimiter_class_words_are_adjacent() {
    let dictionary = Dictionary::parse(&small_vocab(false), std::path::Path::new("vocab.json"), 0, 29).unwrap();
    let labels = Labels::new("ab 12 c", "en", &dictionary, LabelPolicy::Spoken);
    assert_eq!(labels.labels.len(), 2 + "twelve".len() + 1);
    assert_eq!(labels.words[2].labels, 8..9);
    // The delimiter of some networks is a space.
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
fn sentences_are_split_in_many_languages() {
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
