//! Subtitle cues in special cases: Chinese and Japanese, markup, and words without a duration.

use diarist::output::{OutputFormat, SubtitleOptions, render};
use diarist::types::{Segment, Span, Transcript, Turn, Word};
use diarist::units::Seconds;

/// An aligned segment in a language without spaces: every character is a word.
fn by_characters(text: &str, language: &str) -> Transcript {
    let time = |index: usize| Some(Seconds(index as f64 / 4.0));
    let characters = text.chars().filter(|c| !c.is_whitespace()).enumerate();
    let words: Vec<Word> = characters
        .map(|(index, c)| Word { word: c.into(), start: time(index), end: time(index + 1), ..Word::default() })
        .collect();
    let end = words.last().and_then(|word| word.end).unwrap_or_default();
    let segment = Segment { text: text.into(), end, words: Some(words), ..Segment::default() };
    Transcript { segments: vec![segment], language: Some(language.into()), ..Transcript::default() }
}

/// The texts of the cues of an SRT or VTT file, with `/` between lines.
fn texts(file: &str) -> Vec<String> {
    let cues = file.split("\n\n").filter(|cue| cue.contains("-->"));
    cues.map(|cue| cue.lines().skip_while(|line| !line.contains("-->")).skip(1).collect::<Vec<_>>().join("/")).collect()
}

const CHINESE: &str = "我们用 Machine Learning 和 Hello World 来做 iPhone 16 Pro Max 的测试。";
const JAPANESE: &str = "「これはペンです。」と、彼は言った（たぶん）。ちょっと待って！";

/// Without a maximum line width, a cue is one segment and has the segment's text.
#[test]
fn spaces_between_latin_words_are_kept() {
    for (text, language) in [(CHINESE, "zh"), (JAPANESE, "ja"), ("我 a b", "yue")] {
        let transcript = by_characters(text, language);
        for format in [OutputFormat::Srt, OutputFormat::Vtt] {
            assert_eq!(texts(&render(format, &transcript, &SubtitleOptions::default()).unwrap()), [text]);
        }
        let options = SubtitleOptions { highlight_words: true, ..SubtitleOptions::default() };
        let highlighted = texts(&render(OutputFormat::Srt, &transcript, &options).unwrap());
        assert!(highlighted.iter().all(|cue| cue.replace("<u>", "").replace("</u>", "") == text), "{highlighted:?}");
    }
}

/// No line begins with closing punctuation, ends with an opening bracket, or ends within a Latin word.
#[test]
fn lines_break_only_where_allowed() {
    let none = SubtitleOptions::default();
    for (text, language) in [(CHINESE, "zh"), (JAPANESE, "ja")] {
        let transcript = by_characters(text, language);
        for width in 2..24 {
            let options = SubtitleOptions { max_line_width: Some(width), max_line_count: Some(2), ..none };
            for options in [
                options,
                SubtitleOptions { balance_lines: true, ..options },
                SubtitleOptions { max_cue_duration: Some(Seconds(1.5)), ..options },
            ] {
                let cues = texts(&render(OutputFormat::Srt, &transcript, &options).unwrap());
                let lines: Vec<&str> = cues.iter().flat_map(|cue| cue.split('/')).collect();
                let spaceless = |text: &str| text.split_whitespace().collect::<String>();
                assert_eq!(spaceless(&lines.concat()), spaceless(text), "words are lost");
                for line in &lines {
                    assert!(!line.starts_with(['。', '、', '」', '）', '！', 'っ', 'ょ']), "{width}: {lines:?}");
                    assert!(!line.ends_with(['「', '（']), "{width}: {lines:?}");
                }
                for word in ["Machine", "Learning", "World", "iPhone", "16", "Max"].iter().filter(|_| language == "zh")
                {
                    assert!(lines.iter().any(|line| line.contains(word)), "{width}: {word} is torn: {lines:?}");
                }
                // Only unbreakable units are wider: `iPhone`, `Learning`, or a few characters with their punctuation.
                let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(longest <= width.max(8), "{width}: {lines:?}");
            }
        }
    }
    let options = SubtitleOptions { max_line_width: Some(6), max_line_count: Some(1), ..none };
    let cues = texts(&render(OutputFormat::Srt, &by_characters("今天天气很好。明天", "zh"), &options).unwrap());
    assert_eq!(cues, ["今天天气很", "好。明天"]);
}

