//! The primitives of clustering against the CPU, and whole diarizations.

use diarist::diarize::npz::Npz;
use diarist::diarize::{Clustering, Diarization, Embeddings, Options, Segmentation, WindowGrid, diarize, diarize_on};
use diarist::engine::cluster::{Activity, Cluster, Host, Linked, Vbx, VbxOptions};

use crate::cases::{F16, open, random};
use crate::common;
use crate::driver::machine;

/// `count` points of dimension `size` around a few centres, with noise of size `spread`.
fn clouds(seed: u64, count: usize, size: usize, spread: f64) -> Vec<f64> {
    let centres = random(seed, 4 * size);
    let noise = random(seed + 1, count * size);
    let point = |at: usize| {
        let centre = &centres[at * 7 % 4 * size..][..size];
        let own = centre.iter().zip(&noise[at * size..]).map(|(c, n)| f64::from(*c) + spread * f64::from(*n));
        own.collect::<Vec<f64>>()
    };
    (0..count).flat_map(point).collect()
}

/// The merges and distances are bit-equal.
#[test]
#[ignore = "needs a C++ compiler"]
fn centroid_linkage() {
    let machine = machine();
    let be = open(F16);
    for (count, size, spread) in [(2, 1, 0.5), (3, 5, 0.5), (33, 6, 0.3), (70, 256, 0.6), (49, 20, 3.0)] {
        let points = clouds(count as u64, count, size, spread);
        let want = Host.centroid_linkage(&points, size).unwrap();
        assert_eq!(want.len(), count - 1);
        machine.schedules(|seed| {
            assert_eq!(be.centroid_linkage(&points, size).unwrap(), want, "{count} x {size} (schedule {seed})");
        });
    }
    // Equal points, and points on a line: all distances tie.
    let ties: Vec<f64> = (0..40).map(|at| f64::from(at / 2)).collect();
    assert_eq!(be.centroid_linkage(&ties, 1).unwrap(), Host.centroid_linkage(&ties, 1).unwrap());
    assert!(be.centroid_linkage(&[1.0], 1).unwrap().is_empty());
    let nan = [0.0, 1.0, f64::NAN, 3.0];
    assert_eq!(be.centroid_linkage(&nan, 1).unwrap(), Host.centroid_linkage(&nan, 1).unwrap());
}

/// The clusters are equal for every stopping criterion, with embeddings of several speakers in one window.
#[test]
#[ignore = "needs a C++ compiler"]
fn average_linkage() {
    let machine = machine();
    let be = open(F16);
    for (count, size, spread) in [(2, 1, 0.5), (33, 6, 0.3), (70, 192, 0.6), (49, 20, 3.0)] {
        let mut embeddings = clouds(count as u64, count, size, spread);
        for row in embeddings.chunks_exact_mut(size) {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        }
        let drawn = random(7, 2 * count);
        let frames: Vec<u32> = drawn[..count].iter().map(|x| 60 + (x.abs() * 200.0) as u32).collect();
        let speakers: Vec<u32> = drawn[count..].iter().map(|x| u32::from(*x > 0.0)).collect();
        let windows: Vec<u32> = (0..count as u32).map(|at| at / 8).collect();
        let all = Linked {
            embeddings: &embeddings,
            size,
            frames: &frames,
            windows: &windows,
            speakers: &speakers,
            penalty: 0.5,
            prior: 118.0,
            threshold: 0.64,
            min: 1,
            max: usize::MAX,
        };
        let strict = Linked { penalty: 3.0, prior: 900.0, threshold: 0.9, ..all };
        for input in
            [all, strict, Linked { max: 3, ..all }, Linked { min: count, ..all }, Linked { threshold: 3.0, ..all }]
        {
            let want = Host.average_linkage(&input).unwrap();
            machine.schedules(|seed| {
                assert_eq!(be.average_linkage(&input).unwrap(), want, "{count} x {size} (schedule {seed})");
            });
        }
        assert!(Host.average_linkage(&all).unwrap().iter().max() < Some(&(count - 1)), "nothing was merged");
    }
    // Equal embeddings: all costs tie.
    let ties = Linked {
        embeddings: &[1.0; 20],
        size: 1,
        frames: &[1; 20],
        windows: &[0; 20],
        speakers: &[0; 20],
        penalty: 0.5,
        prior: 1.0,
        threshold: 0.5,
        min: 3,
        max: usize::MAX,
    };
    assert_eq!(be.average_linkage(&ties).unwrap(), Host.average_linkage(&ties).unwrap());
    let one = Linked { embeddings: &[1.0], frames: &[1], windows: &[0], speakers: &[0], ..ties };
    assert_eq!(be.average_linkage(&one).unwrap(), [0]);
}

