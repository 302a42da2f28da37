//! The self-test of the stand-in for the CUDA driver (`tests/cuda-emulator`): kernels that are right give what a plain loop
//! gives, and each mistake that a GPU punishes is caught, under several orders of threads and blocks.

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
    // A program that checked nothing would succeed, too.
    assert!(text.contains(" checks, 0 failed"), "{text}");
}
