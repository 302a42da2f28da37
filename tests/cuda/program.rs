//! The command-line programs on the emulated driver.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use diarist::audio::{DecodeOptions, decode_bytes, ignore_progress};

use crate::driver::{Machine, machine};

/// The emulated driver and its folder, to run other programs with. `None` if the tests run on a GPU.
fn emulator() -> Option<(Machine, PathBuf)> {
    let machine = machine();
    let folder = machine.folder()?.to_path_buf();
    Some((machine, folder))
}

/// A program to be run on the emulated driver in `folder`.
struct Run(Command);

impl Run {
    fn of(program: &str, driver: &Path, folder: &Path, args: &str) -> Self {
        let mut command = Command::new(program);
        command.args(args.split_whitespace()).current_dir(folder).stdin(Stdio::null());
        command.env("LD_LIBRARY_PATH", driver);
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", folder.join("home"));
        for name in ["RUST_LOG", "DIARIST_SYNC", "NVTX_INJECTION64_PATH", "CUDA_VISIBLE_DEVICES"] {
            command.env_remove(name);
        }
        // Any file will do: the emulator has the kernels compiled in.
        command.env("DIARIST_CUDA_MODULE", Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        Run(command)
    }

    fn diarist(driver: &Path, folder: &Path, args: &str) -> Self {
        Self::of(env!("CARGO_BIN_EXE_diarist"), driver, folder, args)
    }

    fn with(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it and returns the exit status and stderr.
    fn run(mut self) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.0.output().unwrap();
        let text = String::from_utf8_lossy(&stderr).into_owned();
        assert!(!text.contains("panicked"), "{text}");
        (status.code(), text)
    }
}

/// Writes `seconds` of the sample from second `from` on.
fn speech(path: &Path, from: usize, seconds: usize) {
    let sample =
        decode_bytes(diarist::assets::SAMPLE, "sample", &DecodeOptions::default(), ignore_progress).unwrap().samples;
    let (bits_per_sample, sample_format) = (16, hound::SampleFormat::Int);
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample, sample_format };
    let mut file = hound::WavWriter::create(path, spec).unwrap();
    for value in &sample[from * 16_000..(from + seconds) * 16_000] {
        file.write_sample((value * 32_767.0) as i16).unwrap();
    }
    file.finalize().unwrap();
}

const ARGS: &str = "--model builtin --language en --beam_size 1 --chunk_size 5 -f txt -o out";

/// The numbers of the line that the emulator writes at the end of a process, by name.
fn ended(log: &Path) -> impl Fn(&str) -> u64 + use<> {
    let line = std::fs::read_to_string(log).unwrap();
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    move |name: &str| {
        let at = words.iter().position(|word| word == name).unwrap_or_else(|| panic!("{name}: {words:?}"));
        words[at + 1].parse().unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn a_device_that_cannot_be_used_is_refused_with_the_reason() {
    let Some((_machine, driver)) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    speech(&folder.path().join("a.wav"), 0, 1);
    let run = |args: &str, env: &[(&str, &str)], words: &[&str]| {
        let mut run = Run::diarist(&driver, folder.path(), &format!("transcribe a.wav {ARGS} {args}"));
        for (name, value) in env {
            run = run.with(name, value);
        }
        let (code, text) = run.run();
        assert_eq!(code, Some(2), "{args} {env:?}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{args} {env:?}: {text}");
        assert!(!folder.path().join("out").exists(), "{args} {env:?}: something was done");
    };
    run("--device cuda:1", &[], &["cuda:1", "one GPU: 0"]);
    run("--device cuda --device_index 7", &[], &["cuda:7", "one GPU: 0"]);
    run("--device cuda --batch_size 100000", &[], &["--batch-size", "100000", "1024"]);
    run(
        "--device cuda",
        &[("DIARIST_EMULATOR_ATTRIBUTE", "75:7")],
        &["cuda:0", "compute capability 7.6", "8.0", "--device cpu"],
    );
    run("--device cuda", &[("DIARIST_EMULATOR_FAIL", "module:1:209")], &["cuda:0", "no kernel image", "build"]);
    // Neither the built-in code nor code compiled from the sources can be loaded.
    run(
        "--device cuda",
        &[("DIARIST_EMULATOR_FAIL", "module:1:209"), ("DIARIST_CUDA_MODULE", "")],
        &["cuda:0", "compiled here"],
    );
}

/// A driver that lacks a function the engine needs.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_driver_too_old_is_refused_with_what_it_lacks() {
    let Some((_machine, _)) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("old.c");
    std::fs::write(&source, "int cuInit(unsigned flags) { return (int)flags; }\n").unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    let mut compile = Command::new(compiler);
    compile.args(["-shared", "-fPIC", "-x", "c", "-o"]).arg(folder.path().join("libcuda.so")).arg(&source);
    assert!(compile.status().unwrap().success());
    speech(&folder.path().join("a.wav"), 0, 1);
    let (code, text) =
        Run::diarist(folder.path(), folder.path(), &format!("transcribe a.wav {ARGS} --device cuda")).run();
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("too old") && text.contains("cuCtx") && text.contains("cuda:0"), "{text}");
}

