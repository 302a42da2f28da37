//! Runs the self-test of the emulated CUDA driver (`tests/cuda-emulator`): correct kernels give the results of plain
//! loops, and each kind of mistake is detected, under several orders of threads and blocks.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs a C++ compiler"]
fn needs_cxx_good_kernels_pass_and_bad_ones_are_caught() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("sh")
        .arg(root.join("tests/cuda-emulator/selftest/run.sh"))
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator-selftest"))
        .output()
        .expect("a shell");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    // The exit status alone would also be 0 if nothing was checked.
    assert!(text.contains(" checks, 0 failed"), "{text}");
}
