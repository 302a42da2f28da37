//! NVTX ranges for NVIDIA's profilers.
//!
//! NVTX needs no library of its own. A profiler names its injection library in an environment variable. The program
//! loads that library and passes it a table of empty function pointers, and the profiler stores its functions in those
//! that it wants to be called. Without a profiler the variable is unset, and a range costs one comparison.
//! (`libnvToolsExt` did this in earlier versions; CUDA 13 no longer has it.)
//!
//! Constants and layouts are those of `nvtxDetail/nvtxTypes.h` of NVTX 3.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The environment variable that names the profiler's injection library.
const PATH: &str = if cfg!(target_pointer_width = "64") { "NVTX_INJECTION64_PATH" } else { "NVTX_INJECTION32_PATH" };
/// Callback modules: 0 is invalid, 1 (core) has the functions without a domain, the only ones called here.
const MODULES: usize = 7;
const CORE: usize = 1;
/// Callbacks of a module; index 0 is invalid. The largest modules have 16.
const PLACES: usize = 16;
const RANGE_PUSH: usize = 9;
const RANGE_POP: usize = 11;
/// IDs of the export tables that a profiler requests, and the version of the interface.
const CALLBACKS: u32 = 1;
const VERSION_INFO: u32 = 3;
const VERSION: u32 = 3;

/// A callback of the profiler, or null.
type Place = AtomicPtr<c_void>;
/// Addresses of the callbacks of a module.
type Table = [AtomicPtr<Place>; PLACES + 1];

static PLACES_OF: [[Place; PLACES]; MODULES] = [const { [const { Place::new(null_mut()) }; PLACES] }; MODULES];
static TABLES: [Table; MODULES] = [const { [const { AtomicPtr::new(null_mut()) }; PLACES + 1] }; MODULES];

#[repr(C)]
struct Callbacks {
    size: usize,
    get_table: extern "system" fn(c_uint, *mut *const AtomicPtr<Place>, *mut c_uint) -> c_int,
}

#[repr(C)]
struct VersionInfo {
    size: usize,
    version: u32,
    reserved: u32,
    set_version: extern "system" fn(u32),
}

static CALLBACK_TABLE: Callbacks = Callbacks { size: size_of::<Callbacks>(), get_table };
static VERSION_TABLE: VersionInfo =
    VersionInfo { size: size_of::<VersionInfo>(), version: VERSION, reserved: 0, set_version };

extern "system" fn set_version(_: u32) {}

extern "system" fn get_table(module: c_uint, table: *mut *const AtomicPtr<Place>, size: *mut c_uint) -> c_int {
    let Some(found) = TABLES.get(module as usize).filter(|_| module != 0) else { return 0 };
    // SAFETY: (1) the signature is that of `GetModuleFunctionTable`; (2) the profiler passes addresses for both
    // results, or null for one that it does not want; (3) the table is static.
    unsafe {
        if !table.is_null() {
            *table = found.as_ptr();
        }
        if !size.is_null() {
            *size = PLACES as c_uint;
        }
    }
    1
}

extern "system" fn get_export_table(id: u32) -> *const c_void {
    match id {
        CALLBACKS => (&raw const CALLBACK_TABLE).cast(),
        VERSION_INFO => (&raw const VERSION_TABLE).cast(),
        _ => std::ptr::null(),
    }
}

/// Whether a profiler is attached. The first call loads its library.
pub(in crate::engine) fn is_listening() -> bool {
    static LISTENING: OnceLock<bool> = OnceLock::new();
    *LISTENING.get_or_init(|| attach().is_some())
}

fn attach() -> Option<()> {
    let path = std::env::var_os(PATH).filter(|path| !path.is_empty())?;
    for (table, places) in TABLES.iter().zip(&PLACES_OF) {
        // Index 0 of a module is invalid.
        for (entry, place) in table.iter().zip(places).skip(1) {
            entry.store(std::ptr::from_ref(place).cast_mut(), Ordering::Release);
        }
    }
    type Export = extern "system" fn(u32) -> *const c_void;
    type Initialize = unsafe extern "system" fn(Export) -> c_int;
    // SAFETY: (1) the user sets the variable in order to load this library into the process, as with every program that
    // has NVTX ranges; (2) the interface defines this signature; (3) the library is never unloaded once it has
    // accepted.
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let listens = library.get::<Initialize>(b"InitializeInjectionNvtx2").ok()?(get_export_table) != 0;
        listens.then(|| std::mem::forget(library))
    }
}

/// Opens a range on this thread.
pub(in crate::engine) fn push(name: &CStr) {
    let place = PLACES_OF[CORE][RANGE_PUSH].load(Ordering::Acquire);
    if !place.is_null() {
        // SAFETY: (1) the profiler stored a function of this signature here; (2) it copies the name, which outlives
        // the call; (3) ranges are the thread's own.
        unsafe { std::mem::transmute::<*mut c_void, extern "system" fn(*const c_char) -> c_int>(place)(name.as_ptr()) };
    }
}

/// Closes the innermost range of this thread.
pub(in crate::engine) fn pop() {
    let place = PLACES_OF[CORE][RANGE_POP].load(Ordering::Acquire);
    if !place.is_null() {
        // SAFETY: as above, for a function without arguments.
        unsafe { std::mem::transmute::<*mut c_void, extern "system" fn() -> c_int>(place)() };
    }
}
