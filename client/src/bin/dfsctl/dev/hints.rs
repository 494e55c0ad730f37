//! What to try on a cluster that was just started.

use std::path::Path;

/// Three commands that work as they stand, typed where `dev up` was.
pub(super) fn commands_to_try() -> [String; 3] {
    let program = std::env::args_os()
        .next()
        .map_or_else(|| "dfsctl".to_owned(), |arg| arg.to_string_lossy().into_owned());
    let file = ["README.md", "Cargo.toml", "/etc/hosts"].into_iter().find(|name| Path::new(name).is_file());
    let file = file.unwrap_or("/etc/hostname");
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let copy = std::env::temp_dir().join(format!("copy-of-{name}"));
    [
        format!("{program} put {file} /"),
        format!("{program} ls /"),
        format!("{program} get /{name} {}", copy.display()),
    ]
}
