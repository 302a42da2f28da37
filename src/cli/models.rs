//! `diarist models`: lists the known model names and the models on this machine.

use std::path::Path;

use diarist::Result;
use diarist::hub::{self, AlignerSource, Hub, Installed, aligners, names, open, pipelines};

use super::console;

/// How the list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Tables for people.
    Tables,
    /// The recognisers on this machine as a JSON array, for programs.
    Json,
}

/// Prints the list.
///
/// # Errors
/// None at present: a folder with missing files is not listed, or is listed as incomplete.
pub fn run(hub: &Hub, form: Form) -> Result<()> {
    let installed = hub.installed();
    if form == Form::Json {
        console::line(&json(&installed));
        return Ok(());
    }
    recognisers(&installed);
    on_this_machine(&installed);
    aligners_of_languages(hub);
    pipelines_of_speakers(hub);
    let places = hub.model_dir.iter().chain(&hub.cache).chain(&hub.whisper_cache).chain(&hub.torch_cache);
    let places: Vec<String> = places.map(|place| shortened(place)).collect();
    console::line("");
    console::line(&format!("Looked in {}.", if places.is_empty() { "no folder".into() } else { places.join(", ") }));
    console::line(
        "`--model` takes these names, organisation/name of the hub, a folder (Hugging Face, CTranslate2) or a file (.pt, ggml .bin);",
    );
    console::line("what is not here is fetched.");
    Ok(())
}

/// Prints the table of known recogniser names.
fn recognisers(installed: &[Installed]) {
    let row = |name: &str, repo: &str, parameters: &str, here: &str, note: &str| {
        console::line(&format!("{name:<18} {repo:<34} {parameters:>10}  {here:>10}  {note}"));
    };
    row("NAME", "REPOSITORY", "PARAMETERS", "HERE", "NOTE");
    row(hub::BUILTIN, "(part of this program)", "", "yes", "small, English, for trying out");
    for model in names::KNOWN {
        let same = |here: &&Installed| names::named(&here.name).is_some_and(|known| known.file == model.file);
        let here = installed.iter().find(same).map_or_else(|| "-".into(), |here| megabytes(here.bytes));
        row(model.name, model.repo, &format!("{} M", model.megaparams), &here, model.note);
    }
}

/// Prints the table of recognisers on this machine.
fn on_this_machine(installed: &[Installed]) {
    console::line("");
    let row = |name: &str, format: &str, size: &str, place: &str| {
        console::line(&format!("{name:<34} {format:<14} {size:>9}  {place}"));
    };
    row("ON THIS MACHINE", "FORMAT", "SIZE", "PLACE");
    for model in installed {
        let checkpoint = &model.checkpoint;
        row(&model.name, checkpoint.format.name(), &megabytes(model.bytes), &shortened(&checkpoint.path));
    }
    if installed.is_empty() {
        console::line("no recogniser but the one in this program");
    }
}

/// The recognisers on this machine as JSON: name, format, path and bytes.
fn json(installed: &[Installed]) -> String {
    let models = installed.iter().map(|model| {
        serde_json::json!({
            "name": model.name,
            "format": model.checkpoint.format.name(),
            "path": model.checkpoint.path.display().to_string(),
            "bytes": model.bytes,
        })
    });
    serde_json::Value::Array(models.collect()).to_string()
}

/// The path, with the home folder abbreviated to `~`.
fn shortened(path: &Path) -> String {
    match std::env::home_dir().and_then(|home| path.strip_prefix(home).ok().map(Path::to_path_buf)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

/// Prints the table of alignment models by language.
fn aligners_of_languages(hub: &Hub) {
    let row = |language: &str, model: &str, licence: &str, here: &str| {
        console::line(&format!("{language:<9} {model:<48} {licence:<18} {here:>10}"));
    };
    console::line("");
    row("LANGUAGE", "WHAT FINDS ITS WORDS (--align-model)", "LICENCE", "HERE");
    row("en", hub::BUILTIN, "as this program", "yes");
    for language in aligners::LANGUAGES {
        let here = match hub.find_aligner(language.model) {
            Ok(Some(AlignerSource::Folder(folder))) => megabytes(hub::size_of(&folder)),
            Ok(Some(AlignerSource::Bundle(_, file))) => megabytes(std::fs::metadata(file).map_or(0, |m| m.len())),
            Ok(Some(AlignerSource::Builtin)) => "yes".into(),
            Ok(None) => "-".into(),
            Err(_) => "incomplete".into(),
        };
        row(language.code, language.model, language.licence.unwrap_or("see the model card"), &here);
    }
}

/// Prints the table of diarization pipelines.
fn pipelines_of_speakers(hub: &Hub) {
    let row = |model: &str, here: &str, note: &str| console::line(&format!("{model:<58} {here:>10}  {note}"));
    console::line("");
    row("WHAT TELLS SPEAKERS APART (--diarize-model)", "HERE", "NOTE");
    let here = |model: &str| match hub.find_diarizer(model) {
        Ok(Some(_)) => "yes",
        Ok(None) => "-",
        Err(_) => "incomplete",
    };
    let networks: Vec<String> = open::PARTS.iter().map(|part| format!("{} ({})", part.network, part.licence)).collect();
    row(hub::OPEN, here(hub::OPEN), &format!("{}; no account needed", networks.join(", ")));
    for pipeline in pipelines::KNOWN {
        row(pipeline.repo, here(pipeline.repo), pipeline.note);
    }
    row(hub::AUTO, here(hub::AUTO), "the default: community-1 where it is here or HF_TOKEN fetches it, else open");
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
