//! Damaged files in model caches: they are downloaded again, once.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use diarist::diarize::recipe::Location;
use diarist::hub::aligners::AlignerSource;
use diarist::hub::{DiarizerSource, Fetching, Hub, Network, Source};
use diarist::{Engine, Error};

use crate::dsl::Dir;
use crate::hub_sharing::{WEIGHTS, hub, server, worker};
use crate::server::{Fault, Server};

/// Fills a cache with the complete model `tiny`; returns the folder of its files.
fn cached(server: &Server, home: &Path) -> PathBuf {
    let found = hub(server, &home.join("hub")).obtain("tiny", &mut |_| ControlFlow::Continue(())).unwrap();
    let Source::Checkpoint(checkpoint) = found else { panic!("built in") };
    assert_eq!(server.offsets(WEIGHTS), [0]);
    checkpoint.path
}

/// Changes the bytes of the blob that the link `file` points to.
fn damage(file: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let blob = file.canonicalize().unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    change(&mut bytes);
    std::fs::write(blob, bytes).unwrap();
}

#[test]
fn a_damaged_file_is_fetched_again_once() {
    let halve = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    for file in [WEIGHTS, "config.json", "tokenizer.json"] {
        let (server, dir) = (server(), Dir::new());
        let home = dir.path("cache");
        let folder = cached(&server, &home);
        damage(folder.join(file), halve);
        let outcome = worker(&dir, &server, &home).run();
        outcome.exits(0).complains(&[file, "is damaged", "fetched again"]);
        assert_eq!(server.offsets(file), [0, 0]);
        let others = [WEIGHTS, "config.json", "tokenizer.json"].into_iter().filter(|other| *other != file);
        assert!(others.into_iter().all(|other| server.offsets(other) == [0]));
        worker(&dir, &server, &home).run().exits(0).without_complaint();
        assert_eq!(server.offsets(file), [0, 0]);
    }
}

#[test]
fn a_damaged_file_is_fetched_again_only_once_per_run() {
    let (server, dir) = (server(), Dir::new());
    let home = dir.path("cache");
    let folder = cached(&server, &home);
    damage(folder.join(WEIGHTS), |bytes| bytes.truncate(1000));
    server.fail(WEIGHTS, &[Fault::FlipByte; 2]);
    let outcome = worker(&dir, &server, &home).run();
    outcome.exits(1).complains(&["arrived damaged twice"]);
    assert_eq!(server.offsets(WEIGHTS), [0, 0, 0]);
    worker(&dir, &server, &home).run().exits(0);
    // Files that match the hub's checksum are not downloaded again, even if they cannot be loaded.
    let model = diarist::assets::MODEL;
    let wrong = Server::new(&[
        ("config.json", model.config.as_bytes()),
        ("tokenizer.json", model.tokenizer.as_bytes()),
        (WEIGHTS, &model.weights[..5000]),
    ]);
    let home = dir.path("other");
    cached(&wrong, &home);
    worker(&dir, &wrong, &home).run().exits(1).complains(&[WEIGHTS, "truncated"]);
    assert_eq!(wrong.offsets(WEIGHTS), [0]);
}

#[test]
fn a_damaged_file_that_cannot_be_fetched_is_named() {
    let (server, dir) = (server(), Dir::new());
    let home = dir.path("cache");
    let folder = cached(&server, &home);
    damage(folder.join(WEIGHTS), |bytes| bytes.truncate(1000));
    let offline = worker(&dir, &server, &home).env("HF_HUB_OFFLINE", "1").run();
    offline.exits(1).complains(&[WEIGHTS, "is damaged (SHA-256", "allow downloads", "delete it"]);
    let unreachable = worker(&dir, &server, &home).env("HF_ENDPOINT", "http://127.0.0.1:9").run();
    unreachable.exits(1).complains(&[WEIGHTS, "is damaged (SHA-256", "run the same command again"]);
    assert_eq!(server.offsets(WEIGHTS), [0]);
}

#[test]
fn the_builder_fetches_damaged_files_and_broken_links_again() {
    let (server, dir) = (server(), Dir::new());
    let home = dir.path("cache");
    let folder = cached(&server, &home);
    let build = || Engine::builder().hub(hub(&server, &home.join("hub"))).model("tiny").build().map(|_| ());
    damage(folder.join(WEIGHTS), |bytes| bytes.truncate(1000));
    build().unwrap();
    assert_eq!(server.offsets(WEIGHTS), [0, 0]);
    std::fs::remove_file(folder.join(WEIGHTS).canonicalize().unwrap()).unwrap();
    build().unwrap();
    assert_eq!(server.offsets(WEIGHTS), [0, 0, 0]);
}

