//! Checks of files and directories: owners, modes, free space.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::doctor::CheckResult;
use crate::cli::doctor::remedy::{Context, remedy};
use crate::cli::private_files;
use crate::cli::serve::ServeCommand;
use crate::config::DataSettings;
use crate::files;

const OTHERS_MODE: u32 = 0o007;
const GROUP_MODE: u32 = 0o070;

pub fn check_directory(data: &Path) -> CheckResult {
    let path = data.display();
    match data.metadata() {
        Ok(metadata) if !metadata.is_dir() => {
            Err(format!("{path} is not a directory; set another --data-dir (MINTKEY_DATA_DIR)"))
        }
        Ok(metadata) if metadata.mode() & (GROUP_MODE | OTHERS_MODE) != 0 => Err(format!(
            "{path} holds secrets and is accessible to other users (mode {:o}); run: chmod 700 {path}",
            metadata.mode() & 0o777
        )),
        Ok(_) => Ok(format!("{path} exists and is accessible to its owner only")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(format!("{path} does not exist yet; `mintkey serve` creates it"))
        }
        Err(error) => Err(remedy(&error, Context::FindDirectory(data))),
    }
}

/// Where Docker and Kubernetes mount secrets for one container: their modes give no access outside of it.
const CONTAINER_SECRETS: &str = "/run/secrets";

/// The files with secrets that the settings name.
pub fn secret_files(command: &ServeCommand) -> Vec<&Path> {
    let ServeCommand { data, secrets, signing, serve, .. } = command;
    let files = [&secrets.master_secret_file, &signing.signing_key_file, &data.database_url_file, &serve.tls_key];
    files.into_iter().flatten().map(PathBuf::as_path).collect()
}

/// Checks that secrets are not readable by all users, and that the files of the data directory are this service's. A group
/// may read a configured file: services that share a certificate do so through a group.
pub fn check_files(data: &DataSettings, secret_files: &[&Path], database: Option<&Path>) -> CheckResult {
    for file in secret_files.iter().filter(|file| !file.starts_with(CONTAINER_SECRETS)) {
        let mode = file.metadata().map_or(0, |metadata| metadata.mode() & 0o777);
        if mode & OTHERS_MODE != 0 {
            let path = file.display();
            return Err(format!(
                "{path} holds a secret and is accessible to all (mode {mode:o}); run: chmod o= {path}"
            ));
        }
    }
    if let Some((path, mode)) = private_files::find_open_file(data, database) {
        let path = path.display();
        return Err(format!(
            "{path} is accessible to other users (mode {mode:o}); run: chmod 600 {path}, and consider that they may have \
             read it"
        ));
    }
    let Ok(directory) = data.data_dir.metadata() else { return Ok("there are none yet".into()) };
    for (path, metadata) in files_in(&data.data_dir) {
        check_owner(&path, metadata.uid(), &data.data_dir, directory.uid())?;
        if let Err(error) = File::open(&path) {
            return Err(remedy(&error, Context::ReadFile(&path)));
        }
    }
    if let Some(database) = database {
        check_database_file(database)?;
    }
    Ok("owned by the owner of their directory, and readable".into())
}

fn check_owner(path: &Path, owner: u32, directory: &Path, of_directory: u32) -> Result<(), String> {
    if owner == of_directory {
        return Ok(());
    }
    let (path, directory) = (path.display(), directory.display());
    Err(format!(
        "{path} is owned by another user ({}) than its directory ({}), perhaps because a command ran as root; run: chown \
         --reference={directory} {path}",
        files::user_name(owner),
        files::user_name(of_directory)
    ))
}

/// Checks the files of a database, which may be in another directory than the data.
fn check_database_file(database: &Path) -> Result<(), String> {
    for path in private_files::database_files(database) {
        let Some(directory) = path.parent() else { continue };
        let (Ok(of_file), Ok(of_directory)) = (path.metadata(), directory.metadata()) else { continue };
        check_owner(&path, of_file.uid(), directory, of_directory.uid())?;
        match File::options().write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(remedy(&error, Context::WriteFile(&path)));
            }
            // Another error is the disk's.
            _ => {}
        }
    }
    Ok(())
}

fn files_in(directory: &Path) -> Vec<(PathBuf, Metadata)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .filter(|(_, metadata)| metadata.is_file())
        .collect()
}

/// The least that a checkpoint of the database writes.
const PROBE_BYTES: usize = 4 << 20;

/// Writes and removes a file where data will be written: in the directory, or in its nearest existing ancestor.
pub fn check_space(data: &Path, database: Option<&Path>) -> CheckResult {
    let database = database.and_then(Path::parent).filter(|directory| *directory != data);
    for directory in [Some(data), database].into_iter().flatten() {
        let existing = directory.ancestors().find(|path| path.exists() && !path.as_os_str().is_empty());
        let existing = existing.unwrap_or(Path::new("."));
        write_and_remove(existing).map_err(|error| remedy(&error, Context::WriteIn(existing)))?;
    }
    Ok("writable, with free space".into())
}

fn write_and_remove(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".mintkey-doctor-{}", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}
