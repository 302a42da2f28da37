//! Pipelines that tell speakers apart, small enough for a test: folders in pyannote's layout with networks whose weights are a
//! function of (seed, name, index).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{pyannet, seeded};

/// Channels of the first stage of the embedding network.
const CHANNELS: usize = 16;
/// Numbers of a voice.
pub const SIZE: usize = 256;

/// `config.yaml` in the layout of speaker-diarization-3.1, with the networks in the folder.
pub const CENTROID: &str = "version: 3.1.0
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: AgglomerativeClustering
    embedding: $model/embedding
    embedding_batch_size: 32
    embedding_exclude_overlap: true
    segmentation: $model/segmentation
    segmentation_batch_size: 32
params:
  clustering:
    method: centroid
    min_cluster_size: 12
    threshold: 0.7045654963945799
  segmentation:
    min_duration_off: 0.0
";

/// `config.yaml` in the layout of community-1.
pub const VBX: &str = "dependencies:
  pyannote.audio: 4.0.0
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    segmentation: $model/segmentation
    segmentation_batch_size: 32
    embedding: $model/embedding
    embedding_batch_size: 32
    embedding_exclude_overlap: true
    plda: $model/plda
params:
  clustering:
    threshold: 0.6
    Fa: 0.07
    Fb: 0.8
  segmentation:
    min_duration_off: 0.0
";

/// The segmentation's case of `pyannet`: windows of `seconds`, a powerset or not.
pub fn segmentation(seconds: f64, powerset: bool) -> Value {
    let most = if powerset { json!(2) } else { Value::Null };
    json!({"seed": 501, "duration": seconds, "powerset_max_classes": most, "layers": 1})
}

/// Writes a pipeline: its `config.yaml`, a segmentation, and an embedding.
pub fn write(folder: &Path, config: &str, case: &Value) {
    put(&folder.join("config.yaml"), config.as_bytes());
    put(&folder.join("segmentation/model.safetensors"), &pyannet::file(case));
    put(&folder.join("embedding/model.safetensors"), &embedding());
}

fn put(path: &PathBuf, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("room for a file");
}

/// Name and shape of every tensor of the embedding: ResNet34 with one block a stage.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut out = Vec::new();
    let mut convolution = |name: &str, norm: &str, shape: [usize; 4]| {
        out.push((format!("{name}.weight"), shape.to_vec()));
        for kind in ["weight", "bias", "running_mean", "running_var"] {
            out.push((format!("{norm}.{kind}"), vec![shape[0]]));
        }
    };
    convolution("resnet.conv1", "resnet.bn1", [CHANNELS, 1, 3, 3]);
    let mut inputs = CHANNELS;
    for stage in 1..=4 {
        let (name, outputs) = (format!("resnet.layer{stage}.0"), CHANNELS << (stage - 1));
        convolution(&format!("{name}.conv1"), &format!("{name}.bn1"), [outputs, inputs, 3, 3]);
        convolution(&format!("{name}.conv2"), &format!("{name}.bn2"), [outputs, outputs, 3, 3]);
        if stage > 1 {
            convolution(&format!("{name}.shortcut.0"), &format!("{name}.shortcut.1"), [outputs, inputs, 1, 1]);
        }
        inputs = outputs;
    }
    out.push(("resnet.seg_1.weight".into(), vec![SIZE, 2 * inputs * 10]));
    out.push(("resnet.seg_1.bias".into(), vec![SIZE]));
    out
}

/// The twin of `tests/reference/diarize_stage.py`.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let (center, scale) = match name {
        _ if name.ends_with("running_mean") => (0.0, 0.05),
        _ if name.ends_with("running_var") => (1.0, 0.2),
        _ if shape.len() == 1 && name.ends_with("weight") => (1.0, 0.1),
        _ if name.ends_with("bias") => (0.0, 0.05),
        _ => (0.0, (3.0 / fan_in as f64).sqrt()),
    };
    seeded::uniform(700, name, shape.iter().product(), center, scale)
}

/// The embedding, as a safetensors file.
pub fn embedding() -> Vec<u8> {
    let bytes = |name: &str, shape: &[usize]| values(name, shape).iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let all: Vec<_> = tensors().into_iter().map(|(name, shape)| (bytes(&name, &shape), name, shape)).collect();
    let views = all.iter().map(|(bytes, name, shape)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name, view.expect("a tensor"))
    });
    safetensors::serialize(views, None).expect("safetensors")
}