#[track_caller]
fn assert_close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-3), "{what}[{at}]: got {got}, want {want}");
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn vbx() {
    let machine = machine();
    let be = open(F16);
    for (count, size, speakers) in [(1, 1, 1), (37, 20, 3), (40, 129, 35)] {
        let features: Vec<f64> = clouds(90, count, size, 0.7).iter().map(|x| 3.0 * x).collect();
        let phi: Vec<f64> = (0..size).map(|at| 8.0 / (1.0 + at as f64)).collect();
        let labels: Vec<usize> = (0..count).map(|at| at % speakers).collect();
        let options = VbxOptions { iterations: 6, ..VbxOptions::default() };
        let want: Vbx = Host.vbx(&features, &phi, &labels, &options).unwrap();
        machine.schedules(|seed| {
            let got = be.vbx(&features, &phi, &labels, &options).unwrap();
            let what = |part: &str| format!("{part} of {count} x {size}, {speakers} speakers (schedule {seed})");
            assert_close(&what("bounds"), &got.bounds, &want.bounds);
            assert_close(&what("weights"), &got.weights, &want.weights);
            assert_close(&what("shares"), &got.responsibilities, &want.responsibilities);
        });
    }
    assert_eq!(be.vbx(&[], &[1.0], &[], &VbxOptions::default()).unwrap().speakers, 0);
}

#[test]
#[ignore = "needs a C++ compiler"]
fn cosine_similarity() {
    let machine = machine();
    let be = open(F16);
    for (rows, count, size) in [(1, 1, 1), (3, 17, 5), (9, 3, 256), (2, 40, 33)] {
        let voices = random(70, rows * size);
        let centroids: Vec<f64> = random(71, count * size).iter().map(|&x| f64::from(x)).collect();
        let want = Host.cosine_similarity(&voices, &centroids, size).unwrap();
        machine.schedules(|_| {
            assert_eq!(be.cosine_similarity(&voices, &centroids, size).unwrap(), want, "{rows} x {count} x {size}")
        });
    }
    // A zero embedding has no direction: the similarities are NaN.
    assert!(be.cosine_similarity(&[0.0, 0.0], &[1.0, 0.0], 2).unwrap()[0].is_nan());
    assert!(be.cosine_similarity(&[], &[1.0, 0.0], 2).unwrap().is_empty());
}

#[test]
#[ignore = "needs a C++ compiler"]
fn frames_of_the_recording() {
    let machine = machine();
    let be = open(F16);
    for (windows, frames, speakers, hop, total) in [(1, 5, 3, 1, 5), (40, 29, 3, 3, 140), (7, 4, 2, 6, 47)] {
        let coins = random(60, windows * frames * speakers);
        let active: Vec<bool> = coins.iter().map(|x| *x > 0.1).collect();
        let first: Vec<usize> = (0..windows).map(|window| window * hop).collect();
        let activity = Activity { active: &active, frames, speakers, first: &first, total };
        let labels: Vec<Option<usize>> =
            (0..windows * speakers).map(|at| (at % 5 > 0).then_some(at * at % 4)).collect();
        let count = Host.speaker_count(&activity).unwrap();
        let want = Host.reconstruct(&activity, &labels, &count, 5).unwrap();
        assert!(count.iter().any(|count| *count > 1) && want.iter().any(|yes| *yes));
        machine.schedules(|seed| {
            assert_eq!(be.speaker_count(&activity).unwrap(), count, "{windows} windows (schedule {seed})");
            assert_eq!(
                be.reconstruct(&activity, &labels, &count, 5).unwrap(),
                want,
                "{windows} windows (schedule {seed})"
            );
        });
    }
}

/// The first windows of pyannote's own recordings through both clusterings give the same turns.
#[test]
#[ignore = "needs a C++ compiler and ../shared"]
fn needs_shared_diarization_of_recordings() {
    let _machine = machine();
    let (folder, plda) = (common::shared("fixtures/diarization"), common::shared("models/plda"));
    let plda = diarist::diarize::Plda::open(&plda).unwrap();
    let be = open(F16);
    for entry in std::fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let array = |file: &str, name: &str| Npz::open(&folder.join(file)).unwrap().array(name).unwrap().clone();
        let (told, heard) = (array("segmentations.npz", "segmentations"), array("raw_embeddings.npz", "embeddings"));
        let windows = told.shape[0].min(40);
        let active: Vec<bool> =
            told.values.iter().take(windows * told.shape[1] * told.shape[2]).map(|&x| x == 1.0).collect();
        let segmentation = Segmentation::new(WindowGrid::default(), told.shape[1], told.shape[2], active).unwrap();
        let values = heard.values.iter().take(windows * heard.shape[1] * heard.shape[2]).map(|&x| x as f32).collect();
        let voices = Embeddings::new(heard.shape[1], heard.shape[2], values).unwrap();
        for clustering in [Clustering::vbx(plda.clone()), Clustering::centroid()] {
            let options = Options::default();
            let want = diarize(&segmentation, || Ok(voices.clone()), &clustering, &options).unwrap();
            let got = diarize_on(&be, &segmentation, || Ok(voices.clone()), &clustering, &options).unwrap();
            assert!(!want.turns.is_empty());
            let voices =
                |found: &Diarization| found.embeddings.iter().flatten().flatten().copied().collect::<Vec<f64>>();
            assert_close("voices", &voices(&got), &voices(&want));
            assert_eq!((got.turns, got.exclusive), (want.turns, want.exclusive), "{}", folder.display());
        }
    }
}
