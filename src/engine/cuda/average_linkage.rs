//! Average linkage on the device (`kernels/average_linkage.cu`): all merges run there, then the labels are read back.

use super::Cuda;
use super::buffer::Buffer;
use crate::engine::Element;
use crate::engine::cluster::Linked;
use crate::engine::cluster::average_linkage::{labels, weighted};
use crate::engine::profile::Work;
use crate::error::Result;

/// Rows per block; a half warp computes each.
const ROWS: usize = 16;
/// Most parts of a search: one for each multiprocessor of a large GPU, so that all of them read memory.
const CHUNKS: usize = 128;
/// Length of the state array, and the index of the flag that ends the steps.
const STATE: usize = 6;
const DONE: usize = 4;

/// `Penalty` of the kernel.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Penalty {
    most: f64,
    prior: f64,
}

/// Device arrays of the linkage.
struct Arrays {
    sums: Buffer<f64>,
    places: Buffer<i32>,
    away: Buffer<f64>,
    cluster: Buffer<i32>,
    row: Buffer<i32>,
    item: Buffer<i32>,
    state: Buffer<i32>,
    found: Buffer<i32>,
    far: Buffer<f64>,
    penalty: Penalty,
    /// N, D and the parts of a search.
    sizes: [usize; 3],
}

/// A bound on the number of clusters, as the kernel's `int`.
fn int(bound: usize) -> usize {
    bound.min(i32::MAX as usize)
}

impl Cuda {
    /// See [`Cluster::average_linkage`](crate::engine::cluster::Cluster::average_linkage).
    pub(super) fn linked(&self, input: &Linked) -> Result<Vec<usize>> {
        let count = input.frames.len();
        if count < 2 {
            return Ok(vec![0; count]);
        }
        let mut on = self.arrays(input)?;
        self.average_linkage_nearest(&mut on)?;
        // There is a step for each merge, and there are search steps whose number only the device knows. Surplus steps
        // do nothing.
        let (mut state, mut steps) = ([0; STATE], count - input.min.min(count - 1));
        while state[DONE] == 0 {
            for _ in 0..steps {
                self.average_linkage_step(&mut on, input)?;
            }
            on.state.read(&mut state, 0)?;
            steps = count.div_ceil(8);
        }
        let mut cluster = vec![0; count];
        on.cluster.read(&mut cluster, 0)?;
        Ok(labels(&cluster.iter().map(|place| *place as u32).collect::<Vec<_>>()))
    }

    fn arrays(&self, input: &Linked) -> Result<Arrays> {
        let count = input.frames.len();
        let chunks = count.div_ceil(ROWS).clamp(1, CHUNKS);
        let item: Vec<i32> =
            [input.frames, input.windows, input.speakers].concat().into_iter().map(|value| value as i32).collect();
        Ok(Arrays {
            sums: self.uploaded(&weighted(input))?,
            places: Buffer::uninitialised(&self.device, 2 * count)?,
            away: Buffer::uninitialised(&self.device, count)?,
            cluster: self.uploaded(&(0..count as i32).collect::<Vec<_>>())?,
            row: Buffer::uninitialised(&self.device, 2 * count)?,
            item: self.uploaded(&item)?,
            state: self.uploaded(&[-1, -1, -1, chunks as i32, 0, count as i32])?,
            found: Buffer::uninitialised(&self.device, chunks)?,
            far: Buffer::uninitialised(&self.device, chunks)?,
            penalty: Penalty { most: input.penalty, prior: input.prior },
            sizes: [count, input.size, chunks],
        })
    }

    fn uploaded<T: Element>(&self, values: &[T]) -> Result<Buffer<T>> {
        let mut buffer = Buffer::uninitialised(&self.device, values.len())?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    fn average_linkage_nearest(&self, on: &mut Arrays) -> Result<()> {
        let [count, size, _] = on.sizes;
        let mut launch = self.device.launch("average_linkage_nearest", "")?;
        launch.grid(count.div_ceil(ROWS), 1, 1).block(256).output(&mut on.places, 2 * count);
        launch.output(&mut on.away, count).input(&on.sums, count * size).input(&on.item, 3 * count);
        launch.int(count).int(size).record(&on.penalty);
        let flops = (count * count * size) as u64;
        let bytes = (count * count / 2 / ROWS * size * size_of::<f64>()) as u64;
        // SAFETY: (1) places, away, sums, item, count, size, penalty, as average_linkage.cu declares them; (2) it
        // touches places [N, 2], away [N], sums [N, D], item [3, N]; (3) blocks of 16 rows cover N.
        unsafe { launch.run(Work { bytes, flops }) }
    }

    fn average_linkage_step(&self, on: &mut Arrays, input: &Linked) -> Result<()> {
        let [count, size, chunks] = on.sizes;
        let mut launch = self.device.launch("average_linkage_merge", "")?;
        launch.block(1024).output(&mut on.sums, count * size).output(&mut on.places, 2 * count);
        launch.output(&mut on.away, count).output(&mut on.cluster, count).output(&mut on.row, 2 * count);
        launch.output(&mut on.state, STATE).input(&on.found, chunks).input(&on.far, chunks).int(count).int(size);
        launch.int(int(input.min)).int(int(input.max)).record(&input.threshold);
        // SAFETY: (1) sums, places, away, cluster, row, state, found, far, count, size, fewest, most, threshold, as
        // average_linkage.cu declares them; (2) it touches sums [N, D], places [N, 2], away, cluster [N], row [2, N],
        // found and far [chunks]; (3) one block of 1024.
        unsafe { launch.run(Work::bytes((2 * count + 3 * size) * size_of::<f64>())) }?;
        let mut launch = self.device.launch("average_linkage_row", "")?;
        launch.grid(count.div_ceil(256), 1, 1).block(256).output(&mut on.row, 2 * count).input(&on.cluster, count);
        launch.input(&on.item, 3 * count).input(&on.state, STATE).int(count);
        // SAFETY: (1) row, cluster, item, state, count, as average_linkage.cu declares them; (2) it touches row [2, N],
        // whose second index is a place below N, cluster [N], item [3, N]; (3) blocks of 256 cover N.
        unsafe { launch.run(Work::bytes(count * size_of::<i32>())) }?;
        let mut launch = self.device.launch("average_linkage_update", "")?;
        launch.grid(count.div_ceil(ROWS), 1, 1).block(256).output(&mut on.places, 2 * count);
        launch.output(&mut on.away, count).input(&on.row, 2 * count).input(&on.state, STATE);
        launch.input(&on.sums, count * size).int(count).int(size).record(&on.penalty);
        // SAFETY: (1) places, away, row, state, sums, count, size, penalty, as average_linkage.cu declares them; (2) it
        // touches places [N, 2], away [N], row [2, N], sums [N, D]; (3) blocks of 16 rows cover N.
        unsafe { launch.run(Work::bytes(count * size / 2 * size_of::<f64>())) }?;
        let mut launch = self.device.launch("average_linkage_search", "")?;
        launch.grid(chunks, 1, 1).block(256).output(&mut on.found, chunks).output(&mut on.far, chunks);
        launch.input(&on.places, 2 * count).input(&on.row, 2 * count).input(&on.state, STATE);
        launch.input(&on.sums, count * size).int(count).int(size).record(&on.penalty);
        // SAFETY: (1) found, far, places, row, state, sums, count, size, penalty, as average_linkage.cu declares them;
        // (2) it touches found and far [chunks], places [N, 2], row [2, N], sums [N, D]; (3) a block for each of the
        // chunks that `state` names.
        unsafe { launch.run(Work::bytes(count * size / 2 * size_of::<f64>())) }
    }
}
