//! Private files and directories: accessible to the user of the process only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Creates the directory and its parents with mode 0700. Does nothing if it exists.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads the file. Creates it with mode 0600 if it does not exist. When two processes create it at the same time, both
/// return the content of the first: a complete draft is hard-linked to the name, which fails if the name exists.
pub fn read_or_create_private(path: &Path, generate: impl FnOnce() -> Result<String, String>) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(generate().map_err(io::Error::other)?.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_file_has_mode_0600_and_is_created_once() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("a/b");
        create_private_directory(&data).unwrap();
        let path = data.join("secret");
        assert_eq!(read_or_create_private(&path, || Ok("first".into())).unwrap(), "first");
        assert_eq!(read_or_create_private(&path, || Ok("second".into())).unwrap(), "first");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft is left");
    }
}
