//! Names instead of SPEAKER_00: the voices of a recording against voices whose names are known.

use std::collections::BTreeMap;

use super::cluster::length;
use super::{Diarization, turns};
use crate::assignment::best_pairs;
use crate::error::{Error, Result};

/// How alike two voices are at least to be one person's, as the cosine between them.
///
/// Of wespeaker-voxceleb-resnet34-LM over the recordings of `fixtures/diarization`, speaker by speaker: the first third
/// of a speaker's windows against the last has 0.62 to 0.97; two speakers of one recording have 0.59 and -0.06.
pub const LIKENESS: f64 = 0.6;

/// Voices whose names are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Gallery {
    /// Each name once, in order.
    names: Vec<String>,
    /// The voice of each, of length one.
    voices: Vec<Vec<f64>>,
    least: f64,
}

impl Gallery {
    /// From voices `[D]` and their names. Where a name comes more than once, its voice is the mean of all, each brought to
    /// length one before. White space in a name becomes `_`, since the fields of RTTM are separated by it.
    ///
    /// # Errors
    /// [`Error::Diarization`] if there is none, if a name is empty or has control characters, or if a voice is nothing that
    /// can be compared: of another size than the first, not finite, or zero.
    pub fn new(entries: Vec<(String, Vec<f32>)>) -> Result<Self> {
        let size = entries.first().map_or(0, |(_, voice)| voice.len());
        let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (entry, voice) in &entries {
            let name = field(entry)?;
            let voice = unit(voice.iter().map(|&x| f64::from(x)).collect());
            let voice = voice.filter(|voice| voice.len() == size).ok_or_else(|| {
                let reason =
                    format!("that of `{entry}` is not {size} finite numbers, of which one at least is not zero");
                Error::diarization("enrolled voices", reason)
            })?;
            let sum = sums.entry(name).or_insert_with(|| vec![0.0; size]);
            sum.iter_mut().zip(voice).for_each(|(sum, x)| *sum += x);
        }
        if sums.is_empty() {
            return Err(Error::diarization(
                "enrolled voices",
                "there is none; expected at least one recording of a speaker",
            ));
        }
        let mut gallery = Gallery { names: Vec::new(), voices: Vec::new(), least: LIKENESS };
        for (name, sum) in sums {
            let reason = format!("those of `{name}` cancel each other");
            gallery.voices.push(unit(sum).ok_or_else(|| Error::diarization("enrolled voices", reason))?);
            gallery.names.push(name);
        }
        Ok(gallery)
    }

