//! Speaker identification: matches the speakers of a recording with enrolled speakers, by cosine similarity of
//! embeddings.

use std::collections::BTreeMap;

use super::cluster::length;
use super::{Diarization, turns};
use crate::assignment::best_pairs;
use crate::error::{Error, Result};

/// Default threshold: the cosine similarity above which two embeddings belong to one speaker.
///
/// Measured with wespeaker-voxceleb-resnet34-LM on the recordings of `fixtures/diarization`. Same speaker, first third
/// of the windows against the last third: 0.62 to 0.97. Two speakers of one recording: 0.59 and -0.06.
pub const DEFAULT_THRESHOLD: f64 = 0.6;
/// Default threshold for CAM++ (common Chinese and English), whose embeddings of different speakers are less similar.
///
/// Measured on LibriSpeech train-clean-100, with one utterance per speaker, cut in half. The first halves of 50
/// speakers are enrolled. 49 of their second halves are identified correctly at thresholds of 0.33 to 0.54, and 47 at
/// 0.57. Of 51 speakers who are not enrolled, 50 are rejected at 0.45, and all at 0.48 and above.
pub const CAMPPLUS_THRESHOLD: f64 = 0.5;

/// The similarity threshold of a network's embeddings.
fn least_of(network: Option<&str>) -> f64 {
    match network {
        Some("3D-Speaker CAM++") => CAMPPLUS_THRESHOLD,
        _ => DEFAULT_THRESHOLD,
    }
}

/// Enrolled speakers: names and embeddings.
#[derive(Clone, Debug, PartialEq)]
pub struct Gallery {
    /// Names, distinct and sorted.
    names: Vec<String>,
    /// Embedding `[D]` of each name, scaled to length 1.
    embeddings: Vec<Vec<f64>>,
    /// The similarity threshold; by default that of the network.
    least: Option<f64>,
    /// The network of the embeddings, if known.
    network: Option<String>,
}

impl Gallery {
    /// From names and embeddings `[D]`. A name that occurs several times gets the mean of its embeddings, each scaled
    /// to length 1. White space in a name is collapsed to single spaces; RTTM, which separates fields by spaces, has
    /// `_` instead.
    ///
    /// # Errors
    /// [`Error::Diarization`] without entries, if a name is empty or has control characters, if an embedding is zero,
    /// not finite, or of another size than the first, and if the embeddings of a name cancel each other.
    pub fn new(entries: Vec<(String, Vec<f32>)>) -> Result<Self> {
        let size = entries.first().map_or(0, |(_, embedding)| embedding.len());
        let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (entry, embedding) in &entries {
            let name = one_line(entry)?;
            let embedding = unit(embedding.iter().map(|&x| f64::from(x)).collect());
            let embedding = embedding.filter(|embedding| embedding.len() == size).ok_or_else(|| {
                let reason =
                    format!("that of `{entry}` is not {size} finite numbers, of which one at least is not zero");
                Error::diarization("enrolled voices", reason)
            })?;
            let sum = sums.entry(name).or_insert_with(|| vec![0.0; size]);
            sum.iter_mut().zip(embedding).for_each(|(sum, x)| *sum += x);
        }
        if sums.is_empty() {
            return Err(Error::diarization(
                "enrolled voices",
                "there is none; expected at least one recording of a speaker",
            ));
        }
        let mut gallery = Gallery { names: Vec::new(), embeddings: Vec::new(), least: None, network: None };
        for (name, sum) in sums {
            let reason = format!("those of `{name}` cancel each other");
            gallery.embeddings.push(unit(sum).ok_or_else(|| Error::diarization("enrolled voices", reason))?);
            gallery.names.push(name);
        }
        Ok(gallery)
    }

    /// Sets the similarity threshold, a cosine in `[-1, 1]`. The default depends on the network: [`DEFAULT_THRESHOLD`]
    /// or [`CAMPPLUS_THRESHOLD`].
    pub fn with_threshold(self, least: f64) -> Self {
        Gallery { least: Some(least), ..self }
    }

