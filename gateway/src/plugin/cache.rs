//! Compiled plugins on disk: keyed by the plugin's digest and the engine's make, sealed with a MAC under a
//! key of our own. A file that does not verify is treated as absent; nothing here compiles.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::load::read_bounded;

/// Compiled code larger than this is neither kept nor loaded.
pub(super) const CODE_BYTES_MAX: usize = 256 << 20;
const MAC_BYTES: usize = 32;

/// Code that our own compiler wrote.
pub(super) struct Authentic {
    sealed: Vec<u8>,
}

impl Authentic {
    /// Only for what the compiler returned, over a channel nobody else writes to.
    pub(super) fn just_compiled(code: &[u8]) -> Self {
        let mut sealed = vec![0; MAC_BYTES];
        sealed.extend_from_slice(code);
        Authentic { sealed }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.sealed[MAC_BYTES..]
    }
}

/// A folder of compiled plugins.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

impl Cache {
    /// Opens the folder, and makes it and its key if need be. The folder and the key are readable by us alone.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join("key");
        match read_key(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(folder, &path)?,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        Ok(Cache { folder: folder.to_owned(), key: read_key(&path)? })
    }

    /// The compiled form of a plugin, if we wrote it and nobody touched it since.
    pub(super) fn get(&self, digest: &str, compatibility: u64) -> Option<Authentic> {
        let path = self.path(digest, compatibility);
        let sealed = read_bounded(&path, CODE_BYTES_MAX + MAC_BYTES).ok()?;
        let (mac, code) = sealed.split_at_checked(MAC_BYTES)?;
        if self.mac(digest, compatibility, code).verify_slice(mac).is_err() {
            tracing::warn!(digest, "a compiled plugin in the cache is not ours; compiling it anew");
            return None;
        }
        Some(Authentic { sealed })
    }

    /// Keeps a compiled plugin. The file appears whole or not at all.
    pub(super) fn put(&self, digest: &str, compatibility: u64, code: &mut Authentic) -> io::Result<()> {
        let mac = self.mac(digest, compatibility, code.bytes()).finalize().into_bytes();
        code.sealed[..MAC_BYTES].copy_from_slice(&mac);
        let path = self.path(digest, compatibility);
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        create(&draft, &code.sealed)?;
        fs::rename(draft, path)
    }

    fn path(&self, digest: &str, compatibility: u64) -> PathBuf {
        self.folder.join(format!("{digest}-{compatibility:016x}.cwasm"))
    }

    fn mac(&self, digest: &str, compatibility: u64, code: &[u8]) -> Hmac<Sha256> {
        let keyed = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        keyed.chain_update(digest).chain_update(compatibility.to_be_bytes()).chain_update(code)
    }
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        let advice =
            "the key of the plugin cache is open to others; delete the folder, or `chmod 600` its key";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, advice));
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)?;
    Ok(key)
}

/// A key that is whole from the first moment; of two processes that make one, the first wins.
fn make_key(folder: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let draft = folder.join(format!("key.{}.draft", std::process::id()));
    create(&draft, &key)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(draft)?;
    linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("weir-cache-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        folder
    }

    #[test]
    fn only_what_we_wrote_for_this_engine_comes_back() {
        let folder = folder("seal");
        let cache = Cache::open(&folder).expect("opens");
        cache.put("d1", 7, &mut Authentic::just_compiled(b"code")).expect("is kept");
        let again = Cache::open(&folder).expect("opens with the same key");
        assert_eq!(again.get("d1", 7).expect("verifies").bytes(), b"code");
        assert!(again.get("d1", 8).is_none());
        fs::copy(cache.path("d1", 7), cache.path("d2", 7)).expect("copies");
        assert!(again.get("d2", 7).is_none(), "another plugin's code under this name");
        let mut bytes = fs::read(cache.path("d1", 7)).expect("reads");
        *bytes.last_mut().expect("has bytes") ^= 1;
        fs::write(cache.path("d1", 7), bytes).expect("writes");
        assert!(again.get("d1", 7).is_none(), "one bit was changed");
        fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn a_key_that_others_can_read_is_no_key() {
        let folder = folder("key");
        drop(Cache::open(&folder).expect("opens"));
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o644)).expect("opens up");
        assert_eq!(Cache::open(&folder).expect_err("is refused").kind(), io::ErrorKind::PermissionDenied);
        fs::remove_dir_all(folder).expect("is removed");
    }
}
