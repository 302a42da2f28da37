//! Concurrent downloads of one model by several processes and threads: only one transfers it.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use diarist::hub::{Fetching, Hub, Network};

use crate::dsl::{Dir, Run};
use crate::server::Server;

pub const WEIGHTS: &str = "model.safetensors";
const WAITING: &str = "waiting for another process that is fetching openai/whisper-tiny";

/// A hub that serves the built-in model as every repository.
pub fn server() -> Server {
    let model = diarist::assets::MODEL;
    Server::new(&[
        ("config.json", model.config.as_bytes()),
        ("generation_config.json", model.generation_config.as_bytes()),
        ("preprocessor_config.json", model.preprocessor_config.as_bytes()),
        ("tokenizer.json", model.tokenizer.as_bytes()),
        (WEIGHTS, model.weights),
    ])
}

/// The same hub, but the weights take about three seconds.
fn slow_server() -> Server {
    let server = server();
    server.slow_down(Duration::from_millis(3000) / (diarist::assets::MODEL.weights.len() >> 14) as u32);
    server
}

pub fn hub(server: &Server, cache: &Path) -> Hub {
    Hub {
        model_dir: None,
        network: Network::Allowed,
        cache: Some(cache.to_path_buf()),
        whisper_cache: None,
        torch_cache: Some(cache.join("torch")),
        bundles: format!("{}/bundles", server.endpoint),
        endpoint: server.endpoint.clone(),
        token: None,
        retry_pause: Duration::from_millis(5),
        ..Hub::from_env()
    }
}

/// A worker in `dir` that loads `tiny` and ends, since its stdin is empty. `home` is the folder of the cache.
pub fn worker(dir: &Dir, server: &Server, home: &Path) -> Run {
    let run = dir.diarist("worker --model tiny --device cpu").env("HF_HOME", home).env("HF_HUB_OFFLINE", "0");
    run.env("HF_ENDPOINT", &server.endpoint)
}

#[test]
fn two_processes_make_one_transfer() {
    let (server, dirs) = (slow_server(), [Dir::new(), Dir::new()]);
    let home = dirs[0].path("cache");
    let mut first = worker(&dirs[0], &server, &home).start();
    first.until("the transfer", || server.sent(WEIGHTS) > 0);
    let mut second = worker(&dirs[1], &server, &home).start();
    second.until_told(WAITING);
    first.wait().exits(0).without_complaint();
    second.wait().exits(0).complains(&[WAITING]);
    assert_eq!(server.offsets(WEIGHTS), [0]);
    assert_eq!(server.sent(WEIGHTS), diarist::assets::MODEL.weights.len());
    assert_eq!(server.offsets("config.json"), [0]);
}

#[test]
fn a_process_that_waits_can_be_interrupted() {
    let (server, dirs) = (slow_server(), [Dir::new(), Dir::new()]);
    let home = dirs[0].path("cache");
    dirs[1].silence("talk.wav", 1.0);
    let mut first = worker(&dirs[0], &server, &home).start();
    first.until("the transfer", || server.sent(WEIGHTS) > 0);
    let run = dirs[1].diarist("transcribe talk.wav --model tiny --no-align").env("HF_HOME", &home);
    let mut second = run.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", &server.endpoint).start();
    second.until_told(WAITING);
    second.interrupt();
    second.wait().exits(130);
    first.wait().exits(0);
    assert_eq!(server.offsets(WEIGHTS), [0]);
}

#[test]
fn the_next_process_resumes_the_download_of_a_killed_one() {
    let (server, dirs) = (slow_server(), [Dir::new(), Dir::new()]);
    let home = dirs[0].path("cache");
    let mut first = worker(&dirs[0], &server, &home).start();
    first.until("the transfer", || server.sent(WEIGHTS) > 1 << 16);
    let mut second = worker(&dirs[1], &server, &home).start();
    second.until_told(WAITING);
    first.kill();
    second.wait().exits(0);
    let offsets = server.offsets(WEIGHTS);
    assert!(matches!(offsets[..], [0, from] if from > 0), "{offsets:?}");
}

#[test]
fn two_threads_make_one_transfer() {
    let (server, cache) = (slow_server(), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let obtain = |name: &'static str| {
        let mut waited = false;
        let mut watch = |state: &Fetching| {
            waited |= state.waiting;
            ControlFlow::Continue(())
        };
        match name {
            "tiny" => drop(hub.obtain(name, &mut watch).unwrap()),
            bundle => drop(hub.obtain_aligner(bundle, &mut watch).unwrap()),
        }
        waited
    };
    let waited = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| obtain("tiny")));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(waited.iter().filter(|waited| **waited).count(), 1);
    assert_eq!(server.offsets(WEIGHTS), [0]);
    let name = "wav2vec2_fairseq_base_ls960_asr_ls960.pth";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wav2vec2/bundle-group_norm.pth");
    let bundles = Server::new(&[(name, &std::fs::read(file).unwrap())]);
    bundles.slow_down(Duration::from_millis(50));
    let hub = self::hub(&bundles, cache.path());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| obtain_bundle(&hub));
        }
    });
    assert_eq!(bundles.offsets(name), [0]);
}

fn obtain_bundle(hub: &Hub) {
    hub.obtain_aligner("WAV2VEC2_ASR_BASE_960H", &mut |_| ControlFlow::Continue(())).unwrap();
}

#[test]
fn the_token_of_the_command_line_is_trimmed() {
    let (server, dir) = (server(), Dir::new());
    let home = dir.path("cache");
    let run = worker(&dir, &server, &home).env("HF_TOKEN", "hf_environment").arg("--hf-token").arg(" hf_line\n");
    run.run().exits(0);
    assert!(!server.tokens().is_empty() && server.tokens().iter().all(|token| token == "Bearer hf_line"));
    let (server, home) = (self::server(), dir.path("other"));
    worker(&dir, &server, &home).arg("--hf-token").arg(" ").run().exits(0);
    assert!(server.tokens().is_empty());
}
