//! PyTorch's own checkpoints: the values torch stored, whatever the format and the strides; a hostile file opens as data
//! or not at all, runs nothing, and cannot make the reader panic or allocate beyond the size of the file.

mod common;

use std::path::Path;

use diarist::engine::weights::Weights;
use proptest::prelude::*;

const FORMATS: [&str; 5] = ["zip.bin", "bare.bin", "zip-protocol-4.bin", "bare-protocol-4.bin", "lightning.bin"];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch").join(name)).unwrap()
}

fn open(name: &str) -> Weights {
    Weights::from_bytes(name, file(name)).unwrap()
}

/// The formula of `tests/reference/torch_files.py`: element `index` of the tensor made `ordinal`th.
fn value(ordinal: usize, index: usize) -> f32 {
    ((index * 7 + ordinal * 3) % 64) as f32 / 2.0 - 8.0
}

fn values(ordinal: usize, indices: impl IntoIterator<Item = usize>) -> Vec<f32> {
    indices.into_iter().map(|index| value(ordinal, index)).collect()
}

#[test]
fn every_format_holds_what_torch_stored() {
    for name in FORMATS {
        let weights = open(name);
        let check = |tensor: &str, shape: &[usize], want: Vec<f32>| {
            assert_eq!(weights.shape(tensor), Some(shape), "{name}: {tensor}");
            assert_eq!(weights.tensor(tensor, shape).unwrap(), want, "{name}: {tensor}");
        };
        check("plain.f32", &[2, 3, 4], values(0, 0..24));
        check("plain.f16", &[5], values(1, 0..5));
        check("plain.bf16", &[3, 3], values(2, 0..9));
        check("shared.whole", &[4, 6], values(4, 0..24));
        check("shared.rows", &[2, 6], values(4, 6..18));
        check("shared.column", &[4], values(4, (0..4).map(|row| row * 6 + 2)));
        let transposed = (0..6).flat_map(|column| (0..4).map(move |row| row * 6 + column));
        check("shared.transposed", &[6, 4], values(4, transposed));
        let steps = (0..3).flat_map(|row| (0..3).map(move |step| row * 8 + step * 3));
        check("steps", &[3, 3], values(5, steps));
        let permuted = (0..4).flat_map(|c| (0..2).flat_map(move |a| (0..3).map(move |b| (a * 3 + b) * 4 + c)));
        check("permuted", &[4, 2, 3], values(6, permuted));
        check("scalar", &[], vec![1.5]);
        check("empty", &[0, 3], vec![]);
        check("one.row", &[1, 6], values(7, 0..6));
        check("parameter", &[2, 2], values(9, 0..4));
        let integers: Vec<i64> = values(3, 0..4).iter().map(|v| (v * 2.0) as i64).collect();
        assert_eq!(weights.integers("plain.i64", &[4]).unwrap(), integers, "{name}");
        assert_eq!(weights.names().count(), 16, "{name}: {:?}", weights.names().collect::<Vec<_>>());
    }
}

#[test]
fn what_cannot_be_read_is_said_when_it_is_asked_for() {
    for name in FORMATS {
        let weights = open(name);
        let error = |tensor: &str, shape: &[usize]| weights.tensor(tensor, shape).unwrap_err().to_string();
        assert!(error("f64", &[2]).contains("F64"), "{name}");
        assert!(error("plain.i64", &[4]).contains("I64"), "{name}");
        assert!(error("repeated", &[4, 3]).contains("repeats its storage"), "{name}");
        assert!(error("plain.f32", &[2, 4, 3]).contains("[2, 3, 4]"), "{name}");
        assert!(error("hyper_parameters", &[1]).contains("missing"), "{name}");
        assert!(weights.integers("plain.f32", &[2, 3, 4]).unwrap_err().to_string().contains("F32"), "{name}");
    }
}

/// `trap.bin` runs `touch trapped` in the current folder when pickle loads it.
#[test]
fn a_command_in_a_checkpoint_is_not_run() {
    for name in ["trap.bin", "trap-bare.bin"] {
        let bytes = file(name);
        assert!(bytes.windows(13).any(|part| part == b"touch trapped"), "{name} holds no command");
        let weights = Weights::from_bytes(name, bytes).unwrap();
        assert_eq!(weights.tensor("weight", &[2, 2]).unwrap(), values(0, 0..4), "{name}");
        assert_eq!(weights.names().collect::<Vec<_>>(), ["weight"], "{name}");
        assert!(!Path::new("trapped").exists(), "{name} ran its command");
    }
}

