//! Decoding of every container and codec, compared with the formula from which the files were generated.

use diarist::audio::{self, Channel, DecodeOptions, MAX_CHANNELS, decode_bytes, from_samples};

use crate::common::{assert_close, data};
use crate::files::Wav;
use crate::{chirp, decoded, delay, sampled, snr, tone};

/// The expected mix of a file: half a second at 16 kHz.
fn wanted(stereo: bool) -> Vec<f32> {
    sampled(|t| if stereo { 0.5 * (chirp(t) + tone(t)) } else { chirp(t) }, 16_000, 8_000)
}

/// File, codec, channels, minimum SNR in dB, and maximum number of samples beyond 8000 (encoder padding).
#[rustfmt::skip]
const FILES: &[(&str, &str, usize, f64, i64)] = &[
    ("stereo.flac",          "flac",          2, 80.0, 0),
    ("stereo.oga",           "flac",          2, 80.0, 0),
    ("alac.m4a",             "alac",          1, 80.0, 0),
    ("stereo.aiff",          "pcm_s16be",     2, 45.0, 0),
    ("mono.caf",             "pcm_s24be",     1, 45.0, 0),
    ("alaw.wav",             "pcm_alaw",      1, 30.0, 0),
    ("mulaw.wav",            "pcm_mulaw",     1, 30.0, 0),
    ("adpcm_ms.wav",         "adpcm_ms",      1, 20.0, 2000),
    ("adpcm_ima.wav",        "adpcm_ima_wav", 1, 20.0, 2000),
    ("aac.m4a",              "aac",           1, 20.0, 800),
    ("aac_fragmented.mp4",   "aac",           1, 20.0, 1600),
    ("adts.aac",             "aac",           1, 20.0, 1600),
    ("lame.mp3",             "mp3",           1, 20.0, 0),
    ("untagged.mp3",         "mp3",           1, 15.0, 2000),
    ("layer2.mp2",           "mp2",           1, 10.0, 2000),
    ("vorbis.ogg",           "vorbis",        1, 15.0, 0),
    ("mono.opus",            "opus",          1, 25.0, 0),
    ("silk.opus",            "opus",          1, 5.0,  0),
    ("stereo.opus",          "opus",          2, 25.0, 0),
    ("stereo.webm",          "opus",          2, 25.0, 400),
    ("opus.mp4",             "opus",          1, 25.0, 400),
    ("video_ac3_vorbis.mkv", "vorbis",        1, 20.0, 400),
];

#[test]
fn every_codec_gives_the_chirp_at_its_time() {
    for &(name, codec, channels, least, spare) in FILES {
        let audio = decoded(&data("audio").join(name));
        assert_eq!((audio.source.codec.as_str(), audio.source.channels), (codec, channels), "{name}");
        let more = audio.samples.len() as i64 - 8_000;
        assert!((0..=spare).contains(&more), "{name}: {} samples", audio.samples.len());
        let want = wanted(channels == 2);
        let late = delay(&audio.samples, &want, 1000);
        let ratio = snr(&audio.samples[late.max(0) as usize..][..7_000], &want[..7_000]);
        println!("{name}: {more} more, {late} late, {ratio:.1} dB");
        let most = match name {
            // These files do not state the encoder's delay, and ffmpeg does not remove it either.
            "adts.aac" | "aac_fragmented.mp4" | "untagged.mp3" | "layer2.mp2" => 1_000,
            // SILK works at 16 kHz and has a delay of up to two samples.
            "silk.opus" => 2,
            _ => 0,
        };
        assert!(late.abs() <= most, "{name} is late by {late} samples");
        assert!(ratio > least, "{name}: SNR {ratio:.1} dB");
    }
}

#[test]
fn one_channel_can_be_picked() {
    for name in ["stereo.flac", "stereo.opus", "stereo.aiff"] {
        for (index, want) in [sampled(chirp, 16_000, 8_000), sampled(tone, 16_000, 8_000)].iter().enumerate() {
            let options = DecodeOptions { channel: Channel::Pick(index), ..Default::default() };
            let audio = audio::decode(&data("audio").join(name), &options, audio::ignore_progress).expect("stereo");
            let ratio = snr(&audio.samples, want);
            assert!(ratio > 20.0, "{name} channel {index}: SNR {ratio:.1} dB");
        }
    }
}

/// `Channel::Each` gives the same samples as `Channel::Pick` for each channel.
#[test]
fn all_channels_can_be_decoded_at_once() {
    let decode = |bytes: &[u8], channel| {
        let options = DecodeOptions { channel, ..Default::default() };
        audio::decode_bytes(bytes, "a recording", &options, audio::ignore_progress)
    };
    let mut files: Vec<(String, Vec<u8>, usize)> = ["stereo.flac", "stereo.opus", "stereo.aiff"]
        .iter()
        .map(|name| (name.to_string(), std::fs::read(data("audio").join(name)).expect("a file"), 2))
        .collect();
    let six: Vec<Vec<f32>> =
        (0..6).map(|at| sampled(|time| chirp(time) * (at as f64 - 2.0) / 4.0, 16_000, 9_000)).collect();
    files.push(("six".into(), crate::common::call::wav(&six.iter().map(Vec::as_slice).collect::<Vec<_>>()), 6));
    for (name, bytes, channels) in files {
        let all = decode(&bytes, Channel::Each(6)).expect("several channels");
        assert_eq!((all.others.len() + 1, all.source.channels), (channels, channels), "{name}");
        for (index, samples) in std::iter::once(&all.samples).chain(&all.others).enumerate() {
            let alone = decode(&bytes, Channel::Pick(index)).expect("that channel");
            assert!(alone.samples == *samples && alone.others.is_empty(), "{name} channel {index}");
        }
        let few = decode(&bytes, Channel::Each(1)).expect_err("more than one").to_string();
        assert!(few.contains(&format!("{channels} channels")) && few.contains("1 at most"), "{few}");
    }
    let mono = std::fs::read(data("audio/stereo.flac")).expect("a file");
    assert!(decode(&mono, Channel::Mix).expect("a mix").others.is_empty());
    let planes = from_samples(&[0.1, 0.2, 0.3, 0.4], 2, 16_000, Channel::Each(2)).expect("two channels");
    assert_eq!((planes.samples, planes.others), (vec![0.1, 0.3], vec![vec![0.2, 0.4]]));
}

