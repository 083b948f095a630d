//! Files and directories: whose they are, who may read them, and whether there is room.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::doctor::Opinion;
use crate::config::{DataSettings, ServeSettings, SigningSettings};

const OTHERS: u32 = 0o007;
const GROUP: u32 = 0o070;

pub fn directory(data: &Path) -> Opinion {
    let shown = data.display();
    match data.metadata() {
        Ok(found) if !found.is_dir() => Err(format!("{shown} is not a directory; give another as --data-dir")),
        Ok(found) if found.mode() & (GROUP | OTHERS) != 0 => Err(format!(
            "{shown} holds secrets and is open to others (mode {:o}); run: chmod 700 {shown}",
            found.mode() & 0o777
        )),
        Ok(_) => Ok(format!("{shown} is there, for its owner alone")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(format!("{shown} is not there yet; `serve` makes it")),
        Err(error) => Err(format!("{shown}: {error}; let the service's user into it, or give another as --data-dir")),
    }
}

/// Where Docker and Kubernetes put secrets for one container alone; whom their modes let in is nobody else.
const MOUNTED: &str = "/run/secrets";

/// A group may read what is given: services that share a certificate do so by theirs.
pub fn files(data: &DataSettings, signing: &SigningSettings, serve: &ServeSettings) -> Opinion {
    let given = [&data.master_secret_file, &signing.signing_key_file, &data.database_url_file, &serve.tls_key];
    for file in given.into_iter().flatten().filter(|file| !file.starts_with(MOUNTED)) {
        let mode = file.metadata().map_or(0, |found| found.mode() & 0o777);
        if mode & OTHERS != 0 {
            let shown = file.display();
            return Err(format!("{shown} holds a secret and is open to all (mode {mode:o}); run: chmod o= {shown}"));
        }
    }
    let Ok(directory) = data.data_dir.metadata() else { return Ok("there are none yet".into()) };
    for (path, found) in entries(&data.data_dir) {
        let shown = path.display();
        if found.uid() != directory.uid() {
            return Err(format!(
                "{shown} belongs to another user than its directory, perhaps since a command was run as root; run: chown \
                 --reference={} {shown}",
                data.data_dir.display()
            ));
        }
        if let Err(error) = File::open(&path) {
            return Err(format!("{shown}: {error}; run this as the service's user, and let that user read the file"));
        }
    }
    Ok("they belong to the owner of their directory, and can be read".into())
}

fn entries(directory: &Path) -> Vec<(PathBuf, Metadata)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .filter(|(_, found)| found.is_file())
        .collect()
}

/// As much as a checkpoint of the database writes at least.
const ROOM: usize = 4 << 20;

/// Where files are to be made and written: in the directory, or in the nearest one above it that is there.
pub fn room(data: &Path, database: Option<&Path>) -> Opinion {
    let database = database.and_then(Path::parent).filter(|directory| *directory != data);
    for directory in [Some(data), database].into_iter().flatten() {
        let above = directory.ancestors().find(|above| above.exists() && !above.as_os_str().is_empty());
        let place = above.unwrap_or(Path::new("."));
        write_and_forget(place).map_err(|error| cure(place, &error))?;
    }
    Ok("it can be written, and has room".into())
}

fn write_and_forget(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".mintkey-doctor-{}", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(&vec![0; ROOM])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

fn cure(directory: &Path, error: &io::Error) -> String {
    let shown = directory.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("{shown} has no room for 4 MiB more; make room, or nothing can be stored")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!(
                "{shown} is on a file system that is mounted read-only; mount it for writing, or give another place"
            )
        }
        ErrorKind::PermissionDenied => format!(
            "{shown} cannot be written by this user; run this as the service's user, and if it is that, make it the owner"
        ),
        _ => format!("{shown} cannot be written: {error}"),
    }
}
