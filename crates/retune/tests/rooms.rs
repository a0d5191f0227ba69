//! Data flows one way: a room uses only rooms above it in this list, and no crate knows what it should not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of this crate. Each uses only those before it.
const ROOMS: [&str; 24] = [
    "wording",
    "names",
    "collective",
    "sources",
    "monitor",
    "files",
    "hub",
    "device",
    "loading",
    "models",
    "export",
    "plan",
    "methods",
    "inference",
    "features",
    "similarity",
    "audit",
    "train",
    "run",
    "demo",
    "advise",
    "merge",
    "report",
    "compare",
];

/// What a crate of the workspace must not depend on.
const UNKNOWN_TO: [(&str, &[&str]); 5] = [
    ("retune-random", &["burn", "image", "retune"]),
    ("retune-jpeg", &["burn", "image", "retune"]),
    ("retune-pixels", &["burn", "retune", "retune-analysis", "retune-kernels"]),
    ("retune-analysis", &["image", "retune", "retune-pixels"]),
    ("retune-figures", &["burn", "retune", "retune-analysis", "retune-kernels", "retune-pixels"]),
];

/// The book's table of rooms has them in the same order.
#[test]
fn the_book_lists_the_rooms_in_their_order() {
    let page = fs::read_to_string(crates().join("../book/src/design/architecture.md")).unwrap();
    let section = page.split("## Rooms of the library").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(|name| name.trim_end_matches('/').trim_end_matches(".rs"))
        .collect();
    assert_eq!(listed, ROOMS);
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// The code of a file, without comments and without its tests, which may look at any room.
fn code(path: &Path, text: &str) -> String {
    if path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs"))) {
        return String::new();
    }
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_room_uses_a_room_after_it() {
    let src = crates().join("retune/src");
    let mut rooms = BTreeSet::new();
    for (path, text) in sources(&src) {
        let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
        let room = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room == "lib" {
            continue;
        }
        let place = ROOMS.iter().position(|known| *known == room);
        let place = place.unwrap_or_else(|| panic!("give the room '{room}' a place in ROOMS"));
        for used in code(&path, &text).split("crate::").skip(1) {
            let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let Some(other) = ROOMS.iter().position(|known| *known == used) else { continue };
            assert!(other <= place, "{}: '{room}' uses '{used}', which comes after it", path.display());
        }
        rooms.insert(room);
    }
    assert_eq!(rooms.len(), ROOMS.len(), "ROOMS names a room that is gone");
}

#[test]
fn no_crate_depends_on_what_it_should_not_know() {
    for (name, unknown) in UNKNOWN_TO {
        let manifest = fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap();
            assert!(!unknown.contains(&dependency), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_the_kernels() {
    for folder in fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap().path()) {
        let root = ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)).into_iter().find(|path| path.exists());
        let text = fs::read_to_string(root.unwrap()).unwrap();
        let is_kernels = folder.ends_with("retune-kernels");
        assert_eq!(text.contains("#![forbid(unsafe_code)]"), !is_kernels, "{}", folder.display());
    }
}
