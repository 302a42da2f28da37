//! The primitives of [`Cluster`]: embeddings are uploaded, all steps run on the device, and the results are read back.

use super::Cuda;
use super::buffer::Buffer;
use crate::engine::Element;
use crate::engine::cluster::{self, Activity, Cluster, Linked, Merge, Vbx, VbxOptions};
use crate::engine::profile::Work;
use crate::error::Result;

/// Rows per block of the linkage; a half warp computes each.
const ROWS: usize = 16;
/// Most parts of a search: one for each multiprocessor of a large GPU, so that all of them read memory.
const CHUNKS: usize = 128;
/// Length of the linkage's state array, and the index of the number of merges done.
const STATE: usize = 5;
const DONE: usize = 4;
/// Threads per block of the other kernels.
const THREADS: usize = 128;
const WARP: usize = 32;

/// Device arrays of the centroid linkage.
struct Linkage {
    points: Buffer<f64>,
    places: Buffer<i32>,
    away: Buffer<f64>,
    state: Buffer<i32>,
    found: Buffer<i32>,
    far: Buffer<f64>,
    merges: Buffer<i32>,
    squared: Buffer<f64>,
    count: usize,
    size: usize,
    chunks: usize,
}

impl Cuda {
    fn upload<T: Element>(&self, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = Buffer::uninitialised(&self.device, values.len())?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    fn uninitialised<T: Element>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::uninitialised(&self.device, len)
    }

    fn linkage(&self, points: &[f64], size: usize) -> Result<Linkage> {
        let count = points.len() / size;
        let chunks = count.div_ceil(ROWS).clamp(1, CHUNKS);
        Ok(Linkage {
            points: self.upload(points)?,
            places: self.uninitialised(3 * count)?,
            away: self.uninitialised(count)?,
            state: self.upload(&[-1, -1, -1, chunks as i32, 0])?,
            found: self.uninitialised(chunks)?,
            far: self.uninitialised(chunks)?,
            // Zero-initialised: a merge of size 0 means that there is no merge.
            merges: Buffer::zeros(&self.device, 3 * (count - 1))?,
            squared: Buffer::zeros(&self.device, count - 1)?,
            count,
            size,
            chunks,
        })
    }

    fn centroid_linkage_nearest(&self, on: &mut Linkage) -> Result<()> {
        let (count, size) = (on.count, on.size);
        let mut launch = self.device.launch("centroid_linkage_nearest", "")?;
        launch.grid(count.div_ceil(ROWS), 1, 1).block(256).output(&mut on.places, 3 * count);
        launch.output(&mut on.away, count).input(&on.points, count * size).int(count).int(size);
        let flops = (count * count / 2 * size * 3) as u64;
        let bytes = (count * count / 2 / ROWS * size * size_of::<f64>()) as u64;
        // SAFETY: (1) places, away, points, count, size, as centroid_linkage.cu declares them; (2) it touches places [N, 3], away [N],
        // points [N, D]; (3) blocks of 16 rows cover N.
        unsafe { launch.run(Work { bytes, flops }) }
    }

    fn linkage_step(&self, on: &mut Linkage) -> Result<()> {
        let (count, size, chunks) = (on.count, on.size, on.chunks);
        let mut launch = self.device.launch("centroid_linkage_merge", "")?;
        launch.block(1024).output(&mut on.merges, 3 * (count - 1)).output(&mut on.squared, count - 1);
        launch.output(&mut on.points, count * size).output(&mut on.places, 3 * count).output(&mut on.away, count);
        launch.output(&mut on.state, STATE).input(&on.found, chunks).input(&on.far, chunks).int(count).int(size);
        // SAFETY: (1) merges, squared, points, places, away, state, found, far, count, size, as centroid_linkage.cu declares them; (2) it
        // touches merges [N - 1, 3], squared [N - 1], neither after the last, points [N, D], places [N, 3], away [N], found and far
        // [chunks]; (3) one block of 1024.
        unsafe { launch.run(Work::bytes((count + 3 * size) * size_of::<f64>())) }?;
        let mut launch = self.device.launch("centroid_linkage_update", "")?;
        launch.grid(count.div_ceil(ROWS), 1, 1).block(256).output(&mut on.places, 3 * count);
        launch.output(&mut on.away, count).input(&on.state, STATE).input(&on.points, count * size).int(count).int(size);
        // SAFETY: (1) places, away, state, points, count, size, as centroid_linkage.cu declares them; (2) it touches places [N, 3], away
        // [N], points [N, D]; (3) blocks of 16 rows cover N.
        unsafe { launch.run(Work::bytes(count * size / 2 * size_of::<f64>())) }?;
        let mut launch = self.device.launch("centroid_linkage_search", "")?;
        launch.grid(chunks, 1, 1).block(256).output(&mut on.found, chunks).output(&mut on.far, chunks);
        launch
            .input(&on.places, 3 * count)
            .input(&on.state, STATE)
            .input(&on.points, count * size)
            .int(count)
            .int(size);
        // SAFETY: (1) found, far, places, state, points, count, size, as centroid_linkage.cu declares them; (2) it touches found and far
        // [chunks], places [N, 3], points [N, D]; (3) a block for each of the chunks that `state` names.
        unsafe { launch.run(Work::bytes(count * size / 2 * size_of::<f64>())) }
    }
}

