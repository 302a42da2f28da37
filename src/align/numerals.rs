//! Numbers as they are said: `$5.50` is found as "five dollars and fifty cents".
//!
//! The words are those of the crate num2words, which knows English, French and Ukrainian; in other languages digits stay
//! wildcards. Of several ways to say a number one is taken: alignment wants about the right letters, and bends them to what it
//! hears.

use num2words::{Currency, Lang, Num2Words};

use crate::guard::guard;

/// Longest run of digits that is read as one number; a longer one is read digit by digit.
const MAX_DIGITS: usize = 15;

/// How a language writes and reads numbers.
struct Reading {
    lang: fn() -> Lang,
    /// Between the whole and its parts; another of `.,` stands between thousands.
    decimal: char,
    /// What the library puts between whole and parts, and what people say.
    point: (&'static str, &'static str),
    /// What `%` is called.
    percent: &'static str,
    /// Endings that make an ordinal of the digits before them.
    ordinals: &'static [&'static str],
    /// Whether four digits may be a year that is read in two halves.
    halved_years: bool,
}

const ENGLISH: Reading = Reading {
    lang: || Lang::English,
    decimal: '.',
    point: ("point", "point"),
    percent: "percent",
    ordinals: &["st", "nd", "rd", "th"],
    halved_years: true,
};
const FRENCH: Reading = Reading {
    lang: || Lang::French,
    decimal: ',',
    point: ("point", "virgule"),
    percent: "pour cent",
    ordinals: &["er", "re", "e", "ème", "eme", "nd", "nde"],
    halved_years: false,
};
const UKRAINIAN: Reading = Reading {
    lang: || Lang::Ukrainian,
    decimal: ',',
    point: ("кома", "кома"),
    percent: "відсотків",
    ordinals: &["й", "ий", "го"],
    halved_years: false,
};

/// How a word with digits is said. `None` where the language is not known or there is no digit.
pub fn spoken(word: &str, language: &str) -> Option<String> {
    let reading = match language {
        "en" => ENGLISH,
        "fr" => FRENCH,
        "uk" => UKRAINIAN,
        _ => return None,
    };
    let mut said = Vec::new();
    let mut rest = word;
    let mut numbers = 0;
    while let Some(first) = rest.chars().next() {
        let (piece, after) = match Number::read(rest, &reading) {
            Some((number, after)) => {
                numbers += 1;
                (number.say(&reading)?, after)
            }
            None if first == '%' => (reading.percent.to_string(), &rest[1..]),
            None => {
                // Whatever is no number: the letters of `mp3` as they are; a currency's sign before a number is read with it.
                let end = rest[first.len_utf8()..].char_indices().map(|(i, c)| (i + first.len_utf8(), c));
                let mut end = end.filter(|(_, c)| c.is_ascii_digit() || *c == '%' || currency(*c).is_some());
                let end = end.next().map_or(rest.len(), |(i, _)| i);
                (rest[..end].to_string(), &rest[end..])
            }
        };
        said.push(piece);
        rest = after;
    }
    (numbers > 0).then(|| said.join(" "))
}

/// What a sign of currency stands for.
fn currency(sign: char) -> Option<Currency> {
    Some(match sign {
        '$' => Currency::DOLLAR,
        '€' => Currency::EUR,
        '£' => Currency::GBP,
        '¥' => Currency::JPY,
        '₹' => Currency::INR,
        '₽' => Currency::RUB,
        '₴' => Currency::UAH,
        _ => return None,
    })
}

/// A number as written.
struct Number {
    /// Digits before the decimal sign.
    whole: String,
    /// Digits after it.
    parts: String,
    currency: Option<Currency>,
    ordinal: bool,
    /// Whether thousands were set apart: then it is no year.
    grouped: bool,
}

impl Number {
    /// The number that a text begins with, its currency before or after it, and the text behind.
    fn read<'a>(text: &'a str, reading: &Reading) -> Option<(Self, &'a str)> {
        let sign = text.chars().next().and_then(|c| currency(c).map(|currency| (currency, c.len_utf8())));
        let mut rest = &text[sign.map_or(0, |(_, len)| len)..];
        let mut number = Number {
            whole: digits(rest)?.into(),
            parts: String::new(),
            currency: None,
            ordinal: false,
            grouped: false,
        };
        rest = &rest[number.whole.len()..];
        let grouping = if reading.decimal == '.' { ',' } else { '.' };
        while let Some(group) = rest.strip_prefix(grouping).and_then(digits).filter(|group| group.len() == 3) {
            number.whole.push_str(group);
            number.grouped = true;
            rest = &rest[1 + group.len()..];
        }
        if let Some(parts) = rest.strip_prefix(reading.decimal).and_then(digits) {
            number.parts = parts.into();
            rest = &rest[1 + parts.len()..];
        }
        number.currency = sign.map(|(currency, _)| currency);
        if let Some(after) = rest.chars().next().filter(|_| number.currency.is_none())
            && let Some(currency) = currency(after)
        {
            number.currency = Some(currency);
            rest = &rest[after.len_utf8()..];
        }
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        if number.parts.is_empty() && reading.ordinals.contains(&rest[..letters].to_lowercase().as_str()) {
            number.ordinal = true;
            rest = &rest[letters..];
        }
        Some((number, rest))
    }

    /// The words for it; `None` if the library has none.
    fn say(self, reading: &Reading) -> Option<String> {
        let too_long = self.whole.len() + self.parts.len() > MAX_DIGITS;
        // A telephone or serial number.
        let serial = self.whole.len() > 1 && self.whole.starts_with('0') && self.parts.is_empty();
        if too_long || serial {
            let digits = self.whole.chars().chain(self.parts.chars());
            let said: Option<Vec<String>> = digits.map(|digit| words(reading, &digit.to_string(), |n| n)).collect();
            return Some(said?.join(" "));
        }
        let text = if self.parts.is_empty() { self.whole.clone() } else { format!("{}.{}", self.whole, self.parts) };
        if let Some(currency) = self.currency {
            return words(reading, &text, |n| n.currency(currency));
        }
        if self.ordinal {
            return words(reading, &text, Num2Words::ordinal);
        }
        let is_year = reading.halved_years && !self.grouped && self.parts.is_empty() && self.whole.len() == 4;
        if is_year && ("1100"..="2099").contains(&text.as_str()) {
            return words(reading, &text, Num2Words::year);
        }
        words(reading, &text, |n| n)
    }
}

/// The digits that a text begins with.
fn digits(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// Asks the library, which unwraps what it should not in corners of its own.
fn words(reading: &Reading, text: &str, form: impl FnOnce(Num2Words) -> Num2Words) -> Option<String> {
    let said = guard(|| form(Num2Words::parse(text)?.lang((reading.lang)())).to_words().ok()).ok().flatten()?;
    let (theirs, ours) = reading.point;
    Some(said.split(' ').map(|word| if word == theirs { ours } else { word }).collect::<Vec<_>>().join(" "))
}
