//! Files in memory, for the journal: nothing fails, nothing is forgotten.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::disk::{Disk, DiskFile};

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A folder in memory; clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Files>>);

#[derive(Debug)]
struct File {
    memory: Memory,
    name: String,
}

impl Memory {
    /// A folder with these files.
    pub fn new(files: Files) -> Self {
        Self(Arc::new(Mutex::new(files)))
    }

    /// What is in it now.
    pub fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("files are small")
}

impl Disk for Memory {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        self.files().insert(name.to_owned(), vec![0; place(bytes)]);
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.files().get(name).ok_or_else(missing)?;
        Ok(Box::new(File { memory: self.clone(), name: name.to_owned() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name).map(drop).ok_or_else(missing)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut files = self.memory.files();
        let file = files.get_mut(&self.name).ok_or_else(missing)?;
        let end = place(offset) + bytes.len();
        file.resize(file.len().max(end), 0);
        file[place(offset)..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let files = self.memory.files();
        let file = files.get(&self.name).ok_or_else(missing)?;
        let rest = file.get(place(offset)..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.memory.files().get(&self.name).ok_or_else(missing)?.len() as u64)
    }
}