/// Device arrays of VBx.
struct VbxArrays {
    rho: Buffer<f64>,
    common: Buffer<f64>,
    phi: Buffer<f64>,
    responsibilities: Buffer<f64>,
    means: Buffer<f64>,
    variances: Buffer<f64>,
    spreads: Buffer<f64>,
    distances: Buffer<f64>,
    rows: Buffer<f64>,
    weights: Buffer<f64>,
    totals: Buffer<f64>,
    /// N, K and E.
    sizes: [usize; 3],
}

impl Cuda {
    fn vbx_fit(&self, on: &mut VbxArrays, ratio: f64) -> Result<()> {
        let [count, speakers, features] = on.sizes;
        let mut launch = self.device.launch("vbx_fit", "")?;
        launch.grid(features.div_ceil(THREADS), speakers, 1).block(THREADS);
        launch.output(&mut on.means, speakers * features).output(&mut on.variances, speakers * features);
        launch.input(&on.responsibilities, count * speakers).input(&on.rho, count * features).input(&on.phi, features);
        launch.int(count).int(speakers).int(features).record(&ratio);
        let bytes = (count * (speakers + features) * size_of::<f64>()) as u64;
        // SAFETY: (1) means, variances, shares, rho, phi, count, speakers, features, ratio, as vbx.cu declares them; (2) it
        // touches means, variances [K, E], shares [N, K], rho [N, E], phi [E]; (3) blocks of 128 features of a speaker.
        unsafe { launch.run(Work { bytes, flops: (2 * count * speakers * features) as u64 }) }?;
        let mut launch = self.device.launch("vbx_spread", "")?;
        launch.grid(speakers, 1, 1).output(&mut on.spreads, speakers).output(&mut on.distances, speakers);
        launch.input(&on.means, speakers * features).input(&on.variances, speakers * features);
        launch.input(&on.phi, features).int(features);
        // SAFETY: (1) spreads, distances, means, variances, phi, features, as vbx.cu declares them; (2) it touches spreads,
        // distances [K], means, variances [K, E], phi [E]; (3) a warp for each speaker.
        unsafe { launch.run(Work::bytes(2 * speakers * features * size_of::<f64>())) }
    }

    fn vbx_share(&self, on: &mut VbxArrays, evidence: f64) -> Result<()> {
        let [count, speakers, features] = on.sizes;
        let mut launch = self.device.launch("vbx_share", "")?;
        launch
            .grid(count, 1, 1)
            .block(THREADS)
            .output(&mut on.responsibilities, count * speakers)
            .output(&mut on.rows, count);
        launch.input(&on.rho, count * features).input(&on.common, count).input(&on.means, speakers * features);
        launch.input(&on.spreads, speakers).input(&on.weights, speakers).int(speakers).int(features).record(&evidence);
        let bytes = (count * (speakers + features) * size_of::<f64>()) as u64;
        // SAFETY: (1) shares, rows, rho, common, means, spreads, weights, speakers, features, evidence, as vbx.cu declares them;
        // (2) it touches shares [N, K], rows, common [N], rho [N, E], means [K, E], spreads, weights [K]; (3) a block for each
        // voice.
        unsafe { launch.run(Work { bytes, flops: (2 * count * speakers * features) as u64 }) }?;
        let mut launch = self.device.launch("vbx_totals", "")?;
        launch.grid((speakers + 1).div_ceil(WARP), 1, 1).output(&mut on.totals, speakers + 1);
        launch.input(&on.responsibilities, count * speakers).input(&on.rows, count).int(count).int(speakers);
        // SAFETY: (1) totals, shares, rows, count, speakers, as vbx.cu declares them; (2) it touches totals [K + 1], shares
        // [N, K], rows [N]; (3) a thread for each speaker and one more.
        unsafe { launch.run(Work::bytes(count * (speakers + 1) * size_of::<f64>())) }
    }
}

