//! The products of a model by our own kernels and by cuBLASLt: which is faster, after seeing that they agree and that
//! cuBLASLt's rows do not depend on how many there are. What it prints goes into `FASTER` of `src/engine/cuda/gemm.rs`.

use diarist::engine::weights::HostMatrix;
use diarist::engine::{Epilogue, Tensor, ops};
use diarist::models::whisper::Config;
use diarist::{Error, Result};
use serde_json::json;

use crate::args::Args;
use crate::ceilings::{best_of, random};
use crate::machine::Machine;
use crate::{report, shapes};

/// A product of the model.
struct Product {
    what: &'static str,
    /// `Frames` or `Step`, as `RowKind` has them.
    kind: &'static str,
    rows: usize,
    n: usize,
    k: usize,
    epilogue: Epilogue,
}

/// A product by both.
struct Row {
    product: Product,
    own_ms: f64,
    cublaslt_ms: f64,
    /// |cuBLASLt's - ours| / |ours|.
    difference: f64,
    /// Whether a few rows alone give what they gave among all.
    independent: bool,
}

/// Both store 11 or 8 bits of a sum in f32, one of them rounds twice.
const LARGEST_DIFFERENCE: f64 = 1e-2;
/// Faster by less than this is noise.
const CLEARLY: f64 = 0.97;

impl Row {
    fn is_right(&self) -> bool {
        self.difference <= LARGEST_DIFFERENCE
    }

    fn is_worth_it(&self) -> bool {
        self.is_right() && self.independent && self.cublaslt_ms < CLEARLY * self.own_ms
    }
}

/// Measures and prints the table.
///
/// # Errors
/// Where cuBLASLt cannot be loaded, and if the two disagree.
pub fn run<B: Machine>(args: &Args, be: &B, scale: usize) -> Result<()> {
    let (ways, missing) = be.multipliers();
    let [(_, own), (_, cublaslt)] = &ways[..] else {
        let reason = missing.map_or_else(|| "the CPU has one way to multiply".to_string(), |error| error.to_string());
        return Err(Error::config("gemm_table", &args.device, reason));
    };
    let config = match &args.model {
        Some(folder) => Config::read(folder)?,
        None => shapes::config(args.shape.as_deref().unwrap_or_default())?,
    };
    let frames = (8 * config.max_source_positions / scale).max(8);
    let steps = (args.batch.unwrap_or(32) * args.beam) as usize;
    let mut rows = Vec::new();
    for product in products(&config, frames, steps) {
        rows.push(compare(own, cublaslt, product)?);
    }
    if let Some(wrong) = rows.iter().find(|row| !row.is_right()) {
        let rule = format!("cuBLASLt's {} is off by {}; nothing of it is used", wrong.product.what, wrong.difference);
        return Err(Error::config("gemm_table", &args.device, rule));
    }
    if args.json {
        print_json(args, be, &rows)
    } else {
        print_table(be, &rows)
    }
    Ok(())
}

/// Every product with a weight, of a full encoder pass and of a decode step.
fn products(config: &Config, frames: usize, steps: usize) -> Vec<Product> {
    let d = config.d_model;
    let side = |kind, rows, ffn, cross: (&'static str, usize)| {
        [
            ("queries, keys, values", 3 * d, d, Epilogue::Store),
            (cross.0, cross.1, d, Epilogue::Store),
            ("attention's output", d, d, Epilogue::Add),
            ("first of the block", ffn, d, Epilogue::GeluErf),
            ("second of the block", d, ffn, Epilogue::Add),
        ]
        .map(|(what, n, k, epilogue)| Product { what, kind, rows, n, k, epilogue })
    };
    let mut all = Vec::new();
    all.extend(side("Frames", frames, config.encoder_ffn_dim, ("keys and values for the decoder", 2 * d)));
    all.extend(side("Step", steps, config.decoder_ffn_dim, ("query to the audio", d)));
    all
}