    /// Sets the network that computed the embeddings, unless it is already known. `network` is a name as returned by
    /// [`DynDiarizer::network`](super::diarizer::DynDiarizer::network); [`check`](Self::check) compares it.
    pub fn with_network(self, network: impl Into<String>) -> Self {
        Gallery { network: self.network.or_else(|| Some(network.into())), ..self }
    }

    /// Verifies that the enrolled embeddings can be compared with those of a network.
    ///
    /// # Errors
    /// [`Error::Diarization`] if they are of another size, or are known to come from another network.
    pub fn check(&self, network: &str, size: usize) -> Result<()> {
        let made_by = self.network.as_deref().filter(|own| *own != network);
        if made_by.is_none() && self.size() == size {
            return Ok(());
        }
        let made_by = made_by.map_or_else(String::new, |own| format!(" and come from {own}"));
        let reason = format!(
            "have {} numbers{made_by}; those of the pipeline have {size} and come from {network}. Enrol with this pipeline, or use \
             the one that they were made with",
            self.size()
        );
        Err(Error::diarization("enrolled voices", reason))
    }

    /// Dimension D of the embeddings.
    fn size(&self) -> usize {
        self.embeddings.first().map_or(0, Vec::len)
    }

    /// The enrolled names, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The enrolled name of each of the `embeddings` `[D]`. Each name is used at most once: the assignment
    /// maximises the sum of `similarity - threshold` over pairs above the threshold. `None` for an embedding without a
    /// match, and for a speaker without an embedding.
    ///
    /// # Errors
    /// [`Error::Diarization`] if the embeddings are of another size than the enrolled ones, and so come from another
    /// network.
    pub fn match_names(&self, embeddings: &[Option<Vec<f64>>]) -> Result<Vec<Option<&str>>> {
        let size = self.size();
        let least = self.least.unwrap_or_else(|| least_of(self.network.as_deref()));
        let mut gains = Vec::with_capacity(embeddings.len() * self.names.len());
        for embedding in embeddings {
            if let Some(other) = embedding.as_ref().map(Vec::len).filter(|other| *other != size) {
                let reason = format!("have {size} numbers, those of the recording {other}; enrol with the same model");
                return Err(Error::diarization("enrolled voices", reason));
            }
            // A missing or zero embedding gains nothing, even if the threshold is negative.
            let Some(embedding) = embedding.clone().and_then(unit) else {
                gains.extend(self.embeddings.iter().map(|_| 0.0));
                continue;
            };
            let similarity = |known: &Vec<f64>| known.iter().zip(&embedding).map(|(a, b)| a * b).sum::<f64>();
            // Clamped at 0: negative gains would let a pair below the threshold influence the assignment of the others.
            gains.extend(self.embeddings.iter().map(|known| (similarity(known) - least).max(0.0)));
        }
        let pairs = best_pairs(&gains, embeddings.len(), self.names.len()).into_iter().enumerate();
        let named = |(embedding, name): (usize, Option<usize>)| {
            let name = name.filter(|name| gains[embedding * self.names.len() + name] > 0.0)?;
            Some(self.names[name].as_str())
        };
        Ok(pairs.map(named).collect())
    }

    /// Renames the speakers of a recording by [`match_names`](Self::match_names). A speaker without a match keeps its
    /// label SPEAKER_NN, or gets a free number if an enrolled name equals that label. Returns the labels, in the order
    /// of [`Diarization::embeddings_by_label`].
    ///
    /// # Errors
    /// As [`match_names`](Self::match_names).
    pub fn rename(&self, found: &mut Diarization) -> Result<Vec<String>> {
        let mut spare = found.embeddings.len()..;
        let mut labels = Vec::with_capacity(found.embeddings.len());
        for (place, name) in self.match_names(&found.embeddings)?.into_iter().enumerate() {
            let own = std::iter::once(place).chain(&mut spare).map(turns::name);
            let label = name.map(str::to_owned).or_else(|| own.into_iter().find(|label| !self.names.contains(label)));
            labels.push(label.unwrap_or_default());
        }
        let old: Vec<String> = (0..labels.len()).map(turns::name).collect();
        for turn in found.turns.iter_mut().chain(&mut found.exclusive) {
            if let Some(place) = old.iter().position(|label| *label == turn.speaker) {
                turn.speaker.clone_from(&labels[place]);
            }
        }
        Ok(labels)
    }
}