/// The device copy of an [`Activity`].
struct DeviceActivity {
    active: Buffer<u8>,
    first: Buffer<i32>,
    windows: usize,
}

impl Cuda {
    fn on_device(&self, activity: &Activity) -> Result<DeviceActivity> {
        let mut active = self.uninitialised(activity.active.len())?;
        active.write_with(0, activity.active.len(), |to, at| {
            to.iter_mut().zip(&activity.active[at..]).for_each(|(to, &from)| *to = u8::from(from));
        })?;
        // Frames beyond i32::MAX are ignored: `total`, which is an int, is smaller.
        let first = activity.first.iter().map(|&first| i32::try_from(first).unwrap_or(i32::MAX)).collect::<Vec<_>>();
        Ok(DeviceActivity { active, first: self.upload(&first)?, windows: first.len() })
    }
}

impl Cluster for Cuda {
    fn centroid_linkage(&self, points: &[f64], size: usize) -> Result<Vec<Merge>> {
        let count = points.len() / size;
        if count < 2 {
            return Ok(Vec::new());
        }
        let mut on = self.linkage(points, size)?;
        self.centroid_linkage_nearest(&mut on)?;
        // There is a step for each merge, and there are search steps whose number only the device knows. Surplus steps
        // do nothing.
        let (mut state, mut steps) = ([0; STATE], count - 1);
        while (state[DONE] as usize) < count - 1 {
            for _ in 0..steps {
                self.linkage_step(&mut on)?;
            }
            on.state.read(&mut state, 0)?;
            steps = count.div_ceil(8);
        }
        let (mut merges, mut squared) = (vec![0; 3 * (count - 1)], vec![0.0; count - 1]);
        on.merges.read(&mut merges, 0)?;
        on.squared.read(&mut squared, 0)?;
        let merge = |(numbers, squared): (&[i32], &f64)| {
            let [left, right, size] = [0, 1, 2].map(|at| numbers[at] as usize);
            Merge { left, right, distance: squared.sqrt(), size }
        };
        // Distances that are not numbers end the linkage: from there on merges have size 0.
        Ok(merges.chunks_exact(3).zip(&squared).map(merge).take_while(|merge| merge.size > 0).collect())
    }

    fn average_linkage(&self, input: &Linked) -> Result<Vec<usize>> {
        self.linked(input)
    }

    fn vbx(&self, features: &[f64], phi: &[f64], labels: &[usize], options: &VbxOptions) -> Result<Vbx> {
        let mut found = cluster::begin(labels, options);
        let (count, speakers, size) = (labels.len(), found.speakers, phi.len());
        if speakers == 0 {
            return Ok(found);
        }
        let prepared = cluster::prepare(features, phi);
        let mut on = VbxArrays {
            rho: self.upload(&prepared.rho)?,
            common: self.upload(&prepared.common)?,
            phi: self.upload(phi)?,
            responsibilities: self.upload(&found.responsibilities)?,
            means: self.uninitialised(speakers * size)?,
            variances: self.uninitialised(speakers * size)?,
            spreads: self.uninitialised(speakers)?,
            distances: self.uninitialised(speakers)?,
            rows: self.uninitialised(count)?,
            weights: self.uninitialised(speakers)?,
            totals: self.uninitialised(speakers + 1)?,
            sizes: [count, speakers, size],
        };
        let (mut distances, mut totals) = (vec![0.0; speakers], vec![0.0; speakers + 1]);
        for _ in 0..options.iterations {
            on.weights.write(0, &found.log_weights())?;
            self.vbx_fit(&mut on, options.evidence / options.prior)?;
            self.vbx_share(&mut on, options.evidence)?;
            // One number for each speaker is read back to decide whether to continue.
            on.distances.read(&mut distances, 0)?;
            on.totals.read(&mut totals, 0)?;
            let bound = totals[speakers] + options.prior * 0.5 * distances.iter().sum::<f64>();
            if found.end_iteration(bound, &totals[..speakers], options) {
                break;
            }
        }
        on.responsibilities.read(&mut found.responsibilities, 0)?;
        Ok(found)
    }