fn compare<B: Machine>(own: &B, cublaslt: &B, product: Product) -> Result<Row> {
    let (ours, own_ms, _) = time(own, &product)?;
    let (theirs, cublaslt_ms, independent) = time(cublaslt, &product)?;
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let difference = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b)) / norm(&mut ours.iter().copied());
    Ok(Row { product, own_ms, cublaslt_ms, difference, independent })
}

/// The result, its time in milliseconds, and whether the last rows alone come out the same.
fn time<B: Machine>(be: &B, product: &Product) -> Result<(Vec<f32>, f64, bool)> {
    let Product { rows, n, k, epilogue, .. } = *product;
    let shape = |rows: usize, last: usize| if product.kind == "Step" { vec![rows, last] } else { vec![1, rows, last] };
    let scale = 1.0 / (k as f32).sqrt();
    let values = random(11, n * k).into_iter().map(|v| v * scale).collect();
    let weight = be.matrix(&HostMatrix { values, rows: n, cols: k })?;
    let bias = Tensor::from_host(be, &[n], &random(12, n))?;
    let input = random(13, rows * k);
    let residual = random(14, rows * n);
    let run = |first: usize| -> Result<(Tensor<B>, Tensor<B>, Vec<f32>)> {
        let mut x = Tensor::zeros(be, &shape(rows - first, k))?;
        be.write_act(&mut x.buf, 0, &input[first * k..])?;
        let mut out = Tensor::zeros(be, &shape(rows - first, n))?;
        be.write_act(&mut out.buf, 0, &residual[first * n..])?;
        ops::linear(be, &mut out, &x, &weight, Some(&bias), epilogue)?;
        let mut host = vec![0.0; out.len()];
        be.read_act(&mut host, &out.buf, 0)?;
        Ok((x, out, host))
    };
    let (x, mut out, all) = run(0)?;
    let first = rows - rows.div_ceil(4);
    let independent = run(first)?.2 == all[first * n..] && run(rows - 1)?.2 == all[(rows - 1) * n..];
    let seconds = best_of(be, || ops::linear(be, &mut out, &x, &weight, Some(&bias), epilogue))?;
    Ok((all, seconds * 1e3, independent))
}

fn print_table<B: Machine>(be: &B, rows: &[Row]) {
    println!("{}", be.describe());
    for row in rows {
        let Product { what, kind, rows: count, n, k, .. } = row.product;
        println!(
            "{kind:<6} {what:<32} {count:>6} x {k:>5} -> {n:>5}  own {:>9.4} ms, cuBLASLt {:>9.4} ms, difference {:.1e}, {}",
            row.own_ms,
            row.cublaslt_ms,
            row.difference,
            if row.independent { "rows independent" } else { "rows depend on their number" },
        );
    }
    println!("\nfor FASTER of gemm.rs, with this card's capability:");
    for row in rows.iter().filter(|row| row.is_worth_it()) {
        let Product { kind, n, k, epilogue, .. } = row.product;
        println!(
            "    Faster {{ capability, rows: RowKind::{kind}, n: {n}, k: {k}, epilogue: Epilogue::{epilogue:?} }},"
        );
    }
}

fn print_json<B: Machine>(args: &Args, be: &B, rows: &[Row]) {
    let row = |row: &Row| {
        let Product { what, kind, rows, n, k, epilogue } = row.product;
        json!({
            "what": what, "kind": kind, "rows": rows, "n": n, "k": k, "epilogue": format!("{epilogue:?}"),
            "own_ms": row.own_ms, "cublaslt_ms": row.cublaslt_ms, "difference": row.difference,
            "rows_independent": row.independent, "faster": row.is_worth_it(),
        })
    };
    let report = json!({
        "command": report::command(), "device": be.describe(), "shape": args.shape,
        "products": rows.iter().map(row).collect::<Vec<_>>(),
    });
    println!("{report}");
}
