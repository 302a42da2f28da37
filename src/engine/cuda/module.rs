//! Loading the compiled kernels: the fat binary made by nvcc at build time, or NVRTC at run time with a cache on disk.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs;
use std::path::{Path, PathBuf};

use cudarc::nvrtc::sys as nvrtc;
use sha2::{Digest, Sha256};

use super::driver::{check, sys};
use crate::error::{Error, Result};

/// Every file of `kernels/`, by name, sorted.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));
/// The translation unit that includes every kernel.
const UNITY: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.cu"));
/// The fat binary that nvcc made of it at build time; empty if there was no nvcc.
static FATBIN: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));

/// Aligned storage: the driver reads the header of a fat binary as 64-bit words.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

/// A loaded module, unloaded together with its device.
pub(super) struct Module {
    handle: sys::CUmodule,
}

impl Module {
    /// Loads the kernels into the bound context of a GPU of this compute capability.
    ///
    /// # Errors
    /// [`Error::Device`] naming what is missing: nvcc at build time, NVRTC at run time, or a newer driver.
    pub fn load(capability: (i32, i32), card: &str) -> Result<Self> {
        if let Some(path) = std::env::var_os("DIARIST_CUDA_MODULE").filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            let image = fs::read(&path).map_err(|e| Error::io(&path, e))?;
            return Self::from_image(image);
        }
        let embedded = if FATBIN.0.is_empty() { Err(None) } else { from_pointer(FATBIN.0.as_ptr()).map_err(Some) };
        let unusable = match embedded {
            Ok(handle) => return Ok(Module { handle }),
            Err(reason) => reason,
        };
        let compiled = compile_cached(capability);
        compiled.map_err(|reason| {
            let (code, built) = match &unusable {
                Some(Error::Device { code, text, .. }) => (*code, format!("its built-in code cannot be used ({text})")),
                _ => (-1, "this program was built without nvcc, so it has no code for any GPU".into()),
            };
            let text = format!("{card}: {built}, and it cannot be compiled here: {reason}");
            Error::Device { call: "loading kernels".into(), code, text }
        })
    }

    /// Loads a cubin, a fat binary, or PTX text.
    fn from_image(mut image: Vec<u8>) -> Result<Self> {
        // PTX text must end with a zero byte; cubins and fat binaries contain their length.
        image.push(0);
        let mut aligned = vec![0u128; image.len().div_ceil(size_of::<u128>())];
        bytemuck::cast_slice_mut(&mut aligned)[..image.len()].copy_from_slice(&image);
        Ok(Module { handle: from_pointer(aligned.as_ptr().cast())? })
    }

    pub fn handle(&self) -> sys::CUmodule {
        self.handle
    }

    /// Unloads the module; none of its kernels may be queued any more.
    pub fn unload(&mut self) {
        // SAFETY: (1) the signature is cuda.h's; (2) the module is ours; the null it becomes is refused by the driver,
        // not followed; (3) the caller waited for every launch.
        let _ = unsafe { sys::cuModuleUnload(std::mem::replace(&mut self.handle, std::ptr::null_mut())) };
    }
}

/// Loads an image whose length is part of its format: the built-in fat binary, or a file made by a compiler.
fn from_pointer(image: *const u8) -> Result<sys::CUmodule> {
    let mut handle = std::ptr::null_mut();
    // SAFETY: (1) the signature is cuda.h's; (2) the image is whole and aligned, `handle` outlives the call, and the
    // driver copies what it keeps; (3) the caller bound a context.
    check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut handle, image.cast()) })?;
    Ok(handle)
}

/// Compiles the sources for this GPU, or loads the result of an earlier run from the cache on disk.
fn compile_cached((major, minor): (i32, i32)) -> Result<Module, String> {
    let compiler = Nvrtc::find()?;
    let arch = compiler.architecture(major * 10 + minor)?;
    let cached = cache_folder().map(|folder| folder.join(compiler.cache_name(&arch)));
    if let Some(path) = &cached
        && let Ok(image) = fs::read(path)
        && let Ok(module) = Module::from_image(image)
    {
        return Ok(module);
    }
    tracing::warn!(%arch, "compiling the kernels for this GPU; this takes a minute, and is done once");
    let image = compiler.compile(&arch)?;
    if let Some(path) = &cached
        && let Err(error) = store(path, &image)
    {
        tracing::warn!(path = %path.display(), %error, "the compiled kernels could not be kept");
    }
    Module::from_image(image).map_err(|e| e.to_string())
}

/// The folder of the on-disk cache, by the conventions of the operating system.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home =
        || folder("HOME").map(|home| home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }));
    let base = folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA")).or_else(home)?;
    Some(base.join("diarist"))
}

