//! Checks of the source tree: file and function lengths, layering (device code, `unsafe`), links, and reasons of
//! ignored tests.

#[path = "layout/constants.rs"]
mod constants;
#[path = "layout/imports.rs"]
mod imports;

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Folders and files that must not contain device-specific code or build options: models and stages are generic over
/// the backend.
const DEVICE_FREE: [&str; 21] = [
    "src/models",
    "src/align",
    "src/audio",
    "src/channels",
    "src/diarize",
    "src/features",
    "src/score",
    "src/vad",
    "src/asr",
    "src/output",
    "src/pipeline",
    "src/pipeline.rs",
    "src/assignment.rs",
    "src/config.rs",
    "src/engine/backend",
    "src/engine/cluster",
    "src/engine/cluster.rs",
    "src/engine/ops.rs",
    "src/engine/weights",
    "src/engine/weights.rs",
    "src/types.rs",
];

/// Where `unsafe` is allowed: memory maps of weight files, and calls of the CUDA driver.
const UNSAFE: [&str; 2] = ["src/engine/weights.rs", "src/engine/cuda/"];

const MAX_LINES: usize = 400;
const MAX_FUNCTION: usize = 60;

/// A text file of the checkout.
struct File {
    /// Path relative to the root, with `/`.
    name: String,
    text: String,
}

/// All files below `folder` (or that file itself) with one of these extensions, sorted.
fn files(folder: &str, endings: &[&str]) -> Vec<File> {
    let mut out = Vec::new();
    let mut paths = vec![Path::new(ROOT).join(folder)];
    while let Some(path) = paths.pop() {
        let name = name(&path);
        if path.is_dir() {
            let built = matches!(path.file_name().and_then(|n| n.to_str()), Some("target" | "corpus" | "artifacts"));
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            paths.extend(entries.filter(|_| !built));
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            out.push(File { text: fs::read_to_string(&path).unwrap(), name });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!out.is_empty(), "{folder} has none of {endings:?}");
    out
}

fn name(path: &Path) -> String {
    path.strip_prefix(ROOT).unwrap().to_string_lossy().replace('\\', "/")
}

fn rust() -> Vec<File> {
    ["src", "tests", "benches", "fuzz"].iter().flat_map(|folder| files(folder, &[".rs"])).collect()
}

fn markdown() -> Vec<File> {
    let mut all =
        vec![File { name: "README.md".into(), text: fs::read_to_string(format!("{ROOT}/README.md")).unwrap() }];
    for folder in ["assets", "benches", "docs", "fuzz", "tests", "tuning"] {
        all.extend(files(folder, &[".md"]));
    }
    all
}

#[track_caller]
fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn files_have_at_most_400_lines() {
    let long = rust().into_iter().filter(|file| file.text.lines().count() > MAX_LINES).map(|file| file.name);
    assert_none(&format!("files of more than {MAX_LINES} lines"), &long.collect::<Vec<_>>());
}

/// `src/pipeline.rs` is the overview of the stages.
#[test]
fn the_pipeline_has_at_most_120_lines() {
    let lines = files("src/pipeline.rs", &[".rs"])[0].text.lines().count();
    assert!(lines <= 120, "src/pipeline.rs has {lines} lines");
}

#[test]
fn functions_have_at_most_60_lines() {
    let mut long = Vec::new();
    for file in files("src", &[".rs"]) {
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            // In rustfmt's style the closing brace has the indentation of the function.
            let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
            let modifiers = ["pub", "pub(super)", "pub(crate)", "const", "unsafe"];
            let is_function = rest.split(' ').find(|word| !modifiers.contains(word)) == Some("fn");
            if !is_function || line.ends_with([';', '}']) {
                continue;
            }
            // A trait method without a body ends with its arguments.
            let ends = |line: &str| {
                line == format!("{indent}}}") || (line.starts_with(&format!("{indent})")) && line.ends_with(';'))
            };
            let length = lines[at..].iter().position(|line| ends(line)).expect("an end") + 1;
            if length > MAX_FUNCTION {
                long.push(format!("{}:{}: {length} lines: {rest}", file.name, at + 1));
            }
        }
    }
    assert_none(&format!("functions of more than {MAX_FUNCTION} lines"), &long);
}

