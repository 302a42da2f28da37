//! `diarist score`: scores a result against a reference (WER, cpWER, DER, word boundary errors).

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use diarist::score::{Boundaries, COLLARS, Errors, Report, TimeErrors, files, reports};
use diarist::{Error, Result};
use serde_json::{Value, json};

use super::console;

/// Options of `score`.
#[derive(Args, Debug)]
#[command(after_help = "What is compared is what both files have:
  WER    words wrong; case and punctuation do not count
  cpWER  the same speaker by speaker, with the best naming of the speakers
  DER    time given to nobody or to the wrong speaker, with the best naming; overlapping speech counts;
         DER 0.25 leaves out 0.25 s around each boundary of the reference
  edges  how far the starts and ends of equal words lie apart
Files: .json (a transcript of ours or WhisperX's, or SegLST), .stm, .ctm, .rttm, .txt.
Recordings are matched by the names in the files; where both files have only one, it is the same.
For example: diarist score right.rttm talk.rttm; diarist score right.stm talk.json --json")]
pub struct ScoreArgs {
    /// The reference.
    #[arg(value_name = "REFERENCE", value_hint = ValueHint::FilePath)]
    reference: PathBuf,
    /// The result to score.
    #[arg(value_name = "HYPOTHESIS", value_hint = ValueHint::FilePath)]
    hypothesis: PathBuf,
    /// Regions that are scored for DER, as UEM: lines of FILE CHANNEL START END.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    uem: Option<PathBuf>,
    /// Print JSON: rates as fractions, times in seconds.
    #[arg(long)]
    json: bool,
}

/// Prints the scores.
///
/// # Errors
/// Errors of reading the files; [`Error::Model`] if the two files have nothing in common that can be compared.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let (reference, hypothesis) = (files::open_all(&args.reference)?, files::open_all(&args.hypothesis)?);
    let scored = args.uem.as_deref().map(files::open_uem).transpose()?;
    let found = reports(&reference, &hypothesis, scored.as_ref())
        .map_err(|reason| Error::model(&args.hypothesis, format!("against {}: {reason}", args.reference.display())))?;
    let all = found.values().cloned().fold(Report::default(), |sum, one| sum + one);
    if args.json {
        let recordings: serde_json::Map<String, Value> =
            found.iter().map(|(name, report)| (name.clone(), report_json(report))).collect();
        let text = serde_json::to_string_pretty(&json!({"recordings": recordings, "all": report_json(&all)}));
        console::line(&text.unwrap_or_default());
        return Ok(());
    }
    if found.len() > 1 {
        table(&found);
    }
    details(&all);
    Ok(())
}

/// Prints one line per recording.
fn table(found: &BTreeMap<String, Report>) {
    let width = found.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(9);
    let line = |name: &str, cells: [String; 5]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>9}")).collect();
        console::line(&format!("{name:<width$}{cells}"));
    };
    line("RECORDING", ["WER", "cpWER", "DER", "DER 0.25", "edges"].map(str::to_owned));
    for (name, report) in found {
        let cell = |rate: Option<f64>| rate.map_or("-".into(), percent);
        let der = |place: usize| cell(report.times.map(|times| times[place].rate()));
        let edges = report.boundaries.as_ref().and_then(Boundaries::mean);
        let edges = edges.map_or("-".into(), |mean| format!("{mean:.3} s"));
        let cells =
            [cell(report.words.map(Errors::rate)), cell(report.speakers.map(Errors::rate)), der(0), der(1), edges];
        line(name, cells);
    }
    console::line("");
}

/// Prints all scores of a report.
fn details(report: &Report) {
    let line = |name: &str, rate: &str, rest: &str| console::line(&format!("{name:<9} {rate:>9}  {rest}"));
    for (name, errors) in [("WER", report.words), ("cpWER", report.speakers)] {
        let Some(errors) = errors else { continue };
        let Errors { words, substituted, deleted, inserted } = errors;
        let rest = format!("{substituted} substituted, {deleted} left out, {inserted} added; {words} words said");
        line(name, &percent(errors.rate()), &rest);
    }
    for (collar, times) in COLLARS.iter().zip(report.times.iter().flatten()) {
        let name = if *collar == 0.0 { "DER".to_owned() } else { format!("DER {collar}") };
        // Avoids 0 / 0 without speech in the reference.
        let share = |part: f64| percent(if part == 0.0 { 0.0 } else { part / times.total });
        let (missed, false_alarm, confused) = (share(times.missed), share(times.false_alarm), share(times.confused));
        let rest =
            format!("{missed} missed, {false_alarm} false alarm, {confused} confused; {:.2} s spoken", times.total);
        line(&name, &percent(times.rate()), &rest);
    }
    if let Some((edges, mean)) = report.boundaries.as_ref().and_then(|edges| Some((edges, edges.mean()?))) {
        let at = |share: f64| edges.quantile(share).unwrap_or_default();
        let within = |seconds: f64| percent(edges.within(seconds).unwrap_or_default());
        let rest = format!(
            "on average, {:.3} s median, {:.3} s 95th percentile; {} within 0.1 s; {} edges",
            at(0.5),
            at(0.95),
            within(0.1),
            edges.distances.len()
        );
        line("edges", &format!("{mean:.3} s"), &rest);
    }
}

fn percent(rate: f64) -> String {
    if rate.is_finite() { format!("{:.2} %", 100.0 * rate) } else { "none said".into() }
}

/// The report as JSON. Scores that are not available, and rates with a denominator of 0, are null.
fn report_json(report: &Report) -> Value {
    let errors = |errors: Errors| {
        let Errors { words, substituted, deleted, inserted } = errors;
        let rate = errors.rate();
        json!({"rate": rate, "words": words, "substituted": substituted, "deleted": deleted, "inserted": inserted})
    };
    let time = |(collar, times): (&f64, &TimeErrors)| {
        json!({"collar": collar, "rate": times.rate(), "total": times.total, "missed": times.missed,
            "false_alarm": times.false_alarm, "confused": times.confused})
    };
    let edges = |edges: &Boundaries| {
        json!({"count": edges.distances.len(), "mean": edges.mean(), "median": edges.quantile(0.5),
            "p95": edges.quantile(0.95), "within_0.05": edges.within(0.05), "within_0.1": edges.within(0.1),
            "within_0.2": edges.within(0.2)})
    };
    json!({
        "wer": report.words.map(errors),
        "cpwer": report.speakers.map(errors),
        "der": report.times.as_ref().map(|times| COLLARS.iter().zip(times).map(time).collect::<Vec<_>>()),
        "edges": report.boundaries.as_ref().map(edges),
    })
}