/// Writes a file atomically: other processes see the whole file or none.
fn store(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// NVRTC, NVIDIA's run-time compiler, as installed on this machine.
struct Nvrtc {
    version: (c_int, c_int),
    /// The supported architectures, 90 for 9.0; ascending.
    known: Vec<c_int>,
}

impl Nvrtc {
    fn find() -> Result<Self, String> {
        // SAFETY: (1) the library is only opened; (2) its initialisers are the vendor's; (3) it is never closed.
        if !unsafe { nvrtc::is_culib_present() } {
            return Err("NVRTC (libnvrtc, part of the CUDA toolkit) is not on this machine".into());
        }
        for symbol in ["nvrtcGetCUBIN", "nvrtcGetSupportedArchs"] {
            // SAFETY: (1) the symbol's address is looked at and never called through this type; (2) the library was
            // found, so `culib` returns; (3) the lookup has no side effects.
            if unsafe { nvrtc::culib().get::<*const ()>(symbol.as_bytes()).is_err() } {
                return Err(format!("the NVRTC on this machine is too old: it has no {symbol}"));
            }
        }
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY, here and for the next call: (1) the signatures are nvrtc.h's; (2) what is written to outlives the
        // calls and has the size asked for; (3) the compiler has no state before a program is made.
        let code = unsafe {
            let _ = nvrtc::nvrtcVersion(&mut major, &mut minor);
            nvrtc::nvrtcGetNumSupportedArchs(&mut count)
        };
        said("nvrtcGetNumSupportedArchs", code)?;
        let mut known = vec![0; count.max(0) as usize];
        // SAFETY: see above.
        said("nvrtcGetSupportedArchs", unsafe { nvrtc::nvrtcGetSupportedArchs(known.as_mut_ptr()) })?;
        known.sort_unstable();
        Ok(Nvrtc { version: (major, minor), known })
    }

    /// The target architecture: the GPU's own if NVRTC supports it, else PTX for the newest supported one before it.
    fn architecture(&self, card: c_int) -> Result<String, String> {
        match self.known.iter().rev().find(|arch| **arch <= card) {
            // sm_90a has the architecture-specific instructions of Hopper's tensor cores.
            Some(90) if card == 90 => Ok("sm_90a".into()),
            Some(arch) if *arch == card => Ok(format!("sm_{arch}")),
            Some(arch) if *arch >= 80 => Ok(format!("compute_{arch}")),
            _ => Err(format!("NVRTC {}.{} does not know this card", self.version.0, self.version.1)),
        }
    }

    /// The name of the cached file: a hash of the sources, the options, the compiler version and the architecture.
    fn cache_name(&self, arch: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {arch} {OPTIONS:?}\n", self.version));
        for (name, text) in SOURCES {
            hash.update(format!("{name} {}\n", text.len()));
            hash.update(text);
        }
        let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("kernels-{arch}-{digest}.bin")
    }

    fn compile(&self, arch: &str) -> Result<Vec<u8>, String> {
        let text = |text: &str| CString::new(text).map_err(|_| "a kernel's source has a zero byte".to_string());
        let unity = text(UNITY)?;
        let names = SOURCES.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>, _>>()?;
        let sources = SOURCES.iter().map(|(_, source)| text(source)).collect::<Result<Vec<_>, _>>()?;
        let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).collect::<Vec<*const c_char>>();
        let (name_pointers, source_pointers) = (pointers(&names), pointers(&sources));
        let mut program = Program(std::ptr::null_mut());
        // SAFETY: (1) the signature is nvrtc.h's; (2) every string outlives the program, and there are as many names as
        // sources; (3) creating a program has no side effects.
        let code = unsafe {
            let (count, name) = (names.len() as c_int, c"kernels.cu".as_ptr());
            let (headers, includes) = (source_pointers.as_ptr(), name_pointers.as_ptr());
            nvrtc::nvrtcCreateProgram(&mut program.0, unity.as_ptr(), name, count, headers, includes)
        };
        said("nvrtcCreateProgram", code)?;
        let mut options = OPTIONS.iter().map(|option| text(option)).collect::<Result<Vec<_>, _>>()?;
        options.push(text(&format!("--gpu-architecture={arch}"))?);
        let option_pointers = pointers(&options);
        // SAFETY: (1) the signature is nvrtc.h's; (2) the options outlive the call; (3) the program was made above.
        let code =
            unsafe { nvrtc::nvrtcCompileProgram(program.0, option_pointers.len() as c_int, option_pointers.as_ptr()) };
        said("nvrtcCompileProgram", code).map_err(|error| format!("{error}\n{}", program.log()))?;
        program.image(arch.starts_with("compute_"))
    }
}

