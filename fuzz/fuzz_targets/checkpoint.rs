//! Fuzzes loading of complete checkpoints in every single-file format with a few bytes replaced: an error, or a loaded
//! model. The first byte of an input selects the file. Each following five bytes replace one byte: a 32-bit offset and
//! the new value.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use diarist::engine::cpu::Cpu;
use diarist::models::whisper::{Checkpoint, Files, Format, Whisper};
use libfuzzer_sys::fuzz_target;

/// Complete small models.
const FILES: [(Format, &[u8]); 9] = [
    (Format::CTranslate2, include_bytes!("../../tests/data/formats/ct2-int8_float16/model.bin")),
    (Format::CTranslate2, include_bytes!("../../tests/data/formats/ct2-int16/model.bin")),
    (Format::CTranslate2, include_bytes!("../../tests/data/formats/ct2-bfloat16/model.bin")),
    (Format::Ggml, include_bytes!("../../tests/data/formats/ggml-f16.bin")),
    (Format::Ggml, include_bytes!("../../tests/data/formats/ggml-q5_1.bin")),
    (Format::Ggml, include_bytes!("../../tests/data/formats/ggml-q8_0.bin")),
    (Format::OpenAi, include_bytes!("../../tests/data/formats/openai.pt")),
    (Format::OpenAi, include_bytes!("../../tests/data/formats/openai-legacy.pt")),
    (Format::OpenAi, include_bytes!("../../tests/data/formats/openai-dataclass.pt")),
];
/// Bytes per replacement: offset and value.
const REPLACEMENT: usize = 5;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("diarist-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the file");
    folder
});
static CPU: LazyLock<Cpu> = LazyLock::new(|| Cpu::new(Some(1)).expect("one thread"));

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, replacements)) = bytes.split_first() else { return };
    let (format, file) = FILES[usize::from(choice) % FILES.len()];
    let mut file = file.to_vec();
    for replacement in replacements.as_chunks::<REPLACEMENT>().0 {
        let [a, b, c, d, value] = *replacement;
        let offset = u32::from_le_bytes([a, b, c, d]) as usize % file.len();
        file[offset] = value;
    }
    let path = FOLDER.join("model.bin");
    std::fs::write(&path, file).expect("the file is written");
    let path = if format == Format::CTranslate2 { FOLDER.clone() } else { path };
    let checkpoint = Checkpoint { format, path, tokenizer: None };
    let Ok(Files { config, generation, weights }) = checkpoint.open() else { return };
    let _ = Whisper::load(&*CPU, config, generation, &weights);
});