#[test]
fn damaged_networks_of_a_pipeline_are_fetched_again() {
    let config = "pipeline:\n  name: pyannote.audio.pipelines.SpeakerDiarization\n  params:\n    clustering: VBxClustering\n    \
                  segmentation: $model/segmentation\n    embedding: $model/embedding\n    plda: $model/plda\n";
    let names =
        ["segmentation/pytorch_model.bin", "embedding/pytorch_model.bin", "plda/plda.npz", "plda/xvec_transform.npz"];
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
    files.push(("config.yaml", config.as_bytes()));
    let (server, cache) = (Server::new(&files), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let load = |source: &DiarizerSource| {
        let DiarizerSource::Recipe(recipe) = source else { panic!("built in") };
        let Location::Local(folder) = &recipe.embedding else { panic!("not here") };
        let file = folder.join("pytorch_model.bin");
        match std::fs::read(&file).unwrap() == names[1].as_bytes() {
            true => Ok(file),
            false => Err(Error::model(&file, "not what was published")),
        }
    };
    let model = "pyannote/speaker-diarization-community-1";
    let file = hub.obtain_diarizer_and_load(model, &mut |_| ControlFlow::Continue(()), load).unwrap();
    damage(file, |bytes| bytes[0] ^= 1);
    hub.obtain_diarizer_and_load(model, &mut |_| ControlFlow::Continue(()), load).unwrap();
    assert_eq!((server.offsets(names[0]), server.offsets(names[1])), (vec![0], vec![0, 0]));
}

#[test]
fn a_download_that_was_killed_before_its_check_is_checked_later() {
    let (server, dir) = (server(), Dir::new());
    let home = dir.path("cache");
    let folder = cached(&server, &home);
    damage(folder.join(WEIGHTS), |bytes| bytes[5000] ^= 1);
    let commit = folder.file_name().unwrap().to_str().unwrap().to_string();
    dir.write(&format!("cache/hub/.locks/models--openai--whisper-tiny/{commit}.diarist-unfinished"), "");
    worker(&dir, &server, &home).run().exits(0).complains(&[WEIGHTS, "is damaged"]);
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), diarist::assets::MODEL.weights);
    worker(&dir, &server, &home).run().exits(0).without_complaint();
}

/// Obtains an aligner and opens its weights.
fn load_aligner(hub: &Hub, model: &str) -> diarist::Result<PathBuf> {
    hub.obtain_aligner_and_load(model, &mut |_: &Fetching| ControlFlow::Continue(()), |source| {
        let file = match source {
            AlignerSource::Folder(folder) => folder.join(WEIGHTS),
            AlignerSource::Bundle(_, file) => file.clone(),
            AlignerSource::Builtin => panic!("built in"),
        };
        diarist::engine::weights::Weights::open_file(&file)?;
        Ok(file)
    })
}

#[test]
fn damaged_aligners_are_fetched_again() {
    let bundle = "wav2vec2_fairseq_base_ls960_asr_ls960.pth";
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wav2vec2/bundle-group_norm.pth");
    let checkpoint = std::fs::read(data).unwrap();
    let weights = diarist::assets::MODEL.weights;
    let (server, cache) = (
        Server::new(&[(bundle, &checkpoint), (WEIGHTS, weights), ("config.json", b"{}"), ("vocab.json", b"{}")]),
        tempfile::tempdir().unwrap(),
    );
    let mut hub = hub(&server, cache.path());
    for (model, file, bytes) in [("WAV2VEC2_ASR_BASE_960H", bundle, &checkpoint[..]), ("an/aligner", WEIGHTS, weights)]
    {
        let path = load_aligner(&hub, model).unwrap();
        damage(path.clone(), |bytes| bytes.truncate(1000));
        assert_eq!(load_aligner(&hub, model).unwrap(), path);
        assert_eq!((server.offsets(file), std::fs::read(&path).unwrap()), (vec![0, 0], bytes.to_vec()));
        damage(path.clone(), |bytes| bytes.truncate(1000));
        hub.network = Network::Forbidden;
        let error = load_aligner(&hub, model).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("is damaged") && error.contains("allow downloads"), "{error}");
        hub.network = Network::Allowed;
    }
    // A file given by path belongs to the user, and is not replaced.
    let own = cache.path().join(bundle);
    std::fs::write(&own, &checkpoint[..1000]).unwrap();
    load_aligner(&hub, own.to_str().unwrap()).unwrap_err();
    assert_eq!(server.offsets(bundle), [0, 0]);
    assert_eq!(std::fs::read(own).unwrap().len(), 1000);
}

#[test]
fn a_damaged_file_of_openai_whisper_is_replaced_by_the_hub() {
    let (server, dir) = (server(), Dir::new());
    let home = dir.path("cache");
    dir.write("xdg/whisper/tiny.pt", "");
    let file = dir.path("xdg/whisper/tiny.pt");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats/openai.pt");
    // Without the key `n_vocab` the checkpoint has no valid sizes.
    let mut bytes = std::fs::read(data).unwrap();
    let at = bytes.windows(7).position(|part| part == b"n_vocab").expect("the sizes");
    bytes[at] = b'x';
    std::fs::write(&file, &bytes).unwrap();
    let run = || worker(&dir, &server, &home).env("XDG_CACHE_HOME", dir.path("xdg"));
    run().run().exits(0).complains(&["tiny.pt", "is damaged", "taken from the hub"]);
    assert_eq!((server.offsets(WEIGHTS), std::fs::read(&file).unwrap()), (vec![0], bytes));
}
