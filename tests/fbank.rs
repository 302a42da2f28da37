//! Kaldi's filterbank features (fbank) against torchaudio and Kaldi, and the sum of the mel filters.

mod common;

use common::{Golden, assert_close, seeded, shared};
use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::embedding_ops;
use diarist::engine::prelude::*;
use diarist::features::fbank::{FRAME, Fbank, SHIFT, SPECTRUM, Taper, frames, samples};

fn features(options: Fbank, audio: &[f32]) -> Vec<f32> {
    let be = Cpu::new(Some(2)).unwrap();
    let plan = embedding_ops::fbank_plan(&be, &options).unwrap();
    let mut out = Tensor::zeros(&be, &[frames(audio.len()), be.fbank_bands(&plan)]).unwrap();
    let audio = Tensor::from_host(&be, &[audio.len()], audio).unwrap();
    embedding_ops::fbank(&be, &mut out, &audio, &plan).unwrap();
    out.to_host(&be).unwrap()
}

#[test]
fn features_are_torchaudios() {
    let golden = Golden::open("resnet34/voices.safetensors");
    let meta = &golden.meta()["features"];
    let audio = seeded::audio_f32(meta["audio_seed"].as_u64().unwrap(), meta["samples"].as_u64().unwrap() as usize);
    for (name, options) in
        [("hamming 80", Fbank::wespeaker(80)), ("povey 23", Fbank { bands: 23, taper: Taper::Povey, gain: 32768.0 })]
    {
        let (shape, want) = golden.f32(name);
        assert_eq!(shape, [frames(audio.len()), options.bands]);
        let worst = assert_close(name, &features(options, &audio), &want, 1e-3, 0.0);
        eprintln!("{name}: largest difference {worst:e}");
    }
    let (_, want) = golden.f32("silence");
    assert_close("silence", &features(Fbank::wespeaker(80), &[0.0; 720]), &want, 1e-5, 0.0);
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_features_are_kaldis() {
    let path = shared("fixtures/fbank/test.wav");
    let audio =
        diarist::audio::decode(&path, &Default::default(), |_| std::ops::ControlFlow::Continue(())).unwrap().samples;
    for (file, bands) in [("test.txt", 23), ("test-40.txt", 40)] {
        let text = std::fs::read_to_string(path.with_file_name(file)).unwrap();
        let want: Vec<f32> =
            text.split_once('[').unwrap().1.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // The samples here are in [-1, 1]; Kaldi's are 16-bit integers.
        let got = features(Fbank { bands, taper: Taper::Povey, gain: 32768.0 }, &audio);
        assert_eq!(got.len(), want.len(), "{file}");
        let (mut near, mut worst) = (0, [0.0f32; 2]);
        for (at, (got, want)) in got.chunks_exact(bands).zip(want.chunks_exact(bands)).enumerate() {
            let loudest = want.iter().fold(f32::MIN, |max, v| max.max(*v));
            for (got, want) in got.iter().zip(want) {
                let (apart, below) = ((got - want).abs(), loudest - want);
                // Kaldi's Fourier transform is in f32: its rounding noise, 2^-20 of the loudest amplitude, shows in
                // bands far below it (118 dB in this recording). torchaudio's f32 values differ from Kaldi's by up to
                // 0.019 and 0.030, and 7 % of them by more than 0.001.
                let noise = if below < 14.0 { 0.0 } else { 1e-6 * (below / 2.0).exp() };
                assert!(apart <= 1e-3 + noise, "{file}, frame {at}: got {got}, want {want}");
                near += usize::from(apart <= 1e-3);
                let far = usize::from(below >= 14.0);
                worst[far] = worst[far].max(apart);
            }
        }
        assert!(near * 100 >= want.len() * 93, "{file}: only {near} of {} within 0.001", want.len());
        eprintln!("{file}: {near} of {} within 0.001, largest difference {worst:?} (loud, faint bands)", want.len());
    }
}

#[test]
fn frames_are_independent() {
    let audio = seeded::audio_f32(630, samples(250));
    let all = features(Fbank::wespeaker(80), &audio);
    for frame in [0, 1, 99, 100, 101, 249] {
        let alone = features(Fbank::wespeaker(80), &audio[frame * SHIFT..][..FRAME]);
        assert!(alone.iter().zip(&all[frame * 80..]).all(|(a, b)| a.to_bits() == b.to_bits()), "frame {frame}");
    }
    assert_eq!([frames(0), frames(399), frames(400), frames(559), frames(560)], [0, 0, 1, 1, 2]);
    assert_eq!([samples(0), samples(1), samples(998)], [0, 400, 159_920]);
}

#[test]
fn mel_filters_sum_to_one() {
    for bands in [4, 23, 80, 128] {
        let filters = Fbank::wespeaker(bands).filters();
        assert_eq!(filters.len(), bands * SPECTRUM);
        // Between the peaks of the first and the last band, the weights of every bin sum to 1.
        let sum = |bin: usize| filters.iter().skip(bin).step_by(SPECTRUM).sum::<f32>();
        let peak = |band: usize| {
            let row = &filters[band * SPECTRUM..][..SPECTRUM];
            (0..SPECTRUM).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap()
        };
        for bin in peak(0) + 1..peak(bands - 1) {
            assert!((sum(bin) - 1.0).abs() < 1e-5, "{bands} bands, bin {bin}: {}", sum(bin));
        }
        assert_eq!([sum(0), sum(SPECTRUM - 1)], [0.0; 2]);
    }
}

#[test]
fn invalid_options_and_shapes_are_refused() {
    let be = Cpu::new(Some(1)).unwrap();
    let good = Fbank::wespeaker(80);
    for (bad, says) in [
        (Fbank { bands: 3, ..good }, "bands"),
        (Fbank { bands: 257, ..good }, "bands"),
        (Fbank { gain: 0.0, ..good }, "gain"),
        (Fbank { gain: f32::NAN, ..good }, "gain"),
    ] {
        let error = embedding_ops::fbank_plan(&be, &bad).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
    let plan = embedding_ops::fbank_plan(&be, &good).unwrap();
    let audio = Tensor::from_host(&be, &[399], &[0.0; 399]).unwrap();
    let mut out = Tensor::zeros(&be, &[0, 80]).unwrap();
    assert!(embedding_ops::fbank(&be, &mut out, &audio, &plan).unwrap_err().to_string().contains("400"));
    let audio = Tensor::from_host(&be, &[720], &[0.0; 720]).unwrap();
    for shape in [[2, 80], [3, 79]] {
        let mut out = Tensor::zeros(&be, &shape).unwrap();
        assert!(embedding_ops::fbank(&be, &mut out, &audio, &plan).is_err(), "{shape:?}");
    }
}
