//! Weights on the host, after reading from a file and before upload to a device.

/// A weight `[N, K]` on the host, row-major.
#[derive(Clone, Debug)]
pub struct HostMatrix {
    /// `N * K` values.
    pub values: Vec<f32>,
    /// `N`: output features.
    pub rows: usize,
    /// `K`: input features.
    pub cols: usize,
}

/// A weight `[N, K]` of 8-bit integers on the host, row-major, as a quantised checkpoint stores it.
#[derive(Clone, Debug)]
pub struct HostInt8 {
    /// `N * K` integers; each value is an integer times the scale of its row.
    pub values: Vec<i8>,
    /// `N` scales.
    pub scales: Vec<f32>,
    /// `N`: output features.
    pub rows: usize,
    /// `K`: input features.
    pub cols: usize,
}

/// A weight `[N, K]` in the storage type of its file.
#[derive(Clone, Debug)]
pub enum HostWeight {
    /// Floating point.
    Float(HostMatrix),
    /// 8-bit integers.
    Int8(HostInt8),
}

/// A borrowed [`HostWeight`], made from a reference to any of the types above.
#[derive(Clone, Copy, Debug)]
pub enum WeightRef<'a> {
    /// Floating point.
    Float(&'a HostMatrix),
    /// 8-bit integers.
    Int8(&'a HostInt8),
}

impl<'a> From<&'a HostMatrix> for WeightRef<'a> {
    fn from(weight: &'a HostMatrix) -> Self {
        WeightRef::Float(weight)
    }
}

impl<'a> From<&'a HostWeight> for WeightRef<'a> {
    fn from(weight: &'a HostWeight) -> Self {
        match weight {
            HostWeight::Float(weight) => WeightRef::Float(weight),
            HostWeight::Int8(weight) => WeightRef::Int8(weight),
        }
    }
}

impl HostInt8 {
    /// Converts to f32.
    pub fn to_float(&self) -> HostMatrix {
        let mut values = Vec::with_capacity(self.values.len());
        for (row, scale) in self.values.chunks_exact(self.cols.max(1)).zip(&self.scales) {
            values.extend(row.iter().map(|value| f32::from(*value) * scale));
        }
        HostMatrix { values, rows: self.rows, cols: self.cols }
    }
}

impl HostWeight {
    /// Appends the rows of another weight of the same width. The result has 8-bit integers only if both weights do.
    pub fn append(&mut self, below: HostWeight) {
        match (&mut *self, below) {
            (HostWeight::Int8(above), HostWeight::Int8(below)) => {
                above.values.extend(below.values);
                above.scales.extend(below.scales);
                above.rows += below.rows;
            }
            (HostWeight::Float(above), below) => {
                let below = below.into_float();
                above.values.extend(below.values);
                above.rows += below.rows;
            }
            (HostWeight::Int8(above), below) => {
                *self = HostWeight::Float(above.to_float());
                self.append(below);
            }
        }
    }

    /// Multiplies each row by a factor. For 8-bit integers only the scales change.
    pub fn scale_rows(&mut self, factors: &[f32]) {
        match self {
            HostWeight::Int8(weight) => weight.scales.iter_mut().zip(factors).for_each(|(scale, f)| *scale *= f),
            HostWeight::Float(HostMatrix { values, cols, .. }) => {
                for (row, factor) in values.chunks_exact_mut((*cols).max(1)).zip(factors) {
                    row.iter_mut().for_each(|value| *value *= factor);
                }
            }
        }
    }

    /// Converts to f32.
    pub fn into_float(self) -> HostMatrix {
        match self {
            HostWeight::Float(weight) => weight,
            HostWeight::Int8(weight) => weight.to_float(),
        }
    }

    /// Transposes the weight of a convolution from `[N, C * taps]` (channel by channel, as in checkpoints) to
    /// `[N, taps * C]` (tap by tap).
    #[must_use]
    pub fn tap_by_tap(self, taps: usize) -> Self {
        match self {
            HostWeight::Float(HostMatrix { values, rows, cols }) => {
                HostWeight::Float(HostMatrix { values: by_taps(&values, cols, taps), rows, cols })
            }
            HostWeight::Int8(HostInt8 { values, scales, rows, cols }) => {
                HostWeight::Int8(HostInt8 { values: by_taps(&values, cols, taps), scales, rows, cols })
            }
        }
    }
}

fn by_taps<T: Copy>(source: &[T], cols: usize, taps: usize) -> Vec<T> {
    let channels = cols / taps.max(1);
    let mut out = Vec::with_capacity(source.len());
    for row in source.chunks_exact(cols.max(1)) {
        out.extend((0..taps).flat_map(|tap| (0..channels).map(move |channel| row[channel * taps + tap])));
    }
    out
}