    /// The same voices, to be taken from another likeness on than [`LIKENESS`]: a cosine, in `[-1, 1]`.
    pub fn from_likeness(self, least: f64) -> Self {
        Gallery { least, ..self }
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whose each of `voices` `[K, D]` is. No name is given twice; of all ways to give them, the one whose likenesses lie
    /// above the least by most in sum. A voice that is like nobody's has none.
    ///
    /// # Errors
    /// [`Error::Diarization`] if the voices are of another size than those enrolled: another network heard them.
    pub fn whose(&self, voices: &[Vec<f64>]) -> Result<Vec<Option<&str>>> {
        let size = self.voices.first().map_or(0, Vec::len);
        let mut gains = Vec::with_capacity(voices.len() * self.names.len());
        for voice in voices {
            if voice.len() != size {
                let reason =
                    format!("have {size} numbers, those of the recording {}; enrol with the same model", voice.len());
                return Err(Error::diarization("enrolled voices", reason));
            }
            // A voice that cannot be compared is like nobody's.
            let voice = unit(voice.clone()).unwrap_or_else(|| vec![0.0; size]);
            let likeness = |known: &Vec<f64>| known.iter().zip(&voice).map(|(a, b)| a * b).sum::<f64>();
            // What lies below the least is worth nothing, or it could take a name from whom it fits.
            gains.extend(self.voices.iter().map(|known| (likeness(known) - self.least).max(0.0)));
        }
        let pairs = best_pairs(&gains, voices.len(), self.names.len()).into_iter().enumerate();
        let named = |(voice, name): (usize, Option<usize>)| {
            let name = name.filter(|name| gains[voice * self.names.len() + name] > 0.0)?;
            Some(self.names[name].as_str())
        };
        Ok(pairs.map(named).collect())
    }

    /// Gives the speakers of a recording the names of the voices that are most like theirs, as [`whose`](Self::whose) finds
    /// them. Who is like nobody keeps the label SPEAKER_NN, with the same number unless somebody enrolled is called that.
    /// Returns the labels, in the order of the recording's voices.
    ///
    /// # Errors
    /// As [`whose`](Self::whose).
    pub fn rename(&self, found: &mut Diarization) -> Result<Vec<String>> {
        let mut spare = found.voices.len()..;
        let mut labels = Vec::with_capacity(found.voices.len());
        for (place, name) in self.whose(&found.voices)?.into_iter().enumerate() {
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

/// A name as a field of RTTM.
fn field(name: &str) -> Result<String> {
    let joined = name.split_whitespace().collect::<Vec<_>>().join("_");
    if joined.is_empty() || joined.contains(char::is_control) {
        return Err(Error::diarization("enrolled voices", format!("{name:?} is no name")));
    }
    Ok(joined)
}

/// A vector brought to length one; none where there is no such.
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
        Gallery::new(entries.iter().map(|(name, voice)| ((*name).to_owned(), voice.to_vec())).collect())
    }

    fn found(voices: &[&[f64]]) -> Diarization {
        let turn =
            |place: usize| Turn { span: Span::new(place as f64, place as f64 + 1.0), speaker: turns::name(place) };
        Diarization {
            turns: (0..voices.len()).map(turn).collect(),
            exclusive: (0..voices.len()).rev().map(turn).collect(),
            voices: voices.iter().map(|voice| voice.to_vec()).collect(),
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
        let gallery = gallery(&[("Ann", &[1.0, 0.0]), ("Bob", &[0.0, 1.0])]).unwrap().from_likeness(0.7);
        let both = found(&[&[0.75, 0.66], &[0.99, -0.14]]);
        assert_eq!(gallery.whose(&both.voices).unwrap(), [None, Some("Ann")]);
        // The sum of all likenesses would be greatest with Bob and Ann: 0.66 + 0.7 against 0.75 - 0.71.
        let crossed = found(&[&[0.75, 0.66], &[0.7, -0.71]]);
        assert_eq!(gallery.whose(&crossed.voices).unwrap(), [Some("Ann"), None]);
        assert_eq!(gallery.clone().from_likeness(0.65).whose(&crossed.voices).unwrap(), [Some("Ann"), None]);
        assert_eq!(gallery.from_likeness(0.6).whose(&crossed.voices).unwrap(), [Some("Bob"), Some("Ann")]);
    }

    #[test]
    fn voices_of_one_name_are_averaged_at_the_same_length() {
        // At their own lengths the mean would be all but the second.
        let gallery = gallery(&[("Ann Lee", &[1.0, 0.0]), ("Ann\tLee", &[0.0, 1000.0])]).unwrap();
        assert_eq!(gallery.names(), ["Ann_Lee"]);
        assert_eq!(
            gallery.from_likeness(0.99).whose(&[vec![1.0, 1.0], vec![0.0, 1.0]]).unwrap(),
            [Some("Ann_Lee"), None]
        );
    }

    #[test]
    fn labels_never_mean_two_speakers() {
        let gallery = gallery(&[("SPEAKER_01", &[1.0, 0.0])]).unwrap();
        let labels = |voices: &[&[f64]]| gallery.rename(&mut found(voices)).unwrap();
        assert_eq!(labels(&[&[1.0, 0.0], &[0.0, 1.0]]), ["SPEAKER_01", "SPEAKER_02"]);
        assert_eq!(labels(&[&[0.0, 1.0], &[0.0, -1.0], &[1.0, 0.0]]), ["SPEAKER_00", "SPEAKER_03", "SPEAKER_01"]);
    }

    #[test]
    fn what_cannot_be_compared_is_like_nobody_or_refused() {
        let gallery = gallery(&[("Ann", &[1.0, 0.0])]).unwrap();
        let voices = [vec![0.0, 0.0], vec![f64::NAN, 1.0]];
        assert_eq!(gallery.clone().from_likeness(-1.0).whose(&voices).unwrap(), [Some("Ann"), None]);
        assert_eq!(gallery.whose(&voices).unwrap(), [None, None]);
        assert!(gallery.whose(&[]).unwrap().is_empty());
        assert!(gallery.whose(&[vec![1.0]]).unwrap_err().to_string().contains("have 2 numbers"));
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
