//! The [`SearchOps`] primitives on CUDA.

use super::{
    Cuda, STEPS_PER_READBACK, advance_search, list_rows, logit_rules, pack_results, pick_candidates, token_probability,
};
use crate::engine::backend::decode::DecodeState;
use crate::engine::backend::{SearchOps, StepRows, Tensor};
use crate::error::Result;

impl SearchOps for Cuda {
    fn logit_rules(
        &self,
        logits: &mut Tensor<Self, f32>,
        rows: &StepRows<Self>,
        state: &DecodeState<Self>,
    ) -> Result<()> {
        logit_rules::logit_rules(self, logits, rows, state)
    }

    fn token_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        slot: &Tensor<Self, i32>,
        token: usize,
    ) -> Result<()> {
        token_probability::token_probability(self, out, logits, slot, token)
    }

    fn list_rows(&self, rows: &mut StepRows<Self>, state: &DecodeState<Self>) -> Result<()> {
        list_rows::list_rows(self, rows, state)
    }

    fn pack_results(&self, out: &mut Tensor<Self, i32>, state: &DecodeState<Self>) -> Result<()> {
        pack_results::pack_results(self, out, state)
    }

    fn steps_per_readback(&self) -> usize {
        STEPS_PER_READBACK
    }

    fn pick_candidates(
        &self,
        state: &mut DecodeState<Self>,
        logits: &Tensor<Self, f32>,
        rows: &StepRows<Self>,
    ) -> Result<()> {
        pick_candidates::pick_candidates(self, state, logits, rows)
    }

    fn advance_search(&self, rows: &mut StepRows<Self>, state: &mut DecodeState<Self>) -> Result<()> {
        advance_search::advance_search(self, rows, state)
    }
}
