//! The card under test, or what stands in for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use diarist::engine::cuda::{Cuda, Gemm};
use half::f16;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

/// Seeds of the emulator's schedules: a missing barrier shows in one of them.
const SEEDS: [u64; 3] = [1, 2, 3];

/// The machine, for one test at a time.
pub struct Machine {
    emulator: Option<&'static Emulator>,
    _alone: MutexGuard<'static, ()>,
}

/// The card, if `DIARIST_TEST_GPU` is 1, or the emulator. Fails where there is no C++ compiler to build the emulator with.
pub fn machine() -> Machine {
    static ALONE: Mutex<()> = Mutex::new(());
    static EMULATOR: OnceLock<Result<Emulator, String>> = OnceLock::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var_os("DIARIST_TEST_GPU").is_some_and(|value| value == "1") {
        return Machine { emulator: None, _alone: alone };
    }
    match EMULATOR.get_or_init(|| load(&build(None)?)) {
        Ok(emulator) => Machine { emulator: Some(emulator), _alone: alone },
        Err(reason) => panic!("no emulated driver: {reason}"),
    }
}

/// The emulated driver, loaded.
struct Emulator {
    path: PathBuf,
    library: Library,
}

/// Compiles the emulator with these kernels, or with the repository's. An error only where there is no compiler: what does
/// not compile is a failure.
fn build(kernels: Option<&Path>) -> Result<PathBuf, String> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        return Err(format!("{compiler} is not there"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    let mut command = Command::new("sh");
    command.arg(root.join("tests/cuda-emulator/build.sh")).arg(out).args(kernels);
    let output = command.output().expect("a shell");
    assert!(output.status.success(), "the emulator does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn load(path: &Path) -> Result<Emulator, String> {
    // The emulator has the kernels already and looks at no image, but a program built without nvcc has none to offer. It
    // also is the profiler.
    // SAFETY: the library is ours; its constructors only fill tables. It is never unloaded. Being loaded, it answers when
    // the engine asks for the driver by name. The variable and the next are set while every other test waits for this one.
    unsafe {
        std::env::set_var("DIARIST_CUDA_MODULE", file!());
        std::env::set_var("NVTX_INJECTION64_PATH", path);
        let library = Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL).map_err(|error| error.to_string())?;
        Ok(Emulator { path: path.to_path_buf(), library })
    }
}

impl Machine {
    /// Whether cuBLASLt can be loaded: beside the emulator its stand-in, on a card the real one, if it is installed.
    #[allow(clippy::print_stderr)]
    pub fn has_cublaslt(&self) -> bool {
        if self.emulator.is_some() {
            return self.standin().is_some();
        }
        let found = Cuda::<f16>::new(0, None).and_then(|cuda| cuda.with_gemm(Gemm::CublasLt));
        if let Err(reason) = &found {
            eprintln!("skipped: no cuBLASLt: {reason}");
        }
        found.is_ok()
    }

    /// Products the stand-in for cuBLASLt has been given so far.
    pub fn cublaslt_products(&self) -> u64 {
        let Some(library) = self.standin() else { return 0 };
        // SAFETY: the name and signature are those of tests/cuda-emulator/cublaslt/cublaslt.cpp.
        unsafe {
            let function: Symbol<unsafe extern "C" fn() -> u64> = library.get(b"cublaslt_products").expect("a counter");
            function()
        }
    }

    /// The stand-in, built beside the emulator; once loaded, it is what the engine finds by the library's name.
    fn standin(&self) -> Option<&'static Library> {
        static STANDIN: OnceLock<Library> = OnceLock::new();
        self.emulator?;
        Some(STANDIN.get_or_init(|| {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator/cublaslt/libcublasLt.so");
            // SAFETY: the library is ours and never unloaded.
            unsafe { Library::open(Some(&path), RTLD_NOW) }
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        }))
    }

    /// Whether this is no real card.
    pub fn is_emulated(&self) -> bool {
        self.emulator.is_some()
    }

    /// Runs `f` under every schedule; once on a card, which has its own ideas.
    pub fn schedules(&self, mut f: impl FnMut(u64)) {
        match self.emulator {
            None => f(0),
            Some(_) => {
                for seed in SEEDS {
                    self.call("emulator_set_seed", seed);
                    f(seed);
                }
            }
        }
    }

    /// The folder with the emulator, for programs of their own.
    pub fn folder(&self) -> Option<&Path> {
        self.emulator?.path.parent()
    }

    /// Calls a function of the emulator that takes one number.
    pub fn call(&self, name: &str, argument: u64) {
        let Some(emulator) = self.emulator else { return };
        // SAFETY: the name and signature are those of tests/cuda-emulator/README.md.
        unsafe {
            let function: Symbol<unsafe extern "C" fn(u64)> =
                emulator.library.get(name.as_bytes()).expect("a control function");
            function(argument);
        }
    }

    /// Lets the `n`-th launch, allocation, copy or execution from now on fail with the driver's error `code`.
    pub fn fail_after(&self, kind: &str, n: u64, code: i32) {
        let Some(emulator) = self.emulator else { return };
        let kind = std::ffi::CString::new(kind).expect("no zero byte");
        // SAFETY: as above.
        let known = unsafe {
            type FailAfter = unsafe extern "C" fn(*const std::ffi::c_char, u64, i32) -> i32;
            let function: Symbol<FailAfter> = emulator.library.get(b"emulator_fail_after").expect("a control function");
            function(kind.as_ptr(), n, code)
        };
        assert_eq!(known, 1, "{kind:?}");
    }

    /// Asks a function of the emulator for a number; 0 on a card, which keeps such things to itself.
    pub fn count(&self, name: &str) -> u64 {
        let Some(emulator) = self.emulator else { return 0 };
        // SAFETY: as above.
        unsafe {
            let function: Symbol<unsafe extern "C" fn() -> u64> =
                emulator.library.get(name.as_bytes()).expect("a control function");
            function()
        }
    }

    /// Bytes the emulated device has given out.
    pub fn allocated(&self) -> u64 {
        self.count("emulator_allocated_bytes")
    }

    /// The ranges that the profiler was told of since `emulator_listen`: thread, and `+name` or `-`.
    pub fn ranges(&self) -> Vec<(String, String)> {
        let Some(emulator) = self.emulator else { return Vec::new() };
        // SAFETY: as above; the text is this thread's until it asks again.
        let text = unsafe {
            let function: Symbol<unsafe extern "C" fn() -> *const std::ffi::c_char> =
                emulator.library.get(b"emulator_ranges").expect("a control function");
            std::ffi::CStr::from_ptr(function()).to_string_lossy().into_owned()
        };
        let pair = |line: &str| line.split_once(' ').map(|(thread, range)| (thread.into(), range.into()));
        text.lines().filter_map(pair).collect()
    }
}
