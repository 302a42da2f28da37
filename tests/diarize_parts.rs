//! Clustering and the speakers of words against SciPy, scikit-learn, pyannote.audio and WhisperX, and what nobody wants to
//! see: silence, one speaker, damaged numbers, bounds that cannot be kept.

mod common;

use std::cell::Cell;

use diarist::diarize::linkage::cut;
use diarist::diarize::words::{WordOptions, assign, assign_as_whisperx};
use diarist::diarize::{
    Bounds, Clustering, Embeddings, Options, Segmentation, Turn, WindowGrid, ahc, diarize, kmeans, turns,
};
use diarist::engine::cluster::{Cluster, Host};
use diarist::models::pyannet::num_windows;
use diarist::types::{Segment, Span, Word};
use diarist::units::Seconds;
use serde_json::Value;

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn labels(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

/// Points `[N, 6]` of a case, normalised.
fn points(case: &Value) -> Vec<f64> {
    let unit = |point: &Value| {
        let point = floats(point);
        let length = point.iter().map(|x| x * x).sum::<f64>().sqrt();
        point.into_iter().map(move |x| x / length)
    };
    case["points"].as_array().unwrap().iter().flat_map(unit).collect()
}

#[test]
fn merges_and_cuts_are_scipys() {
    for case in common::json("diarize/clustering.json")["cases"].as_array().unwrap() {
        let merges = Host.centroid_linkage(&points(case), 6).unwrap();
        for (got, want) in merges.iter().zip(case["merges"].as_array().unwrap()) {
            let want = floats(want);
            assert_eq!([got.left, got.right, got.size], [want[0], want[1], want[3]].map(|x| x as usize));
            assert!((got.distance - want[2]).abs() < 1e-9, "{got:?}, {want:?}");
        }
        assert_eq!(merges.len(), case["merges"].as_array().unwrap().len());
        let heights: Vec<f64> = merges.iter().map(|merge| merge.distance).collect();
        for want in case["cuts"].as_array().unwrap() {
            let threshold = want["threshold"].as_f64().unwrap();
            assert_eq!(cut(&merges, &heights, threshold), labels(&want["labels"]), "cut at {threshold}");
        }
    }
}

#[test]
fn agglomerative_clustering_is_pyannotes() {
    for case in common::json("diarize/clustering.json")["cases"].as_array().unwrap() {
        for want in case["ahc"].as_array().unwrap() {
            let number = |key: &str| want[key].as_u64().unwrap() as usize;
            let bounds = Bounds { min: number("min"), max: number("max") };
            let threshold = want["threshold"].as_f64().unwrap();
            let got = ahc::cluster(&Host, &points(case), 6, (threshold, number("min_size")), bounds).unwrap();
            assert_eq!(got, labels(&want["labels"]), "{bounds:?}, {threshold}");
        }
    }
}

#[test]
fn k_means_is_scikit_learns() {
    for case in common::json("diarize/clustering.json")["cases"].as_array().unwrap() {
        for want in case["kmeans"].as_array().unwrap() {
            let clusters = want["clusters"].as_u64().unwrap() as usize;
            assert_eq!(kmeans::kmeans(&points(case), 6, clusters), labels(&want["labels"]), "{clusters} clusters");
        }
    }
}

fn turn(start: f64, end: f64, speaker: &str) -> Turn {
    Turn { span: Span::new(start, end), speaker: speaker.into() }
}

#[test]
fn speakers_of_segments_and_words_are_whisperxs() {
    for case in common::json("diarize/speakers.json")["cases"].as_array().unwrap() {
        let turns: Vec<Turn> = case["turns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| turn(t[0].as_f64().unwrap(), t[1].as_f64().unwrap(), t[2].as_str().unwrap()))
            .collect();
        for result in case["results"].as_array().unwrap() {
            let mut got: Vec<Segment> = serde_json::from_value(case["segments"].clone()).unwrap();
            let want: Vec<Segment> = serde_json::from_value(result["segments"].clone()).unwrap();
            assign_as_whisperx(&mut got, &turns, result["fill_nearest"].as_bool().unwrap());
            assert_eq!(got, want);
        }
    }
}

fn word(text: &str, times: Option<(f64, f64)>) -> Word {
    let (start, end) = times.unzip();
    Word { word: text.into(), start: start.map(Seconds), end: end.map(Seconds), ..Word::default() }
}

fn segment(text: &str, words: &[Option<(f64, f64)>]) -> Segment {
    let words: Vec<Word> = text.split_whitespace().zip(words).map(|(text, times)| word(text, *times)).collect();
    let times: Vec<f64> = words.iter().filter_map(|word| Some([word.start?.0, word.end?.0])).flatten().collect();
    let (start, end) = (Seconds(times[0]), Seconds(times[times.len() - 1]));
    Segment { start, end, text: text.into(), words: Some(words), avg_logprob: Some(-0.5), ..Segment::default() }
}

fn speakers(segments: &[Segment]) -> Vec<Option<&str>> {
    segments.iter().flat_map(|segment| segment.words.iter().flatten()).map(|word| word.speaker.as_deref()).collect()
}

#[test]
fn segments_are_cut_where_the_speaker_changes() {
    let one = segment(
        " How are you? Fine, thanks. Good.",
        &[Some((0.0, 0.2)), None, Some((0.5, 0.9)), Some((1.1, 1.4)), Some((1.4, 1.9)), Some((2.5, 2.9))],
    );
    let turns = [turn(0.0, 1.0, "A"), turn(1.0, 2.0, "B"), turn(2.4, 3.0, "A")];
    let parts = assign(vec![one.clone()], &turns, &turns, &WordOptions::default());
    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    assert_eq!(texts, [" How are you?", " Fine, thanks.", " Good."]);
    assert_eq!(parts.iter().map(|part| part.speaker.as_deref().unwrap()).collect::<Vec<_>>(), ["A", "B", "A"]);
    let times: Vec<(f64, f64)> = parts.iter().map(|part| (part.start.0, part.end.0)).collect();
    assert_eq!(times, [(0.0, 0.9), (1.1, 1.9), (2.5, 2.9)]);
    // The word without a time belongs to the one before.
    assert_eq!(speakers(&parts)[..3], [Some("A"); 3]);
    assert!(parts.iter().all(|part| part.avg_logprob == Some(-0.5)));
    let whole = assign(vec![one], &turns, &turns, &WordOptions { split: false, ..WordOptions::default() });
    assert_eq!((whole.len(), whole[0].speaker.as_deref()), (1, Some("A")));
    assert_eq!(speakers(&whole), speakers(&parts));
}

#[test]
fn words_that_are_not_in_the_text_are_joined() {
    let mut one = segment(" a b", &[Some((0.0, 0.4)), Some((1.0, 1.4))]);
    one.text = " something else".into();
    let turns = [turn(0.0, 0.5, "A"), turn(0.5, 2.0, "B")];
    let parts = assign(vec![one], &turns, &turns, &WordOptions::default());
    assert_eq!(parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>(), [" a", " b"]);
}

#[test]
fn overlapped_words_name_both_speakers() {
    let one = segment(" yes no well", &[Some((0.0, 1.0)), Some((1.0, 2.0)), Some((2.0, 3.0))]);
    let all = [turn(0.0, 3.0, "A"), turn(0.7, 2.0, "B")];
    let exclusive = [turn(0.0, 3.0, "A")];
    let got = assign(vec![one], &exclusive, &all, &WordOptions::default());
    assert_eq!(speakers(&got), [Some("A"); 3]);
    let also: Vec<Vec<String>> = got[0].words.iter().flatten().map(|word| word.also.clone()).collect();
    assert_eq!(also, [vec![], vec!["B".to_owned()], vec![]]);
    let json = serde_json::to_value(got[0].words.as_ref().unwrap()).unwrap();
    assert!(json[0].get("also").is_none() && json[1]["also"][0] == "B");
}

/// "Neither did I. I thought": the next speaker begins during the first "I".
#[test]
fn an_overlapped_word_keeps_the_speaker_of_its_sentence() {
    let words = [(0.0, 0.4), (0.4, 0.7), (0.7, 1.0), (1.0, 1.2), (1.2, 1.8)].map(Some);
    let segments = vec![segment("Neither did I. I thought", &words)];
    let exclusive = [turn(0.0, 0.72, "A"), turn(0.72, 2.0, "B")];
    let all = [turn(0.0, 1.0, "A"), turn(0.6, 2.0, "B")];
    let got = assign(segments, &exclusive, &all, &WordOptions::default());
    let given: Vec<_> = got.iter().map(|segment| (segment.text.trim(), segment.speaker.as_deref())).collect();
    assert_eq!(given, [("Neither did I.", Some("A")), ("I thought", Some("B"))]);
    assert_eq!(got[0].words.as_ref().unwrap()[2].also, ["B".to_owned()]);
    // Where only one speaker is active in the word, the turn decides.
    let segments = vec![segment("Neither did I. I thought", &words)];
    let got = assign(segments, &exclusive, &exclusive, &WordOptions::default());
    assert_eq!(got[0].text.trim(), "Neither did");
}

#[test]
fn words_outside_all_turns_have_a_speaker_only_on_demand() {
    let one = segment(" a b", &[Some((0.0, 1.0)), Some((5.0, 5.2))]);
    let turns = [turn(0.0, 1.0, "A"), turn(6.0, 8.0, "B")];
    let got = assign(vec![one.clone()], &turns, &turns, &WordOptions::default());
    assert_eq!(speakers(&got), [Some("A"), None]);
    let filled = WordOptions { fill_nearest: true, ..WordOptions::default() };
    assert_eq!(speakers(&assign(vec![one.clone()], &turns, &turns, &filled)), [Some("A"), Some("B")]);
    assert_eq!(speakers(&assign(vec![one], &[], &[], &filled)), [None, None]);
}

#[test]
fn a_sentence_can_have_one_speaker() {
    let times = [Some((0.0, 1.0)), Some((1.0, 2.0)), Some((2.0, 3.0)), Some((3.0, 4.0)), Some((4.0, 5.0))];
    let one = segment(" That is all. Yes, sure", &times);
    let turns = [turn(0.0, 2.1, "A"), turn(2.1, 9.0, "B")];
    let smooth = WordOptions { smooth: true, ..WordOptions::default() };
    let got = assign(vec![one.clone()], &turns, &turns, &smooth);
    assert_eq!(speakers(&got), [Some("A"), Some("A"), Some("A"), Some("B"), Some("B")]);
    assert_eq!(got[0].text, " That is all.");
    let got = assign(vec![one], &turns, &turns, &WordOptions::default());
    assert_eq!(speakers(&got)[2], Some("B"));
}

/// Windows of four frames in which each of two speakers is active or not, and voices that are `[speaker, 1]`.
fn small(active: &[[bool; 2]]) -> (Segmentation, Embeddings) {
    let clock = WindowGrid { window: 4.0, step: 4.0, frame_step: 1.0, frame: 1.0 };
    let segmentation = Segmentation::new(clock, 4, 2, active.as_flattened().to_vec()).unwrap();
    let voices = (0..segmentation.windows * 2).flat_map(|at| [(at % 2) as f32, 1.0]).collect();
    (segmentation, Embeddings::new(2, 2, voices).unwrap())
}

#[test]
fn silence_asks_for_no_voices() {
    let (segmentation, _) = small(&[[false; 2]; 8]);
    let asked = Cell::new(false);
    let voices = || {
        asked.set(true);
        Embeddings::new(2, 2, vec![0.0; 8])
    };
    let found = diarize(&segmentation, voices, &Clustering::centroid(), &Options::default()).unwrap();
    assert!(found.turns.is_empty() && found.exclusive.is_empty() && found.speakers() == 0 && !asked.get());
    assert_eq!(turns::rttm("a", &found.turns).unwrap(), "");
    assert!(found.warnings.is_empty());
    let options = Options { bounds: Bounds::new(Some(2), None, None).unwrap(), ..Options::default() };
    let found = diarize(&segmentation, voices, &Clustering::centroid(), &options).unwrap();
    assert!(found.warnings[0].contains("`num_speakers` 2 cannot be met: none found"), "{:?}", found.warnings);
}

#[test]
fn one_speaker_and_bounds_that_cannot_be_kept() {
    let (segmentation, voices) = small(&[[true, false]; 8]);
    for bounds in
        [Bounds::default(), Bounds::new(Some(5), None, None).unwrap(), Bounds::new(None, Some(3), None).unwrap()]
    {
        let options = Options { bounds, ..Options::default() };
        let found = diarize(&segmentation, || Ok(voices.clone()), &Clustering::centroid(), &options).unwrap();
        assert!(found.turns.iter().all(|turn| turn.speaker.starts_with("SPEAKER_0")), "{found:?}");
        assert!((1..=2).contains(&found.speakers()), "{found:?}");
        assert_eq!(found.warnings.is_empty(), bounds == Bounds::default(), "{found:?}");
    }
}

#[test]
fn a_short_recording_ends_where_it_ends() {
    assert_eq!(
        [0, 3200, 160_000, 160_001, 176_000].map(|samples| num_windows(samples, 160_000, 16_000)),
        [1, 1, 1, 2, 2]
    );
    let active = (0..589 * 3).map(|at| at % 3 == 1 && at / 3 < 40).collect();
    let segmentation = Segmentation::new(WindowGrid::default(), 589, 3, active).unwrap();
    let voices = || Embeddings::new(3, 2, vec![1.0; 6]);
    let options = Options { end: Some(Seconds(0.2)), ..Options::default() };
    let found = diarize(&segmentation, voices, &Clustering::centroid(), &options).unwrap();
    assert_eq!(found.turns, [turn(0.0309_6875, 0.2, "SPEAKER_00")]);
    assert_eq!(found.turns, found.exclusive);
}

#[test]
fn voices_that_are_no_numbers_stay_out_of_the_clustering() {
    let (segmentation, _) = small(&[[true, false]; 16]);
    let mut values: Vec<f32> = (0..8).flat_map(|at| [(at % 2) as f32, 1.0]).collect();
    values[4] = f32::NAN;
    let voices = Embeddings::new(2, 2, values).unwrap();
    assert_eq!(voices.fit(&segmentation, 0.2), [(0, 0), (2, 0), (3, 0)]);
    let found = diarize(&segmentation, || Ok(voices), &Clustering::centroid(), &Options::default()).unwrap();
    assert!(found.embeddings.iter().flatten().flatten().all(|x| x.is_finite()));
    assert!(found.speakers() == 1 && found.embeddings[0].is_some());
    // None is a number: one speaker without a voice.
    let none = || Embeddings::new(2, 2, vec![f32::NAN; 16]);
    let found = diarize(&segmentation, none, &Clustering::centroid(), &Options::default()).unwrap();
    assert_eq!(found.embeddings, [None]);
    let embeddings = found.embeddings_by_label(vec!["SPEAKER_00".into()]);
    assert_eq!(serde_json::to_string(&embeddings).unwrap(), r#"{"SPEAKER_00":null}"#);
}

/// Two speak at once, and only one is told apart: the second label has turns and no embedding.
#[test]
fn a_speaker_who_is_never_alone_has_no_embedding() {
    let (segmentation, voices) = small(&[[true, true]; 8]);
    let found = diarize(&segmentation, || Ok(voices), &Clustering::centroid(), &Options::default()).unwrap();
    let labels: Vec<&str> = found.turns.iter().map(|turn| turn.speaker.as_str()).collect();
    assert!(labels.contains(&"SPEAKER_00"), "{labels:?}");
    assert!(found.embeddings.iter().all(Option::is_none), "{:?}", found.embeddings);
}

#[test]
fn what_cannot_be_is_refused() {
    let error = Bounds::new(None, Some(3), Some(2)).unwrap_err().to_string();
    assert!(error.contains("min_speakers") && error.contains('3') && error.contains('2'), "{error}");
    assert!(Bounds::new(None, None, Some(0)).is_err());
    assert_eq!(Bounds::new(Some(4), Some(1), Some(2)).unwrap(), Bounds { min: 4, max: 4 });
    assert!(Segmentation::new(WindowGrid::default(), 4, 3, vec![true; 13]).is_err());
    assert!(Embeddings::new(3, 2, vec![0.0; 7]).is_err());
    let (segmentation, _) = small(&[[true, true]; 8]);
    let voices = || Embeddings::new(2, 2, vec![0.0; 4]);
    let error = diarize(&segmentation, voices, &Clustering::centroid(), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("[2, 2, _]"), "{error}");
    assert!(turns::rttm("my file", &[]).is_err());
}

/// An alone frame more than the least counts; else all frames of the speaker do.
#[test]
fn overlap_is_left_out_of_voices_where_enough_remains() {
    let (segmentation, _) = small(&[[true, false], [true, false], [true, true], [false, true]]);
    assert_eq!(segmentation.embedding_mask(0, 0, 1), [true, true, false, false]);
    assert_eq!(segmentation.embedding_mask(0, 0, 2), [true, true, true, false]);
    assert_eq!(segmentation.embedding_mask(0, 1, 1), [false, false, true, true]);
    assert_eq!(segmentation.count(&Host).unwrap(), [1, 1, 2, 1, 0]);
}
