//! Lookup and download of files pinned to a commit and a SHA-256. Alternative repositories are tried in order. A file
//! with another checksum is never used.

use std::path::PathBuf;

use super::pinned::Published;
use super::{Hub, Network, OnProgress, fetch, snapshots};
use crate::error::{Error, Result};

/// Result of searching this machine for a file.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// The file's path, and the source that it matches.
    pub(super) file: Option<(PathBuf, Published<'a>)>,
    /// Files with the right name that fail the check, and why.
    pub(super) skipped: Vec<String>,
}

/// Why a file is not available.
pub(super) enum Missing {
    /// The caller cancelled.
    Cancelled,
    /// One reason for each path and repository that was tried.
    Reasons(Vec<String>),
}

impl Hub {
    /// The first of `sources` that is on this machine; if none is, the first that can be downloaded. Every file is
    /// checked before it is returned, including cached ones. `what` names the file in errors.
    ///
    /// # Errors
    /// [`Error::Hub`] with the reason of each repository that was tried; [`Error::Cancelled`].
    pub fn obtain_published(
        &self,
        what: &str,
        sources: &[Published<'_>],
        on_progress: &mut OnProgress<'_>,
    ) -> Result<PathBuf> {
        match self.published(sources, on_progress) {
            Ok((path, _)) => Ok(path),
            Err(Missing::Cancelled) => Err(Error::Cancelled),
            Err(Missing::Reasons(reasons)) => {
                Err(Error::Hub { model: what.to_string(), reason: reasons.join(";\n  ") })
            }
        }
    }

    /// The first of `sources` on this machine: in `model_dir` (as organisation/name/FILE or name/FILE) or in a cache.
    pub(super) fn find_published<'a>(&self, sources: &[Published<'a>]) -> Found<'a> {
        let mut found = Found::default();
        for source in sources {
            for path in self.places_of(source) {
                match source.check(&path, &mut || {}) {
                    Ok(()) => {
                        found.file = Some((path, *source));
                        return found;
                    }
                    Err(why) => found.skipped.push(format!("{} is not used: {why}", path.display())),
                }
            }
        }
        found
    }

    /// See [`obtain_published`](Self::obtain_published); also returns the source that the file matches.
    pub(super) fn published<'a>(
        &self,
        sources: &[Published<'a>],
        on_progress: &mut OnProgress<'_>,
    ) -> std::result::Result<(PathBuf, Published<'a>), Missing> {
        let Found { file, skipped: mut reasons } = self.find_published(sources);
        if let Some(found) = file {
            return Ok(found);
        }
        if self.network == Network::Forbidden {
            reasons.push("downloads are switched off".into());
            return Err(Missing::Reasons(reasons));
        }
        let Some(root) = self.model_dir.as_ref().or(self.cache.as_ref()) else {
            reasons.push("there is no home folder to download it to".into());
            return Err(Missing::Reasons(reasons));
        };
        for reason in &reasons {
            tracing::warn!("{reason}; it is fetched again");
        }
        for (index, source) in sources.iter().enumerate() {
            let why = match fetch::published(self, source, root, on_progress) {
                Ok(path) => return Ok((path, *source)),
                Err(fetch::Error::Cancelled) => return Err(Missing::Cancelled),
                Err(fetch::Error::Unreachable(why)) => format!("{}: cannot be reached ({why})", source.repo),
                Err(fetch::Error::Refused(why) | fetch::Error::Other(why)) => format!("{}: {why}", source.repo),
            };
            if let Some(next) = sources.get(index + 1) {
                tracing::warn!("{why}; {} is tried next", next.repo);
            }
            reasons.push(why);
        }
        Err(Missing::Reasons(reasons))
    }

    /// Paths at which the file exists on this machine. In each cache the pinned revision comes before others.
    fn places_of(&self, source: &Published<'_>) -> Vec<PathBuf> {
        let name = source.repo.rsplit('/').next().unwrap_or(source.repo);
        let plain = self.model_dir.iter().flat_map(|dir| [dir.join(source.repo), dir.join(name)]);
        let mut folders: Vec<PathBuf> = plain.collect();
        for root in self.model_dir.iter().chain(&self.cache) {
            let mut snapshots: Vec<PathBuf> =
                snapshots::snapshots(root, source.repo).into_iter().map(|snapshot| snapshot.folder).collect();
            snapshots.sort_by_key(|folder| !folder.ends_with(source.revision));
            folders.extend(snapshots);
        }
        folders.into_iter().map(|folder| folder.join(source.file)).filter(|path| path.is_file()).collect()
    }
}
