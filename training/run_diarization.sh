#!/bin/sh
# Reproduces assets/diarization and assets/heldout-conversations after run.sh: speakers, both networks, export, report.
# Usage: training/run_diarization.sh WORK_DIR VOICES_DIR [START] [TEACHER]
# WORK_DIR is that of run.sh. VOICES_DIR holds LibriSpeech's train-clean and test-other (flac). START: pyannote/segmentation (2022), which the
# package whisperx brings as assets/pytorch_model.bin; TEACHER: pretrained.pt of the package Resemblyzer. Without the two, both networks are
# trained from scratch.
set -eu
work=$(cd "$1" && pwd)
voices=$(cd "$2" && pwd)
start=${3:+--start $3}
teacher=${4:+--teacher $4}
here=$(cd "$(dirname "$0")" && pwd)
assets=$here/../assets
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
cd "$here"

for part in test dev train; do
    python speakers.py --kind recordings --part $part --voices "$voices" --out "$work/speakers/$part"
    python speakers.py --kind espeak --part $part --out "$work/speakers/$part"
done
for seed in 62 63 64; do
    python speakers.py --kind espeak --part train --seed $seed --variants drawn --out "$work/speakers/train"
done
for seed in 65 66 67; do
    python speakers.py --kind espeak --part train --seed $seed --variants crossed --out "$work/speakers/train"
done
for part in test dev; do
    python speakers.py --kind revoiced --part $part --corpus "$work/$part" --throats 12 --out "$work/speakers/$part"
done
for seed in 61 62 63 64; do
    python speakers.py --kind revoiced --part train --seed $seed --corpus "$work/corpus" --throats 150 --out "$work/speakers/train"
done
for seed in 65 66; do
    python speakers.py --kind revoiced --part train --seed $seed --siblings --corpus "$work/corpus" --throats 240 --out "$work/speakers/train"
done
# Voices for the PLDA, which is to know how far apart those are that the embedding was not taught.
python speakers.py --kind recordings --part train --voices "$voices" --out "$work/speakers/fresh"
python speakers.py --kind espeak --part train --seed 70 --variants crossed --out "$work/speakers/fresh"
python speakers.py --kind espeak --part train --seed 71 --variants drawn --out "$work/speakers/fresh"
python speakers.py --kind revoiced --part train --seed 70 --siblings --throats 120 --corpus "$work/corpus" --out "$work/speakers/fresh"

python train_segmentation.py --speakers "$work/speakers/train" --natural "$work/corpus" --dev "$work/speakers/dev" \
    --out "$work/segmentation" --seconds 5 10 --steps 4700 --alike 0.3 --rate 1e-3 $start &
python train_embedding.py --speakers "$work/speakers/train" --natural "$work/corpus" --dev "$work/speakers/dev" \
    --out "$work/embedding" --seconds 5 --steps 6800 --pull-synthetic 0 $teacher
wait
python heldout_conversations.py --speakers "$work/speakers/test" --out "$assets/heldout-conversations"
for seed in 7 17 27; do
    python heldout_conversations.py --speakers "$work/speakers/dev" --out "$work/dev-synthetic-$seed" --count 24 --seed $seed
    python heldout_conversations.py --speakers "$work/speakers/dev" --out "$work/dev-recorded-$seed" --count 10 --seed $((seed + 1)) --recordings
done
python heldout_conversations.py --speakers "$work/speakers/test" --out "$work/test-recorded" --count 12 --seed 9 --recordings

export_pair() {
    python export_diarization.py --segmentation "$work/segmentation/mean.pt" --embedding "$work/embedding/mean.pt" --seconds 5 \
        --out "$assets/diarization" "$@"
}
export_pair
python train_plda.py --embedding "$work/embedding/mean.pt" --speakers "$work/speakers/fresh" --natural "$work/corpus" --seconds 5 \
    --out "$assets/diarization/plda"
python diarization_report.py --model "$assets/diarization" --tune "$work/params.json" "$work"/dev-synthetic-* "$work"/dev-recorded-*
export_pair --params "$work/params.json"
python diarization_report.py --model "$assets/diarization" "$assets/heldout-conversations" "$work/test-recorded"