#[test]
fn models_and_stages_contain_no_device_code() {
    let mut found = Vec::new();
    for file in DEVICE_FREE.iter().flat_map(|place| files(place, &[".rs"])) {
        let is_engine = file.name.starts_with("src/engine/");
        // Unit tests of the engine's own traits run on the CPU.
        let tests = if is_engine { "#[cfg(test)]" } else { "\0" };
        for (number, line) in file.text.split(tests).next().unwrap_or_default().lines().enumerate() {
            // Comments may mention devices.
            let code = line.split("//").next().unwrap_or_default().to_lowercase();
            let device = ["cuda", "cfg(feature", "cfg!(", "*const ", "*mut ", "engine::cpu"];
            // The traits compare a device with its host.
            let device = device.into_iter().chain((!is_engine).then_some("typeid"));
            if device.clone().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {}", file.name, number + 1, line.trim()));
            }
        }
    }
    assert_none("devices in models or stages", &found);
}

#[test]
fn unsafe_is_only_in_allowed_places() {
    let files =
        files("src", &[".rs"]).into_iter().filter(|file| !UNSAFE.iter().any(|place| file.name.starts_with(place)));
    let code = |line: &&str| !line.trim_start().starts_with("//") && !line.contains("forbid(unsafe_code)");
    let unsafe_code = |file: &File| file.text.lines().filter(code).any(|line| line.contains("unsafe"));
    let found: Vec<String> = files.filter(unsafe_code).map(|file| file.name).collect();
    assert_none("unsafe code in other places", &found);
}

/// Ops that run in the kernel file of another op, because they are the same computation.
const SHARED_KERNELS: [(&str, &str); 8] = [
    ("attention_within", "attention"),
    ("clip_conv2d", "clip_conv"),
    ("conv1d_valid", "conv1d"),
    ("layer_norm_gelu", "layer_norm"),
    ("logits", "linear_step"),
    ("overlap_pool_norm", "pool_norm"),
    ("reconstruct", "speaker_frames"),
    ("speaker_count", "speaker_frames"),
];
/// Kernel files without an op of their name: the product of few rows (`linear`), and the benchmark of the memory.
const OTHER_KERNELS: [&str; 3] = ["linear_step", "read_rate", "speaker_frames"];
/// Functions beside the traits that prepare weights or constants on the host.
const PREPARED: [&str; 4] = ["clip_filter", "clip_weight", "fbank_plan", "filter"];

/// The ops of all families: the shape-checked functions beside the traits.
fn ops() -> Vec<String> {
    let families = files("src/engine/backend", &[".rs"]).into_iter().chain(files("src/engine/cluster.rs", &[".rs"]));
    let texts: Vec<String> = families.map(|file| file.text).collect();
    let name = |line: &str| {
        let (name, rest) = line.strip_prefix("pub fn ")?.split_once(['<', '('])?;
        let is_op = rest.starts_with("B: ") || rest.starts_with("be: &impl Cluster");
        (is_op && !PREPARED.contains(&name)).then(|| name.to_owned())
    };
    texts.iter().flat_map(|text| text.lines().filter_map(name).collect::<Vec<_>>()).collect()
}