#[test]
fn the_error_for_a_missing_channel_states_the_channel_count() {
    let options = DecodeOptions { channel: Channel::Pick(2), ..Default::default() };
    let error = crate::refused(&data("audio/stereo.flac"), &options);
    assert!(error.contains("channel 2") && error.contains("2 channels"), "{error}");
}

#[test]
fn wav_sample_formats_agree() {
    let want = wanted(false);
    let pcm = |bits: u16, data: Vec<u8>| Wav { format: Wav::PCM, channels: 1, rate: 16_000, bits, claimed: None, data };
    let float = |bits: u16, data: Vec<u8>| Wav { format: Wav::FLOAT, ..pcm(bits, data) };
    let u8s = want.iter().map(|s| (s * 128.0 + 128.0).round() as u8).collect();
    let i24 = want.iter().flat_map(|s| ((s * 8_388_608.0).round() as i32).to_le_bytes()[..3].to_vec()).collect();
    let i32s = want.iter().flat_map(|s| ((f64::from(*s) * 2f64.powi(31)).round() as i32).to_le_bytes()).collect();
    let f64s = want.iter().flat_map(|s| f64::from(*s).to_le_bytes()).collect();
    let cases = [
        (pcm(8, u8s), "pcm_u8", 0.5 / 127.0),
        (Wav::pcm16(16_000, 1, &want), "pcm_s16le", 0.51 / 32_768.0),
        (pcm(24, i24), "pcm_s24le", 0.51 / 8_388_608.0),
        (pcm(32, i32s), "pcm_s32le", 1e-7),
        (Wav::float(16_000, 1, &want), "pcm_f32le", 0.0),
        (float(64, f64s), "pcm_f64le", 0.0),
    ];
    for (wav, codec, tolerance) in cases {
        let audio =
            decode_bytes(&wav.bytes(), "a.wav", &DecodeOptions::default(), audio::ignore_progress).expect(codec);
        assert_eq!(audio.source.codec, codec);
        assert_close(codec, &audio.samples, &want, tolerance, 0.0);
    }
}

#[test]
fn wav_written_by_another_library_is_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("hound.wav");
    let spec = hound::WavSpec {
        channels: 3,
        sample_rate: 48_000,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).expect("a WAV file");
    for i in 0..24_000 {
        let value = (chirp(f64::from(i) / 48_000.0) * 8_388_607.0) as i32;
        for scale in [1, 2, 0] {
            writer.write_sample(value / 2 * scale).expect("a sample");
        }
    }
    writer.finalize().expect("a whole file");
    let audio = decoded(&path);
    assert_eq!((audio.samples.len(), audio.source.channels, audio.source.rate), (8_000, 3, 48_000));
    // The mean of the scales 1/2, 1 and 0 is 1/2.
    let want: Vec<f32> = wanted(false).iter().map(|s| s * 0.5).collect();
    assert!(snr(&audio.samples[..7_500], &want[..7_500]) > 50.0);
    assert_eq!(audio.duration().0, 0.5);
}

#[test]
fn interleaved_samples_are_mixed_by_their_mean() {
    let samples = [0.2, 0.4, -0.2, 0.0, 1.0, -1.0];
    let mixed = from_samples(&samples, 2, 16_000, Channel::Mix).expect("two channels").samples;
    assert_close("mean", &mixed, &[0.3, -0.1, 0.0], 1e-7, 0.0);
    let right = from_samples(&samples, 2, 16_000, Channel::Pick(1)).expect("two channels").samples;
    assert_eq!(right, [0.4, 0.0, -1.0]);
    assert!(from_samples(&samples, 4, 16_000, Channel::Mix).expect_err("not whole").to_string().contains('4'));
    assert!(from_samples(&samples, 0, 16_000, Channel::Mix).is_err());
    assert!(from_samples(&[], 1, 16_000, Channel::Mix).is_err());
    assert!(from_samples(&[0.0; 2 * (MAX_CHANNELS + 1)], MAX_CHANNELS + 1, 16_000, Channel::Mix).is_err());
}

#[test]
fn one_sample_is_one_sample() {
    let audio = decode_bytes(
        &Wav::pcm16(16_000, 1, &[0.5]).bytes(),
        "a.wav",
        &DecodeOptions::default(),
        audio::ignore_progress,
    );
    assert_eq!(audio.expect("one sample").samples, [0.5]);
    let error = decode_bytes(
        &Wav::pcm16(48_000, 1, &[0.5]).bytes(),
        "a.wav",
        &DecodeOptions::default(),
        audio::ignore_progress,
    )
    .expect_err("a third of a sample");
    assert!(error.to_string().contains("shorter than one sample"), "{error}");
}
