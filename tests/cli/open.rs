//! The diarization pipeline `open`, which needs no account: its files are verified by checksum whatever their source,
//! and it is the default only if community-1 is not available.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diarist::Engine;
use diarist::api::Device;
use diarist::diarize::Gallery;
use diarist::diarize::open as constants;
use diarist::diarize::recipe::{Location, Recipe};
use diarist::hub::{DiarizerSource, Hub, Network, OPEN, Published, open, pipelines};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::campplus;
use crate::common::pipeline::{self, CENTROID};
use crate::dsl::Dir;
use crate::server::{Fault, Server};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const COMMUNITY: &str = "home/hub/models--pyannote--speaker-diarization-community-1";

fn weights() -> Vec<u8> {
    (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file with the bytes of [`weights`], published in two repositories.
fn two_sources(sha256: &str) -> [Published<'_>; 2] {
    let source = |repo| Published { repo, revision: REVISION, file: "net/model.onnx", bytes: 100_000, sha256 };
    [source("first/copy"), source("second/copy")]
}

fn hub(server: &Server, dir: &Dir) -> Hub {
    Hub {
        model_dir: None,
        network: Network::Allowed,
        cache: Some(dir.path("cache")),
        token: None,
        endpoint: server.endpoint.clone(),
        stall: Duration::from_secs(30),
        retry_pause: Duration::from_millis(5),
        ..Hub::from_env()
    }
}

fn obtain(hub: &Hub, sources: &[Published<'_>]) -> diarist::Result<PathBuf> {
    hub.obtain_published("the network", sources, &mut |_| ControlFlow::Continue(()))
}

impl Dir {
    /// Writes a folder with the networks of a pipeline, without a `config.yaml`.
    fn networks(&self, name: &str) {
        pipeline::write(&self.path(name), CENTROID, &pipeline::segmentation(4.0, true));
        std::fs::remove_file(self.path(name).join("config.yaml")).unwrap();
    }

    /// The JSON that `diarize -f json` prints, and its stderr.
    fn diarized(&self, args: &str) -> (Value, String) {
        let outcome = self.diarist(&format!("diarize talk.wav -f json {args}")).run();
        outcome.exits(0);
        (serde_json::from_str(&outcome.stdout).unwrap(), outcome.stderr)
    }
}

#[test]
fn the_next_repository_is_tried_if_a_checksum_is_wrong() {
    let (bytes, dir) = (weights(), Dir::new());
    let sha256 = hex_sha256(&bytes);
    let mut other = bytes.clone();
    other[50_000] ^= 1;
    let server = Server::new(&[("first/copy:net/model.onnx", &other), ("second/copy:net/model.onnx", &bytes)]);
    let hub = hub(&server, &dir);
    let path = obtain(&hub, &two_sources(&sha256)).unwrap();
    assert!(path.ends_with(format!("models--second--copy/snapshots/{REVISION}/net/model.onnx")), "{}", path.display());
    assert_eq!(std::fs::read(path).unwrap(), bytes);
    assert_eq!(server.sent("first/copy:net/model.onnx"), 0, "fetched although the hub announces other bytes");
    // If all sources fail, the error names each with its reason.
    let server = Server::new(&[("first/copy:net/model.onnx", &other)]);
    let dir = Dir::new();
    let error = obtain(&self::hub(&server, &dir), &two_sources(&sha256)).unwrap_err().to_string();
    for part in [
        "the network",
        "first/copy: ",
        "not the file that was published",
        &hex_sha256(&other),
        &sha256,
        "second/copy: ",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!dir.path("cache/models--first--copy/snapshots").join(REVISION).exists());
}

#[test]
fn a_repository_that_announces_the_right_bytes_and_sends_others_is_refused() {
    let (bytes, dir) = (weights(), Dir::new());
    let sha256 = hex_sha256(&bytes);
    let server = Server::new(&[("first/copy:net/model.onnx", &bytes), ("second/copy:net/model.onnx", &bytes)]);
    server.fail("first/copy:net/model.onnx", &[Fault::FlipByte; 2]);
    let path = obtain(&hub(&server, &dir), &two_sources(&sha256)).unwrap();
    assert!(path.display().to_string().contains("second--copy"), "{}", path.display());
    assert!(!dir.path("cache/models--first--copy/snapshots").join(REVISION).join("net/model.onnx").exists());
    assert_eq!(server.offsets("first/copy:net/model.onnx"), [0, 0], "tried once more, and not again");
}

#[test]
fn a_file_is_fetched_once_at_its_revision_and_found_without_the_network() {
    let (bytes, dir) = (weights(), Dir::new());
    let sha256 = hex_sha256(&bytes);
    let sources = two_sources(&sha256);
    let server = Server::new(&[("net/model.onnx", &bytes)]);
    let mut hub = Hub { token: Some("hf_expired".into()), ..hub(&server, &dir) };
    server.fail("net/model.onnx", &[Fault::CloseAfter(30_000)]);
    let path = obtain(&hub, &sources).unwrap();
    assert_eq!(server.offsets("net/model.onnx"), [0, 30_000], "not taken up where it stopped");
    assert!(server.revisions("net/model.onnx").iter().all(|revision| revision == REVISION));
    assert!(server.tokens().is_empty(), "a token was sent to a repository without a gate");
    let before = server.requests();
    hub.network = Network::Forbidden;
    assert_eq!(obtain(&hub, &sources).unwrap(), path);
    // A copy of the second source, or without its organisation, in --model-dir is used as well.
    for place in ["second/copy", "copy"] {
        let dir = Dir::new();
        let file = dir.write(&format!("models/{place}/net/model.onnx"), &bytes);
        let hub = Hub { model_dir: Some(dir.path("models")), cache: None, ..hub.clone() };
        assert_eq!(obtain(&hub, &sources).unwrap(), file);
    }
    assert_eq!(server.requests(), before);
}

#[test]
fn a_token_is_sent_only_if_the_hub_requires_one() {
    let (bytes, dir) = (weights(), Dir::new());
    let sha256 = hex_sha256(&bytes);
    let server = Server::new(&[("net/model.onnx", &bytes)]);
    server.want_token();
    let error = obtain(&hub(&server, &dir), &two_sources(&sha256)).unwrap_err().to_string();
    assert!(error.contains("without an access token (401)"), "{error}");
    obtain(&Hub { token: Some("hf_x".into()), ..hub(&server, &dir) }, &two_sources(&sha256)).unwrap();
}

#[test]
fn a_damaged_file_of_the_cache_is_fetched_again_once() {
    let (bytes, dir) = (weights(), Dir::new());
    let sha256 = hex_sha256(&bytes);
    let sources = two_sources(&sha256);
    let server = Server::new(&[("net/model.onnx", &bytes)]);
    let mut hub = hub(&server, &dir);
    let path = obtain(&hub, &sources).unwrap();
    for damaged in [&bytes[..70_000], &[&[bytes[0] ^ 1], &bytes[1..]].concat()] {
        std::fs::write(path.canonicalize().unwrap(), damaged).unwrap();
        hub.network = Network::Forbidden;
        let error = obtain(&hub, &sources).unwrap_err().to_string();
        assert!(error.contains("model.onnx is not used: ") && error.contains("downloads are switched off"), "{error}");
        hub.network = Network::Allowed;
        let before = server.offsets("net/model.onnx").len();
        assert_eq!(std::fs::read(obtain(&hub, &sources).unwrap()).unwrap(), bytes);
        assert_eq!(server.offsets("net/model.onnx").len(), before + 1);
    }
}

#[test]
fn every_repository_of_open_has_a_revision_and_a_checksum() {
    let is_hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for part in open::PARTS {
        assert!(!part.sources.is_empty(), "{}", part.folder);
        for source in part.sources {
            assert!(is_hex(source.revision, 40) && is_hex(source.sha256, 64) && source.bytes > 0, "{source:?}");
        }
    }
}

/// The published checksums are built in, so a server with other bytes is refused.
#[test]
fn a_hub_with_other_bytes_is_refused() {
    let dir = Dir::new();
    dir.speech("talk.wav", 3.0);
    let server = Server::new(&[("model.onnx", b"other"), (open::PARTS[1].sources[0].file, b"other")]);
    let online = |args: &str| dir.diarist(args).env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", &server.endpoint);
    let outcome = online("diarize talk.wav --diarize-model open").run();
    let source = open::PARTS[0].sources[0];
    outcome.exits(1).complains(&[
        source.repo,
        "not the file that was published",
        source.sha256,
        "--diarize-model FOLDER",
    ]);
    assert_eq!(outcome.stdout, "");
    assert!(server.revisions("model.onnx").iter().all(|revision| revision == source.revision));
}

#[test]
fn without_the_network_the_error_names_three_remedies() {
    let dir = Dir::new();
    dir.speech("talk.wav", 3.0);
    for command in [
        "diarize talk.wav",
        "diarize talk.wav --diarize-model open",
        "transcribe talk.wav --model builtin --diarize",
        "worker --model builtin --diarize",
    ] {
        let outcome = dir.diarist(command).run();
        outcome.exits(1).complains(&["downloads are switched off", "HF_TOKEN", "settings/tokens", "accept its terms"]);
        for part in open::PARTS {
            let source = part.sources[0];
            let address = format!("{}/resolve/{}/{}", source.repo, source.revision, source.file);
            outcome.complains(&[&format!("FOLDER/{}/", part.folder), &address]);
        }
        assert!(outcome.stdout.is_empty() && !outcome.stderr.contains("builtin"), "{command}: {}", outcome.stderr);
    }
    assert_eq!(dir.files(), ["talk.wav"]);
}

#[test]
fn a_folder_of_networks_needs_no_config() {
    let dir = Dir::new();
    dir.speech("talk.wav", 6.0);
    dir.networks("my networks");
    std::fs::rename(
        dir.path("my networks/embedding/model.safetensors"),
        dir.path("my networks/embedding/some_name.safetensors"),
    )
    .unwrap();
    dir.write("my networks/embedding/README.md", "x");
    let outcome = dir.diarist("diarize talk.wav -f json --diarize-model").arg("my networks").run();
    let found: Value = serde_json::from_str(&outcome.exits(0).without_complaint().stdout).unwrap();
    assert_eq!(found["diarization"], serde_json::json!({"pipeline": "my networks"}));
    assert!(!found["turns"].as_array().unwrap().is_empty());
    let recipe = Recipe::open(&dir.path("my networks")).unwrap();
    assert_eq!(recipe.embedding, Location::Local(dir.path("my networks/embedding")));
    let own = Recipe::of_networks(recipe.segmentation.clone(), recipe.embedding.clone(), recipe.version.clone());
    assert_eq!(recipe, own, "not the constants of open");
    // The folder also works as a VAD model.
    let outcome = dir.diarist("vad talk.wav --vad pyannote --vad-model").arg("my networks").run();
    outcome.exits(0).without_complaint();
    // Several files of weights are ambiguous.
    dir.write("my networks/embedding/another.onnx", "x");
    let outcome = dir.diarist("diarize talk.wav --diarize-model").arg("my networks").run();
    outcome.exits(1).complains(&["embedding", "several files of weights", "another.onnx", "some_name.safetensors"]);
    for file in ["another.onnx", "some_name.safetensors"] {
        std::fs::remove_file(dir.path("my networks/embedding").join(file)).unwrap();
    }
    let outcome = dir.diarist("diarize talk.wav --diarize-model").arg("my networks").run();
    outcome.exits(1).complains(&["embedding", "expected model.safetensors"]);
    std::fs::remove_dir_all(dir.path("my networks/segmentation")).unwrap();
    let outcome = dir.diarist("diarize talk.wav --diarize-model").arg("my networks").run();
    outcome.exits(1).complains(&["my networks", "config.yaml", "segmentation is missing"]);
}

#[test]
fn community_1_is_preferred_if_it_is_on_this_machine() {
    let dir = Dir::new();
    dir.speech("talk.wav", 6.0);
    dir.networks("models/open");
    let (found, stderr) = dir.diarized("--model-dir models");
    assert_eq!(found["diarization"], serde_json::json!({"pipeline": "open"}));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains("pipeline `open`: pyannote/speaker-diarization-community-1 is not on this machine"),
        "{stderr}"
    );
    // No message if the pipeline was named explicitly.
    let (again, stderr) = dir.diarized("--model-dir models --diarize-model open");
    assert_eq!((&again, stderr.as_str()), (&found, ""));
    let folder = dir.path(COMMUNITY).join("snapshots").join(REVISION);
    pipeline::write(&folder, CENTROID, &pipeline::segmentation(4.0, true));
    let (found, stderr) = dir.diarized("--model-dir models");
    assert_eq!(stderr, "");
    let version = serde_json::json!({"pipeline": pipelines::DEFAULT, "revision": REVISION});
    assert_eq!(found["diarization"], version);
    // A transcript has the same version.
    let args = "--model builtin --beam-size 1 --no-align --diarize --verbose False -f json";
    dir.diarist(&format!("transcribe talk.wav {args}")).run().exits(0).complains(&["each segment gets one speaker"]);
    let found: Value = serde_json::from_str(&dir.read("talk.json")).unwrap();
    assert_eq!(found["diarization"], version);
    dir.diarist(&format!("transcribe talk.wav {args} --diarize-model builtin")).run().exits(0);
    let found: Value = serde_json::from_str(&dir.read("talk.json")).unwrap();
    let version = serde_json::json!({"pipeline": "builtin", "revision": env!("CARGO_PKG_VERSION")});
    assert_eq!(found["diarization"], version);
}

#[test]
fn community_1_is_fetched_with_a_token_and_open_is_the_fallback() {
    let dir = Dir::new();
    dir.speech("talk.wav", 6.0);
    dir.networks("models/open");
    let server = Server::new(&[]);
    let online = |token: &str| {
        let run = dir.diarist("diarize talk.wav -f json --model-dir models");
        run.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", &server.endpoint).env("HF_TOKEN", token).run()
    };
    // Without a token, no request is sent.
    online("").exits(0).complains(&["pipeline `open`", "no access token"]);
    assert_eq!(server.requests(), 0);
    server.fail("api", &[Fault::Status(403)]);
    let outcome = online("hf_x");
    outcome.exits(0).complains(&["pipeline `open`", "accepts the access token", "accept its terms"]);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    // With an authorised token it is downloaded.
    let source = dir.path("source");
    pipeline::write(&source, CENTROID, &pipeline::segmentation(4.0, true));
    for file in ["config.yaml", "segmentation/model.safetensors", "embedding/model.safetensors"] {
        server.put(file, &std::fs::read(source.join(file)).unwrap());
    }
    let outcome = online("hf_x");
    let found: Value = serde_json::from_str(&outcome.exits(0).without_complaint().stdout).unwrap();
    let version = serde_json::json!({"pipeline": pipelines::DEFAULT, "revision": "c0ffee"});
    assert_eq!(found["diarization"], version);
}

#[test]
fn models_lists_diarization_pipelines() {
    let dir = Dir::new();
    let line = |name: &str, args: &str| {
        let outcome = dir.diarist(&format!("models {args}")).run();
        let found = outcome.stdout.lines().find(|line| line.starts_with(name)).map(str::to_string);
        found.unwrap_or_else(|| panic!("no {name} in {}", outcome.stdout))
    };
    assert!(line("open ", "").contains(" -  pyannote/segmentation-3.0 (MIT), 3D-Speaker's CAM++ (Apache-2.0)"));
    assert!(line("auto ", "").contains(" -  the default"));
    dir.networks("models/open");
    for name in ["open ", "auto "] {
        assert!(line(name, "--model-dir models").contains(" yes "), "{name}");
    }
}

/// CAM++ with random weights: embeddings of dimension 192, which are not comparable with ResNet34's.
#[test]
fn embeddings_of_campplus_are_written_and_enrolled() {
    let dir = Dir::new();
    dir.speech("talk.wav", 6.0);
    dir.speech("known/Anna Berg.wav", 6.0);
    dir.networks("model");
    std::fs::remove_file(dir.path("model/embedding/model.safetensors")).unwrap();
    // The sizes of the published network.
    let case = serde_json::json!({"seed": 701, "sizes": {"feat_dim": 80, "embedding_size": 192}});
    dir.write("model/embedding/campplus.safetensors", campplus::file(&case, &campplus::tensors(&case)));
    let args = "--diarize-model model --num-speakers 1 --speaker-embeddings";
    let (found, stderr) = dir.diarized(args);
    assert_eq!(stderr, "");
    assert_eq!(found["speaker_embeddings"]["SPEAKER_00"].as_array().unwrap().len(), 192);
    let (found, _) = dir.diarized(&format!("{args} --speakers known"));
    assert!(found["turns"].as_array().unwrap().iter().all(|turn| turn["speaker"] == "Anna Berg"), "{found}");
    assert_eq!(found["speaker_embeddings"]["Anna Berg"].as_array().unwrap().len(), 192);
    // Enrolled embeddings of another network are refused when the engine is built.
    let build = |gallery: Gallery| {
        let engine =
            Engine::builder().device(Device::Cpu).diarizer(dir.path("model").to_str().unwrap()).gallery(gallery);
        engine.build().map(drop).map_err(|error| error.to_string())
    };
    let of_size = |size: usize| Gallery::new(vec![("Anna".into(), vec![1.0; size])]).unwrap();
    assert_eq!(build(of_size(192)), Ok(()));
    assert_eq!(
        build(of_size(192).with_network("3D-Speaker CAM++")),
        Ok(()),
        "the name that the least likeness is known by"
    );
    let error = build(of_size(256)).unwrap_err();
    assert!(error.contains("have 256 numbers") && error.contains("192 and come from 3D-Speaker CAM++"), "{error}");
    let error = build(of_size(192).with_network("WeSpeaker ResNet34")).unwrap_err();
    assert!(error.contains("come from WeSpeaker ResNet34"), "{error}");
}

/// The recipe of the published files, and its revision: the revision of the constants and the checksums of both
/// networks.
#[test]
fn published_files_are_named_with_their_checksums() {
    let dir = Dir::new();
    let hub = Hub { model_dir: Some(dir.path("models")), cache: None, network: Network::Forbidden, ..Hub::from_env() };
    assert_eq!(hub.find_diarizer(OPEN).unwrap(), None);
    let [segmentation, embedding] = open::PARTS.map(|part| part.sources[0].sha256);
    let revision = format!("{}-{}-{}", constants::REVISION, &segmentation[..8], &embedding[..8]);
    let files = open::PARTS.map(|part| (dir.path(part.folder), part.sources[0]));
    let DiarizerSource::Recipe(recipe) = open::of_files(files[0].clone(), files[1].clone()) else {
        panic!("no recipe")
    };
    assert_eq!((recipe.version.pipeline.as_str(), recipe.version.revision), ("open", Some(revision)));
    assert_eq!(recipe.segmentation, Location::Local(dir.path("segmentation")));
    assert!(!Path::new("models").join("open").exists());
}
