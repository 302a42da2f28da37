//! `diarist models`: the names `--model` knows, and which of them are here.

use diarist::Result;
use diarist::hub::{self, AlignerSource, Hub, Source, aligners, names, pipelines};

use super::console;

/// Prints the table.
///
/// # Errors
/// None so far: a folder that lacks files is shown as such.
pub fn run(hub: &Hub) -> Result<()> {
    console::line(&row("NAME", "REPOSITORY", "PARAMETERS", "HERE", "NOTE"));
    console::line(&row(hub::BUILTIN, "(part of this program)", "", "yes", "small, English, for trying out"));
    for model in names::KNOWN {
        let here = match hub.find(model.name) {
            Ok(Some(Source::Folder(folder))) => megabytes(hub::size_of(&folder)),
            Ok(Some(Source::Builtin)) => "yes".into(),
            Ok(None) => "-".into(),
            Err(_) => "incomplete".into(),
        };
        console::line(&row(model.name, model.repo, &format!("{} M", model.megaparams), &here, model.note));
    }
    aligners_of_languages(hub);
    pipelines_of_speakers(hub);
    let places: Vec<String> =
        hub.model_dir.iter().chain(&hub.cache).chain(&hub.torch_cache).map(|p| p.display().to_string()).collect();
    console::line("");
    console::line(&format!("Looked in {}.", if places.is_empty() { "no folder".into() } else { places.join(", ") }));
    console::line(
        "`--model` takes these names, organisation/name of the hub, or a folder; what is not here is fetched.",
    );
    Ok(())
}

/// Prints the table of the models that find words.
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

/// Prints the table of the pipelines that tell speakers apart.
fn pipelines_of_speakers(hub: &Hub) {
    let row = |model: &str, here: &str, note: &str| console::line(&format!("{model:<58} {here:>10}  {note}"));
    console::line("");
    row("WHAT TELLS SPEAKERS APART (--diarize-model)", "HERE", "NOTE");
    row(hub::BUILTIN, "yes", "small, for trying out");
    for pipeline in pipelines::KNOWN {
        let here = match hub.find_diarizer(pipeline.repo) {
            Ok(Some(_)) => "yes",
            Ok(None) => "-",
            Err(_) => "incomplete",
        };
        row(pipeline.repo, here, pipeline.note);
    }
}

fn row(name: &str, repo: &str, parameters: &str, here: &str, note: &str) -> String {
    format!("{name:<18} {repo:<34} {parameters:>10}  {here:>10}  {note}")
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
