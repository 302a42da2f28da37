//! Tests `tests/gpu.sh` without a GPU: it runs the programs of this build on the emulated driver.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::driver::machine;

/// Makes a folder like that of `tests/gpu-pack.sh`.
fn pack(folder: &Path, bench: &Path) {
    symlink(env!("CARGO_BIN_EXE_diarist"), folder.join("diarist")).unwrap();
    symlink(bench, folder.join("diarist-bench")).unwrap();
    symlink(std::env::current_exe().unwrap(), folder.join("cuda-tests")).unwrap();
    fs::write(folder.join("commit"), "0123abc\n").unwrap();
    // already built; the script only checks whether it is up to date
    symlink(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator"), folder.join("emulator")).unwrap();
}

/// Whether the driver is the emulated one, which this builds. On a GPU the script itself runs these tests, so they are
/// skipped.
fn emulated() -> bool {
    machine().is_emulated()
}

fn run(folder: &Path, args: &[&str]) -> (Output, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu.sh");
    let mut command = Command::new("bash");
    command.arg(script).args(["--emulator"]).args(args).arg(folder);
    command.env("OUT", folder.join("out")).env_remove("DIARIST_CUDA_MODULE");
    let output = command.output().unwrap();
    let output_text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, output_text)
}

#[test]
#[ignore = "needs a C++ compiler"]
fn gpu_script_runs_every_part() {
    if !emulated() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    pack(folder.path(), Path::new(env!("CARGO_BIN_EXE_diarist-bench")));
    let (output, output_text) = run(folder.path(), &["--part", "check", "--part", "bench", "--part", "sanitizer"]);
    assert!(output.status.success(), "{output_text}");
    for line in [
        "demo: GPU = CPU",
        "tests ",
        "memcheck ",
        "bench-micro ",
        "bench-micro-hour ",
        "bench-micro-align ",
        "bench-micro-diarize ",
        "time ",
    ] {
        assert!(output_text.contains(&format!("\n{line}")), "no {line:?} in {output_text}");
    }
    let result = fs::read_to_string(folder.path().join("out/CUDA-emulator.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!((&result["card"], &result["commit"]), (&"CUDA emulator".into(), &"0123abc".into()));
    for run in ["micro", "micro-hour", "micro-align", "micro-diarize"] {
        assert!(result["runs"][run]["times_real_time"].as_f64().is_some_and(|x| x > 0.0), "{run}: {result:#}");
    }
}

/// The output names a program that fails or is missing, and the exit status is not 0.
#[test]
#[ignore = "needs a C++ compiler"]
fn gpu_script_reports_failures() {
    if !emulated() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    pack(folder.path(), Path::new("/bin/false"));
    let (output, output_text) = run(folder.path(), &["--part", "bench"]);
    assert_eq!(output.status.code(), Some(1), "{output_text}");
    assert!(output_text.contains("bench-micro                  FAILED: exit status 1"), "{output_text}");
    assert!(!folder.path().join("out/bench-micro.json").exists());

    fs::remove_file(folder.path().join("diarist-bench")).unwrap();
    let (output, output_text) = run(folder.path(), &["--part", "bench"]);
    assert_eq!(output.status.code(), Some(1), "{output_text}");
    assert!(output_text.contains("bench-micro-hour             FAILED: exit status 127"), "{output_text}");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu.sh");
    let output = Command::new("bash").arg(script).args(["--part", "all"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
