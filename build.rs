//! Compiles `kernels/*.cu` into one fat binary where there is an nvcc, and puts it and the sources into the program.
//!
//! nvcc is looked for in `NVCC`, in `CUDA_HOME` and `CUDA_PATH`, and on `PATH`. Without one the build goes on: the
//! program then carries only the sources, and compiles them with NVRTC when it first meets a GPU. `DIARIST_CUDA=off`
//! leaves nvcc alone even if it is there; `DIARIST_CUDA_ARCHS=sm_90a` (a comma list of `sm_NN` and `compute_NN`) compiles
//! for fewer cards, in less time.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A100, A10G and RTX 30, L4 and RTX 40, H100 and H200; PTX for whatever comes later.
const ARCHS: &str = "sm_80,sm_86,sm_89,sm_90a,compute_90";

fn main() -> ExitCode {
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH", "DIARIST_CUDA", "DIARIST_CUDA_ARCHS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=kernels");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("kernels");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let sources = sources(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let unity: String =
        sources.iter().filter(|name| name.ends_with(".cu")).map(|name| format!("#include \"{name}\"\n")).collect();
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))
    };
    write("kernels.cu", unity.as_bytes())?;
    let mut table = String::from("&[\n");
    for name in &sources {
        // A change to any kernel must reach the compiler, not only a file that came or went.
        println!("cargo::rerun-if-changed=kernels/{name}");
        let path = folder.join(name);
        writeln!(table, "    ({name:?}, include_str!({:?})),", path.display().to_string())
            .map_err(|e| e.to_string())?;
    }
    table.push(']');
    write("sources.rs", table.as_bytes())?;

    let fatbin = out.join("kernels.fatbin");
    match nvcc()? {
        Some(nvcc) if !unity.is_empty() => {
            let report = compile(&nvcc, &folder, &out.join("kernels.cu"), &fatbin)?;
            // Registers and spills of every kernel, as ptxas tells them; `.ci/kernels` makes a table of the same.
            write("ptxas.txt", report.as_bytes())
        }
        _ => write("kernels.fatbin", b""),
    }
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|e| format!("{name}: {e}"))
}

/// Names of all kernel files, sorted, so that the same checkout makes the same binary everywhere.
fn sources(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".cu") || name.ends_with(".cuh") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The compiler, if there is one and it is wanted.
fn nvcc() -> Result<Option<PathBuf>, String> {
    if env::var("DIARIST_CUDA").is_ok_and(|value| value == "off") {
        return Ok(None);
    }
    let file = |path: PathBuf| path.is_file().then_some(path);
    let program = format!("nvcc{}", env::consts::EXE_SUFFIX);
    if let Some(named) = env::var_os("NVCC").filter(|value| !value.is_empty()) {
        let missing = || format!("NVCC={} is not a file; unset it to build without", named.to_string_lossy());
        return file(PathBuf::from(&named)).map(Some).ok_or_else(missing);
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
    let mut places: Vec<PathBuf> = homes.map(|home| PathBuf::from(home).join("bin")).collect();
    places.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    Ok(places.into_iter().find_map(|place| file(place.join(&program))))
}

/// Compiles the file that includes every kernel; what ptxas says about them.
fn compile(nvcc: &Path, include: &Path, source: &Path, fatbin: &Path) -> Result<String, String> {
    let archs = env::var("DIARIST_CUDA_ARCHS").unwrap_or_else(|_| ARCHS.into());
    let mut command = Command::new(nvcc);
    command.args(["-fatbin", "-std=c++17", "-O3", "-lineinfo", "--threads", "0", "-Xptxas", "-v"]);
    for arch in archs.split([',', ';', ' ']).filter(|arch| !arch.is_empty()) {
        let Some(number) = arch.strip_prefix("sm_").or_else(|| arch.strip_prefix("compute_")) else {
            return Err(format!("DIARIST_CUDA_ARCHS: `{arch}` is neither sm_NN nor compute_NN; for example {ARCHS}"));
        };
        command.arg(format!("-gencode=arch=compute_{number},code={arch}"));
    }
    command.arg("-I").arg(include).arg("-o").arg(fatbin).arg(source);
    let output = command.output().map_err(|e| format!("{}: {e}", nvcc.display()))?;
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    said.push_str(&String::from_utf8_lossy(&output.stdout));
    Err(format!("{command:?} failed ({}); DIARIST_CUDA=off builds without it.\n{said}", output.status))
}
