//! Reads and writes the files of `~/.mcpctl`: whole or not at all, and credentials for their owner only.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Checkpoints, Config, Credentials};
use crate::failure::{Done, Failure, file};

/// The folder with the user's contexts and credentials.
#[derive(Clone, Debug)]
pub struct Home {
    folder: PathBuf,
}

impl Home {
    /// `MCPCTL_HOME`, or `.mcpctl` in the home folder.
    pub fn find() -> Done<Self> {
        let given = std::env::var_os("MCPCTL_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = given.or_else(|| Some(std::env::home_dir()?.join(".mcpctl")));
        folder.map(|folder| Self { folder }).ok_or_else(|| {
            Failure::new("there is no home folder to keep contexts in").hint("set HOME or MCPCTL_HOME to a folder")
        })
    }

    /// One in a given folder.
    #[cfg(test)]
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder; it need not exist yet.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Contexts.
    pub fn config(&self) -> Done<Config> {
        Ok(self.read("config")?.unwrap_or_default())
    }

    /// Bearers by context.
    pub fn credentials(&self) -> Done<Credentials> {
        let path = self.folder.join("credentials");
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.permissions().mode() & 0o077 != 0
        {
            return Err(Failure::new(format!("{} can be read by others, and it holds tokens", path.display()))
                .hint(format!("chmod 600 {0}, and log in again if somebody else could have read it", path.display())));
        }
        Ok(self.read("credentials")?.unwrap_or_default())
    }

    /// What was seen of each control plane's log.
    pub fn checkpoints(&self) -> Done<Checkpoints> {
        Ok(self.read("checkpoints")?.unwrap_or_default())
    }

    /// Changes what is kept of them.
    pub fn update_checkpoints(&self, change: impl FnOnce(&mut Checkpoints)) -> Done {
        let _lock = self.lock()?;
        let mut checkpoints = self.checkpoints()?;
        change(&mut checkpoints);
        self.write("checkpoints", &checkpoints)
    }

    /// Changes the contexts.
    pub fn update_config(&self, change: impl FnOnce(&mut Config)) -> Done {
        let _lock = self.lock()?;
        let mut config = self.config()?;
        change(&mut config);
        self.write("config", &config)
    }

    /// Changes the bearers.
    pub fn update_credentials(&self, change: impl FnOnce(&mut Credentials)) -> Done {
        let _lock = self.lock()?;
        let mut credentials = self.credentials()?;
        change(&mut credentials);
        self.write("credentials", &credentials)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Done<Option<T>> {
        let path = self.folder.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => return Ok(None),
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file("can't read", &path, &error)),
        };
        // The parser's message may quote the line, which may hold a token.
        yaml_serde::from_str(&text).map(Some).map_err(|error| {
            let place = error.location().map(|at| format!(" near line {}", at.line())).unwrap_or_default();
            Failure::new(format!("{} is damaged{place}", path.display()))
                .hint("repair it, or remove it and log in again")
        })
    }

    /// Two commands that change the same file do so one after the other.
    fn lock(&self) -> Done<File> {
        let fail = |error: &std::io::Error| file("can't write in", &self.folder, error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(|error| fail(&error))?;
        let path = self.folder.join(".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| fail(&error))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| fail(&error.into()))?;
        Ok(lock)
    }

    fn write<T: Serialize>(&self, name: &str, content: &T) -> Done {
        let text = yaml_serde::to_string(content).expect("contexts and credentials are plain data");
        write_whole(&self.folder.join(name), text.as_bytes(), 0o600)
    }
}

/// Writes a file so that it is there whole or not at all.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> Done {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let fail = |error: &std::io::Error| file("can't write", path, error);
    // Removed again when anything below fails.
    let mut temporary = tempfile::Builder::new()
        .prefix(".mcpctl-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(|error| fail(&error))?;
    temporary.write_all(content).and_then(|()| temporary.as_file().sync_all()).map_err(|error| fail(&error))?;
    temporary.persist(path).map(drop).map_err(|error| fail(&error.error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::{Context, Credential};

    fn credential() -> Credential {
        Credential { token: "mcpctl_login_x".into(), user: Some("a@b.c".into()), expires_at: None, api: None }
    }

    #[test]
    fn what_is_written_is_read_again_and_only_the_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("new"));
        assert_eq!(home.config().unwrap(), Config::default());
        let context = Context { api: "http://127.0.0.1:3100".into(), ..Context::default() };
        home.update_config(|config| drop(config.contexts.insert("local".into(), context.clone()))).unwrap();
        home.update_credentials(|all| drop(all.insert("local".into(), credential()))).unwrap();
        assert_eq!(home.config().unwrap().contexts["local"], context);
        assert_eq!(home.credentials().unwrap()["local"], credential());
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(home.folder().join("credentials")), 0o600);
        assert_eq!(mode(home.folder().to_owned()), 0o700);
    }

    #[test]
    fn credentials_that_others_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        home.update_credentials(|all| drop(all.insert("local".into(), credential()))).unwrap();
        fs::set_permissions(home.folder().join("credentials"), fs::Permissions::from_mode(0o640)).unwrap();
        let refused = home.credentials().unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_damaged_file_is_named_without_quoting_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        write_whole(&home.folder().join("credentials"), b"local: {token: mcpctl_login_secret", 0o600).unwrap();
        let refused = home.credentials().unwrap_err().to_string();
        assert!(refused.contains("damaged") && !refused.contains("secret"), "{refused}");
    }
}
