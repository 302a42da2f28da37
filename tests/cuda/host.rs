//! Exchange with the host while both sides work: packed results and asynchronous readback, row lists without readback,
//! and work on the second stream.

use diarist::engine::cpu::Cpu;
use diarist::engine::decode::{DecodeSizes, DecodeState, RuleTokens, result_column};
use diarist::engine::prelude::*;
use diarist::engine::{StepRows, Tensor, ops};

use crate::cases::*;
use crate::driver::machine;

struct TokenProbability {
    rows: usize,
    vocab: usize,
}

impl Case for TokenProbability {
    fn name(&self) -> String {
        format!("token_probability {} x {}", self.rows, self.vocab)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let values: Vec<f32> = random(60, self.rows * self.vocab).iter().map(|x| 8.0 * x).collect();
        let logits = floats(be, &[self.rows, self.vocab], &values);
        // every other row, into slots from the last to the first; the other slots stay unchanged
        let slot = |row: usize| if row.is_multiple_of(2) { (self.rows - 1 - row) as i32 } else { -1 };
        let slots: Vec<i32> = (0..self.rows).map(slot).collect();
        let mut out = floats(be, &[self.rows], &vec![-7.0; self.rows]);
        ops::token_probability(be, &mut out, &logits, &ints(be, &slots), self.vocab / 2).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn token_probability() {
    let machine = machine();
    for (rows, vocab) in [(1, 1), (4, 31), (3, 1031), (5, 51_866)] {
        check(&machine, &TokenProbability { rows, vocab }, [Tolerance { atol: 1e-7, rtol: 2e-5 }; 2]);
    }
}

const SIZES: DecodeSizes = DecodeSizes { slots: 3, beams: 5, positions: 9, new_tokens: 131 };

/// A state in which all numbers are different.
fn state<B: Backend>(be: &B) -> DecodeState<B> {
    let special = RuleTokens { eot: 1, no_timestamps: 2, timestamp_begin: 3 };
    let mut state = DecodeState::new(be, SIZES, special, &[], &[]).unwrap();
    let mut next = 0;
    let mut numbers = |count: usize| {
        next += count as i32;
        (next - count as i32..next).collect::<Vec<i32>>()
    };
    for tensor in [
        &mut state.done,
        &mut state.best_length,
        &mut state.live,
        &mut state.best_tokens,
        &mut state.token,
        &mut state.position,
    ] {
        let values = numbers(tensor.len());
        be.write(&mut tensor.buf, 0, &values).unwrap();
    }
    for (tensor, offset) in [(&mut state.best_sum, 0.25), (&mut state.no_speech, 0.75)] {
        be.write(&mut tensor.buf, 0, &[offset, offset + 1.0, offset + 2.0]).unwrap();
    }
    state
}

fn packed<B: Backend>(be: &B) -> Vec<i32> {
    let mut out = Tensor::zeros(be, &[SIZES.slots, SIZES.result_width()]).unwrap();
    ops::pack_results(be, &mut out, &state(be)).unwrap();
    out.to_host(be).unwrap()
}

#[test]
#[ignore = "needs a C++ compiler"]
fn pack_results() {
    let machine = machine();
    let want = packed(&Cpu::new(Some(1)).unwrap());
    // Expected columns written by hand, to test the oracle itself.
    let width = SIZES.result_width();
    assert_eq!(width, 4 + 5 + 131);
    let slot = &want[width..2 * width];
    assert_eq!((slot[result_column::DONE], slot[result_column::LENGTH]), (1, 4));
    assert_eq!(f32::from_bits(slot[result_column::SUM] as u32), 1.25);
    assert_eq!(f32::from_bits(slot[result_column::NO_SPEECH] as u32), 1.75);
    assert_eq!(slot[4..9], [11, 12, 13, 14, 15]);
    assert_eq!((slot[9], slot[width - 1]), (21 + 131, 21 + 131 + 130));
    let be = open(F16);
    machine.schedules(|seed| assert_eq!(packed(&be), want, "schedule {seed}"));
}

fn listed<B: Backend>(be: &B, row: &[i32]) -> (Vec<i32>, Vec<i32>) {
    let nothing = vec![-1; row.len()];
    let mut rows = StepRows { token: ints(be, &nothing), position: ints(be, &nothing), row: ints(be, row) };
    ops::list_rows(be, &mut rows, &state(be)).unwrap();
    (rows.token.to_host(be).unwrap(), rows.position.to_host(be).unwrap())
}

#[test]
#[ignore = "needs a C++ compiler"]
fn list_rows() {
    let machine = machine();
    let (cpu, be) = (Cpu::new(Some(1)).unwrap(), open(F16));
    for row in [vec![], vec![14], vec![0, 3, 7, 14], (0..15).rev().collect::<Vec<i32>>()] {
        let want = listed(&cpu, &row);
        let token = 3 + 3 + 15 + 3 * 131; // the numbers before it in the state
        assert_eq!(want.0, row.iter().map(|r| token + r).collect::<Vec<_>>());
        assert_eq!(want.1, row.iter().map(|r| token + 15 + r).collect::<Vec<_>>());
        machine.schedules(|seed| assert_eq!(listed(&be, &row), want, "schedule {seed}"));
    }
    let many: Vec<i32> = (0..300).map(|r| r % 15).collect();
    assert_eq!(listed(&be, &many), listed(&cpu, &many));
}

/// A readback contains the array as it was when the copy was queued, whatever was queued since. It has not arrived
/// before it is waited for.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_readback_arrives_when_it_is_waited_for() {
    let machine = machine();
    let be = open(F16);
    let mut source = ints(&be, &[1, 2, 3, 4]);
    let mut copies = [be.host_copy(4).unwrap(), be.host_copy(3).unwrap()];
    be.start_copy(&mut copies[0], &source.buf).unwrap();
    be.write(&mut source.buf, 0, &[5, 6, 7, 8]).unwrap();
    be.start_copy(&mut copies[1], &source.buf).unwrap();
    if machine.is_emulated() {
        assert!(!be.is_copy_complete(&copies[1]).unwrap(), "nobody waited for it");
    }
    assert_eq!(be.finish_copy(&mut copies[0]).unwrap(), [1, 2, 3, 4]);
    assert_eq!(be.finish_copy(&mut copies[1]).unwrap(), [5, 6, 7]);
    assert!(be.is_copy_complete(&copies[1]).unwrap());
    be.write(&mut source.buf, 0, &[9]).unwrap();
    be.start_copy(&mut copies[1], &source.buf).unwrap();
    assert_eq!(be.finish_copy(&mut copies[1]).unwrap(), [9, 6, 7], "the second copy to the same place");
    assert!(be.start_copy(&mut be.host_copy(5).unwrap(), &source.buf).is_err(), "more than there is");
    drop((copies, source, be));
    assert_eq!(machine.count("emulator_host_allocations"), 0, "page-locked memory that nobody gave back");
}

/// Work on the second stream sees everything queued before it, and is seen by work after its fence, whenever the
/// second stream runs.
#[test]
#[ignore = "needs a C++ compiler"]
fn work_on_the_second_stream_is_ordered() {
    let machine = machine();
    let be = open(F16);
    let width = 64;
    let of = |seed| random(seed, width);
    for hasty in [0, 1] {
        machine.call("emulator_set_hasty", hasty);
        let index = ints(&be, &[0]);
        let first = act(&be, &[1, width], &of(1));
        let mut shared = act(&be, &[1, width], &of(2));
        let (mut before, mut after) =
            (Tensor::zeros(&be, &[1, width]).unwrap(), Tensor::zeros(&be, &[1, width]).unwrap());
        for _ in 0..3 {
            be.write_act(&mut shared.buf, 0, &of(2)).unwrap();
            // reads what the second stream overwrites
            ops::gather_rows(&be, &mut before, &shared, &index).unwrap();
            let fence = be.fork(|| ops::gather_rows(&be, &mut shared, &first, &index)).unwrap();
            be.join(&fence).unwrap();
            ops::gather_rows(&be, &mut after, &shared, &index).unwrap();
        }
        assert_eq!(host(&be, &before), of(2), "hasty {hasty}: the work beside came too early");
        assert_eq!(host(&be, &after), of(1), "hasty {hasty}: the work beside came too late");
        assert!(be.fork(|| Err(diarist::Error::Cancelled)).is_err());
        assert_eq!(host(&be, &after), of(1), "what comes after a failure goes to the main queue again");
    }
    machine.call("emulator_set_hasty", 0);
}