#[test]
fn webvtt_escapes_markup() {
    let word = |word: &str, at: f64| Word {
        word: word.into(),
        start: Some(Seconds(at)),
        end: Some(Seconds(at + 1.0)),
        ..Word::default()
    };
    let segment = Segment {
        end: Seconds(3.0),
        text: "<2> AT&T --> &lt;".into(),
        speaker: Some("R&D <x>".into()),
        words: Some(vec![word("<2>", 0.0), word("AT&T", 1.0), word("-->", 2.0), word("&lt;", 3.0)]),
        ..Segment::default()
    };
    let transcript = Transcript { segments: vec![segment], ..Transcript::default() };
    let of = |format, options: SubtitleOptions| texts(&render(format, &transcript, &options).unwrap());
    let none = SubtitleOptions::default();
    assert_eq!(of(OutputFormat::Vtt, none), ["[R&amp;D &lt;x>]: &lt;2> AT&amp;T -> &amp;lt;"]);
    assert_eq!(of(OutputFormat::Srt, none), ["[R&D <x>]: <2> AT&T -> &lt;"]);
    let highlighted = of(OutputFormat::Vtt, SubtitleOptions { highlight_words: true, ..none });
    assert_eq!(highlighted[1], "[R&amp;D &lt;x>]: &lt;2> <u>AT&amp;T</u> -> &amp;lt;");
}

/// A timestamp such as `00:01:02.003`, `01:02.003` or `00:01:02,003`, in milliseconds.
fn stamp(text: &str) -> u64 {
    let (whole, fraction) = text.split_once([',', '.']).unwrap();
    whole.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap()) * 1000
        + fraction.parse::<u64>().unwrap()
}

/// Whatever the times of words and segments, every cue, line and turn has a duration, and no word is lost.
#[test]
fn every_cue_line_and_turn_has_a_duration() {
    let word = |word: &str, start: f64, end: f64| Word {
        word: word.into(),
        start: Some(Seconds(start)),
        end: Some(Seconds(end)),
        ..Word::default()
    };
    let segment = |start: f64, end: f64, words: Option<Vec<Word>>| {
        let text = words.iter().flatten().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ");
        let text = if text.is_empty() { "wordless".into() } else { text };
        Segment { start: Seconds(start), end: Seconds(end), text, words, ..Segment::default() }
    };
    let timed = vec![
        segment(1.0, 1.0, Some(vec![word("one", 1.0, 1.0)])),
        segment(1.0, 1.0004, Some(vec![word("two", 1.0, 1.0004)])),
        segment(1.0, 2.0, Some(vec![word("three", 1.0, 1.5), word("four", 1.5, 1.5), word("five", 1.5, 2.0)])),
        segment(5.0, 4.0, Some(vec![word("six", 5.0, 4.0)])),
        segment(7.0, 7.0, None),
    ];
    let wordless = timed.iter().map(|one| Segment { words: None, ..one.clone() }).collect();
    let turns = vec![Turn { span: Span::new(1.0, 1.0), speaker: "A".into() }];
    for segments in [timed, wordless] {
        let transcript = Transcript { segments, turns: turns.clone(), ..Transcript::default() };
        for highlight_words in [false, true] {
            let options = SubtitleOptions { highlight_words, ..SubtitleOptions::default() };
            for format in [OutputFormat::Srt, OutputFormat::Vtt] {
                let file = render(format, &transcript, &options).unwrap();
                for times in file.lines().filter_map(|line| line.split_once(" --> ")) {
                    assert!(stamp(times.0) < stamp(times.1), "{times:?} in {file}");
                }
                for word in ["one", "two", "three", "four", "five", "six", "wordless"] {
                    assert!(file.contains(word), "{word} is not in {file}");
                }
            }
        }
        for (format, column) in [(OutputFormat::Tsv, 1), (OutputFormat::Aud, 0)] {
            let file = render(format, &transcript, &SubtitleOptions::default()).unwrap();
            assert_eq!(file.lines().count(), 5 + column, "{file}");
            for line in file.lines().skip(column) {
                let fields: Vec<f64> = line.split('\t').take(2).map(|field| field.parse().unwrap()).collect();
                assert!(fields[0] < fields[1], "{line}");
            }
        }
        let rttm = render(OutputFormat::Rttm, &transcript, &SubtitleOptions::default()).unwrap();
        assert_eq!(rttm, "SPEAKER recording 1 1.000 0.001 <NA> <NA> A <NA> <NA>\n");
    }
}
