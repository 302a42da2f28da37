//! Monotonic times, interpolation and rounding.

use diarist::align::Interpolate;
use diarist::align::interpolate::interpolate;
use diarist::align::monotonic::make_monotonic;
use diarist::align::words::thousandths;
use diarist::types::{Segment, Span, TimeSource, Word};
use diarist::units::Seconds;

use super::segment;

fn word(start: f64, end: f64) -> Word {
    let source = Some(TimeSource::Aligned);
    Word { word: "w".into(), start: Some(Seconds(start)), end: Some(Seconds(end)), source, ..Word::default() }
}

fn with_words(times: &[(f64, f64)]) -> Segment {
    let words: Vec<Word> = times.iter().map(|(start, end)| word(*start, *end)).collect();
    Segment { words: Some(words), ..segment(times[0].0, times[times.len() - 1].1, "w") }
}

fn times(segments: &[Segment]) -> Vec<(f64, f64)> {
    let words = segments.iter().flat_map(|segment| segment.words.iter().flatten());
    words.filter_map(|word| Some((word.start?.0, word.end?.0))).collect()
}

#[test]
fn overlapping_segments_become_monotonic() {
    let mut fine = vec![with_words(&[(0.0, 1.0), (1.0, 2.0)]), with_words(&[(2.0, 2.5)]), with_words(&[(3.0, 3.0)])];
    let before = fine.clone();
    make_monotonic(&mut fine);
    assert_eq!(fine, before);
    // The first segment ends after the start of the second; the third begins before the end of the first.
    let mut segments =
        vec![with_words(&[(0.0, 1.0), (2.0, 4.0)]), with_words(&[(3.0, 5.0), (5.0, 6.0)]), with_words(&[(1.0, 7.0)])];
    make_monotonic(&mut segments);
    assert_eq!(times(&segments), [(0.0, 1.0), (2.0, 3.0), (3.0, 5.0), (5.0, 5.0), (5.0, 7.0)]);
    let source = |segment: &Segment| segment.words.as_ref().unwrap()[0].source;
    assert_eq!(
        (source(&segments[1]), source(&segments[2])),
        (Some(TimeSource::Aligned), Some(TimeSource::Interpolated))
    );
    let spans: Vec<(f64, f64)> = segments.iter().map(|segment| (segment.start.0, segment.end.0)).collect();
    assert_eq!(spans, [(0.0, 3.0), (3.0, 5.0), (5.0, 7.0)]);
}

#[test]
fn a_segment_without_word_times_is_clamped_between_its_neighbours() {
    let mut segments = vec![with_words(&[(0.0, 4.0)]), segment(1.0, 9.0, "?"), with_words(&[(5.0, 6.0)])];
    make_monotonic(&mut segments);
    assert_eq!((segments[1].start, segments[1].end), (Seconds(4.0), Seconds(5.0)));
}

#[test]
fn without_any_word_time_words_divide_the_segment_by_letters() {
    let whole = Span::new(10.0, 14.0);
    for method in [Interpolate::Nearest, Interpolate::Linear] {
        let mut times = vec![None; 3];
        interpolate(&mut times, &[1, 2, 1], whole, method);
        assert_eq!(times, [Some(Span::new(10.0, 11.0)), Some(Span::new(11.0, 13.0)), Some(Span::new(13.0, 14.0))]);
    }
    let mut times = vec![None; 3];
    interpolate(&mut times, &[1, 2, 1], whole, Interpolate::Ignore);
    assert_eq!(times, [None; 3]);
}

#[test]
fn times_are_rounded_like_python() {
    // From python3 -c 'print(round(x, 3))'.
    for (value, rounded) in
        [(0.0625, 0.062), (0.1875, 0.188), (2.6755, 2.675), (1.0005, 1.0), (0.5125, 0.512), (0.0, 0.0)]
    {
        assert_eq!(thousandths(value), rounded, "{value}");
    }
}
