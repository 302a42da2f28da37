//! Small diarization pipelines for tests: folders in pyannote's layout with networks of pseudo-random weights.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{pyannet, resnet34};

/// Dimension of the speaker embeddings.
pub const SIZE: usize = 256;

/// `config.yaml` in the format of speaker-diarization-3.1, with the networks in the pipeline's folder.
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

/// `config.yaml` in the format of community-1.
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

/// A case for `pyannet`: windows of `seconds`, with or without powerset classes.
pub fn segmentation(seconds: f64, powerset: bool) -> Value {
    let most = if powerset { json!(2) } else { Value::Null };
    json!({"seed": 501, "duration": seconds, "powerset_max_classes": most, "layers": 1})
}

/// Writes a pipeline: `config.yaml`, a segmentation network for `case`, and an embedding network.
pub fn write(folder: &Path, config: &str, case: &Value) {
    put(&folder.join("config.yaml"), config.as_bytes());
    put(&folder.join("segmentation/model.safetensors"), &pyannet::file(case));
    put(&folder.join("embedding/model.safetensors"), &resnet34::file(&embedding(), &resnet34::tensors(&embedding())));
}

/// Writes a pipeline whose embeddings are all zero, so that diarization fails.
pub fn write_mute(folder: &Path) {
    write(folder, CENTROID, &segmentation(4.0, true));
    let file = folder.join("embedding/model.safetensors");
    let bytes = resnet34::file(&embedding(), &resnet34::tensors(&embedding()));
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("own safetensors");
    let zeroed: Vec<(String, Vec<usize>, Vec<u8>)> = (tensors.tensors().into_iter())
        .map(|(name, view)| {
            let is_zeroed = name.starts_with("resnet.seg_1");
            let data = if is_zeroed { vec![0; view.data().len()] } else { view.data().to_vec() };
            (name, view.shape().to_vec(), data)
        })
        .collect();
    let views = zeroed.iter().map(|(name, shape, data)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data);
        (name.as_str(), view.expect("as many bytes as before"))
    });
    put(&file, &safetensors::serialize(views, None).expect("own safetensors"));
}

fn put(path: &PathBuf, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, bytes).expect("room for a file");
}

/// A case for `resnet34`: one block per stage.
pub fn embedding() -> Value {
    json!({"seed": 700, "planes": 16, "blocks": [1, 1, 1, 1], "size": SIZE})
}
