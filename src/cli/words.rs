//! Conversion and checks of the options of word times and subtitles; loading of aligners.

use std::path::PathBuf;

use diarist::align::{AlignOptions, Interpolate};
use diarist::engine::ctc::CtcTopology;
use diarist::hub::Hub;
use diarist::hub::aligners::AlignerSource;
use diarist::output::SubtitleOptions;
use diarist::pipeline::WordTimes;
use diarist::pipeline::aligners::FindAligner;
use diarist::units::Seconds;
use diarist::{Error, Result};

use super::engine;
use super::options::{self, Align, Interpolation, Method, Subtitles, Topology, Words};
use super::values::Task;

impl Align {
    /// The library's options.
    pub fn options(&self) -> AlignOptions {
        AlignOptions {
            topology: match self.align_topology {
                None | Some(Topology::Ctc) => CtcTopology::Ctc,
                Some(Topology::WhisperX) => CtcTopology::Trellis,
            },
            interpolate: match self.interpolate_method {
                None | Some(Interpolation::Nearest) => Interpolate::Nearest,
                Some(Interpolation::Linear) => Interpolate::Linear,
                Some(Interpolation::Ignore) => Interpolate::Ignore,
            },
            characters: self.return_char_alignments,
            ..AlignOptions::default()
        }
    }

    /// The first of these options that was given.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("align_model", self.align_model.is_some()),
            ("interpolate_method", self.interpolate_method.is_some()),
            ("return_char_alignments", self.return_char_alignments),
            ("align_topology", self.align_topology.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}

/// The method of word times for a task.
///
/// # Errors
/// [`Error::Config`] naming an option that would have no effect, and why.
pub fn word_times(words: &Words, subtitles: &Subtitles, task: Task) -> Result<WordTimes> {
    let dtw = words.align_method == Some(Method::Dtw);
    let (given, method) = (words.align.given(), words.align_method.map(|_| "align_method"));
    let refuse = |option: Option<&'static str>, rule: &str| match option {
        Some(option) => Err(Error::config(option, "given", rule)),
        None => Ok(()),
    };
    if words.no_align {
        refuse(given.or(method), "`no_align` asks for no word times; leave one of the two out")?;
        refuse(subtitles.of_words(), "needs word times, and `no_align` asks for none; leave one of the two out")?;
        return Ok(WordTimes::None);
    }
    if dtw {
        refuse(given, "`align_method` dtw aligns nothing; leave one of the two out")?;
        return Ok(WordTimes::Dtw);
    }
    if task == Task::Translate {
        let rule = "the translation's words are not those in the sound; only `align_method` dtw gives them times";
        refuse(given.or(method), rule)?;
        refuse(subtitles.of_words(), &format!("needs word times: {rule}"))?;
        return Ok(WordTimes::None);
    }
    Ok(WordTimes::Aligned(words.align.options()))
}

impl Subtitles {
    /// The library's options.
    ///
    /// # Errors
    /// [`Error::Config`] naming an option that is out of range, contradicts another, or would have no effect.
    pub fn options(&self) -> Result<SubtitleOptions> {
        let needs_width = [("max_line_count", self.max_line_count.is_some()), ("balance_lines", self.balance_lines)];
        if let Some((option, _)) = needs_width.into_iter().find(|(_, given)| *given && self.max_line_width.is_none()) {
            return Err(Error::config(option, "given", "has no effect without `max_line_width`"));
        }
        let options = SubtitleOptions {
            max_line_width: self.max_line_width,
            max_line_count: self.max_line_count,
            highlight_words: self.highlight_words,
            balance_lines: self.balance_lines,
            max_cps: self.max_cps,
            min_cue_duration: self.min_cue_duration.map(Seconds),
            max_cue_duration: self.max_cue_duration.map(Seconds),
            min_cue_gap: self.min_cue_gap.map(Seconds),
        };
        options.check()?;
        Ok(options)
    }

    /// The first option given that needs word times.
    fn of_words(&self) -> Option<&'static str> {
        let given = [
            ("max_line_width", self.max_line_width.is_some()),
            ("max_line_count", self.max_line_count.is_some()),
            ("highlight_words", self.highlight_words),
            ("balance_lines", self.balance_lines),
            ("max_cue_duration", self.max_cue_duration.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}

/// A function that finds the aligner of a language: `--align-model` if given, else the default of the language. With
/// the built-in recogniser, the aligner for English is the built-in one.
pub fn diarizer(model: &options::Model, asked: Option<&str>) -> Box<FindAligner> {
    let (hub, asked) = (engine::hub_of(model), asked.map(str::to_string));
    let builtin = model.model == diarist::hub::BUILTIN;
    Box::new(move |language, load| match &asked {
        Some(model) => obtain_and_load(&hub, model, load),
        None if builtin && language == "en" => load(&AlignerSource::Builtin),
        None => obtain_and_load(&hub, hub.aligner_of(language)?, load),
    })
}

/// Loads an aligner, downloading it with a progress bar if it is not cached.
///
/// # Errors
/// Those of the hub and of `load`.
pub fn obtain_and_load<T>(hub: &Hub, model: &str, load: impl FnMut(&AlignerSource) -> Result<T>) -> Result<T> {
    engine::under_a_bar(|on_progress| hub.obtain_aligner_and_load(model, on_progress, load))
}

/// Refuses an unknown `--align-model` before anything is downloaded.
///
/// # Errors
/// [`Error::Config`] or [`Error::Model`] saying what would be accepted.
pub fn check_model(align: &Align, model_dir: Option<PathBuf>) -> Result<()> {
    match &align.align_model {
        Some(model) => super::hub(model_dir, true, None).find_aligner(model).map(|_| ()),
        None => Ok(()),
    }
}
