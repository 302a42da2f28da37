//! Binary versions of CTranslate2 before 6: the same weights, written by these tests in the layout of CTranslate2's
//! `model.cc`.

use diarist::engine::weights::{HostWeight, Weights};
use diarist::models::whisper::Checkpoint;

use super::{path, tensors};

/// A variable of a `model.bin` of version 6.
struct Variable {
    name: String,
    shape: Vec<u32>,
    kind: u8,
    data: Vec<u8>,
}

fn variables(bytes: &[u8]) -> Vec<Variable> {
    let mut at = 0;
    let mut take = |len: usize| {
        at += len;
        bytes[at - len..at].to_vec()
    };
    let u32_of = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().unwrap());
    take(4 + 2 + 12 + 4);
    (0..u32_of(take(4)))
        .map(|_| {
            let len = usize::from(u16::from_le_bytes(take(2).try_into().unwrap()));
            let name = String::from_utf8(take(len)[..len - 1].to_vec()).unwrap();
            let shape = (0..take(1)[0]).map(|_| u32_of(take(4))).collect();
            let kind = take(1)[0];
            let len = u32_of(take(4)) as usize;
            Variable { name, shape, kind, data: take(len) }
        })
        .collect()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
}

fn written(variables: &[Variable], version: u32, revision: u32) -> Vec<u8> {
    let mut out = version.to_le_bytes().to_vec();
    out.extend(string("WhisperSpec"));
    out.extend(revision.to_le_bytes());
    out.extend((variables.len() as u32).to_le_bytes());
    for variable in variables {
        out.extend(string(&variable.name));
        out.push(variable.shape.len() as u8);
        variable.shape.iter().for_each(|size| out.extend(size.to_le_bytes()));
        if version >= 4 {
            out.push(variable.kind);
            out.extend((variable.data.len() as u32).to_le_bytes());
        } else {
            let width = [4u8, 1, 2][usize::from(variable.kind)];
            out.push(width);
            out.extend((variable.data.len() as u32 / u32::from(width)).to_le_bytes());
        }
        out.extend(&variable.data);
    }
    if version >= 3 {
        out.extend(1u32.to_le_bytes());
        out.extend([string("decoder/projection/weight"), string("decoder/embeddings/weight")].concat());
    }
    out
}

/// Writes the variables to a folder, opens it, and compares all tensors with those of `name`.
fn check(name: &str, variables: &[Variable], version: u32, revision: u32) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), written(variables, version, revision)).unwrap();
    let files = Checkpoint::recognise(folder.path()).unwrap().open().unwrap_or_else(|error| panic!("{error}"));
    let want = super::open(name);
    assert_eq!(files.config, want.config, "version {version}");
    for (tensor, shape) in tensors() {
        let got = files.weights.tensor(&tensor, &shape).unwrap();
        assert_eq!(got, want.weights.tensor(&tensor, &shape).unwrap(), "version {version}: {tensor}");
    }
}

fn of(name: &str) -> Vec<Variable> {
    variables(&std::fs::read(path(name).join("model.bin")).unwrap())
}

#[test]
fn older_versions_hold_the_same_weights() {
    for name in ["ct2-float32", "ct2-int8_float32", "ct2-int16"] {
        for version in 2..=6 {
            check(name, &of(name), version, 3);
        }
    }
    check("ct2-float16", &of("ct2-float16"), 5, 3);
}

/// Before revision 3 there was one GELU, number 1. Since then number 1 is the tanh approximation, which Whisper does
/// not use.
#[test]
fn activations_of_older_revisions() {
    let mut variables = of("ct2-float32");
    let activation = variables.iter_mut().find(|v| v.name == "decoder/activation").expect("an activation");
    assert_eq!(activation.data, [3]);
    activation.data = vec![1];
    check("ct2-float32", &variables, 6, 1);
    check("ct2-float32", &variables, 6, 2);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), written(&variables, 6, 3)).unwrap();
    let error = Checkpoint::recognise(folder.path()).unwrap().open().err().expect("an error").to_string();
    assert!(error.contains("activation 1"), "{error}");
}

/// Old files store no scale for 16-bit weights; it is 1000.
#[test]
fn int16_without_a_scale_has_the_scale_1000() {
    let mut variables = of("ct2-int16");
    variables.retain(|variable| !variable.name.ends_with("_scale"));
    let weights = Weights::from_bytes("old.bin", written(&variables, 3, 1)).unwrap();
    let name = "decoder/layer_0/ffn/linear_1/weight";
    let stored = variables.iter().find(|variable| variable.name == name).unwrap();
    let integers = stored.data.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]]));
    let want: Vec<f32> = integers.map(|integer| f32::from(integer) * (1.0 / 1000.0)).collect();
    assert_eq!(weights.tensor(name, &[32, 128]).unwrap(), want);
    let HostWeight::Float(matrix) = weights.weight(name, &[32, 128]).unwrap() else { panic!("not dequantised") };
    assert_eq!((matrix.values, matrix.rows, matrix.cols), (want, 32, 128));
}

/// Versions without aliases store the output projection as well. It must be equal to the embedding.
#[test]
fn a_stored_projection_must_equal_the_embedding() {
    let mut variables = of("ct2-float32");
    let embedding = variables.iter().find(|variable| variable.name == "decoder/embeddings/weight").unwrap();
    let name = "decoder/projection/weight".to_owned();
    let copy = Variable { name, shape: embedding.shape.clone(), kind: 0, data: embedding.data.clone() };
    variables.push(copy);
    check("ct2-float32", &variables, 2, 3);
    variables.last_mut().unwrap().data[2] ^= 1;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), written(&variables, 2, 3)).unwrap();
    let error = Checkpoint::recognise(folder.path()).unwrap().open().err().expect("an error").to_string();
    assert!(error.contains("decoder/projection/weight") && error.contains("is not the embedding"), "{error}");
}
