//! A disk that is full in the middle of a write, without one: the system ends the files of a process at some
//! byte. What goes beyond is not written, and the process dies.

use std::path::Path;
use std::time::SystemTime;

use crate::util::{Context, Failure};

/// Whether this system can do that to another process.
pub(super) const ABLE: bool = cfg!(target_os = "linux");

/// Ends all files of a process at this byte, from now on.
#[cfg(target_os = "linux")]
pub(super) fn end_files(process: u32, at: u64) -> Result<(), Failure> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let set = |resource, bytes| {
        prlimit(process, resource, limit(bytes)).context(|| String::from("cannot limit the files of a node"))
    };
    // Its death is wanted: nobody needs a picture of it.
    set(Resource::Core, 0)?;
    set(Resource::Fsize, at).map(drop)
}

/// Ends all files of a process at this byte, from now on.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_files(_: u32, _: u64) -> Result<(), Failure> {
    Err(Failure::new("limits of another process need Linux"))
}

/// The end of what stands in the file that was written last: behind it there are only zeros.
pub(super) fn end_of_newest(folder: &Path) -> Option<u64> {
    let files = std::fs::read_dir(folder).ok()?.flatten();
    let written = |file: &std::fs::DirEntry| {
        file.metadata().and_then(|of| of.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let newest = files.filter(|file| file.path().is_file()).max_by_key(written)?;
    let bytes = std::fs::read(newest.path()).ok()?;
    bytes.iter().rposition(|byte| *byte != 0).map(|last| last as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(end_of_newest(dir.path()), None);
        std::fs::write(dir.path().join("a"), [0, 1, 2, 0, 0]).unwrap();
        assert_eq!(end_of_newest(dir.path()), Some(3));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_dies_of_the_write_that_gets_there() {
        use std::io::Write;
        use std::os::unix::process::ExitStatusExt;
        use std::process::{Command, Stdio};

        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("out")).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(file).spawn().unwrap();
        end_files(child.id(), 10).unwrap();
        let mut input = child.stdin.take().unwrap();
        // It takes what fits, and dies of the rest.
        let _ = input.write_all(&[7; 100]);
        drop(input);
        assert_eq!(child.wait().unwrap().signal(), Some(25), "SIGXFSZ");
        assert_eq!(std::fs::read(dir.path().join("out")).unwrap(), [7; 10]);
    }
}