    fn cosine_similarity(&self, embeddings: &[f32], centroids: &[f64], size: usize) -> Result<Vec<f64>> {
        let (rows, count) = (embeddings.len() / size, centroids.len() / size);
        let mut out = vec![0.0; rows * count];
        if out.is_empty() {
            return Ok(out);
        }
        let (embeddings, centroids) = (self.upload(embeddings)?, self.upload(centroids)?);
        let mut found = self.uninitialised::<f64>(rows * count)?;
        let mut launch = self.device.launch("cosine_similarity", "")?;
        launch.grid(rows, 1, 1).block(256).output(&mut found, rows * count).input(&embeddings, rows * size);
        launch.input(&centroids, count * size).int(count).int(size);
        let work = Work::bytes(rows * size * size_of::<f32>() + rows * count * size_of::<f64>());
        // SAFETY: (1) out, voices, centroids, count, size, as cosine_similarity.cu declares them; (2) it touches out [V, K], voices [V, D],
        // centroids [K, D]; (3) a block for each voice.
        unsafe { launch.run(work) }?;
        found.read(&mut out, 0)?;
        Ok(out)
    }

    fn speaker_count(&self, activity: &Activity) -> Result<Vec<usize>> {
        let (on_device, total) = (self.on_device(activity)?, activity.total);
        let mut count = self.uninitialised::<i32>(total)?;
        let mut launch = self.device.launch("speaker_count", "")?;
        launch.grid(total.div_ceil(THREADS), 1, 1).block(THREADS).output(&mut count, total);
        launch.input(&on_device.active, activity.active.len()).input(&on_device.first, on_device.windows);
        launch.int(total).int(on_device.windows).int(activity.frames).int(activity.speakers);
        // SAFETY: (1) count, active, first, total, windows, frames, speakers, as speaker_frames.cu declares them; (2) it touches
        // count [T], active [W, F, S], first [W], whose sizes cluster.rs compared; (3) blocks of 128 frames cover T.
        unsafe { launch.run(Work::bytes(activity.active.len() + total * size_of::<i32>())) }?;
        let mut out = vec![0; total];
        count.read(&mut out, 0)?;
        Ok(out.into_iter().map(|count| count as usize).collect())
    }

    fn reconstruct(
        &self,
        activity: &Activity,
        labels: &[Option<usize>],
        count: &[usize],
        speakers: usize,
    ) -> Result<Vec<bool>> {
        let (on_device, total, len) = (self.on_device(activity)?, activity.total, activity.total * speakers);
        let labels: Vec<i32> = labels.iter().map(|label| label.map_or(-1, |label| label as i32)).collect();
        let count: Vec<i32> = count.iter().map(|&count| count as i32).collect();
        let (labels, count) = (self.upload(&labels)?, self.upload(&count)?);
        let (mut active, mut votes) = (self.uninitialised::<u8>(len)?, self.uninitialised::<i32>(len)?);
        let mut launch = self.device.launch("reconstruct", "")?;
        launch.grid(total.div_ceil(THREADS), 1, 1).block(THREADS).output(&mut active, len).output(&mut votes, len);
        launch.input(&on_device.active, activity.active.len()).input(&on_device.first, on_device.windows);
        launch.input(&labels, labels.len()).input(&count, total);
        launch.int(total).int(on_device.windows).int(activity.frames).int(activity.speakers).int(speakers);
        // SAFETY: (1) out, votes, active, first, labels, count, total, windows, frames, speakers, clusters, as speaker_frames.cu
        // declares them; (2) it touches out, votes [T, K], active [W, F, S], first [W], labels [W, S], all below K, count [T],
        // none above K, which cluster.rs checked; (3) blocks of 128 frames cover T.
        unsafe { launch.run(Work::bytes(activity.active.len() + 2 * len * size_of::<i32>())) }?;
        let mut out = vec![0u8; len];
        active.read(&mut out, 0)?;
        Ok(out.into_iter().map(|active| active == 1).collect())
    }
}
