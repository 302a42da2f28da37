//! Everything of diarization after the two networks, against what pyannote.audio's community-1 kept of three recordings:
//! every step from pyannote's own result of the step before, and all of them in one go.
//! Every folder of `fixtures/diarization` in the shared folder is checked.

mod common;

use std::path::PathBuf;

use diarist::diarize::cluster::{MIN_ACTIVE, assign, cluster, start_labels, vbx_centroids};
use diarist::diarize::npz::{Array, Npz, open_npy};
use diarist::diarize::turns::{self, reconstruct};
use diarist::diarize::vbx::{VbxOptions, start};
use diarist::diarize::{Bounds, Clustering, Clusters, Embeddings, Options, Plda, Segmentation, WindowGrid, diarize};
use diarist::engine::cluster::{Cluster, Host};
use diarist::models::pyannet::num_windows;
use diarist::units::Seconds;

/// One recording's folder.
struct Fixture {
    name: String,
    folder: PathBuf,
    plda: Plda,
    segmentation: Segmentation,
    voices: Embeddings,
}

impl Fixture {
    fn npz(&self, name: &str) -> Npz {
        Npz::open(&self.folder.join(format!("{name}.npz"))).unwrap()
    }

    fn array(&self, file: &str, name: &str) -> Array {
        self.npz(file).array(name).unwrap().clone()
    }

    fn labels(&self) -> Vec<usize> {
        open_npy(&self.folder.join("ahc_init_labels.npy")).unwrap().values.iter().map(|&label| label as usize).collect()
    }

    fn train(&self) -> Vec<f64> {
        self.voices.gather(&self.voices.fit(&self.segmentation, MIN_ACTIVE))
    }

    /// pyannote's clusters of the windows' speakers.
    fn clusters(&self) -> Clusters {
        let (hard, soft) = (self.array("clustering", "hard_clusters"), self.array("clustering", "soft_clusters"));
        let centroids = self.array("clustering", "centroids");
        Clusters {
            speakers: centroids.shape[0],
            labels: hard.values.iter().map(|&label| (label >= 0.0).then_some(label as usize)).collect(),
            scores: soft.values,
            centroids: centroids.values,
        }
    }
}

/// All fixtures.
fn fixtures() -> Vec<Fixture> {
    let (folder, plda) = (common::shared("fixtures/diarization"), common::shared("models/plda"));
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    let plda = Plda::open(&plda).unwrap();
    let open = |folder: PathBuf| {
        let state = Npz::open(&folder.join("reconstruction.npz")).unwrap();
        let scalar = |name: &str| state.array(name).unwrap().values[0];
        let clock = WindowGrid {
            window: scalar("chunk_duration"),
            step: scalar("chunk_step"),
            frame_step: scalar("frame_step"),
            frame: scalar("frame_duration"),
        };
        let segmentation = Npz::open(&folder.join("segmentations.npz")).unwrap();
        let segmentation = segmentation.array("segmentations").unwrap();
        let active = segmentation.values.iter().map(|&x| x == 1.0).collect();
        let voices = Npz::open(&folder.join("raw_embeddings.npz")).unwrap();
        let voices = voices.array("embeddings").unwrap();
        Fixture {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            segmentation: Segmentation::new(clock, segmentation.shape[1], segmentation.shape[2], active).unwrap(),
            voices: Embeddings::new(
                voices.shape[1],
                voices.shape[2],
                voices.values.iter().map(|&x| x as f32).collect(),
            )
            .unwrap(),
            plda: plda.clone(),
            folder,
        }
    };
    folders.into_iter().map(open).collect()
}