/// An op has one name in its trait, in both backends, in its kernel, in the kernels' table, and in its tests.
#[test]
fn every_op_has_one_name_everywhere() {
    let ops = ops();
    assert!(ops.len() >= 45, "the list of ops is not read right: {ops:?}");
    let text = |folder: &str| files(folder, &[".rs"]).into_iter().map(|file| file.text).collect::<String>();
    let (cpu, cuda, host) = (text("src/engine/cpu"), text("src/engine/cuda"), text("src/engine/cluster"));
    let tests = text("tests/ops") + &text("tests/cuda");
    let table = files("kernels/README.md", &[".md"]).remove(0).text;
    let kernels: Vec<String> = files("kernels", &[".cu"])
        .iter()
        .map(|file| file.name.trim_start_matches("kernels/").trim_end_matches(".cu").to_owned())
        .collect();
    let mut missing = Vec::new();
    for op in &ops {
        let shared = SHARED_KERNELS.iter().find(|(name, _)| name == op).map(|(_, kernel)| *kernel);
        let kernel = shared.unwrap_or(op);
        if !kernels.iter().any(|name| name == kernel) {
            missing.push(format!("kernels/{kernel}.cu"));
        }
        if !table.contains(&format!("`{op}`")) && !table.contains(&format!("`{op}.cu`")) {
            missing.push(format!("`{op}` in kernels/README.md"));
        }
        let function = format!("fn {op}");
        let has = |text: &str| text.contains(&format!("{function}(")) || text.contains(&format!("{function}<"));
        if !has(&cpu) && !has(&host) {
            missing.push(format!("{function} of the CPU"));
        }
        if !has(&cuda) {
            missing.push(format!("{function} of CUDA"));
        }
        // `advance_search` is tested by comparing complete beam searches with CTranslate2's.
        let call = |before: &str| tests.contains(&format!("{before}{op}("));
        if ![" ", ":", ".", "("].into_iter().any(call) && op != "advance_search" {
            missing.push(format!("a test of {op}"));
        }
    }
    assert_none("ops without", &missing);
    let named = |kernel: &String| ops.contains(kernel) || OTHER_KERNELS.contains(&kernel.as_str());
    assert_none("kernels that are named after no op", &kernels.into_iter().filter(|k| !named(k)).collect::<Vec<_>>());
    let benches = files("benches/ops.rs", &[".rs"]).remove(0).text;
    let groups = benches.split("benchmark_group(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let groups: Vec<String> = groups.map(str::to_owned).filter(|name| name != "peak").collect();
    assert!(groups.len() >= 8, "the benchmarks are not read right: {groups:?}");
    assert_none(
        "benchmarks that are named after no op",
        &groups.into_iter().filter(|g| !ops.contains(g)).collect::<Vec<_>>(),
    );
}

#[test]
fn the_module_maps_are_complete() {
    let library = files("src/lib.rs", &[".rs"]).remove(0).text;
    let map = files("docs/architecture.md", &[".md"]).remove(0).text;
    let docs: String = library.lines().filter(|line| line.starts_with("//!")).collect();
    let modules = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut missing = Vec::new();
    for module in modules {
        if !docs.contains(&format!("[`{module}`]")) {
            missing.push(format!("{module} in the map of src/lib.rs"));
        }
        let stage = DEVICE_FREE.iter().any(|place| *place == format!("src/{module}"));
        if stage && !map.contains(&format!("](../src/{module})")) {
            missing.push(format!("src/{module} in the map of docs/architecture.md"));
        }
    }
    assert_none("places that a map leaves out", &missing);
}

/// Comments name source files as `engine/..` and kernels by file name; both must exist.
#[test]
fn files_named_in_comments_exist() {
    let kernels: Vec<String> = files("kernels", &[".cu", ".cuh"]).into_iter().map(|file| file.name).collect();
    let mut missing = Vec::new();
    let all = ["src", "kernels", "tests", "docs"]
        .into_iter()
        .flat_map(|folder| files(folder, &[".rs", ".cu", ".cuh", ".md"]));
    for file in all.filter(|file| !["tests/layout.rs", "src/engine/cuda/module.rs"].contains(&file.name.as_str())) {
        let word = |c: char| !(c.is_ascii_alphanumeric() || "_./".contains(c));
        for name in file.text.split(word).map(|name| name.trim_matches(['.', '/'])) {
            let is_engine = name.starts_with("engine/") && name.ends_with(".rs");
            if is_engine && !Path::new(ROOT).join("src").join(name).exists() {
                missing.push(format!("{}: {name}", file.name));
            }
            let is_kernel =
                file.name.starts_with("src/engine/cuda/") && (name.ends_with(".cu") || name.ends_with(".cuh"));
            if is_kernel
                && !kernels.iter().any(|kernel| kernel.ends_with(&format!("/{}", name.rsplit('/').next().unwrap())))
            {
                missing.push(format!("{}: {name}", file.name));
            }
        }
    }
    assert_none("files that do not exist", &missing);
}

#[test]
fn links_and_paths_in_texts_exist() {
    let mut broken = Vec::new();
    for file in markdown() {
        let folder = Path::new(ROOT).join(&file.name).parent().unwrap().to_path_buf();
        let targets = file.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            if !folder.join(target).exists() {
                broken.push(format!("{}: ({target})", file.name));
            }
        }
    }
    for file in rust().into_iter().chain(markdown()) {
        for path in quoted_paths(&file.text) {
            if !Path::new(ROOT).join(path).exists() {
                broken.push(format!("{}: `{path}`", file.name));
            }
        }
    }
    assert_none("paths to nowhere", &broken);
}