/// Options of NVRTC; the same language standard as nvcc in `build.rs`.
const OPTIONS: &[&str] = &["--std=c++17", "-lineinfo"];

/// An NVRTC program, destroyed when dropped.
struct Program(nvrtc::nvrtcProgram);

impl Program {
    /// The compiler's log.
    fn log(&self) -> String {
        let get = |size: *mut usize| {
            // SAFETY: (1) the signature is nvrtc.h's; (2) the size outlives the call; (3) the program is whole.
            unsafe { nvrtc::nvrtcGetProgramLogSize(self.0, size) }
        };
        // SAFETY: (1) the signature is nvrtc.h's; (2) `sized` gives a buffer of the size just asked; (3) as above.
        let log = sized(get, |text| unsafe { nvrtc::nvrtcGetProgramLog(self.0, text) });
        String::from_utf8_lossy(&log.unwrap_or_default()).trim_end_matches('\0').to_string()
    }

    /// The compiled code: PTX, or a cubin for one architecture.
    fn image(&self, ptx: bool) -> Result<Vec<u8>, String> {
        if ptx {
            // SAFETY, for the four calls: (1) the signatures are nvrtc.h's; (2) `sized` gives a buffer of the size just
            // asked; (3) the program was compiled.
            return sized(
                |size| unsafe { nvrtc::nvrtcGetPTXSize(self.0, size) },
                // SAFETY: see above.
                |code| unsafe { nvrtc::nvrtcGetPTX(self.0, code) },
            );
        }
        sized(
            // SAFETY: see above.
            |size| unsafe { nvrtc::nvrtcGetCUBINSize(self.0, size) },
            // SAFETY: see above.
            |code| unsafe { nvrtc::nvrtcGetCUBIN(self.0, code) },
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: (1) the signature is nvrtc.h's; (2) ours, destroyed once; (3) its results were copied.
            let _ = unsafe { nvrtc::nvrtcDestroyProgram(&mut self.0) };
        }
    }
}

/// Calls a pair of NVRTC functions that return the size of a result and the result.
fn sized(
    size: impl FnOnce(*mut usize) -> nvrtc::nvrtcResult,
    get: impl FnOnce(*mut c_char) -> nvrtc::nvrtcResult,
) -> Result<Vec<u8>, String> {
    let mut length = 0;
    said("asking NVRTC for a size", size(&mut length))?;
    let mut bytes = vec![0u8; length];
    said("asking NVRTC for a result", get(bytes.as_mut_ptr().cast()))?;
    Ok(bytes)
}

fn said(call: &str, code: nvrtc::nvrtcResult) -> Result<(), String> {
    if code == nvrtc::nvrtcResult::NVRTC_SUCCESS {
        return Ok(());
    }
    // SAFETY: (1) the signature is nvrtc.h's; (2) it gives a constant C string for every code; (3) it needs no state.
    let text = unsafe { CStr::from_ptr(nvrtc::nvrtcGetErrorString(code)) };
    Err(format!("{call}: {}", text.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_all_there() {
        let names: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"device.cuh"), "{names:?}");
        let kernels = names.iter().filter(|name| name.ends_with(".cu")).count();
        assert_eq!(UNITY.lines().count(), kernels);
    }

    #[test]
    fn a_card_newer_than_the_compiler_gets_ptx() {
        let nvrtc = Nvrtc { version: (12, 4), known: vec![52, 80, 86, 90] };
        assert_eq!(nvrtc.architecture(90).unwrap(), "sm_90a");
        assert_eq!(nvrtc.architecture(86).unwrap(), "sm_86");
        assert_eq!(nvrtc.architecture(89).unwrap(), "compute_86");
        assert_eq!(nvrtc.architecture(120).unwrap(), "compute_90");
        assert!(Nvrtc { version: (11, 2), known: vec![52, 75] }.architecture(90).is_err());
        let other = Nvrtc { version: (13, 0), known: vec![] };
        assert_ne!(nvrtc.cache_name("sm_86"), other.cache_name("sm_86"));
    }

    /// Needs NVRTC but no GPU; skipped where NVRTC is not installed.
    #[test]
    fn nvrtc_compiles_the_kernels() {
        let Ok(nvrtc) = Nvrtc::find() else { return eprintln!("skipped: NVRTC is not on this machine") };
        let arch = nvrtc.architecture(90).unwrap();
        let image = nvrtc.compile(&arch).unwrap_or_else(|error| panic!("{arch}: {error}"));
        assert!(image.starts_with(b"\x7fELF"), "{arch}: {:?}", &image[..16]);
    }

    #[test]
    fn a_cache_file_appears_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("diarist/kernels-sm_90a-00.bin");
        store(&path, b"code").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"code");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
