//! No module imports one that imports it, directly or through others. A module and its own submodules may use each other.

use std::collections::{BTreeMap, BTreeSet};

use super::files;

type Module = Vec<String>;

/// The module of a source file; a file called mod.rs is that of its folder.
fn module_of(file: &str) -> Module {
    let mut parts: Module =
        file.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The paths that a `use` names, its braces expanded.
fn expand(path: &str) -> Vec<String> {
    let path = path.trim();
    let Some((prefix, rest)) = path.split_once('{') else {
        return vec![path.split(" as ").next().unwrap_or(path).to_owned()];
    };
    let inner = rest.strip_suffix('}').expect("a closing brace");
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for character in inner.chars() {
        depth += i32::from(character == '{') - i32::from(character == '}');
        match (character, depth) {
            (',', 0) => parts.push(String::new()),
            _ => parts.last_mut().expect("a part").push(character),
        }
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(|part| expand(&format!("{prefix}{part}"))).collect()
}

/// The `use` declarations of a file, without those of its tests and of its documentation.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text).replace("#[cfg(doc)]\nuse ", "//");
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let declarations = code.split(';').filter_map(|part| {
        let at = part.rfind("use ").filter(|at| part[..*at].ends_with(['\n', ' ']) || *at == 0)?;
        let before = part[..at].lines().last().unwrap_or_default().trim();
        (before.is_empty() || before.starts_with("pub")).then(|| part[at + 4..].replace('\n', " "))
    });
    declarations.flat_map(|path| expand(&path)).collect()
}

/// The module that a path leads to, seen from `from`.
fn resolve(from: &Module, path: &str, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut base = match parts.remove(0) {
        "crate" | "diarist" => Module::new(),
        "self" => from.clone(),
        "super" => from[..from.len().checked_sub(1)?].to_vec(),
        child => {
            let child = [from.clone(), vec![child.to_owned()]].concat();
            modules.contains(&child).then_some(child)?
        }
    };
    for part in parts {
        match part {
            "super" => drop(base.pop()),
            "self" => {}
            part => base.push(part.to_owned()),
        }
    }
    while !base.is_empty() && !modules.contains(&base) {
        base.pop();
    }
    (!base.is_empty() && base != *from).then_some(base)
}

/// All modules that `from` reaches.
fn reached(from: &Module, imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(imports[module].iter().filter(|next| found.insert((*next).clone())));
    }
    found
}

#[test]
fn no_module_imports_itself_through_others() {
    let sources: Vec<_> =
        files("src", &[".rs"]).into_iter().filter(|file| !file.name.starts_with("src/bin/")).collect();
    let modules: BTreeSet<Module> = sources.iter().map(|file| module_of(&file.name)).collect();
    let mut imports: BTreeMap<Module, BTreeSet<Module>> =
        modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for file in &sources {
        let from = module_of(&file.name);
        let targets = uses(&file.text).into_iter().filter_map(|path| resolve(&from, &path, &modules));
        // A module and its submodules are one unit.
        let targets = targets.filter(|to| !to.starts_with(&from) && !from.starts_with(to));
        imports.get_mut(&from).expect("a module").extend(targets);
    }
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 500, "imports are not read right");
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        imports.keys().map(|from| (from, reached(from, &imports))).collect();
    let in_cycle: BTreeSet<String> =
        imports.keys().filter(|module| reached[module].contains(*module)).map(|module| module.join("::")).collect();
    assert!(in_cycle.is_empty(), "modules that import each other: {in_cycle:?}");
}

/// No network imports another: what two of them need is in a module of its own, such as `models::transformer`.
#[test]
fn networks_are_independent_of_each_other() {
    const NETWORKS: [&str; 6] = ["campplus", "pyannet", "resnet34", "silero", "wav2vec2", "whisper"];
    let network = |module: &[String]| match module {
        [models, network, ..] if models == "models" => NETWORKS.iter().find(|name| *name == network),
        _ => None,
    };
    let sources = files("src/models", &[".rs"]);
    let modules: BTreeSet<Module> = sources.iter().map(|file| module_of(&file.name)).collect();
    assert!(NETWORKS.iter().all(|name| modules.contains(&vec!["models".to_owned(), (*name).to_owned()])));
    let mut found = Vec::new();
    for file in &sources {
        let from = module_of(&file.name);
        let Some(own) = network(&from) else { continue };
        let targets = uses(&file.text).into_iter().filter_map(|path| resolve(&from, &path, &modules));
        found.extend(targets.filter(|to| network(to).is_some_and(|other| other != own)).map(|to| (from.clone(), to)));
    }
    assert!(found.is_empty(), "networks that import others: {found:?}");
}

#[test]
fn declarations_are_read_with_braces_and_renames() {
    let text = "//! use nothing::at_all;\nuse std::path::Path;\n\npub use self::load::{load, open as opened};\nuse super::{\n    a::{B, c},\n    d,\n};\nlet it = 1;";
    let want = ["std::path::Path", "self::load::load", "self::load::open", "super::a::B", "super::a::c", "super::d"];
    assert_eq!(uses(text), want);
}