/// If the device is lost, the results of earlier recordings are kept, the error names the current recording, later ones
/// are not tried, and all memory is freed.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_lost_device_fails_one_recording() {
    let Some((_machine, driver)) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (i, name) in ["a.wav", "b.wav", "c.wav"].iter().enumerate() {
        speech(&path(name), 5 * i, 5);
    }
    let run = |files: &str| {
        Run::diarist(&driver, folder.path(), &format!("transcribe {files} {ARGS} --device cuda"))
            .with("DIARIST_EMULATOR_LOG", path("log"))
    };
    let (code, text) = run("a.wav").run();
    assert_eq!(code, Some(0), "{text}");
    let first = std::fs::read_to_string(path("out/a.txt")).unwrap();
    assert!(!first.trim().is_empty());
    let launches = ended(&path("log"))("launches");
    std::fs::remove_dir_all(path("out")).unwrap();

    let (code, text) =
        run("a.wav b.wav c.wav").with("DIARIST_EMULATOR_FAIL", format!("execution:{}:719", launches + 50)).run();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("b.wav") && text.contains("code 719"), "{text}");
    assert!(text.contains("c.wav: not tried, since the device has failed"), "{text}");
    assert_eq!(std::fs::read_to_string(path("out/a.txt")).unwrap(), first);
    assert!(!path("out/b.txt").exists() && !path("out/c.txt").exists());
    let ended = ended(&path("log"));
    assert_eq!((ended("device"), ended("host")), (0, 0), "memory that nobody gave back");
    // The lost device is not used any more.
    assert_eq!(ended("launches"), launches + 50);
}

/// The next recording is decoded while the device works; one that cannot be read does not affect the others.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_next_recording_is_read_in_parallel() {
    let Some((_machine, driver)) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    speech(&path("a.wav"), 0, 5);
    std::fs::write(path("b.wav"), b"no sound").unwrap();
    speech(&path("c.wav"), 10, 5);
    let run = |files: &str, log: &str| {
        Run::diarist(&driver, folder.path(), &format!("transcribe {files} {ARGS} --device cuda --log-level {log}"))
            .run()
    };
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let want = ["a", "c"].map(|name| {
        assert_eq!(run(&format!("{name}.wav"), "error").0, Some(0));
        read(&format!("out/{name}.txt"))
    });
    std::fs::remove_dir_all(path("out")).unwrap();
    let (code, text) = run("a.wav b.wav c.wav", "error");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("b.wav") && !text.contains("not tried"), "{text}");
    assert_eq!(["out/a.txt", "out/c.txt"].map(read), want);

    let (code, text) = run("a.wav c.wav", "info");
    assert_eq!(code, Some(0), "{text}");
    let ended = |stage: &str| -> Vec<usize> {
        let lines = text.lines().enumerate().filter(|(_, line)| line.contains("done") && line.contains(stage));
        lines.map(|(at, _)| at).collect()
    };
    let (audio, asr) = (ended("audio"), ended("asr"));
    assert!(audio.len() >= 2 && asr.len() >= 2 && audio[1] < asr[0], "{text}");
}

/// `--gpu-memory-limit` with a huge batch size: as many chunks at once as fit.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_batch_too_large_for_the_memory_is_made_smaller() {
    let Some((_machine, driver)) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    speech(&path("a.wav"), 0, 15);
    let run = |args: &str| {
        let (code, text) =
            Run::diarist(&driver, folder.path(), &format!("transcribe a.wav {ARGS} --device cuda {args}")).run();
        assert_eq!(code, Some(0), "{text}");
        (std::fs::read_to_string(path("out/a.txt")).unwrap(), text)
    };
    let (want, _) = run("--batch_size 1");
    let (got, _) = run("--batch_size 1024");
    assert_eq!(got, want);
    let (code, text) =
        Run::diarist(&driver, folder.path(), &format!("transcribe a.wav {ARGS} --device cuda --gpu-memory-limit 1M"))
            .run();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("out of device memory") && text.contains("gpu-memory-limit"), "{text}");
}

/// The profiled range contains one stage, once, and nothing else.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_benchmark_profiles_one_stage() {
    let Some((_machine, driver)) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin");
    let log = folder.path().join("log");
    for stage in ["encode", "decode"] {
        let args = format!("--model {} --device cuda --batch 1 --tokens 8 --profile {stage}", model.display());
        let run = Run::of(env!("CARGO_BIN_EXE_diarist-bench"), &driver, folder.path(), &args);
        let (code, text) = run.with("DIARIST_EMULATOR_LOG", &log).run();
        assert_eq!(code, Some(0), "{text}");
        let ended = ended(&log);
        assert_eq!((ended("starts"), ended("stops")), (1, 1), "{stage}");
        // Outside the range there are at least the warm-up run and, for a decode step, the encoder.
        let (profiled, all) = (ended("profiled"), ended("launches"));
        assert!(profiled > 10 && 2 * profiled <= all, "{stage}: {profiled} of {all} launches");
        assert_eq!((ended("device"), ended("host")), (0, 0), "{stage}");
    }
}

/// An injection library that does not exist is ignored silently.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_profiler_that_is_not_there_is_no_error() {
    let Some((_machine, driver)) = emulator() else { return };
    let folder = tempfile::tempdir().unwrap();
    speech(&folder.path().join("a.wav"), 0, 2);
    for profiler in [Path::new("/nowhere/profiler.so"), Path::new("a.wav"), &driver.join("libcuda.so")] {
        let run = Run::diarist(&driver, folder.path(), &format!("transcribe a.wav {ARGS} --device cuda"));
        let (code, text) = run.with("NVTX_INJECTION64_PATH", profiler).run();
        assert_eq!((code, text.contains("profiler")), (Some(0), false), "{text}");
    }
}