#[test]
fn a_model_folder_may_hold_weights_of_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin"), file("bare.bin")).unwrap();
    let weights = Weights::open(folder.path()).unwrap();
    assert_eq!(weights.tensor("plain.f16", &[5]).unwrap(), values(1, 0..5));
    std::fs::rename(folder.path().join("pytorch_model.bin"), folder.path().join("a.bin")).unwrap();
    let index = serde_json::json!({"weight_map": {"plain.f16": "a.bin"}}).to_string();
    std::fs::write(folder.path().join("pytorch_model.bin.index.json"), index).unwrap();
    assert_eq!(Weights::open(folder.path()).unwrap().tensor("plain.f16", &[5]).unwrap(), values(1, 0..5));
}

#[test]
fn reasons_name_what_is_wrong() {
    let with = |name: &str, from: &[u8], to: &[u8]| {
        let mut bytes = file(name);
        let at = bytes.windows(from.len()).position(|part| part == from).expect("the bytes to change");
        bytes.splice(at..at + from.len(), to.iter().copied());
        Weights::from_bytes("changed.bin", bytes).err().expect("an error").to_string()
    };
    let mut tar = vec![0; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let old = Weights::from_bytes("old.bin", tar).err().expect("an error").to_string();
    assert!(old.contains("old.bin") && old.contains("before 2017"), "{old}");
    // The shape of `plain.f32`: K\x02 K\x03 K\x04 becomes K\x02 K\x03 K\x05.
    for name in ["zip.bin", "bare.bin"] {
        let error = with(name, b"K\x02K\x03K\x04\x87", b"K\x02K\x03K\x05\x87");
        assert!(error.contains("`plain.f32` reaches past the end of its storage"), "{name}: {error}");
        assert!(error.contains("changed.bin") && error.contains("fetch the model again"), "{name}: {error}");
    }
    assert!(with("bare.bin", b"little_endianq\x02\x88", b"little_endianq\x02\x89").contains("big-endian"));
    assert!(with("zip.bin", b"little", b"bigbig").contains("big-endian"));
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_whisperx_vad_is_read_completely() {
    let path = common::shared("models/whisperx-vad/pytorch_model.bin");
    let weights = Weights::open_file(&path).unwrap();
    let mut parameters = 0;
    for name in weights.names() {
        let shape = weights.shape(name).unwrap();
        let values = weights.tensor(name, shape).unwrap_or_else(|error| panic!("{error}"));
        assert!(values.iter().any(|value| *value != 0.0), "{name} is all zeros");
        parameters += values.len();
    }
    // As torch counts: tensors, and values in them.
    assert_eq!((weights.names().count(), parameters), (54, 1_472_999));
    let low = weights.tensor("sincnet.conv1d.0.filterbank.low_hz_", &[40, 1]).unwrap();
    assert_eq!([low[0], low[39]], [32.796_577, 7_383.131_3]);
    assert!(weights.contains("lstm.weight_hh_l3_reverse") && weights.shape("classifier.weight") == Some(&[3, 128]));
}

/// All a reader may do with bytes: refuse them, or hold tensors that fit into them.
fn read(bytes: Vec<u8>) {
    let len = bytes.len();
    let Ok(weights) = Weights::from_bytes("damaged.bin", bytes) else { return };
    for name in weights.names() {
        if let Ok(values) = weights.tensor(name, weights.shape(name).unwrap()) {
            assert!(values.len() * 2 <= len, "{name} has more values than the file can hold");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_truncated_file_is_refused(format in 0..FORMATS.len(), keep in 0.0f64..1.0) {
        let mut bytes = file(FORMATS[format]);
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        prop_assert!(Weights::from_bytes("cut.bin", bytes).is_err());
    }

    #[test]
    fn flipped_bits_never_panic(format in 0..FORMATS.len(), flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..6)) {
        let mut bytes = file(FORMATS[format]);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        read(bytes);
    }

    /// Any opcodes at all, behind the beginning of a bare checkpoint.
    #[test]
    fn any_program_ends(program in proptest::collection::vec(prop::sample::select(b"(.012qrhj\x94aesub\x90t\x85\x86\x87)]l}d\x8f\x91c\x93R\x81\x92QN\x88KMX\x8c\n\x00\x01\x02".to_vec()), 0..400)) {
        let mut bytes = file("bare.bin")[..15].to_vec();
        bytes.extend(program);
        read(bytes);
    }
}
