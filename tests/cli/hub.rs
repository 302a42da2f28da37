//! Downloads of models from the hub: resumption, checksums, and errors of servers and networks.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use diarist::Error;
use diarist::diarize::recipe::Location;
use diarist::hub::{AlignerSource, DiarizerSource, Fetching, Hub, Network, Source, pipelines};
use diarist::models::wav2vec2::Bundle;
use diarist::models::whisper::Checkpoint;

use crate::server::{Fault, Server};

const CONFIG: &[u8] = br#"{"model_type": "whisper"}"#;
const TOKENIZER: &[u8] = br#"{"version": "1.0"}"#;
const WEIGHTS: &str = "model.safetensors";

fn weights() -> Vec<u8> {
    (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn server() -> Server {
    Server::new(&[("config.json", CONFIG), ("tokenizer.json", TOKENIZER), (WEIGHTS, &weights()), ("README.md", b"x")])
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub {
        model_dir: None,
        network: Network::Allowed,
        cache: Some(cache.to_path_buf()),
        whisper_cache: Some(cache.join("whisper")),
        torch_cache: Some(cache.join("torch")),
        bundles: format!("{}/bundles", server.endpoint),
        endpoint: server.endpoint.clone(),
        token: None,
        stall: Duration::from_secs(30),
        retry_pause: Duration::from_millis(5),
    }
}

fn obtain(hub: &Hub) -> diarist::Result<Source> {
    hub.obtain("tiny", &mut |_| ControlFlow::Continue(()))
}

fn folder(found: diarist::Result<Source>) -> std::path::PathBuf {
    match found.unwrap() {
        Source::Checkpoint(checkpoint) => checkpoint.path,
        Source::Builtin => panic!("not the built-in model"),
    }
}

#[test]
fn a_model_is_fetched_once_and_then_found_without_the_network() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let mut hub = hub(&server, cache.path());
    let folder = folder(obtain(&hub));
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert!(!folder.join("README.md").exists(), "fetched what nobody needs");
    let before = server.requests();
    hub.network = Network::Forbidden;
    assert_eq!(obtain(&hub).unwrap(), Source::Checkpoint(Checkpoint::hugging_face(folder)));
    assert_eq!(server.requests(), before);
}

#[test]
fn an_interrupted_download_resumes_where_it_stopped() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fail(WEIGHTS, &[Fault::CloseAfter(70_000), Fault::Status(503), Fault::EndAfter(50_000)]);
    let folder = folder(obtain(&hub(&server, cache.path())));
    assert_eq!(server.offsets(WEIGHTS), [0, 70_000, 70_000, 120_000]);
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_partial_download_of_an_earlier_run_is_resumed() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fail(WEIGHTS, &[Fault::CloseAfter(10_000); 5]);
    let hub = hub(&server, cache.path());
    let error = obtain(&hub).unwrap_err().to_string();
    assert!(error.contains("run the same command again to continue"), "{error}");
    assert_eq!(hub.find("tiny").unwrap(), None, "half a model passes for one");
    let folder = folder(obtain(&hub));
    assert_eq!(server.offsets(WEIGHTS).last(), Some(&50_000));
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_complete_part_file_does_not_block_the_download() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let first = folder(obtain(&hub));
    let blob = first.join(WEIGHTS).canonicalize().unwrap();
    std::fs::rename(&blob, blob.with_extension("part")).unwrap();
    std::fs::remove_file(first.join(WEIGHTS)).unwrap();
    assert_eq!(std::fs::read(folder(obtain(&hub)).join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn damaged_bytes_are_fetched_again_and_never_kept() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    server.fail(WEIGHTS, &[Fault::FlipByte, Fault::FlipByte]);
    let error = obtain(&hub).unwrap_err().to_string();
    assert!(error.contains("model.safetensors arrived damaged twice (SHA-256"), "{error}");
    assert_eq!(hub.find("tiny").unwrap(), None);
    server.fail(WEIGHTS, &[Fault::FlipByte]);
    assert_eq!(std::fs::read(folder(obtain(&hub)).join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_server_that_stalls_times_out() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fail(WEIGHTS, &[Fault::SilentAfter(1000)]);
    let mut hub = hub(&server, cache.path());
    hub.stall = Duration::from_millis(400);
    let error = obtain(&hub).unwrap_err().to_string();
    assert!(error.contains("nothing arrived for"), "{error}");
}

#[test]
fn a_download_can_be_cancelled_and_reports_progress() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fail(WEIGHTS, &[Fault::SilentAfter(1000)]);
    let mut seen = Vec::new();
    let stopped = hub(&server, cache.path()).obtain("tiny", &mut |state: &Fetching| {
        seen.push(state.clone());
        if state.done == 1000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    let last = seen.last().unwrap();
    assert_eq!((last.file.as_str(), last.done, last.total), (WEIGHTS, 1000, 200_000));
}

#[test]
fn shards_are_fetched_as_the_index_names_them() {
    let index =
        br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let server = Server::new(&[
        ("config.json", CONFIG),
        ("tokenizer.json", TOKENIZER),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let folder = folder(obtain(&hub(&server, cache.path())));
    assert_eq!(std::fs::read(folder.join("model-2.safetensors")).unwrap(), b"two");
}

#[test]
fn an_index_cannot_name_files_outside_the_folder() {
    let index = br#"{"weight_map": {"a": "../../../evil.safetensors"}}"#;
    let files: &[(&str, &[u8])] =
        &[("config.json", CONFIG), ("tokenizer.json", TOKENIZER), ("model.safetensors.index.json", index)];
    let (server, cache) = (Server::new(files), tempfile::tempdir().unwrap());
    let error = obtain(&hub(&server, cache.path())).unwrap_err().to_string();
    assert!(error.contains("is not a list of shards"), "{error}");
    assert!(server.offsets("evil.safetensors").is_empty());
}

#[test]
fn a_repository_in_another_layout_is_refused() {
    let server = Server::new(&[("config.json", CONFIG), ("tokenizer.json", TOKENIZER), ("tf_model.h5", b"x")]);
    let cache = tempfile::tempdir().unwrap();
    let error = obtain(&hub(&server, cache.path())).unwrap_err().to_string();
    assert!(error.contains("has no model.safetensors"), "{error}");
    assert!(server.offsets("config.json").is_empty(), "fetched from a repository that cannot be used");
}

#[test]
fn pytorch_weights_are_fetched_only_without_safetensors() {
    let torch: &[(&str, &[u8])] =
        &[("config.json", CONFIG), ("tokenizer.json", TOKENIZER), ("pytorch_model.bin", b"x")];
    let (server, cache) = (Server::new(torch), tempfile::tempdir().unwrap());
    let found = folder(obtain(&hub(&server, cache.path())));
    assert_eq!(std::fs::read(found.join("pytorch_model.bin")).unwrap(), b"x");
    let both: Vec<(&str, &[u8])> = torch.iter().copied().chain([("model.safetensors", &b"y"[..])]).collect();
    let (server, cache) = (Server::new(&both), tempfile::tempdir().unwrap());
    let found = folder(obtain(&hub(&server, cache.path())));
    assert!(found.join("model.safetensors").is_file() && !found.join("pytorch_model.bin").exists());
}

#[test]
fn errors_name_gated_and_unknown_repositories() {
    for (status, text) in [(401, "set HF_TOKEN"), (404, "has no repository openai/whisper-tiny")] {
        let (server, cache) = (server(), tempfile::tempdir().unwrap());
        server.fail("api", &[Fault::Status(status)]);
        let error = obtain(&hub(&server, cache.path())).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn the_access_token_is_sent() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let mut hub = hub(&server, cache.path());
    hub.token = Some("hf_secret".into());
    obtain(&hub).unwrap();
    assert!(server.tokens().iter().all(|t| t == "Bearer hf_secret") && !server.tokens().is_empty());
}

#[test]
fn without_network_the_error_lists_the_files_to_provide() {
    let cache = tempfile::tempdir().unwrap();
    let mut hub = hub(&server(), cache.path());
    // A port without a server.
    hub.endpoint = "http://127.0.0.1:9".into();
    for network in [Network::Allowed, Network::Forbidden] {
        hub.network = network;
        let error = obtain(&hub).unwrap_err().to_string();
        for part in [
            "model `tiny`",
            "config.json",
            "tokenizer.json",
            WEIGHTS,
            "openai/whisper-tiny",
            "--model FOLDER",
            "--model builtin",
        ] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(error.contains(&cache.path().display().to_string()), "{error}");
    }
}

#[test]
fn folders_names_and_the_model_dir_are_distinguished() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let mut hub = hub(&server, cache.path());
    hub.network = Network::Forbidden;
    let own = cache.path().join("own").join("tiny");
    std::fs::create_dir_all(&own).unwrap();
    let error = hub.find(own.to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("missing config.json, tokenizer.json, model.safetensors"), "{error}");
    for (file, bytes) in [("config.json", CONFIG), ("tokenizer.json", TOKENIZER), (WEIGHTS, b"w")] {
        std::fs::write(own.join(file), bytes).unwrap();
    }
    assert_eq!(
        hub.find(own.to_str().unwrap()).unwrap(),
        Some(Source::Checkpoint(Checkpoint::hugging_face(own.clone())))
    );
    hub.model_dir = Some(cache.path().join("own"));
    assert_eq!(hub.find("tiny").unwrap(), Some(Source::Checkpoint(Checkpoint::hugging_face(own))));
    assert_eq!(hub.find("base").unwrap(), None);
    assert_eq!(hub.find("builtin").unwrap(), Some(Source::Builtin));
    assert!(matches!(hub.find("no-such-name"), Err(Error::Config { option: "model", .. })));
    assert!(matches!(hub.find("./nowhere"), Err(Error::Model { .. })));
}

const BUNDLE: &str = "wav2vec2_fairseq_base_ls960_asr_ls960.pth";

/// A file written by torch.save. Its contents do not matter, since it is not loaded here.
fn checkpoint() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wav2vec2/bundle-group_norm.pth")).unwrap()
}

fn obtain_aligner(hub: &Hub, model: &str) -> diarist::Result<AlignerSource> {
    hub.obtain_aligner(model, &mut |_| ControlFlow::Continue(()))
}

/// The names of the files in a folder.
fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file());
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_bundle_is_fetched_once_and_resumed() {
    let server = Server::new(&[(BUNDLE, &checkpoint())]);
    let cache = tempfile::tempdir().unwrap();
    let mut hub = hub(&server, cache.path());
    server.fail(BUNDLE, &[Fault::CloseAfter(1000), Fault::CloseAfter(50_000), Fault::Status(503)]);
    let mut seen = Vec::new();
    let found = hub.obtain_aligner("WAV2VEC2_ASR_BASE_960H", &mut |state: &Fetching| {
        seen.push(state.clone());
        ControlFlow::Continue(())
    });
    let file = cache.path().join("torch").join(BUNDLE);
    let bundle = Bundle::named(BUNDLE).unwrap();
    assert_eq!(found.unwrap(), AlignerSource::Bundle(bundle, file.clone()));
    assert_eq!(std::fs::read(&file).unwrap(), checkpoint());
    assert_eq!(server.offsets(BUNDLE), [0, 1000, 51_000, 51_000]);
    let last = seen.last().unwrap();
    assert_eq!((last.file.as_str(), last.done, last.total), (BUNDLE, last.total, checkpoint().len() as u64));
    hub.network = Network::Forbidden;
    assert_eq!(hub.find_aligner("WAV2VEC2_ASR_BASE_960H").unwrap(), Some(AlignerSource::Bundle(bundle, file.clone())));
    assert_eq!(hub.find_aligner(file.to_str().unwrap()).unwrap(), Some(AlignerSource::Bundle(bundle, file)));
    assert_eq!(files_in(&cache.path().join("torch")), [BUNDLE]);
}

#[test]
fn a_download_that_is_not_a_checkpoint_is_not_stored() {
    let server = Server::new(&[(BUNDLE, b"<html>Sorry</html>")]);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, cache.path());
    let error = obtain_aligner(&hub, "WAV2VEC2_ASR_BASE_960H").unwrap_err().to_string();
    assert!(error.contains("brought no checkpoint"), "{error}");
    assert!(files_in(&cache.path().join("torch")).is_empty());
    let error = obtain_aligner(&hub, "VOXPOPULI_ASR_BASE_10K_FR").unwrap_err().to_string();
    assert!(error.contains("answers 404"), "{error}");
    server.fail(BUNDLE, &[Fault::CloseAfter(3); 5]);
    let error = obtain_aligner(&hub, "WAV2VEC2_ASR_BASE_960H").unwrap_err().to_string();
    assert!(error.contains("cannot be fetched") && error.contains("to continue"), "{error}");
    assert!(error.contains("--align-model FILE"), "{error}");
    let stopped = hub.obtain_aligner("WAV2VEC2_ASR_LARGE_960H", &mut |_| ControlFlow::Break(()));
    assert!(stopped.is_err());
}

#[test]
fn an_aligner_of_the_hub_needs_vocab_json() {
    let files: &[(&str, &[u8])] = &[("config.json", CONFIG), ("vocab.json", b"{}"), ("pytorch_model.bin", b"x")];
    let (server, cache) = (Server::new(files), tempfile::tempdir().unwrap());
    let mut hub = hub(&server, cache.path());
    let AlignerSource::Folder(folder) = obtain_aligner(&hub, "an/aligner").unwrap() else { panic!("no folder") };
    assert!(folder.join("vocab.json").is_file() && !folder.join("tokenizer.json").exists());
    let server = self::server();
    hub.endpoint = server.endpoint.clone();
    let error = obtain_aligner(&hub, "another/aligner").unwrap_err().to_string();
    assert!(error.contains("has no vocab.json: not a wav2vec2 model"), "{error}");
    assert!(matches!(hub.find_aligner("no-such"), Err(Error::Config { option: "align_model", .. })));
    assert!(matches!(hub.find_aligner("./nowhere"), Err(Error::Model { .. })));
    assert_eq!(hub.find_aligner("builtin").unwrap(), Some(AlignerSource::Builtin));
}

/// A pipeline that contains its networks, and one that refers to other repositories for them.
#[test]
fn pipelines_are_fetched_with_all_their_parts() {
    let own = "pipeline:\n  name: pyannote.audio.pipelines.SpeakerDiarization\n  params:\n    clustering: VBxClustering\n    \
               segmentation: $model/segmentation\n    embedding: $model/embedding\n    plda: $model/plda\n";
    let named = own
        .replace("VBx", "Agglomerative")
        .replace("$model/segmentation", "pyannote/segmentation-3.0")
        .replace("$model/embedding", "pyannote/wespeaker-voxceleb-resnet34-LM");
    let parts =
        ["segmentation/pytorch_model.bin", "embedding/pytorch_model.bin", "plda/plda.npz", "plda/xvec_transform.npz"];
    let mut files: Vec<(&str, &[u8])> = parts.iter().map(|name| (*name, name.as_bytes())).collect();
    files.extend([("config.yaml", own.as_bytes()), ("README.md", b"x")]);
    let other: Vec<(&str, &[u8])> = vec![("config.yaml", named.as_bytes()), ("pytorch_model.bin", b"x")];
    for (files, expected) in [(files, [parts[0], parts[1]]), (other, ["pytorch_model.bin"; 2])] {
        let (server, cache) = (Server::new(&files), tempfile::tempdir().unwrap());
        let mut hub = hub(&server, cache.path());
        let model = pipelines::DEFAULT;
        assert_eq!(hub.find_diarizer(model).unwrap(), None);
        let found = hub.obtain_diarizer(model, &mut |_| ControlFlow::Continue(())).unwrap();
        let DiarizerSource::Recipe(recipe) = &found else { panic!("not the built-in one") };
        for (place, file) in [&recipe.segmentation, &recipe.embedding].into_iter().zip(expected) {
            let Location::Local(folder) = place else { panic!("{place:?}") };
            let file = folder.join(file.rsplit('/').next().unwrap());
            assert!(file.is_file(), "{}", file.display());
        }
        let before = server.requests();
        hub.network = Network::Forbidden;
        assert_eq!(hub.find_diarizer(model).unwrap(), Some(found));
        assert_eq!(server.requests(), before);
    }
    let (server, cache) = (Server::new(&[("config.yaml", b"x")]), tempfile::tempdir().unwrap());
    server.fail("api", &[Fault::Status(401)]);
    let hub = hub(&server, cache.path());
    let error = hub.obtain_diarizer(pipelines::DEFAULT, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.contains("accept its terms") && error.contains("HF_TOKEN"), "{error}");
}
