//! Embeddings of different recordings of the same people: how well they are told from others, and by their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diarist::diarize::diarizer::DynDiarizer;
use diarist::diarize::{Gallery, Options};

use super::{open, samples};
use crate::common::shared;

/// The recordings of a folder and of those in it, in order.
fn recordings(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(ending) if ending == "flac" => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// The name of the speaker of a LibriSpeech file.
fn speaker(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_string()
}

/// The rate at which as many pairs of different speakers are accepted as pairs of one speaker are refused.
fn equal_error_rate(mut same: Vec<f64>, mut other: Vec<f64>) -> f64 {
    same.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    let share = |below: usize, all: usize| below as f64 / all as f64;
    let rates = same.iter().map(|threshold| {
        let refused = share(same.partition_point(|x| x < threshold), same.len());
        let accepted = 1.0 - share(other.partition_point(|x| x < threshold), other.len());
        refused.max(accepted)
    });
    rates.fold(1.0, f64::min)
}

/// All pairs of the hundred utterances of ten speakers.
#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn utterances_of_ten_speakers_are_verified() {
    let open = open();
    let voice = |path: &PathBuf| (speaker(path), open.diarizer.embed_speaker(&samples(path), &mut ()).unwrap());
    let voices: Vec<_> = recordings(&shared("audio/voices/librispeech_test-other")).iter().map(voice).collect();
    assert_eq!(voices.len(), 100);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for (at, (speaker, voice)) in voices.iter().enumerate() {
        for (another, voice_of_another) in &voices[at + 1..] {
            if speaker == another { &mut same } else { &mut other }.push(cosine(voice, voice_of_another));
        }
    }
    assert_eq!((same.len(), other.len()), (450, 4500));
    let rate = equal_error_rate(same, other);
    eprintln!("EER {:.2} %", 100.0 * rate);
    assert!(rate <= 0.01, "EER {:.2} %", 100.0 * rate);
}

/// The utterances of LibriSpeech's train-clean-100, one of each speaker, cut in half.
fn halves() -> BTreeMap<String, [Vec<f32>; 2]> {
    let cut = |path: &PathBuf| {
        let all = samples(path);
        let (first, second) = all.split_at(all.len() / 2);
        (speaker(path), [first.to_vec(), second.to_vec()])
    };
    recordings(&shared("audio/voices/librispeech_train-clean-100")).iter().map(cut).collect()
}

/// The name of whoever speaks longest.
fn who(diarizer: &dyn DynDiarizer, gallery: &Gallery, samples: &[f32]) -> Option<String> {
    let mut found = diarizer.diarize(samples, &Options::default(), &mut ()).unwrap();
    gallery.rename(&mut found).unwrap();
    let mut times: BTreeMap<&str, f64> = BTreeMap::new();
    found.turns.iter().for_each(|turn| *times.entry(&turn.speaker).or_default() += turn.span.duration());
    times.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name.to_owned())
}

/// Fifty people enrol with half an utterance; the other half must have their name, and a hundred others none.
#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn enrolled_voices_are_known_and_others_are_not() {
    let open = open();
    let diarizer = open.diarizer.as_ref();
    let people = halves();
    assert!(people.len() >= 150, "{} people", people.len());
    let known: Vec<_> = people.iter().take(50).collect();
    let enrol = |(name, [first, _]): &(&String, &[Vec<f32>; 2])| {
        ((*name).clone(), diarizer.embed_speaker(first, &mut ()).unwrap())
    };
    let gallery = Gallery::new(known.iter().map(enrol).collect()).unwrap().with_network(diarizer.network().0);
    let is_right =
        |(name, [_, second]): &&(&String, &[Vec<f32>; 2])| who(diarizer, &gallery, second).as_ref() == Some(name);
    let right = known.iter().filter(is_right).count();
    let is_unknown = |(_, [_, second]): &(&String, &[Vec<f32>; 2])| {
        who(diarizer, &gallery, second).is_none_or(|name| name.starts_with("SPEAKER_"))
    };
    let unknown = people.iter().skip(50).take(100).filter(is_unknown).count();
    eprintln!("{right} of 50 are named right, {unknown} of 100 others have no name");
    assert!(right >= 49 && unknown >= 95, "{right} of 50 are named right, {unknown} of 100 others have no name");
}
