//! [`Element`]: the element types of device buffers.

/// An element type of device buffers.
pub trait Element: Copy + Default + PartialEq + Send + Sync + bytemuck::Pod + std::fmt::Debug + 'static {}

impl Element for f32 {}
impl Element for f64 {}
impl Element for i32 {}
impl Element for u32 {}
impl Element for u16 {}
impl Element for u8 {}
impl Element for half::f16 {}
impl Element for half::bf16 {}
