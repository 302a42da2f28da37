//! [`Aligner`](diarist::align::Aligner) on a small random network: order of results, independence of the batch,
//! sentences, characters, interpolation, progress, cancellation.

use diarist::align::{AlignOptions, Interpolate, Watch};
use diarist::engine::cpu::Cpu;
use diarist::error::Error;
use diarist::types::{Segment, TimeSource};
use diarist::units::Seconds;

use super::common::seeded;
use super::{segment, small_aligner, texts};

const MINUTE: usize = 60 * 16_000;

fn five_segments() -> Vec<Segment> {
    vec![
        Segment {
            avg_logprob: Some(-0.25),
            speaker: Some("A".into()),
            ..segment(1.0, 4.5, " Hello there. Who is it?")
        },
        segment(5.0, 5.7, " A cat!"),
        segment(6.0, 16.0, " It costs $42, no more — they said. And that was all we ever heard of it"),
        segment(17.0, 18.5, " Привет"),
        segment(20.0, 22.0, " bye"),
    ]
}

#[test]
fn segments_become_sentences_with_words() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let audio = seeded::audio_f32(700, MINUTE);
    let found =
        small_aligner(&cpu).segments(&cpu, &audio, five_segments(), "en", &AlignOptions::default(), &mut ()).unwrap();
    let sentences: Vec<&str> = found.iter().map(|segment| segment.text.as_str()).collect();
    let want = [
        "Hello there.",
        "Who is it?",
        "A cat!",
        "It costs $42, no more — they said.",
        "And that was all we ever heard of it",
        "Привет",
        "bye",
    ];
    assert_eq!(sentences, want);
    for part in &found[..2] {
        assert_eq!((part.avg_logprob, part.speaker.as_deref()), (Some(-0.25), Some("A")));
    }
    for segment in &found {
        let words = segment.words.as_ref().unwrap();
        assert_eq!(segment.unaligned, None);
        assert_eq!((words[0].start, words[words.len() - 1].end), (Some(segment.start), Some(segment.end)));
        assert!(words.iter().all(|word| word.start <= word.end && (word.score.is_some() || word.word == "—")));
    }
    let sources: Vec<_> = found[3].words.as_ref().unwrap().iter().map(|word| word.source.unwrap()).collect();
    let (aligned, interpolated) = (TimeSource::Aligned, TimeSource::Interpolated);
    assert_eq!(sources, [aligned, aligned, aligned, aligned, aligned, interpolated, aligned, aligned]);
    assert_eq!(found[5].words.as_ref().unwrap()[0].source, Some(TimeSource::Wildcard));
}

#[test]
fn results_do_not_depend_on_the_batch() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let (aligner, audio) = (small_aligner(&cpu), seeded::audio_f32(701, MINUTE));
    let run = |segments: Vec<Segment>, seconds: f64| {
        let options = AlignOptions { batch_seconds: Seconds(seconds), characters: true, ..AlignOptions::default() };
        aligner.segments(&cpu, &audio, segments, "en", &options, &mut ()).unwrap()
    };
    let together = run(five_segments(), 60.0);
    assert_eq!(together, run(five_segments(), 0.001));
    let alone: Vec<Segment> = five_segments().into_iter().flat_map(|segment| run(vec![segment], 60.0)).collect();
    assert_eq!(together, alone);
    // Results do not depend on the order of the input.
    let mut backwards = five_segments();
    backwards.reverse();
    assert_eq!(together, run(backwards, 60.0));
}

#[test]
fn characters_are_those_of_the_text_in_order() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let (aligner, audio) = (small_aligner(&cpu), seeded::audio_f32(702, MINUTE));
    let options = AlignOptions { characters: true, ..AlignOptions::default() };
    let found = aligner.segments(&cpu, &audio, five_segments(), "en", &options, &mut ()).unwrap();
    for (i, segment) in found.iter().enumerate() {
        let chars = segment.chars.as_ref().unwrap();
        let written: String = chars.iter().map(|char| char.char.as_str()).collect();
        assert_eq!(written.trim_end(), segment.text, "{i}");
        let mut before = Seconds(0.0);
        for char in chars {
            let letter = char.char.chars().all(char::is_alphanumeric);
            assert!(!letter || char.start.is_some(), "{i}: {char:?}");
            if let (Some(start), Some(end)) = (char.start, char.end) {
                assert!(before <= start && start <= end, "{i}: {char:?}");
                before = end;
            }
        }
    }
    // The characters of "$42," divide the time of the spoken number.
    let (word, chars) = (&found[3].words.as_ref().unwrap()[2], found[3].chars.as_ref().unwrap());
    let at = chars.iter().position(|char| char.char == "$").unwrap();
    assert_eq!((chars[at].start, chars[at + 3].end), (word.start, word.end));
    let plain = aligner.segments(&cpu, &audio, five_segments(), "en", &AlignOptions::default(), &mut ()).unwrap();
    assert!(plain.iter().all(|segment| segment.chars.is_none()));
}