/// Paths in backquotes that look like files of this checkout.
fn quoted_paths(text: &str) -> impl Iterator<Item = &str> {
    let ours = ["src/", "tests/", "benches/", "docs/", "tuning/", "fuzz/", "assets/", "examples/"];
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let plain = |path: &&str| !path.contains(|c: char| c.is_whitespace() || "*{}<>$".contains(c));
    let known = |path: &&str| [".rs", ".md", ".py"].iter().any(|ending| path.ends_with(ending));
    quoted.filter(move |path| ours.iter().any(|folder| path.starts_with(folder))).filter(plain).filter(known)
}

#[test]
fn every_bench_and_fuzz_target_is_known_to_cargo() {
    let known = |manifest: &str, path: &str| files(manifest, &[".toml"])[0].text.contains(&format!("\"{path}\""));
    let mut unknown = Vec::new();
    let stems = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
    };
    for path in stems("benches") {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !known("Cargo.toml", &stem) {
            unknown.push(name(&path));
        }
    }
    for path in stems("fuzz/fuzz_targets") {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        if !known("fuzz/Cargo.toml", &format!("fuzz_targets/{file}")) {
            unknown.push(name(&path));
        }
    }
    assert_none("targets without an entry", &unknown);
}

/// The requirements of tests: reason of `#[ignore]`, and part of the test's path. `tests/README.md` has the same table.
const NEEDS: [(&str, &str); 6] = [
    ("needs ../shared", "needs_shared"),
    ("needs real weights (tests/real/fetch.sh)", "needs_real"),
    ("needs exports of networks (tests/reference/onnx_files.py)", "needs_exports"),
    ("needs a C++ compiler", "needs_cxx"),
    ("needs ffmpeg", "needs_ffmpeg"),
    ("takes long (.ci/long)", "takes_long"),
];

#[test]
fn ignored_tests_name_their_requirements() {
    let table = files("tests/README.md", &[".md"]).remove(0).text;
    for (reason, name) in NEEDS {
        assert!(table.contains(&format!("| `{name}` | `{reason}` |")), "{name} in tests/README.md");
    }
    let (mut wrong, mut ignored) = (Vec::new(), 0);
    for file in files("tests", &[".rs"]) {
        for (number, line) in file.text.lines().enumerate().filter(|(_, line)| line.trim().starts_with("#[ignore")) {
            let reason = line.trim().trim_start_matches("#[ignore = \"").trim_end_matches("\"]");
            let parts = reason.split(" and ").flat_map(|part| part.split("; "));
            let known =
                |part: &str| NEEDS.iter().any(|(need, _)| *need == part || need.strip_prefix("needs ") == Some(part));
            ignored += 1;
            if !parts.into_iter().all(known) {
                wrong.push(format!("{}:{}: {reason}", file.name, number + 1));
            }
        }
    }
    assert!(ignored > 100, "only {ignored} ignored tests were found");
    assert_none("reasons of ignored tests that tests/README.md does not list", &wrong);
}
