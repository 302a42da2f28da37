//! Words and speakers together: Whisper tiny.en, times from cross-attention, and the pipeline `open`.

use std::path::Path;

use diarist::config::Options;
use diarist::engine::cpu::Cpu;
use diarist::models::whisper::Checkpoint;
use diarist::pipeline::{Input, Pipeline, SpeakerOptions, Speakers, WordTimes};
use diarist::score::files::{Script, open_all, open_uem};
use diarist::score::{TimeErrors, cp_errors, errors, time_errors_within};
use diarist::types::Transcript;
use diarist::vad::Detector;

use super::open;
use crate::common::{real, shared};

struct Transcriber {
    pipeline: Pipeline<Cpu>,
    options: Options,
    _folder: tempfile::TempDir,
}

impl Transcriber {
    fn open() -> Self {
        let open = open();
        let checkpoint = Checkpoint::recognise(&real("whisper-tiny.en-ct2")).unwrap();
        let mut pipeline =
            Pipeline::open_checkpoint(&Cpu::new(None).unwrap(), &checkpoint, Detector::Diarizer).unwrap();
        pipeline.speakers = Some(Speakers { diarizer: open.diarizer, gallery: None });
        let options =
            Options { words: WordTimes::Dtw, speakers: Some(SpeakerOptions::default()), ..Options::default() };
        Transcriber { pipeline, options, _folder: open._folder }
    }

    fn transcript(&self, path: &Path) -> Transcript {
        self.pipeline.transcribe(Input::Path(path), &self.options, &mut ()).unwrap()
    }
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn few_words_go_to_the_wrong_speaker() {
    let dialogue = shared("audio/dialogue");
    let reference = open_all(&dialogue.join("sample.stm")).unwrap().into_values().next().unwrap();
    let found = Script::from(&Transcriber::open().transcript(&dialogue.join("sample.wav")));
    let text = |script: &Script| script.words.iter().map(|(word, _)| word.clone()).collect::<Vec<_>>();
    let wer = errors(&text(&reference), &text(&found)).rate();
    let cpwer = cp_errors(&reference.speakers, &found.speakers).rate();
    eprintln!("WER {:.2} %, cpWER {:.2} %", 100.0 * wer, 100.0 * cpwer);
    assert!(wer < 0.2 && cpwer <= wer + 0.03, "WER {wer}, cpWER {cpwer}");
}

/// Recognised words lower the threshold of speech: less is missed, and not much is added.
#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn words_reduce_missed_speech() {
    let (transcriber, ami) = (Transcriber::open(), shared("audio/ami"));
    let scored = open_uem(&ami.join("ami.uem")).unwrap();
    let mut sums = [TimeErrors::default(); 2];
    for (name, reference) in open_all(&ami.join("ami.rttm")).unwrap() {
        let path = ami.join(format!("{name}.wav"));
        let alone = transcriber.pipeline.diarize(Input::Path(&path), &transcriber.options, &mut ()).unwrap().turns;
        let with_words = transcriber.transcript(&path).turns;
        for (sum, turns) in sums.iter_mut().zip([alone, with_words]) {
            *sum = *sum + time_errors_within(&reference.turns, &turns, 0.25, scored.get(&name).map(Vec::as_slice));
        }
    }
    let [alone, with_words] = sums;
    eprintln!("missed {:.2} s without words, {:.2} s with; {:?}", alone.missed, with_words.missed, with_words);
    assert!(with_words.missed < alone.missed && with_words.rate() <= alone.rate(), "{alone:?}, {with_words:?}");
}
