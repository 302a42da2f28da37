//! Test harness: runs the program in a temporary folder and checks its exit status, output and files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Time limit of one run, generous enough for the slowest test machine.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// Environment variables that would change the result of a run.
const NOT_INHERITED: [&str; 9] = [
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "XDG_CACHE_HOME",
    "RUST_LOG",
    "DIARIST_TORCHAUDIO_URL",
];

/// A temporary folder, deleted after the test.
pub struct Dir {
    root: tempfile::TempDir,
}

impl Dir {
    pub fn new() -> Self {
        Dir { root: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}; there are {:?}", self.files()))
    }

    /// All files below the folder, sorted, without those of the harness.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(self.root.path()).unwrap().display().to_string();
                match path.is_dir() {
                    true if name == "home" || name == "torch" => {}
                    true => folders.push(path),
                    false if name.starts_with(".std") => {}
                    false => found.push(name),
                }
            }
        }
        found.sort();
        found
    }

    /// A run of `diarist` in this folder, with arguments separated by spaces. It has no network, and none of the
    /// machine's caches and tokens.
    pub fn diarist(&self, args: &str) -> Run {
        self.program(env!("CARGO_BIN_EXE_diarist"), args)
    }

    /// A run of `diarist-bench` in this folder.
    pub fn bench(&self, args: &str) -> Run {
        self.program(env!("CARGO_BIN_EXE_diarist-bench"), args)
    }

    /// The run on the emulated CUDA driver, which is built with a C++ compiler.
    pub fn on_the_emulator(&self, mut run: Run) -> Run {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda-emulator/build.sh");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
        let built = Command::new("sh").arg(build).arg(&folder).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        run.command.env("LD_LIBRARY_PATH", &folder);
        // The emulator has the kernels compiled in. It ignores the module image, but the file must exist.
        run.command.env("DIARIST_CUDA_MODULE", Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        run
    }

    fn program(&self, program: &str, args: &str) -> Run {
        let mut command = Command::new(program);
        command.args(args.split_whitespace()).current_dir(self.root.path()).stdin(Stdio::null());
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
            .env("XDG_CACHE_HOME", self.path("home"))
            .env("HF_HOME", self.path("home"))
            .env("TORCH_HOME", self.path("torch"))
            .env("HF_HUB_OFFLINE", "1");
        Run { command, out: self.path(".stdout"), err: self.path(".stderr") }
    }
}

/// A run that has not started.
pub struct Run {
    command: Command,
    out: PathBuf,
    err: PathBuf,
}

impl Run {
    pub fn arg(mut self, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(value);
        self
    }

    #[allow(dead_code)] // used by the tests of pipes
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// Sets an environment variable.
    #[allow(dead_code)] // used by the tests of downloads
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it. The output goes to files, so that the program never blocks on a full pipe.
    pub fn start(mut self) -> Running {
        self.command.stdout(File::create(&self.out).unwrap()).stderr(File::create(&self.err).unwrap());
        let child = self.command.spawn().unwrap();
        Running { child, out: self.out, err: self.err }
    }

    /// Starts it with pipes for stdin and stdout; stderr goes to the returned file.
    #[allow(dead_code)] // used by the tests of the worker
    pub fn start_with_pipes(mut self) -> (Child, PathBuf) {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&self.err).unwrap());
        (self.command.spawn().unwrap(), self.err)
    }

    /// Runs to the end.
    pub fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Runs it with stdout redirected to `path`.
    pub fn run_onto(mut self, path: &str) -> Outcome {
        let onto = File::options().write(true).open(path).unwrap();
        self.command.stdout(onto).stderr(File::create(&self.err).unwrap());
        File::create(&self.out).unwrap();
        Running { child: self.command.spawn().unwrap(), out: self.out, err: self.err }.wait()
    }

    /// Runs it with stdout connected to a pipe whose reader has been closed.
    pub fn run_into_closed_pipe(mut self) -> Outcome {
        self.command.stdout(Stdio::piped()).stderr(File::create(&self.err).unwrap());
        File::create(&self.out).unwrap();
        let mut child = self.command.spawn().unwrap();
        drop(child.stdout.take());
        Running { child, out: self.out, err: self.err }.wait()
    }
}

/// A running process.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Waits until `condition` holds; fails if the process ends before.
    pub fn until(&mut self, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(self.child.try_wait().unwrap().is_none(), "ended before {what}: {}", read(&self.err));
            assert!(start.elapsed() < TIME_LIMIT, "{what} never came: {}", read(&self.err));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until stdout contains `text`.
    pub fn until_printed(&mut self, text: &str) {
        let out = self.out.clone();
        self.until(text, || read(&out).contains(text));
    }

    /// Waits until stderr contains `text`.
    #[allow(dead_code)] // used by the tests of downloads
    pub fn until_told(&mut self, text: &str) {
        let err = self.err.clone();
        self.until(text, || read(&err).contains(text));
    }

    /// Ends it with SIGKILL, which cannot be handled.
    #[allow(dead_code)] // used by the tests of --manifest
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn wait(mut self) -> Outcome {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > TIME_LIMIT {
                let _ = self.child.kill();
                panic!("still running after {TIME_LIMIT:?}: {}", read(&self.err));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Outcome { status, stdout: read(&self.out), stderr: read(&self.err) }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The result of a run.
pub struct Outcome {
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Checks the exit status, and that no thread panicked.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert_eq!(self.status.code(), Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Checks that stderr contains each of `parts`.
    #[track_caller]
    pub fn complains(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in stderr: {}", self.stderr);
        }
        self
    }

    /// Checks that stdout contains each of `parts`.
    #[track_caller]
    pub fn prints(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stdout.contains(part), "{part:?} is not in stdout: {}", self.stdout);
        }
        self
    }

    /// Checks that stderr is empty.
    #[track_caller]
    pub fn without_complaint(&self) -> &Self {
        assert_eq!(self.stderr, "");
        self
    }
}
