//! The GPU under test, or the emulated driver.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

/// Seeds of the emulator's schedules; a missing barrier fails under at least one of them.
const SEEDS: [u64; 3] = [1, 2, 3];

/// Exclusive use of the GPU or the emulator by one test.
pub struct Machine {
    emulator: Option<&'static Emulator>,
    _alone: MutexGuard<'static, ()>,
}

/// The GPU if `DIARIST_TEST_GPU` is 1, else the emulator. Panics if there is no C++ compiler to build the emulator.
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

/// The loaded emulator.
struct Emulator {
    path: PathBuf,
    library: Library,
}

/// Builds the emulator with the kernels of a folder, by default the repository's. Returns an error if there is no
/// compiler; panics if the sources do not compile.
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
    // The emulator has the kernels compiled in and ignores module images, but a program built without nvcc needs some
    // file to load. The emulator also acts as the profiler. SAFETY: the library is ours; its constructors only fill
    // tables. It is never unloaded. Once it is loaded, the engine finds it by the driver's name. Both variables are set
    // while all other tests wait for this one.
    unsafe {
        std::env::set_var("DIARIST_CUDA_MODULE", file!());
        std::env::set_var("NVTX_INJECTION64_PATH", path);
        let library = Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL).map_err(|error| error.to_string())?;
        Ok(Emulator { path: path.to_path_buf(), library })
    }
}

impl Machine {
    /// Whether this is the emulator.
    pub fn is_emulated(&self) -> bool {
        self.emulator.is_some()
    }

    /// Runs `f` under every schedule of the emulator; once on a GPU, whose scheduling cannot be controlled.
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

    /// The folder of the emulator, for programs that are started with it.
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

    /// Makes the `n`-th launch, allocation, copy or execution from now on fail with the driver's error `code`.
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

    /// Calls a counter of the emulator; 0 on a GPU, which has no such counters.
    pub fn count(&self, name: &str) -> u64 {
        let Some(emulator) = self.emulator else { return 0 };
        // SAFETY: as above.
        unsafe {
            let function: Symbol<unsafe extern "C" fn() -> u64> =
                emulator.library.get(name.as_bytes()).expect("a control function");
            function()
        }
    }

    /// Bytes of device memory allocated in the emulator.
    pub fn allocated(&self) -> u64 {
        self.count("emulator_allocated_bytes")
    }

    /// The NVTX ranges recorded since `emulator_listen`: thread, and `+name` or `-`.
    pub fn ranges(&self) -> Vec<(String, String)> {
        let Some(emulator) = self.emulator else { return Vec::new() };
        // SAFETY: as above; the text is valid until this thread calls it again.
        let text = unsafe {
            let function: Symbol<unsafe extern "C" fn() -> *const std::ffi::c_char> =
                emulator.library.get(b"emulator_ranges").expect("a control function");
            std::ffi::CStr::from_ptr(function()).to_string_lossy().into_owned()
        };
        let pair = |line: &str| line.split_once(' ').map(|(thread, range)| (thread.into(), range.into()));
        text.lines().filter_map(pair).collect()
    }
}
