#!/bin/sh
# Reproduces assets/ end to end: corpus, tokenizer, training, export, aligner, held-out set, sample conversation, report.
# Usage: training/run.sh [WORK_DIR] [STEPS]
# Needs Debian's espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts and requirements.txt.
set -eu
work=${1:-./train-data}
steps=${2:-20000}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
work=$(cd "$work" && pwd)
assets=$here/../assets
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
cd "$here"

for seed in 1 2 3 4 5; do  # each seed has two hundred espeak-ng voices of its own
    for job in "flite 1000" "espeak 2500" "festival 500"; do
        set -- $job
        python corpus.py --engine "$1" --count "$2" --seed "$seed" --out "$work/corpus"
    done
    python revoice.py --corpus "$work/corpus" --each 3
done
python corpus.py --engine espeak --count 300 --seed 9 --held-out --out "$work/dev"
python corpus.py --engine flite --count 200 --seed 9 --held-out --out "$work/dev"
python corpus.py --engine espeak --count 240 --seed 78 --held-out --out "$work/test"
python corpus.py --engine flite --count 160 --seed 78 --held-out --out "$work/test"

python tokenizer.py --out "$work/tokenizer"
python train.py --corpus "$work/corpus" --dev "$work/dev" --tokenizer "$work/tokenizer/tokenizer.json" \
    --out "$work/run" --steps "$steps" --long 0.3

python export.py --checkpoint "$work/run/checkpoint.pt" --tokenizer "$work/tokenizer/tokenizer.json" --out "$assets/builtin"
python heldout.py --corpus "$work/test" --out "$assets/heldout"
python sample.py --out "$assets/sample"
python train_aligner.py --corpus "$work/corpus" --dev "$work/dev" --out "$work/aligner" --steps 8000 --rate 2e-3
python export_aligner.py --checkpoint "$work/aligner/checkpoint.pt" --out "$assets/aligner"
python align_report.py --model "$assets/aligner" --heldout "$assets/heldout"
python evaluate.py --model "$assets/builtin" --heldout "$assets/heldout" --sample "$assets/sample"
