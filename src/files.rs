//! Files: those that only the owner of the process may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

pub fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads the file, or makes it when there is none. Of two processes that make it at once, both end with the content of
/// the one that was first: the file appears under its name whole, and only if the name was free.
pub fn read_or_make_private(path: &Path, make: impl FnOnce() -> Result<String, String>) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(make().map_err(io::Error::other)?.as_bytes())?;
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
    fn a_made_file_is_for_its_owner_alone_and_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("a/b");
        make_private_directory(&data).unwrap();
        let path = data.join("secret");
        assert_eq!(read_or_make_private(&path, || Ok("first".into())).unwrap(), "first");
        assert_eq!(read_or_make_private(&path, || Ok("second".into())).unwrap(), "first");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft is left");
    }
}