/// The name with white space collapsed to single spaces.
fn one_line(name: &str) -> Result<String> {
    let joined = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if joined.is_empty() || joined.contains(char::is_control) {
        return Err(Error::diarization("enrolled voices", format!("{name:?} is no name")));
    }
    Ok(joined)
}

/// The vector scaled to length 1; `None` if it is zero or not finite.
fn unit(vector: Vec<f64>) -> Option<Vec<f64>> {
    let length = length(&vector);
    (length.is_finite() && length > 0.0).then(|| vector.iter().map(|x| x / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diarize::Turn;
    use crate::types::Span;

    fn gallery(entries: &[(&str, &[f32])]) -> Result<Gallery> {
        Gallery::new(entries.iter().map(|(name, embedding)| ((*name).to_owned(), embedding.to_vec())).collect())
    }

    fn found(embeddings: &[&[f64]]) -> Diarization {
        let turn =
            |place: usize| Turn { span: Span::new(place as f64, place as f64 + 1.0), speaker: turns::name(place) };
        Diarization {
            turns: (0..embeddings.len()).map(turn).collect(),
            exclusive: (0..embeddings.len()).rev().map(turn).collect(),
            embeddings: embeddings.iter().map(|embedding| Some(embedding.to_vec())).collect(),
            ..Diarization::default()
        }
    }

    #[test]
    fn speakers_get_the_names_of_the_most_alike() {
        let gallery = gallery(&[("Bob", &[0.0, 9.0, 0.0]), ("Ann", &[2.0, 0.0, 0.0])]).unwrap();
        let mut found = found(&[&[0.1, 3.0, 0.2], &[0.0, 0.1, 1.0], &[0.5, 0.0, 0.1]]);
        assert_eq!(gallery.rename(&mut found).unwrap(), ["Bob", "SPEAKER_01", "Ann"]);
        let speakers = |turns: &[Turn]| turns.iter().map(|turn| turn.speaker.clone()).collect::<Vec<_>>();
        assert_eq!(speakers(&found.turns), ["Bob", "SPEAKER_01", "Ann"]);
        assert_eq!(speakers(&found.exclusive), ["Ann", "SPEAKER_01", "Bob"]);
    }

    /// 0.8 and 0.6 to Ann: only the first is her. The second is like Bob, but less than it needs to be.
    #[test]
    fn no_name_is_given_twice_nor_to_whom_it_does_not_fit() {
        let gallery = gallery(&[("Ann", &[1.0, 0.0]), ("Bob", &[0.0, 1.0])]).unwrap().with_threshold(0.7);
        let both = found(&[&[0.75, 0.66], &[0.99, -0.14]]);
        assert_eq!(gallery.match_names(&both.embeddings).unwrap(), [None, Some("Ann")]);
        // The sum of all likenesses would be greatest with Bob and Ann: 0.66 + 0.7 against 0.75 - 0.71.
        let crossed = found(&[&[0.75, 0.66], &[0.7, -0.71]]);
        assert_eq!(gallery.match_names(&crossed.embeddings).unwrap(), [Some("Ann"), None]);
        assert_eq!(gallery.clone().with_threshold(0.65).match_names(&crossed.embeddings).unwrap(), [Some("Ann"), None]);
        assert_eq!(gallery.with_threshold(0.6).match_names(&crossed.embeddings).unwrap(), [Some("Bob"), Some("Ann")]);
    }

    #[test]
    fn voices_of_one_name_are_averaged_at_the_same_length() {
        // At their own lengths the mean would be all but the second.
        let gallery = gallery(&[("Ann Lee", &[1.0, 0.0]), ("Ann\tLee", &[0.0, 1000.0])]).unwrap();
        assert_eq!(gallery.names(), ["Ann Lee"]);
        assert_eq!(
            gallery.with_threshold(0.99).match_names(&[vec![1.0, 1.0], vec![0.0, 1.0]].map(Some)).unwrap(),
            [Some("Ann Lee"), None]
        );
    }

    #[test]
    fn labels_never_mean_two_speakers() {
        let gallery = gallery(&[("SPEAKER_01", &[1.0, 0.0])]).unwrap();
        let labels = |embeddings: &[&[f64]]| gallery.rename(&mut found(embeddings)).unwrap();
        assert_eq!(labels(&[&[1.0, 0.0], &[0.0, 1.0]]), ["SPEAKER_01", "SPEAKER_02"]);
        assert_eq!(labels(&[&[0.0, 1.0], &[0.0, -1.0], &[1.0, 0.0]]), ["SPEAKER_00", "SPEAKER_03", "SPEAKER_01"]);
    }

    #[test]
    fn what_cannot_be_compared_is_like_nobody_or_refused() {
        let gallery = gallery(&[("Ann", &[1.0, 0.0])]).unwrap();
        let embeddings = [Some(vec![0.0, 0.0]), Some(vec![f64::NAN, 1.0]), None, Some(vec![1.0, 0.1])];
        for least in [-1.0, 0.0, DEFAULT_THRESHOLD] {
            let gallery = gallery.clone().with_threshold(least);
            assert_eq!(gallery.match_names(&embeddings).unwrap(), [None, None, None, Some("Ann")], "{least}");
        }
        assert!(gallery.match_names(&[]).unwrap().is_empty());
        assert!(gallery.match_names(&[Some(vec![1.0])]).unwrap_err().to_string().contains("have 2 numbers"));
    }

    #[test]
    fn the_least_likeness_is_that_of_the_network_unless_it_is_chosen() {
        let gallery = gallery(&[("Ann", &[1.0, 0.0])]).unwrap();
        let at = |cosine: f64| vec![Some(vec![cosine, (1.0 - cosine * cosine).sqrt()])];
        let is_ann = |gallery: &Gallery, cosine| gallery.match_names(&at(cosine)).unwrap() == [Some("Ann")];
        let campplus = gallery.clone().with_network("3D-Speaker CAM++");
        assert!(is_ann(&gallery, 0.62) && !is_ann(&gallery, 0.58));
        assert!(is_ann(&campplus, 0.52) && !is_ann(&campplus, 0.48));
        assert!(is_ann(&campplus.clone().with_threshold(0.4), 0.45));
        assert_eq!(campplus.clone().with_network("ResNet34"), campplus, "it is known already");
    }

    #[test]
    fn voices_of_another_network_are_refused() {
        let gallery = gallery(&[("Ann", &[1.0, 0.0])]).unwrap();
        assert!(gallery.check("CAM++", 2).is_ok());
        let error = gallery.check("CAM++", 192).unwrap_err().to_string();
        assert!(error.contains("have 2 numbers;") && error.contains("have 192 and come from CAM++"), "{error}");
        let gallery = gallery.with_network("ResNet34");
        assert!(gallery.check("ResNet34", 2).is_ok());
        for (network, size) in [("CAM++", 2), ("CAM++", 192), ("ResNet34", 256)] {
            let error = gallery.check(network, size).unwrap_err().to_string();
            let of_name = error.contains("have 2 numbers and come from ResNet34");
            assert_eq!(of_name, network != "ResNet34", "{error}");
            assert!(error.contains(&format!("have {size} and come from {network}")), "{error}");
        }
    }

    #[test]
    fn what_is_no_gallery_is_refused() {
        for (entries, reason) in [
            (&[] as &[(&str, &[f32])], "there is none"),
            (&[(" ", &[1.0])], "no name"),
            (&[("a\u{7}", &[1.0])], "no name"),
            (&[("a", &[])], "`a`"),
            (&[("a", &[0.0, 0.0])], "`a`"),
            (&[("a", &[1.0, f32::NAN])], "`a`"),
            (&[("a", &[1.0, 0.0]), ("b", &[1.0])], "`b` is not 2"),
            (&[("a", &[1.0, 0.0]), ("a", &[-1.0, 0.0])], "cancel"),
        ] {
            let error = gallery(entries).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