#[test]
fn unaligned_words_are_interpolated_by_the_chosen_method() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let (aligner, audio) = (small_aligner(&cpu), seeded::audio_f32(703, MINUTE));
    let dashes = |interpolate| {
        let options = AlignOptions { interpolate, ..AlignOptions::default() };
        let given = vec![segment(2.0, 9.0, "– one two – – three –")];
        let found = aligner.segments(&cpu, &audio, given, "en", &options, &mut ()).unwrap();
        found.into_iter().flat_map(|segment| segment.words.unwrap()).collect::<Vec<_>>()
    };
    let nearest = dashes(Interpolate::Nearest);
    assert_eq!((nearest[0].start, nearest[0].end), (nearest[1].start, nearest[1].start));
    assert_eq!((nearest[3].start, nearest[3].end), (nearest[2].end, nearest[2].end));
    assert_eq!((nearest[4].start, nearest[4].end), (nearest[5].start, nearest[5].start));
    assert_eq!((nearest[6].start, nearest[6].end), (nearest[5].end, nearest[5].end));
    let linear = dashes(Interpolate::Linear);
    assert_eq!((linear[3].start, linear[4].end), (linear[2].end, linear[5].start));
    assert_eq!(linear[3].end, linear[4].start);
    let middle = (linear[2].end.unwrap().0 + linear[5].start.unwrap().0) / 2.0;
    assert!((linear[3].end.unwrap().0 - middle).abs() < 0.001);
    let ignored = dashes(Interpolate::Ignore);
    assert!([0, 3, 4, 6].iter().all(|i| ignored[*i].start.is_none() && ignored[*i].source.is_none()));
    assert_eq!(ignored[1], nearest[1]);
}

#[test]
fn a_given_text_is_aligned_to_a_whole_recording() {
    let cpu = Cpu::new(Some(2)).unwrap();
    // Longer than two windows.
    let (aligner, audio) = (small_aligner(&cpu), seeded::audio_f32(704, MINUTE + 80_000));
    let text = "First we say this. Then, after a while, we say that; and on the 3rd day nothing.\n\nThe end?";
    let mut watch = RecordingWatch::default();
    let found = aligner.text(&cpu, &audio, text, "en", &AlignOptions::default(), &mut watch).unwrap();
    let sentences: Vec<&str> = found.iter().map(|segment| segment.text.as_str()).collect();
    assert_eq!(sentences.len(), 3, "{sentences:?}");
    assert_eq!(texts(&found), text.split_whitespace().collect::<Vec<_>>());
    assert!(found.iter().all(|segment| segment.unaligned.is_none() && segment.end.0 <= 65.0));
    let words = found.iter().flat_map(|segment| segment.words.as_ref().unwrap());
    assert!(words.clone().all(|word| word.source == Some(TimeSource::Aligned)));
    assert!((watch.done.last().unwrap() - 65.0).abs() < 0.1 && watch.done.is_sorted(), "{watch:?}");
}

/// Records progress, and cancels after a number of progress calls.
#[derive(Debug, Default)]
struct RecordingWatch {
    done: Vec<f64>,
    stop_at: Option<usize>,
}

impl Watch for RecordingWatch {
    fn progress(&mut self, done: Seconds, total: Seconds) {
        assert!(done.0 <= total.0 + 0.1);
        self.done.push(done.0);
    }
    fn is_cancelled(&self) -> bool {
        self.stop_at.is_some_and(|count| self.done.len() >= count)
    }
}

#[test]
fn alignment_can_be_cancelled_and_options_are_validated() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let (aligner, audio) = (small_aligner(&cpu), seeded::audio_f32(705, MINUTE));
    let options = AlignOptions { batch_seconds: Seconds(1.0), ..AlignOptions::default() };
    for (stop_at, done) in [(None, 5), (Some(0), 0), (Some(2), 2)] {
        let mut watch = RecordingWatch { stop_at, ..RecordingWatch::default() };
        let found = aligner.segments(&cpu, &audio, five_segments(), "en", &options, &mut watch);
        assert_eq!(watch.done.len(), done);
        assert_eq!(matches!(found, Err(Error::Cancelled)), stop_at.is_some());
    }
    for seconds in [0.0, -1.0, f64::NAN] {
        let options = AlignOptions { batch_seconds: Seconds(seconds), ..AlignOptions::default() };
        let error = aligner.segments(&cpu, &audio, five_segments(), "en", &options, &mut ()).unwrap_err();
        assert!(matches!(error, Error::Config { option: "batch_seconds", .. }), "{error}");
    }
}
