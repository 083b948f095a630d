//! Private files and directories: accessible to the user of the process only, whatever the umask.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::domain::text_encoding::check_text_encoding;

/// The permissions of a private file's group and of all other users.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Creates the directory and its parents with mode 0700. Does nothing if it exists.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads the file. Creates it with mode 0600 if it does not exist. When two processes create it at the same time, both
/// return the content of the first: a complete draft is hard-linked to the name, which fails if the name exists.
pub fn read_or_create_private(path: &Path, generate: impl FnOnce() -> Result<String, String>) -> io::Result<String> {
    match read_text(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    let mut draft = Draft::beside(path)?;
    draft.file.write_all(generate().map_err(io::Error::other)?.as_bytes())?;
    draft.file.sync_all()?;
    match fs::hard_link(&draft.path, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    drop(draft);
    sync_directory_of(path)?;
    read_text(path)
}

/// Reads a text file. A wrong encoding is [`ErrorKind::InvalidData`], with what to do.
pub fn read_text(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    check_text_encoding(&bytes).map_err(|rule| io::Error::new(ErrorKind::InvalidData, rule))?;
    String::from_utf8(bytes)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("is not in UTF-8; save it as UTF-8: {error}")))
}

/// A private file that gets its final name when its content is complete. Drop removes it.
pub struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    /// Creates an empty draft with mode 0600 in the directory of `target`. A file or symbolic link of that name, left
    /// by an earlier process or planted by another user, is removed first and never written to.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let path = target.with_extension(format!("draft-{}", std::process::id()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let draft = Self { path, file };
        // The umask may have removed permissions of the owner.
        draft.file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(draft)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the draft the name `target`, which must not exist. The content is on disk when this returns. At no time does
    /// the name have other content.
    pub fn publish(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        rename_without_replacing(&self.path, target)?;
        sync_directory_of(target)
    }
}

/// Not every file system can refuse to replace a file, nor has hard links. There, a file that is created between the check
/// and the rename is replaced.
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if to.symlink_metadata().is_ok() => {
            Err(ErrorKind::AlreadyExists.into())
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Returns the file's mode if group or others have any access to it. `None` if there is no such file.
pub fn mode_if_too_open(path: &Path) -> io::Result<Option<u32>> {
    match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            Ok((mode & GROUP_AND_OTHERS != 0).then_some(mode))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a user, or the number if the machine has no such user.
pub fn user_name(id: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_id = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    };
    users.lines().find_map(of_id).unwrap_or_else(|| id.to_string())
}

/// Sets the mode of a file to 0600 if group or others have any access to it. Returns the mode that it had then.
pub fn restrict_to_owner(path: &Path) -> io::Result<Option<u32>> {
    let mode = mode_if_too_open(path)?;
    if mode.is_some() {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn private_file_has_mode_0600_and_is_created_once() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("a/b");
        create_private_directory(&data).unwrap();
        let path = data.join("secret");
        assert_eq!(read_or_create_private(&path, || Ok("first".into())).unwrap(), "first");
        assert_eq!(read_or_create_private(&path, || Ok("second".into())).unwrap(), "first");
        assert_eq!((mode(&data), mode(&path)), (0o700, 0o600));
        assert_eq!(names(&data), ["secret"], "no draft is left");
    }

    #[test]
    fn draft_replaces_what_was_planted_under_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (directory.path().join("master.secret"), directory.path().join("elsewhere"));
        let planted = path.with_extension(format!("draft-{}", std::process::id()));
        fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, &planted).unwrap();
        assert_eq!(read_or_create_private(&path, || Ok("secret".into())).unwrap(), "secret");
        assert!(!path.is_symlink() && mode(&path) == 0o600);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");

        fs::remove_file(&path).unwrap();
        fs::write(&planted, "planted").unwrap();
        fs::set_permissions(&planted, Permissions::from_mode(0o666)).unwrap();
        let open_elsewhere = File::open(&planted).unwrap();
        assert_eq!(read_or_create_private(&path, || Ok("secret".into())).unwrap(), "secret");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(io::read_to_string(open_elsewhere).unwrap(), "planted", "another file than the published one");
    }

    #[test]
    fn symbolic_link_to_nowhere_is_not_filled() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (directory.path().join("master.secret"), directory.path().join("elsewhere"));
        symlink(&elsewhere, &path).unwrap();
        assert!(read_or_create_private(&path, || Ok("secret".into())).is_err());
        assert_eq!(names(directory.path()), ["master.secret"]);
    }

    #[test]
    fn publish_refuses_an_existing_file_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("copy.db");
        fs::write(&target, "earlier").unwrap();
        let error = Draft::beside(&target).unwrap().publish(&target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&target).unwrap(), "earlier");
        assert_eq!(names(directory.path()), ["copy.db"]);
    }

    #[test]
    fn restrict_to_owner_reports_the_mode_that_was_too_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert_eq!(restrict_to_owner(&path).unwrap(), None);
        File::create(&path).unwrap();
        for (before, reported, after) in
            [(0o644, Some(0o644), 0o600), (0o660, Some(0o660), 0o600), (0o400, None, 0o400)]
        {
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            assert_eq!(restrict_to_owner(&path).unwrap(), reported, "{before:o}");
            assert_eq!(mode(&path), after, "{before:o}");
        }
    }
}