/// Fails on the first value that is not within `tolerance` of the one wanted, relative where that is above one.
#[track_caller]
fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        // Written so that NaN fails.
        let close = (got - want).abs() <= tolerance * want.abs().max(1.0);
        assert!(close, "{what}[{at}]: got {got}, want {want}");
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_counts_are_pyannotes() {
    for fixture in fixtures() {
        let want = fixture.array("reconstruction", "count").values;
        let got: Vec<f64> = fixture.segmentation.count(&Host).unwrap().iter().map(|&count| count as f64).collect();
        assert!(got == want, "{}: the counts differ", fixture.name);
        let windows = fixture.segmentation.windows;
        assert_eq!(num_windows(160_000 + (windows - 1) * 16_000, 160_000, 16_000), windows);
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_the_voices_fit_for_clustering_are_pyannotes() {
    for fixture in fixtures() {
        let (windows, speakers): (Vec<f64>, Vec<f64>) = fixture
            .voices
            .fit(&fixture.segmentation, MIN_ACTIVE)
            .iter()
            .map(|&(window, speaker)| (window as f64, speaker as f64))
            .unzip();
        assert_eq!(windows, fixture.array("plda_embeddings", "train_chunk_idx").values, "{}", fixture.name);
        assert_eq!(speakers, fixture.array("plda_embeddings", "train_speaker_idx").values, "{}", fixture.name);
    }
}

/// Eigenvectors have no sign. pyannote's are those that LAPACK returned on the day; each feature may have the other one,
/// but the same in all voices of all recordings.
#[test]
#[ignore = "needs ../shared"]
fn needs_shared_plda_features_are_pyannotes() {
    let mut signs: Vec<f64> = Vec::new();
    for fixture in fixtures() {
        let want = fixture.npz("plda_embeddings");
        assert_close("phi", fixture.plda.phi(), &want.array("phi").unwrap().values, 1e-6);
        let train = fixture.train();
        let first: Vec<f64> =
            train.chunks_exact(fixture.voices.size).flat_map(|voice| fixture.plda.first(voice)).collect();
        assert_close("post_xvec", &first, &want.array("post_xvec").unwrap().values, 1e-6);
        let mut features = fixture.plda.features(&train);
        let want = &want.array("post_plda").unwrap().values;
        let size = fixture.plda.phi().len();
        if signs.is_empty() {
            let product =
                |feature: usize| -> f64 { (feature..want.len()).step_by(size).map(|at| features[at] * want[at]).sum() };
            signs = (0..size).map(|feature| product(feature).signum()).collect();
        }
        features.iter_mut().enumerate().for_each(|(at, x)| *x *= signs[at % size]);
        assert_close(&format!("{}: post_plda", fixture.name), &features, want, 1e-6);
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_agglomerative_labels_are_scipys() {
    for fixture in fixtures() {
        let threshold = fixture.array("ahc_state", "threshold").values[0];
        let got = start_labels(&Host, &fixture.train(), fixture.voices.size, threshold).unwrap();
        assert_eq!(got, fixture.labels(), "{}", fixture.name);
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_vbx_is_pyannotes_from_start_to_end() {
    for fixture in fixtures() {
        let want = fixture.npz("vbx_state");
        let scalar = |name: &str| want.array(name).unwrap().values[0];
        let iterations = scalar("max_iters") as usize;
        let options = VbxOptions { evidence: scalar("fa"), prior: scalar("fb"), iterations, ..VbxOptions::default() };
        assert_eq!(options, VbxOptions::default(), "community-1's settings");
        let labels = fixture.labels();
        let first = start(&labels, labels.iter().max().unwrap() + 1, options.init_smoothing);
        assert_close("qinit", &first, &want.array("qinit").unwrap().values, 1e-12);
        // Both from our own features and from pyannote's, whose signs differ.
        let given = fixture.array("plda_embeddings", "post_plda").values;
        for features in [fixture.plda.features(&fixture.train()), given] {
            let got = Host.vbx(&features, fixture.plda.phi(), &labels, &options).unwrap();
            let bounds = &want.array("elbo_trajectory").unwrap().values;
            assert_close(&format!("{}: bounds", fixture.name), &got.bounds, bounds, 1e-6);
            assert_close("weights", &got.weights, &want.array("sp_final").unwrap().values, 1e-6);
            let responsibilities = &want.array("q_final").unwrap().values;
            assert_close(&format!("{}: shares", fixture.name), &got.responsibilities, responsibilities, 1e-6);
            // Relative also where a share is next to nothing, down to where the exponential has no digits left.
            for (got, want) in got.responsibilities.iter().zip(responsibilities).filter(|(_, want)| **want > 1e-12) {
                assert!((got - want).abs() <= 1e-6 * want, "{}: got {got}, want {want}", fixture.name);
            }
            let voices = vbx_centroids(&got, &fixture.train(), fixture.voices.size);
            assert_close("centroids", &voices, &fixture.array("clustering", "centroids").values, 1e-6);
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_assignment_is_pyannotes() {
    for fixture in fixtures() {
        let want = fixture.clusters();
        let got = assign(&Host, &fixture.segmentation, &fixture.voices, want.centroids.clone(), true).unwrap();
        assert_close(&format!("{}: scores", fixture.name), &got.scores, &want.scores, 1e-6);
        // Which of the equal clusters somebody who never speaks gets does not matter.
        let speakers = fixture.segmentation.speakers;
        for (at, (got, want)) in got.labels.iter().zip(&want.labels).enumerate() {
            if fixture.segmentation.active_frames(at / speakers, at % speakers) > 0 {
                assert_eq!(got, want, "{}: window {}, speaker {}", fixture.name, at / speakers, at % speakers);
            }
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_reconstruction_is_pyannotes() {
    for fixture in fixtures() {
        let frames =
            reconstruct(&Host, &fixture.segmentation, &fixture.clusters(), &fixture.segmentation.count(&Host).unwrap())
                .unwrap();
        let want = fixture.array("reconstruction", "discrete_diarization");
        assert_eq!(frames.speakers, want.shape[1], "{}", fixture.name);
        let want: Vec<bool> = want.values.iter().map(|&x| x == 1.0).collect();
        assert!(frames.active == want, "{}: the frames differ", fixture.name);
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_the_whole_stage_writes_pyannotes_rttm() {
    for fixture in fixtures() {
        let clustering = Clustering::vbx(fixture.plda.clone());
        let min_duration_off = Seconds(fixture.array("reconstruction", "min_duration_off").values[0]);
        let options = Options { min_duration_off, ..Options::default() };
        let found = diarize(&fixture.segmentation, || Ok(fixture.voices.clone()), &clustering, &options).unwrap();
        let want = std::fs::read_to_string(fixture.folder.join("reference.rttm")).unwrap();
        assert!(turns::rttm("clip_16k", &found.turns).unwrap() == want, "{}: the RTTM differs", fixture.name);
        for pair in found.exclusive.windows(2) {
            assert!(pair[0].span.end <= pair[1].span.start, "{}: {pair:?} overlap", fixture.name);
        }
        let time = |turns: &[diarist::diarize::Turn]| turns.iter().map(|turn| turn.span.duration()).sum::<f64>();
        assert!(time(&found.exclusive) <= time(&found.turns));
        // Every moment of speech has a speaker in both.
        let alone =
            fixture.segmentation.count(&Host).unwrap().iter().filter(|count| **count > 0).count() as f64 * 270.0 / 16e3;
        assert!((time(&found.exclusive) - alone).abs() < 0.02, "{}: exclusive turns", fixture.name);
    }
}

/// pyannote falls back to k-means where VBx finds another number of speakers than is asked for.
#[test]
#[ignore = "needs ../shared"]
fn needs_shared_a_number_of_speakers_is_honoured() {
    for fixture in fixtures() {
        for clustering in [Clustering::vbx(fixture.plda.clone()), Clustering::centroid()] {
            for wanted in [1, 2, 4] {
                let bounds = Bounds::new(Some(wanted), None, None).unwrap();
                let got = cluster(&Host, &fixture.segmentation, &fixture.voices, &clustering, bounds).unwrap();
                assert_eq!(got.speakers, wanted, "{}", fixture.name);
                let options = Options { bounds, ..Options::default() };
                let voices = || Ok(fixture.voices.clone());
                let found = diarize(&fixture.segmentation, voices, &clustering, &options).unwrap();
                assert!(found.speakers() <= wanted, "{}", fixture.name);
                assert_eq!(found.warnings.is_empty(), found.speakers() == wanted, "{}", fixture.name);
            }
        }
        let bounds = Bounds::new(Some(2000), None, None).unwrap();
        let vbx = Clustering::vbx(fixture.plda.clone());
        let got = cluster(&Host, &fixture.segmentation, &fixture.voices, &vbx, bounds).unwrap();
        assert_eq!(got.speakers, fixture.train().len() / fixture.voices.size, "{}", fixture.name);
    }
}
