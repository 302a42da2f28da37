//! Numbers to words for alignment: `$5.50` is aligned as "five dollars and fifty cents".
//!
//! The words come from the crate num2words, which supports English, French and Ukrainian. In other languages digits are
//! wildcards. A number that can be read in several ways gets one reading: forced alignment tolerates some wrong
//! letters.

use num2words::{Currency, Lang, Num2Words};

use crate::guard::guard;

/// Longest run of digits that is read as one number; a longer one is read digit by digit.
const MAX_DIGITS: usize = 15;

/// How a language writes and reads numbers.
struct Reading {
    lang: fn() -> Lang,
    /// Decimal separator. The other one of `.` and `,` separates thousands.
    decimal: char,
    /// The word for the decimal separator: the library's, and the one used in speech.
    point: (&'static str, &'static str),
    /// The word for `%`.
    percent: &'static str,
    /// Suffixes of ordinals.
    ordinals: &'static [&'static str],
    /// Whether four digits may be a year that is read as two two-digit numbers.
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

/// The spoken form of a word with digits. `None` if the language is not supported, the word has no digit, or the
/// library has no words for a number.
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
                (number.spoken_form(&reading)?, after)
            }
            None if first == '%' => (reading.percent.to_string(), &rest[1..]),
            None => {
                // Other characters, such as the letters of `mp3`, are copied up to the next number. A currency sign
                // ends them, because it is read with the number after it.
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

/// The currency of a sign.
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
    /// Digits before the decimal separator.
    whole: String,
    /// Digits after it.
    fraction: String,
    currency: Option<Currency>,
    ordinal: bool,
    /// Whether thousands are separated. Such a number is not a year.
    grouped: bool,
}

impl Number {
    /// The number that a text begins with, its currency before or after it, and the text behind.
    fn read<'a>(text: &'a str, reading: &Reading) -> Option<(Self, &'a str)> {
        let sign = text.chars().next().and_then(|c| currency(c).map(|currency| (currency, c.len_utf8())));
        let mut rest = &text[sign.map_or(0, |(_, len)| len)..];
        let mut number = Number {
            whole: digits(rest)?.into(),
            fraction: String::new(),
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
        if let Some(fraction) = rest.strip_prefix(reading.decimal).and_then(digits) {
            number.fraction = fraction.into();
            rest = &rest[1 + fraction.len()..];
        }
        number.currency = sign.map(|(currency, _)| currency);
        if let Some(after) = rest.chars().next().filter(|_| number.currency.is_none())
            && let Some(currency) = currency(after)
        {
            number.currency = Some(currency);
            rest = &rest[after.len_utf8()..];
        }
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        if number.fraction.is_empty() && reading.ordinals.contains(&rest[..letters].to_lowercase().as_str()) {
            number.ordinal = true;
            rest = &rest[letters..];
        }
        Some((number, rest))
    }

    /// The spoken form; `None` if the library has none.
    fn spoken_form(self, reading: &Reading) -> Option<String> {
        let too_long = self.whole.len() + self.fraction.len() > MAX_DIGITS;
        // Telephone and serial numbers are read digit by digit.
        let serial = self.whole.len() > 1 && self.whole.starts_with('0') && self.fraction.is_empty();
        if too_long || serial {
            let digits = self.whole.chars().chain(self.fraction.chars());
            let said: Option<Vec<String>> = digits.map(|digit| words(reading, &digit.to_string(), |n| n)).collect();
            return Some(said?.join(" "));
        }
        let text =
            if self.fraction.is_empty() { self.whole.clone() } else { format!("{}.{}", self.whole, self.fraction) };
        if let Some(currency) = self.currency {
            return words(reading, &text, |n| n.currency(currency));
        }
        if self.ordinal {
            return words(reading, &text, Num2Words::ordinal);
        }
        let is_year = reading.halved_years && !self.grouped && self.fraction.is_empty() && self.whole.len() == 4;
        if is_year && ("1100"..="2099").contains(&text.as_str()) {
            return words(reading, &text, Num2Words::year);
        }
        words(reading, &text, |n| n)
    }
}

/// The leading digits of a text.
fn digits(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// Calls num2words, with the decimal separator replaced by the spoken one. Guarded, because the library panics on some
/// inputs.
fn words(reading: &Reading, text: &str, form: impl FnOnce(Num2Words) -> Num2Words) -> Option<String> {
    let said = guard(|| form(Num2Words::parse(text)?.lang((reading.lang)())).to_words().ok()).ok().flatten()?;
    let (theirs, ours) = reading.point;
    Some(said.split(' ').map(|word| if word == theirs { ours } else { word }).collect::<Vec<_>>().join(" "))
}
