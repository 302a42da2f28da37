//! Merging the segments of several channels, without crosstalk: the channels are silent, so that no word is a copy.

use diarist::channels::{Channel, Merged, merge};
use diarist::output::{OutputFormat, SubtitleOptions, render};
use diarist::types::{Segment, Transcript, Word};
use diarist::units::Seconds;

/// A segment of words, given as text, start and end. A word with `-` in front has no times.
fn segment(words: &[(&str, f64, f64)]) -> Segment {
    let word = |(text, start, end): &(&str, f64, f64)| Word {
        word: text.trim_start_matches('-').into(),
        start: (!text.starts_with('-')).then_some(Seconds(*start)),
        end: (!text.starts_with('-')).then_some(Seconds(*end)),
        ..Word::default()
    };
    let words: Vec<Word> = words.iter().map(word).collect();
    Segment {
        start: words.iter().find_map(|word| word.start).unwrap(),
        end: words.iter().rev().find_map(|word| word.end).unwrap(),
        text: words.iter().map(|word| format!(" {}", word.word)).collect(),
        words: Some(words),
        ..Segment::default()
    }
}

fn merged(channels: &[&[Segment]]) -> Merged {
    let channels = channels.iter().zip(["Agent", "Customer", "CHANNEL_02"]);
    let channels =
        channels.map(|(segments, label)| Channel { samples: &[], segments: segments.to_vec(), label: label.into() });
    merge(channels.collect()).unwrap()
}

fn lines(merged: &Merged) -> Vec<String> {
    let line = |segment: &Segment| {
        let speaker = segment.speaker.as_deref().unwrap_or_default();
        format!("{:.1}-{:.1} {speaker}:{}", segment.start.0, segment.end.0, segment.text)
    };
    merged.segments.iter().map(line).collect()
}

#[test]
fn a_segment_is_split_where_another_channel_speaks_in_its_pause() {
    let agent =
        segment(&[("I", 0.0, 0.2), ("see,", 0.3, 0.6), ("then", 2.0, 2.3), ("we", 2.4, 2.5), ("wait.", 2.6, 3.0)]);
    let found = merged(&[std::slice::from_ref(&agent), &[segment(&[("Yes.", 1.0, 1.5)])]]);
    assert_eq!(lines(&found), ["0.0-0.6 Agent: I see,", "1.0-1.5 Customer: Yes.", "2.0-3.0 Agent: then we wait."]);
    let spoken: Vec<&str> = found.words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(spoken, ["I", "see,", "Yes.", "then", "we", "wait."]);
    assert!(found.words.iter().all(|word| word.also.is_empty()));
    // Without a pause the segment stays whole, and overlapping words list the other speaker.
    let found = merged(&[&[agent], &[segment(&[("Oh.", 2.3, 2.6)])]]);
    assert_eq!(lines(&found), ["0.0-3.0 Agent: I see, then we wait.", "2.3-2.6 Customer: Oh."]);
    let also: Vec<(&str, &[String])> = found.words.iter().map(|word| (word.word.as_str(), &word.also[..])).collect();
    assert_eq!(also[3], ("Oh.", &["Agent".to_string()][..]));
    assert_eq!(also[4], ("we", &["Customer".to_string()][..]));
    assert!(also[0].1.is_empty() && also[5].1.is_empty(), "{also:?}");
}

#[test]
fn turns_join_the_words_of_a_channel_across_short_pauses() {
    let first = [segment(&[("a", 0.0, 0.5), ("b", 0.9, 1.0)]), segment(&[("c", 1.2, 1.5), ("d", 3.0, 3.1)])];
    let found = merged(&[&first, &[segment(&[("e", 1.0, 2.0)])]]);
    let turns: Vec<_> = found.turns.iter().map(|t| (t.speaker.as_str(), t.span.start.0, t.span.end.0)).collect();
    assert_eq!(turns, [("Agent", 0.0, 1.5), ("Customer", 1.0, 2.0), ("Agent", 3.0, 3.1)]);
}

#[test]
fn words_without_a_time_stay_behind_the_word_before_them() {
    let first = segment(&[("about", 0.0, 0.5), ("-42", 0.0, 0.0), ("days", 1.5, 2.0)]);
    let found = merged(&[&[first], &[segment(&[("Yes.", 0.2, 0.4)])]]);
    let spoken: Vec<&str> = found.words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(spoken, ["about", "42", "Yes.", "days"]);
    assert!(found.words.iter().all(|word| word.speaker.is_some()));
}

/// All output formats, for a transcript in which two speakers overlap, with words and without.
#[test]
fn every_format_names_the_speakers() {
    let first = segment(&[("Good", 0.0, 1.0), ("morning,", 1.0, 2.0), ("caller.", 2.0, 4.0)]);
    let whole = |segment: Segment| Segment { words: None, ..segment };
    let second = segment(&[("Hello!", 1.5, 2.5)]);
    let with = |options: &SubtitleOptions, format, found: &Merged| {
        let (segments, turns) = (found.segments.clone(), found.turns.clone());
        let transcript = Transcript { segments, turns, language: Some("en".into()), ..Transcript::default() };
        render(format, &transcript, options).unwrap()
    };
    let usual = SubtitleOptions::default();
    for found in [
        merged(&[std::slice::from_ref(&first), std::slice::from_ref(&second)]),
        merged(&[&[whole(first.clone())], &[whole(second.clone())]]),
    ] {
        assert_eq!(
            with(&usual, OutputFormat::Srt, &found),
            "1\n00:00:00,000 --> 00:00:04,000\n[Agent]: Good morning, caller.\n\n\
             2\n00:00:01,500 --> 00:00:02,500\n[Customer]: Hello!\n\n"
        );
        assert!(with(&usual, OutputFormat::Vtt, &found).contains("00:01.500 --> 00:02.500\n[Customer]: Hello!"));
        assert_eq!(with(&usual, OutputFormat::Txt, &found), "[Agent]: Good morning, caller.\n[Customer]: Hello!\n");
        assert_eq!(
            with(&usual, OutputFormat::Aud, &found),
            "0.0\t4.0\t[[Agent]]Good morning, caller.\n1.5\t2.5\t[[Customer]]Hello!\n"
        );
        assert!(with(&usual, OutputFormat::Tsv, &found).contains("1500\t2500\tHello!\n"));
        assert!(with(&usual, OutputFormat::Json, &found).contains("\"text\": \" Hello!\", \"speaker\": \"Customer\""));
        let rttm = "SPEAKER recording 1 1.500 1.000 <NA> <NA> Customer <NA> <NA>\n";
        assert!(with(&usual, OutputFormat::Rttm, &found).contains(rttm));
    }
    // A cue that joins several segments has the words of one speaker only.
    let wide = SubtitleOptions { max_line_width: Some(80), max_line_count: Some(2), ..usual };
    let found = merged(&[&[first.clone(), segment(&[("Well.", 4.0, 4.5)])], &[second]]);
    let srt = with(&wide, OutputFormat::Srt, &found);
    assert!(srt.contains("[Agent]: Good morning, caller.\n") && srt.contains("[Customer]: Hello!\n"), "{srt}");
}
